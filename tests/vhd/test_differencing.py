"""Chains of differencing disks, of both formats: reading, writing, merging, flattening."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstack_hyperv.vhd import (
    Disk,
    DiskFormat,
    DiskParameterError,
    DiskRange,
    DiskType,
    MemoryFile,
    ParentLocator,
    ParentMismatchError,
    ParentNotFoundError,
    RandomAccessFile,
    VhdError,
    compact,
    convert,
    create_differencing,
    create_dynamic,
    create_fixed,
    merge,
    open_disk,
    read_info,
    resize,
    set_parent,
)
from cloudstack_hyperv.vhd.vhdx.locator import decode_locator, encode_locator

if TYPE_CHECKING:
    from tests.vhd.conftest import Libvhdi, Qemu

MIB = 1 << 20
FORMATS = [DiskFormat.VHDX, DiskFormat.VHD]


@dataclass
class Folder:
    """Disks by name, as `relative_path` has them."""

    files: dict[str, MemoryFile] = field(default_factory=dict)

    def resolve(self, locator: ParentLocator, child: RandomAccessFile) -> MemoryFile:
        try:
            return self.files[locator.relative_path or ""]
        except KeyError:
            raise ParentNotFoundError(f"no {locator.relative_path}") from None

    def base(
        self,
        name: str,
        size: int,
        create: Callable[..., None] = create_dynamic,
        disk_format: DiskFormat = DiskFormat.VHDX,
    ) -> MemoryFile:
        file = self.files[name] = MemoryFile()
        block_size = MIB if disk_format is DiskFormat.VHDX else None
        create(file, size, block_size=block_size, disk_format=disk_format)
        return file

    def child(self, name: str, parent: str, **options: Any) -> MemoryFile:
        file = self.files[name] = MemoryFile()
        create_differencing(file, self.files[parent], relative_path=parent, **options)
        return file

    def open(self, name: str, *, writable: bool = False) -> Disk:
        return open_disk(self.files[name], writable=writable, parent_resolver=self.resolve)

    def read(self, name: str) -> bytes:
        with self.open(name) as disk:
            return disk.read(0, disk.virtual_size)

    def chain(self, *names: str) -> list[RandomAccessFile]:
        return [self.files[name] for name in names]


@pytest.fixture
def folder() -> Folder:
    return Folder()


def _write(folder: Folder, name: str, offset: int, data: bytes) -> None:
    with folder.open(name, writable=True) as disk:
        disk.write(offset, data)


@pytest.mark.parametrize("disk_format", FORMATS)
def test_sectors_come_from_the_nearest_disk_that_has_them(
    disk_format: DiskFormat, folder: Folder, libvhdi: "Libvhdi"
) -> None:
    folder.base("base", 6 * MIB, disk_format=disk_format)
    _write(folder, "base", 0, b"\x01" * (4 * MIB))
    folder.child("middle", "base")
    _write(folder, "middle", 1024, b"\x02" * 512)
    _write(folder, "middle", MIB, b"\x02" * MIB)
    folder.child("leaf", "middle", block_size=2 * MIB)
    _write(folder, "leaf", 2 * MIB - 100, b"\x03" * 200)
    _write(folder, "leaf", 5 * MIB, b"\x03")
    model = bytearray(b"\x01" * (4 * MIB) + bytes(2 * MIB))
    model[1024:1536] = b"\x02" * 512
    model[MIB : 2 * MIB] = b"\x02" * MIB
    model[2 * MIB - 100 : 2 * MIB + 100] = b"\x03" * 200
    model[5 * MIB] = 3
    assert folder.read("leaf") == model
    assert libvhdi.read(folder.chain("leaf", "middle", "base")) == model
    with folder.open("leaf") as disk:
        assert disk.info.type is DiskType.DIFFERENCING
        assert disk.read(2 * MIB - 101, 202) == model[2 * MIB - 101 : 2 * MIB + 101]
        ranges = list(disk.allocated_ranges())
    assert ranges[0] == DiskRange(0, 4 * MIB)
    assert ranges[-1].offset <= 5 * MIB < ranges[-1].offset + ranges[-1].length


def test_a_small_write_makes_a_partial_block_and_a_full_one_a_present_block(
    folder: Folder,
) -> None:
    folder.base("base", 4 * MIB)
    child = folder.child("child", "base", block_size=MIB)
    size = child.size()
    _write(folder, "child", 0, b"\xcc" * MIB)
    _write(folder, "child", MIB, b"\xcc" * 512)
    assert child.size() == size + 2 * MIB
    states = child.pread(3 * MIB, 16)
    assert (states[0] & 7, states[8] & 7) == (6, 7)
    _write(folder, "child", MIB + 512, b"\xcc" * (MIB - 512))
    assert child.pread(3 * MIB + 8, 1)[0] & 7 == 6, "all sectors present"


def test_zeroes_hide_the_parent(folder: Folder) -> None:
    folder.base("base", 4 * MIB)
    _write(folder, "base", 0, b"\x01" * (4 * MIB))
    child = folder.child("child", "base", block_size=MIB)
    with folder.open("child", writable=True) as disk:
        size = child.size()
        disk.write_zeroes(MIB, 2 * MIB)
        assert child.size() == size, "zero blocks take no space"
        disk.write_zeroes(10, 5)
        disk.write(2 * MIB + 1024, b"\x02" * 512)
    model = bytearray(b"\x01" * (4 * MIB))
    model[MIB : 3 * MIB] = bytes(2 * MIB)
    model[10:15] = bytes(5)
    model[2 * MIB + 1024 : 2 * MIB + 1536] = b"\x02" * 512
    assert folder.read("child") == model


@pytest.mark.parametrize("disk_format", FORMATS)
def test_a_child_may_be_larger_than_its_parent(disk_format: DiskFormat, folder: Folder) -> None:
    folder.base("base", 2 * MIB, disk_format=disk_format)
    _write(folder, "base", 0, b"\x01" * (2 * MIB))
    folder.child("child", "base", virtual_size=5 * MIB)
    assert folder.read("child") == b"\x01" * (2 * MIB) + bytes(3 * MIB)
    with pytest.raises(DiskParameterError, match="smaller"):
        folder.child("other", "base", virtual_size=MIB)


@pytest.mark.parametrize("sector", [512, 4096])
def test_chunks_have_sector_bitmaps_of_their_own(sector: int, libvhdi: "Libvhdi") -> None:
    """A chunk is 2^23 sectors: 4 GiB or 32 GiB."""
    chunk = sector << 23
    base, child = MemoryFile(), MemoryFile()
    create_dynamic(base, 3 * chunk, block_size=MIB, logical_sector_size=sector)
    with open_disk(base, writable=True) as disk:
        for number in (1, 2):
            disk.write(number * chunk - MIB, b"\x01" * (2 * MIB))
    create_differencing(child, base, relative_path="base", block_size=MIB)
    with open_disk(child, writable=True, parent_resolver=lambda _locator, _child: base) as disk:
        disk.write(chunk - sector, b"\x02" * (2 * sector))
        disk.write(2 * chunk + 5, b"\x03")
    expected = {}
    with open_disk(child, parent_resolver=lambda _locator, _child: base) as disk:
        for number in (1, 2):
            expected[number * chunk] = disk.read(number * chunk - 2 * MIB, 4 * MIB)
    model = bytearray(bytes(MIB) + b"\x01" * (2 * MIB) + bytes(MIB))
    second = bytes(model[: 2 * MIB + 5]) + b"\x03" + bytes(model[2 * MIB + 6 :])
    model[2 * MIB - sector : 2 * MIB + sector] = b"\x02" * (2 * sector)
    assert expected == {chunk: model, 2 * chunk: second}
    for at, content in expected.items():
        assert libvhdi.read([child, base], at - 2 * MIB, 4 * MIB) == content


def test_without_its_parent_a_disk_gives_what_it_has(folder: Folder) -> None:
    folder.base("base", 4 * MIB)
    child = folder.child("child", "base", block_size=MIB)
    with open_disk(child, writable=True) as disk:
        disk.write(0, b"\x05" * 512)
        assert disk.read(0, 512) == b"\x05" * 512
        with pytest.raises(ParentNotFoundError):
            disk.read(0, 513)
        with pytest.raises(ParentNotFoundError):
            disk.write(MIB, b"not a whole sector")
        with pytest.raises(ParentNotFoundError):
            list(disk.allocated_ranges())
    with pytest.raises(ParentNotFoundError):
        open_disk(child, parent_resolver=Folder().resolve)


@pytest.mark.parametrize("disk_format", FORMATS)
def test_another_parent_is_refused_unless_set(disk_format: DiskFormat, folder: Folder) -> None:
    folder.base("base", 2 * MIB, disk_format=disk_format)
    folder.base("other", 2 * MIB, disk_format=disk_format)
    _write(folder, "other", 0, b"other")
    child = folder.child("child", "base")
    linkage = read_info(child).linkage_id
    folder.files["base"] = folder.files["other"]
    with pytest.raises(ParentMismatchError):
        folder.open("child")
    with pytest.raises(ParentMismatchError):
        set_parent(child, folder.files["other"], relative_path="other")
    set_parent(
        child,
        folder.files["other"],
        relative_path="other",
        absolute_win32_path=r"\\?\C:\VMs\other",
        ignore_mismatch=True,
    )
    assert folder.read("child")[:5] == b"other"
    info = read_info(child)
    assert info.linkage_id == linkage, "children of the child still fit"
    assert info.parent is not None
    assert info.parent.relative_path == "other"
    assert info.parent.absolute_win32_path == r"\\?\C:\VMs\other"


def test_writing_to_a_vhdx_parent_breaks_the_link(folder: Folder) -> None:
    base = folder.base("base", 2 * MIB)
    folder.child("child", "base")
    with open_disk(base, writable=True) as disk:
        disk.write(0, b"x")
    with pytest.raises(ParentMismatchError, match="changed"):
        folder.open("child")


def test_parents_of_another_kind_are_refused(folder: Folder) -> None:
    folder.base("base", 4 * MIB)
    child = folder.child("child", "base")
    vhd = folder.base("vhd", 4 * MIB, disk_format=DiskFormat.VHD)
    with pytest.raises(VhdError):
        set_parent(child, vhd, relative_path="vhd", ignore_mismatch=True)
    sectors = MemoryFile()
    create_dynamic(sectors, 4 * MIB, logical_sector_size=4096)
    with pytest.raises(ParentMismatchError, match="sector"):
        set_parent(child, sectors, relative_path="x", ignore_mismatch=True)
    with pytest.raises(ParentMismatchError, match="no parent"):
        set_parent(folder.files["base"], child, relative_path="x", ignore_mismatch=True)


def test_a_loop_of_parents_ends(folder: Folder) -> None:
    folder.base("base", 2 * MIB)
    child = folder.child("child", "base")
    set_parent(child, child, relative_path="child", ignore_mismatch=True)
    with pytest.raises(VhdError, match="chain"):
        folder.open("child")


def test_long_paths_find_room_in_the_metadata(folder: Folder) -> None:
    base = folder.base("base", 2 * MIB)
    child = folder.child("child", "base")
    deep = "\\".join(["..", *["folder" * 20] * 200, "base"])
    for _ in range(3):
        set_parent(child, base, relative_path="base", absolute_win32_path="\\\\?\\C:\\" + deep)
        set_parent(child, base, relative_path="base", volume_path=deep)
    info = read_info(child)
    assert info.parent is not None
    assert info.parent.volume_path == deep
    assert info.parent.absolute_win32_path is None
    assert folder.read("child") == bytes(2 * MIB)


def test_locator_as_specified() -> None:
    locator = ParentLocator(
        linkage=uuid4(),
        linkage2=uuid4(),
        relative_path="..\\ünïcode\\parent.vhdx",
        volume_path="\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\parent.vhdx",
        absolute_win32_path="\\\\?\\d:\\path2\\parent.vhdx",
    )
    item = encode_locator(locator)
    assert decode_locator(item) == locator
    assert f"{{{locator.linkage}}}".encode("utf-16-le") in item
    assert locator.candidate_paths("d:\\sub\\child.vhdx") == [
        "d:\\ünïcode\\parent.vhdx",
        locator.volume_path,
        locator.absolute_win32_path,
    ]
    with pytest.raises(DiskParameterError):
        encode_locator(ParentLocator(linkage=uuid4()))


@given(item=st.binary(max_size=120), intact=st.booleans())
def test_fuzzed_locators(item: bytes, intact: bool) -> None:
    if intact:
        item = encode_locator(ParentLocator(linkage=uuid4(), relative_path="x"))[:16] + item
    with suppress(VhdError):
        decode_locator(item)


@pytest.mark.parametrize("destination", ["middle", "base"])
@pytest.mark.parametrize("disk_format", FORMATS)
def test_merge_into_the_parent_and_into_an_older_ancestor(
    destination: str, disk_format: DiskFormat, folder: Folder, qemu: "Qemu"
) -> None:
    folder.base("base", 6 * MIB, disk_format=disk_format)
    _write(folder, "base", 0, b"\x01" * (3 * MIB))
    folder.child("middle", "base", block_size=MIB)
    _write(folder, "middle", MIB + 512, b"\x02" * 1024)
    folder.child("leaf", "middle", block_size=2 * MIB)
    with folder.open("leaf", writable=True) as disk:
        disk.write(MIB + 1024, b"\x03" * 512)
        disk.write_zeroes(4 * MIB, 2 * MIB)
        disk.write_zeroes(2 * MIB, 4096)
    expected = folder.read("leaf")
    steps: list[tuple[int, int]] = []
    chain = ("leaf", "middle") if destination == "middle" else ("leaf", "middle", "base")
    merge(folder.chain(*chain), progress=lambda done, total: steps.append((done, total)))
    assert folder.read(destination) == expected
    assert steps[-1][0] == steps[-1][1] > 0
    if destination == "base":
        image_format = "vhdx" if disk_format is DiskFormat.VHDX else "vpc"
        qemu.assert_reads(folder.files["base"], expected, image_format)


def test_merge_checks_the_chain_first(folder: Folder) -> None:
    base = folder.base("base", 2 * MIB)
    folder.child("middle", "base")
    folder.child("leaf", "middle")
    before = base.content()
    with pytest.raises(ParentMismatchError):
        merge(folder.chain("leaf", "base"))
    with pytest.raises(DiskParameterError):
        merge(folder.chain("leaf"))
    assert base.content() == before


def test_merge_of_a_grown_child_grows_the_parent(folder: Folder, qemu: "Qemu") -> None:
    base = folder.base("base", 2 * MIB)
    _write(folder, "base", 0, b"\x01" * (2 * MIB))
    folder.child("child", "base", virtual_size=5 * MIB)
    _write(folder, "child", 4 * MIB, b"\x02")
    merge(folder.chain("child", "base"))
    qemu.assert_reads(base, b"\x01" * (2 * MIB) + bytes(2 * MIB) + b"\x02" + bytes(MIB - 1))


def test_merge_of_a_grown_vhd(folder: Folder, qemu: "Qemu") -> None:
    base = folder.base("base", 2 * MIB, disk_format=DiskFormat.VHD)
    _write(folder, "base", 0, b"\x01" * (2 * MIB))
    folder.child("child", "base", virtual_size=5 * MIB)
    _write(folder, "child", 4 * MIB, b"\x02")
    merge(folder.chain("child", "base"))
    model = b"\x01" * (2 * MIB) + bytes(2 * MIB) + b"\x02" + bytes(MIB - 1)
    qemu.assert_reads(base, model, "vpc")


def test_merge_of_the_middle_and_reconnecting_the_leaf(folder: Folder) -> None:
    """What the removal of a checkpoint in the middle of a chain does."""
    folder.base("base", 3 * MIB)
    _write(folder, "base", 0, b"\x01" * (2 * MIB))
    folder.child("middle", "base")
    _write(folder, "middle", 0, b"\x02" * MIB)
    folder.child("leaf", "middle")
    _write(folder, "leaf", 512, b"\x03" * 512)
    expected = folder.read("leaf")
    merge(folder.chain("middle", "base"))
    set_parent(
        folder.files["leaf"], folder.files["base"], relative_path="base", ignore_mismatch=True
    )
    assert folder.read("leaf") == expected


def test_user_metadata_of_the_virtual_disk_goes_with_forks(folder: Folder) -> None:
    base = folder.base("base", 2 * MIB)
    base.pwrite(2 * MIB + 10, b"\6\0")
    item = uuid4().bytes_le
    base.pwrite(2 * MIB + 32 * 6, item + b"\x00\x10\x01\x00\x05\x00\x00\x00\x03\x00\x00\x00")
    base.pwrite(2 * MIB + 0x11000, b"notes")
    child = folder.child("child", "base")
    table = child.pread(2 * MIB, 4096)
    assert item in table
    assert b"notes" in child.pread(2 * MIB + (64 << 10), 4096)
    base.pwrite(2 * MIB + 0x11000, b"NOTES")
    merge(folder.chain("child", "base"))
    region = base.pread(2 * MIB, MIB)
    at = region.index(item)
    offset = int.from_bytes(region[at + 16 : at + 20], "little")
    assert region[offset : offset + 5] == b"notes"
    assert read_info(base).disk_id == read_info(child).disk_id


@pytest.mark.parametrize("target", ["dynamic", "fixed"])
@pytest.mark.parametrize("disk_format", FORMATS)
def test_flatten(
    target: str, disk_format: DiskFormat, folder: Folder, qemu: "Qemu", libvhdi: "Libvhdi"
) -> None:
    folder.base("base", 5 * MIB + 512, create_fixed)
    _write(folder, "base", 3 * MIB, b"\x01" * MIB)
    folder.child("child", "base")
    _write(folder, "child", 5 * MIB, b"\x02" * 512)
    flat = MemoryFile()
    with folder.open("child") as disk:
        convert(
            disk,
            flat,
            disk_format=disk_format,
            disk_type=DiskType[target.upper()],
            block_size=MIB,
        )
        assert disk.info.disk_id != read_info(flat).disk_id
    expected = folder.read("child")
    info = read_info(flat)
    assert (info.format, info.type, info.parent) == (disk_format, DiskType[target.upper()], None)
    qemu.assert_reads(flat, expected, "vhdx" if disk_format is DiskFormat.VHDX else "vpc")
    assert libvhdi.read([flat]) == expected


def test_compact_gives_space_back_and_changes_nothing_else(
    folder: Folder, qemu: "Qemu", randomness: random.Random
) -> None:
    base = folder.base("base", 32 * MIB)
    model = bytearray(32 * MIB)
    with open_disk(base, writable=True) as disk:
        for block in range(20):
            model[block * MIB : (block + 1) * MIB] = randomness.randbytes(MIB)
        disk.write(0, model[: 20 * MIB])
        for block in (1, 2, 5, 6, 7, 11):
            disk.write(block * MIB, bytes(MIB))
            model[block * MIB : (block + 1) * MIB] = bytes(MIB)
        linkage = disk.info.linkage_id
        compact(disk)
        assert disk.read(0, 32 * MIB) == model
        assert disk.info.linkage_id == linkage
        assert base.size() == (4 + 14) * MIB
        disk.write(30 * MIB, b"still alive")
    model[30 * MIB : 30 * MIB + 11] = b"still alive"
    qemu.assert_reads(base, model)


@pytest.mark.parametrize("kind", ["dynamic", "differencing"])
def test_compact_of_a_vhd(kind: str, folder: Folder, qemu: "Qemu", libvhdi: "Libvhdi") -> None:
    block = 2 * MIB
    base = folder.base("base", 32 * MIB, disk_format=DiskFormat.VHD)
    folder.child("child", "base")
    name = "base" if kind == "dynamic" else "child"
    with folder.open(name, writable=True) as disk:
        for number in range(8):
            disk.write(number * block, bytes([number % 3 and number]) * block)
        disk.write(9 * block, b"last")
        expected = disk.read(0, 32 * MIB)
        size = folder.files[name].size()
        compact(disk)
        assert disk.read(0, 32 * MIB) == expected
        disk.write(10 * block, b"after")
    model = expected[: 10 * block] + b"after" + expected[10 * block + 5 :]
    assert folder.read(name) == model
    if kind == "dynamic":
        # Three blocks of zeros went, one came.
        assert base.size() == size - 2 * (block + 512)
        qemu.assert_reads(base, model, "vpc")
    else:
        assert libvhdi.read(folder.chain("child", "base")) == model


def test_compact_moves_a_bat_that_a_resize_put_last(folder: Folder) -> None:
    base = folder.base("base", 16 * MIB)
    with open_disk(base, writable=True) as disk:
        disk.write(0, b"\x01" * (8 * MIB))
        resize(disk, 200 << 30)
        disk.write(199 << 30, b"\x02")
        disk.write_zeroes(0, 6 * MIB)
        compact(disk)
        # Header, log, metadata, BAT (2 MiB), and three blocks; the hole of 1 MiB is the old BAT.
        assert base.size() <= 9 * MIB
        assert disk.read(6 * MIB, MIB) == b"\x01" * MIB
        assert disk.read(199 << 30, 2) == b"\x02\0"
    with open_disk(base) as disk:
        assert disk.read(7 * MIB, MIB) == b"\x01" * MIB


def test_compact_of_a_differencing_disk(folder: Folder) -> None:
    folder.base("base", 16 * MIB)
    _write(folder, "base", 0, b"\x01" * (16 * MIB))
    child = folder.child("child", "base", block_size=MIB)
    with folder.open("child", writable=True) as disk:
        disk.write(0, b"\x02" * 512)
        disk.write(2 * MIB, bytes(3 * MIB))
        disk.write(9 * MIB, b"\x03" * MIB)
        disk.write(0, b"\x02" * MIB)
        expected = disk.read(0, 16 * MIB)
        compact(disk)
        assert disk.read(0, 16 * MIB) == expected
    assert folder.read("child") == expected
    assert child.size() == (5 + 2) * MIB, "two blocks"


_write_step = st.tuples(
    st.sampled_from(["write", "write", "zero", "compact"]),
    st.integers(0, 4 * MIB - 1),
    st.sampled_from([1, 100, 512, 4096, 300_000, MIB, 2 * MIB]),
    st.booleans(),
)


@settings(max_examples=30, deadline=None)
@given(
    levels=st.lists(st.lists(_write_step, max_size=5), min_size=1, max_size=4),
    merge_from=st.integers(0, 3),
    merge_to=st.integers(0, 3),
    disk_format=st.sampled_from(FORMATS),
    fixed=st.booleans(),
)
def test_random_chains_and_merges(
    levels: list[list[tuple[str, int, int, bool]]],
    merge_from: int,
    merge_to: int,
    disk_format: DiskFormat,
    fixed: bool,
    libvhdi: "Libvhdi",
) -> None:
    size = 4 * MIB
    folder = Folder()
    model = bytearray(size)
    models = []
    for level, steps in enumerate(levels):
        name = str(level)
        if level:
            folder.child(name, str(level - 1))
        else:
            folder.base(name, size, create_fixed if fixed else create_dynamic, disk_format)
        with folder.open(name, writable=True) as disk:
            for number, (kind, offset, length, aligned) in enumerate(steps):
                offset -= offset % 512 if aligned else 0
                length = min(length, size - offset)
                if kind == "write":
                    data = bytes([16 * (level + 1) + number]) * length
                    disk.write(offset, data)
                    model[offset : offset + length] = data
                elif kind == "zero":
                    disk.write_zeroes(offset, length)
                    model[offset : offset + length] = bytes(length)
                else:
                    compact(disk)
            assert disk.read(0, size) == model
        models.append(bytes(model))
        assert folder.read(name) == model
    names = [str(level) for level in range(len(levels))]
    kinds = {step[0] for steps in levels[1:] for step in steps}
    if disk_format is DiskFormat.VHD or "zero" not in kinds:
        # libvhdi looks only at the sector bitmap where a block of a VHDX child is zero.
        assert libvhdi.read(folder.chain(*reversed(names))) == model
    high, low = max(merge_from, merge_to), min(merge_from, merge_to)
    if low < high < len(levels):
        merge(folder.chain(*reversed(names[low : high + 1])))
        assert folder.read(str(low)) == models[high]
