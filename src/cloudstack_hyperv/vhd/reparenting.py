"""Telling a differencing disk where its parent is now, or which disk that is."""

from dataclasses import replace

from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskFormat, ParentLocator
from cloudstack_hyperv.vhd.opening import check_parent, open_alone, read_info
from cloudstack_hyperv.vhd.vhd1.create import change_parent
from cloudstack_hyperv.vhd.vhd1.disk import VhdDisk
from cloudstack_hyperv.vhd.vhdx.disk import VhdxDisk
from cloudstack_hyperv.vhd.vhdx.items import change_items
from cloudstack_hyperv.vhd.vhdx.metadata import PARENT_LOCATOR


def set_parent(
    child: RandomAccessFile,
    parent: RandomAccessFile,
    *,
    relative_path: str | None = None,
    volume_path: str | None = None,
    absolute_win32_path: str | None = None,
    ignore_mismatch: bool = False,
    disk_format: DiskFormat | None = None,
) -> None:
    """Replace the parent locator of `child` (open for writing); stable on return.

    The paths given replace all that were there. A parent that is not the one the child was made
    from raises `ParentMismatchError`, unless the caller vouches with `ignore_mismatch` that its
    content is the same, as after a merge. The child's own identity stays, so that its children
    still fit.
    """
    info = read_info(parent, disk_format=disk_format)
    with open_alone(child, info.format, writable=True) as disk:
        check_parent(disk.info, info, ignore_mismatch=ignore_mismatch)
        locator = ParentLocator(
            linkage=info.linkage_id,
            relative_path=relative_path,
            volume_path=volume_path,
            absolute_win32_path=absolute_win32_path,
        )
        if isinstance(disk, VhdDisk):
            change_parent(disk.require_writable(), locator)
        elif isinstance(disk, VhdxDisk):
            image = disk.require_writable()
            items = replace(image.metadata, parent=locator).items()
            image.begin(data=False)
            change_items(image, [item for item in items if item[0] == PARENT_LOCATOR])
