"""What the storage tests share: objects as CloudStack sends them, and disks as files."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from tests.emulation import HOST_ADDRESS, POOL, SECONDARY_URL, Emulation

from cloudstack_hyperv.cim import ObjectPath, Uint16
from cloudstack_hyperv.cim.constants import GENERATION_1, RequestedState
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.checkpoints import SNAPSHOT_SERVICE
from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, machine_path, settings_path
from cloudstack_hyperv.hypervisor.ownership import Ownership
from cloudstack_hyperv.hypervisor.release import read_release
from cloudstack_hyperv.hypervisor.wish import DriveKind
from cloudstack_hyperv.messages import Answer, Command
from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.commands.storage import CopyCommand
from cloudstack_hyperv.messages.objects.storage import (
    NfsTO,
    PrimaryDataStoreTO,
    StorageFilerTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.vhd import OsFile, create_dynamic, open_disk, read_info
from cloudstack_hyperv.wsman.api import CimClient, EmbeddedInstance, Scalar

MIB = 1 << 20
POOL_UUID = "16f85622-4508-415e-b13a-49a39bb14e4d"
VOLUME_UUID = "19ae8e67-cb2c-4ab4-901e-e0b864272b59"
TEMPLATE_SIZE = 64 * MIB
TEMPLATE_PATH = "template/tmpl/1/202/7d5a6a8e-2f42-3c3a-8c4e-1b1e5b7c9a01.vhdx"


@dataclass(slots=True)
class StorageStage:
    """One emulated host, its pool, its secondary store."""

    emulation: Emulation
    resource: Resource

    @property
    def cim(self) -> CimClient:
        return self.resource.context.cim

    @property
    def pool(self) -> Path:
        """The pool's folder as it lies on this machine."""
        return self.emulation.path(POOL)

    def in_pool(self) -> list[str]:
        return sorted(path.name for path in self.pool.iterdir())

    def in_secondary(self) -> list[str]:
        root = self.emulation.secondary
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    async def copy(self, source: Any, destination: Any, **more: Any) -> CopyCmdAnswer:
        answer = await self.execute(CopyCommand(src_to=source, dest_to=destination, **more))
        assert isinstance(answer, CopyCmdAnswer)
        return answer

    async def execute(self, command: Command) -> Answer:
        return await self.resource.execute(command)

    async def define_vm(
        self,
        name: str,
        disk: str,
        *,
        running: bool = False,
        ours: bool = False,
        scsi: bool = False,
    ) -> str:
        """Define a VM with a disk (on IDE), CloudStack's only if `ours`; returns its GUID."""
        guid = await self.define_empty_vm(name, ours=ours)
        await self.add_disk(guid, name, disk, scsi=scsi)
        if running:
            await self.request(guid, RequestedState.START)
        return guid

    async def add_disk(self, guid: str, name: str, disk: str, *, scsi: bool = False) -> None:
        """Give a VM a disk at the first place of an IDE or of a new SCSI controller."""
        if scsi:
            controller = await self._add(guid, data.scsi_controller(f"{{{uuid.uuid4()}}}"))
        else:
            controller = (await read_devices(self.cim, guid, name)).controllers[0].path
        drive = await self._add(guid, data.parented(data.drive(DriveKind.DISK, 0), controller))
        await self._add(guid, data.parented(data.medium(DriveKind.DISK, disk), drive))

    async def request(self, guid: str, state: RequestedState) -> None:
        """Ask for another state of a VM and wait for it."""
        await call(
            self.cim,
            machine_path(guid),
            "RequestStateChange",
            {"RequestedState": Uint16(state)},
            what="change the state",
        )

    async def checkpoint(self, guid: str) -> None:
        """Take a checkpoint of a VM, as an operator does."""
        await call(
            self.cim,
            SNAPSHOT_SERVICE,
            "CreateSnapshot",
            {"AffectedSystem": machine_path(guid), "SnapshotType": Uint16(2)},
            what="take a checkpoint",
        )

    async def define_empty_vm(self, name: str, *, ours: bool = False) -> str:
        """Define a VM without disks; returns its GUID."""
        settings: dict[str, Scalar | Sequence[Scalar]] = {
            "ElementName": name,
        }
        if (await read_release(self.cim)).has_generation_2:
            settings["VirtualSystemSubType"] = GENERATION_1
        if ours:
            settings["Notes"] = [Ownership(name, 17, VOLUME_UUID).note]
        result = await call(
            self.cim,
            MANAGEMENT_SERVICE,
            "DefineSystem",
            {"SystemSettings": EmbeddedInstance("Msvm_VirtualSystemSettingData", settings)},
            what=f"define {name}",
        )
        system = result.out.path("ResultingSystem")
        assert system is not None
        guid = system.key("Name")
        assert guid is not None
        return guid

    async def _add(self, guid: str, settings: EmbeddedInstance) -> ObjectPath:
        result = await call(
            self.cim,
            MANAGEMENT_SERVICE,
            "AddResourceSettings",
            {"AffectedConfiguration": settings_path(guid), "ResourceSettings": [settings]},
            what="add a resource",
        )
        return result.paths("ResultingResourceSettings")[0]


def primary_store(folder: str = POOL, uuid: str = POOL_UUID) -> PrimaryDataStoreTO:
    return PrimaryDataStoreTO(
        uuid=uuid, pool_type="Filesystem", host=HOST_ADDRESS, path=folder, id=3
    )


def filer(folder: str = POOL, uuid: str = POOL_UUID, kind: str = "Filesystem") -> StorageFilerTO:
    return StorageFilerTO(id=3, uuid=uuid, host=HOST_ADDRESS, path=folder, type=kind)


def secondary_store(url: str = SECONDARY_URL) -> NfsTO:
    return NfsTO(url=url, role="Image")


def template(path: str | None = TEMPLATE_PATH, **fields: Any) -> TemplateObjectTO:
    given: dict[str, Any] = {
        "path": path,
        "id": 202,
        "format": "VHDX",
        "image_data_store": secondary_store(),
        "unique_name": "debian12-hyperv",
    }
    return TemplateObjectTO(**(given | fields))


def template_in_pool(path: str | None, **fields: Any) -> TemplateObjectTO:
    return template(path, **({"image_data_store": primary_store()} | fields))


def volume(uuid: str = VOLUME_UUID, **fields: Any) -> VolumeObjectTO:
    given: dict[str, Any] = {
        "uuid": uuid,
        "name": "ROOT-17",
        "volume_type": "ROOT",
        "data_store": primary_store(),
        "provisioning_type": "THIN",
        "size": TEMPLATE_SIZE,
    }
    return VolumeObjectTO(**(given | fields))


def make_disk(path: Path, *, size: int = TEMPLATE_SIZE, content: bytes = b"CloudStack") -> None:
    """Make a dynamic VHDX with some content at two places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with OsFile.create(path) as file:
        create_dynamic(file, size, block_size=MIB)
        with open_disk(file, writable=True) as disk:
            disk.write(5 * MIB, content.ljust(512, b"\0"))
            disk.write(size - 512, b"tail".ljust(512, b"\0"))


def virtual_size(path: Path) -> int:
    with OsFile(path) as file:
        return read_info(file).virtual_size


async def equal_disks(one: Path, other: Path) -> bool:
    """Compare the contents of two disks by qemu-img; a larger one must end in zeros."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["qemu-img", "compare", str(one), str(other)],
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


async def counted(stage: StorageStage, command: Command) -> tuple[Answer, int]:
    """Carry out a command and return its answer and the WS-Man round trips that it took."""
    with structlog.testing.capture_logs() as logs:
        answer = await stage.execute(command)
    return answer, next(line["round_trips"] for line in logs if line["event"] == "command answered")
