"""Copying a disk's content into a new disk of any format and type.

The copy of a differencing disk holds what its whole chain holds: this is also how a chain is
flattened. Only what is stored is read, and only what is not zero is written.
"""

from uuid import UUID

from cloudstack_hyperv.vhd.creating import create_dynamic, create_fixed
from cloudstack_hyperv.vhd.disk import Disk, Progress
from cloudstack_hyperv.vhd.errors import DiskParameterError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskFormat, DiskType
from cloudstack_hyperv.vhd.opening import open_alone

SLICE = 4 << 20
_ZERO_SLICE = bytes(SLICE)


def copy_content(source: Disk, target: Disk, progress: Progress | None = None) -> None:
    """Write what `source` reads into `target`, a new disk of at least that size."""
    ranges = list(source.allocated_ranges())
    total = sum(part.length for part in ranges)
    done = 0
    for part in ranges:
        for start in range(part.offset, part.offset + part.length, SLICE):
            count = min(SLICE, part.offset + part.length - start)
            data = source.read(start, count)
            if data != (_ZERO_SLICE if count == SLICE else bytes(count)):
                target.write(start, data)
            done += count
            if progress is not None:
                progress(done, total)


def convert(
    source: Disk,
    target: RandomAccessFile,
    *,
    disk_format: DiskFormat = DiskFormat.VHDX,
    disk_type: DiskType = DiskType.DYNAMIC,
    block_size: int | None = None,
    disk_id: UUID | None = None,
    progress: Progress | None = None,
) -> None:
    """Make a fixed or dynamic disk in the empty file `target` that reads as `source` does.

    Sector sizes are the source's where the format has them. Without `disk_id` the new disk gets
    an identity of its own. A differencing source must have been opened with its parents. A copy
    that ends with an exception leaves a file that is of no use; removing it is the caller's.
    """
    info = source.info
    if disk_type is DiskType.DIFFERENCING:
        raise DiskParameterError("a copy is fixed or dynamic; see create_differencing")
    create = create_fixed if disk_type is DiskType.FIXED else create_dynamic
    create(
        target,
        info.virtual_size,
        disk_format=disk_format,
        block_size=block_size,
        logical_sector_size=info.logical_sector_size,
        physical_sector_size=info.physical_sector_size,
        disk_id=disk_id,
    )
    with open_alone(target, writable=True) as disk:
        copy_content(source, disk, progress)
