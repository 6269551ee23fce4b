"""Commands about one VM as a management server sends them, and the VM as the host has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.emulation import (
    POOL,
    SECONDARY_URL,
    Emulation,
    agent_context,
    running_emulation,
)

from cloudstack_hyperv.cim import Uint16
from cloudstack_hyperv.hypervisor.adapters import AdapterState, read_adapters
from cloudstack_hyperv.hypervisor.devices import Devices, read_devices
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, Machine, MachineDirectory
from cloudstack_hyperv.messages import Answer, Command, decode_command, encode_command
from cloudstack_hyperv.messages.commands.storage import AttachCommand, DettachCommand
from cloudstack_hyperv.messages.commands.vm import StartCommand, StopCommand
from cloudstack_hyperv.messages.objects.storage import (
    NfsTO,
    PrimaryDataStoreTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.messages.objects.vm import DiskTO, NicTO, VirtualMachineTO
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.wsman.api import EmbeddedInstance

NAME = "i-2-17-VM"
UUID = "8b030b6a-0243-440a-8cc5-45d08815ca11"
ROOT = "19ae8e67-cb2c-4ab4-901e-e0b864272b59"
DATA = "3b9d0f52-7f0e-4a53-8d0d-4a7d5f5c1a11"
SPARE = "77777777-7f0e-4a53-8d0d-4a7d5f5c1a11"
ISO = "template/tmpl/2/210/210-2-9c0a1b7e.iso"
LABEL = "External"
GIB = 1024**3


def volume(stem: str, kind: str, sequence: int | None) -> DiskTO:
    """A volume in the local pool."""
    store = PrimaryDataStoreTO(uuid="pool", pool_type="Filesystem", host="192.0.2.10", path=POOL)
    data = VolumeObjectTO(uuid=stem, path=stem, format="VHDX", data_store=store, volume_type=kind)
    return DiskTO(data=data, disk_seq=sequence, path=stem, type=kind)


def iso(path: str = ISO, sequence: int = 3) -> DiskTO:
    """An ISO on the secondary store."""
    data = TemplateObjectTO(path=path, format="ISO", image_data_store=NfsTO(url=SECONDARY_URL))
    return DiskTO(data=data, disk_seq=sequence, path=path, type="ISO")


def nic(device_id: int, broadcast_uri: str | None = "vlan://untagged", **changes: Any) -> NicTO:
    """A guest NIC on the external switch."""
    fields: dict[str, Any] = {
        "device_id": device_id,
        "mac": f"02:00:51:2c:00:{device_id:02x}",
        "name": LABEL,
        "type": "Guest",
        "ip": "10.1.1.67",
        "netmask": "255.255.255.0",
        "broadcast_type": "Vlan",
        "broadcast_uri": broadcast_uri,
        "isolation_uri": broadcast_uri,
        "network_rate_mbps": 200,
        **changes,
    }
    return NicTO(**fields)


def virtual_machine(**changes: Any) -> VirtualMachineTO:
    """Two disks, an empty DVD drive, two NICs of which one has a VLAN, rate limits."""
    fields: dict[str, Any] = {
        "id": 17,
        "name": NAME,
        "uuid": UUID,
        "type": "User",
        "cpus": 2,
        "min_speed": 1000,
        "max_speed": 1000,
        "min_ram": GIB,
        "max_ram": GIB,
        "os": "Debian GNU/Linux 12 (64-bit)",
        "boot_args": "",
        "disks": [
            volume(ROOT, "ROOT", 0),
            volume(DATA, "DATADISK", 1),
            DiskTO(disk_seq=3, type="ISO"),
        ],
        "nics": [nic(0, "vlan://261"), nic(1)],
        **changes,
    }
    return VirtualMachineTO(**fields)


def start_command(**changes: Any) -> StartCommand:
    """Start the VM of these tests."""
    return StartCommand(vm=virtual_machine(**changes), host_ip="192.0.2.10")


def stop_command(**changes: Any) -> StopCommand:
    """Stop it."""
    return StopCommand(**{"vm_name": NAME, "force_stop": True, **changes})


def attach_command(disk: DiskTO) -> AttachCommand:
    """Attach to it."""
    return AttachCommand(vm_name=NAME, disk=disk)


def detach_command(disk: DiskTO) -> DettachCommand:
    """Detach from it."""
    return DettachCommand(vm_name=NAME, disk=disk)


@dataclass(slots=True)
class Stage:
    """An emulated host, an agent's resource for it, and another client that looks."""

    emulation: Emulation
    resource: Resource
    directory: MachineDirectory
    round_trips: int = 0
    """Requests that the host got for the last command, without job polls."""

    def make_disks(self) -> None:
        """Make the files that the VM of these tests has."""
        for stem in (ROOT, DATA, SPARE):
            self.emulation.make_disk(stem)
        self.emulation.make_iso(ISO)

    def has_disks(self) -> bool:
        """Whether all of them are still there."""
        return all(
            self.emulation.path(f"{POOL}\\{stem}.vhdx").exists() for stem in (ROOT, DATA, SPARE)
        )

    async def send(self, command: Command) -> Answer:
        """Send a command as it travels: encoded, decoded, executed."""
        decoded = decode_command(type(command).java_class, encode_command(command))
        before = self.emulation.server.calls.count
        answer = await self.resource.execute(decoded)
        self.round_trips = sum(
            not (record.call.operation == "Get" and record.call.class_name.endswith("Job"))
            for record in self.emulation.server.calls.records
            if record.call.number > before
        )
        return answer

    async def done(self, command: Command) -> Answer:
        """Send a command that must succeed."""
        answer = await self.send(command)
        assert answer.result, answer.details
        return answer

    async def refused(self, command: Command) -> str:
        """Send a command that must fail; returns its details."""
        answer = await self.send(command)
        assert not answer.result
        assert answer.details
        return answer.details

    async def foreign_vm(self, name: str = NAME, **properties: Any) -> None:
        """Let somebody else make a VM."""
        system = EmbeddedInstance(
            "Msvm_VirtualSystemSettingData", {"ElementName": name, **properties}
        )
        await call(
            self.directory.client,
            MANAGEMENT_SERVICE,
            "DefineSystem",
            {"SystemSettings": system},
            what="define a VM by hand",
        )

    async def request_state(self, requested: int, state: int) -> None:
        """Change the VM's state behind the agent's back and wait until it has it."""
        machine = await self.machine()
        assert machine is not None
        await self.directory.client.invoke(
            machine.path, "RequestStateChange", {"RequestedState": Uint16(requested)}
        )
        await self.settle(NAME, state)

    async def machine(self, name: str = NAME) -> Machine | None:
        """Look for a VM with the other client."""
        return await self.directory.find(name, search=True)

    async def running(self, name: str = NAME) -> Machine:
        """Return a VM that must run."""
        machine = await self.machine(name)
        assert machine is not None
        assert machine.state == 2
        return machine

    async def devices(self, name: str = NAME) -> Devices:
        """Read the VM's devices with the other client."""
        machine = await self.machine(name)
        assert machine is not None
        return await read_devices(self.directory.client, machine.guid, name)

    async def drives(self, name: str = NAME) -> dict[str, str | None]:
        """Address of each drive to the file in it."""
        return {
            str(drive.address): drive.medium.file if drive.medium else None
            for drive in (await self.devices(name)).drives
        }

    async def adapters(self, name: str = NAME) -> tuple[AdapterState, ...]:
        """Read the VM's NICs."""
        machine = await self.machine(name)
        assert machine is not None
        return await read_adapters(self.directory.client, machine)

    async def all_names(self) -> list[str]:
        """Names of all VMs on the host."""
        return sorted(machine.element_name for machine in await self.directory.list_all())

    async def live_file(self, stem: str = ROOT, name: str = NAME) -> str:
        """Return the file that the VM writes to where CloudStack says `stem`."""
        files = [file for file in (await self.drives(name)).values() if file and stem in file]
        assert len(files) == 1
        return files[0]

    async def write_guest(self, text: bytes, stem: str = ROOT, name: str = NAME) -> None:
        """Write to a disk as the guest does."""
        file = await self.live_file(stem, name)
        machine = await self.machine(name)
        assert machine is not None
        disks = self.emulation.host.disks
        with disks.opened(file, machine.guid, writable=True) as disk:
            disk.write(2**20, text.ljust(16, b"\0"))

    async def read_guest(self, stem: str = ROOT, name: str = NAME) -> bytes:
        """Read what the guest reads."""
        file = await self.live_file(stem, name)
        return self.read_disk(file)

    def read_disk(self, file: str) -> bytes:
        """Read what `write_guest` wrote."""
        with self.emulation.host.disks.opened(file, "test") as disk:
            return disk.read(2**20, 16).rstrip(b"\0")

    def branches(self) -> list[str]:
        """Names of the checkpoints' disks in the pool."""
        return sorted(p.name for p in self.emulation.path(POOL).iterdir() if ".avhd" in p.suffix)

    async def settle(self, name: str, state: int, seconds: float = 5.0) -> None:
        """Wait until a VM has a state."""
        async with asyncio.timeout(seconds):
            while True:
                machine = await self.machine(name)
                if machine is not None and machine.state == state:
                    return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def staged(
    folder: Path, *, agent: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[Stage]:
    """Run a host made of `config` and an agent for it, with the files of the VM on it."""
    async with (
        running_emulation(folder, **config) as emulation,
        agent_context(emulation, **(agent or {})) as context,
    ):
        client = emulation.client()
        stage = Stage(emulation, Resource(context), MachineDirectory(client))
        stage.make_disks()
        try:
            yield stage
        finally:
            await client.close()
