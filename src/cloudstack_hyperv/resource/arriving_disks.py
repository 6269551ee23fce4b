"""Disks that come into a pool from a store or from elsewhere: as they are, or made to fit.

Bytes are copied as they are.  Where the pool should have another format, a fixed disk or a larger
one, the host makes that of the copy before it gets its name; the copy in between has a temporary
name and is removed.  VHD holds at most 2040 GiB in sectors of 512 bytes.
"""

from __future__ import annotations

from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.content import ByteStream, Checksum, SourceFile
from cloudstack_hyperv.storage.locations import DISK_FORMATS, disk_path
from cloudstack_hyperv.storage.windows_paths import file_name, parent_folder, split_extension
from cloudstack_hyperv.vhd import DiskFormat, DiskInfo

_PACKINGS = (".gz", ".bz2", ".zip")


Arriving = SourceFile | ByteStream
"""What comes: a file, or a stream that can be read once."""


async def arrive(
    context: HostContext,
    source: Arriving,
    final: str,
    *,
    what: str,
    checksum: Checksum | None = None,
    fixed: bool = False,
    grow_to: int = 0,
) -> DiskInfo:
    """Copy (and unpack) a disk to `final`, whose name says in which format; returns its metadata.

    Raises as `Copier.copy_disk`.
    """
    wanted = DiskFormat[split_extension(file_name(final))[1].removeprefix(".").upper()]
    access = storage_access(context)
    present = stated_format(source.path if isinstance(source, SourceFile) else source.name)

    async def bring(path: str) -> DiskInfo:
        if isinstance(source, SourceFile):
            return await access.primary.copy_disk(source, path, what=what, checksum=checksum)
        return await access.primary.receive_disk(source, path, what=what, checksum=checksum)

    if DiskFormat[present] is wanted and not fixed:
        if grow_to == 0:
            return await bring(final)
        async with host_copies.new_disk(context, final) as path:
            await bring(path)
            return await host_copies.grow(context, path, grow_to)
    beside = disk_path(parent_folder(final), "arriving", present)
    with access.temporary.beside(beside) as between:
        async with UndoStack() as undo:
            undo.push(f"remove {between}", lambda: host_copies.remove_temporary(context, between))
            await bring(between)
            made = await host_copies.convert(
                context,
                between,
                final,
                what=what,
                disk_format=wanted,
                fixed=fixed,
                grow_to=grow_to,
            )
            undo.commit()
        await host_copies.remove_temporary(context, between)
    return made


def stated_format(path: str) -> str:
    """Return VHD or VHDX by a file's name or path, packed or not; VHDX where it does not say."""
    stem, extension = split_extension(path.rpartition("\\")[2])
    if extension in _PACKINGS:
        extension = split_extension(stem)[1]
    return "VHD" if extension == ".vhd" else "VHDX"


def volume_format(stated: str | None, present: str) -> str:
    """Return the format that a volume should have: as CloudStack states it, else as it is."""
    if stated and stated.upper() not in DISK_FORMATS:
        raise CommandRefused(f"{ascii(stated)[:40]} is not a disk format of Hyper-V (VHDX, VHD)")
    return stated.upper() if stated else present


def template_format(stated: str | None, present: str) -> str:
    """Return the format that a template should have.

    A template that is to be made of a volume states RAW until its format is known
    (TemplateManagerImpl.createPrivateTemplateRecord), which decides nothing.
    """
    return stated.upper() if stated and stated.upper() in DISK_FORMATS else present
