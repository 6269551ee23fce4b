"""From a disk as CloudStack describes it to the file that Hyper-V attaches."""

from __future__ import annotations

from cloudstack_hyperv.messages.objects.storage import TemplateObjectTO, VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import DiskTO
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.storage.host_files import HostFileNotFound, PathNotReachable
from cloudstack_hyperv.storage.locations import iso_path, volume_path
from cloudstack_hyperv.storage.stores import Stores


async def disk_file(disk: DiskTO, context: HostContext) -> str | None:
    """Return the Windows path of a disk or ISO, None for an empty DVD drive.

    Raises CommandRefused for what cannot be in a drive, HostFileError for a path that is none.
    """
    match disk.data:
        case None:
            return None
        case VolumeObjectTO() as volume:
            return await volume_path(volume, context.files)
        case TemplateObjectTO() as iso:
            if not iso.path:
                return None
            return iso_path(iso, Stores(context.settings.storage.stores))
        case other:
            raise CommandRefused(f"a {type(other).__name__} cannot be attached to a VM")


def disk_keys(disk: DiskTO) -> tuple[str, ...]:
    """Return the keys that commands for the same volume are ordered by; ISOs are shared."""
    if isinstance(disk.data, VolumeObjectTO) and (stem := disk.data.path or disk.data.uuid):
        return (f"file:{stem}",)
    return ()


async def require_file(context: HostContext, file: str) -> None:
    """Raise HostFileNotFound if the file is missing; says nothing where no way leads to it."""
    try:
        status = await context.files.status(file)
    except PathNotReachable:
        return  # The host sees what the gateway does not, such as a share; it will say.
    if status is None:
        raise HostFileNotFound(f"{file} does not exist on the host")
