"""Damaged and malicious VHDX files: a `VhdError`, or a disk; never anything else."""

import functools
import struct
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstack_hyperv.vhd import (
    CorruptDiskError,
    MemoryFile,
    NotADiskError,
    UnsupportedDiskError,
    VhdError,
    create_differencing,
    create_dynamic,
    open_disk,
    read_info,
)
from cloudstack_hyperv.vhd.crc32c import crc32c

MIB = 1 << 20
HEADERS = (64 << 10, 128 << 10)
REGION_TABLES = (192 << 10, 256 << 10)
LOG = MIB
METADATA = 2 * MIB
ITEMS = METADATA + (64 << 10)
BAT = 3 * MIB


@functools.cache
def _disk() -> bytes:
    file = MemoryFile()
    create_dynamic(file, 8 * MIB, block_size=MIB)
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"\x01" * (2 * MIB))
    return file.content()


@functools.cache
def _child() -> bytes:
    """A differencing disk with a partially present block; its sector bitmap lies at 4 MiB."""
    file = MemoryFile()
    create_differencing(file, MemoryFile(_disk()), relative_path="parent", block_size=MIB)
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"\x02" * 4096)
        disk.write(MIB, b"\x02" * MIB)
    return file.content()


def _seal(file: MemoryFile) -> None:
    """Make the checksums right again, so that what lies behind them is looked at."""
    for offsets, length in ((HEADERS, 4096), (REGION_TABLES, 64 << 10)):
        for offset in offsets:
            file.pwrite(offset + 4, bytes(4))
            file.pwrite(offset + 4, struct.pack("<I", crc32c(file.pread(offset, length))))


def _changed(
    *changes: tuple[int, bytes], seal: bool = True, content: bytes | None = None
) -> MemoryFile:
    file = MemoryFile(_disk() if content is None else content)
    for offset, data in changes:
        file.pwrite(offset, data)
    if seal:
        _seal(file)
    return file


def _both(offsets: tuple[int, int], within: int, data: bytes) -> list[tuple[int, bytes]]:
    return [(offset + within, data) for offset in offsets]


def _bat(*entries: int) -> tuple[int, bytes]:
    return BAT, struct.pack(f"<{len(entries)}Q", *entries)


def test_one_damaged_copy_is_survived() -> None:
    for damaged in (*HEADERS, *REGION_TABLES):
        with open_disk(_changed((damaged + 100, b"\xff"), seal=False)) as disk:
            assert disk.read(0, 1) == b"\x01"


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (MemoryFile(), NotADiskError),
        (MemoryFile(b"vhdxfil"), NotADiskError),
        (MemoryFile(b"vhdxfile"), CorruptDiskError),
        (_changed(*_both(HEADERS, 100, b"\1"), seal=False), CorruptDiskError),
        (_changed(*_both(REGION_TABLES, 100, b"\1"), seal=False), CorruptDiskError),
        (_changed(*_both(HEADERS, 66, b"\2")), UnsupportedDiskError),
        (_changed(*_both(HEADERS, 8, bytes(8)), (HEADERS[0] + 16, b"\xff")), CorruptDiskError),
        # A log that is named but holds nothing, that is unaligned, or outside.
        (_changed(*_both(HEADERS, 48, uuid4().bytes)), CorruptDiskError),
        (_changed(*_both(HEADERS, 68, struct.pack("<I", 12345))), CorruptDiskError),
        (_changed(*_both(HEADERS, 72, struct.pack("<Q", 1 << 60))), CorruptDiskError),
        (_changed(*_both(HEADERS, 72, struct.pack("<Q", METADATA))), CorruptDiskError),
        # Regions: too many, unknown and required, unaligned, twice, overlapping, missing.
        (_changed(*_both(REGION_TABLES, 8, struct.pack("<I", 2048))), CorruptDiskError),
        (_changed(*_both(REGION_TABLES, 16, uuid4().bytes)), UnsupportedDiskError),
        (_changed(*_both(REGION_TABLES, 32, struct.pack("<Q", BAT + 4096))), CorruptDiskError),
        (_changed(*_both(REGION_TABLES, 32, struct.pack("<Q", METADATA))), CorruptDiskError),
        (_changed(*_both(REGION_TABLES, 32, struct.pack("<Q", 1 << 60))), CorruptDiskError),
        (_changed(*_both(REGION_TABLES, 8, struct.pack("<I", 1))), CorruptDiskError),
        # Metadata: signature, count, item outside, sizes.
        (_changed((METADATA, b"METADATA")), CorruptDiskError),
        (_changed((METADATA + 10, struct.pack("<H", 2048))), CorruptDiskError),
        (_changed((METADATA + 48, struct.pack("<I", MIB))), CorruptDiskError),
        (_changed((METADATA + 52, struct.pack("<I", 9))), CorruptDiskError),
        (_changed((METADATA + 32, uuid4().bytes)), UnsupportedDiskError),
        (_changed((ITEMS, struct.pack("<I", 3 * MIB))), CorruptDiskError),
        (_changed((ITEMS, struct.pack("<II", MIB, 2))), CorruptDiskError),
        (_changed((ITEMS + 8, struct.pack("<Q", 1 << 63))), CorruptDiskError),
        (_changed((ITEMS + 8, struct.pack("<Q", 63 << 40))), CorruptDiskError),
        (_changed((ITEMS + 8, struct.pack("<Q", 0))), CorruptDiskError),
        (_changed((ITEMS + 32, struct.pack("<I", 1000))), CorruptDiskError),
        # BAT: on the header, the log, itself; twice; outside; reserved states and bits.
        (_changed(_bat(6)), CorruptDiskError),
        (_changed(_bat(6 | 1 << 20)), CorruptDiskError),
        (_changed(_bat(6 | 3 << 20)), CorruptDiskError),
        (_changed(_bat(6 | 4 << 20, 6 | 4 << 20)), CorruptDiskError),
        (_changed(_bat(6 | 4 << 20, 3 | 4 << 20)), CorruptDiskError),
        (_changed(_bat(6 | ((1 << 44) - 1) << 20)), CorruptDiskError),
        (_changed(_bat(4 | 4 << 20)), CorruptDiskError),
        (_changed(_bat(7 | 4 << 20)), CorruptDiskError),
        (_changed(_bat(6 | 8 | 4 << 20)), CorruptDiskError),
    ],
)
def test_a_broken_rule_is_named(file: MemoryFile, error: type[VhdError]) -> None:
    with pytest.raises(error):
        open_disk(file)


@pytest.mark.parametrize(
    ("bat", "bitmap"),
    [
        # Partially present without bitmap; bitmap on the block, outside, in a bad state.
        ([7 | 5 << 20], 0),
        ([7 | 5 << 20], 6 | 5 << 20),
        ([7 | 5 << 20], 6 | 1 << 40),
        ([7 | 5 << 20], 6),
        ([7 | 5 << 20], 3 | 4 << 20),
        ([7], 6 | 4 << 20),
    ],
)
def test_a_broken_rule_of_a_child_is_named(bat: list[int], bitmap: int) -> None:
    # 4096 payload blocks of 1 MiB come before the entry of their sector bitmap.
    entry = (BAT + 8 * 4096, struct.pack("<Q", bitmap))
    with pytest.raises(CorruptDiskError):
        open_disk(_changed(_bat(*bat), entry, content=_child()))


def test_states_without_defined_content_read_as_zeros_and_keep_their_place() -> None:
    """[MS-VHDX] 2.5.1.1: what was unmapped may come back, but is better not shown."""
    file = _changed(_bat(3 | 4 << 20, 2 | 77 << 20, 0, 1))
    with open_disk(file, writable=True) as disk:
        assert disk.read(0, 4 * MIB) == bytes(4 * MIB)
        disk.write(100, b"new")
        assert disk.read(0, MIB) == bytes(100) + b"new" + bytes(MIB - 103)
    assert file.pread(BAT, 8) == struct.pack("<Q", 6 | 4 << 20)


def test_an_unknown_optional_item_is_kept() -> None:
    entry = UUID(int=7).bytes_le + struct.pack("<IIII", 0x11000, 5, 1, 0)
    file = _changed(
        (METADATA + 10, struct.pack("<H", 6)),
        (METADATA + 32 + 5 * 32, entry),
        (METADATA + 0x11000, b"notes"),
    )
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"x")
    assert file.pread(METADATA + 32 + 5 * 32, 32) == entry
    assert file.pread(METADATA + 0x11000, 5) == b"notes"


_PLACES = (
    *((offset, 80) for offset in HEADERS),
    *((offset, 80) for offset in REGION_TABLES),
    (METADATA, 200),
    (ITEMS, 48),
    (BAT, 100),
    (BAT + 8 * 4096, 8),
    (LOG, 100),
)


@st.composite
def _mutations(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    changes = []
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.sampled_from(_PLACES))
        offset = start + draw(st.integers(0, length))
        value = draw(
            st.one_of(
                st.binary(min_size=1, max_size=16),
                st.sampled_from([0, 1, 6, 7, MIB, 6 | 4 << 20, 1 << 40, (1 << 64) - 1]).map(
                    lambda number: struct.pack("<Q", number)
                ),
            )
        )
        changes.append((offset, value))
    return changes


@settings(max_examples=400, deadline=10_000)
@given(
    changes=_mutations(),
    end=st.sampled_from([None, None, 3 * MIB, 5 * MIB, 4 * MIB + 7]),
    is_child=st.booleans(),
)
def test_fuzzed_structures_never_raise_anything_but_vhd_errors(
    changes: list[tuple[int, bytes]], end: int | None, is_child: bool
) -> None:
    file = _changed(*changes, content=_child() if is_child else None)
    if end is not None:
        file.truncate(end)
    try:
        read_info(file)
        with open_disk(file) as disk:
            disk.read(0, min(disk.virtual_size, 4 * MIB))
            disk.read(max(0, disk.virtual_size - MIB), min(disk.virtual_size, MIB))
            list(disk.allocated_ranges())
        with open_disk(file, writable=True) as disk:
            disk.write(disk.virtual_size - 1, b"x")
            disk.write_zeroes(0, min(disk.virtual_size, 2 * MIB))
    except VhdError:
        pass
