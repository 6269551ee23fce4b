"""The old VHD format: fixed and dynamic disks against QEMU and libvhdi, growth, hostile files."""

import functools
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstack_hyperv.vhd import (
    CorruptDiskError,
    DiskFormat,
    DiskParameterError,
    DiskRange,
    DiskType,
    MemoryFile,
    NotADiskError,
    OsFile,
    ReadOnlyDiskError,
    UnsupportedDiskError,
    VhdError,
    convert,
    create_differencing,
    create_dynamic,
    create_fixed,
    format_of_name,
    open_disk,
    read_info,
    resize,
)
from cloudstack_hyperv.vhd.vhd1.footer import checksum, geometry

if TYPE_CHECKING:
    from tests.vhd.conftest import Libvhdi, Qemu

MIB = 1 << 20
VHD = DiskFormat.VHD


def _scribble(file: MemoryFile | OsFile, size: int, randomness: random.Random) -> bytearray:
    model = bytearray(size)
    with open_disk(file, disk_format=VHD, writable=True) as disk:
        for _ in range(15):
            offset = randomness.randrange(size)
            data = randomness.randbytes(min(randomness.randrange(1, 200_000), size - offset))
            disk.write(offset, data)
            model[offset : offset + len(data)] = data
        disk.write_zeroes(size // 2, MIB)
        model[size // 2 : size // 2 + MIB] = bytes(MIB)
        assert disk.read(0, size) == model
    return model


@pytest.mark.parametrize("create", [create_dynamic, create_fixed])
def test_others_read_what_was_written(
    create: Callable[..., None],
    file: MemoryFile,
    qemu: "Qemu",
    libvhdi: "Libvhdi",
    randomness: random.Random,
) -> None:
    size = 17 * MIB + 512
    create(file, size, disk_format=VHD)
    model = _scribble(file, size, randomness)
    qemu.assert_reads(file, model, "vpc")
    assert libvhdi.read([file]) == model
    with open_disk(file) as disk:
        assert disk.read(0, size) == model
        with pytest.raises(ReadOnlyDiskError):
            disk.write(0, b"x")


@pytest.mark.parametrize("subformat", ["dynamic", "fixed"])
def test_disks_of_qemu_read_equal_and_may_be_written(
    subformat: str, qemu: "Qemu", randomness: random.Random
) -> None:
    size = 9 * MIB
    model = bytearray(size)
    model[MIB : 2 * MIB] = randomness.randbytes(MIB)
    model[-700:] = randomness.randbytes(700)
    raw, path = qemu.path("raw"), qemu.path("vhd")
    raw.write_bytes(model)
    options = f"subformat={subformat},force_size=on"
    qemu.img("convert", "-f", "raw", "-O", "vpc", "-o", options, str(raw), str(path))
    qemu.io(path, "vpc", "write -P 0x5a 5M 70k")
    model[5 * MIB : 5 * MIB + 70 * 1024] = b"\x5a" * (70 * 1024)
    with OsFile(path, writable=True) as file:
        info = read_info(file)
        assert (info.format, info.type) == (VHD, DiskType[subformat.upper()])
        with open_disk(file, writable=True) as disk:
            assert disk.read(0, size) == model
            disk.write(7 * MIB + 5, b"ours")
    model[7 * MIB + 5 : 7 * MIB + 9] = b"ours"
    qemu.assert_reads(path, model, "vpc")


@pytest.mark.parametrize("create", [create_dynamic, create_fixed])
def test_growing(
    create: Callable[..., None], file: MemoryFile, qemu: "Qemu", randomness: random.Random
) -> None:
    create(file, 6 * MIB, disk_format=VHD)
    model = _scribble(file, 6 * MIB, randomness)
    with open_disk(file, writable=True) as disk:
        resize(disk, 40 * MIB)
        disk.write(39 * MIB, b"new")
        with pytest.raises(VhdError):
            resize(disk, 6 * MIB)
    model += bytes(34 * MIB)
    model[39 * MIB : 39 * MIB + 3] = b"new"
    qemu.assert_reads(file, model, "vpc")


def test_a_table_that_does_not_fit_moves(file: MemoryFile) -> None:
    create_dynamic(file, 2 * MIB, disk_format=VHD)
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"first")
        resize(disk, 2040 << 30)
        disk.write((2040 << 30) - 4, b"last")
    with open_disk(file) as disk:
        assert disk.read(0, 6) == b"first\0"
        assert disk.read((2040 << 30) - 5, 5) == b"\0last"
        assert list(disk.allocated_ranges()) == [
            DiskRange(0, 2 * MIB),
            DiskRange((2040 << 30) - 2 * MIB, 2 * MIB),
        ]


def test_a_child_of_a_vhd_cannot_grow(file: MemoryFile) -> None:
    create_dynamic(file, 2 * MIB, disk_format=VHD)
    child = MemoryFile()
    create_differencing(child, file, relative_path="base.vhd")
    with open_disk(child, writable=True) as disk, pytest.raises(UnsupportedDiskError):
        resize(disk, 4 * MIB)


def test_the_footer_copy_at_the_start_saves_a_dynamic_disk(file: MemoryFile) -> None:
    create_dynamic(file, 8 * MIB, disk_format=VHD)
    with open_disk(file, writable=True) as disk:
        disk.write(0, b"content")
    file.pwrite(file.size() - 512, bytes(512))
    with open_disk(file, writable=True) as disk:
        assert disk.read(0, 7) == b"content"
        disk.write(4 * MIB, b"more")
    assert file.pread(file.size() - 512, 8) == b"conectix"


@pytest.mark.parametrize(
    ("source_format", "source", "target_format", "target"),
    [
        (VHD, create_dynamic, DiskFormat.VHDX, DiskType.DYNAMIC),
        (VHD, create_fixed, DiskFormat.VHDX, DiskType.FIXED),
        (DiskFormat.VHDX, create_dynamic, VHD, DiskType.FIXED),
        (DiskFormat.VHDX, create_fixed, VHD, DiskType.DYNAMIC),
    ],
)
def test_conversion_both_ways(
    source_format: DiskFormat,
    source: Callable[..., None],
    target_format: DiskFormat,
    target: DiskType,
    file: MemoryFile,
    qemu: "Qemu",
    randomness: random.Random,
) -> None:
    source(file, 13 * MIB, disk_format=source_format)
    model = bytearray(13 * MIB)
    model[3 * MIB : 3 * MIB + 5000] = randomness.randbytes(5000)
    with open_disk(file, writable=True) as disk:
        disk.write(3 * MIB, model[3 * MIB : 3 * MIB + 5000])
    copy = MemoryFile()
    steps: list[tuple[int, int]] = []
    with open_disk(file) as disk:
        convert(
            disk,
            copy,
            disk_format=target_format,
            disk_type=target,
            progress=lambda done, total: steps.append((done, total)),
        )
    assert steps[-1][0] == steps[-1][1]
    info = read_info(copy)
    assert (info.format, info.type) == (target_format, target)
    qemu.assert_reads(copy, model, "vpc" if target_format is VHD else "vhdx")


def test_an_exception_of_the_progress_callback_ends_the_copy(file: MemoryFile) -> None:
    create_fixed(file, 13 * MIB)

    def cancel(done: int, total: int) -> None:
        raise InterruptedError

    with open_disk(file) as disk, pytest.raises(InterruptedError):
        convert(disk, MemoryFile(), progress=cancel)


def test_what_a_vhd_cannot_be(file: MemoryFile) -> None:
    for size in (0, 100, (2040 << 30) + 512):
        with pytest.raises(DiskParameterError):
            create_fixed(file, size, disk_format=VHD)
    with pytest.raises(DiskParameterError):
        create_dynamic(file, MIB, disk_format=VHD, logical_sector_size=4096)
    with pytest.raises(DiskParameterError):
        create_dynamic(file, MIB, disk_format=VHD, block_size=3 * MIB)
    assert file.size() == 0


@pytest.mark.parametrize("size", ["8M", "40M", "300M", "510M", "1G", "20G", "130G"])
def test_geometry_is_that_of_qemu(size: str, qemu: "Qemu") -> None:
    """QEMU rounds the size to a whole number of cylinders, so that no rounding is left to us."""
    path = qemu.path("vhd")
    qemu.img("create", "-f", "vpc", str(path), size)
    footer = path.read_bytes()[:512]
    (current_size,) = struct.unpack_from(">Q", footer, 48)
    assert geometry(current_size) == struct.unpack_from(">HBB", footer, 56)


def test_a_guest_cannot_turn_a_fixed_vhd_into_a_vhdx(file: MemoryFile) -> None:
    """The first bytes of a fixed VHD are the guest's: the file's name decides, not they."""
    inner = MemoryFile()
    create_dynamic(inner, 16 * MIB)
    create_fixed(file, inner.size(), disk_format=VHD)
    with open_disk(file, disk_format=VHD, writable=True) as disk:
        disk.write(0, inner.content())
    assert read_info(file, disk_format=format_of_name("C:\\disks\\a.VHD")).format is VHD
    with open_disk(file, disk_format=VHD) as disk:
        assert disk.virtual_size == inner.size()
    with pytest.raises(NotADiskError):
        read_info(inner, disk_format=VHD)
    assert format_of_name("x.avhdx") is DiskFormat.VHDX
    assert format_of_name("vhdx") is None
    assert format_of_name("x.vhdx.gz") is None


@functools.cache
def _disk() -> bytes:
    file = MemoryFile()
    create_dynamic(file, 8 * MIB, disk_format=VHD)
    parent = MemoryFile(file.content())
    child = MemoryFile()
    create_differencing(child, parent, relative_path="parent.vhd")
    with open_disk(child, writable=True) as disk:
        disk.write(0, b"\x01" * 4096)
        disk.write(4 * MIB, b"\x01" * 4096)
    return child.content()


def _sealed(file: MemoryFile) -> MemoryFile:
    size = file.size()
    for offset, length, at in ((0, 512, 64), (512, 1024, 36), (size - 512, 512, 64)):
        data = file.pread(offset, length)
        file.pwrite(offset + at, struct.pack(">I", checksum(data, at)))
    return file


def _changed(*changes: tuple[int, bytes]) -> MemoryFile:
    file = MemoryFile(_disk())
    for offset, data in changes:
        file.pwrite(offset, data)
        if offset < 512:
            file.pwrite(file.size() - 512 + offset, data)
    return _sealed(file)


@pytest.mark.parametrize(
    "changes",
    [
        [(12, b"\0\2")],
        [(60, b"\0\0\0\7")],
        [(48, struct.pack(">Q", 513))],
        [(48, struct.pack(">Q", 1 << 50))],
        [(48, struct.pack(">Q", 1 << 40))],
        [(60, b"\0\0\0\2"), (48, struct.pack(">Q", 1 << 30))],
        [(16, struct.pack(">Q", 1 << 60))],
        [(512, b"CXSPARSE")],
        [(512 + 16, struct.pack(">Q", 1 << 60))],
        [(512 + 24, b"\0\2\0\0")],
        [(512 + 28, struct.pack(">I", 1))],
        [(512 + 32, struct.pack(">I", 4096))],
        [(512 + 576 + 8, struct.pack(">I", 1 << 30))],
        [(512 + 576 + 16, struct.pack(">Q", 1 << 60))],
        [(1536, struct.pack(">I", 0))],
        [(1536, struct.pack(">I", 1 << 30))],
    ],
    ids=str,
)
def test_a_broken_rule_is_named(changes: list[tuple[int, bytes]]) -> None:
    file = _changed(*changes)
    with pytest.raises(CorruptDiskError):
        open_disk(file).info  # noqa: B018 - the parent's paths are read when they are asked for


@settings(max_examples=200, deadline=10_000)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(
                [0, 8, 16, 40, 48, 60, 512, 528, 540, 544, 1088, 1096, 1104, 1536, 1540]
            ),
            st.one_of(
                st.binary(min_size=1, max_size=8),
                st.sampled_from([0, 1, 3, 4, 6, MIB, 1 << 40]).map(
                    lambda number: struct.pack(">Q", number)
                ),
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_fuzzed_structures_never_raise_anything_but_vhd_errors(
    changes: list[tuple[int, bytes]],
) -> None:
    file = _changed(*changes)
    with suppress(VhdError), open_disk(file, writable=True) as disk:
        read_info(file)
        list(disk.extents(0, min(disk.virtual_size, 64 * MIB)))
        disk.write(0, b"x" * 512)
        disk.read(0, min(disk.virtual_size, 8 * MIB))
