"""Giving back file space that a disk does not need."""

from cloudstack_hyperv.vhd.disk import Disk, Progress
from cloudstack_hyperv.vhd.vhd1.compact import compact_vhd
from cloudstack_hyperv.vhd.vhd1.disk import VhdDisk
from cloudstack_hyperv.vhd.vhdx.compact import compact_vhdx
from cloudstack_hyperv.vhd.vhdx.disk import VhdxDisk


def compact(disk: Disk, *, progress: Progress | None = None) -> None:
    """Shrink the file of a disk opened for writing; what a guest reads stays the same.

    Blocks of zeros are given up, the others moved together, and the file is cut. A fixed disk
    keeps its blocks. Parents are neither needed nor touched.
    """
    if isinstance(disk, VhdDisk):
        compact_vhd(disk.require_writable(), progress)
    elif isinstance(disk, VhdxDisk):
        compact_vhdx(disk, progress)
