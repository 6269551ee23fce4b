r"""The disks that this door makes and deletes: by the host, on the host's own drives.

A VM's own disks are `<vhd_path>\<name>.vhdx` and `<vhd_path>\<name>-<number>.vhdx`; by this name
they are deleted with the VM, and any other disk that was attached to it is left.  A disk is made
under a temporary name and renamed when it is whole, so that a disk with a final name is complete.

A network path as `vhd_path` is refused: the host can make a disk there and has no means to delete
it again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import structlog

from cloudstack_hyperv.cim.constants import VhdFormat
from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor.attachments import list_attachments
from cloudstack_hyperv.hypervisor.devices import Devices
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.hypervisor.wish import DriveKind
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.host_copies import rounded_up
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.host_files import HostFileExists, HostFileNotFound
from cloudstack_hyperv.storage.progress import Progress
from cloudstack_hyperv.storage.windows_paths import (
    checked_path,
    file_name,
    folded,
    path_key,
    same_path,
    split_extension,
)

log = structlog.get_logger(__name__)

_LONGEST_CHAIN = 128
SMALLEST_DISK = 3 * 2**20
"""Bytes; Hyper-V makes none that is smaller."""


async def copy_template(
    context: HostContext, template: str, final: str, size: int | None, undo: UndoStack
) -> None:
    """Copy a template (VHD or VHDX, flattened) to a VHDX and grow it to `size` bytes.

    The deletion of the copy is pushed on `undo`.
    """
    source = checked_path(template)
    present = await images.read_disk(context.cim, source)

    async def make(path: str) -> None:
        async with storage_access(context).copies:
            await images.convert_disk(
                context.cim,
                source,
                path,
                disk_format=VhdFormat.VHDX,
                block_size=context.settings.storage.block_size_mib * images.MIB,
                progress=Progress(f"copy of {source}"),
            )
        wanted = rounded_up(size or 0, present.sector)
        if wanted > present.virtual_size:
            await images.resize_disk(context.cim, path, wanted)

    await _make(context, final, make, undo)


async def blank_disk(context: HostContext, final: str, size: int, undo: UndoStack) -> None:
    """Make an empty dynamic VHDX of `size` bytes; its deletion is pushed on `undo`."""
    if size < SMALLEST_DISK:
        raise CommandRefused(f"a disk of {size} bytes is too small")

    async def make(path: str) -> None:
        await images.create_disk(
            context.cim,
            path,
            size,
            block_size=context.settings.storage.block_size_mib * images.MIB,
        )

    await _make(context, final, make, undo)


async def require_file(context: HostContext, path: str, what: str) -> str:
    """Return a path in its one spelling; raises HostFileNotFound when the host has no such file."""
    checked = checked_path(path)
    if checked[1:2] == ":" and not await images.has_file(context.cim, checked):
        raise HostFileNotFound(f"{what} {checked} does not exist on the host")
    return checked


def require_own_drive(path: str) -> None:
    """Raise CommandRefused for a disk on the network, which could not be deleted again."""
    if path[1:2] != ":":
        raise CommandRefused(
            f"{path} is on the network, where the host cannot delete disks: set vhd_path to a "
            "folder on one of the host's own drives or cluster volumes"
        )


def own_disks(name: str, devices: Devices) -> tuple[list[str], list[str]]:
    """Return the files of a VM's disks: those that go with it, and those that stay.  Pure."""
    mine: list[str] = []
    others: list[str] = []
    for drive in devices.drives:
        if drive.kind is DriveKind.DISK and drive.medium is not None:
            (mine if is_own(name, drive.medium.file) else others).append(drive.medium.file)
    return mine, others


def is_own(name: str, path: str) -> bool:
    """Whether a disk is the VM's own by its file name.  Pure."""
    stem = folded(split_extension(file_name(path))[0])
    return re.fullmatch(re.escape(folded(name)) + r"(?:-[0-9]{1,4})?", stem) is not None


async def require_unattached(context: HostContext, path: str, purpose: str) -> None:
    """Raise WrongState if a VM or checkpoint has the disk, or a disk that stands on it."""
    if any(same_path(one.path, path) for one in await list_attachments(context.cim)):
        raise WrongState(f"{purpose}: {path} is attached to a VM")
    await require_no_children(context, path, purpose)


async def require_no_children(context: HostContext, path: str, purpose: str) -> None:
    """Raise WrongState if a disk that some VM has stands on this one.

    Unlike `resource.disk_safety` this asks the host alone, a round trip for each attached disk: on
    this door there may be no way to the files.  A child that no VM has is not found.
    """
    attached = {
        path_key(one.path): one.path
        for one in await list_attachments(context.cim)
        if one.path[1:2] == ":" and not same_path(one.path, path)
    }
    names = list(attached.values())
    stand_on_it = await asyncio.gather(*(_stands_on(context, name, path) for name in names))
    for name, stands in zip(names, stand_on_it, strict=True):
        if stands:
            raise WrongState(f"{purpose}: {path} is the parent of {name}, which needs it")


async def _stands_on(context: HostContext, disk: str, path: str) -> bool:
    above = disk
    for _ in range(_LONGEST_CHAIN):
        try:
            above = (await images.read_disk(context.cim, above)).parent
        except HypervisorError as error:
            log.warning("a disk's parent is not known", path=above, reason=str(error))
            return False
        if not above:
            return False
        if same_path(above, path):
            return True
    return False


async def _make(
    context: HostContext, final: str, make: Callable[[str], Awaitable[None]], undo: UndoStack
) -> None:
    require_own_drive(final)
    if await images.has_file(context.cim, final):
        raise HostFileExists(
            f"{final} exists on the host although no VM of that name does; it may hold data, so "
            "it is left alone: remove or rename it"
        )

    async def remove(path: str) -> None:
        await images.delete_file(context.cim, path)

    with storage_access(context).temporary.beside(final) as path:
        async with UndoStack() as unfinished:
            unfinished.push(f"remove {path}", lambda: remove(path))
            await make(path)
            await images.rename_file(context.cim, path, final)
            undo.push(f"remove {final}", lambda: remove(final))
            unfinished.commit()
