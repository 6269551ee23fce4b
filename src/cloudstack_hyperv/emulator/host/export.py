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

import ntpath
from collections.abc import Awaitable, Callable, Iterator

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host.arguments import optional_instance, string
from cloudstack_hyperv.emulator.host.associations import system_reference
from cloudstack_hyperv.emulator.host.export_run import (
    ALL,
    ONE,
    ONE_FOR_BACKUP,
    SAVED_STATE,
    ExportRun,
    ExportWish,
)
from cloudstack_hyperv.emulator.host.guest import require_scripted
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.machine import Activity, Machine
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import Refused, invalid_parameter, invalid_state
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import machine_reference, number, text

EXPORT = JobKind("Msvm_ConcreteJob", 80, "Exporting Virtual Machine", cancellable=True)
SETTINGS = "Msvm_VirtualSystemExportSettingData"
_MERGE = 1
_FORBIDDEN = str.maketrans(dict.fromkeys('<>:"/\\|?*', "_"))
_UNSUPPORTED = ("DifferentialBackupBase", "ExcludedVirtualHardDisks", "ExportForLiveMigration")

Reply = MethodReply | Awaitable[MethodReply]


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
        run = ExportRun(self._here, machine, wish, root)

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
        require_scripted(machine.guest, "an export")
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
            _choice(values, "CaptureLiveState", SAVED_STATE, 2),
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
                values.update(CaptureLiveState=SAVED_STATE, BackupIntent=0)
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
