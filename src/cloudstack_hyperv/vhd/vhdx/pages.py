"""Metadata of an open VHDX in 4 KiB pages, read through a cache and written through the log.

The BAT, sector bitmap blocks, the region table and the metadata region change only here. Changes
gather in memory; `commit` makes them stable in the order of [MS-VHDX] 2.3: payload, log entry,
pages in place.
"""

from cloudstack_hyperv.vhd.errors import CorruptDiskError, ReadOnlyDiskError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.vhdx.log import SECTOR
from cloudstack_hyperv.vhd.vhdx.session import WriteSession

# Pages are read in aligned groups, which never reach over the end of a region.
_GROUP = 16
_MAX_CLEAN = 4096


class MetadataPages:
    """Pages of one file. Without a session it is read-only."""

    def __init__(self, file: RandomAccessFile, session: WriteSession | None) -> None:
        self._file = file
        self._session = session
        self._clean: dict[int, bytes] = {}
        self._dirty: dict[int, bytearray] = {}

    def _load(self, number: int) -> bytes:
        first = number - number % _GROUP
        data = self._file.pread(first * SECTOR, _GROUP * SECTOR)
        if len(self._clean) > _MAX_CLEAN:
            self._clean.clear()
        for index in range(len(data) // SECTOR):
            self._clean[first + index] = data[index * SECTOR : (index + 1) * SECTOR]
        try:
            return self._clean[number]
        except KeyError:
            raise CorruptDiskError("metadata lies outside the file") from None

    def _page(self, number: int) -> bytes | bytearray:
        page: bytes | bytearray | None = self._dirty.get(number)
        if page is None:
            page = self._clean.get(number)
        return self._load(number) if page is None else page

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the metadata as changed so far."""
        number, within = divmod(offset, SECTOR)
        if within + length <= SECTOR:
            return bytes(self._page(number)[within : within + length])
        last = (offset + length - 1) // SECTOR
        data = b"".join(bytes(self._page(index)) for index in range(number, last + 1))
        return data[within : within + length]

    def read_u64(self, offset: int) -> int:
        """The little-endian number at an offset that is a multiple of 8."""
        number, within = divmod(offset, SECTOR)
        return int.from_bytes(self._page(number)[within : within + 8], "little")

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Change bytes; nothing reaches the file before `commit`."""
        view = memoryview(data)
        while view:
            number, within = divmod(offset, SECTOR)
            count = min(SECTOR - within, len(view))
            page = self._dirty.get(number)
            if page is None:
                page = self._dirty[number] = bytearray(self._page(number))
                self._clean.pop(number, None)
            page[within : within + count] = view[:count]
            offset += count
            view = view[count:]

    def forget(self, offset: int, length: int) -> None:
        """Drop pages of a range that was written past this cache or given up."""
        first, last = offset // SECTOR, -(-(offset + length) // SECTOR)
        for pages in (self._clean, self._dirty):
            for number in [number for number in pages if first <= number < last]:
                del pages[number]

    @property
    def room(self) -> int:
        """How many more pages fit into the log entry of the next commit."""
        if self._session is None:
            raise ReadOnlyDiskError("the disk was opened for reading")
        return self._session.log_capacity - len(self._dirty)

    def commit(self) -> None:
        """Make all changes stable: one log entry where they fit into one, else several."""
        if not self._dirty:
            return
        if self._session is None:
            raise ReadOnlyDiskError("the disk was opened for reading")
        offsets = sorted(self._dirty)
        step = self._session.log_capacity
        for start in range(0, len(offsets), step):
            batch = {number * SECTOR: self._dirty[number] for number in offsets[start:][:step]}
            self._session.log_and_apply(batch)
        for number, page in self._dirty.items():
            self._clean[number] = bytes(page)
        self._dirty.clear()
