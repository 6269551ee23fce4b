"""A screen dump as the thumbnail that Hyper-V gives: RGB565, low byte first, any size.

Source: Netpbm's "ppm" page for the dump's format (P6); Microsoft, GetVirtualSystemThumbnailImage.
"""

from __future__ import annotations

import sys
from array import array


def thumbnail(dump: bytes, width: int, height: int) -> bytes:
    """Return a PPM (P6, 8 bits a channel) scaled to `width` x `height`; ValueError."""
    across, down, pixels = _parse(dump)
    columns = [x * across // width for x in range(width)]
    rows: dict[int, bytes] = {}
    out = bytearray()
    for y in range(height):
        source = y * down // height
        if source not in rows:
            row = pixels[source * across * 3 : (source + 1) * across * 3]
            rows[source] = _row(row, columns)
        out += rows[source]
    return bytes(out)


def _parse(dump: bytes) -> tuple[int, int, memoryview]:
    parts = dump.split(maxsplit=4) if dump[:2] == b"P6" else []
    header = dump.split(b"\n", 3) if parts else []
    if len(header) != 4:
        raise ValueError("not a PPM of three header lines")
    across, down = (int(part) for part in header[1].split())
    if header[2] != b"255" or len(header[3]) < across * down * 3:
        raise ValueError("not a whole PPM of 8 bits a channel")
    return across, down, memoryview(header[3])


def _row(row: memoryview, columns: list[int]) -> bytes:
    red, green, blue = bytes(row[0::3]), bytes(row[1::3]), bytes(row[2::3])
    out = array(
        "H", [(red[x] & 0xF8) << 8 | (green[x] & 0xFC) << 3 | blue[x] >> 3 for x in columns]
    )
    if sys.byteorder == "big":
        out.byteswap()
    return out.tobytes()
