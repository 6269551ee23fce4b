"""A host's starts and stops: what survives, what comes back, what is lost.

After a reboot machines are off, saved ones stay saved, and Hyper-V starts those that are to start:
always, or when they were running.  A stop that keeps machines (the emulator ended, the "host" did
not) lets them go on where they are.  A restart of VMMS loses jobs and nothing else.

Source: Microsoft's page Msvm_VirtualSystemSettingData (AutomaticStartupAction and -Delay).
"""

from __future__ import annotations

from datetime import timedelta

from cloudstack_hyperv.emulator.host.disks import HostDisks
from cloudstack_hyperv.emulator.host.guest import Guest
from cloudstack_hyperv.emulator.host.machine import Machine, PowerState
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.emulator.host.persistence import HostState, StateStore
from cloudstack_hyperv.emulator.host.power import Power
from cloudstack_hyperv.emulator.host.scripts import GuestScripts
from cloudstack_hyperv.emulator.host.services import Services
from cloudstack_hyperv.emulator.host.site import Site
from cloudstack_hyperv.emulator.host.switches import Switches

_START_IF_RUNNING, _START_ALWAYS = 3, 4


class Lifecycle:
    """Brings a host up from its folder and keeps the folder up to date."""

    def __init__(
        self,
        site: Site,
        store: StateStore,
        state: HostState,
        machines: Machines,
        switches: Switches,
        services: Services,
        power: Power,
        disks: HostDisks,
        scripts: GuestScripts,
    ) -> None:
        self._site = site
        self._store = store
        self._state = state
        self._machines = machines
        self._switches = switches
        self._services = services
        self._power = power
        self._disks = disks
        self._scripts = scripts

    def start(self) -> None:
        """Restore what the folder holds, then write down every change."""
        keep_running = self._state.clean
        if self._state.has_switches:
            for switch in self._state.switches:
                self._switches.put(switch)
            self._services.restore(self._state.settings)
        else:
            if not self._site.profile.server:
                self._switches.put(self._switches.build_default())
            for plan in self._site.config.switches:
                self._switches.put(self._switches.build_planned(plan))
        for machine in self._store.load_machines():
            machine.script = self._scripts.for_name(machine.name)
            self._machines.add(machine)
        for machine in list(self._machines):
            if keep_running:
                self._carry_on(machine)
            else:
                self._boot(machine)
        self._machines.changed.append(self._keep)
        self._machines.removed.append(self._store.remove_machine)
        self._switches.changed.append(self.save)
        self._services.changed.append(self.save)
        for machine in self._machines:
            self._store.save_machine(machine)
        self._state.clean = False
        self.save()

    def _keep(self, machine: Machine) -> None:
        """Write a machine down, but not a state that passes: the one it leads to comes soon.

        A host that dies in between finds the machine where it was before.
        """
        if machine.state.is_stable:
            self._store.save_machine(machine)

    def save(self) -> None:
        """Write the host's own state."""
        self._state.switches = list(self._switches)
        self._state.settings = self._services.all_settings()
        self._store.save_host(self._state)

    def stop(self, *, keep_running: bool) -> None:
        """Write everything down; with `keep_running` machines go on at the next start."""
        self._site.timeline.settle()
        for machine in self._machines:
            self._store.save_machine(machine)
        self._state.clean = keep_running
        self.save()

    def restart_management_service(self) -> None:
        """Lose all jobs, as when VMMS restarts; machines run on."""
        self._site.timeline.settle()
        self._site.board.lose_all()
        for machine in self._machines:
            machine.occupied = False
            machine.activity = None

    def reboot(self) -> None:
        """Restart the host: jobs are lost, machines lose power, some start again."""
        self.restart_management_service()
        self._site.started = self._site.timeline.now()
        for machine in list(self._machines):
            self._boot(machine)

    def _boot(self, machine: Machine) -> None:
        """Bring a machine back as a host reboot does."""
        was_running = machine.state not in (PowerState.OFF, PowerState.SAVED)
        if was_running:
            self._power.power_off(machine)
        elif machine.state is PowerState.OFF:
            machine.up_since, machine.guest, machine.process_id = None, None, 0
        action = machine.settings.system.values.get("AutomaticStartupAction")
        if action == _START_ALWAYS or (action == _START_IF_RUNNING and was_running):
            delay = machine.settings.system.values.get("AutomaticStartupActionDelay")
            seconds = delay.total_seconds() if isinstance(delay, timedelta) else 0.0
            seconds += self._site.config.timings.start
            self._site.timeline.after(seconds, lambda: self._start_by_itself(machine))

    def _start_by_itself(self, machine: Machine) -> None:
        if machine.state not in (PowerState.OFF, PowerState.SAVED) or machine.destroyed:
            return
        try:
            self._power.start_now(machine)
        except JobFailed:
            return  # as on Windows: it stays off, and the event log that tells why is not modelled

    def _carry_on(self, machine: Machine) -> None:
        """Let a machine go on where a clean stop left it."""
        if machine.state in (PowerState.OFF, PowerState.SAVED):
            return
        if machine.state not in (PowerState.RUNNING, PowerState.PAUSED):
            self._power.power_off(machine)
            return
        booted = machine.booted_from or self._site.timeline.now()
        machine.guest = Guest(
            machine.script, machine.name, machine.seed, booted, dict(machine.host_items)
        )
        try:
            self._power.hold_files(machine)
        except JobFailed:
            self._power.power_off(machine)
