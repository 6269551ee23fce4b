"""Msvm_VirtualSystemMigrationService: moving machines and their storage, and asking beforehand.

MigrateVirtualSystemToHost is called on the *source*.  Whatever can be seen from the arguments alone
is refused at once; everything that takes a look at another host ends the job in state 10, with all
reasons in GetErrorEx.  MigrateVirtualSystemToSystem, CheckVirtualSystemIsMigratableToSystem,
GetSystemCompatibilityVectors, GetProcessorFeatureLimits and moving unmanaged parents are not
modelled (32770).

Sources: Microsoft's page Msvm_VirtualSystemMigrationService and its methods' pages; JobType numbers
from Msvm_MigrationJob.  The content of CompatibilityInfo is Microsoft's secret: here it is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.guest import require_scripted
from cloudstack_hyperv.emulator.host.jobs import Job, JobKind
from cloudstack_hyperv.emulator.host.machine import Machine, PowerState
from cloudstack_hyperv.emulator.host.migration_checks import PROCESSOR
from cloudstack_hyperv.emulator.host.migration_move import Hooks, Move
from cloudstack_hyperv.emulator.host.migration_wish import (
    STAGED,
    STORAGE,
    VIRTUAL_SYSTEM,
    VIRTUAL_SYSTEM_AND_STORAGE,
    MigrationWish,
    read_wish,
)
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    JobFailed,
    Refused,
    invalid_parameter,
    invalid_state,
)
from cloudstack_hyperv.emulator.host.peers import Peer, Peers
from cloudstack_hyperv.emulator.host.site import machine_reference

NOT_COMPATIBLE = 32784
MOVES = {
    VIRTUAL_SYSTEM: JobKind.migration(305, "Moving Virtual Machine"),
    STORAGE: JobKind.migration(307, "Moving Storage"),
    STAGED: JobKind.migration(300, "Creating Remote Virtual Machine"),
    VIRTUAL_SYSTEM_AND_STORAGE: JobKind.migration(306, "Moving Virtual Machine and Storage"),
}
CHECKS = {
    VIRTUAL_SYSTEM: JobKind.migration(301, "Checking Virtual Machine Compatibility"),
    STORAGE: JobKind.migration(304, "Checking Storage Migration"),
    STAGED: JobKind.migration(301, "Checking Virtual Machine Compatibility"),
    VIRTUAL_SYSTEM_AND_STORAGE: JobKind.migration(
        302, "Checking Virtual Machine and Storage Compatibility"
    ),
}
_MOVABLE = (PowerState.OFF, PowerState.RUNNING, PowerState.SAVED)

Reply = MethodReply | Awaitable[MethodReply]


class Migration:
    """The migration service of one host."""

    def __init__(self, home: Peer, peers: Peers) -> None:
        self._home = home
        self._site = home.site
        self._peers = peers
        self.hooks = Hooks()
        """For tests and tools."""

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods by name."""
        return {
            "MigrateVirtualSystemToHost": self.migrate,
            "CheckVirtualSystemIsMigratable": self.check,
            "CheckVirtualSystemIsMigratableToHost": self.check_at_once,
            "GetSystemCompatibilityInfo": self.compatibility_info,
            "CheckSystemCompatibilityInfo": self.check_compatibility_info,
        }

    def migrate(self, call: MethodCall) -> Reply:
        """Move a machine, its storage, or both; or prepare a planned system elsewhere."""
        machine = self._home.machines.referenced(call, "ComputerSystem")
        wish = read_wish(call, machine)
        if machine.role and wish.kind != STORAGE:
            raise invalid_state(f"{machine.name} is moved by its failover cluster")
        return self.start(call, machine, wish)

    def start(
        self,
        call: MethodCall,
        machine: Machine,
        wish: MigrationWish,
        *,
        arrived: Callable[[], None] = lambda: None,
        failed: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Start a migration; it calls `arrived` or `failed` at its end.  Clusters use it, too."""
        self._check_state(machine, wish)
        move = Move(machine, wish, self._home, self.hooks)
        operation = Operation(
            MOVES[wish.kind],
            machine=machine,
            affected=(machine_reference(machine.machine_id),),
            on_job=lambda job: self._describe(job, machine, wish, move),
        )
        try:
            move.prepare(self._peers, call.caller)
        except JobFailed as problem:
            operation.apply, operation.seconds = _failing(problem), 0.05
            operation.fail = failed
            return self._site.conductor.run(call, operation)

        def finish(result: object) -> None:
            move.finish(result)
            arrived()

        def fail() -> None:
            move.roll_back()
            failed()

        operation.begin, operation.apply, operation.fail = move.begin, finish, fail
        operation.seconds = self._seconds(machine, wish)
        if move.copies_files:
            operation.work = move.copy
        return self._site.conductor.run(call, operation)

    def _check_state(self, machine: Machine, wish: MigrationWish) -> None:
        if machine.planned:
            raise invalid_parameter("a planned system cannot be migrated")
        require_scripted(machine.guest, "a migration")
        if not self._site.profile.server and wish.kind != STORAGE:
            raise Refused(ReturnCode.NOT_SUPPORTED, "a client has no live migration")
        allowed = (*_MOVABLE, PowerState.PAUSED) if wish.kind == STORAGE else _MOVABLE
        if machine.state not in allowed or machine.merging or machine.occupied:
            raise invalid_state(f"{machine.name} is {machine.state.value}, or busy")

    def _seconds(self, machine: Machine, wish: MigrationWish) -> float:
        timings = self._site.config.timings
        live = wish.leaves_host and machine.state.has_worker
        return timings.migrate if live else timings.configure

    def _describe(self, job: Job, machine: Machine, wish: MigrationWish, move: Move) -> None:
        job.details.update(
            DestinationHost=wish.destination,
            VirtualSystemName=machine.machine_id,
            MigrationType=wish.kind,
        )
        move.job = job

    # Asking --------------------------------------------------------------------------------

    def check(self, call: MethodCall) -> Reply:
        """Look for reasons against a migration; a job that ends with them."""
        machine, wish, problem = self._problem(call)

        def describe(job: Job) -> None:
            job.details.update(
                DestinationHost=wish.destination,
                VirtualSystemName=machine.machine_id,
                MigrationType=wish.kind,
            )

        return self._site.conductor.run(
            call,
            Operation(
                CHECKS[wish.kind],
                _failing(problem) if problem is not None else lambda _: None,
                self._site.config.timings.configure,
                affected=(machine_reference(machine.machine_id),),
                on_job=describe,
            ),
        )

    def check_at_once(self, call: MethodCall) -> Reply:
        """Answer yes or no."""
        *_, problem = self._problem(call)
        return MethodReply(ReturnCode.COMPLETED, {"IsMigratable": problem is None})

    def _problem(self, call: MethodCall) -> tuple[Machine, MigrationWish, JobFailed | None]:
        machine = self._home.machines.referenced(call, "ComputerSystem")
        wish = read_wish(call, machine)
        self._check_state(machine, wish)
        move = Move(machine, wish, self._home, Hooks())
        try:
            move.prepare(self._peers, call.caller)
        except JobFailed as problem:
            return machine, wish, problem
        return machine, wish, None

    def compatibility_info(self, call: MethodCall) -> Reply:
        """Return what another host needs to know of a machine's processor."""
        machine = self._home.machines.referenced(call, "ComputerSystem")
        config = self._site.config
        limited = machine.settings.first(catalogue.PROCESSOR).values.get("LimitProcessorFeatures")
        document = {
            "manufacturer": config.processor_manufacturer,
            "model": "" if limited is True or machine.is_off else config.processor_name,
        }
        text = json.dumps(document).encode()
        return MethodReply(ReturnCode.COMPLETED, {"CompatibilityInfo": text})

    def check_compatibility_info(self, call: MethodCall) -> Reply:
        """Say whether a machine of another host would run on this one's processor."""
        value = call.arguments.get("CompatibilityInfo")
        try:
            document = json.loads(bytes(value)) if isinstance(value, bytes) else None
        except ValueError as problem:
            raise invalid_parameter("CompatibilityInfo is not readable") from problem
        if not isinstance(document, dict):
            raise invalid_parameter("CompatibilityInfo is missing")
        config = self._site.config
        manufacturer, model = document.get("manufacturer"), document.get("model")
        if manufacturer == config.processor_manufacturer and model in ("", config.processor_name):
            return MethodReply(ReturnCode.COMPLETED)
        values: dict[str, Value] = {
            "MessageID": str(PROCESSOR),
            "Message": f"The processor of '{self._site.name}' is of another kind.",
            "OwningEntity": "Microsoft-Windows-Hyper-V-VMMS",
            "ErrorType": 4,
            "PerceivedSeverity": 4,
        }
        return MethodReply(NOT_COMPATIBLE, {"Reasons": [Row("Msvm_Error", values)]})


def _failing(problem: JobFailed) -> Callable[[object], None]:
    def apply(_: object) -> None:
        raise problem

    return apply
