"""The metadata region of a VHDX: a table of items, and the items ([MS-VHDX] 2.6)."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from cloudstack_hyperv.vhd.errors import CorruptDiskError, UnsupportedDiskError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import MIB, ParentLocator
from cloudstack_hyperv.vhd.vhdx.locator import decode_locator, encode_locator
from cloudstack_hyperv.vhd.vhdx.regions import Region

FILE_PARAMETERS = UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
VIRTUAL_DISK_SIZE = UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
VIRTUAL_DISK_ID = UUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
LOGICAL_SECTOR_SIZE = UUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
PHYSICAL_SECTOR_SIZE = UUID("CDA348C7-445D-4471-9CC9-E9885251C556")
PARENT_LOCATOR = UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")

MAX_VIRTUAL_SIZE = 64 << 40
MIN_BLOCK_SIZE = MIB
MAX_BLOCK_SIZE = 256 * MIB
SECTOR_SIZES = (512, 4096)
TABLE_SIZE = 64 << 10

_MAX_ENTRIES = 2047
_MAX_USER_ENTRIES = 1024
_MAX_ITEM = MIB
_HEADER = struct.Struct("<8sHH20x")
_ENTRY = struct.Struct("<16sIIII")
_IS_USER, _IS_VIRTUAL_DISK, _IS_REQUIRED = 1, 2, 4
_LEAVE_BLOCKS_ALLOCATED, _HAS_PARENT = 1, 2
_FIXED_LENGTHS = {
    FILE_PARAMETERS: 8,
    VIRTUAL_DISK_SIZE: 8,
    VIRTUAL_DISK_ID: 16,
    LOGICAL_SECTOR_SIZE: 4,
    PHYSICAL_SECTOR_SIZE: 4,
}


@dataclass(frozen=True, slots=True)
class MetadataEntry:
    """One row of the metadata table; `offset` counts from the start of the region."""

    item_id: UUID
    offset: int
    length: int
    flags: int

    @property
    def is_user(self) -> bool:
        """Metadata of a user, not of the format."""
        return bool(self.flags & _IS_USER)

    @property
    def is_virtual_disk(self) -> bool:
        """It belongs to the virtual disk (goes with forks and merges), not to the file."""
        return bool(self.flags & _IS_VIRTUAL_DISK)

    @property
    def is_required(self) -> bool:
        """Whoever does not know the item must not open the file."""
        return bool(self.flags & _IS_REQUIRED)

    @property
    def end(self) -> int:
        """The offset behind the item."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the known items say. Sizes are bytes."""

    block_size: int
    leave_blocks_allocated: bool
    has_parent: bool
    virtual_size: int
    disk_id: UUID
    logical_sector_size: int
    physical_sector_size: int
    parent: ParentLocator | None = None

    def items(self) -> list[tuple[UUID, int, bytes]]:
        """(item id, flags, content) of every item that describes this disk."""
        file_flags = (
            _LEAVE_BLOCKS_ALLOCATED * self.leave_blocks_allocated + _HAS_PARENT * self.has_parent
        )
        disk = _IS_VIRTUAL_DISK | _IS_REQUIRED
        items = [
            (FILE_PARAMETERS, _IS_REQUIRED, struct.pack("<II", self.block_size, file_flags)),
            (VIRTUAL_DISK_SIZE, disk, struct.pack("<Q", self.virtual_size)),
            (VIRTUAL_DISK_ID, disk, self.disk_id.bytes_le),
            (LOGICAL_SECTOR_SIZE, disk, struct.pack("<I", self.logical_sector_size)),
            (PHYSICAL_SECTOR_SIZE, disk, struct.pack("<I", self.physical_sector_size)),
        ]
        if self.parent is not None:
            items.append((PARENT_LOCATOR, _IS_REQUIRED, encode_locator(self.parent)))
        return items


@dataclass(frozen=True, slots=True)
class MetadataTable:
    """The table of items of a file, including those that this package does not know."""

    entries: tuple[MetadataEntry, ...]

    def find(self, item_id: UUID) -> MetadataEntry | None:
        """The system item with that id."""
        for entry in self.entries:
            if entry.item_id == item_id and not entry.is_user:
                return entry
        return None

    def encode(self) -> bytes:
        """Header and entries; the rest of the 64 KiB is not included."""
        return _HEADER.pack(b"metadata", 0, len(self.entries)) + b"".join(
            _ENTRY.pack(entry.item_id.bytes_le, entry.offset, entry.length, entry.flags, 0)
            for entry in self.entries
        )

    def place(self, item_id: UUID, flags: int, length: int, region_length: int) -> "MetadataTable":
        """The table with an item of that length, which may have to go to free space."""
        others = [entry for entry in self.entries if entry.item_id != item_id]
        old = self.find(item_id)
        if old is not None and length <= old.length:
            return MetadataTable((*others, replace(old, length=length)))
        offset = TABLE_SIZE
        for entry in sorted(others, key=lambda entry: entry.offset):
            if entry.length and entry.offset - offset < length:
                offset = max(offset, entry.end)
        if offset + length > region_length:
            raise UnsupportedDiskError("the metadata region has no room for the item")
        return MetadataTable((*others, MetadataEntry(item_id, offset, length, flags)))


def encode_region(items: Iterable[tuple[UUID, int, bytes]]) -> bytes:
    """Table and items of a new file, from the region's start to the end of the last item."""
    entries, content, offset = [], b"", TABLE_SIZE
    for item_id, flags, data in items:
        entries.append(MetadataEntry(item_id, offset if data else 0, len(data), flags))
        content += data
        offset += len(data)
    return MetadataTable(tuple(entries)).encode().ljust(TABLE_SIZE, b"\0") + content


def _check_entries(entries: list[MetadataEntry], region_length: int) -> None:
    if sum(entry.is_user for entry in entries) > _MAX_USER_ENTRIES:
        raise CorruptDiskError("too many user metadata items")
    if len({(entry.item_id, entry.is_user) for entry in entries}) != len(entries):
        raise CorruptDiskError("a metadata item occurs twice")
    end = TABLE_SIZE
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if not entry.length:
            if entry.offset:
                raise CorruptDiskError("an empty metadata item with an offset")
            continue
        if entry.length > _MAX_ITEM or entry.end > region_length:
            raise CorruptDiskError("a metadata item lies outside its region")
        if entry.offset < end:
            raise CorruptDiskError("metadata items overlap")
        end = entry.end
    known = {*_FIXED_LENGTHS, PARENT_LOCATOR}
    for entry in entries:
        if entry.is_required and (entry.is_user or entry.item_id not in known):
            raise UnsupportedDiskError(f"the file needs the unknown metadata item {entry.item_id}")


def read_metadata_table(file: RandomAccessFile, region: Region) -> MetadataTable:
    """The table of the region, checked; usually one read of 4 KiB."""
    if region.length < TABLE_SIZE:
        raise CorruptDiskError("the metadata region is too short")
    data = file.pread(region.offset, 4096)
    if len(data) < _HEADER.size:
        raise CorruptDiskError("the metadata table lies outside the file")
    signature, _reserved, count = _HEADER.unpack_from(data)
    if signature != b"metadata":
        raise CorruptDiskError("the metadata table has no signature")
    if count > _MAX_ENTRIES:
        raise CorruptDiskError(f"metadata table with {count} entries")
    length = _HEADER.size + count * _ENTRY.size
    if length > len(data):
        data += file.pread(region.offset + len(data), length - len(data))
    if length > len(data):
        raise CorruptDiskError("the metadata table lies outside the file")
    entries = []
    for number in range(count):
        item_id, offset, item_length, flags, _ = _ENTRY.unpack_from(
            data, _HEADER.size + number * _ENTRY.size
        )
        entries.append(MetadataEntry(UUID(bytes_le=item_id), offset, item_length, flags))
    _check_entries(entries, region.length)
    return MetadataTable(tuple(entries))


def read_item(file: RandomAccessFile, region: Region, entry: MetadataEntry) -> bytes:
    """The content of one item."""
    data = file.pread(region.offset + entry.offset, entry.length) if entry.length else b""
    if len(data) != entry.length:
        raise CorruptDiskError("a metadata item lies outside the file")
    return data


def _read_known(file: RandomAccessFile, region: Region, table: MetadataTable) -> dict[UUID, bytes]:
    """The contents of the known items, with one read where they lie together."""
    wanted: dict[UUID, MetadataEntry] = {}
    for item_id in (*_FIXED_LENGTHS, PARENT_LOCATOR):
        entry = table.find(item_id)
        if entry is not None:
            wanted[item_id] = entry
        elif item_id != PARENT_LOCATOR:
            raise CorruptDiskError(f"the metadata item {item_id} is missing")
    for item_id, length in _FIXED_LENGTHS.items():
        if wanted[item_id].length != length:
            raise CorruptDiskError(f"the metadata item {item_id} has a wrong length")
    start = min(entry.offset for entry in wanted.values())
    end = max(entry.end for entry in wanted.values())
    if end - start > TABLE_SIZE:
        return {item_id: read_item(file, region, entry) for item_id, entry in wanted.items()}
    span = file.pread(region.offset + start, end - start)
    if len(span) != end - start:
        raise CorruptDiskError("a metadata item lies outside the file")
    return {
        item_id: span[entry.offset - start : entry.end - start] for item_id, entry in wanted.items()
    }


def read_metadata(file: RandomAccessFile, region: Region, table: MetadataTable) -> Metadata:
    """The known items, checked against the bounds of [MS-VHDX] 2.6.2."""
    content = _read_known(file, region, table)
    block_size, flags = struct.unpack("<II", content[FILE_PARAMETERS])
    (virtual_size,) = struct.unpack("<Q", content[VIRTUAL_DISK_SIZE])
    (logical,) = struct.unpack("<I", content[LOGICAL_SECTOR_SIZE])
    (physical,) = struct.unpack("<I", content[PHYSICAL_SECTOR_SIZE])
    has_parent = bool(flags & _HAS_PARENT)
    check_geometry(virtual_size, block_size, logical, physical, CorruptDiskError)
    if has_parent and PARENT_LOCATOR not in content:
        raise CorruptDiskError("a differencing disk without parent locator")
    return Metadata(
        block_size=block_size,
        leave_blocks_allocated=bool(flags & _LEAVE_BLOCKS_ALLOCATED),
        has_parent=has_parent,
        virtual_size=virtual_size,
        disk_id=UUID(bytes_le=content[VIRTUAL_DISK_ID]),
        logical_sector_size=logical,
        physical_sector_size=physical,
        parent=decode_locator(content[PARENT_LOCATOR]) if has_parent else None,
    )


def check_geometry(
    virtual_size: int, block_size: int, logical: int, physical: int, error: type[Exception]
) -> None:
    """Raise `error` where a number is outside what the format allows."""
    if logical not in SECTOR_SIZES or physical not in SECTOR_SIZES:
        raise error(f"sector sizes {logical} and {physical}: only 512 and 4096 exist")
    if not MIN_BLOCK_SIZE <= block_size <= MAX_BLOCK_SIZE or block_size & (block_size - 1):
        raise error(f"block size {block_size}: a power of two from 1 MiB to 256 MiB is needed")
    if not 0 < virtual_size <= MAX_VIRTUAL_SIZE or virtual_size % logical:
        raise error(
            f"virtual size {virtual_size}: a multiple of {logical} bytes up to 64 TiB is needed"
        )
