"""Disks that leave a pool for a store: whole, without parents, once for each state of the disk.

A disk without a parent is copied as it is.  One with a parent, or that should have another format,
is made into such a disk by the host beside it, and that is copied.  What an earlier, equal command
copied is found again (`finished_copies`); anything else that has the name is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from cloudstack_hyperv.messages.answers.storage import CopyCmdAnswer
from cloudstack_hyperv.messages.objects.storage import TemplateObjectTO
from cloudstack_hyperv.resource.arriving_disks import template_format
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.finished_copies import derived_stem, finished_disk, is_copy_of
from cloudstack_hyperv.resource.storage_access import SecondaryStore
from cloudstack_hyperv.resource.volume_files import whole_source
from cloudstack_hyperv.storage.content import SourceFile
from cloudstack_hyperv.storage.host_files import HostFileError, HostFileExists
from cloudstack_hyperv.storage.locations import disk_path
from cloudstack_hyperv.storage.template_properties import (
    FILE_NAME,
    LARGEST,
    TemplateProperties,
    disk_named_in,
    parse_properties,
)
from cloudstack_hyperv.storage.windows_paths import file_name, join_path, join_relative
from cloudstack_hyperv.vhd import DiskFormat, DiskInfo

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Departed:
    """A disk in a store."""

    path: str
    """Path in the store's files."""
    info: DiskInfo


async def depart(
    context: HostContext,
    path: str,
    secondary: SecondaryStore,
    folder: str,
    stem: str,
    *,
    what: str,
    disk_format: DiskFormat,
) -> Departed:
    """Copy a disk at rest into a store's folder, as `stem` where that name is free."""
    info = await context.files.disk_info(path)
    await secondary.prepare_folder(folder)
    if info.parent is None and info.format is disk_format:
        final = disk_path(folder, stem, disk_format.name)
        source = SourceFile(context.files, path)
        if await secondary.files.status(final) is None:
            return Departed(final, await secondary.put_disk(source, final, what=what))
        if await is_copy_of(source, secondary.files, final):
            log.info("the copy was made before", path=final)
            return Departed(final, info)
    # The name is taken by something else, or does not tell which state of the disk it stands for.
    name = await derived_stem(SourceFile(context.files, path), f"{folder}|{disk_format.name}")
    return await _put(context, path, secondary, disk_path(folder, name, disk_format.name), what)


async def make_template(
    context: HostContext,
    path: str,
    secondary: SecondaryStore,
    template: TemplateObjectTO,
    *,
    what: str,
) -> CopyCmdAnswer:
    """Copy a disk at rest into a store as a template, with its `template.properties`.

    The properties come last: without them a folder is no template yet.
    """
    if not template.path:
        raise CommandRefused("the template has no folder on secondary storage")
    info = await context.files.disk_info(path)
    disk_format = template_format(template.format, info.format.name)
    folder = join_relative(secondary.root, template.path)
    source = SourceFile(context.files, path)
    name = await derived_stem(source, f"template {template.id}|{folder}|{disk_format}")
    final = disk_path(folder, name, disk_format)
    present = await template_in(secondary, folder)
    if present is not None and present != final:
        if not await is_copy_of(source, secondary.files, present):
            raise HostFileExists(f"{template.path} holds another template already")
        final = present
    if present is None:
        await secondary.prepare_folder(folder)
    made = await _put(context, path, secondary, final, what)
    return await finish_template(secondary, template, made, is_new=present is None)


async def template_in(secondary: SecondaryStore, folder: str) -> str | None:
    """Return the disk of the template that a folder holds, None if it holds none.

    Raises HostFileError if its `template.properties` names none.
    """
    properties = join_path(folder, FILE_NAME)
    if await secondary.files.status(properties) is None:
        return None
    named = disk_named_in(parse_properties(await secondary.files.read(properties, 0, LARGEST)))
    if named is None:
        raise HostFileError(f"{properties} names no disk")
    return join_path(folder, named)


async def finish_template(
    secondary: SecondaryStore, template: TemplateObjectTO, made: Departed, *, is_new: bool
) -> CopyCmdAnswer:
    """Write the properties of a disk that is to be a template, and answer with it."""
    name = file_name(made.path).rpartition(".")[0]
    status = await secondary.files.status(made.path)
    size = status.size if status is not None else 0
    disk_format = made.info.format.name
    if is_new:
        properties = TemplateProperties(
            template.id, file_name(made.path), name, disk_format, made.info.virtual_size, size
        )
        folder = join_relative(secondary.root, template.path or "")
        try:
            await secondary.put_file(join_path(folder, FILE_NAME), properties.render())
        except BaseException:
            await secondary.delete(made.path)
            raise
    return CopyCmdAnswer(
        result=True,
        new_data=TemplateObjectTO(
            path=f"{(template.path or '').rstrip('/')}/{file_name(made.path)}",
            name=name,
            format=disk_format,
            size=made.info.virtual_size,
            physical_size=size,
        ),
    )


async def _put(
    context: HostContext, path: str, secondary: SecondaryStore, final: str, what: str
) -> Departed:
    """Copy a disk to a name that stands for exactly this state of it."""
    info = await context.files.disk_info(path)
    present = await finished_disk(secondary.files, final, info.virtual_size)
    if present is not None:
        log.info("the copy was made before", path=final)
        return Departed(final, present)
    wanted = DiskFormat[final.rpartition(".")[2].upper()]
    async with whole_source(context, path, wanted) as flat:
        source = SourceFile(context.files, flat)
        return Departed(final, await secondary.put_disk(source, final, what=what))
