"""Reads and writes with several requests in flight, within the credits that the server grants.

One request at a time leaves server, network and gateway waiting for each other.  How many may be
in flight is bounded twice: by `WINDOW` bytes, which bounds memory, and by credits (one for each
64 KiB, [MS-SMB2] 3.1.5.2), of which each request asks for as many as the window could use.
Answers are taken in the order of the requests.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.storage.smb.errors import SmbConnectionLost, translated
from cloudstack_hyperv.storage.smb.remote_file import RemoteFile
from cloudstack_hyperv.vhd.files import Buffer

CHUNK: Final = 2 << 20
"""Bytes of one request."""
WINDOW: Final = 6 << 20
"""Bytes in flight at once."""
FILL_RATE: Final = 16 << 20
"""Bytes a second at which we expect a server to fill what lies before a write with zeros: NTFS
does so, in the request, where a file was not written in order."""

_CREDIT: Final = 65536
_WANTED_CREDITS: Final = 2 * WINDOW // _CREDIT + 16
_READ_REPLY: Final = struct.Struct("<HBxIIi")
"""Structure size, data offset, data length, remaining, reserved: 2.2.20."""
_WRITE_REPLY: Final = struct.Struct("<HHI")
"""Structure size, reserved, count: 2.2.22."""
_HEADER: Final = 64


class _Flights:
    """Requests in flight on one file."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._connection = file.session.connection
        self._queue: deque[tuple[Any, int, int, float]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def lowest(self) -> int | None:
        """Offset of the oldest request in flight."""
        return self._queue[0][1] if self._queue else None

    def allowed(self, length: int, longest: int) -> int:
        """Return how many of `length` bytes may be asked for now; 0 to wait for answers first."""
        if self._bytes and self._bytes + length > WINDOW:
            return 0
        length = min(length, longest, CHUNK)
        by_credits = self._connection.credits * _CREDIT
        if by_credits >= length:
            return length
        if self._queue:
            return 0
        if by_credits <= 0:
            raise SmbConnectionLost(f"{self._file.path}: the server grants no more requests")
        return min(length, by_credits)

    def send_read(self, offset: int, length: int) -> None:
        """Ask for bytes."""
        message, _ = self._file.handle.read(offset, length, send=False)
        with translated(self._file.path):
            request = self._connection.send(
                message,
                sid=self._file.session.session_id,
                tid=self._file.tree.tree_connect_id,
                credit_request=self._credits_to_ask(length),
            )
        self._add(request, offset, length, 0)

    def send_write(self, offset: int, data: memoryview, patience: float) -> None:
        """Send bytes; `patience` is added to the server's timeout, in seconds."""
        with translated(self._file.path):
            request = self._connection.send_write(
                self._file.session.login,
                self._file.tree.tree_connect_id,
                self._file.handle.file_id,
                offset,
                data,
                credit_request=self._credits_to_ask(len(data)),
            )
        self._add(request, offset, len(data), patience)

    def _credits_to_ask(self, length: int) -> int:
        missing = max(_WANTED_CREDITS - self._connection.credits, 0)
        return -(-length // _CREDIT) + missing

    def _add(self, request: Any, offset: int, length: int, patience: float) -> None:
        self._queue.append((request, offset, length, patience))
        self._bytes += length

    def take(self) -> tuple[int, int, bytes]:
        """Wait for the oldest answer: offset and length of its request, and its body."""
        request, offset, length, patience = self._queue.popleft()
        self._bytes -= length
        with translated(self._file.path):
            reply = self._connection.receive(
                request, timeout=self._file.session.server.timeout + patience
            )
        return offset, length, reply["data"].get_value()


def read_ranges(
    file: RemoteFile, ranges: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, memoryview]]:
    """Yield (offset, bytes) of the ranges in order, in pieces of at most `CHUNK`.

    Raises HostFileError where the file ends early.  A reader that is left early leaves answers in
    flight: close it, and its file, before anything else is done on the connection.
    """
    flights = _Flights(file)
    longest = int(file.session.connection.max_read_size)
    wanted = iter(ranges)
    at = end = 0
    more = True
    try:
        while True:
            while more:
                if at == end:
                    following = next(wanted, None)
                    if following is None:
                        more = False
                        break
                    at, end = following[0], following[0] + following[1]
                    continue
                length = flights.allowed(min(end - at, CHUNK), longest)
                if not length:
                    break
                flights.send_read(at, length)
                at += length
            if not flights:
                return
            yield _read_answer(file, *flights.take())
    finally:
        while flights:
            _forget(flights.take)


def _read_answer(file: RemoteFile, offset: int, length: int, body: bytes) -> tuple[int, memoryview]:
    _, start, count, *_ = _READ_REPLY.unpack_from(body)
    data = memoryview(body)[start - _HEADER :][:count]
    if len(data) != length:
        raise HostFileError(f"{file.path} ended earlier than its size said")
    return offset, data


def _forget(take: Callable[[], object]) -> None:
    """Take an answer nobody waits for any more: what it says no longer matters to anybody."""
    try:
        take()
    except HostFileError:
        return


class Writer:
    """Writes that are on their way while the next one is prepared."""

    def __init__(self, file: RemoteFile, written_up_to: int = 0) -> None:
        """Begin; what lies before `written_up_to` needs no filling with zeros any more."""
        self._file = file
        self._flights = _Flights(file)
        self._longest = int(file.session.connection.max_write_size)
        self._reached = written_up_to

    @property
    def acknowledged_below(self) -> int | None:
        """Offset below which everything that was written is acknowledged; None for everything."""
        return self._flights.lowest

    def write(self, offset: int, data: Buffer) -> None:
        """Send `data`; raises what earlier writes met (NoSpaceLeft, ...), or this one."""
        view = memoryview(data).cast("B")
        while view:
            length = self._flights.allowed(min(len(view), CHUNK), self._longest)
            if not length:
                self._take()
                continue
            gap = max(offset - self._reached, 0)
            self._flights.send_write(offset, view[:length], gap / FILL_RATE)
            self._reached = max(self._reached, offset + length)
            offset, view = offset + length, view[length:]

    def drain(self) -> None:
        """Wait until every write is acknowledged."""
        while self._flights:
            self._take()

    def _take(self) -> None:
        offset, length, body = self._flights.take()
        _, _, count = _WRITE_REPLY.unpack_from(body)
        if count != length:
            raise HostFileError(f"{self._file.path}: only {count} of {length} bytes at {offset}")


class RateLimit:
    """Spreads bytes over time; 0 is no limit."""

    def __init__(self, bytes_a_second: float) -> None:
        self._rate = bytes_a_second
        self._due = time.monotonic()

    def spend(self, count: int) -> None:
        """Wait until `count` bytes more may have gone."""
        if not self._rate:
            return
        now = time.monotonic()
        # A pause is not made up for by a burst of more than a quarter second.
        self._due = max(self._due, now - 0.25) + count / self._rate
        if self._due > now:
            time.sleep(self._due - now)
