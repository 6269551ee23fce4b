"""Dynamic and fixed VHDX: what is written is read back, by us, by QEMU, and after reopening."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstack_hyperv.vhd import (
    LINUX_BLOCK_SIZE,
    DiskFormat,
    DiskInfo,
    DiskParameterError,
    DiskRange,
    DiskRangeError,
    DiskShrinkError,
    DiskType,
    MemoryFile,
    OsFile,
    RandomAccessFile,
    ReadOnlyDiskError,
    create_dynamic,
    create_fixed,
    minimum_size,
    open_disk,
    read_info,
    resize,
)

if TYPE_CHECKING:
    from tests.vhd.conftest import Libvhdi, Qemu

MIB = 1 << 20


def _scribble(
    file: RandomAccessFile, size: int, randomness: random.Random, writes: int = 20
) -> bytearray:
    model = bytearray(size)
    with open_disk(file, writable=True) as disk:
        for _ in range(writes):
            offset = randomness.randrange(size)
            data = randomness.randbytes(min(randomness.randrange(1, 200_000), size - offset))
            disk.write(offset, data)
            model[offset : offset + len(data)] = data
        assert disk.read(0, size) == model
    return model


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("block_size", [LINUX_BLOCK_SIZE, 8 * MIB])
@pytest.mark.parametrize("create", [create_dynamic, create_fixed])
def test_others_read_what_was_written(
    create: Callable[..., None],
    block_size: int,
    sector: int,
    file: MemoryFile,
    qemu: "Qemu",
    libvhdi: "Libvhdi",
    randomness: random.Random,
) -> None:
    size = 20 * MIB + sector
    create(file, size, block_size=block_size, logical_sector_size=sector)
    model = _scribble(file, size, randomness)
    if sector == 512:
        # QEMU knows no other logical sector size; libvhdi does.
        qemu.assert_reads(file, model)
    assert libvhdi.read([file]) == model
    with open_disk(file) as disk:
        assert disk.read(0, size) == model
        assert disk.read(12_345, 6_789) == model[12_345 : 12_345 + 6_789]


@pytest.mark.parametrize(
    "options",
    [
        ("vhdx", "subformat=dynamic"),
        ("vhdx", "subformat=dynamic,block_size=1M,block_state_zero=off"),
        ("vhdx", "subformat=fixed"),
    ],
)
def test_disks_of_qemu_read_equal_and_may_be_written(
    options: tuple[str, str], qemu: "Qemu", randomness: random.Random
) -> None:
    image_format, subformat = options
    size = 9 * MIB + 512
    model = bytearray(size)
    model[MIB : 2 * MIB] = randomness.randbytes(MIB)
    model[-700:] = randomness.randbytes(700)
    raw, path = qemu.path("raw"), qemu.path("vhdx")
    raw.write_bytes(model)
    qemu.img("convert", "-f", "raw", "-O", image_format, "-o", subformat, str(raw), str(path))
    qemu.io(path, "vhdx", "write -P 0x5a 5M 70k", "write -P 0xa5 2097152 512")
    model[5 * MIB : 5 * MIB + 70 * 1024] = b"\x5a" * (70 * 1024)
    model[2 * MIB : 2 * MIB + 512] = b"\xa5" * 512
    with OsFile(path, writable=True) as file:
        with open_disk(file) as disk:
            assert disk.read(0, size) == model
        with open_disk(file, writable=True) as disk:
            disk.write(7 * MIB + 5, b"ours")
            resize(disk, 24 * MIB)
            disk.write(20 * MIB, b"grown")
        model[7 * MIB + 5 : 7 * MIB + 9] = b"ours"
        model += bytes(24 * MIB - size)
        model[20 * MIB : 20 * MIB + 5] = b"grown"
    qemu.assert_reads(path, model)


def test_qemu_writes_into_our_disk(qemu: "Qemu") -> None:
    path = qemu.path("vhdx")
    with OsFile.create(path) as file:
        create_dynamic(file, 40 * MIB, block_size=MIB)
        with open_disk(file, writable=True) as disk:
            disk.write(3 * MIB, b"first")
    qemu.io(path, "vhdx", "write -P 7 10M 3M", "write -P 9 3145728 512")
    with OsFile(path) as file, open_disk(file) as disk:
        assert disk.read(10 * MIB, 3 * MIB) == b"\x07" * (3 * MIB)
        assert disk.read(3 * MIB, 600) == b"\x09" * 512 + bytes(88)


def test_info_of_a_new_disk(file: MemoryFile) -> None:
    disk_id = UUID("12345678-9abc-def0-1234-56789abcdef0")
    create_dynamic(file, 127 << 30, block_size=MIB, disk_id=disk_id)
    info = read_info(file)
    assert file.size() == 4 * MIB
    assert info == DiskInfo(
        format=DiskFormat.VHDX,
        type=DiskType.DYNAMIC,
        virtual_size=127 << 30,
        block_size=MIB,
        logical_sector_size=512,
        physical_sector_size=4096,
        disk_id=disk_id,
        linkage_id=info.linkage_id,
        parent=None,
        file_size=4 * MIB,
        is_log_dirty=False,
    )
    with open_disk(file) as disk:
        assert disk.info == info


class _CountingFile(MemoryFile):
    reads = 0
    bytes_read = 0

    def pread(self, offset: int, length: int) -> bytes:
        self.reads += 1
        self.bytes_read += length
        return super().pread(offset, length)


def test_info_takes_few_small_reads() -> None:
    file = _CountingFile()
    create_dynamic(file, 2 << 40, block_size=MIB)
    file.reads = file.bytes_read = 0
    read_info(file)
    assert file.reads <= 8
    assert file.bytes_read <= 100_000


def test_write_guids_change_once_a_session_and_only_when_something_changes(
    file: MemoryFile,
) -> None:
    create_dynamic(file, 8 * MIB, block_size=MIB)
    before = file.content()
    with open_disk(file, writable=True) as disk:
        disk.read(0, 4096)
    assert file.content() == before, "opening for writing alone changes nothing"
    first = read_info(file).linkage_id
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"a")
        second = disk.info.linkage_id
        disk.write(4 * MIB, b"b")
        assert disk.info.linkage_id == second
    assert read_info(file).linkage_id == second != first


def test_allocated_ranges_are_the_written_blocks_joined(file: MemoryFile) -> None:
    create_dynamic(file, 1 << 40, block_size=MIB)
    with open_disk(file, writable=True) as disk:
        for offset in (5, MIB, 700_000 * MIB):
            disk.write(offset, b"x")
        expected = [DiskRange(0, 2 * MIB), DiskRange(700_000 * MIB, MIB)]
        assert list(disk.allocated_ranges()) == expected
    with open_disk(file) as disk:
        assert list(disk.allocated_ranges()) == expected


def test_zeroed_blocks_are_given_up_and_their_space_used_again(
    file: MemoryFile,
    qemu: "Qemu",
) -> None:
    create_dynamic(file, 16 * MIB, block_size=MIB)
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"\xee" * (4 * MIB))
        size = file.size()
        disk.write_zeroes(MIB, 2 * MIB)
        disk.write_zeroes(10, 20)
        disk.flush()
        disk.write(8 * MIB + 1000, b"second life")
        disk.write(9 * MIB, b"third")
        assert file.size() == size
        model = bytearray(16 * MIB)
        model[:MIB] = model[3 * MIB : 4 * MIB] = b"\xee" * MIB
        model[10:30] = bytes(20)
        model[8 * MIB + 1000 : 8 * MIB + 1011] = b"second life"
        model[9 * MIB : 9 * MIB + 5] = b"third"
        assert disk.read(0, 16 * MIB) == model, "old content does not shine through"
    qemu.assert_reads(file, model)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (0, {}),
        (513, {}),
        (512, {"logical_sector_size": 4096}),
        ((64 << 40) + 512, {}),
        (MIB, {"block_size": 3 * MIB}),
        (MIB, {"block_size": 512 * MIB}),
        (MIB, {"block_size": 65_536}),
        (MIB, {"logical_sector_size": 1024}),
        (MIB, {"physical_sector_size": 2048}),
    ],
)
def test_parameters_outside_the_format_are_refused(
    size: int, options: dict[str, Any], file: MemoryFile
) -> None:
    with pytest.raises(DiskParameterError):
        create_dynamic(file, size, **options)
    assert file.size() == 0


def test_a_file_with_content_is_not_overwritten() -> None:
    with pytest.raises(DiskParameterError, match="not empty"):
        create_dynamic(MemoryFile(b"precious"), MIB)


def test_access_outside_the_disk_and_writing_when_read_only(file: MemoryFile) -> None:
    create_dynamic(file, MIB)
    with open_disk(file) as disk:
        for offset, length in ((MIB, 1), (-1, 1), (0, MIB + 1), (0, -1)):
            with pytest.raises(DiskRangeError):
                disk.read(offset, length)
        with pytest.raises(ReadOnlyDiskError):
            disk.write(0, b"x")
        with pytest.raises(ReadOnlyDiskError):
            disk.write_zeroes(0, 1)
        with pytest.raises(ReadOnlyDiskError):
            resize(disk, 2 * MIB)


def test_a_grown_bat_moves_when_it_does_not_fit(
    file: MemoryFile,
    qemu: "Qemu",
) -> None:
    """A BAT of 1 MiB holds 128 GiB in blocks of 1 MiB."""
    create_dynamic(file, 16 * MIB, block_size=MIB)
    with open_disk(file, writable=True) as disk:
        disk.write(MIB - 2, b"head")
        resize(disk, 200 << 30)
        disk.write((200 << 30) - 4, b"tail")
        assert disk.read(MIB - 2, 4) == b"head"
    with open_disk(file) as disk:
        assert disk.virtual_size == 200 << 30
        assert disk.read(MIB - 2, 4) == b"head"
        assert disk.read((200 << 30) - 5, 5) == b"\0tail"
        assert list(disk.allocated_ranges()) == [
            DiskRange(0, 2 * MIB),
            DiskRange((200 << 30) - MIB, MIB),
        ]
    path = qemu.path("vhdx")
    path.write_bytes(file.content())
    qemu.img("check", "-f", "vhdx", str(path))
    qemu.io(path, "vhdx", "read -P 0x74 214748364796 1", "read -P 0x68 1048574 1")


def test_grown_fixed_disk_stays_fully_allocated(
    file: MemoryFile,
    qemu: "Qemu",
    randomness: random.Random,
) -> None:
    create_fixed(file, 3 * MIB + 512, block_size=MIB)
    model = _scribble(file, 3 * MIB + 512, randomness)
    with open_disk(file, writable=True) as disk:
        resize(disk, 6 * MIB)
        assert list(disk.allocated_ranges()) == [DiskRange(0, 6 * MIB)]
    model += bytes(6 * MIB - len(model))
    assert read_info(file).type is DiskType.FIXED
    qemu.assert_reads(file, model)


def test_shrink_to_the_minimum_and_no_further(
    file: MemoryFile,
    qemu: "Qemu",
) -> None:
    create_dynamic(file, 64 * MIB, block_size=MIB)
    with open_disk(file, writable=True) as disk:
        disk.write(5 * MIB + 100, b"last byte")
        disk.write(30 * MIB, bytes(100))
        assert minimum_size(disk) == 5 * MIB + 512
        with pytest.raises(DiskShrinkError):
            resize(disk, 5 * MIB)
        resize(disk, 5 * MIB + 512)
        assert disk.virtual_size == 5 * MIB + 512
        resize(disk, 32 * MIB)
        assert disk.read(5 * MIB + 512, 26 * MIB) == bytes(26 * MIB)
    model = bytearray(32 * MIB)
    model[5 * MIB + 100 : 5 * MIB + 109] = b"last byte"
    qemu.assert_reads(file, model)


_operation = st.tuples(
    st.sampled_from(["write", "zero", "reopen", "grow", "flush"]),
    st.integers(0, 5 * MIB - 1),
    st.integers(1, 3 * MIB // 2),
)


@settings(max_examples=40, deadline=None)
@given(
    operations=st.lists(_operation, max_size=12),
    fixed=st.booleans(),
    block_size=st.sampled_from([MIB, 2 * MIB]),
)
def test_random_operations_against_a_model(
    operations: list[tuple[str, int, int]], fixed: bool, block_size: int
) -> None:
    file = MemoryFile()
    create = create_fixed if fixed else create_dynamic
    create(file, 5 * MIB + 1024, block_size=block_size)
    model = bytearray(5 * MIB + 1024)
    disk = open_disk(file, writable=True)
    for number, (kind, offset, length) in enumerate(operations):
        length = min(length, len(model) - offset)
        if kind == "write":
            data = bytes([number + 1]) * length
            disk.write(offset, data)
            model[offset : offset + length] = data
        elif kind == "zero":
            disk.write_zeroes(offset, length)
            model[offset : offset + length] = bytes(length)
        elif kind == "grow":
            resize(disk, len(model) + length // 512 * 512)
            model += bytes(length // 512 * 512)
        elif kind == "flush":
            disk.flush()
        else:
            disk.close()
            disk = open_disk(file, writable=True)
    assert disk.read(0, len(model)) == model
    disk.close()
    with open_disk(file) as reopened:
        assert reopened.read(0, len(model)) == model
        stored = bytearray(len(model))
        for part in reopened.allocated_ranges():
            stored[part.offset : part.offset + part.length] = reopened.read(
                part.offset, part.length
            )
        assert stored == model


def test_disk_on_a_real_file(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    with OsFile.create(path) as file:
        create_dynamic(file, 1 << 30)
        with open_disk(file, writable=True) as disk:
            disk.write(1 << 29, b"middle")
    with OsFile(path) as file, open_disk(file) as disk:
        assert disk.read(1 << 29, 6) == b"middle"
    assert path.stat().st_size == 36 * MIB
