r"""ExportSystemDefinition: a machine as files that another host can import.

`<folder>\<name>\Virtual Machines\<GUID>.vmcx`, `Virtual Hard Disks`, `Snapshots`.  With all
checkpoints the disks' chains are copied as they are; without checkpoints, or with one, what the
guest sees there is merged into one disk, under the name that the disk had before any checkpoint.
A running machine is exported from 2012 R2 on, with its memory unless asked otherwise.

Sources: Microsoft's pages ExportSystemDefinition and Msvm_VirtualSystemExportSettingData,
Export-VM and Export-VMSnapshot; what one checkpoint for backup differs in is a guess (its chain is
kept, unless BackupIntent says merge).
"""

from __future__ import annotations

import dataclasses
import itertools
import ntpath
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloudstack_hyperv import vhd
from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host.arguments import optional_instance, string
from cloudstack_hyperv.emulator.host.associations import system_reference
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
from cloudstack_hyperv.emulator.host.jobs import JobKind, Progress
from cloudstack_hyperv.emulator.host.machine import Activity, Machine, PowerState
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    Refused,
    invalid_parameter,
    invalid_state,
)
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.relocation import FOLDERS, with_files
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import machine_reference, number, text

EXPORT = JobKind("Msvm_ConcreteJob", 80, "Exporting Virtual Machine", cancellable=True)
SETTINGS = "Msvm_VirtualSystemExportSettingData"
ALL, NONE, ONE, ONE_FOR_BACKUP = 0, 1, 2, 3
_CRASH_CONSISTENT, _SAVED, _APP_CONSISTENT = 0, 1, 2
_MERGE = 1
_FORBIDDEN = str.maketrans(dict.fromkeys('<>:"/\\|?*', "_"))
_UNSUPPORTED = ("DifferentialBackupBase", "ExcludedVirtualHardDisks", "ExportForLiveMigration")

Reply = MethodReply | Awaitable[MethodReply]


@dataclass(frozen=True, slots=True)
class ExportWish:
    """What is to be exported."""

    checkpoints: int = ALL
    checkpoint: str = ""
    """GUID of the one checkpoint."""
    storage: bool = True
    memory: bool = True
    subfolder: bool = True
    live: int = _SAVED
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


class Export:
    """The exporting part of the management service of one host."""

    def __init__(self, here: Peer) -> None:
        self._here = here
        self._site = here.site
        self._disks = here.disks

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods of the management service by name."""
        return {"ExportSystemDefinition": self.export}

    def export(self, call: MethodCall) -> Reply:
        """Write a machine's definition, and what belongs to it, into a folder."""
        machine = self._here.machines.referenced(call, "ComputerSystem")
        folder = string(call, "ExportDirectory")
        wish = self._read_wish(call, machine)
        self._check_state(machine)
        name = machine.name.translate(_FORBIDDEN).rstrip(". ")
        root = ntpath.join(folder, name) if wish.subfolder else folder
        run = _Run(self._here, machine, wish, root)

        def begin() -> None:
            machine.activity = Activity.EXPORTING

        def done(_: object) -> None:
            machine.activity = None

        def fail() -> None:
            machine.activity = None
            run.abandon()

        return self._site.conductor.run(
            call,
            Operation(
                EXPORT,
                done,
                self._site.config.timings.export,
                machine=machine,
                affected=(machine_reference(machine.machine_id),),
                work=run.write,
                begin=begin,
                fail=fail,
            ),
        )

    def _check_state(self, machine: Machine) -> None:
        alive = machine.state.has_worker
        if not machine.state.is_stable or machine.merging:
            raise invalid_state(f"{machine.name} is {machine.state.value}, or busy")
        if alive and not self._site.profile.is_2012_r2_or_newer:
            raise invalid_state("this release exports machines that are off or saved only")
        if machine.planned:
            raise Refused(ReturnCode.NOT_SUPPORTED, "exporting a planned system is not modelled")

    def _read_wish(self, call: MethodCall, machine: Machine) -> ExportWish:
        request = optional_instance(call, "ExportSettingData")
        if request is None:
            return ExportWish()
        values = request.values
        if request.class_name != SETTINGS:
            raise invalid_parameter(f"ExportSettingData is not a {SETTINGS}")
        for name in _UNSUPPORTED:
            if values.get(name):
                raise Refused(ReturnCode.NOT_SUPPORTED, f"{name} is not modelled")
        kind = _choice(values, "CopySnapshotConfiguration", ALL, 3)
        guid = ""
        if kind in (ONE, ONE_FOR_BACKUP):
            guid = self._checkpoint(machine, text(values, "SnapshotVirtualSystem"))
        return ExportWish(
            kind,
            guid,
            values.get("CopyVmStorage") is not False,
            values.get("CopyVmRuntimeInformation") is not False,
            values.get("CreateVmExportSubdirectory") is not False,
            _choice(values, "CaptureLiveState", _SAVED, 2),
            number(values, "BackupIntent") == _MERGE and kind == ONE_FOR_BACKUP,
        )

    def _checkpoint(self, machine: Machine, path: str) -> str:
        try:
            instance_id = ObjectPath.parse(path).key("InstanceID") or ""
        except MalformedPath as problem:
            raise invalid_parameter("SnapshotVirtualSystem is not a path") from problem
        guid = instance_id.upper().removeprefix("MICROSOFT:")
        if guid not in machine.checkpoints:
            raise invalid_parameter("SnapshotVirtualSystem names no checkpoint of the machine")
        return guid

    # Default settings ----------------------------------------------------------------------

    def register(self, table: ClassTable) -> None:
        """Serve each machine's default export settings."""
        table.serve(SETTINGS, self._defaults)
        table.serve("Msvm_SystemExportSettingData", self._associations)

    def _defaults(self) -> Iterator[Row]:
        for machine in self._here.machines.everything():
            values: dict[str, Value] = {
                "InstanceID": f"Microsoft:{machine.machine_id}\\ExportSettingData",
                "Caption": "Export Setting Data",
                "Description": "Virtual System Export Setting Data",
                "ElementName": "Export Setting Data",
                "CopySnapshotConfiguration": ALL,
                "CopyVmRuntimeInformation": True,
                "CopyVmStorage": True,
                "CreateVmExportSubdirectory": True,
                "SnapshotVirtualSystem": "",
            }
            if self._site.profile.is_2016_or_newer:
                values.update(CaptureLiveState=_SAVED, BackupIntent=0)
            yield Row(SETTINGS, values)

    def _associations(self) -> Iterator[Row]:
        rows = zip(self._here.machines.everything(), self._defaults(), strict=True)
        for machine, settings in rows:
            yield Row(
                "Msvm_SystemExportSettingData",
                {
                    "ManagedElement": system_reference(machine),
                    "SettingData": self._site.reference(settings),
                    "IsDefault": 1,
                    "IsCurrent": 1,
                    "IsNext": 1,
                },
            )


def _choice(values: dict[str, Value], name: str, default: int, most: int) -> int:
    if values.get(name) is None:
        return default
    chosen = number(values, name)
    if not 0 <= chosen <= most:
        raise invalid_parameter(f"{name} {chosen} is unknown")
    return chosen


class _Run:
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
        return PowerState.SAVED if wish.live == _SAVED else PowerState.OFF

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
