"""Disks that the host makes from disks: converted, cloned, grown, then given their name.

The image service writes straight to the path that it is given, so that path is a temporary one
until the disk is whole and its own metadata says what was asked for.  On failure the temporary file
is removed again, with its own deadline, even when the command was cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from cloudstack_hyperv.cim.constants import VhdFormat
from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_parents import occupied
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.copying import require_space
from cloudstack_hyperv.storage.host_files import HostFileError, HostFileExists
from cloudstack_hyperv.storage.progress import Progress
from cloudstack_hyperv.storage.windows_paths import parent_folder
from cloudstack_hyperv.vhd import DiskFormat, DiskInfo, DiskType

log = structlog.get_logger(__name__)

MIB = 1 << 20
_VHD_SECTOR = 512


async def convert(
    context: HostContext,
    source: str,
    final: str,
    *,
    what: str,
    disk_format: DiskFormat | None = None,
    fixed: bool = False,
    grow_to: int = 0,
) -> DiskInfo:
    """Copy a disk to `final` on the host, flattened, and grow it; returns its metadata.

    `disk_format` None keeps that of the source.
    """
    info = await context.files.disk_info(source)
    wanted = disk_format or info.format
    size = max(info.virtual_size, grow_to)
    if wanted is DiskFormat.VHD and (
        size > images.LARGEST_VHD or info.logical_sector_size != _VHD_SECTOR
    ):
        raise WrongState(f"{source} cannot be a VHD: it has {size} bytes or large sectors")
    needed = size if fixed else await occupied(context, source)
    await require_space(context.files, parent_folder(final), needed)
    async with new_disk(context, final) as path:
        async with storage_access(context).copies:
            await images.convert_disk(
                context.cim,
                source,
                path,
                disk_format=VhdFormat(wanted),
                fixed=fixed,
                block_size=context.settings.storage.block_size_mib * MIB,
                progress=Progress(what),
            )
        await require_size(context, path, info.virtual_size)
        return await grow(context, path, grow_to)


async def flatten(
    context: HostContext,
    source: str,
    path: str,
    progress: Progress,
    disk_format: DiskFormat | None = None,
) -> None:
    """Copy a disk with all its ancestors to one dynamic disk at a temporary `path`."""
    info = await context.files.disk_info(source)
    await require_space(context.files, parent_folder(path), await occupied(context, source))
    async with storage_access(context).copies:
        await images.convert_disk(
            context.cim,
            source,
            path,
            disk_format=VhdFormat(disk_format or info.format),
            block_size=context.settings.storage.block_size_mib * MIB,
            progress=progress,
        )


async def clone(context: HostContext, parent: str, final: str, *, grow_to: int = 0) -> DiskInfo:
    """Make a differencing disk over `parent` and grow it; returns its metadata."""
    info = await context.files.disk_info(parent)
    async with new_disk(context, final) as path:
        await images.create_differencing(
            context.cim, path, parent, disk_format=VhdFormat(info.format)
        )
        await require_size(context, path, info.virtual_size)
        return await grow(context, path, grow_to)


@asynccontextmanager
async def new_disk(context: HostContext, final: str) -> AsyncIterator[str]:
    """Give the block a temporary path for the host to write to, and rename it afterwards.

    Raises HostFileExists if `final` is there before or after.
    """
    if await context.files.status(final) is not None:
        raise HostFileExists(f"{final} exists; it was not touched")
    with storage_access(context).temporary.beside(final) as path:
        async with UndoStack() as undo:
            undo.push(f"remove {path}", lambda: remove_temporary(context, path))
            yield path
            await context.files.rename(path, final)
            undo.commit()


async def grow(context: HostContext, path: str, size: int) -> DiskInfo:
    """Grow a disk to `size` bytes, rounded up to its sectors; never shrinks."""
    info = await context.files.disk_info(path)
    wanted = rounded_up(size, info.logical_sector_size)
    if wanted <= info.virtual_size:
        return info
    await images.resize_disk(context.cim, path, wanted)
    return await require_size(context, path, wanted)


async def require_size(context: HostContext, path: str, size: int) -> DiskInfo:
    """Read a new disk's own metadata; raises WrongState if it is not as large as asked for."""
    info = await context.files.disk_info(path)
    if info.virtual_size != size:
        raise WrongState(f"{path} has {info.virtual_size} bytes where {size} were asked for")
    return info


async def remove_temporary(context: HostContext, path: str) -> None:
    """Delete an unfinished file by the host, or past it where the host cannot."""
    try:
        await delete_on_host(context, path)
    except HostFileError as error:
        raise HypervisorError(str(error)) from error


async def delete_on_host(context: HostContext, path: str) -> bool:
    """Delete a file; False if it was not there.

    On its drives the host does it, because it refuses while a file is open; on shares it has no
    means to, and the way that leads there is used.
    """
    if path.startswith("\\\\"):
        return await context.files.delete(path)
    return await images.delete_file(context.cim, path)


def is_fixed(info: DiskInfo) -> bool:
    """Tell whether a disk's file has all of its size from the start."""
    return info.type is DiskType.FIXED


def rounded_up(size: int, sector: int) -> int:
    """Return `size` as a multiple of the sector size."""
    return -(-size // sector) * sector
