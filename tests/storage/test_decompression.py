"""Unpacking while reading: any split of the input, damaged and hostile files."""

import bz2
import gzip
import io
import random
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.storage.decompression import (
    PIECE,
    BadArchive,
    Decompressor,
    decompressor_for,
)


def zipped(content: bytes, *, method: int = zipfile.ZIP_DEFLATED, streamed: bool = False) -> bytes:
    class Unseekable(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            return buffer.write(bytes(memoryview(data)))  # type: ignore[arg-type] # any buffer

    buffer = io.BytesIO()
    with zipfile.ZipFile(Unseekable() if streamed else buffer, "w", method) as archive:
        archive.writestr("disk.vhdx", content)
    return buffer.getvalue()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("a.vhdx.gz", gzip.compress),
    "bzip2": ("a.VHDX.BZ2", bz2.compress),
    "zip": ("a.zip", zipped),
    "zip streamed": ("a.zip", lambda content: zipped(content, streamed=True)),
    "zip stored": ("a.zip", lambda content: zipped(content, method=zipfile.ZIP_STORED)),
}


def unpack(decompressor: Decompressor, data: bytes, step: int) -> bytes:
    pieces = []
    for start in range(0, len(data), step):
        for piece in decompressor.feed(data[start : start + step]):
            assert 0 < len(piece) <= max(PIECE, step)
            pieces.append(piece)
    decompressor.finish()
    return b"".join(pieces)


def new(name: str) -> Decompressor:
    found = decompressor_for(name)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", PACKERS)
@given(content=st.binary(max_size=2000), step=st.integers(1, 700))
def test_any_split_of_the_input_gives_the_content(kind: str, content: bytes, step: int) -> None:
    name, pack = PACKERS[kind]
    assert unpack(new(name), pack(content), step) == content


@pytest.mark.parametrize("kind", PACKERS)
def test_a_large_content_comes_in_bounded_pieces(kind: str) -> None:
    name, pack = PACKERS[kind]
    content = random.Random(1).randbytes(PIECE) + bytes(5 * PIECE) + b"end"
    assert unpack(new(name), pack(content), 1 << 16) == content


@pytest.mark.parametrize("kind", PACKERS)
@given(data=st.data())
def test_a_file_that_is_cut_off_is_refused(kind: str, data: st.DataObject) -> None:
    name, pack = PACKERS[kind]
    packed = pack(random.Random(2).randbytes(500))
    keep = data.draw(st.integers(0, 500))
    with pytest.raises(BadArchive):
        unpack(new(name), packed[:keep], 100)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_damaged_file_is_refused(kind: str) -> None:
    name, pack = PACKERS[kind]
    packed = bytearray(pack(random.Random(3).randbytes(500)))
    packed[300] ^= 0xFF
    with pytest.raises(BadArchive):
        unpack(new(name), bytes(packed), 100)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_disk_with_the_wrong_name_is_refused(kind: str) -> None:
    with pytest.raises(BadArchive, match="begin"):
        unpack(new(PACKERS[kind][0]), b"vhdxfile" + bytes(100), 50)


@pytest.mark.parametrize("kind", ["gzip", "bzip2"])
def test_members_one_after_the_other_are_one_file(kind: str) -> None:
    name, pack = PACKERS[kind]
    assert unpack(new(name), pack(b"one") + pack(b"two") + bytes(20), 7) == b"onetwo"


def test_a_zip_with_two_files_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.vhdx", b"a" * 100)
        archive.writestr("b.vhdx", b"b" * 100)
    with pytest.raises(BadArchive, match="more than one"):
        unpack(new("a.zip"), buffer.getvalue(), 50)


def test_an_encrypted_zip_is_refused() -> None:
    packed = bytearray(zipped(b"x" * 100))
    packed[6] |= 1
    with pytest.raises(BadArchive, match="encrypted"):
        unpack(new("a.zip"), bytes(packed), 50)


def test_a_disk_is_not_unpacked() -> None:
    assert decompressor_for("a.vhdx") is None
    assert decompressor_for("gz") is None
