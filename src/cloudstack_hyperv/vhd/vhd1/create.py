"""Making a new VHD, and changing the size of one."""

import ntpath
from dataclasses import replace
from uuid import UUID, uuid4

from cloudstack_hyperv.vhd.errors import (
    DiskParameterError,
    ParentMismatchError,
    UnsupportedDiskError,
)
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import DiskType, ParentLocator
from cloudstack_hyperv.vhd.vhd1 import dynamic_header
from cloudstack_hyperv.vhd.vhd1.dynamic_header import (
    DynamicHeader,
    check_block_size,
    place_locators,
)
from cloudstack_hyperv.vhd.vhd1.footer import SECTOR, SIZE, Footer, check_size
from cloudstack_hyperv.vhd.vhd1.image import VhdImage

_TABLE_OFFSET = SIZE + dynamic_header.SIZE


def _table_length(entries: int) -> int:
    return -(-entries * 4 // SECTOR) * SECTOR


def write_fixed_vhd(file: RandomAccessFile, virtual_size: int, disk_id: UUID | None) -> None:
    """Fill an empty file with a fixed disk; stable on return."""
    _check_empty(file)
    check_size(virtual_size)
    file.truncate(virtual_size + SIZE)
    footer = Footer(DiskType.FIXED, virtual_size, virtual_size, disk_id or uuid4())
    file.pwrite(virtual_size, footer.encode())
    file.flush()


def write_dynamic_vhd(
    file: RandomAccessFile,
    virtual_size: int,
    block_size: int,
    disk_id: UUID | None,
    parent: ParentLocator | None = None,
    parent_timestamp: int = 0,
) -> None:
    """Fill an empty file with a dynamic or differencing disk; stable on return."""
    _check_empty(file)
    check_size(virtual_size)
    check_block_size(block_size)
    entries = -(-virtual_size // block_size)
    end = _TABLE_OFFSET + _table_length(entries)
    header = DynamicHeader(_TABLE_OFFSET, entries, block_size)
    paths = b""
    if parent is not None:
        locators, paths = place_locators(parent, end)
        header = replace(
            header,
            parent_id=parent.linkage,
            parent_timestamp=parent_timestamp,
            parent_name=_file_name(parent),
            locators=locators,
        )
    footer = Footer(
        DiskType.DYNAMIC if parent is None else DiskType.DIFFERENCING,
        virtual_size,
        virtual_size,
        disk_id or uuid4(),
        data_offset=SIZE,
    ).encode()
    file.pwrite(SIZE, header.encode())
    file.pwrite(_TABLE_OFFSET, b"\xff" * _table_length(entries))
    file.pwrite(end, paths + footer)
    file.pwrite(0, footer)
    file.flush()


def change_parent(image: VhdImage, locator: ParentLocator) -> None:
    """Point an open differencing disk to another parent; stable on return.

    The paths are written behind the last block; the old ones are left where they are.
    """
    if image.header is None or not image.has_parent:
        raise ParentMismatchError("the disk has no parent")
    image.flush()
    end = image.end_of_blocks()
    locators, paths = place_locators(locator, end)
    header = replace(
        image.header,
        parent_id=locator.linkage,
        parent_name=_file_name(locator),
        locators=locators,
    )
    image.file.pwrite(end, paths + image.footer.encode())
    image.file.flush()
    image.file.pwrite(image.footer.data_offset or SIZE, header.encode())
    image.file.flush()
    image.header = header


def _file_name(locator: ParentLocator) -> str:
    return ntpath.basename(locator.relative_path or locator.absolute_win32_path or "")


def _check_empty(file: RandomAccessFile) -> None:
    if file.size():
        raise DiskParameterError("the file for a new disk is not empty")


def grow_vhd(image: VhdImage, virtual_size: int) -> None:
    """Give an open VHD a greater size; stable on return.

    The table of a dynamic disk that is too short is written anew where the footer was.
    """
    check_size(virtual_size)
    if image.has_parent or virtual_size < image.footer.current_size:
        raise UnsupportedDiskError("a VHD can only grow, and only without parent")
    image.flush()
    old_end = image.end_of_blocks()
    footer = replace(image.footer, current_size=virtual_size)
    header = image.header
    if header is None:
        image.file.truncate(virtual_size + SIZE)
        image.file.pwrite(virtual_size, footer.encode())
        image.file.flush()
        image.file.pwrite(old_end, bytes(min(SIZE, virtual_size - old_end)))
        image.footer = footer
        image.file.flush()
        return
    entries = -(-virtual_size // header.block_size)
    if entries > header.max_table_entries:
        table = image.table_bytes().ljust(_table_length(entries), b"\xff")
        header = replace(header, table_offset=old_end, max_table_entries=entries)
        image.file.pwrite(old_end, table + image.footer.encode())
        image.file.flush()
        image.file.pwrite(image.footer.data_offset or SIZE, header.encode())
    image.file.flush()
    image.file.pwrite(0, footer.encode())
    image.file.pwrite(image.end_of_blocks(), footer.encode())
    image.replace_table(header, footer)
    image.file.flush()
