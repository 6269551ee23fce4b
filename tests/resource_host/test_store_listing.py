"""ListDataStoreObjectsCommand: pools and secondary stores as the storage browser sees them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.emulation import POOL
from tests.resource_host.storage_stage import (
    StorageStage,
    make_disk,
    primary_store,
    secondary_store,
)

from cloudstack_hyperv.messages.answers.storage import ListDataStoreObjectsAnswer
from cloudstack_hyperv.messages.commands.storage_other import ListDataStoreObjectsCommand


async def listed(storage: StorageStage, **fields: Any) -> ListDataStoreObjectsAnswer:
    given: dict[str, Any] = {"store": primary_store(), "page_size": 20, **fields}
    answer = await storage.execute(ListDataStoreObjectsCommand(**given))
    assert isinstance(answer, ListDataStoreObjectsAnswer)
    return answer


async def test_list_data_store_objects_command_lists_a_pool(storage: StorageStage) -> None:
    make_disk(storage.pool / "a.vhdx")
    make_disk(storage.pool / "snapshots" / "b.vhdx")
    size = (storage.pool / "a.vhdx").stat()
    answer = await listed(storage)
    assert (answer.result, answer.path_exists, answer.count) == (True, True, 2)
    assert answer.names == ["snapshots", "a.vhdx"]
    assert answer.paths == ["/snapshots", "/a.vhdx"]
    assert answer.abs_paths == [f"{POOL}\\snapshots", f"{POOL}\\a.vhdx"]
    assert answer.is_dirs == [True, False]
    assert answer.sizes == [0, size.st_size]
    assert answer.last_modified is not None
    assert answer.last_modified[1] == round(size.st_mtime * 1000)


@pytest.mark.parametrize("path", ["snapshots", "/snapshots", "/snapshots/"])
async def test_list_data_store_objects_command_goes_into_folders(
    storage: StorageStage, path: str
) -> None:
    make_disk(storage.pool / "snapshots" / "b.vhdx")
    answer = await listed(storage, path=path)
    assert (answer.names, answer.paths) == (["b.vhdx"], ["/snapshots/b.vhdx"])


async def test_list_data_store_objects_command_shows_a_file(storage: StorageStage) -> None:
    make_disk(storage.pool / "a.vhdx")
    answer = await listed(storage, path="/a.vhdx")
    assert (answer.names, answer.is_dirs, answer.count) == (["a.vhdx"], [False], 1)


async def test_list_data_store_objects_command_pages(storage: StorageStage) -> None:
    for number in range(5):
        (storage.pool / f"{number}.txt").touch()
    pages = [await listed(storage, start_index=start, page_size=2) for start in (0, 2, 4, 6, -1)]
    assert [page.count for page in pages] == [5] * 5
    assert [page.names for page in pages] == [
        ["0.txt", "1.txt"],
        ["2.txt", "3.txt"],
        ["4.txt"],
        [],
        ["0.txt", "1.txt"],
    ]
    assert (await listed(storage, page_size=0)).names == [f"{number}.txt" for number in range(5)]


async def test_list_data_store_objects_command_of_what_is_not_there_says_so(
    storage: StorageStage,
) -> None:
    answer = await listed(storage, path="gone/deeper")
    assert (answer.result, answer.path_exists, answer.names) == (True, False, [])


@pytest.mark.parametrize("path", ["..", "a/../../x", "C:\\Windows", "NUL", "a:b"])
async def test_list_data_store_objects_command_stays_in_its_store(
    storage: StorageStage, path: str
) -> None:
    answer = await listed(storage, path=path)
    assert not answer.result
    assert answer.names is None


async def test_list_data_store_objects_command_lists_a_secondary_store(
    storage: StorageStage,
) -> None:
    storage.emulation.make_iso("template/tmpl/2/210/a.iso")
    answer = await listed(storage, store=secondary_store(), path="template/tmpl/2/210")
    assert answer.paths == ["/template/tmpl/2/210/a.iso"]
    assert not (await listed(storage, store=None)).result
