"""Volume snapshots: taken of stopped and running VMs, copied, deleted; no checkpoint is left."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.emulation import POOL, agent_context, running_emulation
from tests.resource_host.storage_stage import (
    MIB,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    equal_disks,
    filer,
    make_disk,
    primary_store,
    secondary_store,
    template,
    template_in_pool,
    virtual_size,
    volume,
)

from cloudstack_hyperv.cim.constants import RequestedState
from cloudstack_hyperv.emulator.host import GuestScript
from cloudstack_hyperv.hypervisor import checkpoints, images
from cloudstack_hyperv.hypervisor.attachments import list_attachments
from cloudstack_hyperv.hypervisor.checkpoints import change_system, list_checkpoints
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages.answers.storage import CreateObjectAnswer
from cloudstack_hyperv.messages.commands.storage import (
    CreateObjectCommand,
    DeleteCommand,
    ModifyStoragePoolCommand,
)
from cloudstack_hyperv.messages.objects.storage import (
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.resource.checkpoint_leftovers import temporary_name
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.vhd import OsFile, create_differencing, open_disk

FILE = f"{VOLUME_UUID}.vhdx"
PATH = f"{POOL}\\{FILE}"
VM = "i-2-17-VM"


def snapshot(**fields: Any) -> SnapshotObjectTO:
    given: dict[str, Any] = {
        "id": 41,
        "name": "i-2-17-VM_ROOT-17_20260101",
        "vm_name": VM,
        "volume": volume(path=VOLUME_UUID),
        "data_store": primary_store(),
    }
    return SnapshotObjectTO(**(given | fields))


async def take(storage: StorageStage, wait: int = 0, **fields: Any) -> CreateObjectAnswer:
    answer = await storage.execute(CreateObjectCommand(data=snapshot(**fields), wait=wait))
    assert isinstance(answer, CreateObjectAnswer)
    return answer


async def taken(storage: StorageStage, **fields: Any) -> str:
    answer = await take(storage, **fields)
    assert answer.result, answer.details
    assert isinstance(answer.data, SnapshotObjectTO)
    assert answer.data.path is not None
    return answer.data.path


def snapshot_file(storage: StorageStage, path: str) -> Path:
    return storage.pool / "snapshots" / f"{path}.vhdx"


def keep_copy(storage: StorageStage, name: str = FILE) -> Path:
    """Keep what a disk is now, for comparison."""
    kept = storage.emulation.folder / f"kept-{name}"
    shutil.copy(storage.pool / name, kept)
    return kept


def write(path: Path, content: bytes) -> None:
    """Write to a disk, as a guest would."""
    with OsFile(path, writable=True) as file, open_disk(file, writable=True) as disk:
        disk.write(9 * MIB, content.ljust(512, b"\0"))


async def chain(storage: StorageStage) -> list[str]:
    return sorted(attachment.path for attachment in await list_attachments(storage.cim))


async def require_as_before(storage: StorageStage, guid: str, disks: list[str]) -> None:
    """The VM has the disks it had, no checkpoint, and nothing unfinished lies about."""
    assert await list_checkpoints(storage.cim, guid, VM) == ()
    assert await chain(storage) == disks
    assert [name for name in storage.in_pool() if "avhdx" in name or "partial" in name] == []
    snapshots = storage.pool / "snapshots"
    if snapshots.exists():
        assert [path for path in snapshots.iterdir() if "partial" in path.name] == []


# Taken


async def test_create_object_command_takes_a_snapshot_of_a_detached_volume(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    before = keep_copy(storage)
    path = await taken(storage)
    write(storage.pool / FILE, b"later")
    assert await equal_disks(before, snapshot_file(storage, path))
    assert storage.in_pool() == [FILE, "snapshots"]


async def test_create_object_command_takes_a_snapshot_of_a_stopped_vms_volume(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm(VM, PATH, ours=True)
    path = await taken(storage)
    assert await equal_disks(storage.pool / FILE, snapshot_file(storage, path))
    await require_as_before(storage, guid, [PATH])


@pytest.mark.parametrize("state", [RequestedState.START, RequestedState.PAUSE, RequestedState.SAVE])
async def test_create_object_command_takes_a_snapshot_of_a_running_vms_volume(
    storage: StorageStage, state: RequestedState
) -> None:
    make_disk(storage.pool / FILE)
    make_disk(storage.pool / "data.vhdx")
    before = keep_copy(storage)
    guid = await storage.define_vm(VM, PATH, ours=True)
    await storage.add_disk(guid, VM, f"{POOL}\\data.vhdx", scsi=True)
    disks = await chain(storage)
    await storage.request(guid, RequestedState.START)
    if state is not RequestedState.START:
        await storage.request(guid, state)
    path = await taken(storage)
    await require_as_before(storage, guid, disks)
    assert await equal_disks(before, snapshot_file(storage, path))
    assert storage.in_pool() == sorted([FILE, "data.vhdx", "snapshots"])


async def test_create_object_command_snapshot_sent_again_takes_one(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    first = await taken(storage)
    made = snapshot_file(storage, first).read_bytes()
    write(storage.pool / FILE, b"later")
    assert await taken(storage) == first
    assert snapshot_file(storage, first).read_bytes() == made
    assert await taken(storage, id=42) != first


async def test_create_object_command_snapshot_keeps_what_a_guest_writes_meanwhile(
    storage: StorageStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is of the moment of the checkpoint; what is written after it is merged back."""
    make_disk(storage.pool / FILE)
    before = keep_copy(storage)
    guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    convert = images.convert_disk

    async def written_meanwhile(*arguments: Any, **named: Any) -> None:
        (branch,) = storage.pool.glob("*.avhdx")
        host = storage.emulation.host
        with host.disks.opened(f"{POOL}\\{branch.name}", "test", writable=True) as disk:
            disk.write(9 * MIB, b"meanwhile".ljust(512, b"\0"))
        await convert(*arguments, **named)

    monkeypatch.setattr(images, "convert_disk", written_meanwhile)
    path = await taken(storage)
    await require_as_before(storage, guid, [PATH])
    assert await equal_disks(before, snapshot_file(storage, path))
    with OsFile(storage.pool / FILE) as file, open_disk(file) as disk:
        assert disk.read(9 * MIB, 9) == b"meanwhile"


async def test_create_object_command_snapshot_of_a_vm_with_vm_snapshots_leaves_those(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    await storage.checkpoint(guid)
    disks, checkpoint = await chain(storage), await list_checkpoints(storage.cim, guid, VM)
    (branch,) = storage.pool.glob("*.avhdx")
    host = storage.emulation.host
    with host.disks.opened(f"{POOL}\\{branch.name}", "test", writable=True) as disk:
        disk.write(9 * MIB, b"after".ljust(512, b"\0"))
    path = await taken(storage)
    assert await list_checkpoints(storage.cim, guid, VM) == checkpoint
    for _ in range(50):
        if await chain(storage) == disks:
            break
        await asyncio.sleep(0.05)
    assert await chain(storage) == disks
    with OsFile(snapshot_file(storage, path)) as file, open_disk(file) as disk:
        assert disk.read(9 * MIB, 5) == b"after", "what is newest is what is copied"


async def test_create_object_command_snapshot_of_a_linked_clone_is_whole(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / "base.vhdx")
    with OsFile(storage.pool / "base.vhdx") as base, OsFile.create(storage.pool / FILE) as file:
        create_differencing(file, base, relative_path=".\\base.vhdx")
    await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    path = await taken(storage)
    assert await equal_disks(storage.pool / "base.vhdx", snapshot_file(storage, path))
    with OsFile(snapshot_file(storage, path)) as file, open_disk(file) as disk:
        assert disk.info.parent is None


async def test_create_object_command_snapshot_leaves_anothers_running_vm_alone(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm("payroll", PATH, running=True, scsi=True)
    answer = await take(storage)
    assert "not CloudStack's" in (answer.details or "")
    await require_as_before(storage, guid, [PATH])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"volume": None}, "names no volume"),
        ({"volume": volume("gone")}, "no disk gone"),
        ({"id": 0}, "neither a path nor an id"),
        ({"path": "../x"}, "forbids"),
        ({"data_store": secondary_store()}, "should be on primary"),
    ],
)
async def test_create_object_command_refuses_snapshots_that_cannot_be(
    storage: StorageStage, fields: dict[str, Any], reason: str
) -> None:
    make_disk(storage.pool / FILE)
    answer = await take(storage, **fields)
    assert not answer.result
    assert reason in (answer.details or "")


@pytest.mark.parametrize("quiesces", [True, False])
async def test_create_object_command_snapshot_is_quiesced_where_the_guest_can(
    tmp_path: Path, quiesces: bool
) -> None:
    guest = GuestScript(boot=0.0, fails_production_checkpoint=not quiesces)
    async with (
        running_emulation(tmp_path, guest=guest) as emulation,
        agent_context(emulation) as context,
    ):
        storage = StorageStage(emulation, Resource(context))
        make_disk(storage.pool / FILE)
        guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
        answer = await take(storage, quiescevm=True)
        assert answer.result is quiesces, answer.details
        assert quiesces or "quiesce" in (answer.details or "")
        await require_as_before(storage, guid, [PATH])
        path = await taken(storage)
        assert await equal_disks(storage.pool / FILE, snapshot_file(storage, path))
        await require_as_before(storage, guid, [PATH])


async def test_create_object_command_snapshot_works_on_the_first_releases(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path, release="2012r2") as emulation,
        agent_context(emulation) as context,
    ):
        storage = StorageStage(emulation, Resource(context))
        make_disk(storage.pool / FILE)
        guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
        assert "2016" in ((await take(storage, quiescevm=True)).details or "")
        path = await taken(storage)
        assert await equal_disks(storage.pool / FILE, snapshot_file(storage, path))
        await require_as_before(storage, guid, [PATH])


# What fails on the way is undone


def _fails(*_: object, **__: object) -> Any:
    raise HypervisorError("broken on purpose")


async def _hangs(*_: object, **__: object) -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (checkpoints, "take"),
        (checkpoints, "change_system"),
        (images, "convert_disk"),
    ],
)
@pytest.mark.parametrize("how", [_fails, _hangs])
async def test_a_snapshot_that_fails_at_any_step_leaves_the_disks_as_they_were(
    storage: StorageStage,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    how: Callable[..., Awaitable[None]],
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, how)
        answer = await take(storage, wait=2)
    assert not answer.result
    await require_as_before(storage, guid, [PATH])
    assert list((storage.pool / "snapshots").iterdir()) == []
    await taken(storage)
    await require_as_before(storage, guid, [PATH])


async def test_a_snapshot_whose_checkpoint_is_not_deleted_at_once_tries_again(
    storage: StorageStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    delete, calls = checkpoints.delete, 0

    async def fails_once(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise HypervisorError("broken on purpose")
        await delete(*arguments)

    monkeypatch.setattr(checkpoints, "delete", fails_once)
    answer = await take(storage)
    assert not answer.result
    await require_as_before(storage, guid, [PATH])
    assert list((storage.pool / "snapshots").iterdir()) == []


@pytest.mark.parametrize("when", ["the next snapshot", "the next connect"])
async def test_a_checkpoint_that_a_crash_left_is_removed_and_no_other(
    storage: StorageStage, when: str
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm(VM, PATH, running=True, ours=True, scsi=True)
    names = ["an operator's", "cloudstack-hyperv 00000000 0123456789ab"]
    with temporary_name(storage.resource.context) as left:
        pass
    with temporary_name(storage.resource.context) as in_work:
        for name in (*names, left, in_work):
            known = {each.guid for each in await list_checkpoints(storage.cim, guid, VM)}
            await storage.checkpoint(guid)
            made = await list_checkpoints(storage.cim, guid, VM)
            (new,) = [each for each in made if each.guid not in known]
            await change_system(storage.cim, new.guid, {"ElementName": name}, "rename")
        if when == "the next snapshot":
            await taken(storage)
        else:
            answer = await storage.execute(ModifyStoragePoolCommand(add=True, pool=filer()))
            assert answer.result, answer.details
        kept = [each.name for each in await list_checkpoints(storage.cim, guid, VM)]
    assert sorted(kept) == sorted([*names, in_work])


# Copied


async def test_copy_command_backs_a_snapshot_up(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    path = await taken(storage)
    backup = snapshot(path="snapshots/2/23", data_store=secondary_store())
    paths = []
    for _ in range(2):
        answer = await storage.copy(snapshot(path=path), backup)
        assert answer.result, answer.details
        assert isinstance(answer.new_data, SnapshotObjectTO)
        assert answer.new_data.path == f"snapshots/2/23/{path}.vhdx"
        file = storage.emulation.secondary / answer.new_data.path
        assert answer.new_data.physical_size == file.stat().st_size
        paths.append(answer.new_data.path)
    assert await equal_disks(storage.pool / FILE, file)
    assert storage.in_secondary() == [paths[0]]
    assert paths[0] == paths[1]


@pytest.mark.parametrize("where", ["primary", "secondary"])
async def test_copy_command_makes_a_volume_of_a_snapshot(storage: StorageStage, where: str) -> None:
    make_disk(storage.pool / FILE)
    source = snapshot(path=await taken(storage))
    if where == "secondary":
        backup = snapshot(path="snapshots/2/23", data_store=secondary_store())
        copied = (await storage.copy(source, backup)).new_data
        assert isinstance(copied, SnapshotObjectTO)
        source = snapshot(path=copied.path, data_store=secondary_store())
    name = "3b9d0f52-7f0e-4a53-8d0d-4a7d5f5c1a11"
    for _ in range(2):
        answer = await storage.copy(source, volume(name, size=2 * TEMPLATE_SIZE))
        assert answer.result, answer.details
        assert isinstance(answer.new_data, VolumeObjectTO)
        assert (answer.new_data.path, answer.new_data.size) == (name, 2 * TEMPLATE_SIZE)
    assert virtual_size(storage.pool / f"{name}.vhdx") == 2 * TEMPLATE_SIZE
    assert await equal_disks(storage.pool / FILE, storage.pool / f"{name}.vhdx")


@pytest.mark.parametrize("where", ["primary", "secondary"])
async def test_copy_command_makes_a_template_of_a_snapshot(
    storage: StorageStage, where: str
) -> None:
    make_disk(storage.pool / FILE)
    source = snapshot(path=await taken(storage))
    if where == "secondary":
        backup = snapshot(path="snapshots/2/23", data_store=secondary_store())
        copied = (await storage.copy(source, backup)).new_data
        assert isinstance(copied, SnapshotObjectTO)
        source = snapshot(path=copied.path, data_store=secondary_store())
    wanted = template("template/tmpl/2/205", id=205, format="RAW")
    paths = set()
    for _ in range(2):
        answer = await storage.copy(source, wanted)
        assert answer.result, answer.details
        assert isinstance(answer.new_data, TemplateObjectTO)
        assert (answer.new_data.format, answer.new_data.size) == ("VHDX", TEMPLATE_SIZE)
        paths.add(answer.new_data.path)
    (path,) = paths
    assert path is not None
    assert await equal_disks(storage.pool / FILE, storage.emulation.secondary / path)
    again = await storage.copy(template("template/tmpl/2/205"), template_in_pool(None))
    assert again.result, again.details


async def test_copy_command_of_a_snapshot_that_is_not_there_fails(storage: StorageStage) -> None:
    lost = snapshot(path="gone")
    backup = snapshot(path="snapshots/2/23", data_store=secondary_store())
    assert "not in the pool" in ((await storage.copy(lost, backup)).details or "")
    lost = snapshot(path="snapshots/gone.vhdx", data_store=secondary_store())
    assert "not on the secondary" in ((await storage.copy(lost, volume("x"))).details or "")


# Deleted


async def test_delete_command_deletes_a_snapshot_and_succeeds_when_it_is_gone(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    path = await taken(storage)
    for _ in range(2):
        answer = await storage.execute(DeleteCommand(data=snapshot(path=path)))
        assert answer.result, answer.details
    assert list((storage.pool / "snapshots").iterdir()) == []
    assert FILE in storage.in_pool()
    answer = await storage.execute(DeleteCommand(data=snapshot(path=VOLUME_UUID)))
    assert answer.result, "a volume's name is not found among snapshots"
    assert FILE in storage.in_pool()


async def test_delete_command_refuses_a_snapshot_that_a_vm_has(storage: StorageStage) -> None:
    make_disk(storage.pool / FILE)
    path = await taken(storage)
    await storage.define_vm("restored", f"{POOL}\\snapshots\\{path}.vhdx")
    answer = await storage.execute(DeleteCommand(data=snapshot(path=path)))
    assert "attached to VM restored" in (answer.details or "")
    assert snapshot_file(storage, path).exists()
