"""Making new disks in empty files."""

from uuid import UUID

from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.vhdx.create import DEFAULT_BLOCK_SIZE, new_metadata, write_new_vhdx


def create_dynamic(
    file: RandomAccessFile,
    virtual_size: int,
    *,
    block_size: int = DEFAULT_BLOCK_SIZE,
    logical_sector_size: int = 512,
    physical_sector_size: int = 4096,
    disk_id: UUID | None = None,
) -> None:
    """Make a disk that grows with what is written to it. Sizes are bytes."""
    metadata = new_metadata(
        virtual_size,
        fixed=False,
        block_size=block_size,
        logical_sector_size=logical_sector_size,
        physical_sector_size=physical_sector_size,
        disk_id=disk_id,
    )
    write_new_vhdx(file, metadata)


def create_fixed(
    file: RandomAccessFile,
    virtual_size: int,
    *,
    block_size: int = DEFAULT_BLOCK_SIZE,
    logical_sector_size: int = 512,
    physical_sector_size: int = 4096,
    disk_id: UUID | None = None,
) -> None:
    """Make a disk whose file has all of its size from the start (sparse where the system can)."""
    metadata = new_metadata(
        virtual_size,
        fixed=True,
        block_size=block_size,
        logical_sector_size=logical_sector_size,
        physical_sector_size=physical_sector_size,
        disk_id=disk_id,
    )
    write_new_vhdx(file, metadata)
