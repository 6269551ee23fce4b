"""Primary storage pools: made usable, measured, given up; their data is never touched.

CreateStoragePool that fails makes the management server forget the pool; ModifyStoragePool comes
at every connect and must say `poolInfo.localPath`, which DefaultHostListener edits unchecked.  A
pool is usable if a file can be written and read back in it.  Used space is capacity minus
available.

The credentials in an SMB pool's path are for ourselves; running VMs open their disks as the
host's computer account, which needs rights on share and folder (Microsoft, "Deploy Hyper-V over
SMB").
"""

from __future__ import annotations

import secrets
import time

from cloudstack_hyperv.hypervisor.inventory import read_volumes, volume_of
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.monitoring import GetStorageStatsAnswer
from cloudstack_hyperv.messages.answers.storage import ModifyStoragePoolAnswer
from cloudstack_hyperv.messages.commands.monitoring import GetStorageStatsCommand
from cloudstack_hyperv.messages.commands.storage import (
    CreateStoragePoolCommand,
    DeleteStoragePoolCommand,
    ModifyStoragePoolCommand,
)
from cloudstack_hyperv.messages.objects.storage import StorageFilerTO, StoragePoolInfo
from cloudstack_hyperv.resource.checkpoint_leftovers import remove_leftover_checkpoints
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.snapshot_copies import snapshot_folder
from cloudstack_hyperv.resource.storage_access import StorageAccess, storage_access
from cloudstack_hyperv.storage.host_files import HostFileError, HostFileNotFound, VolumeSpace
from cloudstack_hyperv.storage.windows_paths import join_path


def _pool_key(command: CreateStoragePoolCommand | ModifyStoragePoolCommand) -> tuple[str, ...]:
    return (f"pool:{command.pool.uuid}",)


@handles(CreateStoragePoolCommand, ordered_by=_pool_key, page="Phase 1: local primary storage")
async def create_storage_pool(command: CreateStoragePoolCommand, context: HostContext) -> Answer:
    """Check that the pool can be used; nothing is made."""
    if not command.add:
        storage_access(context).forget_pool(command.pool.uuid)
        return Answer(result=True)
    folder = await _usable_folder(storage_access(context), command.pool)
    return Answer(result=True, details=f"{folder} can be read and written")


@handles(ModifyStoragePoolCommand, ordered_by=_pool_key, page="Phase 1: local primary storage")
async def modify_storage_pool(
    command: ModifyStoragePoolCommand, context: HostContext
) -> ModifyStoragePoolAnswer:
    """Make the pool usable on this host and measure it; or give it up (`add` false)."""
    access, pool = storage_access(context), command.pool
    if not command.add:
        folder = access.folder_of_pool(pool)
        access.forget_pool(pool.uuid)
        return _modified(pool, folder, VolumeSpace(0, 0))
    folder = await _usable_folder(access, pool)
    await _remove_leftovers(access, folder)
    return _modified(pool, folder, await _space_of(context, folder))


@handles(DeleteStoragePoolCommand, page="Phase 1: local primary storage")
async def delete_storage_pool(command: DeleteStoragePoolCommand, context: HostContext) -> Answer:
    """Give the pool up: its files stay, an unknown one is a success."""
    storage_access(context).forget_pool(command.pool.uuid)
    return Answer(result=True, details="the pool is given up; its files were not touched")


@handles(GetStorageStatsCommand, page="Phase 1: storage statistics")
async def get_storage_stats(
    command: GetStorageStatsCommand, context: HostContext
) -> GetStorageStatsAnswer:
    """Measure a pool by uuid, type and path, or a secondary store by its URL; bytes."""
    access = storage_access(context)
    if command.store is not None or command.sec_url:
        secondary = (
            access.secondary(command.store)
            if command.store is not None
            else access.secondary_by_url(command.sec_url or "")
        )
        space = _known(await secondary.files.space(secondary.root), secondary.shown)
    else:
        folder = await access.known_folder(command.id, command.pooltype, command.local_path)
        if folder is None:
            raise CommandRefused(
                f"storage pool {command.id} is not known on this host yet; it is told with "
                "ModifyStoragePoolCommand at the next connect"
            )
        space = await _space_of(context, folder)
    return GetStorageStatsAnswer(
        result=True,
        used_bytes=space.capacity - space.available,
        capacity_bytes=space.capacity,
    )


async def _remove_leftovers(access: StorageAccess, folder: str) -> None:
    """Remove what crashed commands left in the pool and, as checkpoints, on its VMs."""
    files = access.context.files
    for each in (folder, snapshot_folder(folder)):
        if await files.status(each) is not None:
            await access.temporary.remove_leftovers(files, each, time.time())
    await remove_leftover_checkpoints(access.context)


async def _usable_folder(access: StorageAccess, pool: StorageFilerTO) -> str:
    """Return the pool's folder after a file was written there and read back."""
    folder = access.folder_of_pool(pool)
    files = access.context.files
    status = await files.status(folder)
    if status is None or not status.is_folder:
        raise HostFileNotFound(f"the storage pool's folder {folder} does not exist")
    content = secrets.token_bytes(512)
    with (
        access.temporary.beside(join_path(folder, "pool-test.txt")) as path,
        access.temporary.beside(join_path(folder, "pool-test.txt")) as final,
    ):
        writer = await files.create(path, len(content))
        try:
            await writer.write(0, content)
            # A write may still be on its way until then.
            await writer.commit(final)
        finally:
            await writer.abort()
        try:
            read_back = await files.read(final, 0, len(content))
        finally:
            await files.delete(final)
    if read_back != content:
        raise HostFileError(f"{folder}: what was written to the pool reads back otherwise")
    return folder


async def _space_of(context: HostContext, folder: str) -> VolumeSpace:
    """Ask the host for a folder on its drives, the way that leads there for a share."""
    if not folder.startswith("\\\\"):
        volume = volume_of(await read_volumes(context.cim), folder)
        if volume is not None:
            return VolumeSpace(volume.capacity, volume.free)
    return _known(await context.files.space(folder), folder)


def _known(space: VolumeSpace | None, place: str) -> VolumeSpace:
    if space is None:
        raise HostFileError(f"nothing tells the capacity of {place}")
    return space


def _modified(pool: StorageFilerTO, folder: str, space: VolumeSpace) -> ModifyStoragePoolAnswer:
    return ModifyStoragePoolAnswer(
        result=True,
        template_info={},
        pool_info=StoragePoolInfo(
            uuid=pool.uuid,
            host=pool.host,
            local_path=folder,
            host_path=(pool.path or "").partition("?")[0],
            pool_type=pool.type,
            capacity_bytes=space.capacity,
            available_bytes=space.available,
        ),
    )
