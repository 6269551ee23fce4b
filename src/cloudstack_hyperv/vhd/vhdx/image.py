"""A VHDX file opened as a container: validated structures, BAT entries, space, and commits.

`VhdxImage` knows where blocks lie; what a guest reads and writes is the business of
`cloudstack_hyperv.vhd.vhdx.disk`.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from sys import byteorder

from cloudstack_hyperv.vhd.errors import (
    CorruptDiskError,
    NotADiskError,
    ReadOnlyDiskError,
)
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import MIB, DiskFormat, DiskInfo, DiskType
from cloudstack_hyperv.vhd.vhdx.bat import (
    BITMAP_BLOCK_SIZE,
    ENTRY_SIZE,
    PLACED_STATES,
    BatGeometry,
    BitmapState,
    PayloadState,
    entry_offset,
    entry_reserved,
    entry_state,
    pack_entry,
)
from cloudstack_hyperv.vhd.vhdx.header import (
    HEADER_SECTION,
    NO_LOG,
    SIGNATURE,
    Header,
    read_header,
)
from cloudstack_hyperv.vhd.vhdx.log import replayed
from cloudstack_hyperv.vhd.vhdx.metadata import (
    Metadata,
    MetadataTable,
    read_metadata,
    read_metadata_table,
)
from cloudstack_hyperv.vhd.vhdx.pages import MetadataPages
from cloudstack_hyperv.vhd.vhdx.regions import RegionTable, read_region_table
from cloudstack_hyperv.vhd.vhdx.session import WriteSession
from cloudstack_hyperv.vhd.vhdx.space import SpaceMap

_SCAN_SLICE = MIB
_PAYLOAD_STATES = frozenset(PayloadState)
_ZERO_SLICE = bytes(_SCAN_SLICE)
# More than one block operation ever touches: two BAT pages, and the bits of the largest block.
_PAGES_PER_OPERATION = 24


@dataclass(frozen=True, slots=True)
class Description:
    """Everything but the BAT: what the header section and the metadata region say."""

    header: Header
    slot: int
    regions: RegionTable
    table: MetadataTable
    metadata: Metadata

    @property
    def disk_type(self) -> DiskType:
        """Fixed, dynamic or differencing."""
        if self.metadata.has_parent:
            return DiskType.DIFFERENCING
        return DiskType.FIXED if self.metadata.leave_blocks_allocated else DiskType.DYNAMIC

    def info(self, file_size: int, *, is_log_dirty: bool) -> DiskInfo:
        """The same in the terms shared with other formats."""
        return DiskInfo(
            format=DiskFormat.VHDX,
            type=self.disk_type,
            virtual_size=self.metadata.virtual_size,
            block_size=self.metadata.block_size,
            logical_sector_size=self.metadata.logical_sector_size,
            physical_sector_size=self.metadata.physical_sector_size,
            disk_id=self.metadata.disk_id,
            linkage_id=self.header.data_write_guid,
            parent=self.metadata.parent,
            file_size=file_size,
            is_log_dirty=is_log_dirty,
        )


def describe(file: RandomAccessFile, header: Header, slot: int) -> Description:
    """Read regions and metadata of a file whose log is empty or replayed."""
    regions = read_region_table(file)
    table = read_metadata_table(file, regions.metadata)
    return Description(header, slot, regions, table, read_metadata(file, regions.metadata, table))


def read_vhdx_info(file: RandomAccessFile) -> DiskInfo:
    """The description of a VHDX from about seven reads; its BAT is not looked at."""
    header, slot = _identify(file)
    is_log_dirty = header.log_guid != NO_LOG
    view: RandomAccessFile = replayed(file, header) if is_log_dirty else file
    return describe(view, header, slot).info(file.size(), is_log_dirty=is_log_dirty)


def _identify(file: RandomAccessFile) -> tuple[Header, int]:
    if file.pread(0, len(SIGNATURE)) != SIGNATURE:
        raise NotADiskError("the file has no VHDX signature")
    return read_header(file)


def _entries(data: bytes) -> "array[int]":
    entries = array("Q", data)
    if byteorder == "big":
        entries.byteswap()
    return entries


class VhdxImage:
    """An open VHDX. The file stays the caller's; `finish` ends a session of changes."""

    def __init__(self, file: RandomAccessFile, *, writable: bool) -> None:
        header, slot = _identify(file)
        self.session = WriteSession(file, header, slot) if writable else None
        self.was_log_dirty = header.log_guid != NO_LOG
        view = replayed(file, header) if self.was_log_dirty else None
        self.file: RandomAccessFile = file if view is None else view
        self.description = describe(self.file, header, slot)
        metadata = self.description.metadata
        self.geometry = BatGeometry(
            metadata.virtual_size, metadata.block_size, metadata.logical_sector_size
        )
        self.pages = MetadataPages(self.file, self.session)
        self.space = self._validated_space()
        if view is not None and self.session is not None:
            # Only now, so that a log that makes no valid disk is not let loose on the file.
            self.session.begin(data=False)
            view.apply()
            self.session.mark_replayed()
            self.file = file
            self.pages = MetadataPages(file, self.session)

    @property
    def header(self) -> Header:
        """The current header."""
        return self.description.header if self.session is None else self.session.header

    @property
    def metadata(self) -> Metadata:
        """The disk's parameters."""
        return self.description.metadata

    def info(self) -> DiskInfo:
        """The disk's description as it is now."""
        info = self.description.info(self.file.size(), is_log_dirty=False)
        return DiskInfo(
            format=info.format,
            type=info.type,
            virtual_size=info.virtual_size,
            block_size=info.block_size,
            logical_sector_size=info.logical_sector_size,
            physical_sector_size=info.physical_sector_size,
            disk_id=info.disk_id,
            linkage_id=self.header.data_write_guid,
            parent=info.parent,
            file_size=info.file_size,
            is_log_dirty=self.was_log_dirty and self.session is None,
        )

    # --- the BAT ---------------------------------------------------------------------------

    def _entry_at(self, index: int) -> int:
        return self.description.regions.bat.offset + index * ENTRY_SIZE

    def payload_entry(self, block: int) -> int:
        """The BAT entry of a payload block."""
        return self.pages.read_u64(self._entry_at(self.geometry.payload_entry(block)))

    def bitmap_entry(self, chunk: int) -> int:
        """The BAT entry of a chunk's sector bitmap block."""
        return self.pages.read_u64(self._entry_at(self.geometry.bitmap_entry(chunk)))

    def set_payload_entry(self, block: int, entry: int) -> None:
        """Change the BAT entry of a payload block; stable after `commit`."""
        at = self._entry_at(self.geometry.payload_entry(block))
        self.pages.write(at, entry.to_bytes(8, "little"))

    def set_bitmap_entry(self, chunk: int, entry: int) -> None:
        """Change the BAT entry of a sector bitmap block; stable after `commit`."""
        at = self._entry_at(self.geometry.bitmap_entry(chunk))
        self.pages.write(at, entry.to_bytes(8, "little"))

    def payload_runs(
        self, first: int, last: int, *, join_data: bool = False
    ) -> Iterator[tuple[int, int, int]]:
        """(block, blocks, entry) from block `first` to before `last`.

        A run of more than one block is made of entries that are all zero (not present), or with
        `join_data` of fully present blocks that follow each other in the file.
        """
        ratio = self.geometry.chunk_ratio
        follows = pack_entry(0, self.geometry.block_size) if join_data else 0
        block = first
        while block < last:
            count = min(512, last - block, ratio - block % ratio)
            at = self._entry_at(self.geometry.payload_entry(block))
            data = self.pages.read(at, count * ENTRY_SIZE)
            entries = _entries(data)
            index = 0
            while index < count:
                entry = entries[index]
                run = 1
                if not entry:
                    rest = data[index * ENTRY_SIZE :]
                    run = (len(rest) - len(rest.lstrip(b"\0"))) // ENTRY_SIZE
                elif follows and entry_state(entry) == PayloadState.FULLY_PRESENT:
                    while index + run < count and entries[index + run] == entry + run * follows:
                        run += 1
                yield block + index, run, entry
                index += run
            block += count

    # --- space -----------------------------------------------------------------------------

    def allocate(self, length: int) -> tuple[int, int]:
        """(offset, bytes that may hold old content) of new space in the file.

        What lies behind those bytes was just added to the file and reads as zeros.
        """
        offset = self.space.allocate(length)
        size = self.file.size()
        if offset + length > size:
            self.file.truncate(offset + length)
        return offset, max(0, min(length, size - offset))

    # --- changes ---------------------------------------------------------------------------

    def begin(self, *, data: bool) -> None:
        """Announce a change; raises `ReadOnlyDiskError` on a disk opened for reading."""
        if self.session is None:
            raise ReadOnlyDiskError("the disk was opened for reading")
        self.session.begin(data=data)

    def commit_if_full(self) -> None:
        """Commit before the gathered changes outgrow one log entry."""
        if self.pages.room < _PAGES_PER_OPERATION:
            self.commit()

    def commit(self) -> None:
        """Make all changes of metadata stable; released space becomes free."""
        self.pages.commit()
        self.space.settle()

    def finish(self) -> None:
        """Commit and leave the file clean."""
        if self.session is not None and self.session.started:
            self.commit()
            self.session.finish()

    # --- validation ------------------------------------------------------------------------

    def _validated_space(self) -> SpaceMap:
        """The map of taken space; raises `CorruptDiskError` on overlaps and bad BAT entries."""
        size = self.file.size()
        space = SpaceMap(size)
        space.claim(0, HEADER_SECTION)
        if self.header.log_length:
            if self.header.log_offset + self.header.log_length > size:
                raise CorruptDiskError("the log lies outside the file")
            space.claim(self.header.log_offset, self.header.log_length)
        for region in self.description.regions.regions:
            if region.end > size:
                raise CorruptDiskError(f"region {region.guid} lies outside the file")
            if region.length:
                space.claim(region.offset, region.length)
        self._check_bat(space, size)
        return space

    def _check_bat(self, space: SpaceMap, size: int) -> None:
        has_parent = self.metadata.has_parent
        count = self.geometry.entries(has_parent=has_parent)
        bat = self.description.regions.bat
        if count * ENTRY_SIZE > bat.length:
            raise CorruptDiskError("the BAT is too short for the virtual size")
        for index, entry in self._nonzero_entries(bat.offset, count):
            state, offset = entry_state(entry), entry_offset(entry)
            if entry_reserved(entry):
                raise CorruptDiskError(f"BAT entry {index} has reserved bits set")
            if self.geometry.is_bitmap_entry(index):
                if state == BitmapState.PRESENT and has_parent:
                    self._claim_block(space, offset, BITMAP_BLOCK_SIZE, BITMAP_BLOCK_SIZE, size)
                elif state != BitmapState.NOT_PRESENT:
                    raise CorruptDiskError(f"BAT entry {index} has the bad state {state}")
                continue
            if state not in _PAYLOAD_STATES:
                raise CorruptDiskError(f"BAT entry {index} has the reserved state {state}")
            if state == PayloadState.PARTIALLY_PRESENT:
                self._check_partial(index)
            if state in PLACED_STATES and (offset or state >= PayloadState.FULLY_PRESENT):
                block = index - index // (self.geometry.chunk_ratio + 1)
                self._claim_block(
                    space,
                    offset,
                    self.geometry.block_size,
                    self.geometry.block_length(block),
                    size,
                )

    def _check_partial(self, index: int) -> None:
        if not self.metadata.has_parent:
            raise CorruptDiskError("a partially present block in a disk without parent")
        chunk = index // (self.geometry.chunk_ratio + 1)
        if entry_state(self.bitmap_entry(chunk)) != BitmapState.PRESENT:
            raise CorruptDiskError("a partially present block without sector bitmap")

    @staticmethod
    def _claim_block(space: SpaceMap, offset: int, length: int, used: int, size: int) -> None:
        """Take a block; the file may end behind the bytes of it that are on the disk."""
        if not offset or offset + used > size:
            raise CorruptDiskError("a block lies outside the file")
        space.claim(offset, length)

    def _nonzero_entries(self, offset: int, count: int) -> Iterator[tuple[int, int]]:
        """(index, entry) of the entries that are not zero, skipping large empty parts quickly."""
        done = 0
        while done < count:
            length = min(_SCAN_SLICE, (count - done) * ENTRY_SIZE)
            data = self.file.pread(offset + done * ENTRY_SIZE, length)
            if len(data) != length:
                raise CorruptDiskError("the BAT lies outside the file")
            if data != _ZERO_SLICE[:length]:
                for index, entry in enumerate(_entries(data), done):
                    if entry:
                        yield index, entry
            done += length // ENTRY_SIZE
