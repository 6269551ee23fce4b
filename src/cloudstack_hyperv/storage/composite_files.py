"""Files of one host by several ways: folders that are mounted on the gateway first, then SMB.

Which way leads to a path follows from the configuration alone, never from whether an attempt
failed: a way that is down must not make its files look like another's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

from cloudstack_hyperv.config import HostSettings, StoreSettings
from cloudstack_hyperv.storage.bulk.ends import BulkEnd, BulkFiles
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.host_files import (
    FileStatus,
    HostFileError,
    HostFiles,
    HostFileWriter,
    VolumeSpace,
)
from cloudstack_hyperv.storage.smb.errors import SmbUnsupported
from cloudstack_hyperv.storage.smb.files import SmbFiles
from cloudstack_hyperv.storage.smb.routes import SmbRoutes
from cloudstack_hyperv.storage.windows_paths import checked_path, relative_to
from cloudstack_hyperv.vhd import DiskInfo


class _Way(HostFiles, BulkFiles, Protocol):
    """One way's files."""


class CompositeFiles:
    """`HostFiles` and `BulkFiles` over folder mounts and SMB.  Close it when done."""

    def __init__(self, folders: FolderFiles, folder_roots: Iterable[str], smb: SmbFiles) -> None:
        self.smb = smb
        self._folders = folders
        self._roots = tuple(checked_path(root) for root in folder_roots)

    @classmethod
    def of_host(cls, host: HostSettings, stores: Iterable[StoreSettings] = ()) -> CompositeFiles:
        """Return the files of a configured host; connects to nothing yet.

        Raises ConfigurationError for a missing secret, BadWindowsPath, BadStoreUrl.
        """
        roots = [mount.host_path for mount in host.mounts]
        return cls(FolderFiles(host.mounts), roots, SmbFiles(SmbRoutes.of_host(host, stores)))

    async def close(self) -> None:
        """Close the connections."""
        await self.smb.close()

    def way(self, path: str) -> _Way:
        """Return the files that lead to `path`; raises BadWindowsPath.

        Where nothing does, the mounts' refusal is the one that tells what is configured.
        """
        mounted = any(relative_to(path, root) is not None for root in self._roots)
        return self._folders if mounted or not self.smb.routes.reaches(path) else self.smb

    async def status(self, path: str) -> FileStatus | None:
        """See `HostFiles`."""
        return await self.way(path).status(path)

    async def list_folder(self, path: str) -> list[FileStatus]:
        """See `HostFiles`."""
        return await self.way(path).list_folder(path)

    async def make_folder(self, path: str) -> None:
        """See `HostFiles`."""
        await self.way(path).make_folder(path)

    async def read(self, path: str, offset: int, length: int) -> bytes:
        """See `HostFiles`."""
        return await self.way(path).read(path, offset, length)

    async def data_ranges(self, path: str) -> AsyncIterator[tuple[int, int]]:
        """See `HostFiles`."""
        async for found in self.way(path).data_ranges(path):
            yield found

    async def create(self, temporary_path: str, size: int) -> HostFileWriter:
        """See `HostFiles`."""
        return await self.way(temporary_path).create(temporary_path, size)

    async def rename(self, path: str, new_path: str) -> None:
        """See `HostFiles`; raises HostFileError where two ways lead to the two names."""
        way = self.way(path)
        if way is not self.way(new_path):
            raise HostFileError(
                f"{path} cannot be renamed to {new_path}: they are reached by different ways"
            )
        await way.rename(path, new_path)

    async def delete(self, path: str) -> bool:
        """See `HostFiles`."""
        return await self.way(path).delete(path)

    async def disk_info(self, path: str) -> DiskInfo:
        """See `HostFiles`."""
        return await self.way(path).disk_info(path)

    async def space(self, path: str) -> VolumeSpace | None:
        """See `HostFiles`."""
        return await self.way(path).space(path)

    async def copy_on_server(
        self, path: str, temporary_path: str, progress: Callable[[float], None]
    ) -> None:
        """Have an SMB server copy one of its files; raises SmbUnsupported where it cannot."""
        if self.way(path) is not self.smb or self.way(temporary_path) is not self.smb:
            raise SmbUnsupported(f"{path} and {temporary_path} do not lie on one SMB server")
        await self.smb.copy_on_server(path, temporary_path, progress)

    async def source_end(self, path: str) -> BulkEnd:
        """See `BulkFiles`."""
        return await self.way(path).source_end(path)

    async def target_end(self, temporary_path: str, size: int) -> BulkEnd:
        """See `BulkFiles`."""
        return await self.way(temporary_path).target_end(temporary_path, size)
