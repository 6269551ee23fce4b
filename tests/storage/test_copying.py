"""Copies of real VHDX files: content kept, holes kept, nothing half-made left behind."""

import asyncio
import dataclasses
import gzip
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.observe import CommandScope, command_scope
from cloudstack_hyperv.storage import copying
from cloudstack_hyperv.storage.content import Checksum, CopyRefused, SourceFile, data_runs
from cloudstack_hyperv.storage.copying import Copier
from cloudstack_hyperv.storage.decompression import BadArchive
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.host_files import (
    HostFileExists,
    HostFileNotFound,
    NoSpaceLeft,
    VolumeSpace,
)
from cloudstack_hyperv.storage.leftovers import TemporaryFiles
from cloudstack_hyperv.vhd import create_dynamic, open_disk
from cloudstack_hyperv.vhd.files import OsFile

MIB = 1 << 20
FINAL = "C:\\pool\\new.vhdx"


class Places:
    """A store S: and a host C:, both real folders."""

    def __init__(self, root: Path) -> None:
        self.store, self.pool = root / "store", root / "pool"
        self.store.mkdir()
        self.pool.mkdir()
        self.files = FolderFiles(
            [
                MountSettings(host_path="S:\\", folder=str(self.store)),
                MountSettings(host_path="C:\\pool", folder=str(self.pool)),
            ]
        )
        self.copier = Copier(self.files, TemporaryFiles("0123abcd"), asyncio.Semaphore(2))

    def source(self, name: str = "a.vhdx") -> SourceFile:
        return SourceFile(self.files, f"S:\\{name}")

    def in_pool(self) -> list[str]:
        return sorted(path.name for path in self.pool.iterdir())


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def make_disk(path: Path, *, size: int = 64 * MIB, content: bytes = b"CloudStack") -> None:
    with OsFile.create(path) as file:
        create_dynamic(file, size, block_size=MIB)
        with open_disk(file, writable=True) as disk:
            disk.write(5 * MIB, content.ljust(512, b"\0"))
            disk.write(size - 512, b"tail".ljust(512, b"\0"))


def assert_equal_disks(one: Path, other: Path) -> None:
    subprocess.run(["qemu-img", "compare", "-s", str(one), str(other)], check=True)


async def test_a_disk_is_copied_whole_and_its_holes_stay(places: Places) -> None:
    make_disk(places.store / "a.vhdx")
    with (places.store / "a.vhdx").open("r+b") as file:
        file.truncate(96 * MIB)
    scope = CommandScope("CopyCommand", "h")
    with command_scope(scope):
        info = await places.copier.copy_disk(places.source(), FINAL, what="template a")
    assert info.virtual_size == 64 * MIB
    assert places.in_pool() == ["new.vhdx"]
    copied = places.pool / "new.vhdx"
    assert copied.stat().st_size == 96 * MIB
    assert copied.stat().st_blocks * 512 < 16 * MIB
    assert hashlib.sha256(copied.read_bytes()).digest() == (
        hashlib.sha256((places.store / "a.vhdx").read_bytes()).digest()
    )
    assert scope.progress[-1] == ("template a", 1.0)


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
async def test_qemu_finds_the_copy_equal(places: Places) -> None:
    make_disk(places.store / "a.vhdx")
    await places.copier.copy_disk(places.source(), FINAL, what="template a")
    assert_equal_disks(places.store / "a.vhdx", places.pool / "new.vhdx")


@pytest.mark.parametrize("packing", ["gz", "bz2", "zip"])
async def test_a_packed_disk_is_unpacked_on_the_way(places: Places, packing: str) -> None:
    make_disk(places.store / "a.vhdx")
    plain = (places.store / "a.vhdx").read_bytes()
    command = {
        "gz": ["gzip", "-k", "a.vhdx"],
        "bz2": ["bzip2", "-k", "a.vhdx"],
        "zip": ["python3", "-m", "zipfile", "-c", "a.vhdx.zip", "a.vhdx"],
    }[packing]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    await asyncio.to_thread(subprocess.run, command, cwd=places.store, check=True)
    await places.copier.copy_disk(places.source(f"a.vhdx.{packing}"), FINAL, what="t")
    assert (places.pool / "new.vhdx").read_bytes() == plain
    assert places.in_pool() == ["new.vhdx"]


async def test_an_existing_file_is_not_overwritten(places: Places) -> None:
    make_disk(places.store / "a.vhdx")
    (places.pool / "NEW.vhdx").write_bytes(b"a volume")
    with pytest.raises(HostFileExists):
        await places.copier.copy_disk(places.source(), FINAL, what="t")
    assert (places.pool / "NEW.vhdx").read_bytes() == b"a volume"
    assert places.in_pool() == ["NEW.vhdx"]


async def test_a_missing_source_says_so(places: Places) -> None:
    with pytest.raises(HostFileNotFound, match="S:"):
        await places.copier.copy_disk(places.source(), FINAL, what="t")


async def test_what_is_no_disk_leaves_nothing(places: Places) -> None:
    (places.store / "a.vhdx").write_bytes(b"<html>404</html>" * 1000)
    (places.store / "b.vhdx.gz").write_bytes(gzip.compress(b"no disk" * 100000))
    (places.store / "c.vhdx.gz").write_bytes(gzip.compress(b"vhdxfile" * 100)[:-5])
    for name in ("a.vhdx", "b.vhdx.gz"):
        with pytest.raises(CopyRefused, match=r"vhdx: "):
            await places.copier.copy_disk(places.source(name), FINAL, what="t")
    with pytest.raises(BadArchive):
        await places.copier.copy_disk(places.source("c.vhdx.gz"), FINAL, what="t")
    assert places.in_pool() == []


async def test_the_checksum_of_the_file_is_compared(places: Places) -> None:
    make_disk(places.store / "a.vhdx")
    digest = hashlib.sha512((places.store / "a.vhdx").read_bytes()).hexdigest()
    right = Checksum.parse(f"{{SHA-512}}{digest.upper()}")
    wrong = Checksum.parse(f"{{SHA-512}}{'0' * 128}")
    assert right is not None
    with pytest.raises(CopyRefused, match="sha512"):
        await places.copier.copy_disk(places.source(), FINAL, what="t", checksum=wrong)
    assert places.in_pool() == []
    await places.copier.copy_disk(places.source(), FINAL, what="t", checksum=right)
    assert places.in_pool() == ["new.vhdx"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, None),
        ("", None),
        ("{SHA-256}4f1a8c9e", None),
        ("{CRC}00", None),
        ("zz" * 16, None),
        ("0CC175B9C0F1B6A831C399E269772661", ("md5", "0cc175b9c0f1b6a831c399e269772661")),
        ("{SHA-1}" + "ab" * 20, ("sha1", "ab" * 20)),
    ],
)
def test_checksums_in_cloudstacks_forms(text: str | None, wanted: tuple[str, str] | None) -> None:
    assert Checksum.parse(text) == (Checksum(*wanted) if wanted else None)


async def test_a_full_volume_is_noticed_before_the_copy(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_disk(places.store / "a.vhdx")

    async def nearly_full(_files: FolderFiles, _path: str) -> VolumeSpace:
        return VolumeSpace(1 << 40, 64 * MIB + 4096)

    monkeypatch.setattr(FolderFiles, "space", nearly_full)
    with pytest.raises(NoSpaceLeft, match="are needed"):
        await places.copier.copy_disk(places.source(), FINAL, what="t")
    (places.store / "bomb.vhdx.gz").write_bytes(gzip.compress(b"x" * 8 * MIB))
    with pytest.raises(NoSpaceLeft, match="more than fits"):
        await places.copier.copy_disk(places.source("bomb.vhdx.gz"), FINAL, what="t")
    assert places.in_pool() == []


async def test_a_cancelled_copy_leaves_nothing(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_disk(places.store / "a.vhdx")
    reading = asyncio.Event()

    async def slow(_files: FolderFiles, _path: str) -> AsyncIterator[tuple[int, int]]:
        yield 0, MIB
        if len(places.in_pool()) == 1:
            reading.set()
            await asyncio.sleep(60)

    monkeypatch.setattr(FolderFiles, "data_ranges", slow)
    task = asyncio.create_task(places.copier.copy_disk(places.source(), FINAL, what="t"))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert places.in_pool() == []


async def test_a_source_that_changes_under_the_copy_is_refused(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_disk(places.store / "a.vhdx")
    read = FolderFiles.read

    async def truncating(files: FolderFiles, path: str, offset: int, length: int) -> bytes:
        data = await read(files, path, offset, length)
        return data[:-1]

    monkeypatch.setattr(FolderFiles, "read", truncating)
    with pytest.raises(CopyRefused, match="shorter"):
        await places.copier.copy_disk(places.source(), FINAL, what="t")
    assert places.in_pool() == []


async def test_a_small_file_is_written_once(places: Places) -> None:
    await places.copier.write_file("C:\\pool\\template.properties", b"a=b\n")
    with pytest.raises(HostFileExists):
        await places.copier.write_file("C:\\pool\\template.properties", b"c=d\n")
    assert (places.pool / "template.properties").read_bytes() == b"a=b\n"
    assert places.in_pool() == ["template.properties"]


def test_zeros_are_left_out_in_steps() -> None:
    step = 64 << 10
    data = bytes(step) + b"x" * step + b"y" + bytes(step - 1) + bytes(step) + b"z"
    assert [(at, len(run)) for at, run in data_runs(data)] == [(step, 2 * step), (4 * step, 1)]
    assert list(data_runs(bytes(3 * step + 5))) == []


# Copies in a process of their own


@pytest.fixture
def bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small files be copied as large ones are."""
    monkeypatch.setattr(copying, "BULK_FROM", 1)


async def test_a_large_disk_is_copied_by_a_process_of_its_own(places: Places, bulk: None) -> None:
    make_disk(places.store / "a.vhdx")
    right = Checksum("sha256", hashlib.sha256((places.store / "a.vhdx").read_bytes()).hexdigest())
    scope = CommandScope("CopyCommand", "h")
    with command_scope(scope):
        await places.copier.copy_disk(places.source(), FINAL, what="template a", checksum=right)
    assert scope.progress[-1] == ("template a", 1.0)
    assert places.in_pool() == ["new.vhdx"]
    assert (places.pool / "new.vhdx").read_bytes() == (places.store / "a.vhdx").read_bytes()


async def test_a_large_disk_with_a_wrong_checksum_leaves_nothing(
    places: Places, bulk: None
) -> None:
    make_disk(places.store / "a.vhdx")
    wrong = Checksum("sha256", "0" * 64)
    with pytest.raises(CopyRefused, match="checksum"):
        await places.copier.copy_disk(places.source(), FINAL, what="a", checksum=wrong)
    assert places.in_pool() == []


async def test_a_large_copy_that_is_cancelled_leaves_nothing(places: Places, bulk: None) -> None:
    make_disk(places.store / "a.vhdx", content=os.urandom(16 * MIB))
    slow = dataclasses.replace(places.copier, rate=float(MIB))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await slow.copy_disk(places.source(), FINAL, what="a")
    assert places.in_pool() == []
