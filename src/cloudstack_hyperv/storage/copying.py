"""Copying a disk or file from one place to another, so that nothing half-made ever counts.

The rule of every copy: look at the source's own metadata first, write under a temporary name,
compare checksum and metadata of what was written, then rename without overwriting.  Whatever
fails, cancellation included, leaves no file.  Zeros are not written: a new file reads as zeros
where nothing was.

A disk that names a parent is refused: its parent locator comes from whoever made the file and
could point at any file of the host.  Memory stays bounded: `READ_AHEAD` chunks a copy.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import structlog

from cloudstack_hyperv.storage.decompression import Decompressor, decompressor_for
from cloudstack_hyperv.storage.host_files import (
    FileStatus,
    HostFileError,
    HostFileExists,
    HostFileNotFound,
    HostFiles,
    HostFileWriter,
    NoSpaceLeft,
)
from cloudstack_hyperv.storage.leftovers import TemporaryFiles
from cloudstack_hyperv.storage.progress import Progress
from cloudstack_hyperv.storage.windows_paths import file_name, parent_folder
from cloudstack_hyperv.vhd import DiskInfo, DiskType, VhdError

log = structlog.get_logger(__name__)

CHUNK: Final = 4 << 20
"""Bytes of one read."""
READ_AHEAD: Final = 4
"""Reads under way at once."""
ZERO_RUN: Final = 64 << 10
"""Granularity at which zeros are left out."""
SPACE_RESERVE: Final = 64 << 20
"""Bytes that a copy leaves free on a volume: a full one pauses every VM on it."""

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


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be copied, and the way that leads to it."""

    files: HostFiles
    path: str


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies into one place's files; `parallel` bounds the copies that run at once."""

    files: HostFiles
    temporary: TemporaryFiles
    parallel: asyncio.Semaphore

    async def copy_disk(
        self,
        source: SourceFile,
        final_path: str,
        *,
        what: str,
        checksum: Checksum | None = None,
    ) -> DiskInfo:
        """Copy (and unpack) a disk to `final_path` and return its metadata.

        Raises HostFileExists if `final_path` exists, CopyRefused for what is no disk of the
        format that `final_path` ends with, has a parent or a wrong checksum, NoSpaceLeft before
        or while it is written.
        """
        async with self.parallel:
            status = await _existing(source)
            await self._must_be_free(final_path)
            unpack = decompressor_for(file_name(source.path))
            stated = None if unpack else await trusted_disk(source.files, source.path)
            with self.temporary.beside(final_path) as temporary_path:
                writer = await self._begin(source, status, temporary_path, unpack)
                try:
                    content = _Content(source, status.size, checksum, Progress(what))
                    if unpack is None:
                        await content.copy_to(writer)
                    else:
                        await content.unpack_to(writer, unpack, await self._room(final_path))
                    content.check(file_name(source.path))
                    written = await trusted_disk(self.files, temporary_path)
                    if stated is not None and written != stated:
                        raise CopyRefused(f"{source.path} changed while it was copied")
                    await writer.commit(final_path)
                except BaseException:
                    await writer.abort()
                    raise
        log.info("copied", what=what, path=final_path, virtual_size=written.virtual_size)
        return written

    async def copy_file(
        self,
        source: SourceFile,
        final_path: str,
        *,
        what: str,
        checksum: Checksum | None = None,
    ) -> int:
        """Copy a file that is no disk, byte by byte, and return its size; raises as copy_disk."""
        async with self.parallel:
            status = await _existing(source)
            await self._must_be_free(final_path)
            with self.temporary.beside(final_path) as temporary_path:
                writer = await self._begin(source, status, temporary_path, None)
                try:
                    content = _Content(source, status.size, checksum, Progress(what))
                    await content.copy_to(writer)
                    content.check(file_name(source.path))
                    await writer.commit(final_path)
                except BaseException:
                    await writer.abort()
                    raise
        log.info("copied", what=what, path=final_path, bytes=status.size)
        return status.size

    async def write_file(self, final_path: str, content: bytes) -> None:
        """Write a small new file; raises HostFileExists."""
        await self._must_be_free(final_path)
        with self.temporary.beside(final_path) as temporary_path:
            writer = await self.files.create(temporary_path, len(content))
            try:
                await writer.write(0, content)
                await writer.commit(final_path)
            except BaseException:
                await writer.abort()
                raise

    async def _begin(
        self,
        source: SourceFile,
        status: FileStatus,
        temporary_path: str,
        unpack: Decompressor | None,
    ) -> HostFileWriter:
        if unpack is not None:
            return await self.files.create(temporary_path, 0)
        needed = 0
        async for _, length in source.files.data_ranges(source.path):
            needed += length
        await require_space(self.files, parent_folder(temporary_path), needed)
        return await self.files.create(temporary_path, status.size)

    async def _room(self, final_path: str) -> int | None:
        space = await self.files.space(parent_folder(final_path))
        return None if space is None else space.available - SPACE_RESERVE

    async def _must_be_free(self, final_path: str) -> None:
        if await self.files.status(final_path) is not None:
            raise HostFileExists(f"{final_path} exists; it was not touched")


async def trusted_disk(files: HostFiles, path: str) -> DiskInfo:
    """Read a disk's metadata; raises CopyRefused if it is none or names a parent."""
    try:
        info = await files.disk_info(path)
    except VhdError as error:
        raise CopyRefused(f"{path}: {error}") from error
    if info.type is DiskType.DIFFERENCING or info.parent is not None:
        raise CopyRefused(f"{path} is a differencing disk: what its parent is cannot be trusted")
    return info


async def equal_files(one: SourceFile, other: SourceFile) -> bool:
    """Compare two files of equal size byte by byte; stops at the first difference."""
    status = await _existing(one)
    for offset, length in _parts(0, status.size):
        mine, theirs = await asyncio.gather(
            one.files.read(one.path, offset, length), other.files.read(other.path, offset, length)
        )
        if mine != theirs:
            return False
    return True


async def require_space(files: HostFiles, folder: str, needed: int) -> None:
    """Raise NoSpaceLeft unless the volume has `needed` bytes and a reserve; unknown is enough."""
    space = await files.space(folder)
    if space is not None and space.available < needed + SPACE_RESERVE:
        raise NoSpaceLeft(
            f"{folder}: {needed >> 20} MiB are needed and {SPACE_RESERVE >> 20} MiB kept free, "
            f"{space.available >> 20} MiB are available"
        )


class _Content:
    """The bytes of one source on their way."""

    def __init__(
        self, source: SourceFile, size: int, checksum: Checksum | None, progress: Progress
    ) -> None:
        self._source = source
        self._size = size
        self._checksum = checksum
        self._hash = (
            hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum is not None else None
        )
        self._progress = progress

    async def copy_to(self, writer: HostFileWriter) -> None:
        """Write every range that holds data at its place."""
        async with aclosing(self._chunks()) as chunks:
            async for offset, data in chunks:
                for at, run in data_runs(data):
                    await writer.write(offset + at, run)

    async def unpack_to(
        self, writer: HostFileWriter, unpack: Decompressor, room: int | None
    ) -> None:
        """Write what the source unpacks to; raises NoSpaceLeft beyond `room` bytes of data."""
        length = written = end = 0
        async with aclosing(self._chunks()) as chunks:
            async for _, data in chunks:
                pieces = unpack.feed(data)
                while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                    for at, run in data_runs(piece):
                        written += len(run)
                        if room is not None and written > room:
                            raise NoSpaceLeft(f"{self._source.path} unpacks to more than fits")
                        await writer.write(length + at, run)
                        end = length + at + len(run)
                    length += len(piece)
        unpack.finish()
        if end < length:
            await writer.write(length - 1, b"\0")

    def check(self, name: str) -> None:
        """Compare the checksum; raises CopyRefused."""
        if self._checksum is None or self._hash is None:
            return
        if self._hash.hexdigest() != self._checksum.digest:
            raise CopyRefused(
                f"{name} does not have the {self._checksum.algorithm} checksum that it was "
                "registered with"
            )

    async def _chunks(self) -> AsyncGenerator[tuple[int, bytes], None]:
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
        if self._hash is not None:
            await asyncio.to_thread(self._hash.update, data)
        return offset, data

    async def _read(self, offset: int, length: int) -> bytes:
        data = await self._source.files.read(self._source.path, offset, length)
        if len(data) != length:
            raise CopyRefused(f"{self._source.path} became shorter while it was copied")
        return data

    async def _wanted(self) -> AsyncIterator[tuple[int, int]]:
        """Yield the ranges to read: all of the file for a checksum, else where data may be."""
        if self._hash is not None:
            for part in _parts(0, self._size):
                yield part
            return
        async for offset, length in self._source.files.data_ranges(self._source.path):
            for part in _parts(offset, length):
                yield part


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


def _parts(offset: int, length: int) -> Iterator[tuple[int, int]]:
    for start in range(offset, offset + length, CHUNK):
        yield start, min(CHUNK, offset + length - start)


async def _existing(source: SourceFile) -> FileStatus:
    status = await source.files.status(source.path)
    if status is None or status.is_folder:
        raise HostFileNotFound(f"{source.path} does not exist")
    return status
