"""The rules by which no user's disk is ever lost, each tried by everything that could break it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.emulation import POOL, Emulation
from tests.resource_host.storage_stage import (
    MIB,
    TEMPLATE_PATH,
    TEMPLATE_SIZE,
    VOLUME_UUID,
    StorageStage,
    filer,
    make_disk,
    primary_store,
    secondary_store,
    template,
    template_in_pool,
    virtual_size,
    volume,
)

from cloudstack_hyperv.messages import Answer, Command
from cloudstack_hyperv.messages.commands.migration import MigrateVolumeCommand
from cloudstack_hyperv.messages.commands.storage import (
    CopyCommand,
    CreateObjectCommand,
    DeleteCommand,
    DestroyCommand,
    ModifyStoragePoolCommand,
    ResizeVolumeCommand,
)
from cloudstack_hyperv.messages.objects.storage import SnapshotObjectTO, VolumeTO
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_parents import children_in_folder
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.host_files import VolumeSpace
from cloudstack_hyperv.vhd import OsFile, create_differencing

FILE = f"{VOLUME_UUID}.vhdx"
PATH = f"{POOL}\\{FILE}"
OTHER = r"C:\pool2"


def make_child(parent: Path, child: Path, **locator: str) -> None:
    child.parent.mkdir(parents=True, exist_ok=True)
    given = locator or {"relative_path": f".\\{parent.name}"}
    with OsFile(parent) as base, OsFile.create(child) as file:
        create_differencing(
            file,
            base,
            relative_path=given.get("relative_path"),
            absolute_win32_path=given.get("absolute_win32_path"),
            volume_path=given.get("volume_path"),
        )


def dangerous() -> list[Command]:
    """Everything that deletes, moves or resizes the volume."""
    move = filer(OTHER, uuid="5fe2bad3-d785-394e-9949-89786b8a63d2")
    evicted = VolumeTO(path=VOLUME_UUID, mount_point=POOL, storage_pool_type="Filesystem")
    return [
        DeleteCommand(data=volume(path=VOLUME_UUID)),
        DeleteCommand(data=template_in_pool(VOLUME_UUID)),
        DestroyCommand(volume=evicted),
        ResizeVolumeCommand(path=VOLUME_UUID, pool=filer(), new_size=2 * TEMPLATE_SIZE),
        MigrateVolumeCommand(volume_path=VOLUME_UUID, source_pool=filer(), pool=move),
    ]


async def require_refused(storage: StorageStage, reason: str) -> None:
    """Nothing of what is dangerous is done to the volume."""
    other = storage.emulation.path(OTHER)
    other.mkdir(exist_ok=True)
    before = (storage.pool / FILE).read_bytes()
    for command in dangerous():
        answer: Answer = await storage.execute(command)
        assert not answer.result, command
        assert reason in (answer.details or ""), command
        assert (storage.pool / FILE).read_bytes() == before, command
        assert list(other.iterdir()) == [], command


# A disk that others stand on


@pytest.mark.parametrize(
    "locator",
    [
        {"relative_path": f".\\{FILE}"},
        {"absolute_win32_path": f"\\\\?\\{PATH.upper()}"},
        {"volume_path": f"\\\\?\\Volume{{26a21bda-a627-11d7-9931-806e6f6e6963}}\\pool\\{FILE}"},
    ],
)
async def test_a_differencing_parent_is_read_only_and_never_deleted_while_a_child_exists(
    storage: StorageStage, locator: dict[str, str]
) -> None:
    make_disk(storage.pool / FILE)
    make_child(storage.pool / FILE, storage.pool / "child.vhdx", **locator)
    await require_refused(storage, "is the parent of")
    (storage.pool / "child.vhdx").unlink()
    answer = await storage.execute(DeleteCommand(data=volume(path=VOLUME_UUID)))
    assert answer.result, answer.details


async def test_a_differencing_parent_is_never_deleted_while_a_vm_has_a_child_elsewhere(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    child = storage.emulation.path(r"C:\elsewhere\child.vhdx")
    make_child(storage.pool / FILE, child, absolute_win32_path=f"\\\\?\\{PATH}")
    await storage.define_vm("somebody", r"C:\elsewhere\child.vhdx")
    await require_refused(storage, "is the parent of")


async def test_a_clone_made_by_a_command_protects_its_template(
    emulated_host: Emulation, host_context: HostContext
) -> None:
    settings = host_context.settings
    cloning = msgspec.structs.replace(settings.storage, clone="differencing")
    context = dataclasses.replace(
        host_context, settings=msgspec.structs.replace(settings, storage=cloning)
    )
    storage = StorageStage(emulated_host, Resource(context))
    make_disk(storage.pool / FILE)
    made = await storage.copy(template_in_pool(VOLUME_UUID), volume("clone"))
    assert made.result, made.details
    await require_refused(storage, "is the parent of")
    gone = await storage.execute(DeleteCommand(data=volume(path="clone")))
    assert gone.result, gone.details
    evicted = await storage.execute(DeleteCommand(data=template_in_pool(VOLUME_UUID)))
    assert evicted.result, evicted.details


async def test_the_scan_for_children_opens_only_what_is_new_or_changed(
    storage: StorageStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_disk(storage.pool / FILE)
    for number in range(5):
        make_disk(storage.pool / f"{number}.vhdx")
    make_child(storage.pool / FILE, storage.pool / "child.vhdx")
    for path in storage.pool.iterdir():
        os.utime(path, (1e9, 1e9))
    context = storage.resource.context
    disk_info, opened = context.files.disk_info, []

    async def noted(path: str) -> Any:
        opened.append(path.rpartition("\\")[2])
        return await disk_info(path)

    monkeypatch.setattr(context.files, "disk_info", noted)
    assert await children_in_folder(context, PATH) == [f"{POOL}\\child.vhdx"]
    assert len(opened) == 7
    opened.clear()
    assert await children_in_folder(context, PATH) == [f"{POOL}\\child.vhdx"]
    assert opened == []
    make_child(storage.pool / FILE, storage.pool / "new.vhdx")
    os.utime(storage.pool / "3.vhdx", (2e9, 1.5e9))
    (storage.pool / "child.vhdx").unlink()
    for _ in range(2):
        opened.clear()
        assert await children_in_folder(context, PATH) == [f"{POOL}\\new.vhdx"]
    assert sorted(opened) == ["new.vhdx"], "what has just changed is looked at again"


# A disk that a VM has


@pytest.mark.parametrize("ours", [True, False])
async def test_a_disk_of_a_running_vm_is_never_deleted_moved_or_resized_behind_its_back(
    storage: StorageStage, ours: bool
) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm("i-2-17-VM", PATH, running=True, ours=ours)
    await require_refused(storage, "VM i-2-17-VM")


async def test_a_disk_of_anothers_vm_that_is_off_is_never_deleted_moved_or_resized(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm("payroll", PATH.lower())
    await require_refused(storage, "VM payroll")


async def test_a_disk_under_a_checkpoint_is_never_deleted_moved_or_resized(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / FILE)
    guid = await storage.define_vm("i-2-17-VM", PATH, ours=True)
    await storage.checkpoint(guid)
    await require_refused(storage, "is the parent of")


# What a file says of itself


async def test_the_metadata_of_a_disk_is_read_before_it_is_trusted(storage: StorageStage) -> None:
    """A parent locator comes from whoever made the file: it could name any file of the host."""
    secondary = storage.emulation.secondary
    make_disk(secondary / "base.vhdx")
    make_child(
        secondary / "base.vhdx",
        secondary / TEMPLATE_PATH,
        absolute_win32_path=r"\\?\C:\Windows\System32\config\SAM.vhdx",
    )
    as_volume = volume(path=TEMPLATE_PATH, data_store=secondary_store())
    as_snapshot = SnapshotObjectTO(path=TEMPLATE_PATH, data_store=secondary_store())
    for source, destination in (
        (template(), template_in_pool(None)),
        (template(), volume()),
        (as_volume, volume()),
        (as_snapshot, volume()),
        (as_snapshot, template("template/tmpl/2/205")),
    ):
        answer = await storage.copy(source, destination)
        assert "differencing disk" in (answer.details or ""), source
    assert storage.in_pool() == []
    assert storage.in_secondary() == sorted(["base.vhdx", TEMPLATE_PATH])


async def test_a_template_that_was_made_a_child_in_the_pool_is_not_cloned(
    storage: StorageStage,
) -> None:
    make_disk(storage.pool / "base.vhdx")
    make_child(storage.pool / "base.vhdx", storage.pool / FILE)
    answer = await storage.copy(template_in_pool(VOLUME_UUID), volume("new"))
    assert "differencing disk" in (answer.details or "")


# Space


def copies() -> list[Command]:
    """Everything that makes a large file in the pool; the template is there as file and volume."""
    return [
        CopyCommand(src_to=template(), dest_to=template_in_pool(None)),
        CopyCommand(src_to=template(), dest_to=volume("new", size=2 * TEMPLATE_SIZE)),
        CopyCommand(src_to=template_in_pool(VOLUME_UUID), dest_to=volume("new")),
        CopyCommand(
            src_to=volume(path=TEMPLATE_PATH, data_store=secondary_store()), dest_to=volume("new")
        ),
        CopyCommand(src_to=volume(path=VOLUME_UUID), dest_to=volume("new", format="VHD")),
        CreateObjectCommand(
            data=SnapshotObjectTO(
                id=41, volume=volume(path=VOLUME_UUID), data_store=primary_store()
            )
        ),
        CreateObjectCommand(data=volume("new", provisioning_type="FAT")),
    ]


def left_in_pool(storage: StorageStage) -> list[str]:
    return [name for name in storage.in_pool() if name not in (FILE, "snapshots")] + [
        path.name for path in (storage.pool / "snapshots").glob("*")
    ]


@pytest.fixture
def stocked(storage: StorageStage) -> StorageStage:
    """A pool with a volume and a store with a template, both with some MiB of content."""
    content = os.urandom(8 * MIB)
    make_disk(storage.pool / FILE, content=content)
    make_disk(storage.emulation.secondary / TEMPLATE_PATH, content=content)
    return storage


@pytest.mark.parametrize("number", range(7))
async def test_free_space_is_checked_before_a_copy(
    stocked: StorageStage, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def nearly_full(_: str) -> VolumeSpace:
        return VolumeSpace(capacity=1 << 40, available=66 * MIB)

    monkeypatch.setattr(stocked.resource.context.files, "space", nearly_full)
    answer = await stocked.execute(copies()[number])
    assert not answer.result
    assert "are available" in (answer.details or "")
    assert left_in_pool(stocked) == []


@pytest.mark.parametrize("number", range(7))
async def test_a_full_disk_in_the_middle_leaves_nothing(
    stocked: StorageStage, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The volume fills up after the check: the host's own work fails, and so does ours."""
    files = stocked.emulation.host.site.files
    files.space.limit(files.locate(POOL).root, 2 * MIB)
    context = stocked.resource.context
    create = context.files.create

    async def with_little_room(path: str, size: int) -> Any:
        writer = await create(path, size)
        write, room = writer.write, 2 * MIB

        async def limited(offset: int, data: bytes) -> None:
            nonlocal room
            room -= len(data)
            if room < 0:
                raise OSError(28, "No space left on device")
            await write(offset, data)

        writer.write = limited  # type: ignore[method-assign] # a volume that fills up
        return writer

    monkeypatch.setattr(context.files, "create", with_little_room)
    answer = await stocked.execute(copies()[number])
    assert not answer.result
    assert left_in_pool(stocked) == []
    assert virtual_size(stocked.pool / FILE) == TEMPLATE_SIZE


# What a crash leaves


async def test_leftovers_of_a_crashed_copy_are_removed_at_start_and_only_those(
    storage: StorageStage,
) -> None:
    temporary = storage_access(storage.resource.context).temporary
    names = {}
    for place in (storage.pool, storage.pool / "snapshots"):
        place.mkdir(exist_ok=True)
        with temporary.beside(PATH) as path:
            names[place] = path.rpartition("\\")[2]
        kept = ["user.partial.vhdx", "x.cshv-nothex00-0123456789ab.partial.vhdx", FILE]
        for name in (names[place], *kept):
            make_disk(place / name)
            os.utime(place / name, (1e9, 1e9))
    with temporary.beside(PATH) as path:
        in_work = path.rpartition("\\")[2]
        make_disk(storage.pool / in_work)
        os.utime(storage.pool / in_work, (1e9, 1e9))
        answer = await storage.execute(ModifyStoragePoolCommand(add=True, pool=filer()))
    assert answer.result, answer.details
    for place, name in names.items():
        left = {path.name for path in place.iterdir()} - {"snapshots", in_work}
        assert name not in left
        assert left == {"user.partial.vhdx", "x.cshv-nothex00-0123456789ab.partial.vhdx", FILE}
    assert in_work in storage.in_pool(), "somebody works on it"
