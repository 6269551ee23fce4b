"""The dynamic disk header of a VHD: block table, block size, and the parent if there is one."""

import struct
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from cloudstack_hyperv.vhd.errors import CorruptDiskError, DiskParameterError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import ParentLocator
from cloudstack_hyperv.vhd.vhd1.footer import SECTOR, checksum

SIZE = 1024
DEFAULT_BLOCK_SIZE = 2 << 20
NO_PARENT = UUID(int=0)

_COOKIE = b"cxsparse"
_LAYOUT = struct.Struct(">8sQQIIII16sI4x512s192s256x")
_LOCATOR = struct.Struct(">4sII4xQ")
_CHECKSUM_AT = 36
_VERSION = 0x00010000
_UNUSED = (1 << 64) - 1
_MIN_BLOCK_SIZE, _MAX_BLOCK_SIZE = 512 << 10, 256 << 20
_ABSOLUTE, _RELATIVE = b"W2ku", b"W2ru"
_MAX_PATH_BYTES = 0x10000


@dataclass(frozen=True, slots=True)
class LocatorEntry:
    """Where the path to the parent lies in the file, and of what kind it is."""

    platform: bytes
    length: int
    offset: int


@dataclass(frozen=True, slots=True)
class DynamicHeader:
    """The header at the offset that the footer gives."""

    table_offset: int
    max_table_entries: int
    block_size: int
    parent_id: UUID = NO_PARENT
    parent_timestamp: int = 0
    parent_name: str = ""
    locators: tuple[LocatorEntry, ...] = ()

    def encode(self) -> bytes:
        """The 1024 bytes with their checksum."""
        locators = b"".join(
            _LOCATOR.pack(
                entry.platform, -(-entry.length // SECTOR) * SECTOR, entry.length, entry.offset
            )
            for entry in self.locators
        )
        data = bytearray(
            _LAYOUT.pack(
                _COOKIE,
                _UNUSED,
                self.table_offset,
                _VERSION,
                self.max_table_entries,
                self.block_size,
                0,
                self.parent_id.bytes,
                self.parent_timestamp,
                self.parent_name.encode("utf-16-be")[:510],
                locators,
            )
        )
        struct.pack_into(">I", data, _CHECKSUM_AT, checksum(data, _CHECKSUM_AT))
        return bytes(data)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The header in `data`; raises `CorruptDiskError` if it is none."""
        if len(data) != SIZE or data[:8] != _COOKIE:
            raise CorruptDiskError("the dynamic disk header is missing")
        (
            _cookie,
            _data_offset,
            table_offset,
            version,
            entries,
            block_size,
            own_checksum,
            parent_id,
            parent_timestamp,
            parent_name,
            locators,
        ) = _LAYOUT.unpack(data)
        if own_checksum != checksum(data, _CHECKSUM_AT):
            raise CorruptDiskError("the dynamic disk header is damaged")
        if version != _VERSION:
            raise CorruptDiskError(f"dynamic disk header of version {version:#x}")
        check_block_size(block_size, CorruptDiskError)
        return cls(
            table_offset=table_offset,
            max_table_entries=entries,
            block_size=block_size,
            parent_id=UUID(bytes=parent_id),
            parent_timestamp=parent_timestamp,
            parent_name=parent_name.decode("utf-16-be", "replace").split("\0")[0],
            locators=tuple(
                LocatorEntry(platform, length, offset)
                for platform, _space, length, offset in _LOCATOR.iter_unpack(locators)
                if platform in {_ABSOLUTE, _RELATIVE}
            ),
        )

    def parent(self, file: RandomAccessFile) -> ParentLocator:
        """The paths that the locator entries point to."""
        paths: dict[bytes, str] = {}
        for entry in self.locators:
            if entry.length > _MAX_PATH_BYTES:
                raise CorruptDiskError("a parent locator is too long")
            data = file.pread(entry.offset, entry.length)
            if len(data) != entry.length:
                raise CorruptDiskError("a parent locator lies outside the file")
            try:
                paths[entry.platform] = data.decode("utf-16-le").rstrip("\0")
            except UnicodeDecodeError as error:
                raise CorruptDiskError("a parent locator is not UTF-16") from error
        return ParentLocator(
            linkage=self.parent_id,
            relative_path=paths.get(_RELATIVE) or None,
            absolute_win32_path=paths.get(_ABSOLUTE) or None,
        )


def check_block_size(block_size: int, error: type[Exception] = DiskParameterError) -> None:
    """Raise `error` for a block size outside what Windows makes and this package handles."""
    if not _MIN_BLOCK_SIZE <= block_size <= _MAX_BLOCK_SIZE or block_size & (block_size - 1):
        raise error(f"block size {block_size}: a power of two from 512 KiB to 256 MiB is needed")


def place_locators(locator: ParentLocator, offset: int) -> tuple[tuple[LocatorEntry, ...], bytes]:
    """Entries and bytes for the paths of a parent, to be written at `offset` (512-aligned)."""
    paths = {_RELATIVE: locator.relative_path, _ABSOLUTE: locator.absolute_win32_path}
    entries, content = [], b""
    for platform, path in paths.items():
        if path:
            data = path.encode("utf-16-le")
            if len(data) > _MAX_PATH_BYTES:
                raise DiskParameterError("the path of the parent is too long")
            entries.append(LocatorEntry(platform, len(data), offset + len(content)))
            content += data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")
    if not entries:
        raise DiskParameterError("a differencing disk needs a path to its parent")
    return tuple(entries), content
