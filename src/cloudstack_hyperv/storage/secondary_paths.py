r"""Which file on secondary storage a template means.

A template's `path` is relative to the store and complete (`template/tmpl/1/202/a.vhdx`), but the
first copy of a system VM template names only the folder (CLOUDSTACK's HypervisorTemplateAdapter
seeds it so): then `template.properties` says which disk it is, and where that is missing the one
disk in the folder is taken; several are refused, because a guess could boot the wrong system.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.storage.host_files import HostFileError, HostFileNotFound, HostFiles
from cloudstack_hyperv.storage.template_properties import (
    FILE_NAME,
    LARGEST,
    disk_named_in,
    parse_properties,
)
from cloudstack_hyperv.storage.windows_paths import file_name, join_path, join_relative

_ENDINGS: Final = (".vhdx", ".vhd")
_PACKINGS: Final = ("", ".gz", ".bz2", ".zip")


class NoTemplateFile(HostFileError):
    """The template's folder does not tell which file is the template."""


async def template_file(files: HostFiles, root: str, relative: str | None) -> str:
    """Return the path of a template's file in a store's `files`, whose root is `root`.

    Raises HostFileNotFound, NoTemplateFile, BadWindowsPath.
    """
    if not relative:
        raise NoTemplateFile("the template has no path on secondary storage")
    path = join_relative(root, relative)
    status = await files.status(path)
    if status is None:
        raise HostFileNotFound(f"the template {relative} is not on the secondary store")
    if not status.is_folder:
        return path
    return await _file_in(files, path, relative)


async def _file_in(files: HostFiles, folder: str, relative: str) -> str:
    properties = join_path(folder, FILE_NAME)
    if await files.status(properties) is not None:
        named = disk_named_in(parse_properties(await files.read(properties, 0, LARGEST)))
        if named is not None:
            path = join_path(folder, named)
            if await files.status(path) is None:
                raise NoTemplateFile(f"{FILE_NAME} in {relative} names {named}, which is not there")
            return path
    disks = [
        entry.path
        for entry in await files.list_folder(folder)
        if not entry.is_folder and is_disk_name(file_name(entry.path))
    ]
    if len(disks) != 1:
        found = ", ".join(file_name(path) for path in disks) or "none"
        raise NoTemplateFile(
            f"{relative} is a folder without a usable {FILE_NAME} and does not hold exactly one "
            f"disk ({found})"
        )
    return disks[0]


def is_disk_name(name: str) -> bool:
    """Tell whether a file name is that of a disk, packed or not."""
    lowered = name.lower()
    return any(lowered.endswith(ending + packing) for ending in _ENDINGS for packing in _PACKINGS)
