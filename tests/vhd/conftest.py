"""Shared by the tests of virtual disk files: QEMU as the judge, and disks in memory."""

import io
import itertools
import json
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import pyvhdi

from cloudstack_hyperv.vhd import MemoryFile, RandomAccessFile


class Qemu:
    """`qemu-img` and `qemu-io` on files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments, capture_output=True, text=True, check=False, cwd=self._folder
        )

    def path(self, suffix: str) -> Path:
        """A path that is not taken."""
        self._count += 1
        return self._folder / f"disk{self._count}.{suffix}"

    def img(self, *arguments: str) -> None:
        """A `qemu-img` command that must succeed."""
        result = self._run("qemu-img", *arguments)
        assert result.returncode == 0, result.stdout + result.stderr

    def io(self, path: Path, image_format: str, *commands: str) -> None:
        """`qemu-io` commands that must succeed."""
        flags = [flag for command in commands for flag in ("-c", command)]
        result = self._run("qemu-io", "-f", image_format, *flags, str(path))
        assert result.returncode == 0, result.stdout + result.stderr

    def assert_reads(
        self, disk: Path | RandomAccessFile, content: bytes | bytearray, image_format: str = "vhdx"
    ) -> None:
        """QEMU finds no error in the disk and reads `content` from it."""
        if not isinstance(disk, Path):
            path = self.path(image_format)
            path.write_bytes(disk.pread(0, disk.size()))
            disk = path
        raw = self.path("raw")
        raw.write_bytes(content)
        if image_format == "vhdx":
            check = self._run("qemu-img", "check", "-f", "vhdx", str(disk))
            assert check.returncode == 0, check.stdout + check.stderr
        result = self._run(
            "qemu-img", "compare", "-f", image_format, "-F", "raw", str(disk), str(raw)
        )
        # Comparison alone would accept a raw file that only continues with zeros.
        size = self._run("qemu-img", "info", "-f", image_format, "--output=json", str(disk))
        assert json.loads(size.stdout)["virtual-size"] == len(content)
        assert result.returncode == 0, result.stdout + result.stderr


class Libvhdi:
    """libvhdi, which reads chains of differencing disks."""

    @staticmethod
    def read(
        chain: Sequence[RandomAccessFile], offset: int = 0, length: int | None = None
    ) -> bytes:
        """Bytes, all by default, of the disk at the start of `chain`; its ancestors follow."""
        opened: list[pyvhdi.file] = []
        for disk in chain:
            opened.append(pyvhdi.file())
            opened[-1].open_file_object(io.BytesIO(disk.pread(0, disk.size())))
        for child, parent in itertools.pairwise(opened):
            assert parent.identifier == child.parent_identifier
            child.set_parent(parent)
        count = opened[0].get_media_size() if length is None else length
        content = opened[0].read_buffer_at_offset(count, offset)
        assert isinstance(content, bytes)
        return content


@pytest.fixture(scope="session")
def libvhdi() -> Libvhdi:
    return Libvhdi()


@pytest.fixture
def qemu(tmp_path: Path) -> Qemu:
    return Qemu(tmp_path)


@pytest.fixture
def file() -> MemoryFile:
    return MemoryFile()


@pytest.fixture
def randomness() -> random.Random:
    return random.Random(20_120_904)
