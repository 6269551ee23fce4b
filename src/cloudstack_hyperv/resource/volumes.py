"""Blank volumes made, volumes and templates deleted.

CreateObjectCommand: THIN and SPARSE are dynamic disks, FAT is a fixed one.  A file of that name and
size that no VM has is the result of a command whose answer was lost.

DeleteCommand and DestroyCommand (4.22 sends the latter only to evict a template from primary
storage): what is gone already is a success; what a VM has is refused unless the VM is ours and off,
then it is detached first; a disk with children is refused.  The file is found by exactly the name
that CloudStack knows, never by a search for something like it.

Sources: CloudStack's CreateObjectCommand, DeleteCommand, DestroyCommand (TemplateManagerImpl).
"""

from __future__ import annotations

from typing import Final

import structlog

from cloudstack_hyperv.cim.constants import VhdFormat
from cloudstack_hyperv.hypervisor import drives, images
from cloudstack_hyperv.hypervisor.attachments import list_attachments
from cloudstack_hyperv.hypervisor.errors import WrongState
from cloudstack_hyperv.messages import copy_with
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.storage import CreateObjectAnswer
from cloudstack_hyperv.messages.commands.storage import (
    CreateObjectCommand,
    DeleteCommand,
    DestroyCommand,
)
from cloudstack_hyperv.messages.enums import ImageFormat, ProvisioningType
from cloudstack_hyperv.messages.objects.storage import (
    DataTO,
    PrimaryDataStoreTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
    VolumeTO,
)
from cloudstack_hyperv.resource import host_copies, volume_snapshots
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_safety import DiskUser, require_no_children, users_of
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import machine_directory
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.resource.volume_files import LARGEST, SMALLEST, existing_volume
from cloudstack_hyperv.storage.copying import require_space
from cloudstack_hyperv.storage.locations import (
    disk_path,
    find_disk,
    object_stem,
    pool_of,
    stem_and_format,
)
from cloudstack_hyperv.storage.windows_paths import join_path, parent_folder, same_path

log = structlog.get_logger(__name__)

SECTOR: Final = 512


def _created_keys(command: CreateObjectCommand) -> tuple[str, ...]:
    return _data_keys(command.data)


def _deleted_keys(command: DeleteCommand) -> tuple[str, ...]:
    return _data_keys(command.data)


def _destroyed_keys(command: DestroyCommand) -> tuple[str, ...]:
    path = command.volume.path
    keys = [f"file:{path}", f"file:{path.rpartition('.')[0]}"] if path else []
    return (*keys, f"vm:{command.vm_name}") if command.vm_name else tuple(keys)


def _data_keys(data: DataTO) -> tuple[str, ...]:
    stem = data.path if isinstance(data, SnapshotObjectTO) else data.path or data.uuid
    keys = [f"file:{stem}"] if stem else []
    if isinstance(data, VolumeObjectTO | SnapshotObjectTO) and data.vm_name:
        keys.append(f"vm:{data.vm_name}")
    if isinstance(data, SnapshotObjectTO) and data.volume is not None:
        keys.extend(_data_keys(data.volume))
    return tuple(keys)


@handles(CreateObjectCommand, ordered_by=_created_keys, page="Phase 1; Phase 2: volume service")
async def create_object(command: CreateObjectCommand, context: HostContext) -> CreateObjectAnswer:
    """Make a blank volume (one round trip, two more when it is there), or a volume snapshot."""
    volume = command.data
    if isinstance(volume, SnapshotObjectTO):
        patience = (command.wait or context.settings.direct.default_wait) * 0.9
        return await volume_snapshots.create_snapshot(volume, context, patience)
    if not isinstance(volume, VolumeObjectTO):
        raise CommandRefused("a template is not made but copied")
    folder = storage_access(context).folder_of_pool(pool_of(volume.data_store))
    stem = object_stem(volume.path, volume.uuid)
    disk_format = _wanted_format(volume.format)
    size = host_copies.rounded_up(volume.size or 0, SECTOR)
    if not SMALLEST <= size <= LARGEST[disk_format]:
        raise CommandRefused(
            f"a {disk_format.name} volume has {SMALLEST} to {LARGEST[disk_format]} bytes, not "
            f"{volume.size}"
        )
    present = await existing_volume(context, folder, stem, size)
    if present is None:
        await _create(context, volume, disk_path(folder, stem, disk_format.name), size)
    made_format = present.format.name if present is not None else disk_format.name
    return CreateObjectAnswer(
        result=True, data=copy_with(volume, path=stem, size=size, format=made_format)
    )


async def _create(context: HostContext, volume: VolumeObjectTO, final: str, size: int) -> None:
    fixed = volume.provisioning_type == ProvisioningType.FAT
    if fixed:
        await require_space(context.files, parent_folder(final), size)
    async with host_copies.new_disk(context, final) as path:
        await images.create_disk(
            context.cim,
            path,
            size,
            disk_format=_wanted_format(final.rpartition(".")[2]),
            fixed=fixed,
            block_size=0 if fixed else context.settings.storage.block_size_mib * host_copies.MIB,
        )
        await host_copies.require_size(context, path, size)


@handles(DeleteCommand, ordered_by=_deleted_keys, page="Phase 2: volume service")
async def delete(command: DeleteCommand, context: HostContext) -> Answer:
    """Delete a volume, template or volume snapshot on primary storage."""
    data = command.data
    store = data.image_data_store if isinstance(data, TemplateObjectTO) else data.data_store
    if not isinstance(store, PrimaryDataStoreTO):
        raise CommandRefused("only objects on primary storage are deleted by a hypervisor host")
    if isinstance(data, SnapshotObjectTO):
        return await volume_snapshots.delete_snapshot(data, context)
    folder = storage_access(context).folder_of_pool(store)
    stem = object_stem(data.path, data.uuid)
    if data.format == ImageFormat.ISO:
        return await _delete_file(context, join_path(folder, f"{stem}.iso"))
    return await _delete_disk(context, folder, stem, data.format)


@handles(DestroyCommand, ordered_by=_destroyed_keys, page="Phase 1: template management")
async def destroy(command: DestroyCommand, context: HostContext) -> Answer:
    """Evict a template (or delete a volume) from primary storage, and free its space."""
    volume = command.volume
    folder = await _folder_of(context, volume)
    if not volume.path:
        raise CommandRefused("the volume has neither path nor name")
    stem, disk_format = stem_and_format(volume.path)
    return await _delete_disk(context, folder, stem, disk_format)


async def _folder_of(context: HostContext, volume: VolumeTO) -> str:
    """Return the pool's folder of a VolumeTO, which names it by uuid, type and mount point."""
    folder = await storage_access(context).known_folder(
        volume.storage_pool_uuid, volume.storage_pool_type, volume.mount_point
    )
    if folder is None:
        raise CommandRefused(f"storage pool {volume.storage_pool_uuid} is not known on this host")
    return folder


async def _delete_disk(
    context: HostContext, folder: str, stem: str, disk_format: str | None
) -> Answer:
    path = await find_disk(folder, stem, disk_format, context.files)
    if path is None or await context.files.status(path) is None:
        return Answer(result=True, details=f"{stem} is not in {folder}")
    purpose = f"delete {stem}"
    attachments = await list_attachments(context.cim)
    await require_no_children(context, path, purpose, attachments)
    for user in await users_of(context, path, attachments):
        await _detach(user, path, purpose)
    return await _delete_file(context, path)


async def _delete_file(context: HostContext, path: str) -> Answer:
    deleted = await host_copies.delete_on_host(context, path)
    log.info("deleted", path=path, was_there=deleted)
    return Answer(result=True, details=None if deleted else f"{path} was not there")


async def _detach(user: DiskUser, path: str, purpose: str) -> None:
    """Take the disk out of a VM of ours that is off; raises WrongState for any other user."""
    if not user.is_off:
        raise WrongState(f"{purpose}: {path} is attached to {user}")
    machine = await machine_directory(user.context).find(user.name)
    if (
        machine is None
        or machine.ownership is None
        or machine.guid.upper() != user.attachment.machine_guid
    ):
        raise WrongState(f"{purpose}: {path} is attached to {user}, which is not CloudStack's")
    if not same_path(user.attachment.path, path):
        raise WrongState(f"{purpose}: {user} has a checkpoint over {path}")
    await drives.detach_disk(user.context.cim, machine, path, None)
    log.info("detached a disk that is to be deleted", path=path, vm=user.name)


def _wanted_format(text: str | None) -> VhdFormat:
    """Return the disk format of a word such as "VHDX"; VHDX where nothing is said."""
    try:
        return VhdFormat[(text or "VHDX").upper()]
    except KeyError:
        raise CommandRefused(f"{ascii(text)[:40]} is not a disk format of Hyper-V") from None
