"""Reading and writing the guest's bytes of a VHD."""

from collections.abc import Iterator

from cloudstack_hyperv.vhd.disk import Disk, Extent, ExtentKind, joined
from cloudstack_hyperv.vhd.errors import ReadOnlyDiskError
from cloudstack_hyperv.vhd.files import Buffer, RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskInfo
from cloudstack_hyperv.vhd.sector_bits import bit_runs, reversed_bits, with_ones
from cloudstack_hyperv.vhd.vhd1.footer import SECTOR
from cloudstack_hyperv.vhd.vhd1.image import VhdImage

_ZEROS = bytes(1 << 20)
# Sectors are copied up from a parent eight at a time, one byte of the bitmap: that is how hosts
# with 4 KiB sectors write, and libvhdi (20260901) reads finer bitmaps of VHDs wrongly.
_SECTOR_GROUP = 8 * SECTOR


class VhdDisk(Disk):
    """A VHD as a disk.

    The sector bitmaps of a differencing disk tell which sectors it has (most significant bit
    first); those of a dynamic disk are all ones in every file that Windows and others make, and
    are not looked at.
    """

    def __init__(self, file: RandomAccessFile, *, writable: bool) -> None:
        super().__init__(file, writable=writable)
        self.image = VhdImage(file)

    @property
    def info(self) -> DiskInfo:
        """See `Disk`."""
        return self.image.info()

    @property
    def virtual_size(self) -> int:
        """See `Disk`."""
        return self.image.footer.current_size

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """See `Disk`."""
        if self.image.header is None:
            pieces = [Extent(offset, length, ExtentKind.DATA, offset)] if length else []
            return iter(pieces)
        return joined(self._pieces(offset, length))

    def _pieces(self, offset: int, length: int) -> Iterator[Extent]:
        size, end = self.image.block_size, offset + length
        absent = ExtentKind.PARENT if self.image.has_parent else ExtentKind.ZERO
        while offset < end:
            block, within = divmod(offset, size)
            count = min(size - within, end - offset)
            place = self.image.block_offset(block)
            if place is None:
                yield Extent(offset, count, absent)
            elif self.image.has_parent:
                yield from self._partial_pieces(place, offset, within, count)
            else:
                data_at = place + self.image.bitmap_size
                yield Extent(offset, count, ExtentKind.DATA, data_at + within)
            offset += count

    def _partial_pieces(self, place: int, offset: int, within: int, count: int) -> Iterator[Extent]:
        bits = reversed_bits(self.file.pread(place, self.image.bitmap_size))
        data_at = place + self.image.bitmap_size
        base = offset - within
        first, last = within // SECTOR, -(-(within + count) // SECTOR)
        for low, high, present in bit_runs(bits, first, last):
            start, end = max(low * SECTOR, within), min(high * SECTOR, within + count)
            if present:
                yield Extent(base + start, end - start, ExtentKind.DATA, data_at + start)
            else:
                yield Extent(base + start, end - start, ExtentKind.PARENT)

    def write(self, offset: int, data: Buffer) -> None:
        """See `Disk`."""
        view = memoryview(data).cast("B")
        self.check_range(offset, len(view))
        self.require_writable()
        if self.image.header is None:
            self.file.pwrite(offset, view)
            return
        if self.image.has_parent:
            unit = SECTOR if self.parent is None else _SECTOR_GROUP
            offset, view = self.widened(offset, view, unit)
        while view:
            block, within = divmod(offset, self.image.block_size)
            count = min(self.image.block_size - within, len(view))
            self._write_block(block, within, view[:count])
            offset += count
            view = view[count:]

    def _write_block(self, block: int, within: int, data: memoryview) -> None:
        place = self.image.block_offset(block)
        is_new = place is None
        if place is None:
            place = self.image.allocate(block)
        self.file.pwrite(place + self.image.bitmap_size + within, data)
        if self.image.has_parent:
            bits = reversed_bits(self.file.pread(place, self.image.bitmap_size))
            bits = with_ones(bits, within // SECTOR, (within + len(data)) // SECTOR)
            self.file.pwrite(place, reversed_bits(bits))
        elif is_new:
            self.file.pwrite(place, b"\xff" * self.image.bitmap_size)

    def write_zeroes(self, offset: int, length: int) -> None:
        """See `Disk`. A VHD cannot give up blocks, but needs none for zeros."""
        self.check_range(offset, length)
        self.require_writable()
        end = offset + length
        while offset < end:
            count = min(len(_ZEROS), end - offset)
            reads_zero = all(
                extent.kind is ExtentKind.ZERO for extent in self.extents(offset, count)
            )
            if not reads_zero:
                self.write(offset, _ZEROS[:count])
            offset += count

    def _flush(self) -> None:
        self.image.flush()

    def _finish(self) -> None:
        self.image.flush()

    def require_writable(self) -> VhdImage:
        """The container for changes; raises `ReadOnlyDiskError` if there may be none."""
        if not self.writable:
            raise ReadOnlyDiskError("the disk was opened for reading")
        return self.image
