import random

import pytest

from cloudstack_hyperv.vhd.crc32c import crc32c


def _bit_by_bit(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "value"),
    [
        # RFC 3720 appendix B.4, and the catalogue's check value.
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
)
def test_published_values(data: bytes, value: int) -> None:
    assert crc32c(data) == value


@pytest.mark.parametrize("length", [1, 3, 4095, 4096, 4097, 12_289])
def test_equals_the_definition_around_page_borders(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == _bit_by_bit(data)
    assert crc32c(memoryview(data)) == _bit_by_bit(data)


def test_pages_of_zeros_are_crossed_correctly() -> None:
    data = b"head" + bytes(20_000) + b"tail" + bytes(8192)
    assert crc32c(data) == _bit_by_bit(data)
