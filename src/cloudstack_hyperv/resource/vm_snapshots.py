"""CreateVMSnapshot, DeleteVMSnapshot, RevertToVMSnapshot: Hyper-V checkpoints under CloudStack's
names.

CloudStack stores what the answer says of each volume: `path`, which stays the file stem that it
knows although the VM writes to a differencing disk beside it, and `size`, the bytes that the
checkpoints take besides the volume.  A snapshot is known by `target.snapshotName`; one that exists
is not taken again, one that is gone was deleted.

A stopped VM that never had a checkpoint has no definition anywhere, so there is nothing to take a
checkpoint of: that is refused.  A stopped VM that has some keeps its definition on one host, and
loses it there with its last snapshot.

Sources: CloudStack's `DefaultVMSnapshotStrategy` (updateVolumePath, finalizeCreate,
finalizeDelete), `VMSnapshotManagerImpl`; `LibvirtRevertToVMSnapshotCommandWrapper` for the state
after going back.
"""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import checkpoints, power
from cloudstack_hyperv.hypervisor.checkpoints import Kind
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import with_kept, without_kept
from cloudstack_hyperv.messages import copy_with
from cloudstack_hyperv.messages.answers.snapshots import (
    CreateVMSnapshotAnswer,
    DeleteVMSnapshotAnswer,
    RevertToVMSnapshotAnswer,
)
from cloudstack_hyperv.messages.commands.snapshots import (
    CreateVMSnapshotCommand,
    DeleteVMSnapshotCommand,
    RevertToVMSnapshotCommand,
    VMSnapshotBaseCommand,
)
from cloudstack_hyperv.messages.enums import PowerState
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import VMSnapshotTO
from cloudstack_hyperv.resource.branches import branch_size
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import find_ours, known_release, machine_directory
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.storage.locations import NoLocation, volume_path

_PAGE = "Phase 2: snapshots"


def _keys(command: VMSnapshotBaseCommand) -> tuple[str, ...]:
    stems = (volume.path or volume.uuid for volume in command.volume_tos or ())
    return (f"vm:{command.vm_name}", *(f"file:{stem}" for stem in stems if stem))


@handles(CreateVMSnapshotCommand, ordered_by=_keys, page=_PAGE)
async def create_vm_snapshot(
    command: CreateVMSnapshotCommand, context: HostContext
) -> CreateVMSnapshotAnswer:
    """Take a checkpoint; the same command twice takes one."""
    name, kind = _snapshot_name(command.target), _kind(command.target)
    machine = await _required(context, command.vm_name)
    present = await checkpoints.list_checkpoints(context.cim, machine.guid, command.vm_name)
    if checkpoints.named(present, name) is None:
        await checkpoints.take(
            context.cim,
            machine,
            name,
            kind,
            await known_release(context),
            present,
            _patience(command, context),
        )
    return CreateVMSnapshotAnswer(
        result=True,
        volume_tos=await _volumes(command, context),
        vm_snapshot_to=command.target,
    )


@handles(DeleteVMSnapshotCommand, ordered_by=_keys, page=_PAGE)
async def delete_vm_snapshot(
    command: DeleteVMSnapshotCommand, context: HostContext
) -> DeleteVMSnapshotAnswer:
    """Delete a checkpoint and wait for the merge; one that is gone is a success."""
    name = _snapshot_name(command.target)
    machine = await find_ours(context, command.vm_name)
    details = f"VM {command.vm_name} has no snapshot {name}"
    if machine is not None:
        present = await checkpoints.list_checkpoints(context.cim, machine.guid, command.vm_name)
        found = checkpoints.named(present, name)
        if found is not None:
            await checkpoints.delete(context.cim, machine, found, _patience(command, context))
            details = f"snapshot {name} of VM {command.vm_name} is merged"
        else:
            # An earlier command for it may have ended before its merge.
            await checkpoints.wait_until_merged(
                context.cim, machine, f"delete snapshot {name}", _patience(command, context)
            )
        await _remove_if_without_use(context, machine)
    return DeleteVMSnapshotAnswer(
        result=True, details=details, volume_tos=await _volumes(command, context)
    )


@handles(RevertToVMSnapshotCommand, ordered_by=_keys, page=_PAGE)
async def revert_to_vm_snapshot(
    command: RevertToVMSnapshotCommand, context: HostContext
) -> RevertToVMSnapshotAnswer:
    """Go back to a checkpoint; the VM runs afterwards if memory was saved with it."""
    name = _snapshot_name(command.target)
    machine = await _required(context, command.vm_name)
    present = await checkpoints.list_checkpoints(context.cim, machine.guid, command.vm_name)
    found = checkpoints.named(present, name)
    if found is None:
        raise CommandRefused(f"VM {command.vm_name} has no snapshot {name}")
    run = _kind(command.target) is Kind.MEMORY
    # A VM that is off afterwards is off because CloudStack has it so: it must not be reported.
    notes = without_kept(machine.notes) if run else with_kept(machine.notes)
    await checkpoints.revert(
        context.cim, machine, found, run=run, notes=notes, timeout=_patience(command, context)
    )
    return RevertToVMSnapshotAnswer(
        result=True,
        volume_tos=await _volumes(command, context),
        vm_state=PowerState.ON if run else PowerState.OFF,
    )


async def _remove_if_without_use(context: HostContext, machine: Machine) -> None:
    """Remove a definition that was only kept for the checkpoints that it has no more."""
    name = machine.cloudstack_name
    if not machine.is_kept or machine.state != EnabledState.DISABLED:
        return
    if await checkpoints.list_checkpoints(context.cim, machine.guid, name):
        return
    await power.destroy(context.cim, machine.guid, name)
    machine_directory(context).index.forget(name)


async def _volumes(command: VMSnapshotBaseCommand, context: HostContext) -> list[VolumeObjectTO]:
    """Return the command's volumes with the bytes that checkpoints take beside each."""
    volumes = []
    for volume in command.volume_tos or ():
        try:
            size = await branch_size(context, await volume_path(volume, context.files))
        except NoLocation:
            size = 0  # A volume that is nowhere has nothing beside it either.
        volumes.append(copy_with(volume, path=volume.path or volume.uuid, size=size))
    return volumes


async def _required(context: HostContext, name: str) -> Machine:
    machine = await find_ours(context, name)
    if machine is None:
        raise VirtualMachineNotFound(
            f"the host has no VM {name}: a VM that is stopped and has no snapshots yet is defined "
            "nowhere; start it to take one"
        )
    return machine


def _snapshot_name(target: VMSnapshotTO) -> str:
    name = target.snapshot_name or ""
    if not name.strip() or len(name) > 100:
        raise CommandRefused("a VM snapshot has a name of 1 to 100 characters")
    return name


def _kind(target: VMSnapshotTO) -> Kind:
    match target.type:
        case "DiskAndMemory":
            return Kind.MEMORY
        case "Disk":
            return Kind.QUIESCED_DISK if target.quiescevm else Kind.DISK
        case other:
            raise CommandRefused(f"a VM snapshot is DiskAndMemory or Disk, not {ascii(other)[:40]}")


def _patience(command: VMSnapshotBaseCommand, context: HostContext) -> float:
    """Return the seconds that the host may take: nearly all of the command's own."""
    return (command.wait or context.settings.direct.default_wait) * 0.9
