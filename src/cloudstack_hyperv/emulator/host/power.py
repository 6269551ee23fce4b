"""The power states of a machine: which change is allowed when, how long it takes, what it does.

`TRANSITIONS` is the whole state machine: (stable state, requested state) to what happens.  A pair
that is not in it is refused with 32775, a number that is no state at all with 32773.

Sources: Microsoft's page "RequestStateChange method of the Msvm_ComputerSystem class" (numbers,
codes); that the same or a wrong state gives 32775 from os-win and libvirt; the guest's part from
Msvm_ShutdownComponent.  v1's numbers 32773/32776/32777 are still accepted as requests; no such
number is ever shown as a state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta

from cloudstack_hyperv.cim.constants import (
    RequestedState,
    ResourceSubType,
    ReturnCode,
)
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.disks import HostDisks
from cloudstack_hyperv.emulator.host.guest import Guest, require_scripted
from cloudstack_hyperv.emulator.host.jobs import Job, JobKind
from cloudstack_hyperv.emulator.host.machine import Machine, PowerState
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    Hresult,
    JobFailed,
    Refused,
    invalid_parameter,
    invalid_state,
)
from cloudstack_hyperv.emulator.host.site import Site, machine_reference, strings, text
from cloudstack_hyperv.emulator.host.switches import Switches

_LEGACY_REQUESTS = {
    32773: RequestedState.SAVE,
    32776: RequestedState.PAUSE,
    32777: RequestedState.START,
}
_KNOWN_REQUESTS = frozenset({1, 2, 3, 4, 6, 7, 8, 9, 10, 11, *_LEGACY_REQUESTS, 32779})
_PATIENCE = 600.0
"""Seconds that a shutdown may take before its job gives up."""
_UNSUPPORTED_REQUESTS = frozenset({1, 7, 8, 32779})


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state: through `via` (shown meanwhile) to `to`."""

    via: PowerState
    to: PowerState
    job: JobKind
    guest: str = ""
    """ "shutdown" or "reboot" when the guest has to take part."""


_START = JobKind.concrete(12, "Starting Virtual Machine")
_RESTORE = JobKind.concrete(15, "Restoring Virtual Machine")
_RESUME = JobKind.concrete(21, "Resuming Virtual Machine")
_TURN_OFF = JobKind.concrete(13, "Turning Off Virtual Machine")
_SHUT_DOWN = JobKind.concrete(16, "Shutting Down Virtual Machine")
_SAVE = JobKind.concrete(14, "Saving Virtual Machine")
_PAUSE = JobKind.concrete(20, "Pausing Virtual Machine")
_RESET = JobKind.concrete(28, "Resetting Virtual Machine")
_REBOOT = JobKind.concrete(29, "Restarting Virtual Machine")

_OFF, _RUNNING = PowerState.OFF, PowerState.RUNNING
_SAVED, _PAUSED = PowerState.SAVED, PowerState.PAUSED

TRANSITIONS: dict[tuple[PowerState, int], Transition] = {
    (_OFF, RequestedState.START): Transition(PowerState.STARTING, _RUNNING, _START),
    (_SAVED, RequestedState.START): Transition(PowerState.STARTING, _RUNNING, _RESTORE),
    (_PAUSED, RequestedState.START): Transition(PowerState.RESUMING, _RUNNING, _RESUME),
    (_RUNNING, RequestedState.TURN_OFF): Transition(PowerState.STOPPING, _OFF, _TURN_OFF),
    (_PAUSED, RequestedState.TURN_OFF): Transition(PowerState.STOPPING, _OFF, _TURN_OFF),
    (_SAVED, RequestedState.TURN_OFF): Transition(PowerState.STOPPING, _OFF, _TURN_OFF),
    (_RUNNING, RequestedState.SHUT_DOWN): Transition(
        PowerState.STOPPING, _OFF, _SHUT_DOWN, guest="shutdown"
    ),
    (_RUNNING, RequestedState.SAVE): Transition(PowerState.SAVING, _SAVED, _SAVE),
    (_PAUSED, RequestedState.SAVE): Transition(PowerState.SAVING, _SAVED, _SAVE),
    (_RUNNING, RequestedState.PAUSE): Transition(PowerState.PAUSING, _PAUSED, _PAUSE),
    (_RUNNING, RequestedState.REBOOT): Transition(
        PowerState.RUNNING, _RUNNING, _REBOOT, guest="reboot"
    ),
    (_RUNNING, RequestedState.RESET): Transition(PowerState.RUNNING, _RUNNING, _RESET),
    (_PAUSED, RequestedState.RESET): Transition(PowerState.RESUMING, _RUNNING, _RESET),
}


class Power:
    """Changes of power state on one host."""

    def __init__(
        self, site: Site, machines: Machines, switches: Switches, disks: HostDisks
    ) -> None:
        self._site = site
        self._machines = machines
        self._switches = switches
        self._disks = disks
        self._shutdowns: dict[str, Callable[[], None]] = {}
        self._next_pid = 4000
        self.resetting_counters: list[Callable[[Machine], None]] = []
        """Called before a machine's use of processor time begins anew from zero."""
        self.new_guest: Callable[[Machine], Guest] = self._scripted_guest
        """Makes the guest of a machine that is being switched on; JobFailed.  An engine for real
        guests puts its own here."""

    def _scripted_guest(self, machine: Machine) -> Guest:
        now = self._site.timeline.now()
        return Guest(machine.script, machine.name, machine.seed, now, dict(machine.host_items))

    def request(self, call: MethodCall, machine: Machine) -> MethodReply | Awaitable[MethodReply]:
        """Carry out Msvm_ComputerSystem.RequestStateChange."""
        wanted = call.arguments.get("RequestedState")
        if not isinstance(wanted, int) or int(wanted) not in _KNOWN_REQUESTS:
            raise invalid_parameter("RequestedState is not a state")
        if wanted in _UNSUPPORTED_REQUESTS:
            raise Refused(ReturnCode.NOT_SUPPORTED, f"state {wanted} is not supported")
        request = int(_LEGACY_REQUESTS.get(int(wanted), int(wanted)))
        transition = TRANSITIONS.get((machine.state, request))
        if transition is None:
            transition = self._while_shutting_down(machine, request)
        if transition.to is PowerState.SAVED or transition.guest == "reboot":
            require_scripted(machine.guest, transition.job.caption)
        machine.requested_state = request
        return self._site.conductor.run(call, self._operation(machine, transition))

    def _while_shutting_down(self, machine: Machine, request: int) -> Transition:
        """Turning off a machine whose guest is shutting down (or hangs) is allowed."""
        abandon = self._shutdowns.pop(machine.machine_id, None)
        if request == RequestedState.TURN_OFF and abandon is not None:
            abandon()
            return TRANSITIONS[_RUNNING, RequestedState.TURN_OFF]
        if abandon is not None:
            self._shutdowns[machine.machine_id] = abandon
        raise invalid_state(f"{machine.name} is {machine.state.value}")

    def _operation(self, machine: Machine, transition: Transition) -> Operation:
        before = machine.state

        def begin() -> None:
            self._set_state(machine, transition.via)

        def apply(_: object) -> None:
            self._enter(machine, before, transition)

        def fail() -> None:
            if machine.state is transition.via:
                self._set_state(machine, before)

        if transition.guest:
            self._require_guest(machine)
        operation = Operation(
            transition.job,
            apply,
            self._seconds(machine, transition),
            machine=machine,
            affected=(machine_reference(machine.machine_id),),
            begin=begin,
            fail=fail,
        )
        if transition.guest == "shutdown":
            operation.on_job = lambda job: self._remember_shutdown(machine, job)
            self._wait_for_real(machine, operation)
        return operation

    def _wait_for_real(self, machine: Machine, operation: Operation) -> None:
        """Let the job of a shutdown end when a real guest has powered off, or give it up."""
        guest = machine.guest
        if guest is None or not guest.is_real:
            return

        def press() -> Future[int]:
            over = guest.shut_down() or Future()
            self._site.timeline.after(_PATIENCE, lambda: give_up(over))
            return over

        def give_up(over: Future[int]) -> None:
            abandon = self._shutdowns.pop(machine.machine_id, None)
            if machine.guest is guest and not over.done() and abandon is not None:
                abandon()

        operation.awaits, operation.seconds = press, 0.0

    def _remember_shutdown(self, machine: Machine, job: Job) -> None:
        guest = machine.guest
        if guest is not None:
            guest.shutting_down = True

        def abandon() -> None:
            job.kind = JobKind(
                job.kind.class_name, job.kind.number, job.kind.caption, cancellable=True
            )
            self._site.board.cancel(job, kill=False)

        self._shutdowns[machine.machine_id] = abandon

    def _seconds(self, machine: Machine, transition: Transition) -> float:
        timings = self._site.config.timings
        script = machine.script
        if transition.guest == "shutdown":
            return _PATIENCE if script.hangs else script.shutdown
        return {
            PowerState.STARTING: timings.start,
            PowerState.STOPPING: timings.turn_off,
            PowerState.SAVING: timings.save,
            PowerState.PAUSING: timings.pause,
            PowerState.RESUMING: timings.pause,
        }.get(transition.via, timings.turn_off)

    def _require_guest(self, machine: Machine) -> None:
        now = self._site.timeline.now()
        guest = machine.guest
        enabled = machine.settings.component_enabled("Msvm_ShutdownComponentSettingData")
        if guest is None or not enabled or not guest.services_up(now):
            raise Refused(ReturnCode.FAILED, "the guest's shutdown service does not answer")

    def _set_state(self, machine: Machine, state: PowerState) -> None:
        now = self._site.timeline.now()
        if machine.is_running and state is not PowerState.RUNNING:
            self._stop_the_clock(machine)
        if state is PowerState.RUNNING and machine.up_since is None:
            machine.up_since = now
        if state is not machine.state:
            machine.state = state
            machine.state_changed = now
            self._machines.announce(machine)

    def _stop_the_clock(self, machine: Machine) -> None:
        now = self._site.timeline.now()
        machine.busy_before = machine.busy_seconds(now)
        machine.up_before = machine.uptime(now)
        machine.up_since = None

    def _enter(self, machine: Machine, before: PowerState, transition: Transition) -> None:
        now = self._site.timeline.now()
        if transition.via is PowerState.STARTING:
            self._power_on(machine, fresh=before is PowerState.OFF)
        elif transition.job in (_RESET, _REBOOT) and machine.guest is not None:
            machine.guest.reboot(now)
            if transition.job is _RESET:
                self._reset_counters(machine)
                machine.up_since = now if machine.up_since is not None else None
        if machine.guest is not None:
            if transition.to is PowerState.PAUSED:
                machine.guest.pause()
            elif before is PowerState.PAUSED and transition.to is PowerState.RUNNING:
                machine.guest.resume()
        if transition.to is PowerState.OFF:
            self.power_off(machine)
            return
        if transition.to is PowerState.SAVED:
            self._disks.release(machine.machine_id)
            machine.process_id = 0
            machine.settings.set_system(IsSaved=True)
        self._set_state(machine, transition.to)

    def _reset_counters(self, machine: Machine) -> None:
        for listener in self.resetting_counters:
            listener(machine)
        machine.up_before, machine.busy_before = timedelta(), 0.0

    def power_off(self, machine: Machine) -> None:
        """Take the power away, whatever the guest thinks of it."""
        self._shutdowns.pop(machine.machine_id, None)
        self._set_state(machine, PowerState.OFF)
        self._disks.release(machine.machine_id)
        self._reset_counters(machine)
        machine.up_since = None
        if machine.guest is not None:
            machine.guest.end()
        machine.guest = None
        machine.process_id = 0
        if machine.settings.system.values.get("IsSaved"):
            machine.settings.set_system(IsSaved=False)
            self._machines.announce(machine)

    def _power_on(self, machine: Machine, *, fresh: bool) -> None:
        """Give a machine memory and files, and boot or restore its guest; JobFailed."""
        self.give_worker(machine)
        self._assign_addresses(machine)
        if fresh or machine.guest is None:
            try:
                machine.guest = self.new_guest(machine)
            except JobFailed:
                self._disks.release(machine.machine_id)
                machine.process_id = 0
                raise
        machine.settings.set_system(IsSaved=False)
        self._set_state(machine, PowerState.RUNNING)

    def give_worker(self, machine: Machine) -> None:
        """Give a machine memory, files and a worker process; JobFailed, and then it has none.

        What starts here calls it, and what arrives running by live migration.
        """
        self.check_memory(machine)
        self.hold_files(machine)
        try:
            self._check_connections(machine)
        except JobFailed:
            self._disks.release(machine.machine_id)
            raise
        self._next_pid += 4
        machine.process_id = self._next_pid

    def start_now(self, machine: Machine) -> None:
        """Start or restore a machine without a client asking; raises JobFailed."""
        self._power_on(machine, fresh=machine.state is PowerState.OFF)

    def check_memory(self, machine: Machine) -> None:
        """Refuse (JobFailed) a machine for which the host has not enough free memory."""
        config, now = self._site.config, self._site.timeline.now()
        used = sum(other.memory_usage(now) for other in self._machines if other is not machine)
        free = config.memory_mib - config.root_memory_mib - used
        if machine.startup_memory > free:
            raise JobFailed(
                ReturnCode.OUT_OF_MEMORY,
                f"'{machine.name}' could not initialize memory: Insufficient system resources "
                f"exist to complete the requested service. "
                f"Not enough memory in the system to start the virtual machine with ram size "
                f"{machine.startup_memory} megabytes (0x{Hresult.RESOURCES:08X}).",
                Hresult.RESOURCES,
            )

    def hold_files(self, machine: Machine) -> None:
        """Open the machine's disks and images; raises JobFailed and holds none of them."""
        self._disks.release(machine.machine_id)
        try:
            for medium in machine.settings.media:
                for path in strings(medium.values, "HostResource"):
                    if medium.values["ResourceSubType"] == ResourceSubType.VIRTUAL_HARD_DISK:
                        self._disks.hold_chain(path, machine.machine_id)
                    else:
                        self._disks.hold_image(path, machine.machine_id)
        except JobFailed:
            self._disks.release(machine.machine_id)
            raise

    def _check_connections(self, machine: Machine) -> None:
        for cable in machine.settings.of_class(catalogue.CONNECTION):
            wanted = strings(cable.values, "HostResource")
            connected = cable.values.get("EnabledState") == 2
            if wanted and connected and self._switches.of_connection(cable) is None:
                raise JobFailed(
                    ReturnCode.FAILED,
                    f"'{machine.name}': the Ethernet switch "
                    f"'{text(cable.values, 'LastKnownSwitchName')}' does not exist "
                    f"(0x{Hresult.FILE_NOT_FOUND:08X}).",
                    Hresult.FILE_NOT_FOUND,
                )

    def _assign_addresses(self, machine: Machine) -> None:
        for nic in machine.settings.nics:
            if nic.values.get("StaticMacAddress") is not True and not int(
                text(nic.values, "Address") or "0", 16
            ):
                dynamic = f"00155D{self._site.dice.random.randrange(2**24):06X}"
                machine.settings.put(Row(nic.class_name, {**nic.values, "Address": dynamic}))

    # The guest's own part ------------------------------------------------------------------

    def initiate(self, machine: Machine, *, force: bool, reboot: bool) -> int:
        """Carry out InitiateShutdown or InitiateReboot; return the method's code."""
        guest, now = machine.guest, self._site.timeline.now()
        if guest is None or not machine.is_running:
            return ReturnCode.INVALID_STATE
        if machine.machine_id in self._shutdowns or guest.shutting_down:
            return ReturnCode.SHUTDOWN_IN_PROGRESS
        if not machine.settings.component_enabled("Msvm_ShutdownComponentSettingData"):
            return ReturnCode.NOT_SUPPORTED
        if not guest.services_up(now):
            return ReturnCode.NOT_READY
        if guest.is_real:
            return self._initiate_real(guest, reboot=reboot)
        if guest.script.locked and not force:
            return ReturnCode.MACHINE_LOCKED
        guest.shutting_down = True
        if guest.script.hangs:
            self._shutdowns[machine.machine_id] = lambda: None
            return ReturnCode.COMPLETED

        def finish() -> None:
            if machine.guest is not guest or not guest.shutting_down:
                return  # somebody turned it off or reset it meanwhile
            self._shutdowns.pop(machine.machine_id, None)
            if reboot:
                guest.reboot(self._site.timeline.now())
            elif machine.state.has_worker:
                self.power_off(machine)

        appointment = self._site.timeline.after(guest.script.shutdown, finish)
        self._shutdowns[machine.machine_id] = appointment.cancel
        return ReturnCode.COMPLETED

    def _initiate_real(self, guest: Guest, *, reboot: bool) -> int:
        """Press the power button, as often as somebody asks: a guest that boots may miss it."""
        if reboot:
            return ReturnCode.NOT_SUPPORTED
        guest.shut_down()
        return ReturnCode.COMPLETED
