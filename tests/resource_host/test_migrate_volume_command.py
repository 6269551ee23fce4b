"""MigrateVolumeCommand of volumes at rest: at every step one whole copy is where it should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.emulation import POOL
from tests.resource_host.storage_stage import (
    MIB,
    VOLUME_UUID,
    StorageStage,
    equal_disks,
    filer,
    make_disk,
)

from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages.answers.storage import MigrateVolumeAnswer
from cloudstack_hyperv.messages.commands.migration import MigrateVolumeCommand
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.vhd import OsFile, create_differencing, open_disk, read_info

FILE = f"{VOLUME_UUID}.vhdx"
PATH = f"{POOL}\\{FILE}"
OTHER = r"C:\pool2"


@pytest.fixture
def other(storage: StorageStage) -> Path:
    folder = storage.emulation.path(OTHER)
    folder.mkdir()
    return folder


def command(**fields: Any) -> MigrateVolumeCommand:
    given: dict[str, Any] = {
        "volume_path": VOLUME_UUID,
        "source_pool": filer(),
        "pool": filer(OTHER, uuid="5fe2bad3-d785-394e-9949-89786b8a63d2"),
    }
    return MigrateVolumeCommand(**(given | fields))


async def migrate(storage: StorageStage, **fields: Any) -> MigrateVolumeAnswer:
    answer = await storage.execute(command(**fields))
    assert isinstance(answer, MigrateVolumeAnswer)
    return answer


def kept(storage: StorageStage, name: str = FILE) -> Path:
    copy = storage.emulation.folder / f"kept-{name}"
    shutil.copy(storage.pool / name, copy)
    return copy


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_migrate_volume_command_moves_a_detached_volume(
    storage: StorageStage, other: Path
) -> None:
    make_disk(storage.pool / FILE)
    before = kept(storage)
    for _ in range(2):
        answer = await migrate(storage)
        assert (answer.result, answer.volume_path) == (True, VOLUME_UUID), answer.details
        assert (names(storage.pool), names(other)) == ([], [FILE])
        assert await equal_disks(before, other / FILE)


async def test_migrate_volume_command_flattens_a_linked_clone(
    storage: StorageStage, other: Path
) -> None:
    """The parent stays where it is, and is needed no more."""
    make_disk(storage.pool / "base.vhdx")
    with OsFile(storage.pool / "base.vhdx") as base, OsFile.create(storage.pool / FILE) as file:
        create_differencing(file, base, relative_path=".\\base.vhdx")
    assert (await migrate(storage)).result
    assert (names(storage.pool), names(other)) == (["base.vhdx"], [FILE])
    assert await equal_disks(storage.pool / "base.vhdx", other / FILE)
    with OsFile(other / FILE) as file:
        assert read_info(file).parent is None


async def test_migrate_volume_command_of_a_volume_that_is_nowhere_fails(
    storage: StorageStage, other: Path
) -> None:
    answer = await migrate(storage)
    assert not answer.result
    assert "in neither pool" in (answer.details or "")


@pytest.mark.parametrize("ours", [True, False])
async def test_migrate_volume_command_refuses_a_disk_that_a_vm_has(
    storage: StorageStage, other: Path, ours: bool
) -> None:
    make_disk(storage.pool / FILE)
    await storage.define_vm("i-2-17-VM", PATH, ours=ours)
    answer = await migrate(storage)
    assert "attached to VM i-2-17-VM" in (answer.details or "")
    assert (names(storage.pool), names(other)) == ([FILE], [])


async def test_migrate_volume_command_refuses_a_differencing_parent(
    storage: StorageStage, other: Path
) -> None:
    make_disk(storage.pool / FILE)
    with (
        OsFile(storage.pool / FILE) as parent,
        OsFile.create(storage.pool / "child.vhdx") as file,
    ):
        create_differencing(file, parent, relative_path=f".\\{FILE}")
    assert "is the parent of" in ((await migrate(storage)).details or "")
    assert (names(storage.pool), names(other)) == (sorted([FILE, "child.vhdx"]), [])


async def test_migrate_volume_command_never_takes_an_old_copy_for_the_volume(
    storage: StorageStage, other: Path
) -> None:
    """An earlier try was killed before it deleted the original, and the volume was used since."""
    make_disk(storage.pool / FILE)
    shutil.copy(storage.pool / FILE, other / FILE)
    with OsFile(storage.pool / FILE, writable=True) as file, open_disk(file, writable=True) as disk:
        disk.write(9 * MIB, b"newer".ljust(512, b"\0"))
    before = kept(storage)
    for _ in range(2):
        answer = await migrate(storage)
        assert (answer.result, answer.volume_path) == (True, VOLUME_UUID), answer.details
    assert await equal_disks(before, other / FILE)
    assert names(storage.pool) == []
    (aside,) = [name for name in names(other) if name != FILE]
    assert aside.startswith(f"{VOLUME_UUID}.superseded-"), "nothing is lost"


async def test_migrate_volume_command_leaves_a_file_that_a_vm_has_in_the_other_pool(
    storage: StorageStage, other: Path
) -> None:
    make_disk(storage.pool / FILE)
    make_disk(other / FILE, content=b"somebody else's")
    await storage.define_vm("payroll", f"{OTHER}\\{FILE}")
    assert "attached to VM payroll" in ((await migrate(storage)).details or "")
    assert (names(storage.pool), names(other)) == ([FILE], [FILE])


async def _broken(*_: Any, **__: Any) -> Any:
    raise HypervisorError("broken on purpose")


@pytest.mark.parametrize("step", ["convert", "new_disk", "delete_on_host"])
async def test_migrate_volume_command_that_fails_keeps_the_original_only(
    storage: StorageStage, other: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    make_disk(storage.pool / FILE)
    before = kept(storage)
    broken: Callable[..., Any] = _broken
    if step == "delete_on_host":
        delete = host_copies.delete_on_host

        async def keeps_the_original(context: Any, path: str) -> bool:
            if path == PATH:
                raise HypervisorError("broken on purpose")
            return await delete(context, path)

        broken = keeps_the_original
    elif step == "new_disk":

        def cannot_begin(*_: Any, **__: Any) -> Any:
            raise HypervisorError("broken on purpose")

        broken = cannot_begin
    with monkeypatch.context() as patch:
        patch.setattr(host_copies, step, broken)
        answer = await migrate(storage)
    assert "broken on purpose" in (answer.details or "")
    assert (names(storage.pool), names(other)) == ([FILE], [])
    assert await equal_disks(before, storage.pool / FILE)
    assert (await migrate(storage)).result


async def test_migrate_volume_command_keeps_the_copy_where_the_original_is_gone_after_all(
    storage: StorageStage, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host deleted the original, and its answer was lost."""
    make_disk(storage.pool / FILE)
    before = kept(storage)
    delete = host_copies.delete_on_host

    async def loses_its_answer(context: Any, path: str) -> bool:
        await delete(context, path)
        raise HypervisorError("no answer")

    monkeypatch.setattr(host_copies, "delete_on_host", loses_its_answer)
    answer = await migrate(storage)
    assert answer.result, answer.details
    assert (names(storage.pool), names(other)) == ([], [FILE])
    assert await equal_disks(before, other / FILE)


async def test_migrate_volume_command_looks_again_before_it_deletes(
    storage: StorageStage, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VM that got the disk while it was copied keeps it."""
    make_disk(storage.pool / FILE)
    convert = host_copies.convert

    async def attached_meanwhile(*arguments: Any, **named: Any) -> Any:
        made = await convert(*arguments, **named)
        await storage.define_vm("i-2-17-VM", PATH, ours=True)
        return made

    monkeypatch.setattr(host_copies, "convert", attached_meanwhile)
    assert "attached to VM i-2-17-VM" in ((await migrate(storage)).details or "")
    assert (names(storage.pool), names(other)) == ([FILE], [])
