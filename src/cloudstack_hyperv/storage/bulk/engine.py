"""Moves the bytes of one copy, and goes on after a lost connection.

What is known to be stable on the target is not touched again.  What was sent after that is read
back and compared with the source, and written again only where it differs: the server may have
lost what it had acknowledged but not written out.

Zeros are not written; of ranges that the source says are empty nothing is even read.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.storage.bulk.sides import Source, SourceChanged, Target, TargetChanged
from cloudstack_hyperv.storage.host_files import (
    HostFileError,
    HostFileNotFound,
    NoSpaceLeft,
    PathNotReachable,
)
from cloudstack_hyperv.storage.smb.errors import SmbConnectionLost
from cloudstack_hyperv.storage.smb.pipeline import CHUNK, RateLimit
from cloudstack_hyperv.vhd.files import Buffer

ZERO_RUN: Final = 64 << 10
"""Granularity at which zeros are left out."""
PATIENCE: Final = 120.0
"""Seconds without a byte moved after which a lost connection ends the copy."""

_ZEROS: Final = bytes(ZERO_RUN)
_ZERO_CHUNK: Final = bytes(CHUNK)
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_FINAL: Final = (SourceChanged, TargetChanged, HostFileNotFound, NoSpaceLeft, PathNotReachable)
"""What trying again cannot mend."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a copy did."""

    size: int
    """Bytes of the file."""
    moved: int
    """Bytes written to the target, those written again included."""
    resumed: int
    """Times that the copy went on after a lost connection."""
    digest: str | None
    """Lower-case hex of the source's checksum, if one was asked for."""


class Engine:
    """One copy."""

    def __init__(
        self,
        source: Source,
        target: Target,
        *,
        algorithm: str | None = None,
        rate: float = 0.0,
        patience: float = PATIENCE,
        tell: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`algorithm` is hashlib's name; `rate` is in bytes a second, 0 for no limit."""
        self._source = source
        self._target = target
        self._hash = (
            hashlib.new(algorithm, usedforsecurity=False) if algorithm is not None else None
        )
        self._hashed = 0
        self._limit = RateLimit(rate)
        self._patience = patience
        self._tell = tell
        self._doubtful = 0
        """Offset below which the target may hold what was sent, after a lost connection."""
        self._sent = 0
        self._moved = 0
        self._resumed = 0
        self._last_progress = time.monotonic()

    def run(self) -> BulkResult:
        """Copy; raises what either side meets and trying again cannot mend."""
        while True:
            try:
                self._copy_rest()
                self._target.finish()
            except SmbConnectionLost as error:
                self._reconnect(error)
                continue
            self._hash_zeros(self._source.size)
            digest = self._hash.hexdigest() if self._hash is not None else None
            return BulkResult(self._source.size, self._moved, self._resumed, digest)

    def _copy_rest(self) -> None:
        start = self._target.stable_below
        pieces = self._source.pieces(_from(start, self._source.ranges()))
        for offset, data in pieces:
            self._limit.spend(len(data))
            self._hash_piece(offset, data)
            for at, run in data_runs(data):
                self._put(offset + at, run)
            self._sent = max(self._sent, offset + len(data))
            self._last_progress = time.monotonic()
            self._tell(self._sent / max(self._source.size, 1))

    def _put(self, offset: int, data: memoryview) -> None:
        if offset < self._doubtful and self._target.read_back(offset, len(data)) == data:
            return
        self._target.write(offset, data)
        self._moved += len(data)

    def _hash_piece(self, offset: int, data: Buffer) -> None:
        if self._hash is None or offset + len(data) <= self._hashed:
            return
        self._hash_zeros(offset)
        view = memoryview(data)[max(self._hashed - offset, 0) :]
        self._hash.update(view)
        self._hashed += len(view)

    def _hash_zeros(self, end: int) -> None:
        if self._hash is None:
            return
        while self._hashed < end:
            length = min(end - self._hashed, CHUNK)
            self._hash.update(_ZERO_CHUNK[:length])
            self._hashed += length

    def _reconnect(self, lost: SmbConnectionLost) -> None:
        """Open both sides again; raises `lost` when that does not succeed in time."""
        self._doubtful = self._sent + CHUNK
        pause = _FIRST_PAUSE
        while True:
            if time.monotonic() - self._last_progress > self._patience:
                raise lost
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                self._source.reopen()
                self._target.reopen()
            except _FINAL:
                raise
            except HostFileError as error:
                # Still away, or the server still holds the handle of the lost connection.
                lost = error if isinstance(error, SmbConnectionLost) else lost
                continue
            self._resumed += 1
            return


def data_runs(data: Buffer) -> Iterator[tuple[int, memoryview]]:
    """Yield (offset, bytes) of the runs of `data` that are not zero, in steps of `ZERO_RUN`."""
    view = memoryview(data)
    start: int | None = None
    for at in range(0, len(view), ZERO_RUN):
        block = view[at : at + ZERO_RUN]
        # Comparing a memoryview goes byte by byte, so most blocks are told by their first.
        if not block[0] and not block[-1] and bytes(block) == _ZEROS[: len(block)]:
            if start is not None:
                yield start, view[start:at]
                start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, view[start:]


def _from(start: int, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for offset, length in ranges:
        end = offset + length
        if end > start:
            first = max(offset, start)
            yield first, end - first
