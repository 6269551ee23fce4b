"""CopyCommand's cases that begin with a volume snapshot: backup, volume, template.

On primary storage a snapshot is a disk of its own, `<pool>\\snapshots\\<path>.<format>`, that
nobody changes; so a copy of it is a full one, and `parentSnapshotPath` of the answer is empty.  On
secondary storage it lies as `snapshots/<account>/<volume id>/<name>.<format>` and its `path` is
that, complete.  A snapshot is not deleted here: CloudStack sends a DeleteCommand.

Sources: CloudStack's AncientDataMotionStrategy (copySnapshot, createVolumeFromSnapshot),
SnapshotObject.processEvent.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.commands.storage import CopyCommand
from cloudstack_hyperv.messages.enums import ProvisioningType
from cloudstack_hyperv.messages.objects.storage import (
    PrimaryDataStoreTO,
    SnapshotObjectTO,
    TemplateObjectTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.resource.arriving_disks import arrive, template_format, volume_format
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.departing_disks import (
    Departed,
    depart,
    finish_template,
    make_template,
    template_in,
)
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.finished_copies import derived_stem, finished_disk
from cloudstack_hyperv.resource.storage_access import SecondaryStore, storage_access
from cloudstack_hyperv.resource.volume_files import existing_volume, volume_answer
from cloudstack_hyperv.storage.content import SourceFile
from cloudstack_hyperv.storage.copying import trusted_disk
from cloudstack_hyperv.storage.host_files import HostFileExists, HostFileNotFound
from cloudstack_hyperv.storage.locations import disk_path, find_disk, object_stem, pool_of
from cloudstack_hyperv.storage.windows_paths import file_name, join_path, join_relative
from cloudstack_hyperv.vhd import DiskFormat

SNAPSHOT_FOLDER: Final = "snapshots"
"""Folder of a pool that holds its volumes' snapshots."""


def snapshot_folder(pool_folder: str) -> str:
    """Return the folder of a pool's snapshots."""
    return join_path(pool_folder, SNAPSHOT_FOLDER)


async def snapshot_out(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Back a snapshot up to a secondary store."""
    source, destination = command.src_to, command.dest_to
    if not isinstance(source, SnapshotObjectTO) or not isinstance(destination, SnapshotObjectTO):
        raise CommandRefused("a snapshot is backed up to a snapshot")
    if not destination.path:
        raise CommandRefused("the snapshot has no folder on secondary storage")
    secondary = storage_access(context).secondary(destination.data_store)
    path = await _on_primary(context, source)
    info = await trusted_disk(context.files, path)
    made = await depart(
        context,
        path,
        secondary,
        join_relative(secondary.root, destination.path),
        object_stem(source.path, None),
        what=f"back up snapshot {source.name or source.path}",
        disk_format=info.format,
    )
    status = await secondary.files.status(made.path)
    return CopyCmdAnswer(
        result=True,
        new_data=SnapshotObjectTO(
            path=f"{destination.path.rstrip('/')}/{file_name(made.path)}",
            physical_size=status.size if status is not None else None,
        ),
    )


async def volume_from_snapshot(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Make a volume of a snapshot, wherever that lies; grown to the size that is wanted."""
    source, volume = command.src_to, command.dest_to
    if not isinstance(source, SnapshotObjectTO) or not isinstance(volume, VolumeObjectTO):
        raise CommandRefused("a volume is made of a snapshot")
    folder = storage_access(context).folder_of_pool(pool_of(volume.data_store))
    snapshot = await _snapshot_file(context, source)
    info = await trusted_disk(snapshot.files, snapshot.path)
    wanted = host_copies.rounded_up(
        max(info.virtual_size, volume.size or 0), info.logical_sector_size
    )
    stem = object_stem(volume.path, volume.uuid)
    present = await existing_volume(context, folder, stem, wanted)
    if present is not None:
        return volume_answer(stem, present)
    final = disk_path(folder, stem, volume_format(volume.format, info.format.name))
    what = f"volume {volume.name or stem}"
    fixed = volume.provisioning_type == ProvisioningType.FAT
    if isinstance(source.data_store, PrimaryDataStoreTO):
        made = await host_copies.convert(
            context,
            snapshot.path,
            final,
            what=what,
            disk_format=DiskFormat[final.rpartition(".")[2].upper()],
            fixed=fixed,
            grow_to=wanted,
        )
    else:
        grow_to = wanted if wanted > info.virtual_size else 0
        made = await arrive(context, snapshot, final, what=what, fixed=fixed, grow_to=grow_to)
    return volume_answer(stem, made)


async def template_from_snapshot(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Make a template on a secondary store of a snapshot, wherever that lies."""
    source, template = command.src_to, command.dest_to
    if not isinstance(source, SnapshotObjectTO) or not isinstance(template, TemplateObjectTO):
        raise CommandRefused("a template is made of a snapshot")
    secondary = storage_access(context).secondary(template.image_data_store)
    what = f"make a template of snapshot {source.name or source.path}"
    if isinstance(source.data_store, PrimaryDataStoreTO):
        path = await _on_primary(context, source)
        return await make_template(context, path, secondary, template, what=what)
    snapshot = await _snapshot_file(context, source)
    return await _template_in_store(snapshot, secondary, template, what)


async def _template_in_store(
    source: SourceFile, secondary: SecondaryStore, template: TemplateObjectTO, what: str
) -> CopyCmdAnswer:
    """Copy a disk from store to store as a template; the host has no part in it."""
    if not template.path:
        raise CommandRefused("the template has no folder on secondary storage")
    info = await trusted_disk(source.files, source.path)
    if template_format(template.format, info.format.name) != info.format.name:
        raise CommandRefused(
            f"a {info.format.name} on secondary storage cannot become a {template.format} there"
        )
    folder = join_relative(secondary.root, template.path)
    name = await derived_stem(source, f"template {template.id}|{folder}")
    final = disk_path(folder, name, info.format.name)
    holds = await template_in(secondary, folder)
    if holds is not None and holds != final:
        raise HostFileExists(f"{template.path} holds another template already")
    await secondary.prepare_folder(folder)
    made = await finished_disk(secondary.files, final, info.virtual_size)
    if made is None:
        made = await secondary.put_disk(source, final, what=what)
    return await finish_template(secondary, template, Departed(final, made), is_new=holds is None)


async def _snapshot_file(context: HostContext, snapshot: SnapshotObjectTO) -> SourceFile:
    """Return where a snapshot lies; raises HostFileNotFound."""
    if isinstance(snapshot.data_store, PrimaryDataStoreTO):
        return SourceFile(context.files, await _on_primary(context, snapshot))
    if not snapshot.path:
        raise CommandRefused("the snapshot has no path on secondary storage")
    secondary = storage_access(context).secondary(snapshot.data_store)
    path = join_relative(secondary.root, snapshot.path)
    if await secondary.files.status(path) is None:
        raise HostFileNotFound(f"the snapshot {snapshot.path} is not on the secondary store")
    return SourceFile(secondary.files, path)


async def _on_primary(context: HostContext, snapshot: SnapshotObjectTO) -> str:
    folder = storage_access(context).folder_of_pool(pool_of(snapshot.data_store))
    stem = object_stem(snapshot.path, None)
    path = await find_disk(snapshot_folder(folder), stem, None, context.files)
    if path is None:
        raise HostFileNotFound(f"the snapshot {stem} is not in the pool {folder}")
    return path
