"""`HostFiles` over SMB: a Hyper-V host's drives and shares, and stores on other servers.

smbprotocol blocks, so every call runs in a thread.  Each request to a server has a deadline.

After a lost connection, what only reads is asked once more on a new one.  Of what changes
something, only that counts as done whose outcome can be told afterwards: a rename when the new
name is there and the old one is not, a delete when the file is gone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

import structlog

from cloudstack_hyperv.storage.bulk.ends import SmbEnd
from cloudstack_hyperv.storage.host_files import (
    FileStatus,
    HostFileError,
    HostFileExists,
    HostFileNotFound,
    PathNotReachable,
    VolumeSpace,
)
from cloudstack_hyperv.storage.smb.errors import SmbConnectionLost, SmbInUse, SmbUnreachable
from cloudstack_hyperv.storage.smb.pipeline import read_ranges
from cloudstack_hyperv.storage.smb.remote_file import Purpose, RemoteFile
from cloudstack_hyperv.storage.smb.routes import SmbPlace, SmbRoutes
from cloudstack_hyperv.storage.smb.server import SmbServer
from cloudstack_hyperv.storage.smb.server_copy import copy_on_server
from cloudstack_hyperv.storage.smb.session import SmbPool, SmbSession
from cloudstack_hyperv.storage.smb.threads import SmbThreads
from cloudstack_hyperv.storage.smb.writer import NewFile, SmbFileWriter
from cloudstack_hyperv.storage.windows_paths import file_name
from cloudstack_hyperv.vhd import DiskInfo, format_of_name, read_info
from cloudstack_hyperv.vhd.files import Buffer

log = structlog.get_logger(__name__)

RELEASE_SECONDS: Final = 2.0
"""How long a delete waits for a file that is in use: a server notices some time after us that a
connection is gone, and only then closes what was open on it (an unfinished copy, say)."""

_Result = TypeVar("_Result")


class SmbFiles:
    """Files that `routes` lead to.  Close it when done."""

    def __init__(self, routes: SmbRoutes) -> None:
        self.routes = routes
        self._threads = SmbThreads()
        self._pools: dict[SmbServer, SmbPool] = {}
        self._lock = threading.Lock()

    async def close(self) -> None:
        """Log off everywhere."""
        with self._lock:
            pools = list(self._pools.values())
        for pool in pools:
            await self._threads.run(pool.close)
        self._threads.close()

    async def status(self, path: str) -> FileStatus | None:
        """See `HostFiles`."""
        try:
            return await self._with_file(path, Purpose.LOOK, RemoteFile.status)
        except HostFileNotFound:
            return None

    async def list_folder(self, path: str) -> list[FileStatus]:
        """See `HostFiles`.  Entries that Windows could not name, and links, are left out."""
        found = await self._with_file(path, Purpose.LIST, lambda folder: list(folder.entries()))
        return sorted(found, key=lambda status: status.path)

    async def make_folder(self, path: str) -> None:
        """See `HostFiles`."""
        await self._again(path, _make_folder)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """See `HostFiles`."""
        return await self._with_file(
            path, Purpose.READ, lambda file: _ReadOnly(file).pread(offset, length)
        )

    async def data_ranges(self, path: str) -> AsyncIterator[tuple[int, int]]:
        """See `HostFiles`."""
        for found in await self._with_file(
            path, Purpose.READ, lambda file: list(file.allocated_ranges())
        ):
            yield found

    async def create(self, temporary_path: str, size: int) -> SmbFileWriter:
        """See `HostFiles`."""
        place = self.routes.place_of(temporary_path)
        file = await self._threads.run(NewFile, place, size)
        return SmbFileWriter(file, self.routes, self._threads, self.delete)

    async def rename(self, path: str, new_path: str) -> None:
        """See `HostFiles`."""
        source, target = self.routes.on_one_share(path, new_path)

        def renamed(session: SmbSession) -> None:
            with _opened(session, source, Purpose.RENAME) as file:
                file.rename(target.name)

        try:
            await self._once(source, renamed)
        except SmbUnreachable:
            raise
        except SmbConnectionLost:
            if await self.status(new_path) is None or await self.status(path) is not None:
                raise

    async def delete(self, path: str) -> bool:
        """See `HostFiles`."""
        place = self.routes.place_of(path)

        def deleted(session: SmbSession) -> None:
            _opened(session, place, Purpose.DELETE).close()

        deadline = time.monotonic() + RELEASE_SECONDS
        while True:
            try:
                await self._once(place, deleted)
            except HostFileNotFound:
                return False
            except SmbInUse:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RELEASE_SECONDS / 10)
                continue
            except SmbUnreachable:
                raise
            except SmbConnectionLost:
                if await self.status(path) is not None:
                    raise
            return True

    async def disk_info(self, path: str) -> DiskInfo:
        """See `HostFiles`.  By the file's name, as Windows goes by it; a few small reads."""
        disk_format = format_of_name(file_name(path))
        return await self._with_file(
            path, Purpose.READ, lambda file: read_info(_ReadOnly(file), disk_format=disk_format)
        )

    async def space(self, path: str) -> VolumeSpace | None:
        """See `HostFiles`."""
        return await self._with_file(path, Purpose.LOOK, RemoteFile.space)

    async def copy_on_server(
        self,
        path: str,
        temporary_path: str,
        progress: Callable[[float], None] = lambda _: None,
    ) -> int:
        """Have the server copy a file to a new one, and return its size: no byte comes here.

        `progress` is called with 0.0 to 1.0.  Raises SmbUnsupported where the two do not lie on
        one server or it cannot do so (nothing is left: copy in another way), HostFileExists,
        NoSpaceLeft; after any error the new file is gone, unless the connection was lost.
        When it is cancelled the server stops within a request, and the file goes with it; a
        cancelled command deletes it all the same, for the copy may just have been done.
        """
        source, target = self.routes.place_of(path), self.routes.place_of(temporary_path)
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def tell(fraction: float) -> None:
            loop.call_soon_threadsafe(progress, fraction)

        try:
            return await self._threads.run(copy_on_server, source, target, tell, stop)
        finally:
            stop.set()

    async def source_end(self, path: str) -> SmbEnd:
        """See `BulkFiles`."""
        return SmbEnd(self.routes.place_of(path))

    async def target_end(self, temporary_path: str, size: int) -> SmbEnd:
        """See `BulkFiles`.  The worker creates the file."""
        del size
        return SmbEnd(self.routes.place_of(temporary_path))

    async def _with_file(
        self, path: str, purpose: Purpose, work: Callable[[RemoteFile], _Result]
    ) -> _Result:
        def done(session: SmbSession, place: SmbPlace) -> _Result:
            with _opened(session, place, purpose) as file:
                return work(file)

        return await self._again(path, done)

    async def _again(self, path: str, work: Callable[[SmbSession, SmbPlace], _Result]) -> _Result:
        """Run `work`, once more after a lost connection: for what may be done twice."""
        place = self.routes.place_of(path)
        try:
            return await self._once(place, lambda session: work(session, place))
        except SmbUnreachable:
            raise
        except SmbConnectionLost as error:
            log.info("SMB connection lost, asking again", path=path, reason=str(error))
            return await self._once(place, lambda session: work(session, place))

    async def _once(self, place: SmbPlace, work: Callable[[SmbSession], _Result]) -> _Result:
        with self._lock:
            pool = self._pools.get(place.server)
            if pool is None:
                pool = self._pools[place.server] = SmbPool(place.server)

        def leased() -> _Result:
            with pool.lease() as session:
                return work(session)

        return await self._threads.run(leased)


class _ReadOnly:
    """A remote file as `vhd.RandomAccessFile`, for reading its metadata."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file

    def pread(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; shorter only where the file ends."""
        length = min(length, max(self._file.size - offset, 0))
        if length <= 0:
            return b""
        return b"".join(data for _, data in read_ranges(self._file, [(offset, length)]))

    def size(self) -> int:
        """The length of the file in bytes."""
        return self._file.size

    def pwrite(self, offset: int, data: Buffer) -> None:
        """Refuse: the file is open for reading."""
        raise HostFileError(f"{self._file.path}: no {len(data)} bytes at {offset}, it is read-only")

    def truncate(self, size: int) -> None:
        """Refuse: the file is open for reading."""
        raise HostFileError(f"{self._file.path}: not set to {size} bytes, it is read-only")

    def flush(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """Leave the file to its owner."""


def _opened(session: SmbSession, place: SmbPlace, purpose: Purpose) -> RemoteFile:
    return RemoteFile(session, place.share, place.name, place.path, purpose)


def _make_folder(session: SmbSession, place: SmbPlace) -> None:
    """Make the folder; its parents only where it turns out that they are missing."""
    try:
        _make_one(session, place, place.name)
        return
    except HostFileNotFound:
        names = place.name.split("\\")
    for depth in range(1, len(names) + 1):
        _make_one(session, place, "\\".join(names[:depth]))


def _make_one(session: SmbSession, place: SmbPlace, name: str) -> None:
    try:
        RemoteFile(session, place.share, name, place.path, Purpose.MAKE_FOLDER).close()
    except (HostFileExists, PathNotReachable) as error:
        # Windows tells of a file with this name by one status, Samba by the other.
        with RemoteFile(session, place.share, name, place.path, Purpose.LOOK) as found:
            if found.status().is_folder:
                raise
        raise HostFileExists(f"{place.path}: a file has the name of a folder on the way") from error
