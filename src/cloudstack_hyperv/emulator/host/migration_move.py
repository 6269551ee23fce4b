"""One migration, from the first contact to the last clean-up.

`prepare` finds everything that speaks against it, while nothing has happened yet.  `begin` shows
the work (OperationalStatus 32774, a planned system on the destination), `copy` moves files in a
thread, `finish` hands the machine over, and `roll_back` undoes whatever of this was done.  Until
the very last step of `finish` the machine runs on the source and holds its files there, so that
every failure leaves it alive where it was.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cloudstack_hyperv.cim.constants import SYSTEM_TYPE_PLANNED, SYSTEM_TYPE_REALIZED, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import Caller
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.disk_transfer import Transfer, remove_sources
from cloudstack_hyperv.emulator.host.jobs import Job, Progress
from cloudstack_hyperv.emulator.host.machine import Activity, Machine
from cloudstack_hyperv.emulator.host.migration_arrival import SWITCH_MISSING, Arrival, Itinerary
from cloudstack_hyperv.emulator.host.migration_checks import (
    EXISTS,
    FILE_MISSING,
    POOL_MISSING,
    Reason,
    reasons_against,
    refusal,
)
from cloudstack_hyperv.emulator.host.migration_login import TIMED_OUT, connect
from cloudstack_hyperv.emulator.host.migration_wish import (
    STAGED,
    STORAGE,
    MigrationWish,
)
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.emulator.host.peers import Peer, Peers
from cloudstack_hyperv.emulator.host.relocation import with_roots

_BUSY = 0x800700AA
_EXISTS = 0x800700B7


class Stage(enum.StrEnum):
    """Points at which a migration can fail, in the order in which they are met."""

    CONNECT = "connect"
    CHECK = "check"
    COPY = "copy"
    HAND_OVER = "hand over"
    ARRIVE = "arrive"


@dataclass(slots=True)
class Hooks:
    """What tests and tools may do to the migrations that leave a host."""

    faults: dict[Stage, JobFailed] = field(default_factory=dict)
    """Failures that the next migration meets, each once."""
    before_chunk: Callable[[], None] = lambda: None
    """Called in the copying thread before each MiB."""
    job_vanishes: bool = False
    """Whether the source's job goes with the machine, as real hosts sometimes have it."""

    def reach(self, stage: Stage) -> None:
        """Fail here if somebody asked for it."""
        failure = self.faults.pop(stage, None)
        if failure is not None:
            raise failure


class Move:
    """A machine's way to another host, other disks, or both."""

    def __init__(self, machine: Machine, wish: MigrationWish, home: Peer, hooks: Hooks) -> None:
        self._machine = machine
        self._wish = wish
        self._home = home
        self._hooks = hooks
        self._away = home
        self._arrival: Arrival | None = None
        self._itinerary: Itinerary | None = None
        self._transfer: Transfer | None = None
        self._announced: Machine | None = None
        self._counted = False
        self.job: Job | None = None

    # Before --------------------------------------------------------------------------------

    def prepare(self, peers: Peers, caller: Caller) -> None:
        """Connect and check; raises JobFailed."""
        wish, home = self._wish, self._home
        self._hooks.reach(Stage.CONNECT)
        if wish.kind != STORAGE:
            self._away = connect(
                peers,
                home,
                wish.destination,
                caller,
                addresses=wish.addresses,
                needs_cifs=wish.moves_storage or wish.smb or home.settings.uses_smb,
            )
        self._hooks.reach(Stage.CHECK)
        self._check_limits()
        planned = self._planned()
        self._itinerary = Itinerary(self._machine, wish, home, self._away, planned)
        arrival = self._arrival = self._itinerary.arrival()
        reasons = reasons_against(self._machine, arrival, home, self._away)
        if wish.kind == STAGED:  # what can be mended on the planned system is no obstacle
            reasons = [each for each in reasons if each[0] not in _MENDABLE]
        reasons.extend(self._collision(planned))
        if reasons:
            raise refusal(self._machine.name, self._machine.machine_id, self._away.name, reasons)

    def _check_limits(self) -> None:
        for peer in {self._home.name: self._home, self._away.name: self._away}.values():
            settings = peer.settings
            if self._wish.kind != STORAGE and settings.active_machines >= settings.most_machines:
                raise self._failure(f"'{peer.name}' moves as many machines as it may", _BUSY)
        storage = self._home.settings
        if self._wish.moves_storage and storage.active_storage >= storage.most_storage:
            raise self._failure("As much storage is moving as may move at once", _BUSY)

    def _planned(self) -> Machine | None:
        wanted = self._wish.planned_id
        if not wanted:
            return None
        planned = self._away.machines.get_planned(wanted)
        if planned is None or planned.machine_id != self._machine.machine_id:
            raise self._failure(
                f"The planned virtual machine {wanted} does not exist on the destination",
                0x80070002,
            )
        return planned

    def _collision(self, planned: Machine | None) -> list[Reason]:
        if self._wish.kind == STORAGE:
            return []
        machines, wanted = self._away.machines, self._machine.machine_id
        there = machines.get(wanted) or (machines.get_planned(wanted) if planned is None else None)
        if there is None:
            return []
        text = f"A virtual machine with the ID {wanted} exists on '{self._away.name}'"
        return [(EXISTS, f"{text} (0x{_EXISTS:08X}).")]

    # During --------------------------------------------------------------------------------

    @property
    def copies_files(self) -> bool:
        """Whether there is anything to copy."""
        return self._arrival is not None and bool(self._arrival.plan.moves)

    def begin(self) -> None:
        """Show on both hosts that a migration is under way."""
        arrival = self._ready()
        self._machine.activity = Activity.MIGRATING
        self._count(1)
        if self._away is not self._home and not self._wish.planned_id:
            settings = arrival.settings.copy()
            settings.set_system(VirtualSystemType=SYSTEM_TYPE_PLANNED)
            incoming = Machine(
                self._machine.machine_id, settings, self._away.site.timeline.now(), planned=True
            )
            self._away.machines.plan(incoming)
            self._announced = incoming
        if arrival.plan.moves:
            self._transfer = Transfer(
                arrival.plan,
                self._away.disks,
                overwrite=self._wish.overwrite,
                before_chunk=self._hooks.before_chunk,
            )

    def copy(self, progress: Progress) -> None:
        """Copy the files; runs in a thread, raises JobFailed."""
        self._hooks.reach(Stage.COPY)
        if self._transfer is not None:
            self._transfer.run(progress)

    def roll_back(self) -> None:
        """Undo everything; the machine stays where it is and as it is."""
        self._machine.activity = None
        self._count(-1)
        if self._transfer is not None:
            self._transfer.abandon()
        if self._announced is not None:
            self._away.machines.drop_plan(self._announced)
            self._announced = None

    def _count(self, step: int) -> None:
        if self._counted == (step > 0):
            return
        self._counted = step > 0
        if self._wish.kind != STORAGE:
            for peer in (self._home, self._away):
                peer.settings.active_machines += step
        if self._wish.moves_storage:
            self._home.settings.active_storage += step

    # After ---------------------------------------------------------------------------------

    def finish(self, _: object) -> None:
        """Make the move true; raises JobFailed, and then nothing has changed."""
        self._away.site.timeline.settle()
        self._hooks.reach(Stage.HAND_OVER)
        if not self._away.reachable:
            raise self._failure("The connection to the destination was lost", TIMED_OUT)
        if self._wish.kind == STAGED:
            pass  # the planned system stays, that is all
        elif self._wish.kind == STORAGE:
            self._stay_with_new_files()
        else:
            self._hand_over()
        self._machine.activity = None
        self._count(-1)

    def _stay_with_new_files(self) -> None:
        machine, arrival, home = self._machine, self._ready(), self._home
        before = machine.settings, machine.checkpoints, machine.frozen_files
        old_files = home.definition.configuration_files(machine.settings)
        machine.frozen_files = self._frozen_files(arrival)
        machine.settings, machine.checkpoints = arrival.settings, dict(arrival.checkpoints)
        try:
            if self._wish.roots:
                home.definition.make_folders(machine.settings)
            if machine.state.has_worker:
                home.power.hold_files(machine)
        except JobFailed:
            machine.settings, machine.checkpoints, machine.frozen_files = before
            if machine.state.has_worker:
                home.power.hold_files(machine)
            raise
        self._remove_old(old_files, home.definition.configuration_files(machine.settings))
        machine.config_changed = home.site.timeline.now()
        home.machines.announce(machine)

    def _hand_over(self) -> None:
        machine, arrival, home, away = self._machine, self._ready(), self._home, self._away
        planned = away.machines.get_planned(machine.machine_id)
        arrival, missing = self._on_the_way().again(arrival)
        if missing:
            raise refusal(machine.name, machine.machine_id, away.name, missing)
        arrived = self._as_arrived(arrival)
        away.definition.make_folders(arrived.settings)
        home.disks.release(machine.machine_id)
        try:
            if arrived.state.has_worker:
                away.power.give_worker(arrived)
            self._hooks.reach(Stage.ARRIVE)
        except JobFailed:
            self._take_back(arrived)
            raise
        if planned is not None:
            away.machines.drop_plan(planned)
        self._announced = None
        self._leave(arrived)
        away.machines.add(arrived)
        guest = arrived.guest
        if guest is not None and guest.shutting_down:
            guest.shutting_down = False
            away.power.initiate(arrived, force=True, reboot=False)

    def _as_arrived(self, arrival: Arrival) -> Machine:
        machine, now = self._machine, self._away.site.timeline.now()
        settings = arrival.settings
        settings.set_system(VirtualSystemType=SYSTEM_TYPE_REALIZED)
        if not self._can_keep_folder(settings):
            settings = with_roots(
                settings, {"ConfigurationDataRoot": self._away.site.config.machine_folder}
            )
        # A host counts the processor time that a machine has used there: it begins with nothing.
        spent = machine.busy_seconds(now) - machine.busy_before
        return dataclasses.replace(
            machine,
            settings=settings,
            checkpoints=dict(arrival.checkpoints),
            frozen_files=self._frozen_files(arrival),
            process_id=0,
            occupied=False,
            activity=None,
            busy_before=-spent,
            config_changed=now,
        )

    def _can_keep_folder(self, settings: Configuration) -> bool:
        root = str(settings.system.values.get("ConfigurationDataRoot") or "")
        try:
            self._away.disks.place(root)
        except JobFailed:
            return False
        return True

    def _frozen_files(self, arrival: Arrival) -> set[str]:
        place, renames = self._home.disks.place, arrival.plan.renames
        return {renames.get(place(path).local, path).lower() for path in self._machine.frozen_files}

    def _take_back(self, arrived: Machine) -> None:
        """The destination could not take it: the source goes on with its own files."""
        machine, home, away = self._machine, self._home, self._away
        away.disks.release(arrived.machine_id)
        ours = {
            home.disks.place(p).local for p in home.definition.configuration_files(machine.settings)
        }
        for path in away.definition.configuration_files(arrived.settings):
            local = away.disks.place(path).local
            if local not in ours:
                local.unlink(missing_ok=True)
        if machine.state.has_worker:
            home.power.hold_files(machine)

    def _leave(self, arrived: Machine) -> None:
        machine, home = self._machine, self._home
        for listener in home.power.resetting_counters:
            listener(machine)
        kept = {
            self._away.disks.place(p).local
            for p in self._away.definition.configuration_files(arrived.settings)
        }
        self._remove_old(home.definition.configuration_files(machine.settings), [], kept)
        machine.guest = None
        home.machines.remove(machine)
        home.site.board.forget_machine(machine.machine_id)
        if self._hooks.job_vanishes and self.job is not None:
            home.site.board.forget(self.job)

    def _remove_old(
        self, old: list[str], new: list[str], kept: set[Path] | frozenset[Path] = frozenset()
    ) -> None:
        if not self._wish.keep_source_files:
            remove_sources(self._ready().plan)
        staying = {path.lower() for path in new}
        for path in old:
            local = self._home.disks.place(path).local
            if path.lower() not in staying and local not in kept:
                local.unlink(missing_ok=True)

    def _on_the_way(self) -> Itinerary:
        if self._itinerary is None:
            raise RuntimeError("the migration was not prepared")
        return self._itinerary

    def _ready(self) -> Arrival:
        if self._arrival is None:
            raise RuntimeError("the migration was not prepared")
        return self._arrival

    def _failure(self, text: str, hresult: int) -> JobFailed:
        return JobFailed(
            ReturnCode.FAILED,
            f"Virtual machine migration operation for '{self._machine.name}' failed at migration "
            f"source '{self._home.name}'. (Virtual machine ID {self._machine.machine_id}) "
            f"{text} (0x{hresult:08X}).",
            hresult,
        )


_MENDABLE = frozenset({SWITCH_MISSING, FILE_MISSING, POOL_MISSING})
