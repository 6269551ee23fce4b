"""ResizeVolumeCommand: grown and shrunk, running and off, and everything that forbids it."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.emulation import POOL, agent_context, running_emulation
from tests.resource_host.storage_stage import (
    MIB,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    counted,
    equal_disks,
    filer,
    make_disk,
    virtual_size,
)

from cloudstack_hyperv.cim.constants import RequestedState
from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages.answers.storage import ResizeVolumeAnswer
from cloudstack_hyperv.messages.commands.storage import ResizeVolumeCommand
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.vhd import (
    DiskFormat,
    OsFile,
    create_differencing,
    create_dynamic,
    create_fixed,
    open_disk,
)

FILE = f"{VOLUME_UUID}.vhdx"
PATH = f"{POOL}\\{FILE}"
VM = "i-2-17-VM"


def command(size: int, *, shrink_ok: bool = False, vm: str = "none") -> ResizeVolumeCommand:
    return ResizeVolumeCommand(
        path=VOLUME_UUID,
        pool=filer(),
        current_size=TEMPLATE_SIZE,
        new_size=size,
        shrink_ok=shrink_ok,
        vm_instance=vm,
    )


async def resize(
    storage: StorageStage, size: int, *, shrink_ok: bool = False, vm: str = "none"
) -> ResizeVolumeAnswer:
    answer = await storage.execute(command(size, shrink_ok=shrink_ok, vm=vm))
    assert isinstance(answer, ResizeVolumeAnswer)
    return answer


def refused(storage: StorageStage, answer: ResizeVolumeAnswer, reason: str) -> None:
    assert not answer.result
    assert reason in (answer.details or "")
    assert virtual_size(storage.pool / FILE) == TEMPLATE_SIZE


def make_partitioned(path: Path, *, used: int) -> None:
    """Make a disk with an MBR whose only partition ends at `used`."""
    entry = struct.pack("<B3sB3sII", 0, bytes(3), 0x83, bytes(3), 2048, used // 512 - 2048)
    with OsFile.create(path) as file:
        create_dynamic(file, TEMPLATE_SIZE, block_size=MIB)
        with open_disk(file, writable=True) as disk:
            disk.write(0, bytes(446) + entry + bytes(48) + b"\x55\xaa")
            disk.write(5 * MIB, b"content".ljust(512, b"\0"))


async def test_resize_volume_command_grows_a_detached_volume(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    before = storage.pool / "before.vhdx"
    before.write_bytes((storage.pool / FILE).read_bytes())
    answer, trips = await counted(storage, command(2 * TEMPLATE_SIZE + 100))
    assert isinstance(answer, ResizeVolumeAnswer)
    assert answer.result, answer.details
    assert answer.new_size == 2 * TEMPLATE_SIZE + 512, "whole sectors"
    assert virtual_size(storage.pool / FILE) == 2 * TEMPLATE_SIZE + 512
    assert await equal_disks(before, storage.pool / FILE)
    assert trips <= 6


async def test_resize_volume_command_sent_again_succeeds(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    first = await resize(storage, 2 * TEMPLATE_SIZE)
    made = (storage.pool / FILE).read_bytes()
    again = await resize(storage, 2 * TEMPLATE_SIZE)
    assert (again.result, again.new_size) == (True, first.new_size)
    assert (storage.pool / FILE).read_bytes() == made


async def test_resize_volume_command_grows_a_running_vms_scsi_disk(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    answer = await resize(storage, 2 * TEMPLATE_SIZE, vm=VM)
    assert answer.result, answer.details
    assert answer.details == f"VM {VM} sees the new size at SCSI 0:0"
    assert virtual_size(storage.pool / FILE) == 2 * TEMPLATE_SIZE


async def test_resize_volume_command_grows_the_disk_of_a_vm_of_ours_that_is_off(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm(VM, PATH, ours=True)
    assert (await resize(storage, 2 * TEMPLATE_SIZE)).result
    assert virtual_size(storage.pool / FILE) == 2 * TEMPLATE_SIZE


async def test_resize_volume_command_refuses_a_running_vms_ide_disk(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm(VM, PATH, running=True, ours=True)
    refused(storage, await resize(storage, 2 * TEMPLATE_SIZE, vm=VM), "on an IDE controller")


async def test_resize_volume_command_refuses_a_paused_vms_disk(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    await storage.request(guid, RequestedState.PAUSE)
    refused(storage, await resize(storage, 2 * TEMPLATE_SIZE), "neither off nor running")


@pytest.mark.parametrize("running", [False, True])
async def test_resize_volume_command_refuses_the_disk_of_anothers_vm(
    storage: StorageStage, running: bool
) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm("payroll", PATH.upper(), running=running, scsi=True)
    refused(storage, await resize(storage, 2 * TEMPLATE_SIZE), "not CloudStack's")


async def test_resize_volume_command_refuses_a_disk_with_checkpoints(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    await storage.checkpoint(guid)
    refused(storage, await resize(storage, 2 * TEMPLATE_SIZE), "is the parent of")


async def test_resize_volume_command_refuses_a_differencing_parent(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    with (
        OsFile(storage.pool / FILE) as parent,
        OsFile.create(storage.pool / "child.vhdx") as file,
    ):
        create_differencing(file, parent, relative_path=f".\\{FILE}")
    refused(storage, await resize(storage, 2 * TEMPLATE_SIZE), "is the parent of")


async def test_resize_volume_command_grows_a_differencing_vhdx_but_never_shrinks_it(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / "base.vhdx")
    with OsFile(storage.pool / "base.vhdx") as base, OsFile.create(storage.pool / FILE) as file:
        create_differencing(file, base, relative_path=".\\base.vhdx")
    answer = await resize(storage, TEMPLATE_SIZE // 2, shrink_ok=True)
    refused(storage, answer, "without a parent")
    assert (await resize(storage, 2 * TEMPLATE_SIZE)).result
    assert virtual_size(storage.pool / FILE) == 2 * TEMPLATE_SIZE


async def test_resize_volume_command_shrinks_only_when_told_and_to_what_is_in_use(
    storage: StorageStage,
) -> None:
    make_partitioned(storage.pool / FILE, used=16 * MIB)
    refused(storage, await resize(storage, 32 * MIB), "shrinkOk")
    refused(storage, await resize(storage, 8 * MIB, shrink_ok=True), f"ends at {16 * MIB}")
    answer = await resize(storage, 16 * MIB, shrink_ok=True)
    assert answer.result, answer.details
    assert virtual_size(storage.pool / FILE) == 16 * MIB


async def test_resize_volume_command_shrinks_a_running_vms_scsi_disk(
    storage: StorageStage,
) -> None:
    make_partitioned(storage.pool / FILE, used=16 * MIB)
    await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    answer = await resize(storage, 32 * MIB, shrink_ok=True)
    assert answer.result, answer.details
    assert virtual_size(storage.pool / FILE) == 32 * MIB


@pytest.mark.parametrize(
    ("size", "reason"),
    [(0, "bytes, not 0"), (-512, "bytes, not -512"), (65 << 40, "VHDX volume has")],
)
async def test_resize_volume_command_refuses_sizes_that_cannot_be(
    storage: StorageStage, size: int, reason: str
) -> None:
    make_disk(storage.pool / FILE)
    refused(storage, await resize(storage, size, shrink_ok=True), reason)


async def test_resize_volume_command_of_a_volume_that_is_not_there_fails(
    storage: StorageStage,
) -> None:
    answer = await resize(storage, TEMPLATE_SIZE)
    assert not answer.result
    assert "no disk" in (answer.details or "")


async def test_resize_volume_command_checks_the_space_for_a_fixed_disk(
    storage: StorageStage,
) -> None:
    with OsFile.create(storage.pool / FILE) as file:
        create_fixed(file, TEMPLATE_SIZE)
    refused(storage, await resize(storage, 60 << 40), "are available")


async def test_resize_volume_command_believes_the_disk_not_the_host(
    storage: StorageStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_disk(storage.pool / FILE)

    async def does_nothing(*_: object) -> None:
        return

    monkeypatch.setattr(images, "resize_disk", does_nothing)
    refused(storage, await resize(storage, 2 * TEMPLATE_SIZE), "the host says done")


async def test_resize_volume_command_grows_a_vhd_only_offline(storage: StorageStage) -> None:
    file = storage.pool / f"{VOLUME_UUID}.vhd"
    with OsFile.create(file) as opened:
        create_dynamic(opened, TEMPLATE_SIZE, disk_format=DiskFormat.VHD)
    assert (await resize(storage, 2 * TEMPLATE_SIZE)).result
    assert virtual_size(file) == 2 * TEMPLATE_SIZE
    answer = await resize(storage, TEMPLATE_SIZE, shrink_ok=True)
    assert "shrinks only VHDX" in (answer.details or "")
    await storage.define_vm(VM, f"{POOL}\\{file.name}", running=True, ours=True, scsi=True)
    assert "needs a VHDX" in ((await resize(storage, 4 * TEMPLATE_SIZE)).details or "")


@pytest.fixture
async def old_storage(tmp_path: Path) -> AsyncIterator[StorageStage]:
    async with (
        running_emulation(tmp_path, release="2012") as emulation,
        agent_context(emulation) as context,
    ):
        yield StorageStage(emulation, Resource(context))


async def test_resize_volume_command_is_offline_only_on_the_first_release(
    old_storage: StorageStage,
) -> None:
    make_disk(old_storage.pool / FILE)
    guid = await old_storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    refused(old_storage, await resize(old_storage, 2 * TEMPLATE_SIZE), "online needs 2012 R2")
    await old_storage.request(guid, RequestedState.TURN_OFF)
    answer = await resize(old_storage, 2 * TEMPLATE_SIZE)
    assert answer.result, answer.details


async def test_the_host_tells_a_disks_metadata(storage: StorageStage) -> None:
    make_disk(storage.pool / "base.vhdx")
    with OsFile(storage.pool / "base.vhdx") as base, OsFile.create(storage.pool / FILE) as file:
        create_differencing(file, base, relative_path=".\\base.vhdx")
    disk = await images.read_disk(storage.cim, PATH)
    assert (disk.disk_type.name, disk.disk_format.name) == ("DIFFERENCING", "VHDX")
    assert (disk.virtual_size, disk.sector) == (TEMPLATE_SIZE, 512)
    assert disk.parent.lower() == f"{POOL}\\base.vhdx".lower()
    with pytest.raises(HypervisorError):
        await images.read_disk(storage.cim, f"{POOL}\\gone.vhdx")
