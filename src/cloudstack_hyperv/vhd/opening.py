"""Opening virtual disk files: which format, and the chain of parents behind a differencing disk."""

from typing import Protocol

from cloudstack_hyperv.vhd.disk import Disk
from cloudstack_hyperv.vhd.errors import NotADiskError, ParentMismatchError, VhdError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskFormat, DiskInfo, ParentLocator
from cloudstack_hyperv.vhd.vhd1.disk import VhdDisk
from cloudstack_hyperv.vhd.vhd1.footer import COOKIE, SIZE
from cloudstack_hyperv.vhd.vhd1.image import read_vhd_info
from cloudstack_hyperv.vhd.vhdx.disk import VhdxDisk
from cloudstack_hyperv.vhd.vhdx.header import SIGNATURE
from cloudstack_hyperv.vhd.vhdx.image import read_vhdx_info

# Hyper-V allows 50 checkpoints a VM; a longer chain is a loop or an attack.
MAX_CHAIN = 128

_EXTENSIONS = {
    "vhd": DiskFormat.VHD,
    "avhd": DiskFormat.VHD,
    "vhdx": DiskFormat.VHDX,
    "avhdx": DiskFormat.VHDX,
}


class ParentResolver(Protocol):
    """Finds the file that a differencing disk names as its parent."""

    def __call__(self, locator: ParentLocator, child: RandomAccessFile, /) -> RandomAccessFile:
        """The parent's file, open for reading; raises `ParentNotFoundError` if there is none.

        `child` is the file that `locator` was read from: either the one given to `open_disk`, or
        one that this resolver returned before; relative paths are relative to it. The chain
        closes the files it is given.
        """
        ...


def format_of_name(name: str) -> DiskFormat | None:
    """The format that Windows takes a file name for, or None if it is no virtual disk's."""
    extension = name[name.rfind(".") + 1 :].lower() if "." in name else ""
    return _EXTENSIONS.get(extension)


def detect_format(file: RandomAccessFile) -> DiskFormat:
    """The format by the signature; raises `NotADiskError` if there is none."""
    start = file.pread(0, len(SIGNATURE))
    if start == SIGNATURE:
        return DiskFormat.VHDX
    size = file.size()
    if start == COOKIE or (size > SIZE and file.pread(size - SIZE, len(COOKIE)) == COOKIE):
        return DiskFormat.VHD
    raise NotADiskError("the file is neither a VHDX nor a VHD")


def read_info(file: RandomAccessFile, *, disk_format: DiskFormat | None = None) -> DiskInfo:
    """A disk's own description from few small reads, which suits files across a network.

    Neither the block table nor the parent is looked at. For `disk_format` see `open_disk`.
    """
    if (disk_format or detect_format(file)) is DiskFormat.VHDX:
        return read_vhdx_info(file)
    return read_vhd_info(file)


def open_alone(
    file: RandomAccessFile, disk_format: DiskFormat | None = None, *, writable: bool
) -> Disk:
    """One disk without its ancestors."""
    if (disk_format or detect_format(file)) is DiskFormat.VHDX:
        return VhdxDisk(file, writable=writable)
    return VhdDisk(file, writable=writable)


def check_parent(child: DiskInfo, parent: DiskInfo, *, ignore_mismatch: bool = False) -> None:
    """Raise `ParentMismatchError` where `parent` is not what `child` was made from.

    `ignore_mismatch` leaves out the identity, not what makes a chain impossible.
    """
    if child.parent is None:
        raise ParentMismatchError("the disk has no parent")
    if child.format is not parent.format:
        raise ParentMismatchError("a differencing disk and its parent are of one format")
    if child.logical_sector_size != parent.logical_sector_size:
        raise ParentMismatchError("the parent has another logical sector size")
    if not ignore_mismatch and parent.linkage_id not in {
        child.parent.linkage,
        child.parent.linkage2,
    }:
        raise ParentMismatchError("the parent was changed, or is not the parent, of this disk")


def open_disk(
    file: RandomAccessFile,
    *,
    writable: bool = False,
    disk_format: DiskFormat | None = None,
    parent_resolver: ParentResolver | None = None,
) -> Disk:
    """Open and validate a virtual disk; with a resolver also the chain of its parents.

    Only the disk itself is ever writable. Raises a subclass of `VhdError` for whatever is wrong
    with a file of the chain. The caller keeps `file` and closes it after the disk.

    Give `disk_format` (see `format_of_name`) for every file that a guest could write to: without
    it the signature decides, and the first bytes of a fixed VHD are the guest's, who could let
    them look like a VHDX with a parent of his choice.
    """
    disk = open_alone(file, disk_format, writable=writable)
    try:
        _open_parents(disk, file, parent_resolver)
    except BaseException:
        disk.close()
        raise
    return disk


def _open_parents(disk: Disk, file: RandomAccessFile, resolver: ParentResolver | None) -> None:
    child, child_file, depth = disk, file, 0
    while resolver is not None and (locator := child.info.parent) is not None:
        depth += 1
        if depth > MAX_CHAIN:
            raise VhdError(f"a chain of more than {MAX_CHAIN} disks")
        parent_file = resolver(locator, child_file)
        try:
            parent = open_alone(parent_file, child.info.format, writable=False)
        except BaseException:
            parent_file.close()
            raise
        parent.owns_file = True
        child.parent = parent
        check_parent(child.info, parent.info)
        child, child_file = parent, parent_file
