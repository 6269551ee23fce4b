"""Writing one export: the disks with their chains or merged, then the definitions.

Everything here runs in a thread and touches only files; a failure or a cancelled job leaves
nothing behind.
"""

from __future__ import annotations

import dataclasses
import itertools
import ntpath
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cloudstack_hyperv import vhd
from cloudstack_hyperv.emulator.cim.provider import Value
from cloudstack_hyperv.emulator.host.checkpoints import disk_paths
from cloudstack_hyperv.emulator.host.configuration import Configuration, configuration_suffix
from cloudstack_hyperv.emulator.host.definition_files import (
    DISKS,
    MACHINES,
    SNAPSHOTS,
    already_there,
    runtime_files,
    write_checkpoint,
    write_machine,
    write_runtime,
)
from cloudstack_hyperv.emulator.host.disk_transfer import FileMove, Transfer, TransferPlan
from cloudstack_hyperv.emulator.host.disk_work import DiskWish, DiskWork
from cloudstack_hyperv.emulator.host.disks import HostDisks, os_failure
from cloudstack_hyperv.emulator.host.jobs import Progress
from cloudstack_hyperv.emulator.host.machine import Machine, PowerState
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.relocation import FOLDERS, with_files

ALL, NONE, ONE, ONE_FOR_BACKUP = 0, 1, 2, 3
SAVED_STATE = 1
"""CaptureLiveState: with memory."""


@dataclass(frozen=True, slots=True)
class ExportWish:
    """What is to be exported."""

    checkpoints: int = ALL
    checkpoint: str = ""
    """GUID of the one checkpoint."""
    storage: bool = True
    memory: bool = True
    subfolder: bool = True
    live: int = SAVED_STATE
    merge: bool = False

    @property
    def merges(self) -> bool:
        """Whether chains become single disks."""
        return self.checkpoints in (NONE, ONE) or self.merge


@dataclass(slots=True)
class _Files:
    """Disk files of one export."""

    moves: dict[Path, FileMove] = field(default_factory=dict)
    links: list[tuple[str, str]] = field(default_factory=list)
    merged: dict[str, str] = field(default_factory=dict)
    """New path by the leaf of a chain that becomes one disk."""
    names: set[str] = field(default_factory=set)


class ExportRun:
    """One export; `write` runs in a thread."""

    def __init__(self, here: Peer, machine: Machine, wish: ExportWish, root: str) -> None:
        self._here = here
        self._disks: HostDisks = here.disks
        self._work = DiskWork(here.disks)
        self._machine = machine
        self._wish = wish
        self._root = root
        self._made: Path | None = None
        self._written: list[Path] = []

    def write(self, progress: Progress) -> None:
        """Write everything; raises JobFailed, and then nothing is left behind."""
        place = self._disks.place(self._root, "create the export directory")
        machines = self._disks.place(ntpath.join(self._root, MACHINES)).local
        if place.local.exists() and self._wish.subfolder:
            raise already_there(self._root)
        if machines.exists() and any(machines.iterdir()):
            raise already_there(ntpath.join(self._root, MACHINES))
        try:
            self._made = None if place.local.exists() else place.local
            for folder in (MACHINES, DISKS, SNAPSHOTS):
                (place.local / folder).mkdir(parents=True, exist_ok=True)
            self._export(progress)
        except OSError as problem:
            self.abandon()
            raise os_failure("export to", self._root, problem) from problem
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Remove what was written."""
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
        for path in self._written:
            path.unlink(missing_ok=True)

    def _export(self, progress: Progress) -> None:
        machine = self._exported_machine()
        files = _Files()
        if self._wish.storage:
            for settings in machine.all_settings():
                for path in disk_paths(settings):
                    self._plan(files, path)
            self._copy_disks(files, progress)
            machine = self._with_new_paths(machine, files)
        self._write_definitions(machine)

    def _exported_machine(self) -> Machine:
        """Return what the importer will see: the machine, or what it was at a checkpoint."""
        machine, wish = self._machine, self._wish
        settings, state = machine.settings, self._state()
        checkpoints = machine.checkpoints if wish.checkpoints == ALL else {}
        frozen = machine.frozen_files if wish.checkpoints == ALL else set()
        current, applied = machine.current_checkpoint, machine.last_applied
        if wish.checkpoint:
            checkpoint = machine.checkpoints[wish.checkpoint]
            settings = checkpoint.settings.renamed(
                machine.machine_id,
                ElementName=machine.name,
                VirtualSystemType=machine.settings.system.values["VirtualSystemType"],
            )
            keeps = checkpoint.has_memory and wish.memory
            state = PowerState.SAVED if keeps else PowerState.OFF
        if not checkpoints:
            current = applied = ""
            settings = settings.copy()
            settings.set_system(Parent=None)
        return dataclasses.replace(
            machine,
            settings=settings,
            state=state,
            checkpoints=dict(checkpoints),
            frozen_files=set(frozen),
            current_checkpoint=current,
            last_applied=applied,
            guest=None,
            process_id=0,
        )

    def _state(self) -> PowerState:
        wish = self._wish
        if not wish.memory or self._machine.is_off:
            return PowerState.OFF
        if self._machine.state is PowerState.SAVED:
            return PowerState.SAVED
        return PowerState.SAVED if wish.live == SAVED_STATE else PowerState.OFF

    # Disks ---------------------------------------------------------------------------------

    def _plan(self, files: _Files, path: str) -> None:
        chain = self._disks.chain(path)
        owned = {self._disks.place(each).local for each in self._machine.frozen_files}
        if self._wish.merges and len(chain) > 1 and chain[1].local in owned:
            ours = [place for place in chain if place.local in owned] or chain[:1]
            files.merged[path.lower()] = self._free_name(files, ours[-1].windows)
            return
        for place in chain:
            if place.local not in files.moves:
                target = self._disks.place(self._free_name(files, place.windows))
                files.moves[place.local] = FileMove(place, target)
        for upper, lower in itertools.pairwise(chain):
            link = (
                files.moves[upper.local].target.windows,
                files.moves[lower.local].target.windows,
            )
            if link not in files.links:
                files.links.append(link)

    def _free_name(self, files: _Files, path: str) -> str:
        stem, extension = ntpath.splitext(ntpath.basename(path))
        name, count = stem + extension, 1
        while name.lower() in files.names:
            count += 1
            name = f"{stem} ({count}){extension}"
        files.names.add(name.lower())
        return ntpath.join(self._root, DISKS, name)

    def _copy_disks(self, files: _Files, progress: Progress) -> None:
        plan = TransferPlan(tuple(files.moves.values()), tuple(files.links))
        Transfer(plan, self._disks).run(progress)
        self._written.extend(move.target.local for move in plan.moves)
        for leaf, target in files.merged.items():
            disk_format = vhd.format_of_name(target) or vhd.DiskFormat.VHDX
            wish = DiskWish(target, vhd.DiskType.DYNAMIC, disk_format)
            self._work.convert(leaf, wish, progress)
            self._written.append(self._disks.place(target).local)

    def _with_new_paths(self, machine: Machine, files: _Files) -> Machine:
        def new_path(path: str) -> str:
            if path.lower() in files.merged:
                return files.merged[path.lower()]
            move = files.moves.get(self._disks.place(path).local)
            return move.target.windows if move is not None else path

        return dataclasses.replace(
            machine,
            settings=with_files(machine.settings, new_path),
            checkpoints={
                guid: dataclasses.replace(
                    checkpoint, settings=with_files(checkpoint.settings, new_path)
                )
                for guid, checkpoint in machine.checkpoints.items()
            },
            frozen_files={new_path(path).lower() for path in machine.frozen_files},
        )

    # Definitions ---------------------------------------------------------------------------

    def _write_definitions(self, machine: Machine) -> None:
        profile = self._here.site.profile
        suffix = configuration_suffix(profile)
        guid = machine.machine_id
        machine = dataclasses.replace(machine, settings=self._homed(machine.settings, suffix))
        place = self._disks.place(ntpath.join(self._root, MACHINES, f"{guid}.{suffix}"))
        write_machine(place, machine)
        self._written.append(place.local)
        if machine.state is PowerState.SAVED:
            self._write_runtime(MACHINES, guid)
        for checkpoint_guid, checkpoint in machine.checkpoints.items():
            path = ntpath.join(self._root, SNAPSHOTS, f"{checkpoint_guid}.{suffix}")
            place = self._disks.place(path)
            write_checkpoint(place, machine, checkpoint_guid)
            self._written.append(place.local)
            if checkpoint.has_memory and self._wish.memory:
                self._write_runtime(SNAPSHOTS, checkpoint_guid)

    def _write_runtime(self, folder: str, guid: str) -> None:
        where = ntpath.join(self._root, folder)
        for path in runtime_files(self._here.site.profile, where, guid):
            place = self._disks.place(path)
            write_runtime(place)
            self._written.append(place.local)

    def _homed(self, settings: Configuration, suffix: str) -> Configuration:
        copy = settings.copy()
        roots: dict[str, Value] = {
            name: self._root for name in FOLDERS if name in settings.system.values
        }
        roots["ConfigurationFile"] = f"{MACHINES}\\{settings.guid}.{suffix}"
        copy.set_system(**roots)
        return copy
