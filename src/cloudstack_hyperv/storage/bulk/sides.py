"""What the engine reads from and writes to: an open file of the gateway, or one on an SMB share.

Blocking.  A side that can lose its connection raises SmbConnectionLost and can `reopen`; it then
makes sure that it found the same file again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from cloudstack_hyperv.storage.bulk.ends import BulkEnd, FolderEnd
from cloudstack_hyperv.storage.folder_tree import translated
from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.storage.smb.pipeline import CHUNK, Writer, read_ranges
from cloudstack_hyperv.storage.smb.remote_file import Purpose, RemoteFile
from cloudstack_hyperv.storage.smb.routes import SmbPlace
from cloudstack_hyperv.storage.smb.session import SmbSession
from cloudstack_hyperv.storage.smb.writer import create_file
from cloudstack_hyperv.vhd.files import Buffer

STABLE_EVERY: Final = 256 << 20
"""Bytes after which a target is asked to write out what it has: the most that is read back and
compared after a lost connection."""


class SourceChanged(HostFileError):
    """The source is not the file any more that the copy began with."""


class TargetChanged(HostFileError):
    """The unfinished target is not the file any more that the copy had made."""


class Source(Protocol):
    """A file to be read."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of what may hold other bytes than zero, in order."""
        ...

    def pieces(self, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """Yield (offset, bytes) of the ranges, in order; raises SourceChanged."""
        ...

    def reopen(self) -> None:
        """Connect again; raises SourceChanged."""
        ...

    def close(self) -> None:
        """Give the file up."""
        ...


class Target(Protocol):
    """A new file that reads as zeros where nothing was written."""

    @property
    def stable_below(self) -> int:
        """Offset below which nothing can be lost any more."""
        ...

    def write(self, offset: int, data: Buffer) -> None:
        """Write; offsets only grow."""
        ...

    def read_back(self, offset: int, length: int) -> Buffer:
        """Read what is there after `reopen`."""
        ...

    def reopen(self) -> None:
        """Connect again; raises TargetChanged."""
        ...

    def finish(self) -> None:
        """Return when all of it is stable."""
        ...

    def close(self) -> None:
        """Give the file up."""
        ...


def open_source(end: BulkEnd) -> Source:
    """Open a copy's source."""
    return FolderSource(end) if isinstance(end, FolderEnd) else SmbSource(end.place)


def open_target(end: BulkEnd, size: int) -> Target:
    """Create a copy's target; raises HostFileExists, NoSpaceLeft."""
    return FolderTarget(end) if isinstance(end, FolderEnd) else SmbTarget(end.place, size)


class FolderSource:
    """An open descriptor."""

    def __init__(self, end: FolderEnd) -> None:
        self._end = end
        self.size = os.fstat(end.descriptor).st_size

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `Source`."""
        end = 0
        while (found := self._range_after(end)) is not None:
            start, end = found
            if start < end:
                yield start, end - start

    def _range_after(self, offset: int) -> tuple[int, int] | None:
        with translated(self._end.path):
            try:
                start = os.lseek(self._end.descriptor, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return None
                raise
            hole = os.lseek(self._end.descriptor, start, os.SEEK_HOLE)
        return (start, min(hole, self.size)) if start < self.size else None

    def pieces(self, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """See `Source`."""
        for offset, length in ranges:
            for start in range(offset, offset + length, CHUNK):
                wanted = min(CHUNK, offset + length - start)
                with translated(self._end.path):
                    data = os.pread(self._end.descriptor, wanted, start)
                if len(data) != wanted:
                    raise SourceChanged(f"{self._end.path} became shorter while it was copied")
                yield start, data

    def reopen(self) -> None:
        """Nothing was lost."""

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._end.descriptor)


class FolderTarget:
    """An open descriptor of a new file that has its size."""

    stable_below = 0

    def __init__(self, end: FolderEnd) -> None:
        self._end = end

    def write(self, offset: int, data: Buffer) -> None:
        """See `Target`."""
        view = memoryview(data).cast("B")
        with translated(self._end.path):
            while view:
                done = os.pwrite(self._end.descriptor, view, offset)
                offset, view = offset + done, view[done:]

    def read_back(self, offset: int, length: int) -> Buffer:
        """See `Target`."""
        with translated(self._end.path):
            return os.pread(self._end.descriptor, length, offset)

    def reopen(self) -> None:
        """Nothing was lost."""

    def finish(self) -> None:
        """See `Target`."""
        with translated(self._end.path):
            os.fsync(self._end.descriptor)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._end.descriptor)


class SmbSource:
    """A file on a share."""

    def __init__(self, place: SmbPlace) -> None:
        self._place = place
        self._session, self._file = _open(place, Purpose.READ)
        self._identity = self._seen()
        self.size = self._file.size

    def ranges(self) -> Iterator[tuple[int, int]]:
        """See `Source`.  Asked for at once: nothing else may be in flight meanwhile."""
        return iter(list(self._file.allocated_ranges()))

    def pieces(self, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """See `Source`."""
        return read_ranges(self._file, ranges)

    def reopen(self) -> None:
        """See `Source`."""
        self._session.drop()
        self._session, self._file = _open(self._place, Purpose.READ)
        if self._seen() != self._identity:
            raise SourceChanged(f"{self._place.path} changed while it was copied")

    def _seen(self) -> tuple[int, int, float]:
        file = self._file
        return file.file_number(), file.size, file.status().modified

    def close(self) -> None:
        """Close file and connection."""
        self._session.close()


class SmbTarget:
    """A new file on a share."""

    def __init__(self, place: SmbPlace, size: int) -> None:
        self._place = place
        self._size = size
        self._session = SmbSession(place.server)
        try:
            self._file = create_file(self._session, place, size)
            self._number = self._file.file_number()
        except BaseException:
            self._session.drop()
            raise
        self._writer = Writer(self._file)
        self._written = 0
        self.stable_below = 0

    def write(self, offset: int, data: Buffer) -> None:
        """See `Target`."""
        if offset - self.stable_below >= STABLE_EVERY:
            self._make_stable(offset)
        self._writer.write(offset, data)
        self._written = offset + len(data)

    def _make_stable(self, offset: int) -> None:
        self._writer.drain()
        self._file.flush()
        self.stable_below = offset

    def read_back(self, offset: int, length: int) -> Buffer:
        """See `Target`."""
        return b"".join(data for _, data in read_ranges(self._file, [(offset, length)]))

    def reopen(self) -> None:
        """See `Target`."""
        self._session.drop()
        self._session, self._file = _open(self._place, Purpose.GO_ON_WRITING)
        if self._file.file_number() != self._number or self._file.size != self._size:
            raise TargetChanged(f"{self._place.path} was replaced while it was written")
        self._writer = Writer(self._file, self._written)

    def finish(self) -> None:
        """See `Target`."""
        self._writer.drain()
        self._file.flush()
        self._file.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _open(place: SmbPlace, purpose: Purpose) -> tuple[SmbSession, RemoteFile]:
    session = SmbSession(place.server)
    try:
        return session, RemoteFile(session, place.share, place.name, place.path, purpose)
    except BaseException:
        session.drop()
        raise
