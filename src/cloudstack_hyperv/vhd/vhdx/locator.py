"""The parent locator item of a differencing VHDX ([MS-VHDX] 2.6.2.6)."""

import struct
from uuid import UUID

from cloudstack_hyperv.vhd.errors import (
    CorruptDiskError,
    DiskParameterError,
    UnsupportedDiskError,
)
from cloudstack_hyperv.vhd.info import ParentLocator

VHDX_LOCATOR = UUID("B04AEFB7-D19E-4A81-B789-25B8E9445913")

_HEADER = struct.Struct("<16sHH")
_ENTRY = struct.Struct("<IIHH")
_MAX_VALUE = 0xFFFF
_MAX_ENTRIES = 64


def encode_locator(locator: ParentLocator) -> bytes:
    """The metadata item. At least one path must be given."""
    pairs = {"parent_linkage": f"{{{locator.linkage}}}"}
    if locator.linkage2 is not None:
        pairs["parent_linkage2"] = f"{{{locator.linkage2}}}"
    paths = {
        "relative_path": locator.relative_path,
        "volume_path": locator.volume_path,
        "absolute_win32_path": locator.absolute_win32_path,
    }
    present = {key: path for key, path in paths.items() if path}
    if not present:
        raise DiskParameterError("a differencing disk needs a path to its parent")
    pairs |= present
    table, strings = b"", b""
    start = _HEADER.size + len(pairs) * _ENTRY.size
    for key, value in pairs.items():
        if "\0" in value:
            raise DiskParameterError(f"{key} contains a NUL character")
        encoded_key, encoded_value = key.encode("utf-16-le"), value.encode("utf-16-le")
        if len(encoded_value) > _MAX_VALUE:
            raise DiskParameterError(f"{key} is too long: {len(value)} characters")
        key_at = start + len(strings)
        value_at = key_at + len(encoded_key)
        table += _ENTRY.pack(key_at, value_at, len(encoded_key), len(encoded_value))
        strings += encoded_key + encoded_value
    return _HEADER.pack(VHDX_LOCATOR.bytes_le, 0, len(pairs)) + table + strings


def _text(item: bytes, offset: int, length: int) -> str:
    if not length or offset < _HEADER.size or offset + length > len(item):
        raise CorruptDiskError("a parent locator entry lies outside its item")
    try:
        return item[offset : offset + length].decode("utf-16-le").rstrip("\0")
    except UnicodeDecodeError as error:
        raise CorruptDiskError("a parent locator entry is not UTF-16") from error


def _linkage(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise CorruptDiskError("the parent linkage is not a GUID") from error


def decode_locator(item: bytes) -> ParentLocator:
    """The locator in a metadata item; entries with unknown keys are left aside."""
    if len(item) < _HEADER.size:
        raise CorruptDiskError("the parent locator is cut short")
    kind, _reserved, count = _HEADER.unpack_from(item)
    if UUID(bytes_le=kind) != VHDX_LOCATOR:
        raise UnsupportedDiskError(f"parent locator of type {UUID(bytes_le=kind)}")
    if count > _MAX_ENTRIES:
        # Entries may share their bytes, so that a small item could ask for gigabytes of text.
        raise CorruptDiskError(f"a parent locator with {count} entries")
    if _HEADER.size + count * _ENTRY.size > len(item):
        raise CorruptDiskError("the parent locator is cut short")
    pairs: dict[str, str] = {}
    for number in range(count):
        key_at, value_at, key_length, value_length = _ENTRY.unpack_from(
            item, _HEADER.size + number * _ENTRY.size
        )
        key = _text(item, key_at, key_length)
        if key in pairs:
            raise CorruptDiskError(f"the parent locator has {key!r} twice")
        pairs[key] = _text(item, value_at, value_length)
    if "parent_linkage" not in pairs:
        raise CorruptDiskError("the parent locator has no parent_linkage")
    second = pairs.get("parent_linkage2")
    return ParentLocator(
        linkage=_linkage(pairs["parent_linkage"]),
        linkage2=None if second is None else _linkage(second),
        relative_path=pairs.get("relative_path"),
        volume_path=pairs.get("volume_path"),
        absolute_win32_path=pairs.get("absolute_win32_path"),
    )
