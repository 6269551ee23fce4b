"""Making a new VHDX ([MS-VHDX] 2.1 to 2.6). The layout is that of Hyper-V's own files.

Header section, log (1 MiB), metadata (1 MiB), BAT, then the blocks of a fixed disk: an empty
dynamic disk of up to 127 GiB in blocks of 1 MiB is a file of 4 MiB.
"""

from array import array
from sys import byteorder
from uuid import UUID, uuid4

from cloudstack_hyperv.vhd.errors import DiskParameterError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import MIB
from cloudstack_hyperv.vhd.vhdx.bat import (
    BITMAP_BLOCK_SIZE,
    ENTRY_SIZE,
    BatGeometry,
    BitmapState,
    PayloadState,
    bat_region_length,
    pack_entry,
)
from cloudstack_hyperv.vhd.vhdx.header import (
    HEADER_OFFSETS,
    HEADER_SECTION,
    NO_LOG,
    Header,
    encode_file_type_identifier,
)
from cloudstack_hyperv.vhd.vhdx.metadata import Metadata, check_geometry, encode_region
from cloudstack_hyperv.vhd.vhdx.regions import (
    BAT_REGION,
    METADATA_REGION,
    TABLE_OFFSETS,
    Region,
    RegionTable,
)

DEFAULT_BLOCK_SIZE = 32 * MIB
# What Hyper-V takes for differencing disks, so that a small write does not copy much.
DEFAULT_DIFFERENCING_BLOCK_SIZE = 2 * MIB
# What Microsoft advises for ext4 guests ("Best Practices for running Linux on Hyper-V").
LINUX_BLOCK_SIZE = MIB

_LOG_OFFSET = HEADER_SECTION
_LOG_LENGTH = MIB
_METADATA_OFFSET = _LOG_OFFSET + _LOG_LENGTH
_METADATA_LENGTH = MIB
_BAT_OFFSET = _METADATA_OFFSET + _METADATA_LENGTH
_SLICE_BLOCKS = 1 << 16


def write_new_vhdx(
    file: RandomAccessFile,
    metadata: Metadata,
    extra_items: tuple[tuple[UUID, int, bytes], ...] = (),
) -> None:
    """Fill an empty file with a VHDX that `metadata` describes; stable on return.

    `extra_items` are (item id, flags, content) of further metadata items. The header is written
    last, so that a file whose making was interrupted is not taken for a disk.
    """
    check_geometry(
        metadata.virtual_size,
        metadata.block_size,
        metadata.logical_sector_size,
        metadata.physical_sector_size,
        DiskParameterError,
    )
    if file.size():
        raise DiskParameterError("the file for a new disk is not empty")
    geometry = BatGeometry(metadata.virtual_size, metadata.block_size, metadata.logical_sector_size)
    bat_length = bat_region_length(geometry, has_parent=metadata.has_parent)
    end = _BAT_OFFSET + bat_length
    region = encode_region((*metadata.items(), *extra_items))
    if len(region) > _METADATA_LENGTH:
        raise DiskParameterError("the metadata does not fit into its region")
    is_fixed = metadata.leave_blocks_allocated and not metadata.has_parent
    if is_fixed:
        file.truncate(end + geometry.payload_blocks * metadata.block_size)
        _write_fixed_bat(file, geometry, end)
    elif metadata.has_parent:
        file.truncate(end + geometry.chunks * BITMAP_BLOCK_SIZE)
        _write_bitmap_entries(file, geometry, end)
    else:
        file.truncate(end)
    file.pwrite(_METADATA_OFFSET, region)
    table = RegionTable(
        (
            Region(BAT_REGION, _BAT_OFFSET, bat_length, required=True),
            Region(METADATA_REGION, _METADATA_OFFSET, _METADATA_LENGTH, required=True),
        )
    ).encode()
    for offset in TABLE_OFFSETS:
        file.pwrite(offset, table)
    file.pwrite(0, encode_file_type_identifier())
    file.flush()
    header = Header(
        sequence_number=1,
        file_write_guid=uuid4(),
        data_write_guid=uuid4(),
        log_guid=NO_LOG,
        log_offset=_LOG_OFFSET,
        log_length=_LOG_LENGTH,
    )
    file.pwrite(HEADER_OFFSETS[0], header.encode())
    file.pwrite(HEADER_OFFSETS[1], header.next().encode())
    file.flush()


def _write_fixed_bat(file: RandomAccessFile, geometry: BatGeometry, first_block: int) -> None:
    """Every block in its place, one after the other."""
    for start in range(0, geometry.payload_blocks, _SLICE_BLOCKS):
        stop = min(start + _SLICE_BLOCKS, geometry.payload_blocks)
        first = geometry.payload_entry(start)
        entries = array("Q", bytes(8 * (geometry.payload_entry(stop - 1) - first + 1)))
        for block in range(start, stop):
            entries[geometry.payload_entry(block) - first] = pack_entry(
                PayloadState.FULLY_PRESENT, first_block + block * geometry.block_size
            )
        if byteorder == "big":
            entries.byteswap()
        file.pwrite(_BAT_OFFSET + first * 8, entries.tobytes())


def _write_bitmap_entries(file: RandomAccessFile, geometry: BatGeometry, first_bitmap: int) -> None:
    """Give every chunk its sector bitmap block, all zeros, from the start.

    The format asks for one only when a block becomes partially present. But a chunk without is
    read from the wrong place by libvhdi (20260901), and a hole of 1 MiB in 4 GiB costs nothing.
    """
    for chunk in range(geometry.chunks):
        entry = pack_entry(BitmapState.PRESENT, first_bitmap + chunk * BITMAP_BLOCK_SIZE)
        at = _BAT_OFFSET + geometry.bitmap_entry(chunk) * ENTRY_SIZE
        file.pwrite(at, entry.to_bytes(ENTRY_SIZE, "little"))


def new_metadata(
    virtual_size: int,
    *,
    fixed: bool,
    block_size: int,
    logical_sector_size: int,
    physical_sector_size: int,
    disk_id: UUID | None,
) -> Metadata:
    """The parameters of a disk without parent."""
    return Metadata(
        block_size=block_size,
        leave_blocks_allocated=fixed,
        has_parent=False,
        virtual_size=virtual_size,
        disk_id=disk_id or uuid4(),
        logical_sector_size=logical_sector_size,
        physical_sector_size=physical_sector_size,
    )
