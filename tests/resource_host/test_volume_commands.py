"""Blank volumes made, volumes and templates deleted: nothing overwritten, nothing in use lost."""

from __future__ import annotations

from typing import Any

import pytest
from tests.emulation import POOL
from tests.resource_host.storage_stage import (
    MIB,
    POOL_UUID,
    VOLUME_UUID,
    StorageStage,
    counted,
    make_disk,
    secondary_store,
    template_in_pool,
    virtual_size,
    volume,
)

from cloudstack_hyperv.hypervisor.attachments import list_attachments
from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.storage import CreateObjectAnswer
from cloudstack_hyperv.messages.commands.storage import (
    CreateObjectCommand,
    DeleteCommand,
    DestroyCommand,
)
from cloudstack_hyperv.messages.objects.storage import (
    SnapshotObjectTO,
    VolumeObjectTO,
    VolumeTO,
)
from cloudstack_hyperv.vhd import OsFile, create_differencing, read_info

FILE = f"{VOLUME_UUID}.vhdx"
PATH = f"{POOL}\\{FILE}"


async def create(storage: StorageStage, **fields: Any) -> CreateObjectAnswer:
    answer = await storage.execute(CreateObjectCommand(data=volume(**fields)))
    assert isinstance(answer, CreateObjectAnswer)
    return answer


async def delete(storage: StorageStage, **fields: Any) -> Answer:
    answer = await storage.execute(
        DeleteCommand(data=volume(**({"path": VOLUME_UUID, "format": "VHDX"} | fields)))
    )
    assert type(answer) is Answer
    return answer


def refused(answer: Answer, reason: str) -> None:
    assert not answer.result
    assert reason in (answer.details or "")


# CreateObjectCommand


@pytest.mark.parametrize(
    ("provisioning", "kind"), [("THIN", "DYNAMIC"), ("SPARSE", "DYNAMIC"), ("FAT", "FIXED")]
)
async def test_create_object_command_makes_a_blank_volume(
    storage: StorageStage, provisioning: str, kind: str
) -> None:
    command = CreateObjectCommand(data=volume(size=70 * MIB, provisioning_type=provisioning))
    answer, trips = await counted(storage, command)
    assert isinstance(answer, CreateObjectAnswer)
    assert answer.result, answer.details
    assert isinstance(answer.data, VolumeObjectTO)
    assert (answer.data.path, answer.data.size, answer.data.format) == (
        VOLUME_UUID,
        70 * MIB,
        "VHDX",
    )
    assert answer.data.data_store == command.data.data_store  # type: ignore[union-attr] # a volume
    assert storage.in_pool() == [FILE]
    with OsFile(storage.pool / FILE) as file:
        info = read_info(file)
    assert (info.type.name, info.virtual_size) == (kind, 70 * MIB)
    if kind == "DYNAMIC":
        assert info.block_size == MIB
    assert trips <= 3


async def test_create_object_command_makes_a_vhd_where_that_is_wanted(
    storage: StorageStage,
) -> None:
    answer = await create(storage, format="VHD")
    assert answer.result, answer.details
    assert storage.in_pool() == [f"{VOLUME_UUID}.vhd"]


async def test_create_object_command_sent_again_succeeds(storage: StorageStage) -> None:
    first = await create(storage, size=70 * MIB)
    made = (storage.pool / FILE).read_bytes()
    again = await create(storage, size=70 * MIB)
    assert again.data == first.data
    assert (storage.pool / FILE).read_bytes() == made
    refused(await create(storage, size=80 * MIB), "not touched")
    assert virtual_size(storage.pool / FILE) == 70 * MIB


async def test_create_object_command_refuses_a_volume_that_a_vm_has(storage: StorageStage) -> None:
    await create(storage)
    await storage.define_vm("someone", PATH)
    refused(await create(storage), "attached to VM someone")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"size": 0}, "bytes, not 0"),
        ({"size": None}, "bytes, not None"),
        ({"size": 65 << 40}, "VHDX volume has"),
        ({"size": 3 << 40, "format": "VHD"}, "VHD volume has"),
        ({"format": "QCOW2"}, "not a disk format"),
        ({"uuid": None}, "neither path nor uuid"),
        ({"uuid": "..\\..\\Windows\\x"}, "forbids"),
        ({"uuid": r"\\server\share\x"}, "forbids"),
        ({"data_store": secondary_store()}, "should be on primary storage"),
    ],
)
async def test_create_object_command_refuses_what_cannot_be(
    storage: StorageStage, fields: dict[str, Any], reason: str
) -> None:
    refused(await create(storage, **fields), reason)
    assert storage.in_pool() == []


async def test_create_object_command_refuses_in_its_own_class(storage: StorageStage) -> None:
    for data in (SnapshotObjectTO(), template_in_pool("x")):
        answer = await storage.execute(CreateObjectCommand(data=data))
        assert isinstance(answer, CreateObjectAnswer)
        assert not answer.result


# DeleteCommand


async def test_delete_command_deletes_a_volume_and_succeeds_when_it_is_gone(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    make_disk(storage.pool / "other.vhdx")
    assert (await delete(storage)).result
    assert storage.in_pool() == ["other.vhdx"]
    assert (await delete(storage)).result
    assert (await delete(storage, format=None)).result


async def test_delete_command_never_guesses(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}-copy.vhdx")
    make_disk(storage.pool / FILE)
    (storage.pool / f"{VOLUME_UUID}.vhd").touch()
    refused(await delete(storage, format=None), "both exist")
    assert (await delete(storage, path="*")).result is False
    assert len(storage.in_pool()) == 3


async def test_delete_command_refuses_the_volume_of_a_running_vm(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm("i-2-17-VM", PATH, running=True, ours=True)
    refused(await delete(storage), "attached to VM i-2-17-VM")
    assert storage.in_pool() == [FILE]


async def test_delete_command_refuses_the_volume_of_anothers_vm(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm("i-2-17-VM", PATH.upper())
    refused(await delete(storage), "not CloudStack's")
    assert storage.in_pool() == [FILE]


async def test_delete_command_detaches_from_a_vm_of_ours_that_is_off(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm("i-2-17-VM", PATH, ours=True)
    answer = await delete(storage)
    assert answer.result, answer.details
    assert storage.in_pool() == []
    assert await list_attachments(storage.cim) == ()
    devices = await read_devices(storage.cim, guid, "i-2-17-VM")
    assert [drive.medium for drive in devices.drives if drive.medium is not None] == []


async def test_delete_command_refuses_a_parent_with_children(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    with (
        OsFile(storage.pool / FILE) as parent,
        OsFile.create(storage.pool / "child.vhdx") as file,
    ):
        create_differencing(file, parent, relative_path=f".\\{FILE}")
    refused(await delete(storage), "is the parent of")
    assert len(storage.in_pool()) == 2
    (storage.pool / "child.vhdx").unlink()
    (storage.pool / "garbage.vhdx").write_bytes(b"no disk")
    assert (await delete(storage)).result


async def test_delete_command_sees_through_a_checkpoints_disk(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    elsewhere = storage.emulation.path(r"C:\elsewhere")
    elsewhere.mkdir()
    for parent, child in (
        (storage.pool / FILE, elsewhere / "first.avhdx"),
        (elsewhere / "first.avhdx", elsewhere / "second.avhdx"),
    ):
        with OsFile(parent) as base, OsFile.create(child) as file:
            place = PATH if parent.name == FILE else rf"C:\elsewhere\{parent.name}"
            create_differencing(file, base, absolute_win32_path=rf"\\?\{place}")
    await storage.define_vm("i-2-17-VM", r"C:\elsewhere\second.avhdx", ours=True)
    refused(await delete(storage), "has a checkpoint over")
    assert storage.in_pool() == [FILE]


async def test_delete_command_deletes_a_template(storage: StorageStage) -> None:
    make_disk(storage.pool / "t.vhdx")
    (storage.pool / "t.iso").touch()
    assert (await storage.execute(DeleteCommand(data=template_in_pool("t")))).result
    assert storage.in_pool() == ["t.iso"]
    assert (await storage.execute(DeleteCommand(data=template_in_pool("t", format="ISO")))).result
    assert storage.in_pool() == []


async def test_delete_command_leaves_secondary_storage_alone(storage: StorageStage) -> None:
    refused(await delete(storage, data_store=secondary_store()), "only objects on primary")
    lost = SnapshotObjectTO(path="x", data_store=secondary_store())
    refused(await storage.execute(DeleteCommand(data=lost)), "only objects on primary")


# DestroyCommand


async def test_destroy_command_really_frees_a_templates_space(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    evicted = VolumeTO(
        path=VOLUME_UUID,
        name="template",
        mount_point=POOL,
        storage_pool_type="Filesystem",
        storage_pool_uuid=POOL_UUID,
    )
    for _ in range(2):
        answer = await storage.execute(DestroyCommand(volume=evicted))
        assert type(answer) is Answer
        assert answer.result, answer.details
        assert storage.in_pool() == []


async def test_destroy_command_of_an_unknown_pool_deletes_nothing(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    lost = VolumeTO(path=VOLUME_UUID, storage_pool_type="SMB", storage_pool_uuid="other")
    refused(await storage.execute(DestroyCommand(volume=lost)), "not known")
    nowhere = VolumeTO(path=None, mount_point=POOL, storage_pool_type="Filesystem")
    refused(await storage.execute(DestroyCommand(volume=nowhere)), "neither path")
    assert storage.in_pool() == [FILE]
