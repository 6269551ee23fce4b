"""The region table of a VHDX: where the BAT and the metadata lie ([MS-VHDX] 2.2.3)."""

import struct
from dataclasses import dataclass
from uuid import UUID

from cloudstack_hyperv.vhd.crc32c import crc32c
from cloudstack_hyperv.vhd.errors import CorruptDiskError, UnsupportedDiskError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import MIB

TABLE_OFFSETS = (192 << 10, 256 << 10)
TABLE_SIZE = 64 << 10
BAT_REGION = UUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
METADATA_REGION = UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")

_MAX_ENTRIES = 2047
_HEADER = struct.Struct("<4sIII")
_ENTRY = struct.Struct("<16sQII")


@dataclass(frozen=True, slots=True)
class Region:
    """One entry of the region table ([MS-VHDX] 2.2.3.2); offset and length are bytes."""

    guid: UUID
    offset: int
    length: int
    required: bool

    @property
    def end(self) -> int:
        """The offset behind the region's last byte."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class RegionTable:
    """All regions of a file; those that this package does not know are kept."""

    regions: tuple[Region, ...]

    def _find(self, guid: UUID) -> Region:
        return next(region for region in self.regions if region.guid == guid)

    @property
    def bat(self) -> Region:
        """The block allocation table."""
        return self._find(BAT_REGION)

    @property
    def metadata(self) -> Region:
        """The metadata region."""
        return self._find(METADATA_REGION)

    def with_bat(self, offset: int, length: int) -> "RegionTable":
        """The table after the BAT has moved."""
        moved = Region(BAT_REGION, offset, length, required=True)
        return RegionTable(
            tuple(moved if region.guid == BAT_REGION else region for region in self.regions)
        )

    def encode(self) -> bytes:
        """The 64 KiB table with its checksum."""
        entries = b"".join(
            _ENTRY.pack(region.guid.bytes_le, region.offset, region.length, region.required)
            for region in self.regions
        )

        def table(checksum: int) -> bytes:
            header = _HEADER.pack(b"regi", checksum, len(self.regions), 0)
            return (header + entries).ljust(TABLE_SIZE, b"\0")

        return table(crc32c(table(0)))


def _decode(data: bytes) -> RegionTable | None:
    if len(data) < TABLE_SIZE:
        return None
    signature, checksum, count, _reserved = _HEADER.unpack_from(data)
    if signature != b"regi" or checksum != crc32c(data[:4] + bytes(4) + data[8:]):
        return None
    if count > _MAX_ENTRIES:
        raise CorruptDiskError(f"region table with {count} entries")
    regions = []
    for number in range(count):
        guid, offset, length, required = _ENTRY.unpack_from(
            data, _HEADER.size + number * _ENTRY.size
        )
        regions.append(Region(UUID(bytes_le=guid), offset, length, bool(required & 1)))
    return RegionTable(tuple(regions))


def _check(table: RegionTable) -> None:
    known = {BAT_REGION, METADATA_REGION}
    guids = [region.guid for region in table.regions]
    if len(set(guids)) != len(guids):
        raise CorruptDiskError("a region occurs twice in the region table")
    for region in table.regions:
        if region.required and region.guid not in known:
            raise UnsupportedDiskError(f"the file needs the unknown region {region.guid}")
        if region.offset % MIB or region.length % MIB or region.offset < MIB:
            raise CorruptDiskError(f"region {region.guid} is not aligned to 1 MiB")
    for guid in known:
        if guid not in guids:
            raise CorruptDiskError(f"the region table lacks region {guid}")
    if not table.bat.length or not table.metadata.length:
        raise CorruptDiskError("an empty BAT or metadata region")


def read_region_table(file: RandomAccessFile) -> RegionTable:
    """The regions, from the first of the two copies that is intact."""
    for offset in TABLE_OFFSETS:
        table = _decode(file.pread(offset, TABLE_SIZE))
        if table is not None:
            _check(table)
            return table
    raise CorruptDiskError("both region tables are damaged")
