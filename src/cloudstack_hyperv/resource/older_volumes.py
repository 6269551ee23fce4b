"""CreateCommand: a volume, blank or from a template, as the 2012 contract has it.

The same operations as CreateObjectCommand and CopyCommand stand behind it.  The answer's `path` is
a file name with its extension, as `templateUrl` (what PrimaryStorageDownloadCommand answered) is;
DestroyCommand takes it back.  A volume gets the name that `diskCharacteristics.path` wants, else a
new UUID: a command that is sent again then makes another volume.

Sources: CloudStack's CreateCommand, CreateAnswer, VolumeTO of 4.0.
"""

from __future__ import annotations

import uuid

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer, CreateAnswer
from cloudstack_hyperv.messages.commands.storage import (
    CopyCommand,
    CreateCommand,
    CreateObjectCommand,
)
from cloudstack_hyperv.messages.objects.storage import (
    DataTO,
    DiskProfile,
    PrimaryDataStoreTO,
    StorageFilerTO,
    TemplateObjectTO,
    VolumeObjectTO,
    VolumeTO,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.resource.template_copies import volume_from_template
from cloudstack_hyperv.resource.volumes import create_object
from cloudstack_hyperv.storage.locations import disk_path, stem_and_format


def _keys(command: CreateCommand) -> tuple[str, ...]:
    wanted = command.disk_characteristics
    return (f"file:{stem_and_format(wanted.path)[0]}",) if wanted and wanted.path else ()


@handles(CreateCommand, ordered_by=_keys, page="Phase 1: disk creation from template")
async def create(command: CreateCommand, context: HostContext) -> CreateAnswer:
    """Make a volume."""
    pool, profile = command.pool, command.disk_characteristics
    if pool is None or profile is None:
        raise CommandRefused("the command names no pool or no disk")
    folder = storage_access(context).folder_of_pool(pool)
    store = PrimaryDataStoreTO(
        uuid=pool.uuid, pool_type=pool.type, host=pool.host, path=pool.path, port=pool.port
    )
    stem, disk_format = stem_and_format(profile.path) if profile.path else (str(uuid.uuid4()), None)
    wanted = VolumeObjectTO(
        uuid=stem,
        path=stem,
        name=profile.name,
        size=profile.size,
        format=disk_format,
        data_store=store,
        provisioning_type=profile.provisioning_type,
    )
    made = await _made(command, context, wanted, store)
    return CreateAnswer(result=True, volume=_volume(command, pool, profile, made, folder))


async def _made(
    command: CreateCommand,
    context: HostContext,
    wanted: VolumeObjectTO,
    store: PrimaryDataStoreTO,
) -> VolumeObjectTO:
    if not command.template_url:
        return _required(await create_object(CreateObjectCommand(data=wanted), context))
    # Older servers send the path that the template has on the host, newer ones its name alone.
    name = command.template_url.replace("\\", "/").rpartition("/")[2]
    stem, disk_format = stem_and_format(name)
    template = TemplateObjectTO(path=stem, format=disk_format, image_data_store=store)
    copied = await volume_from_template(CopyCommand(src_to=template, dest_to=wanted), context)
    return _required(copied)


def _required(answer: Answer) -> VolumeObjectTO:
    data: DataTO | None = (
        answer.new_data if isinstance(answer, CopyCmdAnswer) else getattr(answer, "data", None)
    )
    if not isinstance(data, VolumeObjectTO) or not data.path or not data.format:
        raise CommandRefused("no volume was made")
    return data


def _volume(
    command: CreateCommand,
    pool: StorageFilerTO,
    profile: DiskProfile,
    made: VolumeObjectTO,
    folder: str,
) -> VolumeTO:
    return VolumeTO(
        id=command.vol_id,
        name=profile.name,
        mount_point=folder,
        path=disk_path(folder, made.path or "", made.format or "").rpartition("\\")[2],
        size=made.size or 0,
        type=profile.type,
        storage_pool_type=pool.type,
        storage_pool_uuid=pool.uuid,
    )
