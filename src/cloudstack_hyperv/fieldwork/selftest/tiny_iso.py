"""A whole, empty ISO 9660 image: what a self-test lays into DVD drives.

Nothing but the volume descriptors, both path tables and a root directory without files.
Source: ECMA-119, 8.4 (primary volume descriptor), 8.3 (terminator), 9.1 and 9.4 (records).
"""

from __future__ import annotations

import struct
from typing import Final

SECTOR: Final = 2048
_PATH_TABLE_L, _PATH_TABLE_M, _ROOT, _SECTORS = 18, 19, 20, 21


def empty_iso(volume: str = "SELFTEST") -> bytes:
    """Return the image, 21 sectors; `volume` is its name (capitals, digits, underscore)."""
    sectors = {
        16: _primary_descriptor(volume),
        17: b"\xffCD001\x01",
        _PATH_TABLE_L: struct.pack("<BBIH", 1, 0, _ROOT, 1) + b"\0\0",
        _PATH_TABLE_M: struct.pack(">BBIH", 1, 0, _ROOT, 1) + b"\0\0",
        _ROOT: _directory_record(b"\0") + _directory_record(b"\1"),
    }
    return b"".join(sectors.get(number, b"").ljust(SECTOR, b"\0") for number in range(_SECTORS))


def _primary_descriptor(volume: str) -> bytes:
    name = volume.encode("ascii").ljust(32)
    blank = b" "
    return b"".join(
        (
            b"\x01CD001\x01\0",
            blank * 32,
            name,
            bytes(8),
            _both32(_SECTORS),
            bytes(32),
            _both16(1),
            _both16(1),
            _both16(SECTOR),
            _both32(10),
            struct.pack("<II", _PATH_TABLE_L, 0),
            struct.pack(">II", _PATH_TABLE_M, 0),
            _directory_record(b"\0"),
            blank * (128 * 4),
            blank * (37 * 3),
            (b"0" * 16 + b"\0") * 4,
            b"\x01\0",
        )
    )


def _directory_record(identifier: bytes) -> bytes:
    return b"".join(
        (
            bytes((34, 0)),
            _both32(_ROOT),
            _both32(SECTOR),
            bytes((126, 1, 1, 0, 0, 0, 0)),
            b"\x02\0\0",
            _both16(1),
            bytes((1,)),
            identifier,
        )
    )


def _both16(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)


def _both32(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)
