"""What is copied: a file or a stream, its checksum, and its bytes on their way to a writer.

Zeros are not written: a new file reads as zeros where nothing was.  Memory stays bounded:
`READ_AHEAD` chunks a copy.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from cloudstack_hyperv.storage.decompression import Decompressor
from cloudstack_hyperv.storage.host_files import (
    HostFileError,
    HostFiles,
    HostFileWriter,
    NoSpaceLeft,
)
from cloudstack_hyperv.storage.progress import Progress

CHUNK: Final = 4 << 20
"""Bytes of one read."""
READ_AHEAD: Final = 4
"""Reads under way at once."""
ZERO_RUN: Final = 64 << 10
"""Granularity at which zeros are left out."""

_ZEROS: Final = bytes(ZERO_RUN)
_CHECKSUM: Final = re.compile(r"\{(?P<algorithm>[A-Za-z0-9-]+)\}(?P<digest>[0-9A-Fa-f]+)")
_ALGORITHMS: Final = {"MD5": "md5", "SHA-1": "sha1", "SHA-224": "sha224", "SHA-256": "sha256"} | {
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}


class CopyRefused(HostFileError):
    """The source is not what may be copied to where it should go."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of the source file must hash to."""

    algorithm: str
    """Name for hashlib."""
    digest: str
    """Lower-case hex."""

    @classmethod
    def parse(cls, text: str | None) -> Checksum | None:
        """Read CloudStack's `{SHA-256}hex`, or a bare MD5; None for what is neither.

        Source: CloudStack's DigestHelper.java.
        """
        if not text:
            return None
        match = _CHECKSUM.fullmatch(text.strip())
        algorithm = _ALGORITHMS.get(match["algorithm"].upper()) if match else "md5"
        digest = (match["digest"] if match else text.strip()).lower()
        if algorithm is None or not re.fullmatch(r"[0-9a-f]+", digest):
            return None
        whole = len(digest) == 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
        return cls(algorithm, digest) if whole else None

    def require(self, digest: str | None, name: str) -> None:
        """Raise CopyRefused unless `digest` is this one; `name` is for the text."""
        if digest != self.digest:
            raise CopyRefused(
                f"{name} does not have the {self.algorithm} checksum that it was registered with"
            )


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be copied, and the way that leads to it."""

    files: HostFiles
    path: str


class ByteStream(Protocol):
    """Bytes that can be read once, in order."""

    @property
    def name(self) -> str:
        """A file name, whose ending tells how the bytes are packed."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes that will come, None where nobody tells."""
        ...

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes; raises HostFileError if they end too soon."""
        ...


class Content:
    """The bytes of one source on their way to a writer."""

    def __init__(self, name: str, size: int, checksum: Checksum | None, progress: Progress) -> None:
        """`name` is for texts; `size` in bytes is that of the source, 0 where it is not known."""
        self._name = name
        self._size = size
        self._checksum = checksum
        self._hash = (
            hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum is not None else None
        )
        self._progress = progress

    async def copy_to(self, writer: HostFileWriter) -> None:
        """Write every range that holds data at its place."""
        async with aclosing(self.chunks()) as chunks:
            async for offset, data in chunks:
                for at, run in data_runs(data):
                    await writer.write(offset + at, run)

    async def unpack_to(
        self, writer: HostFileWriter, unpack: Decompressor, room: int | None
    ) -> None:
        """Write what the source unpacks to; raises NoSpaceLeft beyond `room` bytes of data."""
        length = written = end = 0
        async with aclosing(self.chunks()) as chunks:
            async for _, data in chunks:
                pieces = unpack.feed(data)
                while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                    for at, run in data_runs(piece):
                        written += len(run)
                        if room is not None and written > room:
                            raise NoSpaceLeft(f"{self._name} unpacks to more than fits")
                        await writer.write(length + at, run)
                        end = length + at + len(run)
                    length += len(piece)
        unpack.finish()
        if end < length:
            await writer.write(length - 1, b"\0")

    def check(self) -> None:
        """Compare the checksum; raises CopyRefused."""
        if self._checksum is not None and self._hash is not None:
            self._checksum.require(self._hash.hexdigest(), self._name)

    def chunks(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield (offset, data) in order; what is left out reads as zeros."""
        raise NotImplementedError

    async def _take(self, data: bytes) -> None:
        """Note the next bytes of the source for its checksum."""
        if self._hash is not None:
            await asyncio.to_thread(self._hash.update, data)


class FileContent(Content):
    """A file's bytes, read some chunks ahead."""

    def __init__(
        self, source: SourceFile, size: int, checksum: Checksum | None, progress: Progress
    ) -> None:
        super().__init__(source.path, size, checksum, progress)
        self._source = source

    async def chunks(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield (offset, data) in order, some reads ahead; hashes on the way."""
        done = 0
        reads: deque[tuple[int, asyncio.Task[bytes]]] = deque()
        try:
            async for offset, length in self._wanted():
                if len(reads) >= READ_AHEAD:
                    yield await self._next(reads)
                reads.append((offset, asyncio.create_task(self._read(offset, length))))
                done = offset
                self._progress(done / max(self._size, 1))
            while reads:
                yield await self._next(reads)
            self._progress(1.0)
        finally:
            for _, task in reads:
                task.cancel()
            await asyncio.gather(*(task for _, task in reads), return_exceptions=True)

    async def _next(self, reads: deque[tuple[int, asyncio.Task[bytes]]]) -> tuple[int, bytes]:
        offset, task = reads.popleft()
        data = await task
        await self._take(data)
        return offset, data

    async def _read(self, offset: int, length: int) -> bytes:
        data = await self._source.files.read(self._source.path, offset, length)
        if len(data) != length:
            raise CopyRefused(f"{self._source.path} became shorter while it was copied")
        return data

    async def _wanted(self) -> AsyncIterator[tuple[int, int]]:
        """Yield the ranges to read: all of the file for a checksum, else where data may be."""
        if self._hash is not None:
            for part in parts(0, self._size):
                yield part
            return
        async for offset, length in self._source.files.data_ranges(self._source.path):
            for part in parts(offset, length):
                yield part


class StreamContent(Content):
    """Bytes that come in order and once, as from a web server."""

    def __init__(self, stream: ByteStream, checksum: Checksum | None, progress: Progress) -> None:
        super().__init__(stream.name, stream.size or 0, checksum, progress)
        self._stream = stream

    async def chunks(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield (offset, data); the stream itself sees to its length."""
        offset = 0
        async with aclosing(self._stream.chunks()) as pieces:
            async for data in pieces:
                await self._take(data)
                yield offset, data
                offset += len(data)
                if self._size:
                    self._progress(offset / self._size)
        self._progress(1.0)


def data_runs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of the runs of `data` that are not zero, in steps of `ZERO_RUN`."""
    start: int | None = None
    for at in range(0, len(data), ZERO_RUN):
        block = data[at : at + ZERO_RUN]
        if block == _ZEROS[: len(block)]:
            if start is not None:
                yield start, data[start:at]
                start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, data[start:]


def parts(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Cut a range into reads of `CHUNK` bytes."""
    for start in range(offset, offset + length, CHUNK):
        yield start, min(CHUNK, offset + length - start)
