"""The log of a VHDX: its entries, the active sequence, replay, and appending ([MS-VHDX] 2.3).

Metadata other than the headers changes through the log, so that a crash leaves either the old or
the new state. The log is a ring of entries; an entry carries 4 KiB pages and ranges of zeros with
their places in the file. A hostile log must not cost more than its own length: entries are checked
for structure before their checksum is computed, and a sector that starts a well-formed entry
cannot also be part of another, so every byte is summed at most once and every chain of entries
walked once.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from cloudstack_hyperv.vhd.crc32c import crc32c
from cloudstack_hyperv.vhd.errors import CorruptDiskError, UnsupportedDiskError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import MIB
from cloudstack_hyperv.vhd.overlay import OverlayFile
from cloudstack_hyperv.vhd.vhdx.header import Header

SECTOR = 4096
# Hyper-V makes logs of 1 MiB. What is longer than this is not worth its time.
MAX_LOG_LENGTH = 64 * MIB
MAX_ZEROED = 1 << 30

_HEADER = struct.Struct("<4sIIIQII16sQQ")
_DESCRIPTOR = struct.Struct("<4sIQQQ")
_IN_FIRST_SECTOR = (SECTOR - _HEADER.size) // _DESCRIPTOR.size
_IN_NEXT_SECTORS = SECTOR // _DESCRIPTOR.size


@dataclass(frozen=True, slots=True)
class Update:
    """One change of the file: a 4 KiB page with content, or a range of zeros (`data` None)."""

    offset: int
    length: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A valid entry ([MS-VHDX] 2.3.1). `offset` and `tail` count from the start of the log."""

    offset: int
    length: int
    tail: int
    sequence_number: int
    flushed_file_offset: int
    last_file_offset: int
    updates: tuple[Update, ...]


def _descriptor_sectors(count: int) -> int:
    return 1 + max(0, -(-(count - _IN_FIRST_SECTOR) // _IN_NEXT_SECTORS))


class _Ring:
    """The bytes of a log, read around its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        offset %= len(self._data)
        part = self._data[offset : offset + length]
        return part + self._data[: length - len(part)]


def _parse_descriptors(entry: bytes, count: int, sequence: int) -> tuple[Update, ...] | None:
    """The updates of an entry, or None where a descriptor or a data sector is not well formed."""
    updates = []
    data_at = _descriptor_sectors(count) * SECTOR
    low, high = struct.pack("<I", sequence & 0xFFFFFFFF), struct.pack("<I", sequence >> 32)
    for number in range(count):
        signature, trailing, leading, offset, own_sequence = _DESCRIPTOR.unpack_from(
            entry, _HEADER.size + number * _DESCRIPTOR.size
        )
        if own_sequence != sequence or offset % SECTOR:
            return None
        if signature == b"zero":
            if leading % SECTOR:
                return None
            updates.append(Update(offset, leading, None))
            continue
        sector = entry[data_at : data_at + SECTOR]
        data_at += SECTOR
        if signature != b"desc" or len(sector) != SECTOR or sector[:4] != b"data":
            return None
        if sector[4:8] != high or sector[-4:] != low:
            return None
        page = struct.pack("<Q", leading) + sector[8:-4] + struct.pack("<I", trailing)
        updates.append(Update(offset, SECTOR, page))
    return tuple(updates) if data_at == len(entry) else None


def _parse_entry(ring: _Ring, offset: int, log_guid: UUID) -> LogEntry | None:
    """The entry at `offset`, or None if no valid one starts there."""
    (
        signature,
        checksum,
        length,
        tail,
        sequence,
        count,
        _reserved,
        guid,
        flushed,
        last,
    ) = _HEADER.unpack(ring.read(offset, _HEADER.size))
    if signature != b"loge" or guid != log_guid.bytes_le or not sequence:
        return None
    if length % SECTOR or not SECTOR <= length <= len(ring):
        return None
    if tail % SECTOR or tail >= len(ring) or flushed % MIB or last % MIB:
        return None
    if _descriptor_sectors(count) * SECTOR > length:
        return None
    entry = ring.read(offset, length)
    updates = _parse_descriptors(entry, count, sequence)
    if updates is None or checksum != crc32c(entry[:4] + bytes(4) + entry[8:]):
        return None
    return LogEntry(offset, length, tail, sequence, flushed, last, updates)


def find_active_sequence(log: bytes, log_guid: UUID) -> list[LogEntry]:
    """The newest valid and complete sequence, oldest entry first; empty if there is none.

    The result is that of the steps of [MS-VHDX] 2.3.3. An entry continues another if it starts
    where that ends and its sequence number is one greater. A sequence is complete if its last
    entry, the head, names as tail an entry of the sequence.
    """
    ring = _Ring(log)
    entries = {}
    for offset in range(0, len(log), SECTOR):
        entry = _parse_entry(ring, offset, log_guid)
        if entry is not None:
            entries[offset] = entry

    def successor(entry: LogEntry) -> LogEntry | None:
        following = entries.get((entry.offset + entry.length) % len(log))
        if following is None or following.sequence_number != entry.sequence_number + 1:
            return None
        return following

    best: list[LogEntry] = []
    for head in entries.values():
        if successor(head) is not None or (
            best and head.sequence_number <= best[-1].sequence_number
        ):
            continue
        sequence = []
        entry = entries.get(head.tail)
        while entry is not None:
            sequence.append(entry)
            if entry is head:
                best = sequence
                break
            entry = successor(entry)
    return best


def _check_update(update: Update, limit: int) -> None:
    if update.offset < MIB and not 192 << 10 <= update.offset < 320 << 10:
        raise CorruptDiskError("the log writes to the headers")
    if update.offset + update.length > limit:
        raise CorruptDiskError("the log writes behind the end that it gives for the file")


def replayed(file: RandomAccessFile, header: Header) -> OverlayFile:
    """The file as it is after the replay of its log, which `header` says is not empty.

    Nothing is written: see `OverlayFile.apply`.
    """
    if not MIB <= header.log_length <= MAX_LOG_LENGTH:
        raise UnsupportedDiskError(f"a log of {header.log_length} bytes")
    log = file.pread(header.log_offset, header.log_length)
    if len(log) != header.log_length:
        raise CorruptDiskError("the log lies outside the file")
    sequence = find_active_sequence(log, header.log_guid)
    if not sequence:
        raise CorruptDiskError("the log holds no valid sequence")
    head = sequence[-1]
    if file.size() < head.flushed_file_offset:
        raise CorruptDiskError("the file is shorter than its log says: it was truncated")
    view = OverlayFile(file)
    limit = max(head.last_file_offset, file.size())
    for entry in sequence:
        for update in entry.updates:
            _check_update(update, limit)
            if update.data is not None:
                view.write_page(update.offset, update.data)
            elif update.length:
                view.zero(update.offset, update.length)
    if view.zero_bytes() > MAX_ZEROED:
        raise UnsupportedDiskError("the log zeroes more than 1 GiB")
    view.extend(head.last_file_offset)
    return view


class LogWriter:
    """Appends entries to an empty log under a GUID of its own.

    Every entry is its own tail: its pages are in place and stable before the next one is written
    (see `MetadataPages.commit`), so that only the last entry ever needs to be replayed. An entry
    takes at most half of the ring and therefore never overwrites its predecessor.
    """

    def __init__(self, file: RandomAccessFile, header: Header) -> None:
        self.guid = uuid4()
        self._file = file
        self._start = header.log_offset
        self._length = header.log_length
        self._next = 0
        self._sequence = 1

    @property
    def capacity(self) -> int:
        """How many pages fit into one entry."""
        sectors = min(self._length, MAX_LOG_LENGTH) // 2 // SECTOR
        return sectors - _descriptor_sectors(sectors)

    def append(self, pages: Mapping[int, bytes | bytearray]) -> None:
        """Write an entry that gives pages (by file offset) new content. The caller flushes."""
        file_size = self._file.size() // MIB * MIB
        low = struct.pack("<I", self._sequence & 0xFFFFFFFF)
        high = struct.pack("<I", self._sequence >> 32)
        descriptors, sectors = b"", []
        for offset, page in sorted(pages.items()):
            leading, trailing = struct.unpack_from("<Q", page)[0], struct.unpack("<I", page[-4:])[0]
            descriptors += _DESCRIPTOR.pack(b"desc", trailing, leading, offset, self._sequence)
            sectors.append(b"".join((b"data", high, page[8:-4], low)))
        head_length = _descriptor_sectors(len(pages)) * SECTOR
        length = head_length + len(sectors) * SECTOR

        def entry(checksum: int) -> bytes:
            header = _HEADER.pack(
                b"loge",
                checksum,
                length,
                self._next,
                self._sequence,
                len(pages),
                0,
                self.guid.bytes_le,
                file_size,
                file_size,
            )
            return (header + descriptors).ljust(head_length, b"\0") + b"".join(sectors)

        data = entry(crc32c(entry(0)))
        until_end = self._length - self._next
        self._file.pwrite(self._start + self._next, data[:until_end])
        if length > until_end:
            self._file.pwrite(self._start, data[until_end:])
        self._next = (self._next + length) % self._length
        self._sequence += 1
