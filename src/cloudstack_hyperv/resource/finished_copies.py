"""Is a copy that is there already the one that this command would make?

A command whose answer was lost is sent again.  What it made the first time should then be
answered, not made twice, and never be mistaken for a copy of what the disk was at another time.

A VHDX says when its content changes: its DataWriteGuid is new from the first write after each
opening ([MS-VHDX] 2.2.2).  So a file that was copied byte by byte has the same identity as its
source exactly while the source is unchanged.  A disk that was flattened on its way has another
identity; there the *name* is made of the source's identity and of its parent's, with a name-based
UUID that nobody else makes.  Files get their names only when they are whole.

A VHD does not say when it changes; its copies are compared byte by byte.
"""

from __future__ import annotations

import uuid
from typing import Final

from cloudstack_hyperv.storage.content import SourceFile
from cloudstack_hyperv.storage.copying import equal_files
from cloudstack_hyperv.storage.host_files import HostFiles
from cloudstack_hyperv.vhd import DiskFormat, DiskInfo, VhdError

_COPIES: Final = uuid.UUID("5b0d3a0e-9d3c-4a55-8a52-0f1a7f4b6c11")
"""Namespace of the name-based UUIDs of copies."""


async def derived_stem(source: SourceFile, purpose: str) -> str:
    """Return the name that a copy of a disk, as it is now, has for one purpose.

    A new one every time for a VHD, which does not tell one content from another.
    """
    info = await source.files.disk_info(source.path)
    if info.format is not DiskFormat.VHDX:
        return str(uuid.uuid4())
    parent = info.parent.linkage if info.parent is not None else ""
    identity = f"{info.disk_id}|{info.linkage_id}|{parent}|{info.virtual_size}"
    return str(uuid.uuid5(_COPIES, f"{purpose}|{identity}"))


async def is_copy_of(source: SourceFile, files: HostFiles, path: str) -> bool:
    """Tell whether the disk at `path` is a byte-wise copy of `source` as it is now."""
    status, other_status = await source.files.status(source.path), await files.status(path)
    if status is None or other_status is None or status.size != other_status.size:
        return False
    try:
        info, other = await source.files.disk_info(source.path), await files.disk_info(path)
    except VhdError:
        return False
    if info != other:
        return False
    return info.format is DiskFormat.VHDX or await equal_files(source, SourceFile(files, path))


async def finished_disk(files: HostFiles, path: str, size: int) -> DiskInfo | None:
    """Return the metadata of a disk of a derived name, None if there is none of that size."""
    if await files.status(path) is None:
        return None
    info = await files.disk_info(path)
    return info if info.virtual_size == size else None
