"""The time in which a VHDX is open for writing: headers and log ([MS-VHDX] 2.2.2.1, 2.3).

- Before the first change of the file both headers get a new FileWriteGuid, before the first
  change that a guest could see also a new DataWriteGuid. Opening alone changes nothing.
- The first log entry is written and stable before a header names the GUID of the log, because a
  header that names a log without a valid entry makes the file corrupt ([MS-VHDX] 2.3.3); it may
  be written, because a log without GUID holds nothing.
- The end of a session clears the LogGuid, so that the file is clean for its next reader.
"""

from collections.abc import Mapping
from uuid import uuid4

from cloudstack_hyperv.vhd.errors import UnsupportedDiskError
from cloudstack_hyperv.vhd.files import RandomAccessFile
from cloudstack_hyperv.vhd.info import MIB
from cloudstack_hyperv.vhd.vhdx.header import HEADER_OFFSETS, NO_LOG, Header
from cloudstack_hyperv.vhd.vhdx.log import LogWriter


class WriteSession:
    """Keeps headers and log of one file in order while it is being changed."""

    def __init__(self, file: RandomAccessFile, header: Header, slot: int) -> None:
        if header.log_length < MIB:
            raise UnsupportedDiskError("a VHDX without a log cannot be changed")
        self.header = header
        self._file = file
        self._slot = slot
        self._log = LogWriter(file, header)
        self._file_written = False
        self._data_written = False

    @property
    def log_capacity(self) -> int:
        """How many pages fit into one log entry."""
        return self._log.capacity

    @property
    def started(self) -> bool:
        """Whether anything was changed."""
        return self._file_written

    def _put(self, header: Header) -> None:
        self._slot = 1 - self._slot
        self._file.pwrite(HEADER_OFFSETS[self._slot], header.encode())
        self._file.flush()
        self.header = header

    def _update(self, header: Header) -> None:
        """Write a header in both places, the outdated one first."""
        self._put(header)
        self._put(header.next())

    def begin(self, *, data: bool) -> None:
        """Announce a change: of the file, and with `data` of what a guest can read."""
        if self._file_written and (self._data_written or not data):
            return
        self._update(
            self.header.next(
                file_write_guid=None if self._file_written else uuid4(),
                data_write_guid=uuid4() if data and not self._data_written else None,
            )
        )
        if not self._file_written and self._file.size() % MIB:
            # Log entries give file sizes in whole MiB.
            self._file.truncate(-(-self._file.size() // MIB) * MIB)
        self._file_written = True
        self._data_written |= data

    def log_and_apply(self, pages: Mapping[int, bytes | bytearray]) -> None:
        """Change pages (by file offset) all or none, stable on return."""
        self.begin(data=False)
        self._file.flush()
        self._log.append(pages)
        self._file.flush()
        if self.header.log_guid != self._log.guid:
            self._update(self.header.next(log_guid=self._log.guid))
        for offset, page in pages.items():
            self._file.pwrite(offset, page)
        self._file.flush()

    def mark_replayed(self) -> None:
        """The log found at opening is in place: nothing of it may be replayed again."""
        self._file.flush()
        self._update(self.header.next(log_guid=NO_LOG))

    def finish(self) -> None:
        """End the session; the file is clean."""
        if self._file_written:
            self._file.flush()
            if self.header.log_guid != NO_LOG:
                self._update(self.header.next(log_guid=NO_LOG))
        self._file_written = self._data_written = False
        self._log = LogWriter(self._file, self.header)
