"""A host on a temporary folder with a virtual clock, driven through the CIM engine.

`Driver` speaks to it as the door does: checked calls in, checked rows out.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.provider import Caller, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import EmulatedHost, HostConfig, VirtualClock
from cloudstack_hyperv.emulator.schema import load_schema

V2 = "root/virtualization/v2"
VSMS = "Msvm_VirtualSystemManagementService"
CALLER = Caller("HYPERV1\\Administrator", mechanism="local")


class Driver:
    """A client of one emulated host."""

    def __init__(self, config: HostConfig, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.host = EmulatedHost(config, self.clock)
        self.engine = CimEngine(self.host, load_schema().for_release(config.release))

    async def call(
        self, class_name: str, method: str, selectors: dict[str, str] | None = None, **args: Value
    ) -> MethodReply:
        """Invoke a method; services need no selectors."""
        keys = selectors or {"CreationClassName": class_name}
        return await self.engine.invoke(V2, class_name, keys, method, args, CALLER)

    async def done(
        self, class_name: str, method: str, selectors: dict[str, str] | None = None, **args: Value
    ) -> MethodReply:
        """Invoke a method and see it through, whether it answers 0 or starts a job."""
        reply = await self.call(class_name, method, selectors, **args)
        assert reply.return_value in (0, 4096), (method, reply)
        if reply.return_value == 4096:
            job = await self.finish(reply)
            assert job["JobState"] == 7, (method, job["ErrorDescription"])
            assert job["ErrorCode"] == 0
        return reply

    async def finish(self, reply: MethodReply) -> dict[str, Value]:
        """Let time pass until a job is over; return its values."""
        path = reply.out["Job"]
        assert isinstance(path, ObjectPath)
        for _ in range(2000):
            job = await self.engine.get(V2, path.class_name, dict(path.keys))
            if job.values["JobState"] not in (2, 3, 4):
                return job.values
            self.clock.advance(0.1)
            await self.finish_soon()
        raise AssertionError("the job does not end")

    async def finish_soon(self) -> None:
        """Give work in threads a moment."""
        await asyncio.sleep(0.001)

    async def rows(self, class_name: str, namespace: str = V2) -> list[Row]:
        """Return all instances but the `Microsoft:Definition` ones."""
        rows = await self.engine.instances(namespace, class_name)
        return [row for row in rows if not is_definition(row)]

    async def query(self, text: str, namespace: str = V2) -> list[Row]:
        return list((await self.engine.query(namespace, text)).rows)

    async def machine(self, guid: str) -> dict[str, Value]:
        row = await self.engine.get(
            V2, "Msvm_ComputerSystem", {"CreationClassName": "Msvm_ComputerSystem", "Name": guid}
        )
        return row.values

    # Everyday things ------------------------------------------------------------------------

    async def define(
        self,
        name: str = "vm",
        generation: int = 1,
        resources: list[Row] | None = None,
        **more: Value,
    ) -> str:
        """Define a machine; return its GUID."""
        system: dict[str, Value] = {"ElementName": name, **more}
        if self.host.site.profile.has_generation_2:
            system["VirtualSystemSubType"] = f"Microsoft:Hyper-V:SubType:{generation}"
        reply = await self.done(
            VSMS,
            "DefineSystem",
            SystemSettings=Row("Msvm_VirtualSystemSettingData", system),
            ResourceSettings=resources,
        )
        path = reply.out["ResultingSystem"]
        assert isinstance(path, ObjectPath)
        return path.key("Name") or ""

    async def add(self, guid: str, *resources: Row) -> list[str]:
        """Add resources; return their InstanceIDs."""
        reply = await self.done(
            VSMS,
            "AddResourceSettings",
            AffectedConfiguration=settings_path(guid),
            ResourceSettings=list(resources),
        )
        found = reply.out["ResultingResourceSettings"]
        assert isinstance(found, list)
        return [path.key("InstanceID") for path in found]

    async def add_code(self, guid: str, *resources: Row) -> int | None:
        """Add resources; return the code, a failed job's ErrorCode included."""
        reply = await self.call(
            VSMS,
            "AddResourceSettings",
            AffectedConfiguration=settings_path(guid),
            ResourceSettings=list(resources),
        )
        return await self.code(reply)

    async def code(self, reply: MethodReply) -> int | None:
        """Return the code of a call, or of its job when one was started."""
        if reply.return_value != 4096:
            return reply.return_value
        error = (await self.finish(reply))["ErrorCode"]
        assert isinstance(error, int)
        return error

    async def modify(self, *resources: Row) -> int | None:
        reply = await self.call(VSMS, "ModifyResourceSettings", ResourceSettings=list(resources))
        return await self.code(reply)

    async def remove(self, *instance_ids: str, class_name: str | None = None) -> int | None:
        paths = [resource_path(instance_id, class_name) for instance_id in instance_ids]
        reply = await self.call(VSMS, "RemoveResourceSettings", ResourceSettings=paths)
        return await self.code(reply)

    async def state(self, guid: str, wanted: int) -> int | None:
        """Request a state; return the code, a failed job's ErrorCode included."""
        reply = await self.call(
            "Msvm_ComputerSystem",
            "RequestStateChange",
            {"CreationClassName": "Msvm_ComputerSystem", "Name": guid},
            RequestedState=wanted,
        )
        return await self.code(reply)

    async def start(self, guid: str) -> None:
        assert await self.state(guid, 2) == 0
        assert (await self.machine(guid))["EnabledState"] == 2

    async def create_disk(self, path: str, size: int = 64 * 2**20, **more: Value) -> int | None:
        return await self.create({"Path": path, "MaxInternalSize": size, **more})

    async def create(self, wanted: dict[str, Value]) -> int | None:
        """Create a disk, dynamic VHDX unless it says otherwise."""
        values: dict[str, Value] = {"Type": 3, "Format": 3, **wanted}
        reply = await self.call(
            "Msvm_ImageManagementService",
            "CreateVirtualHardDisk",
            VirtualDiskSettingData=Row("Msvm_VirtualHardDiskSettingData", values),
        )
        return await self.code(reply)

    async def image(self, method: str, **args: Value) -> int | None:
        reply = await self.call("Msvm_ImageManagementService", method, None, **args)
        return await self.code(reply)

    def file(self, windows: str) -> Path:
        return self.host.local_path(windows)

    async def ide_disk(self, guid: str, path: str, slot: int = 0) -> str:
        """Put a disk on the first IDE controller; return the medium's InstanceID."""
        controller = f"Microsoft:{guid}\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0"
        (drive,) = await self.add(guid, drive_row(controller, slot))
        (medium,) = await self.add(guid, medium_row(drive, path))
        return medium

    async def scsi_controller(self, guid: str) -> str:
        (controller,) = await self.add(guid, CONTROLLER)
        return controller


def is_definition(row: Row) -> bool:
    return str(row.values.get("InstanceID")).startswith("Microsoft:Definition\\")


def settings_path(guid: str) -> ObjectPath:
    return ObjectPath.of("Msvm_VirtualSystemSettingData", InstanceID=f"Microsoft:{guid}")


def system_path(guid: str) -> ObjectPath:
    return ObjectPath.of("Msvm_ComputerSystem", CreationClassName="Msvm_ComputerSystem", Name=guid)


def resource_path(instance_id: str, class_name: str | None = None) -> ObjectPath:
    if class_name is None:
        class_name = "Msvm_ResourceAllocationSettingData"
        if instance_id.endswith("\\L"):
            class_name = "Msvm_StorageAllocationSettingData"
        elif instance_id.endswith("\\C"):
            class_name = "Msvm_EthernetPortAllocationSettingData"
    return ObjectPath.of(class_name, InstanceID=instance_id)


CONTROLLER = Row(
    "Msvm_ResourceAllocationSettingData",
    {"ResourceType": 6, "ResourceSubType": "Microsoft:Hyper-V:Synthetic SCSI Controller"},
)


def drive_row(controller: str, slot: int | None = None, *, dvd: bool = False) -> Row:
    values: dict[str, Value] = {
        "ResourceType": 16 if dvd else 17,
        "ResourceSubType": f"Microsoft:Hyper-V:Synthetic {'DVD' if dvd else 'Disk'} Drive",
        "Parent": str(resource_path(controller)),
    }
    if slot is not None:
        values["AddressOnParent"] = str(slot)
    return Row("Msvm_ResourceAllocationSettingData", values)


def medium_row(drive: str, path: str, *, iso: bool = False) -> Row:
    kind = "CD/DVD Disk" if iso else "Hard Disk"
    return Row(
        "Msvm_StorageAllocationSettingData",
        {
            "ResourceType": 31,
            "ResourceSubType": f"Microsoft:Hyper-V:Virtual {kind}",
            "Parent": str(resource_path(drive)),
            "HostResource": [path],
        },
    )


def nic_row(name: str = "nic0", mac: str = "02004A1B0001") -> Row:
    return Row(
        "Msvm_SyntheticEthernetPortSettingData",
        {
            "ResourceType": 10,
            "ResourceSubType": "Microsoft:Hyper-V:Synthetic Ethernet Port",
            "ElementName": name,
            "StaticMacAddress": True,
            "Address": mac,
        },
    )


def connection_row(nic: str, switch: str | None) -> Row:
    values: dict[str, Value] = {
        "ResourceType": 33,
        "ResourceSubType": "Microsoft:Hyper-V:Ethernet Connection",
        "Parent": str(resource_path(nic, "Msvm_SyntheticEthernetPortSettingData")),
        "EnabledState": 2,
    }
    if switch is not None:
        values["HostResource"] = [switch]
    return Row("Msvm_EthernetPortAllocationSettingData", values)
