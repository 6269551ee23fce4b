"""What commands about volumes have in common: limits, is it there already, is its chain whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from cloudstack_hyperv.cim.constants import VhdFormat
from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor.errors import WrongState
from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_safety import require_unattached
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.host_files import HostFileExists
from cloudstack_hyperv.storage.locations import disk_path, find_disk
from cloudstack_hyperv.storage.progress import Progress
from cloudstack_hyperv.storage.windows_paths import parent_folder
from cloudstack_hyperv.vhd import DiskFormat, DiskInfo

log = structlog.get_logger(__name__)

LARGEST: Final = {VhdFormat.VHDX: images.LARGEST_VHDX, VhdFormat.VHD: images.LARGEST_VHD}
SMALLEST: Final = 3 << 20
"""Bytes of the smallest disk that the image service makes."""


async def existing_volume(
    context: HostContext, folder: str, stem: str, size: int | None
) -> DiskInfo | None:
    """Return the metadata of a volume that an earlier, equal command made; None if there is none.

    `size` None is for a source that does not tell its size before it is unpacked.

    A file gets its final name only when it is whole, so one of the right size that no VM has is the
    result of a command whose answer was lost.  Raises WrongState if a VM has it, HostFileExists if
    it is another disk; it is never overwritten.
    """
    path = await find_disk(folder, stem, None, context.files)
    if path is None:
        return None
    info = await context.files.disk_info(path)
    await require_unattached(context, path, f"make volume {stem}")
    if size is not None and info.virtual_size != size:
        raise HostFileExists(
            f"{path} exists with {info.virtual_size} bytes where {size} are wanted; it was not "
            "touched"
        )
    log.info("the volume was made before", path=path)
    return info


@asynccontextmanager
async def whole_source(
    context: HostContext, path: str, disk_format: DiskFormat
) -> AsyncIterator[str]:
    """Give the block a disk of this format without parents.

    That is `path` itself, or a flat copy that the host makes beside it for the block.
    """
    info = await context.files.disk_info(path)
    if info.parent is None and info.format is disk_format:
        yield path
        return
    if disk_format is DiskFormat.VHD and info.virtual_size > images.LARGEST_VHD:
        raise WrongState(f"{path} is too large for a VHD")
    beside = disk_path(parent_folder(path), "flat", disk_format.name)
    with storage_access(context).temporary.beside(beside) as flat:
        try:
            progress = Progress(f"flatten {path}")
            await host_copies.flatten(context, path, flat, progress, disk_format)
            yield flat
        finally:
            await host_copies.remove_temporary(context, flat)


def volume_answer(stem: str, info: DiskInfo) -> CopyCmdAnswer:
    """Answer with a volume on primary storage."""
    return CopyCmdAnswer(
        result=True,
        new_data=VolumeObjectTO(path=stem, size=info.virtual_size, format=info.format.name),
    )
