"""CRC-32C (Castagnoli), the checksum of every VHDX structure ([MS-VHDX] 2).

The standard library has only the zlib polynomial. Two 64 Ki-entry tables consume four bytes a
step, and whole 4 KiB pages of zeros, which most VHDX structures consist of, are crossed by one
application of a precomputed linear operator instead of 1024 steps.
"""

import sys
from array import array
from functools import cache

_POLYNOMIAL = 0x82F63B78
_PAGE = 4096
_ZERO_PAGE = bytes(_PAGE)


def _step_zero_bits(value: int, bits: int) -> int:
    for _ in range(bits):
        value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value


def _linear_table(images: list[int]) -> list[int]:
    """Expand a linear map, given by the images of its single-bit inputs, to all inputs."""
    table = [0]
    for image in images:
        table += [image ^ entry for entry in table]
    return table


@cache
def _word_tables() -> "tuple[array[int], array[int]]":
    """Tables that advance the low and the high 16 bits of the state over 32 zero bits."""
    low = _linear_table([_step_zero_bits(1 << bit, 32) for bit in range(16)])
    high = _linear_table([_step_zero_bits(1 << bit, 32) for bit in range(16, 32)])
    return array("I", low), array("I", high)


@cache
def _zero_page_tables() -> tuple[list[int], ...]:
    """Four byte-indexed tables that advance the state over one page of zero bytes."""
    low, high = _word_tables()
    images = []
    for bit in range(32):
        state = 1 << bit
        for _ in range(_PAGE // 4):
            state = low[state & 0xFFFF] ^ high[state >> 16]
        images.append(state)
    return tuple(_linear_table(images[first : first + 8]) for first in (0, 8, 16, 24))


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """The CRC-32C of `data` as an unsigned 32-bit number."""
    low, high = _word_tables()
    zero0, zero1, zero2, zero3 = _zero_page_tables()
    view = memoryview(data).cast("B")
    state = 0xFFFFFFFF
    for start in range(0, len(view), _PAGE):
        page = view[start : start + _PAGE]
        if page == _ZERO_PAGE:
            state = (
                zero0[state & 0xFF]
                ^ zero1[state >> 8 & 0xFF]
                ^ zero2[state >> 16 & 0xFF]
                ^ zero3[state >> 24]
            )
            continue
        whole = len(page) & ~3
        words = array("I", bytes(page[:whole]))
        if sys.byteorder == "big":
            words.byteswap()
        for word in words:
            state ^= word
            state = low[state & 0xFFFF] ^ high[state >> 16]
        for byte in page[whole:]:
            state = _step_zero_bits(state ^ byte, 8)
    return state ^ 0xFFFFFFFF
