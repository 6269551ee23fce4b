"""CopyCommand's cases that have a template on one side.

A template on primary storage gets a new UUID as its name, every time it is copied: CloudStack
records what the answer says (`template_spool_ref.install_path`).  Its `size` is the virtual size
from the disk's own metadata, `physicalSize` that of the file.

A volume made of a template keeps its own UUID, so a command that is sent again finds its file:
if that has the size that was asked for and no VM has it, the copy was done before.

A checksum is that of the file that was registered (`{SHA-256}hex`, DigestHelper); the secondary
storage VM unpacks archives, so it applies only where the file in the store still ends as the
registered URL did.
"""

from __future__ import annotations

import uuid
from typing import Final
from urllib.parse import urlsplit

from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.commands.storage import CopyCommand
from cloudstack_hyperv.messages.enums import ProvisioningType
from cloudstack_hyperv.messages.objects.storage import TemplateObjectTO, VolumeObjectTO
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.resource.arriving_disks import (
    arrive,
    stated_format,
    template_format,
    volume_format,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.departing_disks import make_template
from cloudstack_hyperv.resource.disk_safety import require_at_rest
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.resource.volume_files import existing_volume, volume_answer
from cloudstack_hyperv.storage.content import Checksum, SourceFile
from cloudstack_hyperv.storage.copying import trusted_disk
from cloudstack_hyperv.storage.host_files import HostFileNotFound
from cloudstack_hyperv.storage.locations import (
    disk_path,
    object_stem,
    pool_of,
    template_path,
    volume_path,
)
from cloudstack_hyperv.storage.secondary_paths import template_file
from cloudstack_hyperv.storage.windows_paths import (
    file_name,
    join_path,
    join_relative,
    parent_folder,
    same_path,
    split_extension,
)
from cloudstack_hyperv.vhd import DiskFormat

_ISO_SIGNATURE_AT: Final = 0x8001
_ISO_SIGNATURES: Final = (b"CD001", b"BEA01")
"""ISO 9660 volume descriptor, or the extended area of a UDF disc."""


async def template_in(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Copy a template (unpacked on the way) from a secondary store into a pool."""
    source, destination = _templates(command)
    access = storage_access(context)
    folder = access.folder_of_pool(pool_of(destination.image_data_store))
    secondary = access.secondary(source.image_data_store)
    path = await template_file(secondary.files, secondary.root, source.path)
    name = str(uuid.uuid4())
    stated = destination.format or source.format
    final = disk_path(folder, name, template_format(stated, stated_format(path)))
    info = await arrive(
        context,
        SourceFile(secondary.files, path),
        final,
        what=f"template {source.unique_name or source.name or name}",
        checksum=_checksum_of(source, path),
    )
    return await _template_answer(context, final, name, info.format.name, info.virtual_size)


async def iso_in(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Copy an ISO from a secondary store into a pool."""
    source, destination = _templates(command)
    access = storage_access(context)
    folder = access.folder_of_pool(pool_of(destination.image_data_store))
    secondary = access.secondary(source.image_data_store)
    if not source.path:
        raise CommandRefused("the ISO has no path on secondary storage")
    path = join_relative(secondary.root, source.path)
    signature = await secondary.files.read(path, _ISO_SIGNATURE_AT, 5)
    if signature not in _ISO_SIGNATURES:
        raise CommandRefused(f"{source.path} is no ISO 9660 or UDF image")
    name = str(uuid.uuid4())
    final = join_path(folder, f"{name}.iso")
    size = await access.primary.copy_file(
        SourceFile(secondary.files, path),
        final,
        what=f"ISO {source.unique_name or source.name or name}",
        checksum=_checksum_of(source, path),
    )
    return await _template_answer(context, final, name, "ISO", size)


async def volume_from_template(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Make a volume of a template in a pool: full copy or differencing disk, by the host.

    It is grown to the size that the offering wants and is never smaller than the template.
    """
    template, volume = _template_and_volume(command)
    access = storage_access(context)
    access.folder_of_pool(pool_of(template.image_data_store))
    folder = access.folder_of_pool(pool_of(volume.data_store))
    source = await template_path(template, context.files)
    if await context.files.status(source) is None:
        raise HostFileNotFound(f"the template {source} is not in the pool")
    info = await trusted_disk(context.files, source)
    stem = object_stem(volume.path, volume.uuid)
    wanted = host_copies.rounded_up(
        max(info.virtual_size, volume.size or 0), info.logical_sector_size
    )
    present = await existing_volume(context, folder, stem, wanted)
    if present is not None:
        return volume_answer(stem, present)
    wanted_format = volume_format(volume.format, info.format.name)
    final = disk_path(folder, stem, wanted_format)
    differencing = (
        context.settings.storage.clone == "differencing"
        and wanted_format == info.format.name
        and same_path(parent_folder(source), folder)
        # A differencing VHD cannot be grown, a VHDX can (as OpenStack's Hyper-V driver does).
        and (info.format is DiskFormat.VHDX or wanted == info.virtual_size)
    )
    if differencing:
        made = await host_copies.clone(context, source, final, grow_to=wanted)
    else:
        made = await host_copies.convert(
            context,
            source,
            final,
            what=f"volume {volume.name or stem}",
            disk_format=DiskFormat[wanted_format],
            fixed=volume.provisioning_type == ProvisioningType.FAT,
            grow_to=wanted,
        )
    return volume_answer(stem, made)


async def volume_from_store(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Make a volume straight from a template on a secondary store, which stays there only."""
    template, volume = _template_and_volume(command)
    access = storage_access(context)
    folder = access.folder_of_pool(pool_of(volume.data_store))
    secondary = access.secondary(template.image_data_store)
    path = await template_file(secondary.files, secondary.root, template.path)
    stem = object_stem(volume.path, volume.uuid)
    present = await existing_volume(context, folder, stem, None)
    if present is not None:
        return volume_answer(stem, present)
    made = await arrive(
        context,
        SourceFile(secondary.files, path),
        disk_path(folder, stem, volume_format(volume.format, stated_format(path))),
        what=f"volume {volume.name or stem}",
        checksum=_checksum_of(template, path),
        fixed=volume.provisioning_type == ProvisioningType.FAT,
        grow_to=volume.size or 0,
    )
    return volume_answer(stem, made)


async def template_from_volume(command: CopyCommand, context: HostContext) -> CopyCmdAnswer:
    """Copy a volume to a secondary store as a template, with its `template.properties`."""
    volume, template = command.src_to, command.dest_to
    if not isinstance(volume, VolumeObjectTO) or not isinstance(template, TemplateObjectTO):
        raise CommandRefused("a template is made of a volume")
    access = storage_access(context)
    secondary = access.secondary(template.image_data_store)
    access.folder_of_pool(pool_of(volume.data_store))
    source = await volume_path(volume, context.files)
    purpose = f"make a template of volume {volume.name or volume.path}"
    await require_at_rest(context, source, purpose)
    return await make_template(context, source, secondary, template, what=purpose)


def _template_and_volume(command: CopyCommand) -> tuple[TemplateObjectTO, VolumeObjectTO]:
    template, volume = command.src_to, command.dest_to
    if not isinstance(template, TemplateObjectTO) or not isinstance(volume, VolumeObjectTO):
        raise CommandRefused("a volume is made of a template")
    return template, volume


def _templates(command: CopyCommand) -> tuple[TemplateObjectTO, TemplateObjectTO]:
    source, destination = command.src_to, command.dest_to
    if not isinstance(source, TemplateObjectTO) or not isinstance(destination, TemplateObjectTO):
        raise CommandRefused("a template is copied to a template")
    return source, destination


async def _template_answer(
    context: HostContext, path: str, name: str, image_format: str, virtual_size: int
) -> CopyCmdAnswer:
    status = await context.files.status(path)
    return CopyCmdAnswer(
        result=True,
        new_data=TemplateObjectTO(
            path=name,
            format=image_format,
            size=virtual_size,
            physical_size=status.size if status is not None else None,
        ),
    )


def _checksum_of(template: TemplateObjectTO, path: str) -> Checksum | None:
    """Return the registered checksum if it is that of the very file in the store."""
    registered = split_extension(urlsplit(template.orig_url or "").path.rpartition("/")[2])[1]
    if not registered or registered != split_extension(file_name(path))[1]:
        return None
    return Checksum.parse(template.checksum)
