"""CopyCommand's cases with a volume on both sides: out to secondary storage, in, pool to pool.

A volume leaves without its parents: a differencing disk is flattened by the host first.  On
secondary storage a volume lies as `volumes/<account>/<id>/<name>.<format>` and the answer names it
with folder and extension; on primary storage with neither.
"""

from __future__ import annotations

from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.commands.storage import CopyCommand
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.resource.arriving_disks import arrive, volume_format
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.departing_disks import depart
from cloudstack_hyperv.resource.disk_safety import require_at_rest
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.resource.volume_files import existing_volume, volume_answer
from cloudstack_hyperv.storage.content import SourceFile
from cloudstack_hyperv.storage.copying import trusted_disk
from cloudstack_hyperv.storage.host_files import HostFileNotFound
from cloudstack_hyperv.storage.locations import disk_path, object_stem, pool_of, volume_path
from cloudstack_hyperv.storage.windows_paths import file_name, join_relative, same_path
from cloudstack_hyperv.vhd import DiskFormat


async def volume_out(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Copy a volume to a secondary store; what an earlier, equal command copied is answered."""
    source, destination = _volumes(command)
    if not destination.path:
        raise CommandRefused("the volume has no folder on secondary storage")
    access = storage_access(context)
    access.folder_of_pool(pool_of(source.data_store))
    secondary = access.secondary(destination.data_store)
    path = await volume_path(source, context.files)
    purpose = f"copy volume {source.name or source.path} to secondary storage"
    await require_at_rest(context, path, purpose)
    present = (await context.files.disk_info(path)).format.name
    made = await depart(
        context,
        path,
        secondary,
        join_relative(secondary.root, destination.path),
        object_stem(source.path, source.uuid),
        what=purpose,
        disk_format=DiskFormat[volume_format(destination.format, present)],
    )
    return CopyCmdAnswer(
        result=True,
        new_data=VolumeObjectTO(
            path=f"{destination.path.rstrip('/')}/{file_name(made.path)}",
            size=made.info.virtual_size,
            format=made.info.format.name,
        ),
    )


async def volume_in(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Copy a volume from a secondary store into a pool."""
    source, destination = _volumes(command)
    if not source.path:
        raise CommandRefused("the volume has no path on secondary storage")
    access = storage_access(context)
    folder = access.folder_of_pool(pool_of(destination.data_store))
    secondary = access.secondary(source.data_store)
    path = join_relative(secondary.root, source.path)
    if await secondary.files.status(path) is None:
        raise HostFileNotFound(f"the volume {source.path} is not on the secondary store")
    info = await trusted_disk(secondary.files, path)
    stem = object_stem(destination.path, destination.uuid)
    present = await existing_volume(context, folder, stem, info.virtual_size)
    if present is None:
        present = await arrive(
            context,
            SourceFile(secondary.files, path),
            disk_path(folder, stem, volume_format(destination.format, info.format.name)),
            what=f"volume {destination.name or stem}",
        )
    return volume_answer(stem, present)


async def volume_to_pool(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Copy a volume from one pool to another, by the host, which sees both."""
    source, destination = _volumes(command)
    access = storage_access(context)
    access.folder_of_pool(pool_of(source.data_store))
    folder = access.folder_of_pool(pool_of(destination.data_store))
    path = await volume_path(source, context.files)
    stem = object_stem(destination.path, destination.uuid)
    info = await context.files.disk_info(path)
    final = disk_path(folder, stem, volume_format(destination.format, info.format.name))
    if same_path(path, final):
        raise CommandRefused(f"{path} is where the volume lies already")
    await require_at_rest(context, path, f"copy volume {source.name or stem} to another pool")
    present = await existing_volume(context, folder, stem, info.virtual_size)
    if present is None:
        present = await host_copies.convert(
            context,
            path,
            final,
            what=f"volume {destination.name or stem}",
            disk_format=DiskFormat[final.rpartition(".")[2].upper()],
            fixed=host_copies.is_fixed(info),
        )
    return volume_answer(stem, present)


def _volumes(command: CopyCommand) -> tuple[VolumeObjectTO, VolumeObjectTO]:
    source, destination = command.src_to, command.dest_to
    if not isinstance(source, VolumeObjectTO) or not isinstance(destination, VolumeObjectTO):
        raise CommandRefused("a volume is copied to a volume")
    return source, destination
