"""A second administrator at the host: machines are changed behind the agent's back.

Changes go through the CIM engine like anybody's, so they obey every rule of Hyper-V; but they do
not pass the door (they are in no call log, and rules do not meet them), and they are complete when
they return, whatever the host's way of answering with jobs.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import (
    NAMESPACE_VIRTUALIZATION,
    RequestedState,
    ResourceSubType,
)
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.provider import Caller, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import fates
from cloudstack_hyperv.emulator.host.host import EmulatedHost
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.emulator.host.site import machine_reference, setting_reference
from cloudstack_hyperv.emulator.mischief.actions import (
    AttachDisk,
    CheckpointVm,
    DeleteVm,
    MachineAction,
    RenameVm,
    StartVm,
    StopVm,
)
from cloudstack_hyperv.emulator.mischief.failure import MischiefFailed

_SECOND_ADMINISTRATOR: Final = Caller("Administrator", mechanism="local")
_MANAGEMENT: Final = "Msvm_VirtualSystemManagementService"
_SNAPSHOTS: Final = "Msvm_VirtualSystemSnapshotService"
_SETTINGS: Final = "Msvm_VirtualSystemSettingData"
_RESOURCE: Final = "Msvm_ResourceAllocationSettingData"
_STORAGE: Final = "Msvm_StorageAllocationSettingData"
_FULL_CHECKPOINT: Final = 2


class MachineChanges:
    """Carries out `MachineAction`s on one host."""

    def __init__(self, host: EmulatedHost, engine: CimEngine) -> None:
        self._host = host
        self._engine = engine

    async def do(self, action: MachineAction) -> None:
        """Change a machine; raises MischiefFailed where the host refuses."""
        self._host.timeline.settle()
        machine = self._machine(action.vm)
        with fates.at_once():
            match action:
                case RenameVm():
                    await self._rename(machine, action.to)
                case StartVm():
                    await self._change_state(machine, RequestedState.START)
                case StopVm():
                    await self._change_state(machine, RequestedState.TURN_OFF)
                case DeleteVm():
                    await self._delete(machine)
                case CheckpointVm():
                    await self._call(
                        _SNAPSHOTS,
                        "CreateSnapshot",
                        AffectedSystem=machine_reference(machine.machine_id),
                        SnapshotType=_FULL_CHECKPOINT,
                    )
                case AttachDisk():
                    await self._attach(machine, action.path)

    def _machine(self, name: str) -> Machine:
        found = self._host.machines.get(name)
        if found is not None:
            return found
        named = self._host.machines.by_name(name)
        if len(named) != 1:
            raise MischiefFailed(f"{len(named)} machines are called {name!r}")
        return named[0]

    async def _rename(self, machine: Machine, name: str) -> None:
        changed = {"InstanceID": f"Microsoft:{machine.machine_id}", "ElementName": name}
        await self._call(_MANAGEMENT, "ModifySystemSettings", SystemSettings=_row(changed))

    async def _change_state(self, machine: Machine, wanted: int) -> None:
        keys = {"CreationClassName": "Msvm_ComputerSystem", "Name": machine.machine_id}
        await self._call("Msvm_ComputerSystem", "RequestStateChange", keys, RequestedState=wanted)

    async def _delete(self, machine: Machine) -> None:
        if machine.state.has_worker:
            await self._change_state(machine, RequestedState.TURN_OFF)
        reference = machine_reference(machine.machine_id)
        await self._call(_MANAGEMENT, "DestroySystem", AffectedSystem=reference)

    async def _attach(self, machine: Machine, path: str) -> None:
        settings = machine.settings
        controllers = [
            *settings.of_kind(ResourceSubType.SCSI_CONTROLLER),
            *settings.of_kind(ResourceSubType.IDE_CONTROLLER),
        ]
        drive: str | None = None
        for controller in controllers:
            reply = await self._add(machine, _drive(self._host.site.setting_path(controller)))
            if reply.return_value == 0:
                drive = _first_result(reply)
                break
        if drive is None:
            raise MischiefFailed(f"{machine.name} has no free controller place")
        parent = self._host.site.path_text(_RESOURCE, InstanceID=drive)
        reply = await self._add(machine, _medium(parent, path))
        if reply.return_value != 0:
            await self._call(
                _MANAGEMENT,
                "RemoveResourceSettings",
                ResourceSettings=[setting_reference(_RESOURCE, drive)],
            )
            raise MischiefFailed(f"AddResourceSettings of {path}: {reply.return_value}")

    async def _add(self, machine: Machine, resource: Row) -> MethodReply:
        return await self._invoke(
            _MANAGEMENT,
            "AddResourceSettings",
            AffectedConfiguration=setting_reference(_SETTINGS, f"Microsoft:{machine.machine_id}"),
            ResourceSettings=[resource],
        )

    async def _call(
        self, class_name: str, method: str, keys: dict[str, str] | None = None, **arguments: Value
    ) -> None:
        reply = await self._invoke(class_name, method, keys, **arguments)
        if reply.return_value != 0:
            raise MischiefFailed(f"{class_name}.{method}: {reply.return_value}")

    async def _invoke(
        self, class_name: str, method: str, keys: dict[str, str] | None = None, **arguments: Value
    ) -> MethodReply:
        try:
            return await self._engine.invoke(
                NAMESPACE_VIRTUALIZATION,
                class_name,
                keys or {"CreationClassName": class_name},
                method,
                arguments,
                _SECOND_ADMINISTRATOR,
            )
        except JobFailed as failure:
            raise MischiefFailed(f"{class_name}.{method}: {failure.text}") from failure


def _row(values: dict[str, str]) -> Row:
    return Row(_SETTINGS, dict(values))


def _drive(controller: str) -> Row:
    return Row(
        _RESOURCE,
        {
            "ResourceType": 17,
            "ResourceSubType": ResourceSubType.DISK_DRIVE,
            "Parent": controller,
        },
    )


def _medium(drive: str, path: str) -> Row:
    return Row(
        _STORAGE,
        {
            "ResourceType": 31,
            "ResourceSubType": ResourceSubType.VIRTUAL_HARD_DISK,
            "Parent": drive,
            "HostResource": [path],
        },
    )


def _first_result(reply: MethodReply) -> str:
    results = reply.out.get("ResultingResourceSettings")
    if isinstance(results, list) and results and isinstance(results[0], ObjectPath):
        return results[0].key("InstanceID") or ""
    raise MischiefFailed("AddResourceSettings names no result")
