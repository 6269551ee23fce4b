"""Changing a disk's virtual size, and how small it may become."""

from cloudstack_hyperv.vhd.disk import Disk
from cloudstack_hyperv.vhd.errors import DiskShrinkError, UnsupportedDiskError
from cloudstack_hyperv.vhd.partitions import last_partition_end
from cloudstack_hyperv.vhd.vhd1.create import grow_vhd
from cloudstack_hyperv.vhd.vhd1.disk import VhdDisk
from cloudstack_hyperv.vhd.vhdx.disk import VhdxDisk
from cloudstack_hyperv.vhd.vhdx.resize import resize_vhdx

_SLICE = 1 << 20


def minimum_size(disk: Disk) -> int:
    """The smallest safe virtual size in bytes, in whole sectors (MinInternalSize in Hyper-V).

    With a partition table that is where its last partition ends. Without, no byte that is not
    zero may be cut off.
    """
    partitions = last_partition_end(disk)
    return _content_end(disk) if partitions is None else partitions


def _content_end(disk: Disk) -> int:
    """Behind the last sector that does not read as zeros."""
    sector = disk.info.logical_sector_size
    for stored in reversed(list(disk.allocated_ranges())):
        end = stored.offset + stored.length
        while end > stored.offset:
            start = max(stored.offset, end - _SLICE)
            used = len(disk.read(start, end - start).rstrip(b"\0"))
            if used:
                return -(-(start + used) // sector) * sector
            end = start
    return sector


def resize(disk: Disk, virtual_size: int) -> None:
    """Grow or shrink a disk opened for writing; stable on return.

    Raises `DiskShrinkError` below `minimum_size`. What is added reads as zeros. A VHD can only
    grow, and only without a parent, as in Hyper-V.
    """
    if isinstance(disk, VhdDisk):
        grow_vhd(disk.require_writable(), virtual_size)
        return
    if not isinstance(disk, VhdxDisk):
        raise UnsupportedDiskError("only VHDX and VHD can be resized")
    image = disk.require_writable()
    if virtual_size < disk.virtual_size:
        smallest = minimum_size(disk)
        if virtual_size < smallest:
            raise DiskShrinkError(f"the disk cannot be smaller than {smallest} bytes")
        # What is cut off must not come back when the disk grows again.
        disk.write_zeroes(virtual_size, disk.virtual_size - virtual_size)
    disk.flush()
    resize_vhdx(image, virtual_size)
