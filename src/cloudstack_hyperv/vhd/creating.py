"""Making new disks in empty files. Sizes are bytes; every function is stable on return."""

from uuid import UUID

from cloudstack_hyperv.vhd.errors import DiskParameterError, ParentMismatchError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskFormat, ParentLocator
from cloudstack_hyperv.vhd.opening import open_alone, read_info
from cloudstack_hyperv.vhd.vhd1 import dynamic_header
from cloudstack_hyperv.vhd.vhd1.create import write_dynamic_vhd, write_fixed_vhd
from cloudstack_hyperv.vhd.vhd1.footer import SECTOR, read_footer
from cloudstack_hyperv.vhd.vhdx.create import (
    DEFAULT_BLOCK_SIZE,
    DEFAULT_DIFFERENCING_BLOCK_SIZE,
    new_metadata,
    write_new_vhdx,
)
from cloudstack_hyperv.vhd.vhdx.disk import VhdxDisk
from cloudstack_hyperv.vhd.vhdx.items import virtual_disk_items
from cloudstack_hyperv.vhd.vhdx.metadata import Metadata


def create_dynamic(
    file: RandomAccessFile,
    virtual_size: int,
    *,
    disk_format: DiskFormat = DiskFormat.VHDX,
    block_size: int | None = None,
    logical_sector_size: int = 512,
    physical_sector_size: int = 4096,
    disk_id: UUID | None = None,
) -> None:
    """Make a disk that grows with what is written to it.

    The default block size is that of Hyper-V: 32 MiB for VHDX, 2 MiB for VHD. The physical sector
    size has no meaning in a VHD, whose sectors are 512 bytes.
    """
    if disk_format is DiskFormat.VHD:
        _check_vhd_sector(logical_sector_size)
        size = block_size or dynamic_header.DEFAULT_BLOCK_SIZE
        write_dynamic_vhd(file, virtual_size, size, disk_id)
        return
    metadata = new_metadata(
        virtual_size,
        fixed=False,
        block_size=block_size or DEFAULT_BLOCK_SIZE,
        logical_sector_size=logical_sector_size,
        physical_sector_size=physical_sector_size,
        disk_id=disk_id,
    )
    write_new_vhdx(file, metadata)


def create_fixed(
    file: RandomAccessFile,
    virtual_size: int,
    *,
    disk_format: DiskFormat = DiskFormat.VHDX,
    block_size: int | None = None,
    logical_sector_size: int = 512,
    physical_sector_size: int = 4096,
    disk_id: UUID | None = None,
) -> None:
    """Make a disk whose file has all of its size from the start (sparse where the system can).

    A fixed VHD has no blocks.
    """
    if disk_format is DiskFormat.VHD:
        _check_vhd_sector(logical_sector_size)
        write_fixed_vhd(file, virtual_size, disk_id)
        return
    metadata = new_metadata(
        virtual_size,
        fixed=True,
        block_size=block_size or DEFAULT_BLOCK_SIZE,
        logical_sector_size=logical_sector_size,
        physical_sector_size=physical_sector_size,
        disk_id=disk_id,
    )
    write_new_vhdx(file, metadata)


def _check_vhd_sector(logical_sector_size: int) -> None:
    if logical_sector_size != SECTOR:
        raise DiskParameterError("the sectors of a VHD have 512 bytes")


def create_differencing(
    file: RandomAccessFile,
    parent: RandomAccessFile,
    *,
    relative_path: str | None = None,
    volume_path: str | None = None,
    absolute_win32_path: str | None = None,
    block_size: int | None = None,
    virtual_size: int | None = None,
    disk_format: DiskFormat | None = None,
) -> None:
    """Make a child of the disk in `parent`, which must not change from now on.

    At least one Windows path by which the child will find its parent is needed; see
    `ParentLocator`. Format and sector sizes are the parent's; the size too, unless a greater
    `virtual_size` is asked for. `disk_format` names the parent's format where that is known, see
    `open_disk`.
    """
    info = read_info(parent, disk_format=disk_format)
    size = virtual_size or info.virtual_size
    if size < info.virtual_size:
        raise DiskParameterError("a child cannot be smaller than its parent")
    locator = ParentLocator(
        linkage=info.linkage_id,
        relative_path=relative_path,
        volume_path=volume_path,
        absolute_win32_path=absolute_win32_path,
    )
    if info.format is DiskFormat.VHD:
        write_dynamic_vhd(
            file,
            size,
            block_size or info.block_size or dynamic_header.DEFAULT_BLOCK_SIZE,
            None,
            locator,
            read_footer(parent).timestamp,
        )
        return
    metadata = Metadata(
        block_size=block_size or DEFAULT_DIFFERENCING_BLOCK_SIZE,
        leave_blocks_allocated=False,
        has_parent=True,
        virtual_size=size,
        disk_id=info.disk_id,
        logical_sector_size=info.logical_sector_size,
        physical_sector_size=info.physical_sector_size,
        parent=locator,
    )
    with open_alone(parent, info.format, writable=False) as disk:
        if not isinstance(disk, VhdxDisk):
            raise ParentMismatchError("the parent is not a VHDX")
        write_new_vhdx(file, metadata, tuple(virtual_disk_items(disk.image)))
