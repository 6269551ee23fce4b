r"""Where an object of CloudStack lies: from its transfer object to a Windows path.

The rule of the 2012 design page still holds: only the UUID is persisted, so on primary storage
`path` is a file's stem (`<pool folder>\<path>.<format>`), on secondary storage it is relative to
the store and complete.  After old migrations `path` and `uuid` may differ: `path` wins, `uuid`
stands in where `path` is empty.  `format` null means that the file has to be looked for: `.vhdx`,
then `.vhd`, and both together are refused, because a guess could hit the wrong disk.

Sources: CloudStack's VolumeObjectTO, TemplateObjectTO, PrimaryDataStoreTO, StorageFilerTO.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.messages.objects.storage import (
    DataStoreTO,
    NfsTO,
    PrimaryDataStoreTO,
    StorageFilerTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.storage.host_files import HostFileError, HostFiles, PathNotReachable
from cloudstack_hyperv.storage.stores import Stores
from cloudstack_hyperv.storage.windows_paths import (
    BadWindowsPath,
    checked_path,
    checked_stem,
    join_path,
    join_relative,
    split_extension,
)

DISK_FORMATS: Final = ("VHDX", "VHD")
"""Formats of disks in the order in which a file without a stated format is looked for."""

_FOLDER_POOLS: Final = frozenset({"filesystem", "sharedmountpoint"})


class NoLocation(HostFileError):
    """A transfer object does not say where its file is."""


def pool_folder(pool: PrimaryDataStoreTO | StorageFilerTO) -> str:
    r"""Return the Windows folder of a pool: its path, or `\\host\share\folder` for SMB.

    Raises NoLocation for a kind of pool that Windows cannot run VMs from, BadWindowsPath for a
    path that is none.  A query behind the path (credentials) is dropped.
    """
    kind = pool.pool_type if isinstance(pool, PrimaryDataStoreTO) else pool.type
    return folder_of(kind, pool.host, pool.path)


def folder_of(kind: str | None, host: str | None, path: str | None) -> str:
    """Return the Windows folder of a pool given by type, host and path; see `pool_folder`."""
    text = (path or "").partition("?")[0]
    if not text:
        raise NoLocation("the storage pool has no path")
    lowered = (kind or "").lower()
    if lowered in _FOLDER_POOLS:
        return checked_path(text)
    if lowered == "smb":
        if not host:
            raise NoLocation("the SMB storage pool has no host")
        share = text.replace("/", "\\").strip("\\")
        return checked_path(f"\\\\{host}\\{share}")
    raise NoLocation(
        f"a storage pool of type {ascii(kind)[:40]} cannot hold disks of a Hyper-V host: use SMB, "
        "or Filesystem for a folder or cluster shared volume"
    )


def object_stem(path: str | None, uuid: str | None) -> str:
    """Return the file stem of an object on primary storage; raises NoLocation, BadWindowsPath."""
    stem = path or uuid
    if not stem:
        raise NoLocation("the object has neither path nor uuid")
    return checked_stem(stem)


def stem_and_format(name: str) -> tuple[str, str | None]:
    """Take a disk's name apart as the 2012 contract writes it, with or without extension.

    Returns the stem and the format, None where the name has none; raises BadWindowsPath.
    """
    stem, extension = split_extension(name)
    disk_format = extension.removeprefix(".").upper()
    if disk_format in DISK_FORMATS:
        return checked_stem(stem), disk_format
    return checked_stem(name), None


def disk_path(folder: str, stem: str, disk_format: str) -> str:
    """Return the path of a disk file; raises NoLocation for a format that is no disk's."""
    if disk_format.upper() not in DISK_FORMATS:
        raise NoLocation(f"{ascii(disk_format)[:40]} is not a disk format of Hyper-V (VHDX, VHD)")
    return join_path(folder, f"{checked_stem(stem)}.{disk_format.lower()}")


async def find_disk(
    folder: str, stem: str, disk_format: str | None, files: HostFiles
) -> str | None:
    """Return the path of a disk on primary storage.

    With a format this is pure; without one the file is looked for, None if there is none.
    """
    if disk_format:
        return disk_path(folder, stem, disk_format)
    found = [
        candidate
        for candidate in (disk_path(folder, stem, each) for each in DISK_FORMATS)
        if await files.status(candidate) is not None
    ]
    if len(found) > 1:
        raise NoLocation(f"{' and '.join(found)} both exist and the format is not given")
    return found[0] if found else None


async def volume_path(volume: VolumeObjectTO, files: HostFiles) -> str:
    """Return the Windows path of a volume on primary storage; raises NoLocation."""
    return await _required_disk(
        pool_of(volume.data_store), volume.path, volume.uuid, volume.format, files
    )


async def template_path(template: TemplateObjectTO, files: HostFiles) -> str:
    """Return the Windows path of a template on primary storage; raises NoLocation."""
    pool = pool_of(template.image_data_store)
    return await _required_disk(pool, template.path, template.uuid, template.format, files)


def iso_path(iso: TemplateObjectTO, stores: Stores) -> str:
    """Return the path under which the *host* sees an ISO; raises NoLocation, PathNotReachable."""
    store = iso.image_data_store
    if isinstance(store, PrimaryDataStoreTO):
        return join_path(pool_folder(store), f"{object_stem(iso.path, iso.uuid)}.iso")
    if not iso.path:
        raise NoLocation("the ISO has no path")
    return join_relative(stores.require_host_root(store_url(store)), iso.path)


def pool_of(store: DataStoreTO | None) -> PrimaryDataStoreTO:
    """Return the pool that an object lies in; raises NoLocation if it is no pool."""
    if not isinstance(store, PrimaryDataStoreTO):
        kind = "no store" if store is None else type(store).__name__
        raise NoLocation(f"the object should be on primary storage but has {kind}")
    return store


def store_url(store: DataStoreTO | None) -> str:
    """Return the URL of a secondary store; raises NoLocation, PathNotReachable."""
    if isinstance(store, NfsTO) and store.url:
        return store.url
    if store is None or isinstance(store, NfsTO):
        raise NoLocation("the object names no secondary store")
    raise PathNotReachable(f"secondary storage of kind {type(store).__name__} cannot be reached")


async def _required_disk(
    pool: PrimaryDataStoreTO,
    path: str | None,
    uuid: str | None,
    disk_format: str | None,
    files: HostFiles,
) -> str:
    folder, stem = pool_folder(pool), object_stem(path, uuid)
    found = await find_disk(folder, stem, disk_format, files)
    if found is None:
        raise NoLocation(f"no disk {stem}.vhdx or {stem}.vhd in {folder}")
    return found


__all__ = [
    "DISK_FORMATS",
    "BadWindowsPath",
    "NoLocation",
    "disk_path",
    "find_disk",
    "folder_of",
    "iso_path",
    "object_stem",
    "pool_folder",
    "pool_of",
    "stem_and_format",
    "store_url",
    "template_path",
    "volume_path",
]
