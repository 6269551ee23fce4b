"""A VHD file opened as a container: footer, dynamic header, and block allocation table.

The table has a 32-bit sector number for every block; a block is its sector bitmap, padded to whole
sectors, followed by its data. New blocks go where the footer is, and the footer behind them. There
is no log: a new block enters the table only when it is stable, and the copy of the footer at the
start outlives the moment in which the one at the end is overwritten.
"""

from array import array
from bisect import bisect_right
from itertools import pairwise
from sys import byteorder

from cloudstack_hyperv.vhd.errors import CorruptDiskError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskFormat, DiskInfo, DiskType
from cloudstack_hyperv.vhd.vhd1 import dynamic_header
from cloudstack_hyperv.vhd.vhd1.dynamic_header import DynamicHeader
from cloudstack_hyperv.vhd.vhd1.footer import SECTOR, SIZE, Footer, read_footer

UNALLOCATED = 0xFFFFFFFF


def read_header(file: RandomAccessFile, footer: Footer) -> DynamicHeader | None:
    """The dynamic header that a footer points to; None for a fixed disk."""
    if footer.data_offset is None:
        return None
    return DynamicHeader.decode(file.pread(footer.data_offset, dynamic_header.SIZE))


def describe(file: RandomAccessFile, footer: Footer, header: DynamicHeader | None) -> DiskInfo:
    """The disk in the terms shared with other formats; sectors of a VHD have 512 bytes."""
    is_child = footer.type is DiskType.DIFFERENCING
    return DiskInfo(
        format=DiskFormat.VHD,
        type=footer.type,
        virtual_size=footer.current_size,
        block_size=0 if header is None else header.block_size,
        logical_sector_size=SECTOR,
        physical_sector_size=SECTOR,
        disk_id=footer.unique_id,
        linkage_id=footer.unique_id,
        parent=header.parent(file) if is_child and header is not None else None,
        file_size=file.size(),
        is_log_dirty=False,
    )


def read_vhd_info(file: RandomAccessFile) -> DiskInfo:
    """The description of a VHD from footer and header alone."""
    footer = read_footer(file)
    return describe(file, footer, read_header(file, footer))


class VhdImage:
    """An open VHD. For a fixed disk there is no table, and all offsets are file offsets."""

    def __init__(self, file: RandomAccessFile) -> None:
        self.file = file
        self.footer = read_footer(file)
        self.header = read_header(file, self.footer)
        self._table = array("I")
        self._pending: set[int] = set()
        if self.header is not None:
            self._table = self._read_table(self.header)
            self._check_blocks(self.header)

    @property
    def block_size(self) -> int:
        """Bytes of data in a block; the whole disk if it is fixed."""
        return self.footer.current_size if self.header is None else self.header.block_size

    @property
    def bitmap_size(self) -> int:
        """Bytes of the sector bitmap in front of a block's data."""
        return -(-(self.block_size // SECTOR // 8) // SECTOR) * SECTOR

    @property
    def has_parent(self) -> bool:
        """Whether sectors that are not here are in a parent."""
        return self.footer.type is DiskType.DIFFERENCING

    def info(self) -> DiskInfo:
        """The disk's description as it is now."""
        return describe(self.file, self.footer, self.header)

    def blocks(self) -> int:
        """How many blocks the virtual disk has."""
        return -(-self.footer.current_size // self.block_size)

    def block_offset(self, block: int) -> int | None:
        """Where a block's bitmap lies in the file, or None if it has no place yet."""
        sector = self._table[block]
        return None if sector == UNALLOCATED else sector * SECTOR

    def allocate(self, block: int) -> int:
        """Give a block a place, with an empty bitmap and data that reads as zeros."""
        footer_at = self.end_of_blocks()
        end = footer_at + self.bitmap_size + self.block_size
        self.file.truncate(end + SIZE)
        self.file.pwrite(footer_at, bytes(self.bitmap_size))
        self.file.pwrite(end, self.footer.encode())
        self._table[block] = footer_at // SECTOR
        self._pending.add(block)
        return footer_at

    def move(self, block: int, offset: int | None) -> None:
        """Let the table name another place for a block, or none; in the file after `flush`."""
        self._table[block] = UNALLOCATED if offset is None else offset // SECTOR
        self._pending.add(block)

    def end_of_content(self) -> int:
        """The offset behind everything that is in use, where the footer may be."""
        if self.header is None:
            return self.footer.current_size
        length = self.bitmap_size + self.block_size
        ends = [sector * SECTOR + length for sector in self._table if sector != UNALLOCATED]
        ends += [locator.offset + locator.length for locator in self.header.locators]
        ends.append((self.footer.data_offset or 0) + dynamic_header.SIZE)
        ends.append(self.header.table_offset + self.header.max_table_entries * 4)
        return -(-max(ends) // SECTOR) * SECTOR

    def end_of_blocks(self) -> int:
        """The offset of the footer at the end."""
        return max(0, self.file.size() - SIZE) // SECTOR * SECTOR

    def flush(self) -> None:
        """Make data stable, then let the table name the blocks that hold it."""
        self.file.flush()
        if not self._pending or self.header is None:
            return
        for block in sorted(self._pending):
            entry = self._table[block].to_bytes(4, "big")
            self.file.pwrite(self.header.table_offset + block * 4, entry)
        self._pending.clear()
        self.file.flush()

    def replace_table(self, header: DynamicHeader, footer: Footer) -> None:
        """After a change of size: the headers as they are on the file now."""
        self.header, self.footer = header, footer
        self._table.extend([UNALLOCATED] * (self.blocks() - len(self._table)))

    def table_bytes(self) -> bytes:
        """The table as it is in the file."""
        table = array("I", self._table)
        if byteorder == "little":
            table.byteswap()
        return table.tobytes()

    def _read_table(self, header: DynamicHeader) -> "array[int]":
        count = self.blocks()
        if count > header.max_table_entries:
            raise CorruptDiskError("the block table is too short for the virtual size")
        data = self.file.pread(header.table_offset, count * 4)
        if len(data) != count * 4:
            raise CorruptDiskError("the block table lies outside the file")
        table = array("I", data)
        if byteorder == "little":
            table.byteswap()
        return table

    def _check_blocks(self, header: DynamicHeader) -> None:
        """Blocks lie in the file and overlap neither each other nor the structures."""
        length = self.bitmap_size + self.block_size
        offsets = sorted(sector * SECTOR for sector in self._table if sector != UNALLOCATED)
        if offsets and offsets[-1] + length > self.file.size():
            raise CorruptDiskError("a block lies outside the file")
        for first, second in pairwise(offsets):
            if second < first + length:
                raise CorruptDiskError(f"two blocks overlap at {second}")
        structures = [
            (0, SIZE),
            (self.footer.data_offset or 0, dynamic_header.SIZE),
            (header.table_offset, len(self._table) * 4),
        ]
        structures.sort()
        end = 0
        for offset, size in structures:
            # The first block that ends behind the start of the structure.
            block = bisect_right(offsets, offset - length)
            if offset < end or (block < len(offsets) and offsets[block] < offset + size):
                raise CorruptDiskError(f"two structures overlap at {offset}")
            end = offset + size
