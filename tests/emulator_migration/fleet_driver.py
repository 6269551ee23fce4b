"""Fleets of emulated hosts under one virtual clock, each driven through its CIM engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.emulator_host.driver import (
    CONTROLLER,
    V2,
    VSMS,
    Driver,
    connection_row,
    drive_row,
    medium_row,
    nic_row,
    system_path,
)

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.provider import Caller, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import EmulatedHost, HostConfig, JobMode, VirtualClock
from cloudstack_hyperv.emulator.host.fleet import Fleet, plan_fleet
from cloudstack_hyperv.emulator.schema import load_schema
from cloudstack_hyperv.vhd import OsFile, open_disk

SERVICE = "Msvm_VirtualSystemMigrationService"
SETTINGS = "Msvm_VirtualSystemMigrationSettingData"
CLUSTER_NAMESPACE = "root/mscluster"
SHARE = r"\\FILESERVER\vms"
VM, STORAGE, STAGED, VM_AND_STORAGE = 32768, 32769, 32770, 32771
CONSOLE = Caller("HYPERV\\Administrator", mechanism="local")
NTLM = Caller("HYPERV\\Administrator", mechanism="ntlm")
KERBEROS_LOGIN = Caller("HYPERV\\Administrator", mechanism="kerberos")
CREDSSP_LOGIN = Caller("HYPERV\\Administrator", mechanism="credssp")
MIB = 2**20


class HostDriver(Driver):
    """A client of one host of a fleet."""

    def __init__(self, host: EmulatedHost, clock: VirtualClock) -> None:
        self.clock = clock
        self.host = host
        self.engine = CimEngine(host, load_schema().for_release(host.release))

    async def as_caller(
        self, caller: Caller, class_name: str, method: str, **args: Value
    ) -> MethodReply:
        keys = {"CreationClassName": class_name}
        return await self.engine.invoke(V2, class_name, keys, method, args, caller)

    async def migrate(
        self,
        guid: str,
        kind: int,
        destination: str | None = None,
        *,
        caller: Caller = CONSOLE,
        method: str = "MigrateVirtualSystemToHost",
        resources: list[Row] | None = None,
        system: Row | None = None,
        **settings: Value,
    ) -> MethodReply:
        args: dict[str, Value] = {
            "ComputerSystem": system_path(guid),
            "MigrationSettingData": Row(SETTINGS, {"MigrationType": kind, **settings}),
        }
        if destination is not None:
            args["DestinationHost"] = destination
        if resources is not None:
            args["NewResourceSettingData"] = resources
        if system is not None:
            args["NewSystemSettingData"] = system
        return await self.as_caller(caller, SERVICE, method, **args)

    async def migrated(self, guid: str, kind: int, *args: str, **more: Any) -> dict[str, Value]:
        """Migrate and see it through; return the finished job."""
        reply = await self.migrate(guid, kind, *args, **more)
        assert reply.return_value == 4096, reply
        job = await self.finish(reply)
        assert job["JobState"] == 7, job["ErrorDescription"]
        return job

    async def refused(self, guid: str, kind: int, *args: str, **more: Any) -> dict[str, Value]:
        """Try to migrate; return the failed job."""
        reply = await self.migrate(guid, kind, *args, **more)
        assert reply.return_value == 4096, reply
        job = await self.finish(reply)
        assert job["JobState"] == 10
        assert isinstance(job["ErrorCode"], int)
        assert job["ErrorCode"] >= 32768
        return job

    async def names(self) -> set[str]:
        """GUIDs of the machines of this host."""
        return {
            str(row.values["Name"])
            for row in await self.rows("Msvm_ComputerSystem")
            if row.values["Caption"] == "Virtual Machine"
        }

    async def planned(self) -> list[str]:
        return [str(row.values["Name"]) for row in await self.rows("Msvm_PlannedComputerSystem")]

    async def enabled_state(self, guid: str) -> Value:
        return (await self.machine(guid))["EnabledState"]

    async def disks(self, guid: str) -> list[Row]:
        """Active hard disks of a machine."""
        rows = await self.rows("Msvm_StorageAllocationSettingData")
        return [
            row
            for row in rows
            if str(row.values["InstanceID"]).startswith(f"Microsoft:{guid}\\")
            and row.values["ResourceSubType"] == "Microsoft:Hyper-V:Virtual Hard Disk"
        ]

    async def disk_path(self, guid: str) -> str:
        (row,) = await self.disks(guid)
        path = row.values["HostResource"]
        assert isinstance(path, list)
        return str(path[0])

    async def moved_disk(self, guid: str, path: str, **changes: Value) -> Row:
        (row,) = await self.disks(guid)
        values = {**row.values, "HostResource": [path], "PoolID": "", **changes}
        return Row(row.class_name, values)

    async def build(
        self,
        name: str = "web",
        *,
        folder: str = SHARE,
        switch: str = "External",
        start: bool = True,
        **system: Value,
    ) -> str:
        """Make a machine with a disk of known content in `folder` and an adapter."""
        guid = await self.define(name, 1, None, ConfigurationDataRoot=folder, **system)
        path = f"{folder}\\{name}.vhdx"
        self.file(path).parent.mkdir(parents=True, exist_ok=True)
        assert await self.create_disk(path, 8 * MIB) == 0
        self.write(path, 3 * MIB, f"content of {name}".encode() * 100)
        (controller,) = await self.add(guid, CONTROLLER)
        (drive,) = await self.add(guid, drive_row(controller, 0))
        await self.add(guid, medium_row(drive, path))
        (nic,) = await self.add(guid, nic_row())
        (wanted,) = [each for each in self.host.switches if each.name == switch]
        await self.add(guid, connection_row(nic, wanted.path_text))
        if start:
            await self.start(guid)
            self.clock.advance(20)
        return guid

    def write(self, path: str, offset: int, data: bytes) -> None:
        """Change a disk's content, as its guest would."""
        with self.host.disks.opened(path, "write to", writable=True) as disk:
            padded = data + bytes(-len(data) % 512)
            disk.write(offset, padded)
            disk.flush()

    def content(self, path: str) -> bytes:
        """Return the whole content of a disk, through its chain."""
        with self.host.disks.opened(path, "read") as disk:
            return disk.read(0, disk.virtual_size)

    async def summary(self) -> list[Row]:
        reply = await self.call(VSMS, "GetSummaryInformation", RequestedInformation=[0, 1, 100])
        rows = reply.out["SummaryInformation"]
        assert isinstance(rows, list)
        return rows


class FleetDriver:
    """Hosts that know each other."""

    def __init__(self, folder: Path, count: int = 2, **options: Any) -> None:
        template = HostConfig(folder, job_mode=JobMode.ALWAYS_4096)
        self.clock = VirtualClock()
        plan = plan_fleet(folder, count, **{"template": template, **options})
        self.fleet = Fleet(plan, self.clock)
        self.hosts = [HostDriver(host, self.clock) for host in self.fleet]

    def __getitem__(self, index: int) -> HostDriver:
        return self.hosts[index]


def standalone_content(path: Path) -> bytes:
    """Return the content of a disk file that needs no parent."""
    with OsFile(path) as file, open_disk(file) as disk:
        return disk.read(0, disk.virtual_size)


def reference_text(row: Row) -> str:
    return str(ObjectPath.of(row.class_name, InstanceID=str(row.values["InstanceID"])))
