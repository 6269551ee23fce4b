"""Changing the virtual size of a VHDX ([MS-VHDX] 2.5, 2.6.2.2).

The size is one metadata item; what makes it work is room in the BAT. Where the table's region is
too short, a longer one is written into free space and the region table is pointed to it in the
same log entry as the new size: a crash leaves the old disk or the new one.
"""

from dataclasses import replace

from cloudstack_hyperv.vhd.errors import DiskParameterError, UnsupportedDiskError
from cloudstack_hyperv.vhd.info import MIB
from cloudstack_hyperv.vhd.vhdx.bat import (
    BITMAP_BLOCK_SIZE,
    ENTRY_SIZE,
    PLACED_STATES,
    BatGeometry,
    BitmapState,
    PayloadState,
    bat_region_length,
    entry_offset,
    entry_state,
    pack_entry,
)
from cloudstack_hyperv.vhd.vhdx.image import VhdxImage
from cloudstack_hyperv.vhd.vhdx.metadata import VIRTUAL_DISK_SIZE, check_geometry
from cloudstack_hyperv.vhd.vhdx.regions import TABLE_OFFSETS

_COPY = MIB


def resize_vhdx(image: VhdxImage, virtual_size: int) -> None:
    """Give the disk another size. What lies behind a smaller size is given up unasked."""
    metadata = image.metadata
    check_geometry(
        virtual_size,
        metadata.block_size,
        metadata.logical_sector_size,
        metadata.physical_sector_size,
        DiskParameterError,
    )
    if virtual_size == metadata.virtual_size:
        return
    image.begin(data=True)
    image.commit()
    geometry = replace(image.geometry, virtual_size=virtual_size)
    if virtual_size > metadata.virtual_size:
        _grow(image, geometry)
    else:
        _write_size(image, virtual_size)
        _give_up_blocks(image, image.geometry, geometry)
    image.geometry = geometry
    image.description = replace(
        image.description, metadata=replace(metadata, virtual_size=virtual_size)
    )
    image.commit()


def _write_size(image: VhdxImage, virtual_size: int) -> None:
    """Change the metadata item and commit it, with whatever else is pending."""
    region = image.description.regions.metadata
    entry = image.description.table.find(VIRTUAL_DISK_SIZE)
    if entry is None:
        raise UnsupportedDiskError("the virtual disk size is missing")
    image.pages.write(region.offset + entry.offset, virtual_size.to_bytes(8, "little"))
    image.commit()


def _grow(image: VhdxImage, geometry: BatGeometry) -> None:
    """Make room in the BAT, give a fixed disk its blocks, then change the size."""
    old = image.geometry
    has_parent = image.metadata.has_parent
    if image.file.size() < image.space.end():
        # Some writers cut the file behind the last block's bytes; those are on the disk now.
        image.file.truncate(image.space.end())
    old_count = old.entries(has_parent=has_parent)
    count = geometry.entries(has_parent=has_parent)
    if count * ENTRY_SIZE > image.description.regions.bat.length:
        relocate_bat(image, bat_region_length(geometry, has_parent=has_parent))
    # What lies in the region behind the table may be anything.
    bat = image.description.regions.bat.offset
    for index in range(old_count, count, 512):
        length = min(512, count - index) * ENTRY_SIZE
        image.pages.write(bat + index * ENTRY_SIZE, bytes(length))
        image.commit_if_full()
    if image.description.metadata.leave_blocks_allocated and not has_parent:
        _allocate_blocks(image, old, geometry)
    image.commit()
    _write_size(image, geometry.virtual_size)


def _allocate_blocks(image: VhdxImage, old: BatGeometry, geometry: BatGeometry) -> None:
    bat = image.description.regions.bat.offset
    for block in range(old.payload_blocks, geometry.payload_blocks):
        at, stale = image.allocate(geometry.block_size)
        for offset in range(0, stale, _COPY):
            image.file.pwrite(at + offset, bytes(min(_COPY, stale - offset)))
        entry = pack_entry(PayloadState.FULLY_PRESENT, at)
        index = geometry.payload_entry(block)
        image.pages.write(bat + index * ENTRY_SIZE, entry.to_bytes(8, "little"))
        image.commit_if_full()


def relocate_bat(image: VhdxImage, length: int, *, below: int | None = None) -> bool:
    """Move the BAT into free space of `length` bytes, `below` an offset if given.

    Returns False where there is no such space. Pending changes must have been committed.
    """
    description = image.description
    old = description.regions.bat
    if below is None:
        at, _stale = image.allocate(length)
    else:
        found = image.space.find_below(below, length)
        if found is None:
            return False
        at = found
    image.pages.forget(at, length)
    copied = min(length, old.length)
    for offset in range(0, length, _COPY):
        data = image.file.pread(old.offset + offset, _COPY) if offset < copied else b""
        image.file.pwrite(at + offset, data.ljust(_COPY, b"\0"))
    regions = description.regions.with_bat(at, length)
    table = regions.encode()
    for offset in TABLE_OFFSETS:
        # Only what the entries take; the rest of both copies is zeros before and after.
        image.pages.write(offset, table[: 16 + 32 * len(regions.regions)])
    image.description = replace(description, regions=regions)
    image.space.release(old.offset, old.length)
    image.commit()
    image.pages.forget(old.offset, old.length)
    return True


def _give_up_blocks(image: VhdxImage, old: BatGeometry, geometry: BatGeometry) -> None:
    """Free what lies behind the new end; the table behind it is ignored and may be cleared."""
    has_parent = image.metadata.has_parent
    for block, blocks, entry in image.payload_runs(geometry.payload_blocks, old.payload_blocks):
        if blocks > 1 or not entry:
            continue
        if entry_state(entry) in PLACED_STATES and entry_offset(entry):
            image.space.release(entry_offset(entry), old.block_size)
        image.set_payload_entry(block, 0)
        image.commit_if_full()
    for chunk in range(geometry.chunks, old.chunks) if has_parent else ():
        entry = image.bitmap_entry(chunk)
        if entry_state(entry) == BitmapState.PRESENT:
            image.pages.forget(entry_offset(entry), BITMAP_BLOCK_SIZE)
            image.space.release(entry_offset(entry), BITMAP_BLOCK_SIZE)
            image.set_bitmap_entry(chunk, 0)
            image.commit_if_full()
