"""Planned systems: machines that are to be, and what has to be mended before they can.

A planned system has settings like a machine, under the same InstanceIDs, so that the ordinary
methods change it; GetSummaryInformation and Msvm_ComputerSystem do not show it.  Its files and
switches may be missing until it is validated or realized.

Source: Microsoft's pages Msvm_PlannedComputerSystem, ValidatePlannedSystem, RealizePlannedSystem.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from cloudstack_hyperv.cim.constants import SYSTEM_TYPE_REALIZED
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.migration_checks import EXISTS, missing_parts, refusal
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import JobFailed, invalid_parameter
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import machine_reference, planned_reference
from cloudstack_hyperv.emulator.host.system_rows import PLANNED_SYSTEM

VALIDATE = JobKind.concrete(90, "Validating Planned Virtual Machine")
REALIZE = JobKind.concrete(91, "Realizing Planned Virtual Machine")

Reply = MethodReply | Awaitable[MethodReply]


class PlannedSystems:
    """The planned systems of one host."""

    def __init__(self, here: Peer) -> None:
        self._here = here
        self._site = here.site
        self._machines = here.machines

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods of the management service by name."""
        return {"ValidatePlannedSystem": self.validate, "RealizePlannedSystem": self.realize}

    def referenced(self, call: MethodCall) -> Machine:
        """Return the planned system that the parameter PlannedSystem names."""
        machine = self._machines.referenced(call, "PlannedSystem")
        if not machine.planned:
            raise invalid_parameter("PlannedSystem names a virtual machine that is real")
        return machine

    def _check(self, machine: Machine) -> None:
        """Raise JobFailed with everything that keeps a planned system from being real."""
        reasons = missing_parts(machine.settings, self._here)
        if self._machines.get(machine.machine_id) is not None:
            reasons.append((EXISTS, "A virtual machine with this ID exists (0x800700B7)."))
        if reasons:
            raise refusal(machine.name, machine.machine_id, self._site.name, reasons)

    def validate(self, call: MethodCall) -> Reply:
        """Look for what has to be mended; the job's errors list it."""
        machine = self.referenced(call)
        return self._run(call, VALIDATE, machine, lambda _: self._check(machine))

    def realize(self, call: MethodCall) -> Reply:
        """Make a machine of a planned system."""
        machine = self.referenced(call)

        def apply(_: object) -> None:
            self._check(machine)
            machine.planned = False
            machine.settings.set_system(VirtualSystemType=SYSTEM_TYPE_REALIZED)
            machine.config_changed = self._site.timeline.now()
            try:
                self._here.definition.make_folders(machine.settings)
            except JobFailed:
                machine.planned = True
                raise
            self._machines.drop_plan(machine)
            self._machines.add(machine)

        return self._run(call, REALIZE, machine, apply, realizes=True)

    def _run(
        self,
        call: MethodCall,
        kind: JobKind,
        machine: Machine,
        apply: Callable[[object], None],
        *,
        realizes: bool = False,
    ) -> Reply:
        machine_id = machine.machine_id
        return self._site.conductor.run(
            call,
            Operation(
                kind,
                apply,
                self._site.config.timings.configure,
                machine=machine,
                affected=(planned_reference(machine_id),),
                out={"ResultingSystem": machine_reference(machine_id)} if realizes else {},
            ),
        )

    # Rows ----------------------------------------------------------------------------------

    def register(self, table: ClassTable) -> None:
        """Serve Msvm_PlannedComputerSystem."""
        table.serve(PLANNED_SYSTEM, self.rows)

    def rows(self) -> Iterator[Row]:
        """Yield planned systems."""
        for machine in self._machines.planned:
            yield Row(
                PLANNED_SYSTEM,
                {
                    "Caption": "Planned Virtual Machine",
                    "Description": "Microsoft Planned Virtual Machine",
                    "ElementName": machine.name,
                    "InstallDate": machine.created,
                    "OperationalStatus": [2],
                    "StatusDescriptions": ["Operating normally"],
                    "Status": "OK",
                    "HealthState": 5,
                    "EnabledState": machine.state.enabled_state,
                    "OtherEnabledState": "",
                    "RequestedState": 12,
                    "EnabledDefault": 3,
                    "TimeOfLastStateChange": machine.created,
                    "TimeOfLastConfigurationChange": machine.config_changed or machine.created,
                    "CreationClassName": PLANNED_SYSTEM,
                    "Name": machine.machine_id,
                    "ResetCapability": 1,
                    "OnTimeInMilliseconds": 0,
                },
            )
