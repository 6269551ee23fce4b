"""The header section of a VHDX: file type identifier and the two headers ([MS-VHDX] 2.2.1, 2.2.2).

The headers are the only metadata that is not updated through the log; instead there are two, of
which the valid one with the greater sequence number counts, and the other is overwritten.
"""

import struct
from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID

from cloudstack_hyperv.vhd.crc32c import crc32c
from cloudstack_hyperv.vhd.errors import CorruptDiskError, UnsupportedDiskError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import MIB

SIGNATURE = b"vhdxfile"
CREATOR = "cloudstack-hyperv"
HEADER_OFFSETS = (64 << 10, 128 << 10)
HEADER_SECTION = MIB
NO_LOG = UUID(int=0)

_SIZE = 4096
_MAX_SEQUENCE = (1 << 64) - 1
_LAYOUT = struct.Struct("<4sIQ16s16s16sHHIQ")


def encode_file_type_identifier() -> bytes:
    """The first 64 KiB of a file, written once at creation and never again."""
    creator = CREATOR.encode("utf-16-le").ljust(512, b"\0")
    return (SIGNATURE + creator).ljust(64 << 10, b"\0")


@dataclass(frozen=True, slots=True)
class Header:
    """One of the two headers ([MS-VHDX] 2.2.2)."""

    sequence_number: int
    file_write_guid: UUID
    data_write_guid: UUID
    log_guid: UUID
    log_offset: int
    log_length: int
    log_version: int = 0
    version: int = 1

    def encode(self) -> bytes:
        """The 4 KiB structure with its checksum."""

        def fields(checksum: int) -> bytes:
            return _LAYOUT.pack(
                b"head",
                checksum,
                self.sequence_number,
                self.file_write_guid.bytes_le,
                self.data_write_guid.bytes_le,
                self.log_guid.bytes_le,
                self.log_version,
                self.version,
                self.log_length,
                self.log_offset,
            ).ljust(_SIZE, b"\0")

        return fields(crc32c(fields(0)))

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """The header in `data`, or None where signature or checksum say that there is none."""
        if len(data) < _SIZE:
            return None
        fields = _LAYOUT.unpack_from(data)
        signature, checksum, sequence, file_write, data_write, log = fields[:6]
        log_version, version, log_length, log_offset = fields[6:]
        if signature != b"head" or checksum != crc32c(data[:4] + bytes(4) + data[8:_SIZE]):
            return None
        return cls(
            sequence_number=sequence,
            file_write_guid=UUID(bytes_le=file_write),
            data_write_guid=UUID(bytes_le=data_write),
            log_guid=UUID(bytes_le=log),
            log_offset=log_offset,
            log_length=log_length,
            log_version=log_version,
            version=version,
        )

    def next(
        self,
        *,
        file_write_guid: UUID | None = None,
        data_write_guid: UUID | None = None,
        log_guid: UUID | None = None,
    ) -> "Header":
        """The header that follows this one, with the given fields changed."""
        if self.sequence_number >= _MAX_SEQUENCE:
            raise CorruptDiskError("the sequence number of the headers is used up")
        return replace(
            self,
            sequence_number=self.sequence_number + 1,
            file_write_guid=file_write_guid or self.file_write_guid,
            data_write_guid=data_write_guid or self.data_write_guid,
            log_guid=self.log_guid if log_guid is None else log_guid,
        )


def read_header(file: RandomAccessFile) -> tuple[Header, int]:
    """The current header, checked, and which of `HEADER_OFFSETS` it lies at (0 or 1)."""
    headers = [Header.decode(file.pread(offset, _SIZE)) for offset in HEADER_OFFSETS]
    valid = [(header, slot) for slot, header in enumerate(headers) if header is not None]
    if not valid:
        raise CorruptDiskError("both headers are damaged")
    header, slot = max(valid, key=lambda pair: pair[0].sequence_number)
    rivals = [other for other, _ in valid if other.sequence_number == header.sequence_number]
    if any(other != header for other in rivals):
        raise CorruptDiskError("two different headers have the same sequence number")
    if header.version != 1:
        raise UnsupportedDiskError(f"VHDX version {header.version}")
    if header.log_version != 0 and header.log_guid != NO_LOG:
        raise UnsupportedDiskError(f"VHDX log version {header.log_version}")
    if header.log_offset % MIB or header.log_length % MIB:
        raise CorruptDiskError("the log is not aligned to 1 MiB")
    if header.log_length and header.log_offset < HEADER_SECTION:
        raise CorruptDiskError("the log overlaps the header section")
    return header, slot
