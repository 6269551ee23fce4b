"""Copying a disk or file from one place to another, so that nothing half-made ever counts.

The rule of every copy: look at the source's own metadata first, write under a temporary name,
compare checksum and metadata of what was written, then rename without overwriting.  Whatever
fails, cancellation included, leaves no file.

A disk that names a parent is refused: its parent locator comes from whoever made the file and
could point at any file of the host.

A large file is copied by the SMB server itself where that has both places; else, where both ways
allow it, in a process of its own (`storage.bulk`), so that copies neither slow each other nor the
agent.  What is packed, small or a stream is copied here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, runtime_checkable

import structlog

from cloudstack_hyperv.storage.bulk.ends import BulkFiles
from cloudstack_hyperv.storage.bulk.transfer import bulk_copy
from cloudstack_hyperv.storage.content import (
    ByteStream,
    Checksum,
    Content,
    CopyRefused,
    FileContent,
    SourceFile,
    StreamContent,
    parts,
)
from cloudstack_hyperv.storage.decompression import Decompressor, Unpacked, decompressor_for
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
from cloudstack_hyperv.storage.smb.errors import SmbUnsupported
from cloudstack_hyperv.storage.windows_paths import file_name, parent_folder
from cloudstack_hyperv.vhd import DiskInfo, DiskType, VhdError

log = structlog.get_logger(__name__)

T = TypeVar("T")

SPACE_RESERVE: Final = 64 << 20
"""Bytes that a copy leaves free on a volume: a full one pauses every VM on it."""
BULK_FROM: Final = 64 << 20
"""Bytes from which a copy is worth a process of its own."""


@runtime_checkable
class ServerCopies(Protocol):
    """Files of which a server may copy one by itself."""

    async def copy_on_server(
        self, path: str, temporary_path: str, progress: Callable[[float], None]
    ) -> None:
        """Copy a file without a byte coming here; raises SmbUnsupported where it cannot."""
        ...


@dataclass(frozen=True, slots=True)
class _Task:
    """One copy of a file as it is."""

    source: SourceFile
    size: int
    final_path: str
    what: str
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies into one place's files; `parallel` bounds the copies that run at once."""

    files: HostFiles
    temporary: TemporaryFiles
    parallel: asyncio.Semaphore
    rate: float = 0.0
    """Most bytes a second of one bulk copy, 0 for no limit."""

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
            if unpack is not None:
                content = FileContent(source, status.size, checksum, Progress(what))
                written = await self._unpack(content, final_path, unpack)
            else:
                stated = await trusted_disk(source.files, source.path)

                async def verify(path: str) -> DiskInfo:
                    made = await trusted_disk(self.files, path)
                    if made != stated:
                        raise CopyRefused(f"{source.path} changed while it was copied")
                    return made

                task = _Task(source, status.size, final_path, what, checksum)
                written = await self._copy(task, verify)
        log.info("copied", what=what, path=final_path, virtual_size=written.virtual_size)
        return written

    async def receive_disk(
        self,
        stream: ByteStream,
        final_path: str,
        *,
        what: str,
        checksum: Checksum | None = None,
    ) -> DiskInfo:
        """Write (and unpack) the disk that a stream brings; raises as copy_disk."""
        async with self.parallel:
            await self._must_be_free(final_path)
            unpack = decompressor_for(stream.name)
            if unpack is None and stream.size is not None:
                await require_space(self.files, parent_folder(final_path), stream.size)
            content = StreamContent(stream, checksum, Progress(what))
            written = await self._unpack(content, final_path, unpack or Unpacked())
        log.info("received", what=what, path=final_path, virtual_size=written.virtual_size)
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

            async def verify(_: str) -> int:
                return status.size

            await self._copy(_Task(source, status.size, final_path, what, checksum), verify)
        log.info("copied", what=what, path=final_path, bytes=status.size)
        return status.size

    async def write_file(self, final_path: str, content: bytes) -> None:
        """Write a small new file; raises HostFileExists."""
        await self._must_be_free(final_path)
        async with self._new_file(final_path, len(content)) as (_, writer):
            await writer.write(0, content)
            await writer.commit(final_path)

    async def _copy(self, task: _Task, verify: Callable[[str], Awaitable[T]]) -> T:
        """Copy a file as it is, let `verify` look at the unfinished copy, then rename it."""
        source, files = task.source, self.files
        needed = 0
        async for _, length in source.files.data_ranges(source.path):
            needed += length
        await require_space(files, parent_folder(task.final_path), needed)
        if (
            task.size >= BULK_FROM
            and isinstance(source.files, BulkFiles)
            and isinstance(files, BulkFiles)
        ):
            return await self._copy_in_bulk(task, source.files, files, verify)
        async with self._new_file(task.final_path, task.size) as (path, writer):
            content = FileContent(source, task.size, task.checksum, Progress(task.what))
            await content.copy_to(writer)
            content.check()
            result = await verify(path)
            await writer.commit(task.final_path)
        return result

    async def _copy_in_bulk(
        self,
        task: _Task,
        source_files: BulkFiles,
        target_files: BulkFiles,
        verify: Callable[[str], Awaitable[T]],
    ) -> T:
        with self.temporary.beside(task.final_path) as path:
            try:
                if not await self._copied_by_server(task, path):
                    await self._copied_by_worker(task, source_files, target_files, path)
                result = await verify(path)
                await self.files.rename(path, task.final_path)
            except BaseException:
                # Shielded: a command that is cancelled once more must still not leave the file.
                await asyncio.shield(asyncio.ensure_future(self._discard(path)))
                raise
        return result

    async def _copied_by_server(self, task: _Task, path: str) -> bool:
        """Let the SMB server that has both copy the file; False where that is not possible."""
        files = self.files
        # A checksum needs the bytes to be seen here.
        if task.checksum is not None or files is not task.source.files:
            return False
        if not isinstance(files, ServerCopies):
            return False
        try:
            await files.copy_on_server(task.source.path, path, Progress(task.what))
        except SmbUnsupported as error:
            log.debug("no copy by the server", path=path, reason=str(error))
            return False
        return True

    async def _copied_by_worker(
        self, task: _Task, source_files: BulkFiles, target_files: BulkFiles, path: str
    ) -> None:
        checksum = task.checksum
        done = await bulk_copy(
            source_files,
            task.source.path,
            target_files,
            path,
            size=task.size,
            algorithm=checksum.algorithm if checksum is not None else None,
            rate=self.rate,
            progress=Progress(task.what),
        )
        if checksum is not None:
            checksum.require(done.digest, file_name(task.source.path))

    async def _discard(self, path: str) -> None:
        try:
            await self.files.delete(path)
        except HostFileError as error:
            log.warning("an unfinished copy cannot be removed", path=path, reason=str(error))

    async def _unpack(self, content: Content, final_path: str, unpack: Decompressor) -> DiskInfo:
        """Write what the content unpacks to, as far as the volume has room."""
        space = await self.files.space(parent_folder(final_path))
        room = None if space is None else space.available - SPACE_RESERVE
        async with self._new_file(final_path, 0) as (path, writer):
            await content.unpack_to(writer, unpack, room)
            content.check()
            written = await trusted_disk(self.files, path)
            await writer.commit(final_path)
        return written

    @asynccontextmanager
    async def _new_file(
        self, final_path: str, size: int
    ) -> AsyncIterator[tuple[str, HostFileWriter]]:
        """Give the block an unfinished file, which is gone if the block does not commit it."""
        with self.temporary.beside(final_path) as path:
            writer = await self.files.create(path, size)
            try:
                yield path, writer
            except BaseException:
                await writer.abort()
                raise

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
    for offset, length in parts(0, status.size):
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


async def _existing(source: SourceFile) -> FileStatus:
    status = await source.files.status(source.path)
    if status is None or status.is_folder:
        raise HostFileNotFound(f"{source.path} does not exist")
    return status
