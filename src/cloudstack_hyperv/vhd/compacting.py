"""Giving back file space that a disk does not need."""

from cloudstack_hyperv.vhd.disk import Disk, Progress
from cloudstack_hyperv.vhd.errors import UnsupportedDiskError
from cloudstack_hyperv.vhd.vhdx.compact import compact_vhdx
from cloudstack_hyperv.vhd.vhdx.disk import VhdxDisk


def compact(disk: Disk, *, progress: Progress | None = None) -> None:
    """Shrink the file of a VHDX opened for writing; what a guest reads stays the same.

    Blocks of zeros are given up, the others moved together, and the file is cut. A fixed disk
    keeps its blocks. Parents are neither needed nor touched.
    """
    if not isinstance(disk, VhdxDisk):
        raise UnsupportedDiskError("only a VHDX can be compacted")
    compact_vhdx(disk, progress)
