"""Moving the content of differencing disks into one of their ancestors.

The chain from the child to the destination is given as files. The destination afterwards reads as
the child did; the child and what lay between are then of no use and theirs to remove who own them.
The destination's identity changes with its content, so that other children of it no longer fit,
and a child of the merged disk has to be told its new parent (see `set_parent`). A merge that was
interrupted may be repeated with `ignore_mismatch`: it copies the same again.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise

from cloudstack_hyperv.vhd.copying import SLICE
from cloudstack_hyperv.vhd.disk import Disk, Extent, ExtentKind, Progress
from cloudstack_hyperv.vhd.errors import DiskParameterError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskFormat
from cloudstack_hyperv.vhd.opening import check_parent, open_alone
from cloudstack_hyperv.vhd.vhd1.create import grow_vhd
from cloudstack_hyperv.vhd.vhd1.disk import VhdDisk
from cloudstack_hyperv.vhd.vhdx.disk import VhdxDisk
from cloudstack_hyperv.vhd.vhdx.items import change_items, virtual_disk_items
from cloudstack_hyperv.vhd.vhdx.metadata import PHYSICAL_SECTOR_SIZE, VIRTUAL_DISK_ID
from cloudstack_hyperv.vhd.vhdx.resize import resize_vhdx


def merge(
    layers: Sequence[RandomAccessFile],
    *,
    ignore_mismatch: bool = False,
    disk_format: DiskFormat | None = None,
    progress: Progress | None = None,
) -> None:
    """Merge `layers[0]`, and the disks after it, into `layers[-1]`, which must be writable.

    Each file must be the parent of the one before it, else `ParentMismatchError`. The
    destination may itself be a differencing disk; its parent is not needed. For `disk_format`
    see `open_disk`.
    """
    if len(layers) < 2:
        raise DiskParameterError("a merge needs a child and an ancestor")
    with ExitStack() as stack:
        disks = [
            stack.enter_context(open_alone(file, disk_format, writable=False))
            for file in layers[:-1]
        ]
        target = stack.enter_context(open_alone(layers[-1], disk_format, writable=True))
        chain = [*disks, target]
        for child, parent in pairwise(chain):
            check_parent(child.info, parent.info, ignore_mismatch=ignore_mismatch)
        if target.virtual_size != disks[0].virtual_size:
            _take_size(target, disks[0].virtual_size)
        _copy_layers(disks, target, progress)
        if isinstance(target, VhdxDisk) and isinstance(disks[0], VhdxDisk):
            _take_metadata(target, disks[0])
        target.flush()


def _take_size(target: Disk, virtual_size: int) -> None:
    if isinstance(target, VhdDisk):
        grow_vhd(target.require_writable(), virtual_size)
    elif isinstance(target, VhdxDisk):
        if virtual_size < target.virtual_size:
            target.write_zeroes(virtual_size, target.virtual_size - virtual_size)
        resize_vhdx(target.require_writable(), virtual_size)


def _layered(layers: Sequence[Disk], offset: int, length: int) -> Iterator[tuple[Disk, Extent]]:
    """The pieces that the layers themselves hold, each with the layer that holds it."""
    disk, below = layers[0], layers[1:]
    for extent in disk.extents(offset, length):
        if extent.kind is not ExtentKind.PARENT:
            yield disk, extent
        elif below:
            there = max(0, min(extent.length, below[0].virtual_size - extent.offset))
            if there:
                yield from _layered(below, extent.offset, there)
            if there < extent.length:
                yield (
                    disk,
                    Extent(extent.offset + there, extent.length - there, ExtentKind.ZERO),
                )


def _copy_layers(layers: Sequence[Disk], target: Disk, progress: Progress | None) -> None:
    size = layers[0].virtual_size
    total = sum(
        extent.length
        for _disk, extent in _layered(layers, 0, size)
        if extent.kind is ExtentKind.DATA
    )
    done = 0
    for disk, extent in _layered(layers, 0, size):
        if extent.kind is ExtentKind.ZERO:
            target.write_zeroes(extent.offset, extent.length)
            continue
        for start in range(0, extent.length, SLICE):
            count = min(SLICE, extent.length - start)
            target.write(extent.offset + start, disk.read(extent.offset + start, count))
            done += count
            if progress is not None:
                progress(done, total)


def _take_metadata(target: VhdxDisk, child: VhdxDisk) -> None:
    """What belongs to the virtual disk comes from the child ([MS-VHDX] 2.6.1.2)."""
    old = virtual_disk_items(target.image)
    new = virtual_disk_items(child.image)
    described = {VIRTUAL_DISK_ID, PHYSICAL_SECTOR_SIZE}
    own = [item for item in child.image.metadata.items() if item[0] in described]
    if new != old or any(item not in target.image.metadata.items() for item in own):
        target.image.begin(data=True)
        change_items(target.image, new + own, dropped=[item_id for item_id, _, _ in old])
