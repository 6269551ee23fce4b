"""Where the last partition of a disk ends, from its MBR or GPT.

Windows calls a smaller disk safe as long as no partition is cut (virtdisk.h,
RESIZE_VIRTUAL_DISK_FLAG_ALLOW_UNSAFE_VIRTUAL_SIZE: "skip checking the virtual disk's partition
table"). The table is the guest's, so it is read with suspicion and never followed further than
its own entries.
"""

import struct
import zlib

from cloudstack_hyperv.vhd.disk import Disk

_MBR_ENTRY = struct.Struct("<B3xB3xII")
_MBR_TABLE, _MBR_ENTRIES, _MBR_SIGNATURE = 446, 4, b"\x55\xaa"
_STATUSES = frozenset({0x00, 0x80})
_PROTECTIVE = 0xEE
_GPT_HEADER = struct.Struct("<8sIII4xQQQQ16sQIII")
_GPT_SIGNATURE = b"EFI PART"
_MAX_TABLE = 1 << 20


def last_partition_end(disk: Disk) -> int | None:
    """The offset in bytes behind all partitions and, for GPT, room for its second copy.

    None where there is no partition table, or none that is intact and names a partition.
    """
    sector = disk.info.logical_sector_size
    if disk.virtual_size < 2 * sector:
        return None
    mbr = disk.read(0, 512)
    if mbr[510:] != _MBR_SIGNATURE:
        return None
    ends = []
    for number in range(_MBR_ENTRIES):
        status, kind, start, count = _MBR_ENTRY.unpack_from(mbr, _MBR_TABLE + 16 * number)
        if status not in _STATUSES:
            # The boot sector of a file system without partitions has code here.
            return None
        if kind == _PROTECTIVE:
            return _gpt_end(disk, sector)
        if kind and count:
            ends.append((start + count) * sector)
    return _within(disk, ends)


def _gpt_end(disk: Disk, sector: int) -> int | None:
    header = disk.read(sector, sector)
    fields = _GPT_HEADER.unpack_from(header)
    signature, _revision, size, checksum = fields[:4]
    table_at, count, entry_size, table_checksum = fields[9:]
    if signature != _GPT_SIGNATURE or not _GPT_HEADER.size <= size <= sector:
        return None
    if zlib.crc32(header[:16] + bytes(4) + header[20:size]) != checksum:
        return None
    length = count * entry_size
    if entry_size < 128 or length > _MAX_TABLE or table_at * sector + length > disk.virtual_size:
        return None
    table = disk.read(table_at * sector, length)
    if zlib.crc32(table) != table_checksum:
        return None
    second_copy = (1 + -(-length // sector)) * sector
    ends = []
    for at in range(0, length, entry_size):
        (last,) = struct.unpack_from("<Q", table, at + 40)
        if any(table[at : at + 16]):
            ends.append((last + 1) * sector + second_copy)
    return _within(disk, ends)


def _within(disk: Disk, ends: list[int]) -> int | None:
    """The last end; the whole disk where a partition claims more than there is."""
    return min(max(ends), disk.virtual_size) if ends else None
