"""AttachCommand and DettachCommand (CloudStack's spelling): volumes and ISOs of a running VM.

What callers rely on: attaching what is attached succeeds, and the answer's `disk.diskSeq` says
where it is, because it becomes the volume's device id; detaching what is not attached succeeds,
and so does detaching from a VM that is gone; attaching to a VM that is gone fails.

Sources: CloudStack's `VolumeApiServiceImpl` (sendAttachVolumeCommand), `TemplateManagerImpl`
(attachISOToVM), `KVMStorageProcessor`.
"""

from __future__ import annotations

import structlog

from cloudstack_hyperv.hypervisor import drives
from cloudstack_hyperv.hypervisor.drive_layout import ISO_SEQUENCE
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound
from cloudstack_hyperv.messages import copy_with
from cloudstack_hyperv.messages.answers.storage import AttachAnswer, DettachAnswer
from cloudstack_hyperv.messages.commands.storage import AttachCommand, DettachCommand
from cloudstack_hyperv.messages.enums import VolumeType
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import DiskTO
from cloudstack_hyperv.resource.branches import branches_of
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_files import disk_file, disk_keys, require_file
from cloudstack_hyperv.resource.disk_limits import iops_limit
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import find_ours, known_release
from cloudstack_hyperv.resource.registry import handles

log = structlog.get_logger(__name__)


def _keys(command: AttachCommand | DettachCommand) -> tuple[str, ...]:
    return (f"vm:{command.vm_name}", *disk_keys(command.disk))


@handles(AttachCommand, ordered_by=_keys, page="Phase 1: volumes, ISO")
async def attach(command: AttachCommand, context: HostContext) -> AttachAnswer:
    """Attach a volume, or put an ISO into the DVD drive."""
    disk = command.disk
    file = await disk_file(disk, context)
    if file is None:
        raise CommandRefused(f"attach to VM {command.vm_name}: the command names no file")
    machine = await find_ours(context, command.vm_name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host has no VM {command.vm_name}")
    await require_file(context, file)
    if disk.type == VolumeType.ISO:
        await drives.insert_iso(context.cim, machine, file, _dvd_number(disk))
        sequence = ISO_SEQUENCE if disk.disk_seq is None else disk.disk_seq
    else:
        limit = iops_limit(disk.data) if isinstance(disk.data, VolumeObjectTO) else None
        if limit is not None and not (await known_release(context)).has_disk_limits:
            log.warning("disk limit not set: Hyper-V has it since 2012 R2", vm=command.vm_name)
            limit = None
        sequence = await drives.attach_disk(
            context.cim,
            machine,
            file,
            disk.disk_seq,
            iops_limit=limit,
            frozen_by=branches[0].path if (branches := await branches_of(context, file)) else None,
        )
    return AttachAnswer(result=True, disk=copy_with(disk, disk_seq=sequence))


@handles(DettachCommand, ordered_by=_keys, page="Phase 1: volumes, ISO")
async def detach(command: DettachCommand, context: HostContext) -> DettachAnswer:
    """Detach a volume, or eject an ISO; success if it is not there."""
    disk = command.disk
    machine = await find_ours(context, command.vm_name)
    if machine is None:
        return DettachAnswer(
            result=True, disk=disk, details=f"VM {command.vm_name} is not on this host"
        )
    file = await disk_file(disk, context)
    if disk.type == VolumeType.ISO:
        was_there = await drives.eject_iso(context.cim, machine, file, _dvd_number(disk))
    elif file is None:
        raise CommandRefused(f"detach from VM {command.vm_name}: the command names no volume")
    else:
        was_there = await drives.detach_disk(context.cim, machine, file, disk.disk_seq)
    return DettachAnswer(result=True, disk=disk, details=None if was_there else "was not attached")


def _dvd_number(disk: DiskTO) -> int:
    """Return 0 for the user's DVD drive (diskSeq 3), 1 for the config drive's (4)."""
    return 0 if disk.disk_seq is None or disk.disk_seq <= ISO_SEQUENCE else 1
