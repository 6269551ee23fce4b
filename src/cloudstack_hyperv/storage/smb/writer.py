"""A new file on a share, written under its temporary name and renamed when it is whole.

Writes run behind: several are in flight while the caller prepares the next.  The file has a
connection of its own, so that a long copy does not hold up small requests, and a lock, so that a
cancelled command cannot close it under a write that is still going on in its thread.

A connection that is lost ends the file: what the server had not yet written out is unknown here.
Bulk copies, which can read their source again, resume instead (`storage.bulk`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.storage.smb.errors import SmbConnectionLost
from cloudstack_hyperv.storage.smb.pipeline import Writer
from cloudstack_hyperv.storage.smb.remote_file import Purpose, RemoteFile
from cloudstack_hyperv.storage.smb.routes import SmbPlace, SmbRoutes
from cloudstack_hyperv.storage.smb.session import SmbSession
from cloudstack_hyperv.storage.smb.threads import SmbThreads
from cloudstack_hyperv.vhd.files import Buffer


class NewFile:
    """The blocking side of a file that is being written."""

    def __init__(self, place: SmbPlace, size: int) -> None:
        """Connect and create the file; raises HostFileExists, NoSpaceLeft."""
        self.place = place
        self._lock = threading.Lock()
        self._session: SmbSession | None = SmbSession(place.server)
        try:
            self._file = create_file(self._session, place, size)
        except BaseException:
            self._session.drop()
            raise
        self._writer = Writer(self._file)

    def write(self, offset: int, data: Buffer) -> None:
        """Send `data` on its way; does nothing once the file was given up."""
        with self._lock:
            if self._session is not None:
                self._writer.write(offset, data)

    def commit(self, target: SmbPlace) -> None:
        """Wait for the writes, have them written out, and rename; raises HostFileExists."""
        with self._lock:
            if self._session is None:
                raise HostFileError(f"{self.place.path}: the file was given up before")
            self._writer.drain()
            self._file.flush()
            self._file.rename(target.name)
            self._file.close()
            self._end()

    def give_up(self) -> bool:
        """Remove the file, unless it was committed or given up before.

        True if that must be tried again on another connection.
        """
        with self._lock:
            if self._session is None:
                return False
            try:
                self._file.delete_at_close()
                self._file.close()
            except HostFileError:
                self._session.drop()
                self._session = None
                return True
            self._end()
            return False

    def _end(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None


class SmbFileWriter:
    """`HostFileWriter` over `NewFile`."""

    def __init__(
        self,
        file: NewFile,
        routes: SmbRoutes,
        threads: SmbThreads,
        delete: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._file = file
        self._routes = routes
        self._threads = threads
        self._delete = delete

    async def write(self, offset: int, data: bytes) -> None:
        """See `HostFileWriter`.  What goes wrong may show only in a later call."""
        await self._threads.run(self._file.write, offset, data)

    async def commit(self, final_path: str) -> None:
        """See `HostFileWriter`."""
        _, target = self._routes.on_one_share(self._file.place.path, final_path)
        await self._threads.run(self._file.commit, target)

    async def abort(self) -> None:
        """See `HostFileWriter`."""
        # Shielded: a command that is cancelled once more must still not leave the file.
        await asyncio.shield(self._abort())

    async def _abort(self) -> None:
        if await self._threads.run(self._file.give_up):
            await self._delete(self._file.place.path)


def create_file(session: SmbSession, place: SmbPlace, size: int) -> RemoteFile:
    """Create a file of `size` bytes that reads as zeros; raises HostFileExists, NoSpaceLeft."""
    file = RemoteFile(session, place.share, place.name, place.path, Purpose.CREATE)
    try:
        if place.server.sparse_files:
            file.mark_sparse()
        if size:
            file.set_size(size)
    except SmbConnectionLost:
        raise
    except HostFileError:
        file.delete_at_close()
        file.close()
        raise
    return file
