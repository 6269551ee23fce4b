"""Property lists of the cluster API (CLUSPROP), as MoveToNewNodeParams takes them.

A list is a count of properties, then for each its name, its values and an end mark; every entry is
a syntax number, a length in bytes and the data, padded to four bytes; numbers are little-endian,
names UTF-16 with a final NUL.

Source: Microsoft, "Creating property lists" and the CLUSPROP_SYNTAX pages of the cluster API.
"""

from __future__ import annotations

import struct

_NAME, _DWORD, _END = 0x00040003, 0x00010002, 0x00000000
_MOST = 1000


class BadPropertyList(ValueError):
    """Bytes that are no property list of numbers."""


def read_numbers(data: bytes) -> dict[str, int]:
    """Return the numeric properties of a list by name; raises BadPropertyList."""
    reader = _Reader(data)
    count = reader.number()
    if count > _MOST:
        raise BadPropertyList(f"{count} properties are too many")
    found: dict[str, int] = {}
    for _ in range(count):
        name = reader.entry(_NAME).decode("utf-16-le", errors="replace").rstrip("\0")
        value = reader.entry(_DWORD)
        if len(value) != 4 or not name:
            raise BadPropertyList(f"{name!r} is no number")
        found[name] = struct.unpack("<I", value)[0]
        if reader.number() != _END:
            raise BadPropertyList(f"{name!r} has more than one value")
    return found


def write_numbers(values: dict[str, int]) -> bytes:
    """Return a list of numeric properties."""
    parts = [struct.pack("<I", len(values))]
    for name, value in values.items():
        text = (name + "\0").encode("utf-16-le")
        parts.append(struct.pack("<II", _NAME, len(text)) + text + bytes(-len(text) % 4))
        parts.append(struct.pack("<III", _DWORD, 4, value))
        parts.append(struct.pack("<I", _END))
    return b"".join(parts)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        return int(struct.unpack("<I", self._take(4))[0])

    def entry(self, syntax: int) -> bytes:
        if self.number() != syntax:
            raise BadPropertyList("an entry is of another syntax than expected")
        length = self.number()
        value = self._take(length)
        self._take(-length % 4)
        return value

    def _take(self, length: int) -> bytes:
        piece = self._data[self._at : self._at + length]
        if len(piece) < length:
            raise BadPropertyList("the list ends too early")
        self._at += length
        return piece
