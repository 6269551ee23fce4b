"""ResizeVolumeCommand: a volume's virtual size, with the VM running where that is possible.

    detached, or in a VM of ours that is off    the image service resizes the file
    in a running VM of ours                     VHDX on a SCSI controller, since 2012 R2
    in any other VM, saved or paused            refused
    with checkpoints, or parent of another      refused: what stands on it would not fit any more

Hyper-V does not grow a differencing VHD and shrinks only VHDX files without a parent, to no less
than where their last partition ends; a command that shrinks must say so (`shrinkOk`).  The size
that is there already is a success.  The guest sees the new size at once if the VM runs; growing
partitions and file systems is its own business.

Sources: CloudStack's `LibvirtResizeVolumeCommandWrapper` (rules, answer); Microsoft, "Online
virtual hard disk resizing overview" and "ResizeVirtualHardDisk".
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from cloudstack_hyperv.cim.constants import EnabledState, VhdFormat, VhdType
from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor.attachments import list_attachments
from cloudstack_hyperv.hypervisor.devices import Drive, read_devices
from cloudstack_hyperv.hypervisor.drives import drive_with
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState
from cloudstack_hyperv.hypervisor.images import HostDisk
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.release import SERVER_2012_R2
from cloudstack_hyperv.hypervisor.wish import Bus, DriveKind
from cloudstack_hyperv.messages.answers.storage import ResizeVolumeAnswer
from cloudstack_hyperv.messages.commands.storage import ResizeVolumeCommand
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_safety import DiskUser, require_no_children, users_of
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import known_release, machine_directory
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.resource.volume_files import LARGEST, SMALLEST
from cloudstack_hyperv.storage.copying import require_space
from cloudstack_hyperv.storage.host_files import HostFileNotFound
from cloudstack_hyperv.storage.locations import find_disk, object_stem
from cloudstack_hyperv.storage.windows_paths import parent_folder, same_path

log = structlog.get_logger(__name__)

DETACHED = "none"
"""What `vmInstance` says of a volume that no VM has."""


def _keys(command: ResizeVolumeCommand) -> tuple[str, ...]:
    keys = [f"file:{command.path}"]
    if command.vm_instance and command.vm_instance.lower() != DETACHED:
        keys.append(f"vm:{command.vm_instance}")
    return tuple(keys)


@handles(ResizeVolumeCommand, ordered_by=_keys, page="Phase 2: volume service")
async def resize_volume(command: ResizeVolumeCommand, context: HostContext) -> ResizeVolumeAnswer:
    """Grow or shrink a volume; three round trips more than the host's own work."""
    if command.pool is None:
        raise CommandRefused("the command names no storage pool")
    folder = storage_access(context).folder_of_pool(command.pool)
    stem = object_stem(command.path, None)
    path = await find_disk(folder, stem, None, context.files)
    if path is None:
        raise HostFileNotFound(f"no disk {stem}.vhdx or {stem}.vhd in {folder}")
    return await _resize(command, path, context)


async def _resize(
    command: ResizeVolumeCommand, path: str, context: HostContext
) -> ResizeVolumeAnswer:
    disk = await images.read_disk(context.cim, path)
    size = _checked_size(command.new_size, disk)
    if size == disk.virtual_size:
        return ResizeVolumeAnswer(result=True, new_size=size, details="it has that size already")
    purpose = f"resize {path} from {disk.virtual_size} to {size} bytes"
    attachments = await list_attachments(context.cim)
    users = await users_of(context, path, attachments)
    elsewhere = next((user.context for user in users if user.context is not context), None)
    if elsewhere is not None and len(users) == 1:
        # Only the host that runs the VM can do it.
        return await _resize(command, path, elsewhere)
    await require_no_children(context, path, purpose, attachments)
    drive = await _require_resizable(context, users, path, disk, purpose)
    if size < disk.virtual_size:
        await _require_shrinkable(context, path, disk, size, command, online=drive is not None)
    elif disk.disk_type is VhdType.FIXED:
        await require_space(context.files, parent_folder(path), size - disk.virtual_size)
    await images.resize_disk(context.cim, path, size)
    made = await images.read_disk(context.cim, path)
    if made.virtual_size != size:
        raise WrongState(f"{purpose}: the host says done, but it has {made.virtual_size} bytes")
    log.info("resized", path=path, before=disk.virtual_size, after=size, drive=drive)
    return ResizeVolumeAnswer(result=True, new_size=size, details=drive)


def _checked_size(wanted: int, disk: HostDisk) -> int:
    size = host_copies.rounded_up(wanted, disk.sector)
    if not SMALLEST <= size <= LARGEST[disk.disk_format]:
        raise CommandRefused(
            f"a {disk.disk_format.name} volume has {SMALLEST} to {LARGEST[disk.disk_format]} "
            f"bytes, not {wanted}"
        )
    return size


async def _require_resizable(
    context: HostContext, users: Sequence[DiskUser], path: str, disk: HostDisk, purpose: str
) -> str | None:
    """Check who has the disk; return the running VM's drive that will show the new size."""
    if disk.parent and disk.disk_format is VhdFormat.VHD:
        raise WrongState(f"{purpose}: Hyper-V does not resize a differencing VHD")
    if len(users) > 1:
        raise WrongState(f"{purpose}: {path} is attached to {users[0]} and {users[1]}")
    for user in users:
        machine = await _owner(context, user, path, purpose)
        if user.state == EnabledState.ENABLED:
            drive = await _online_drive(context, machine, path, disk, purpose)
            return f"VM {user.name} sees the new size at {drive.address}"
        if not user.is_off:
            raise WrongState(
                f"{purpose}: {path} is attached to {user}, which is neither off nor running"
            )
    return None


async def _owner(context: HostContext, user: DiskUser, path: str, purpose: str) -> Machine:
    """Return the VM of ours that has the disk itself; raises WrongState for any other user."""
    if user.state is None or not same_path(user.attachment.path, path):
        raise WrongState(f"{purpose}: {user} has a checkpoint over {path}; delete it first")
    machine = await machine_directory(context).find(user.name)
    if (
        machine is None
        or machine.ownership is None
        or machine.guid.upper() != user.attachment.machine_guid
    ):
        raise WrongState(f"{purpose}: {path} is attached to {user}, which is not CloudStack's")
    return machine


async def _online_drive(
    context: HostContext, machine: Machine, path: str, disk: HostDisk, purpose: str
) -> Drive:
    name = machine.cloudstack_name
    stop = f"stop VM {name} or detach the volume first"
    if (await known_release(context)).build < SERVER_2012_R2:
        raise WrongState(f"{purpose}: VM {name} runs, and online needs 2012 R2; {stop}")
    if disk.disk_format is not VhdFormat.VHDX:
        raise WrongState(f"{purpose}: VM {name} runs, and online needs a VHDX; {stop}")
    drive = drive_with(await read_devices(context.cim, machine.guid, name), DriveKind.DISK, path)
    if drive is None or drive.address.bus is not Bus.SCSI:
        raise WrongState(
            f"{purpose}: VM {name} runs and has the disk on an IDE controller, online needs SCSI; "
            f"{stop}"
        )
    return drive


async def _require_shrinkable(
    context: HostContext,
    path: str,
    disk: HostDisk,
    size: int,
    command: ResizeVolumeCommand,
    *,
    online: bool,
) -> None:
    if not command.shrink_ok:
        raise CommandRefused(
            f"{path} has {disk.virtual_size} bytes; to shrink it to {size} the command must allow "
            "shrinking (shrinkOk)"
        )
    if disk.disk_format is not VhdFormat.VHDX or disk.parent:
        raise WrongState(f"{path} cannot be shrunk: Hyper-V shrinks only VHDX without a parent")
    try:
        smallest = await images.smallest_size(context.cim, path)
    except HypervisorError as error:
        if not online:
            raise
        # The host does not look into a disk in use, but it checks the same when it resizes it.
        log.info("the smallest size of a disk in use is not known", path=path, reason=str(error))
        return
    if smallest is not None and size < smallest:
        raise WrongState(
            f"{path} cannot be shrunk to {size} bytes: what is in use ends at {smallest}; make the "
            "last partition smaller first"
        )
