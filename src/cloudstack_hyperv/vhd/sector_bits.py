"""Runs of equal bits in sector bitmaps, found without looking at every bit.

Bitmaps of differencing disks are long and mostly uniform. Bit 0 of byte 0 is the first sector, as
in VHDX; VHD counts from the most significant bit, see `reversed_bits`.
"""

import re
from collections.abc import Iterator

_UNIFORM_RUNS = re.compile(rb"\x00+|\xff+|[^\x00\xff]", re.DOTALL)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def reversed_bits(bits: bytes) -> bytes:
    """The bitmap with the bits of each byte in the other order."""
    return bits.translate(_REVERSED)


def bit_runs(bits: bytes, first: int, last: int) -> Iterator[tuple[int, int, bool]]:
    """(start, end, value) of the runs of equal bits from `first` to before `last`."""
    start, value = first, None
    for match in _UNIFORM_RUNS.finditer(bits, first // 8, -(-last // 8)):
        byte = match[0][0]
        if byte in {0, 0xFF}:
            pieces = [(match.start() * 8, match.end() * 8, byte == 0xFF)]
        else:
            at = match.start() * 8
            pieces = [(at + bit, at + bit + 1, bool(byte >> bit & 1)) for bit in range(8)]
        for low, high, bit_value in pieces:
            if high <= first or low >= last:
                continue
            if value is not None and bit_value != value:
                yield start, low, value
                start = low
            value = bit_value
    if value is not None:
        yield start, last, value


def count_ones(bits: bytes, last: int) -> int:
    """How many of the first `last` bits are set."""
    return (int.from_bytes(bits, "little") & ((1 << last) - 1)).bit_count()


def with_ones(bits: bytes, first: int, last: int) -> bytes:
    """The bitmap with the bits from `first` to before `last` set."""
    number = int.from_bytes(bits, "little") | ((1 << (last - first)) - 1) << first
    return number.to_bytes(len(bits), "little")
