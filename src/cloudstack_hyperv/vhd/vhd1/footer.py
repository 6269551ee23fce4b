"""The hard disk footer of a VHD: its last 512 bytes, and in dynamic disks also its first.

Numbers are big-endian. The geometry in cylinders, heads and sectors is for guests that still ask
a BIOS for it; the size is `current_size`, which need not agree with it.
"""

import struct
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from cloudstack_hyperv.vhd.errors import CorruptDiskError, DiskParameterError, NotADiskError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskType

COOKIE = b"conectix"
SIZE = 512
SECTOR = 512
# Hyper-V's limit; the format's own is 2 TiB.
MAX_VIRTUAL_SIZE = 2040 << 30

_LAYOUT = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
_CHECKSUM_AT = 64
_FEATURES_RESERVED = 2
_VERSION = 0x00010000
_NO_DATA_OFFSET = (1 << 64) - 1
# Readers tell by the creator whether the size or the geometry counts: for this one it is the size.
_CREATOR_APPLICATION, _CREATOR_VERSION, _CREATOR_HOST = b"win ", 0x000A0000, b"Wi2k"


def checksum(data: bytes | bytearray, at: int) -> int:
    """One's complement of the sum of all bytes but the four of the checksum itself."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF


def geometry(size: int) -> tuple[int, int, int]:
    """(cylinders, heads, sectors a track) for a size, as the specification's appendix has it."""
    sectors = min(size // SECTOR, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        return sectors // (16 * 255), 16, 255
    per_track = 17
    heads = max(4, -(-(sectors // per_track) // 1024))
    if sectors // per_track >= heads * 1024 or heads > 16:
        per_track, heads = 31, 16
    if sectors // per_track >= heads * 1024:
        per_track, heads = 63, 16
    return sectors // per_track // heads, heads, per_track


@dataclass(frozen=True, slots=True)
class Footer:
    """What the footer says. `data_offset` is that of the dynamic header, None in a fixed disk."""

    type: DiskType
    original_size: int
    current_size: int
    unique_id: UUID
    data_offset: int | None = None
    timestamp: int = 0

    def encode(self) -> bytes:
        """The 512 bytes with their checksum."""
        data = bytearray(
            _LAYOUT.pack(
                COOKIE,
                _FEATURES_RESERVED,
                _VERSION,
                _NO_DATA_OFFSET if self.data_offset is None else self.data_offset,
                self.timestamp,
                _CREATOR_APPLICATION,
                _CREATOR_VERSION,
                _CREATOR_HOST,
                self.original_size,
                self.current_size,
                *geometry(self.current_size),
                self.type,
                0,
                self.unique_id.bytes,
                0,
            )
        )
        struct.pack_into(">I", data, _CHECKSUM_AT, checksum(data, _CHECKSUM_AT))
        return bytes(data)

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """The footer in `data`; None where cookie or checksum say that there is none."""
        if len(data) != SIZE or data[:8] != COOKIE:
            return None
        (
            _cookie,
            _features,
            version,
            data_offset,
            timestamp,
            _application,
            _application_version,
            _host,
            original_size,
            current_size,
            _cylinders,
            _heads,
            _sectors,
            disk_type,
            own_checksum,
            unique_id,
            _saved_state,
        ) = _LAYOUT.unpack(data)
        if own_checksum != checksum(data, _CHECKSUM_AT):
            return None
        if version != _VERSION:
            raise CorruptDiskError(f"VHD version {version:#x}")
        if disk_type not in set(DiskType):
            raise CorruptDiskError(f"VHD of the unknown type {disk_type}")
        check_size(current_size, CorruptDiskError)
        return cls(
            type=DiskType(disk_type),
            original_size=original_size,
            current_size=current_size,
            unique_id=UUID(bytes=unique_id),
            data_offset=None if disk_type == DiskType.FIXED else data_offset,
            timestamp=timestamp,
        )


def check_size(size: int, error: type[Exception] = DiskParameterError) -> None:
    """Raise `error` for a virtual size that a VHD cannot have."""
    if not 0 < size <= MAX_VIRTUAL_SIZE or size % SECTOR:
        raise error(f"virtual size {size}: a multiple of 512 bytes up to 2040 GiB is needed")


def read_footer(file: RandomAccessFile) -> Footer:
    """The footer at the end, or if that is damaged the copy at the start."""
    size = file.size()
    for offset in (size - SIZE, 0):
        data = file.pread(offset, SIZE) if offset >= 0 else b""
        footer = Footer.decode(data)
        if footer is None:
            continue
        if footer.type is DiskType.FIXED and (offset == 0 or footer.current_size + SIZE > size):
            raise CorruptDiskError("the fixed disk does not fit into its file")
        return footer
    if file.pread(0, len(COOKIE)) == COOKIE or file.pread(size - SIZE, len(COOKIE)) == COOKIE:
        raise CorruptDiskError("the footer is damaged")
    raise NotADiskError("the file has no VHD footer")
