r"""Msvm_VirtualSystemSnapshotService: checkpoints with their disks, really created and merged.

A checkpoint freezes the files a machine has and gives the machine children of them,
`<disk>_<GUID>.avhdx` beside the disk.  Applying one makes new children of its frozen files.
Deleting one leaves frozen files that nobody refers to; each is merged with its only child, or
removed when it has none.  That happens in the background: the job is over before the disks are.

Sources: Microsoft's page Msvm_VirtualSystemSnapshotService and its methods' pages, "Using
checkpoints to revert virtual machines to a previous state"; OperationalStatus 32772 while disks
merge from Msvm_ComputerSystem.
"""

from __future__ import annotations

import ntpath
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from cloudstack_hyperv.cim.constants import (
    SNAPSHOT_TYPE_REALIZED,
    SYSTEM_TYPE_REALIZED,
    ResourceSubType,
    ReturnCode,
)
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host.arguments import integer, optional_instance, reference
from cloudstack_hyperv.emulator.host.configuration import VSSD, Configuration
from cloudstack_hyperv.emulator.host.disk_chains import ChainWork, Collapse
from cloudstack_hyperv.emulator.host.guest import Guest, require_scripted
from cloudstack_hyperv.emulator.host.jobs import Job, JobKind, Progress
from cloudstack_hyperv.emulator.host.machine import Activity, Checkpoint, Machine, PowerState
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    Hresult,
    JobFailed,
    Refused,
    invalid_state,
)
from cloudstack_hyperv.emulator.host.power import Power
from cloudstack_hyperv.emulator.host.site import (
    Site,
    machine_reference,
    setting_reference,
    strings,
)

CREATE = JobKind.concrete(70, "Creating Virtual Machine Snapshot")
APPLY = JobKind.concrete(71, "Applying Virtual Machine Snapshot")
DELETE = JobKind.concrete(72, "Deleting Virtual Machine Snapshot")
CLEAR = JobKind.concrete(73, "Clearing Virtual Machine Snapshot State")

FULL_CHECKPOINT = 2
MOST_CHECKPOINTS = 50
_DISABLED, _PRODUCTION_OR_STANDARD, _PRODUCTION_ONLY = 2, 3, 4
_BRANCH_NAME = re.compile(r"_[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}$", re.IGNORECASE)
_RETRY_SECONDS = 0.1

Reply = MethodReply | Awaitable[MethodReply]


@dataclass(frozen=True, slots=True)
class _Branch:
    """A disk file and the child that a machine is going to use instead."""

    medium: str
    """InstanceID of the medium, upper case."""
    parent: str
    child: str


class Checkpoints:
    """The snapshot service of one host."""

    def __init__(self, site: Site, machines: Machines, power: Power, chains: ChainWork) -> None:
        self._site = site
        self._machines = machines
        self._power = power
        self._chains = chains
        self._merge_again: set[str] = set()
        """Machines that lost another checkpoint while their disks were being merged."""

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods by name."""
        return {
            "CreateSnapshot": self.create,
            "ApplySnapshot": self.apply,
            "DestroySnapshot": self.destroy,
            "DestroySnapshotTree": self.destroy_tree,
            "ClearSnapshotState": self.clear_state,
        }

    # Creating ------------------------------------------------------------------------------

    def create(self, call: MethodCall) -> Reply:
        """Freeze a machine's state."""
        machine = self._machines.referenced(call, "AffectedSystem")
        optional_instance(call, "SnapshotSettings")
        if integer(call, "SnapshotType", FULL_CHECKPOINT) != FULL_CHECKPOINT:
            raise Refused(ReturnCode.NOT_SUPPORTED, "recovery checkpoints are not modelled")
        self._check_can_create(machine)
        guid = self._site.dice.guid()
        branches = self._branches(machine.settings)
        started: list[Job] = []

        def begin() -> None:
            machine.activity = Activity.CREATING_CHECKPOINT

        def work(progress: Progress) -> None:
            self._chains.branch([(b.parent, b.child) for b in branches], progress)

        def finish(_: object) -> None:
            machine.activity = None
            has_memory = self._takes_memory(machine, branches)
            self._freeze(machine, guid, branches, has_memory=has_memory)
            for job in started:
                job.created.append(setting_reference(VSSD, f"Microsoft:{guid}"))

        return self._run(
            call, CREATE, machine, finish, begin=begin, work=work, on_job=started.append
        )

    def _check_can_create(self, machine: Machine) -> None:
        if not machine.state.is_stable:
            raise invalid_state(f"{machine.name} is {machine.state.value}")
        require_scripted(machine.guest, "a checkpoint")
        if machine.merging:
            raise invalid_state("disks are being merged")
        if len(machine.checkpoints) >= MOST_CHECKPOINTS:
            raise Refused(ReturnCode.FAILED, f"a machine has at most {MOST_CHECKPOINTS}")
        if machine.settings.system.values.get("UserSnapshotType") == _DISABLED:
            raise Refused(ReturnCode.NOT_SUPPORTED, "checkpoints are disabled")
        if any(True for _ in machine.settings.of_kind(ResourceSubType.PHYSICAL_DISK_DRIVE)):
            raise Refused(ReturnCode.NOT_SUPPORTED, "the machine has a pass-through disk")

    def _takes_memory(self, machine: Machine, branches: list[_Branch]) -> bool:
        """Decide between a production and a standard checkpoint; JobFailed if neither."""
        if machine.state in (PowerState.SAVED, PowerState.PAUSED):
            return True
        if not machine.is_running or machine.guest is None:
            return False
        wanted = machine.settings.system.values.get("UserSnapshotType")
        if wanted not in (_PRODUCTION_OR_STANDARD, _PRODUCTION_ONLY):
            return True
        ready = machine.guest.services_up(self._site.timeline.now())
        if ready and not machine.guest.script.fails_production_checkpoint:
            return False
        if wanted == _PRODUCTION_OR_STANDARD:
            return True
        self._chains.discard([branch.child for branch in branches])
        raise JobFailed(
            ReturnCode.FAILED,
            f"Production checkpoint of '{machine.name}' failed: the guest could not quiesce "
            f"(0x{Hresult.NOT_SUPPORTED:08X}).",
            Hresult.NOT_SUPPORTED,
        )

    def _branches(self, settings: Configuration) -> list[_Branch]:
        found: list[_Branch] = []
        for medium in settings.media:
            if medium.values["ResourceSubType"] != ResourceSubType.VIRTUAL_HARD_DISK:
                continue
            for path in strings(medium.values, "HostResource"):
                key = str(medium.values["InstanceID"]).upper()
                found.append(_Branch(key, path, branch_name(path, self._site.dice.guid())))
        return found

    def _freeze(
        self, machine: Machine, guid: str, branches: list[_Branch], *, has_memory: bool
    ) -> None:
        now = self._site.timeline.now()
        stamp = f"{now:%m/%d/%Y} - {now:%I:%M:%S %p}"
        frozen = machine.settings.renamed(
            guid,
            ElementName=f"{machine.name} - ({stamp})",
            VirtualSystemType=SNAPSHOT_TYPE_REALIZED,
            CreationTime=now,
            IsSaved=has_memory,
            Notes=None,
        )
        machine.checkpoints[guid] = Checkpoint(frozen, machine.current_checkpoint, has_memory, now)
        machine.frozen_files.update(branch.parent.lower() for branch in branches)
        machine.settings = self._branched(machine.settings, branches)
        self._stand_on(machine, guid)
        self._settled(machine)

    def _branched(self, settings: Configuration, branches: list[_Branch]) -> Configuration:
        copy = settings.copy()
        for branch in branches:
            medium = copy.resources[branch.medium]
            copy.put(Row(medium.class_name, {**medium.values, "HostResource": [branch.child]}))
        return copy

    def _stand_on(self, machine: Machine, guid: str) -> None:
        """Make a checkpoint the parent of the machine's state ("" for none)."""
        machine.current_checkpoint = guid
        parent = self._site.path_text(VSSD, InstanceID=f"Microsoft:{guid}") if guid else None
        machine.settings.set_system(Parent=parent)

    def _settled(self, machine: Machine) -> None:
        """Hold the machine's new files and tell who wants to know."""
        if machine.state.has_worker:
            self._power.hold_files(machine)
        self._machines.announce(machine)

    # Applying ------------------------------------------------------------------------------

    def apply(self, call: MethodCall) -> Reply:
        """Put a machine back to a checkpoint; what it was is lost."""
        machine, checkpoint = self._machines.checkpoint(reference(call, "Snapshot"))
        if machine.state not in (PowerState.OFF, PowerState.SAVED) or machine.merging:
            raise invalid_state(f"{machine.name} is {machine.state.value}")
        branches = self._branches(checkpoint.settings)

        def begin() -> None:
            machine.activity = Activity.APPLYING_CHECKPOINT

        def work(progress: Progress) -> None:
            self._chains.branch([(b.parent, b.child) for b in branches], progress)

        def finish(_: object) -> None:
            machine.activity = None
            self._return_to(machine, checkpoint, branches)

        return self._run(call, APPLY, machine, finish, begin=begin, work=work)

    def _return_to(self, machine: Machine, checkpoint: Checkpoint, branches: list[_Branch]) -> None:
        now = self._site.timeline.now()
        lost = [path.lower() for path in disk_paths(machine.settings)]
        system: dict[str, Value] = {
            "ElementName": machine.name,
            "VirtualSystemType": SYSTEM_TYPE_REALIZED,
            "CreationTime": machine.settings.system.values["CreationTime"],
            "Notes": machine.settings.system.values.get("Notes"),
        }
        branched = self._branched(checkpoint.settings, branches)
        machine.settings = branched.renamed(machine.machine_id, **system)
        self._stand_on(machine, checkpoint.settings.guid)
        machine.last_applied = checkpoint.settings.guid
        machine.guest = None
        if checkpoint.has_memory:
            booted = now - timedelta(seconds=machine.script.boot + 3600)
            machine.guest = Guest(
                machine.script, machine.name, machine.seed, booted, dict(machine.host_items)
            )
            machine.state = PowerState.SAVED
        else:
            machine.state = PowerState.OFF
        machine.state_changed = now
        kept = machine.frozen_files | {path.lower() for path in disk_paths(machine.settings)}
        self._chains.discard([path for path in lost if path not in kept])
        self._settled(machine)

    # Deleting ------------------------------------------------------------------------------

    def destroy(self, call: MethodCall) -> Reply:
        """Delete one checkpoint."""
        machine, checkpoint = self._machines.checkpoint(reference(call, "AffectedSnapshot"))
        return self._delete(call, machine, [checkpoint.settings.guid])

    def destroy_tree(self, call: MethodCall) -> Reply:
        """Delete a checkpoint and everything that descends from it."""
        machine, checkpoint = self._machines.checkpoint(reference(call, "SnapshotSettingData"))
        doomed = [checkpoint.settings.guid]
        for guid in doomed:
            doomed.extend(g for g, c in machine.checkpoints.items() if c.parent == guid)
        return self._delete(call, machine, doomed)

    def _delete(self, call: MethodCall, machine: Machine, doomed: list[str]) -> Reply:
        if not machine.state.is_stable:
            raise invalid_state(f"{machine.name} is {machine.state.value}")

        def begin() -> None:
            machine.activity = Activity.DELETING_CHECKPOINT

        def finish(_: object) -> None:
            machine.activity = None
            for guid in doomed:
                self._forget(machine, guid)
            self._machines.announce(machine)
            self._merge_later(machine)

        return self._run(call, DELETE, machine, finish, begin=begin)

    def _forget(self, machine: Machine, guid: str) -> None:
        gone = machine.checkpoints.pop(guid)
        for child in machine.checkpoints.values():
            if child.parent == guid:
                child.parent = gone.parent
                parent = (
                    self._site.path_text(VSSD, InstanceID=f"Microsoft:{gone.parent}")
                    if gone.parent
                    else None
                )
                child.settings.set_system(Parent=parent)
        if machine.current_checkpoint == guid:
            self._stand_on(machine, gone.parent)

    def clear_state(self, call: MethodCall) -> Reply:
        """Throw away a checkpoint's memory."""
        machine, checkpoint = self._machines.checkpoint(reference(call, "SnapshotSettingData"))
        if not checkpoint.has_memory:
            raise invalid_state("the checkpoint has no saved state")

        def finish(_: object) -> None:
            checkpoint.has_memory = False
            checkpoint.settings.set_system(IsSaved=False)
            self._machines.announce(machine)

        return self._run(call, CLEAR, machine, finish)

    # Merging -------------------------------------------------------------------------------

    def collapse_of(self, machine: Machine) -> Collapse:
        """Return what has to be merged or removed now that checkpoints are gone."""
        used = [path for settings in machine.all_settings() for path in disk_paths(settings)]
        return Collapse(tuple(used), frozenset(machine.frozen_files))

    def collapse_without(self, machine: Machine) -> Collapse:
        """Return what has to be merged when all checkpoints go."""
        return Collapse(tuple(disk_paths(machine.settings)), frozenset(machine.frozen_files))

    def _merge_later(self, machine: Machine) -> None:
        """Merge in the background, for at least `Timings.merge`; one merge a machine at a time."""
        if machine.merging:
            # What is to be merged next depends on what the running merge leaves behind.
            self._merge_again.add(machine.machine_id)
            return
        collapse = self.collapse_of(machine)
        machine.merging += 1
        running = self._site.conductor.in_thread(lambda: self._chains.collapse(collapse))

        def finish() -> None:
            if machine.occupied and not machine.destroyed:
                self._site.timeline.after(_RETRY_SECONDS, finish)
                return
            machine.merging -= 1
            if machine.destroyed:
                self._merge_again.discard(machine.machine_id)
                return
            self.take_moves(machine, running.result())
            if machine.machine_id in self._merge_again:
                self._merge_again.remove(machine.machine_id)
                self._merge_later(machine)
            self._settled(machine)

        def time_is_up() -> None:
            self._site.timeline.when_done(running, finish)

        self._site.timeline.after(self._site.config.timings.merge, time_is_up)

    def take_moves(self, machine: Machine, moves: dict[str, str]) -> None:
        """Let media point to where their content is after a merge; keys are lower case."""
        for settings in machine.all_settings():
            for medium in settings.media:
                for path in strings(medium.values, "HostResource"):
                    there = moves.get(path.lower())
                    if there is not None:
                        values = {**medium.values, "HostResource": [there]}
                        settings.put(Row(medium.class_name, values))
        machine.frozen_files -= set(moves)
        if not machine.checkpoints and machine.machine_id not in self._merge_again:
            machine.frozen_files.clear()

    def _run(
        self,
        call: MethodCall,
        kind: JobKind,
        machine: Machine,
        finish: Callable[[object], None],
        *,
        begin: Callable[[], None] = lambda: None,
        work: Callable[[Progress], None] | None = None,
        on_job: Callable[[Job], None] = lambda _: None,
    ) -> Reply:
        def fail() -> None:
            machine.activity = None

        return self._site.conductor.run(
            call,
            Operation(
                kind,
                finish,
                self._site.config.timings.checkpoint,
                # os-win's take_vm_snapshot finds the new checkpoint through the job, whatever the
                # method returned.
                always_job=kind is CREATE,
                machine=machine,
                affected=(machine_reference(machine.machine_id),),
                begin=begin,
                fail=fail,
                work=work,
                on_job=on_job,
            ),
        )


def disk_paths(settings: Configuration) -> list[str]:
    """Return the paths of a configuration's virtual hard disks."""
    return [
        path
        for medium in settings.media
        if medium.values["ResourceSubType"] == ResourceSubType.VIRTUAL_HARD_DISK
        for path in strings(medium.values, "HostResource")
    ]


def branch_name(path: str, guid: str) -> str:
    r"""Return a checkpoint disk's name: `x.vhdx` and `x_<GUID>.avhdx` both give `x_<new>.avhdx`."""
    stem, extension = ntpath.splitext(path)
    suffix = "avhdx" if "x" in extension.lower() else "avhd"
    return f"{_BRANCH_NAME.sub('', stem)}_{guid}.{suffix}"
