"""ListDataStoreObjectsCommand: the storage browser looks into a pool or a secondary store.

`path` is relative to the store, with `/` between names, and so are the answer's `paths`, which
begin with one; `absPaths` are what the host itself calls the files.  `count` is that of the whole
folder, of which `startIndex` and `pageSize` choose a part.  What is not there is no failure:
`pathExists` is false.  Folders come first, so that the pages of a folder stay put while disks in
it grow.

Source: CloudStack's ServerResourceBase.listFilesAtPath, which answers for KVM.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.messages.answers.storage import ListDataStoreObjectsAnswer
from cloudstack_hyperv.messages.commands.storage_other import ListDataStoreObjectsCommand
from cloudstack_hyperv.messages.objects.storage import DataStoreTO, PrimaryDataStoreTO
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.host_files import FileStatus, HostFiles
from cloudstack_hyperv.storage.windows_paths import file_name, join_relative, relative_to

LARGEST_PAGE: Final = 1000
"""Entries of one answer, whatever is asked for."""


@handles(ListDataStoreObjectsCommand, page="Phase 1: storage statistics")
async def list_data_store_objects(
    command: ListDataStoreObjectsCommand, context: HostContext
) -> ListDataStoreObjectsAnswer:
    """List a page of a folder, or the one file that the path names."""
    files, root = _opened(command.store, context)
    relative = (command.path or "").strip("/\\")
    place = join_relative(root, relative) if relative else root
    status = await files.status(place)
    if status is None:
        return _answer([], root, count=0, exists=False)
    if not status.is_folder:
        return _answer([status], root, count=1)
    entries = sorted(
        await files.list_folder(place), key=lambda entry: (not entry.is_folder, entry.path.lower())
    )
    start = max(command.start_index, 0)
    size = min(command.page_size if command.page_size > 0 else LARGEST_PAGE, LARGEST_PAGE)
    return _answer(entries[start : start + size], root, count=len(entries))


def _opened(store: DataStoreTO | None, context: HostContext) -> tuple[HostFiles, str]:
    """Return the files of a store and the Windows path of its root."""
    access = storage_access(context)
    if isinstance(store, PrimaryDataStoreTO):
        return context.files, access.folder_of_pool(store)
    secondary = access.secondary(store)
    return secondary.files, secondary.root


def _answer(
    entries: list[FileStatus], root: str, *, count: int, exists: bool = True
) -> ListDataStoreObjectsAnswer:
    return ListDataStoreObjectsAnswer(
        result=True,
        path_exists=exists,
        count=count,
        names=[file_name(entry.path) for entry in entries],
        paths=["/" + "/".join(relative_to(entry.path, root) or ()) for entry in entries],
        abs_paths=[entry.path for entry in entries],
        is_dirs=[entry.is_folder for entry in entries],
        sizes=[entry.size for entry in entries],
        last_modified=[round(entry.modified * 1000) for entry in entries],
    )
