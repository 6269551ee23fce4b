"""Giving back the space of a VHDX that nothing needs.

First blocks that hold nothing are given up; then what lies highest in the file is moved into the
holes; last the file is cut. Every step is a committed change of metadata, so a crash in between
loses nothing but the gain. The file is cut only after the log is closed, because an entry that
names a greater size would make the shorter file a truncated one ([MS-VHDX] 2.3.1.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cloudstack_hyperv.vhd.disk import Progress
from cloudstack_hyperv.vhd.vhdx.bat import (
    BITMAP_BLOCK_SIZE,
    PLACED_STATES,
    BitmapState,
    PayloadState,
    entry_offset,
    entry_state,
    pack_entry,
)
from cloudstack_hyperv.vhd.vhdx.disk import VhdxDisk
from cloudstack_hyperv.vhd.vhdx.image import VhdxImage
from cloudstack_hyperv.vhd.vhdx.resize import relocate_bat

_SLICE = 4 << 20
_ZERO_SLICE = bytes(_SLICE)


@dataclass(frozen=True, slots=True)
class _Block:
    """A payload block or (`is_bitmap`) a sector bitmap block and its place in the file."""

    offset: int
    length: int
    number: int
    state: int
    is_bitmap: bool


def compact_vhdx(disk: VhdxDisk, progress: Progress | None = None) -> None:
    """Shrink the file of a disk that is open for writing; what a guest reads stays the same."""
    image = disk.require_writable()
    image.begin(data=False)
    disk.flush()
    total = image.file.size()
    if disk.image.metadata.has_parent or not disk.image.metadata.leave_blocks_allocated:
        _give_up_empty_blocks(disk)
    _move_down(image, progress, total)
    image.finish()
    end = image.space.end()
    if end < image.file.size():
        image.file.truncate(end)
        image.file.flush()
    if progress is not None:
        progress(total, total)


def _placed_blocks(image: VhdxImage) -> Iterator[_Block]:
    geometry = image.geometry
    for block, blocks, entry in image.payload_runs(0, geometry.payload_blocks):
        if blocks == 1 and entry_state(entry) in PLACED_STATES and entry_offset(entry):
            yield _Block(
                entry_offset(entry),
                geometry.block_size,
                block,
                entry_state(entry),
                is_bitmap=False,
            )
    for chunk in range(geometry.chunks) if image.metadata.has_parent else ():
        entry = image.bitmap_entry(chunk)
        if entry_state(entry) == BitmapState.PRESENT:
            yield _Block(
                entry_offset(entry),
                BITMAP_BLOCK_SIZE,
                chunk,
                entry_state(entry),
                is_bitmap=True,
            )


def _give_up_empty_blocks(disk: VhdxDisk) -> None:
    image = disk.image
    for block in list(_placed_blocks(image)):
        if block.is_bitmap:
            # Kept even if unused: see `write_new_vhdx`.
            continue
        state = _needed_state(disk, block)
        if state >= PayloadState.FULLY_PRESENT:
            if state != block.state:
                image.set_payload_entry(block.number, pack_entry(state, block.offset))
        else:
            image.space.release(block.offset, block.length)
            image.set_payload_entry(block.number, pack_entry(state))
        image.commit_if_full()
    image.commit()


def _needed_state(disk: VhdxDisk, block: _Block) -> PayloadState:
    """The cheapest state in which the block still reads the same."""
    if block.state == PayloadState.FULLY_PRESENT:
        length = disk.image.geometry.block_length(block.number)
        is_zero = _is_zero(disk.image, block.offset, length)
        return PayloadState.ZERO if is_zero else PayloadState.FULLY_PRESENT
    if block.state == PayloadState.PARTIALLY_PRESENT:
        present = disk.present_sectors(block.number)
        if present == 0:
            return PayloadState.NOT_PRESENT
        if present == disk.sectors_of(block.number):
            return PayloadState.FULLY_PRESENT
        return PayloadState.PARTIALLY_PRESENT
    # Undefined and unmapped: they read as zeros here.
    return PayloadState.ZERO


def _is_zero(image: VhdxImage, offset: int, length: int) -> bool:
    for start in range(0, length, _SLICE):
        count = min(_SLICE, length - start)
        zeros = _ZERO_SLICE if count == _SLICE else bytes(count)
        if image.file.pread(offset + start, count) != zeros:
            return False
    return True


def _move_down(image: VhdxImage, progress: Progress | None, total: int) -> None:
    blocks = sorted(_placed_blocks(image), key=lambda block: block.offset, reverse=True)
    for block in blocks:
        target = image.space.find_below(block.offset, block.length)
        if target is None:
            continue
        for start in range(0, block.length, _SLICE):
            data = image.file.pread(block.offset + start, min(_SLICE, block.length - start))
            image.file.pwrite(target + start, data)
        if block.is_bitmap:
            image.pages.forget(target, block.length)
            image.pages.forget(block.offset, block.length)
            image.set_bitmap_entry(block.number, pack_entry(block.state, target))
        else:
            image.set_payload_entry(block.number, pack_entry(block.state, target))
        image.space.release(block.offset, block.length)
        image.commit_if_full()
        if progress is not None:
            progress(max(0, total - block.offset), total)
    image.commit()
    bat = image.description.regions.bat
    relocate_bat(image, bat.length, below=bat.offset)
