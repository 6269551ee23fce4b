"""PrimaryStorageDownloadCommand: a template comes to primary storage, as the 2012 contract has it.

`url` is where the template is: a file on a web server, or a file in a secondary store by the
store's own URL (`nfs://`, `cifs://`).  CloudStack later hands `installPath` to CreateCommand as
the template; in this contract it has an extension.  `templateSize` is what the file occupies.

Sources: CloudStack's PrimaryStorageDownloadCommand, `TemplateManagerImpl` of 4.0.
"""

from __future__ import annotations

import re
import uuid

from cloudstack_hyperv.messages.answers.storage import PrimaryStorageDownloadAnswer
from cloudstack_hyperv.messages.commands.storage import PrimaryStorageDownloadCommand
from cloudstack_hyperv.resource.arriving_disks import (
    Arriving,
    arrive,
    stated_format,
    template_format,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.content import SourceFile
from cloudstack_hyperv.storage.http_download import download
from cloudstack_hyperv.storage.locations import disk_path
from cloudstack_hyperv.storage.secondary_paths import template_file
from cloudstack_hyperv.storage.windows_paths import file_name

_WEB = re.compile(r"https?://", re.IGNORECASE)


@handles(PrimaryStorageDownloadCommand, page="Phase 1: template management")
async def primary_storage_download(
    command: PrimaryStorageDownloadCommand, context: HostContext
) -> PrimaryStorageDownloadAnswer:
    """Fetch a template (unpacked on the way) into a pool, under a new name."""
    address = command.url
    if not address:
        raise CommandRefused("the command names no template")
    folder = await _folder(command, context)
    if _WEB.match(address):
        settings = context.settings.storage
        async with download(
            address,
            largest=settings.download_limit_gib << 30,
            allowed=settings.download_allow,
        ) as stream:
            return await _arrive(command, context, folder, stream)
    store, _, name = address.partition("?")[0].rpartition("/")
    query = address.partition("?")[2]
    secondary = storage_access(context).secondary_by_url(f"{store}?{query}" if query else store)
    path = await template_file(secondary.files, secondary.root, name)
    return await _arrive(command, context, folder, SourceFile(secondary.files, path))


async def _arrive(
    command: PrimaryStorageDownloadCommand, context: HostContext, folder: str, source: Arriving
) -> PrimaryStorageDownloadAnswer:
    name = source.path if isinstance(source, SourceFile) else source.name
    disk_format = template_format(command.format, stated_format(name))
    final = disk_path(folder, str(uuid.uuid4()), disk_format)
    await arrive(context, source, final, what=f"template {command.name or final}")
    status = await context.files.status(final)
    return PrimaryStorageDownloadAnswer(
        result=True,
        install_path=file_name(final),
        template_size=status.size if status is not None else 0,
    )


async def _folder(command: PrimaryStorageDownloadCommand, context: HostContext) -> str:
    access = storage_access(context)
    if command.primary_pool is not None:
        return access.folder_of_pool(command.primary_pool)
    folder = await access.known_folder(command.pool_uuid, None, command.local_path)
    if folder is None:
        raise CommandRefused(f"storage pool {command.pool_uuid} is not known on this host")
    return folder
