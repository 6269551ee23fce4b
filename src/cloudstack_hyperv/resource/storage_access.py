"""What the storage handlers keep of a host, in `HostMemory` under "storage access".

    stores       the configured stores
    temporary    names of files that this process is making on the host and in stores
    copies       how many copies may run at once
    pools        folder of each pool by uuid, as commands told it

The last can be rebuilt: Startup, ModifyStoragePool and every object on primary storage tell it,
and the local pool's uuid follows from the host's address and folder.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Final, Protocol

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.hypervisor.inventory import read_default_disk_folder
from cloudstack_hyperv.messages.objects.storage import (
    S3TO,
    DataStoreTO,
    PrimaryDataStoreTO,
    StorageFilerTO,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.s3_stores import s3_secondary
from cloudstack_hyperv.storage.composite_files import CompositeFiles
from cloudstack_hyperv.storage.content import SourceFile
from cloudstack_hyperv.storage.copying import Copier
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.host_files import HostFiles
from cloudstack_hyperv.storage.leftovers import TemporaryFiles, owner_mark
from cloudstack_hyperv.storage.locations import folder_of, pool_folder, store_url
from cloudstack_hyperv.storage.stores import Stores, StoreUrl
from cloudstack_hyperv.storage.windows_paths import (
    BadWindowsPath,
    checked_path,
    folded,
    path_key,
    split_path,
)
from cloudstack_hyperv.vhd import DiskInfo

_MEMORY: Final = "storage access"
_LOCAL_POOLS: Final = uuid.UUID("6f0e7c52-6a54-4c0e-9df5-3f1c5a2d7b90")
"""Namespace of the local pools' name-based uuids."""


class SecondaryStore(Protocol):
    """A secondary store: read by paths, written by whole files."""

    @property
    def shown(self) -> str:
        """The store's URL, without credentials."""
        ...

    @property
    def root(self) -> str:
        """Windows path that stands for the store in `files`."""
        ...

    @property
    def files(self) -> HostFiles:
        """For reading."""
        ...

    async def prepare_folder(self, folder: str) -> None:
        """Make a folder of the store where it is missing, else remove what crashed copies left."""
        ...

    async def put_disk(self, source: SourceFile, final: str, *, what: str) -> DiskInfo:
        """Copy a disk into the store, whole or not at all; raises as `Copier.copy_disk`."""
        ...

    async def put_file(self, final: str, content: bytes) -> None:
        """Write a small new file; raises HostFileExists."""
        ...

    async def delete(self, path: str) -> bool:
        """Delete a file; False if it was not there."""
        ...


@dataclass(frozen=True, slots=True)
class SecondaryFiles:
    """A secondary store whose files we reach as files."""

    shown: str
    root: str
    files: HostFiles
    copier: Copier

    async def prepare_folder(self, folder: str) -> None:
        """See `SecondaryStore`."""
        await self.files.make_folder(folder)
        await self.copier.temporary.remove_leftovers(self.files, folder, time.time())

    async def put_disk(self, source: SourceFile, final: str, *, what: str) -> DiskInfo:
        """See `SecondaryStore`."""
        return await self.copier.copy_disk(source, final, what=what)

    async def put_file(self, final: str, content: bytes) -> None:
        """See `SecondaryStore`."""
        await self.copier.write_file(final, content)

    async def delete(self, path: str) -> bool:
        """See `SecondaryStore`."""
        return await self.files.delete(path)


@dataclass(slots=True)
class StorageAccess:
    """See the module."""

    context: HostContext
    stores: Stores
    temporary: TemporaryFiles
    copies: asyncio.Semaphore
    pools: dict[str, str] = field(default_factory=dict)

    @property
    def primary(self) -> Copier:
        """Copies into the host's own files."""
        return self._copier(self.context.files)

    def secondary(self, store: DataStoreTO | None) -> SecondaryStore:
        """Open a secondary store.

        Raises NoLocation, PathNotReachable, BadStoreUrl, S3Unavailable, CommandRefused.
        """
        if isinstance(store, S3TO):
            return s3_secondary(store)
        return self.secondary_by_url(store_url(store))

    def secondary_by_url(self, url: str) -> SecondaryStore:
        """Open a secondary store; raises PathNotReachable, BadStoreUrl."""
        found = self.stores.find(url)
        if found.folder is None and (shared := self._over_smb(url)) is not None:
            return shared
        found = self.stores.require_folder(url)
        files = FolderFiles([MountSettings(host_path=found.root, folder=found.folder or "")])
        return SecondaryFiles(str(found.url), found.root, files, self._copier(files))

    def _over_smb(self, text: str) -> SecondaryFiles | None:
        """Return a store that is reached by SMB, None where no login leads to it."""
        files, url = self.context.files, StoreUrl.parse(text)
        root = url.unc
        if root is None or not isinstance(files, CompositeFiles):
            return None
        if url.credentials is not None:
            files.smb.routes.learn(root, url, url.credentials)
        if not files.smb.routes.reaches(root):
            return None
        return SecondaryFiles(str(url), root, files, self._copier(files))

    def _learn_login(self, pool: PrimaryDataStoreTO | StorageFilerTO, folder: str) -> None:
        """Note the login in an SMB pool's path, for the ways that have none of their own."""
        address, question, _ = (pool.path or "").partition("?")
        if not question or not folder.startswith("\\\\") or not address:
            return
        files = self.context.files
        server = f"{pool.host}:{pool.port}" if pool.port else pool.host
        url = StoreUrl.parse(f"cifs://{server}/{(pool.path or '').lstrip('/')}")
        if isinstance(files, CompositeFiles) and url.credentials is not None:
            files.smb.routes.learn(folder, url, url.credentials)

    def _copier(self, files: HostFiles) -> Copier:
        rate = self.context.settings.storage.copy_rate_mib * (1 << 20)
        return Copier(files, self.temporary, self.copies, rate)

    def folder_of_pool(self, pool: PrimaryDataStoreTO | StorageFilerTO) -> str:
        """Return a pool's folder and remember it by the pool's uuid; raises NoLocation."""
        folder = pool_folder(pool)
        self._learn_login(pool, folder)
        if pool.uuid:
            self.pools[pool.uuid.lower()] = folder
        return folder

    def forget_pool(self, pool_uuid: str | None) -> None:
        """Drop what is known of a pool."""
        self.pools.pop((pool_uuid or "").lower(), None)

    async def known_folder(
        self, pool_uuid: str | None, kind: str | None = None, path: str | None = None
    ) -> str | None:
        """Return the folder of a pool by uuid, or by type and path; None if nothing tells it.

        For an SMB pool the path alone does not name the server; it is enough where exactly one
        configured mount lies at that share and folder.
        """
        if pool_uuid and (folder := self.pools.get(pool_uuid.lower())):
            return folder
        if path and (kind or "").lower() != "smb":
            return folder_of(kind or "Filesystem", None, path)
        if path:
            return self._share_among_mounts(path)
        local = await local_pool_folder(self.context)
        if pool_uuid and pool_uuid.lower() == local_pool_uuid(self.context.private_address, local):
            return local
        return None

    def _share_among_mounts(self, path: str) -> str | None:
        names = [folded(name) for name in re.split(r"[/\\]", path.partition("?")[0]) if name]
        found = set()
        for mount in self.context.host.mounts:
            root = split_path(mount.host_path)
            _, _, share = root.root.strip("\\").partition("\\")
            have = [folded(name) for name in (share, *root.components)]
            if root.root.startswith("\\\\") and names[: len(have)] == have:
                rest = [name for name in re.split(r"[/\\]", path.partition("?")[0]) if name]
                found.add(checked_path("\\".join((mount.host_path, *rest[len(have) :]))))
        return found.pop() if len(found) == 1 else None


def storage_access(context: HostContext) -> StorageAccess:
    """Return what is kept for this host, made on first use; raises BadStoreUrl."""
    access = context.memory.values.get(_MEMORY)
    if not isinstance(access, StorageAccess):
        settings = context.settings.storage
        access = StorageAccess(
            context,
            Stores(settings.stores),
            TemporaryFiles(owner_mark(context.host.name)),
            asyncio.Semaphore(settings.parallel_copies),
        )
        context.memory.values[_MEMORY] = access
    return access


async def local_pool_folder(context: HostContext) -> str:
    """Return the folder of the host's local pool; asks the host where none is configured."""
    configured = context.host.local_pool
    return checked_path(configured or await read_default_disk_folder(context.cim))


def local_pool_uuid(private_address: str, folder: str) -> str:
    """Return the local pool's uuid: the same for the same host and folder, always.

    CloudStack finds the pool again by it at every connect, and nothing is stored for it.
    """
    try:
        key = path_key(folder)
    except BadWindowsPath:
        key = folded(folder)
    return str(uuid.uuid5(_LOCAL_POOLS, f"{private_address}|{key}"))
