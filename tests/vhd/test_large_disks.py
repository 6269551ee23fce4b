"""Sizes at which a slow step or a forgotten bound would show."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cloudstack_hyperv.vhd import (
    DiskType,
    MemoryFile,
    OsFile,
    compact,
    convert,
    create_differencing,
    create_dynamic,
    merge,
    open_disk,
    resize,
)

if TYPE_CHECKING:
    from tests.vhd.conftest import Qemu

MIB = 1 << 20
GIB = 1 << 30


def test_the_largest_vhdx_in_the_smallest_blocks() -> None:
    file = MemoryFile()
    create_dynamic(file, 64 << 40, block_size=MIB)
    with open_disk(file, writable=True) as disk:
        disk.write((64 << 40) - 4, b"last")
    with open_disk(file) as disk:
        assert disk.read((64 << 40) - 5, 5) == b"\0last"
    assert file.size() < 530 * MIB


@pytest.mark.slow
def test_a_template_goes_through_everything(qemu: "Qemu", tmp_path: Path) -> None:
    """2.5 GiB with 128 MiB of data: copied, forked, written, merged, grown, compacted."""
    template, volume, child = (tmp_path / name for name in ("t.vhdx", "v.vhdx", "c.vhdx"))
    block = os.urandom(4 * MIB)
    with OsFile.create(template) as source, OsFile.create(volume) as target:
        create_dynamic(source, 2560 * MIB)
        with open_disk(source, writable=True) as disk:
            for number in range(32):
                disk.write(number * 80 * MIB, block)
        with open_disk(source) as disk:
            convert(disk, target, block_size=MIB)
        qemu.img("compare", "-f", "vhdx", "-F", "vhdx", str(template), str(volume))
        assert volume.stat().st_size < 140 * MIB
        with OsFile.create(child) as top:
            create_differencing(top, target, relative_path="v.vhdx")
            with open_disk(
                top, writable=True, parent_resolver=lambda _locator, _child: OsFile(volume)
            ) as disk:
                for number in range(500):
                    disk.write(number * 5_000_192 // 512 * 512, b"\x07" * 512)
                flat = tmp_path / "flat.vhdx"
                with OsFile.create(flat) as copy:
                    convert(disk, copy, disk_type=DiskType.FIXED)
            merge([top, target])
        qemu.img("check", "-f", "vhdx", str(volume))
        qemu.img("compare", "-f", "vhdx", "-F", "vhdx", str(volume), str(flat))
        with open_disk(target, writable=True) as disk:
            resize(disk, 300 * GIB)
            disk.write_zeroes(0, 1280 * MIB)
            size = target.size()
            compact(disk)
            assert target.size() < size * 3 // 4
            assert disk.read(80 * MIB * 31, 4 * MIB)[1 * MIB :] != bytes(3 * MIB)
        qemu.img("check", "-f", "vhdx", str(volume))
