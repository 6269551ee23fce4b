"""The files under the disks: in memory, of the operating system, and overlaid."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.vhd import MemoryFile, OsFile, ReadOnlyDiskError
from cloudstack_hyperv.vhd.overlay import OverlayFile

PAGE = 4096


def test_memory_file_equals_os_file(tmp_path: Path) -> None:
    memory = MemoryFile()
    with OsFile.create(tmp_path / "file") as real:
        for file in (memory, real):
            file.pwrite(100_000, b"far")
            file.pwrite(65_530, b"across a chunk")
            file.truncate(100_001)
            file.truncate(200_000)
        assert memory.size() == real.size() == 200_000
        assert memory.content() == real.pread(0, 300_000)
        assert memory.pread(199_999, 10) == b"\0"
        assert memory.pread(200_000, 10) == b""


def test_os_file_refuses_an_existing_path_and_writing_when_read_only(tmp_path: Path) -> None:
    path = tmp_path / "file"
    OsFile.create(path).close()
    with pytest.raises(FileExistsError):
        OsFile.create(path)
    with OsFile(path) as file, pytest.raises(OSError, match="Bad file descriptor"):
        file.pwrite(0, b"x")


def test_holes_read_as_zeros_up_to_the_end(tmp_path: Path) -> None:
    size = 1 << 20
    with OsFile.create(tmp_path / "file") as file:
        file.truncate(size)
        file.pwrite(500_000, b"data")
        assert file.pread(0, 100_000) == bytes(100_000)
        assert file.pread(900_000, size) == bytes(size - 900_000)
        assert file.pread(450_000, 100_000)[50_000:50_004] == b"data"
        assert file.pread(2 * size, 100_000) == b""
        assert file.pread(0, size).count(0) == size - 4


def test_a_file_that_need_not_be_durable(tmp_path: Path) -> None:
    with OsFile.create(tmp_path / "file", durable=False) as file:
        file.pwrite(0, b"x")
        file.flush()
        assert file.pread(0, 2) == b"x"


def test_memory_file_of_a_huge_size_takes_no_memory() -> None:
    file = MemoryFile()
    file.truncate(1 << 50)
    file.pwrite((1 << 50) - 3, b"end")
    assert file.pread((1 << 50) - 4, 10) == b"\0end"


_change = st.one_of(
    st.tuples(st.just("page"), st.integers(0, 15), st.integers(1, 255)),
    st.tuples(st.just("zero"), st.integers(0, 15), st.integers(1, 6)),
    st.tuples(st.just("extend"), st.integers(0, 20), st.just(0)),
)


@given(changes=st.lists(_change, max_size=12), base_pages=st.integers(0, 12))
def test_overlay_equals_changes_in_place(
    changes: list[tuple[str, int, int]], base_pages: int
) -> None:
    base = MemoryFile(b"\xaa" * (base_pages * PAGE))
    view = OverlayFile(base)
    model = bytearray(base.content())
    for kind, page, value in changes:
        offset = page * PAGE
        if kind == "page":
            view.write_page(offset, bytes([value]) * PAGE)
            end = offset + PAGE
            new = bytes([value]) * PAGE
        elif kind == "zero":
            view.zero(offset, value * PAGE)
            end = offset + value * PAGE
            new = bytes(value * PAGE)
        else:
            view.extend(offset)
            end, new = offset, b""
        model.extend(bytes(max(0, end - len(model))))
        if new:
            model[offset:end] = new
    assert view.size() == len(model)
    assert view.pread(0, len(model) + 1) == model
    for start in range(0, len(model), 2500):
        assert view.pread(start, 5000) == model[start : start + 5000]
    with pytest.raises(ReadOnlyDiskError):
        view.pwrite(0, b"x")
    view.apply()
    assert base.content() == model
