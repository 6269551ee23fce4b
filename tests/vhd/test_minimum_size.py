"""How small a disk may become: partition tables as real tools write them, and hostile ones."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.vhd import (
    DiskShrinkError,
    MemoryFile,
    create_dynamic,
    minimum_size,
    open_disk,
    resize,
)

MIB = 1 << 20
SIZE = 64 * MIB


def _mbr(*partitions: tuple[int, int, int]) -> bytes:
    entries = b"".join(struct.pack("<4xB3xII", *partition) for partition in partitions)
    return (bytes(446) + entries).ljust(510, b"\0") + b"\x55\xaa"


def _gpt(*partitions: tuple[int, int], sector: int = 512) -> bytes:
    table = b"".join(
        b"\x01" * 32 + struct.pack("<QQ", first, last) + bytes(80) for first, last in partitions
    ).ljust(128 * 128, b"\0")

    def header(checksum: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x10000,
            92,
            checksum,
            0,
            1,
            SIZE // sector - 1,
            34,
            SIZE // sector - 34,
            b"\x02" * 16,
            2,
            128,
            128,
            zlib.crc32(table),
        )

    blocks = (
        _mbr((0xEE, 1, 0xFFFFFFFF)).ljust(sector, b"\0"),
        header(zlib.crc32(header(0))).ljust(sector, b"\0"),
    )
    return b"".join(blocks) + table


def _minimum(start: bytes, *, sector: int = 512, stray: int | None = None) -> int:
    file = MemoryFile()
    create_dynamic(file, SIZE, block_size=MIB, logical_sector_size=sector)
    with open_disk(file, writable=True) as disk:
        disk.write(0, start)
        if stray is not None:
            disk.write(stray, b"stray")
        return minimum_size(disk)


def test_mbr_partitions_count_whether_written_or_not() -> None:
    table = _mbr((0x83, 2048, 20480), (0x0F, 30720, 10240))
    assert _minimum(table) == (30720 + 10240) * 512
    assert _minimum(table, stray=50 * MIB) == (30720 + 10240) * 512


@pytest.mark.parametrize("sector", [512, 4096])
def test_gpt_leaves_room_for_its_second_copy(sector: int) -> None:
    start = _gpt((2048, 4095), (4096, 6143), sector=sector)
    assert _minimum(start, sector=sector) == 6144 * sector + sector + 16384


def test_without_a_table_the_content_counts() -> None:
    assert _minimum(b"x") == 512
    assert _minimum(_mbr(), stray=20 * MIB) == 20 * MIB + 512
    boot_sector = b"\xeb\x3c\x90MSDOS5.0".ljust(510, b"\x33") + b"\x55\xaa"
    assert _minimum(boot_sector, stray=20 * MIB) == 20 * MIB + 512


def test_a_broken_gpt_is_no_table() -> None:
    start = bytearray(_gpt((2048, 4095)))
    start[512 + 60] ^= 1
    assert _minimum(bytes(start)) == 1536
    start = bytearray(_gpt((2048, 4095)))
    start[1024 + 40] ^= 1
    assert _minimum(bytes(start)) == 1536


def test_a_partition_that_claims_too_much_blocks_shrinking() -> None:
    assert _minimum(_mbr((0x83, 2048, 0xFFFFFFFF))) == SIZE
    assert _minimum(_gpt((2048, (1 << 64) - 2))) == SIZE


@given(header=st.binary(max_size=92), mbr=st.binary(min_size=64, max_size=64))
def test_fuzzed_tables_give_a_size_of_the_disk(header: bytes, mbr: bytes) -> None:
    start = bytes(446) + mbr + b"\x55\xaa" + b"EFI PART" + header
    assert 0 < _minimum(start) <= SIZE


def test_shrink_keeps_partitions_and_drops_what_lies_behind() -> None:
    file = MemoryFile()
    create_dynamic(file, SIZE, block_size=MIB)
    with open_disk(file, writable=True) as disk:
        disk.write(0, _mbr((0x83, 2048, 2048)))
        disk.write(MIB, b"\x01" * (2 * MIB))
        smallest = minimum_size(disk)
        with pytest.raises(DiskShrinkError):
            resize(disk, smallest - 512)
        resize(disk, smallest + 512)
        resize(disk, SIZE)
        assert disk.read(MIB, 3 * MIB) == b"\x01" * (MIB + 512) + bytes(2 * MIB - 512)
