"""Reading and writing the guest's bytes of a VHDX ([MS-VHDX] 2.4, 2.5.1.1).

Fixed and dynamic disks have whole blocks or none. A block of a differencing disk may also be
partially present: a bit a sector in the chunk's sector bitmap block (bit 0 first) then tells
whether the sector is in this file or left to the parent. States whose content the format leaves
open (undefined, unmapped, not present without a parent) read as zeros here, so that nothing that
was deleted comes back.
"""

from collections.abc import Iterator

from cloudstack_hyperv.vhd.disk import Disk, Extent, ExtentKind, joined
from cloudstack_hyperv.vhd.errors import ReadOnlyDiskError
from cloudstack_hyperv.vhd.files import Buffer, RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskInfo
from cloudstack_hyperv.vhd.sector_bits import bit_runs, count_ones, with_ones
from cloudstack_hyperv.vhd.vhdx.bat import (
    BITMAP_BLOCK_SIZE,
    BitmapState,
    PayloadState,
    entry_offset,
    entry_state,
    pack_entry,
)
from cloudstack_hyperv.vhd.vhdx.image import VhdxImage

_ZEROS = bytes(1 << 20)


class VhdxDisk(Disk):
    """A VHDX as a disk."""

    def __init__(self, file: RandomAccessFile, *, writable: bool) -> None:
        self.image = VhdxImage(file, writable=writable)
        super().__init__(self.image.file, writable=writable)

    @property
    def info(self) -> DiskInfo:
        """See `Disk`."""
        return self.image.info()

    @property
    def virtual_size(self) -> int:
        """See `Disk`."""
        return self.image.geometry.virtual_size

    # --- reading ---------------------------------------------------------------------------

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """See `Disk`."""
        return joined(self._pieces(offset, length))

    def _pieces(self, offset: int, length: int) -> Iterator[Extent]:
        size = self.image.geometry.block_size
        end = offset + length
        absent = ExtentKind.PARENT if self.image.metadata.has_parent else ExtentKind.ZERO
        last = -(-end // size) if length else 0
        for block, blocks, entry in self.image.payload_runs(offset // size, last, join_data=True):
            low = max(offset, block * size)
            high = min(end, (block + blocks) * size)
            state = entry_state(entry)
            within = entry_offset(entry) + low - block * size
            if state == PayloadState.FULLY_PRESENT:
                yield Extent(low, high - low, ExtentKind.DATA, within)
            elif state == PayloadState.NOT_PRESENT:
                yield Extent(low, high - low, absent)
            elif state == PayloadState.PARTIALLY_PRESENT:
                yield from self._partial_pieces(block, low, high, entry_offset(entry))
            else:
                yield Extent(low, high - low, ExtentKind.ZERO)

    def _partial_pieces(self, block: int, low: int, high: int, at: int) -> Iterator[Extent]:
        sector = self.image.geometry.logical_sector_size
        base = block * self.image.geometry.block_size
        bits = self._read_bits(block)
        for first, last, present in bit_runs(
            bits, (low - base) // sector, -(-(high - base) // sector)
        ):
            start = max(low, base + first * sector)
            end = min(high, base + last * sector)
            kind = ExtentKind.DATA if present else ExtentKind.PARENT
            yield Extent(start, end - start, kind, at + start - base if present else 0)

    # --- sector bitmaps --------------------------------------------------------------------

    def _bits_place(self, block: int) -> tuple[int, int]:
        """(file offset, bytes) of a block's part of its sector bitmap block."""
        geometry = self.image.geometry
        chunk, within = divmod(block, geometry.chunk_ratio)
        length = geometry.block_size // geometry.logical_sector_size // 8
        return entry_offset(self.image.bitmap_entry(chunk)) + within * length, length

    def _read_bits(self, block: int) -> bytes:
        return self.image.pages.read(*self._bits_place(block))

    def sectors_of(self, block: int) -> int:
        """How many sectors of the disk a block has."""
        return self.image.geometry.block_length(block) // self.image.geometry.logical_sector_size

    def present_sectors(self, block: int) -> int:
        """How many sectors of a partially present block are in this file."""
        return count_ones(self._read_bits(block), self.sectors_of(block))

    def _ensure_bitmap(self, block: int) -> None:
        """Allocate the sector bitmap block of a block's chunk if there is none."""
        chunk = block // self.image.geometry.chunk_ratio
        if entry_state(self.image.bitmap_entry(chunk)) == BitmapState.PRESENT:
            return
        at, stale = self.image.allocate(BITMAP_BLOCK_SIZE)
        self.image.pages.forget(at, BITMAP_BLOCK_SIZE)
        if stale:
            self.image.file.pwrite(at, bytes(stale))
        self.image.set_bitmap_entry(chunk, pack_entry(BitmapState.PRESENT, at))

    def _mark_present(self, block: int, low: int, high: int, *, fresh: bool) -> bool:
        """Set the bits of bytes `low` to `high` of a block; True if all are set now.

        A `fresh` block has no sector of its own yet, whatever its old bits say.
        """
        geometry = self.image.geometry
        sector = geometry.logical_sector_size
        at, length = self._bits_place(block)
        if fresh:
            self.image.pages.write(at, bytes(length))
        first, last = low // sector, high // sector
        start, end = first // 8, -(-last // 8)
        bits = self.image.pages.read(at + start, end - start)
        self.image.pages.write(at + start, with_ones(bits, first - start * 8, last - start * 8))
        return self.present_sectors(block) == self.sectors_of(block)

    # --- writing ---------------------------------------------------------------------------

    def write(self, offset: int, data: Buffer) -> None:
        """See `Disk`."""
        view = memoryview(data).cast("B")
        self.check_range(offset, len(view))
        if not view:
            return
        self.image.begin(data=True)
        if self.image.metadata.has_parent:
            sector = self.image.geometry.logical_sector_size
            offset, view = self.widened(offset, view, sector)
        size = self.image.geometry.block_size
        while view:
            block, within = divmod(offset, size)
            count = min(size - within, len(view))
            self._write_block(block, within, view[:count])
            self.image.commit_if_full()
            offset += count
            view = view[count:]

    def _write_block(self, block: int, within: int, data: memoryview) -> None:
        image = self.image
        entry = image.payload_entry(block)
        state = entry_state(entry)
        whole = len(data) == image.geometry.block_length(block)
        if state == PayloadState.FULLY_PRESENT:
            image.file.pwrite(entry_offset(entry) + within, data)
            return
        if state == PayloadState.PARTIALLY_PRESENT:
            image.file.pwrite(entry_offset(entry) + within, data)
            if self._mark_present(block, within, within + len(data), fresh=False):
                image.set_payload_entry(
                    block, pack_entry(PayloadState.FULLY_PRESENT, entry_offset(entry))
                )
            return
        at, stale = self._place_for(entry)
        partial = state == PayloadState.NOT_PRESENT and image.metadata.has_parent and not whole
        if partial:
            self._ensure_bitmap(block)
            self._mark_present(block, within, within + len(data), fresh=True)
            # Behind the end of the disk there is no bit that would hide old content.
            end = image.geometry.block_length(block)
            self._zero_in_file(at + end, stale - end)
        else:
            self._zero_in_file(at, min(within, stale))
            end = within + len(data)
            self._zero_in_file(at + end, stale - end)
        image.file.pwrite(at + within, data)
        new_state = PayloadState.PARTIALLY_PRESENT if partial else PayloadState.FULLY_PRESENT
        image.set_payload_entry(block, pack_entry(new_state, at))

    def _place_for(self, entry: int) -> tuple[int, int]:
        """(offset, bytes with old content) of file space for a block that has no data now."""
        size = self.image.geometry.block_size
        state = entry_state(entry)
        if state in {PayloadState.UNDEFINED, PayloadState.UNMAPPED} and entry_offset(entry):
            return entry_offset(entry), size
        return self.image.allocate(size)

    def _zero_in_file(self, offset: int, length: int) -> None:
        while length > 0:
            count = min(length, len(_ZEROS))
            self.image.file.pwrite(offset, _ZEROS[:count])
            offset += count
            length -= count

    def write_zeroes(self, offset: int, length: int) -> None:
        """See `Disk`."""
        self.check_range(offset, length)
        if not length:
            return
        self.image.begin(data=True)
        sector = self.image.geometry.logical_sector_size
        if self.image.metadata.has_parent and (offset % sector or length % sector):
            self.write(offset, bytes(length))
            return
        size = self.image.geometry.block_size
        end = offset + length
        while offset < end:
            block, within = divmod(offset, size)
            count = min(size - within, end - offset)
            self._zero_block(block, within, count)
            self.image.commit_if_full()
            offset += count

    def _zero_block(self, block: int, within: int, count: int) -> None:
        image = self.image
        entry = image.payload_entry(block)
        state = entry_state(entry)
        has_parent = image.metadata.has_parent
        reads_zero = state not in {PayloadState.FULLY_PRESENT, PayloadState.PARTIALLY_PRESENT}
        if reads_zero and (state != PayloadState.NOT_PRESENT or not has_parent):
            return
        if count < image.geometry.block_length(block):
            for start in range(within, within + count, len(_ZEROS)):
                piece = _ZEROS[: within + count - start]
                self._write_block(block, start, memoryview(piece))
        elif image.metadata.leave_blocks_allocated and not has_parent:
            self._zero_in_file(entry_offset(entry), count)
        else:
            if not reads_zero:
                image.space.release(entry_offset(entry), image.geometry.block_size)
            image.set_payload_entry(block, pack_entry(PayloadState.ZERO))

    def _flush(self) -> None:
        self.image.file.flush()
        self.image.commit()

    def _finish(self) -> None:
        self.image.finish()

    def require_writable(self) -> VhdxImage:
        """The container for changes other than of guest bytes."""
        if not self.writable:
            raise ReadOnlyDiskError("the disk was opened for reading")
        return self.image
