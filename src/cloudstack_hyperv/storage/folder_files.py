"""`HostFiles` over folders of the gateway that are folders of the host.

This is how the agent reaches the emulated host's disks and a store that the operator mounted.
All input and output blocks, so it runs in threads; a file that is being written is guarded by a
lock, so that a cancelled command cannot close it under a write that is still going on.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.storage.bulk.ends import FolderEnd
from cloudstack_hyperv.storage.folder_tree import (
    FolderTree,
    Mount,
    entry_status,
    move_without_overwriting,
    open_entry,
    translated,
)
from cloudstack_hyperv.storage.host_files import (
    FileStatus,
    HostFileError,
    HostFileNotFound,
    VolumeSpace,
)
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath, file_name, join_path
from cloudstack_hyperv.vhd import DiskInfo, format_of_name, read_info
from cloudstack_hyperv.vhd.files import Buffer


class FolderFiles:
    """Files below the configured mounts."""

    def __init__(self, mounts: Iterable[MountSettings]) -> None:
        """Check the mounts; raises BadWindowsPath for a host path that is none."""
        self._tree = FolderTree(Mount.from_settings(mount) for mount in mounts)

    async def status(self, path: str) -> FileStatus | None:
        """See `HostFiles`."""
        return await asyncio.to_thread(self._status, path)

    async def list_folder(self, path: str) -> list[FileStatus]:
        """See `HostFiles`.  Entries that Windows could not name, and links, are left out."""
        return await asyncio.to_thread(self._list_folder, path)

    async def make_folder(self, path: str) -> None:
        """See `HostFiles`."""
        await asyncio.to_thread(self._make_folder, path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """See `HostFiles`."""
        return await asyncio.to_thread(self._read, path, offset, length)

    async def data_ranges(self, path: str) -> AsyncIterator[tuple[int, int]]:
        """See `HostFiles`."""
        for found in await asyncio.to_thread(self._data_ranges, path):
            yield found

    async def create(self, temporary_path: str, size: int) -> FolderFileWriter:
        """See `HostFiles`."""
        descriptor = await asyncio.to_thread(self._create, temporary_path, size)
        return FolderFileWriter(self._tree, temporary_path, descriptor)

    async def rename(self, path: str, new_path: str) -> None:
        """See `HostFiles`."""
        await asyncio.to_thread(move, self._tree, path, new_path)

    async def delete(self, path: str) -> bool:
        """See `HostFiles`."""
        return await asyncio.to_thread(remove, self._tree, path)

    async def disk_info(self, path: str) -> DiskInfo:
        """See `HostFiles`."""
        return await asyncio.to_thread(self._disk_info, path)

    async def space(self, path: str) -> VolumeSpace | None:
        """See `HostFiles`."""
        return await asyncio.to_thread(self._space, path)

    async def source_end(self, path: str) -> FolderEnd:
        """See `BulkFiles`."""
        return FolderEnd(path, await asyncio.to_thread(self._descriptor, path))

    async def target_end(self, temporary_path: str, size: int) -> FolderEnd:
        """See `BulkFiles`.  The file is there from now on."""
        return FolderEnd(
            temporary_path, await asyncio.to_thread(self._create, temporary_path, size)
        )

    def _descriptor(self, path: str) -> int:
        with self._tree.place(path) as place:
            return open_entry(place)

    def _status(self, path: str) -> FileStatus | None:
        try:
            with self._tree.place(path) as place:
                status = entry_status(place)
                return None if status is None else _file_status(place.path, status)
        except HostFileNotFound:
            return None

    def _list_folder(self, path: str) -> list[FileStatus]:
        with self._open(path, os.O_RDONLY | os.O_DIRECTORY) as folder, translated(path):
            found = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        name = join_path(path, entry.name)
                        status = entry.stat(follow_symlinks=False)
                    except (BadWindowsPath, FileNotFoundError):
                        continue
                    if not stat.S_ISLNK(status.st_mode):
                        found.append(_file_status(name, status))
            return sorted(found, key=lambda status: status.path)

    def _make_folder(self, path: str) -> None:
        with self._tree.place(path, make_parents=True) as place:
            if not place.exists:
                os.mkdir(place.name, dir_fd=place.folder)
            elif not stat.S_ISDIR(os.stat(place.name, dir_fd=place.folder).st_mode):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)

    def _read(self, path: str, offset: int, length: int) -> bytes:
        with self._open(path) as descriptor, translated(path):
            return OpenFile(descriptor).pread(offset, length)

    def _data_ranges(self, path: str) -> list[tuple[int, int]]:
        with self._open(path) as descriptor, translated(path):
            return list(_data_ranges(descriptor))

    def _create(self, path: str, size: int) -> int:
        with self._tree.place(path) as place:
            if place.exists:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(place.name, flags, 0o666, dir_fd=place.folder)
            try:
                os.ftruncate(descriptor, size)
            except OSError:
                os.close(descriptor)
                os.unlink(place.name, dir_fd=place.folder)
                raise
            return descriptor

    def _disk_info(self, path: str) -> DiskInfo:
        with self._open(path) as descriptor, translated(path):
            # By the name, as Windows does: a guest could write another format's signature into the
            # first sector of a fixed VHD.
            return read_info(OpenFile(descriptor), disk_format=format_of_name(file_name(path)))

    def _space(self, path: str) -> VolumeSpace:
        with self._open(path, os.O_RDONLY) as descriptor, translated(path):
            volume = os.fstatvfs(descriptor)
            return VolumeSpace(
                capacity=volume.f_blocks * volume.f_frsize,
                available=volume.f_bavail * volume.f_frsize,
            )

    @contextmanager
    def _open(self, path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
        with self._tree.place(path) as place:
            descriptor = open_entry(place, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class FolderFileWriter:
    """A file that is being written under its temporary name."""

    def __init__(self, tree: FolderTree, path: str, descriptor: int) -> None:
        self._tree = tree
        self._path = path
        self._descriptor: int | None = descriptor
        self._lock = threading.Lock()

    async def write(self, offset: int, data: bytes) -> None:
        """See `HostFileWriter`."""
        await asyncio.to_thread(self._write, offset, data)

    async def commit(self, final_path: str) -> None:
        """See `HostFileWriter`."""
        await asyncio.to_thread(self._commit, final_path)

    async def abort(self) -> None:
        """See `HostFileWriter`."""
        # Shielded: a command that is cancelled once more must still not leave the file.
        await asyncio.shield(asyncio.to_thread(self._abort))

    def _write(self, offset: int, data: bytes) -> None:
        with self._lock:
            if self._descriptor is None:
                return
            with translated(self._path):
                OpenFile(self._descriptor).pwrite(offset, data)

    def _commit(self, final_path: str) -> None:
        with self._lock:
            if self._descriptor is None:
                raise HostFileError(f"{self._path}: the file was given up before")
            with translated(self._path):
                os.fsync(self._descriptor)
            move(self._tree, self._path, final_path)
            os.close(self._descriptor)
            self._descriptor = None

    def _abort(self) -> None:
        with self._lock:
            if self._descriptor is None:
                return
            os.close(self._descriptor)
            self._descriptor = None
            remove(self._tree, self._path)


class OpenFile:
    """An open descriptor as `vhd.RandomAccessFile`; closing it is its owner's business."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def pread(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes; less only at the end of the file."""
        parts = []
        while length > 0 and (data := os.pread(self._descriptor, length, offset)):
            parts.append(data)
            offset, length = offset + len(data), length - len(data)
        return b"".join(parts)

    def pwrite(self, offset: int, data: Buffer) -> None:
        """Write all of `data`."""
        view = memoryview(data).cast("B")
        while view:
            done = os.pwrite(self._descriptor, view, offset)
            offset, view = offset + done, view[done:]

    def size(self) -> int:
        """Return the file's length."""
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        """Set the file's length."""
        os.ftruncate(self._descriptor, size)

    def flush(self) -> None:
        """Make what was written stable."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Leave the descriptor to its owner."""


def move(tree: FolderTree, path: str, new_path: str) -> None:
    """Rename a file within `tree`; raises HostFileNotFound, HostFileExists."""
    with tree.place(path) as source:
        if not source.exists:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        with tree.place(new_path) as target:
            move_without_overwriting(source, target)


def remove(tree: FolderTree, path: str) -> bool:
    """Delete a file; False if it was not there."""
    with tree.place(path) as place:
        if not place.exists:
            return False
        try:
            os.unlink(place.name, dir_fd=place.folder)
        except FileNotFoundError:
            return False
        return True


def _file_status(path: str, status: os.stat_result) -> FileStatus:
    return FileStatus(
        path=path,
        size=0 if stat.S_ISDIR(status.st_mode) else status.st_size,
        is_folder=stat.S_ISDIR(status.st_mode),
        modified=status.st_mtime,
    )


def _data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    size = os.fstat(descriptor).st_size
    offset = 0
    while offset < size:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        if start < offset:
            yield start, offset - start
