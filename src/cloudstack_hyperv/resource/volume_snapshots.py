r"""Volume snapshots on primary storage: taken, deleted, and no checkpoint left behind.

A snapshot is a whole disk of its own, `<pool>\snapshots\<stem>.<format>`.  How its point in time
is held depends on who has the volume:

    nobody, or a VM of ours that is off or saved    the disk is at rest: it is copied
    a VM of ours that runs or is paused             a checkpoint freezes all of the VM's disks,
                                                    the frozen file is copied, then the checkpoint
                                                    is deleted and its disks are merged
    any other VM                                    refused

The checkpoint lets the guest quiesce its file systems where it can (2016 on); where it cannot, the
copy is what a power cut would have left, unless the snapshot must be quiesced (`quiescevm`).  The
snapshot gets its name only after the VM's disks are as they were.  Whatever fails, the checkpoint
is deleted, and one that a crash left is recognised by its name and deleted later.

CloudStack does not name the file: its stem is made of the snapshot's id and its volume, so that a
command that is sent again finds what it made.

Sources: CloudStack's `KVMStorageProcessor.createSnapshot`; Microsoft,
"Msvm_VirtualSystemSnapshotService".
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from cloudstack_hyperv.cim.constants import EnabledState, VhdFormat
from cloudstack_hyperv.hypervisor import checkpoints, images
from cloudstack_hyperv.hypervisor.attachments import Attachment, list_attachments
from cloudstack_hyperv.hypervisor.checkpoints import Checkpoint, Kind
from cloudstack_hyperv.hypervisor.drives import same_disk
from cloudstack_hyperv.hypervisor.errors import (
    HypervisorError,
    JobFailed,
    MethodFailed,
    WrongState,
)
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.undo import UNDO_TIMEOUT, UndoStack
from cloudstack_hyperv.messages import copy_with
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.storage import CreateObjectAnswer
from cloudstack_hyperv.messages.objects.storage import SnapshotObjectTO, VolumeObjectTO
from cloudstack_hyperv.resource import host_copies
from cloudstack_hyperv.resource.checkpoint_leftovers import (
    remove_leftover_checkpoints_of,
    temporary_name,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_parents import occupied
from cloudstack_hyperv.resource.disk_safety import DiskUser, users_of
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import known_release, machine_directory
from cloudstack_hyperv.resource.snapshot_copies import snapshot_folder
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.storage.copying import require_space
from cloudstack_hyperv.storage.locations import (
    disk_path,
    find_disk,
    object_stem,
    pool_of,
    volume_path,
)
from cloudstack_hyperv.storage.progress import Progress
from cloudstack_hyperv.storage.windows_paths import parent_folder

log = structlog.get_logger(__name__)

_SNAPSHOTS: Final = uuid.UUID("9c0a1f3e-6d64-4b0d-8d7e-5a3f2c1b7e90")
"""Namespace of the name-based UUIDs of snapshots."""
_AT_REST: Final = frozenset({EnabledState.DISABLED, EnabledState.SAVED})


async def create_snapshot(
    snapshot: SnapshotObjectTO, context: HostContext, patience: float
) -> CreateObjectAnswer:
    """Take a snapshot of a volume; the same command twice takes one.

    `patience` is in seconds, for each of the host's long steps.
    """
    volume = snapshot.volume
    if volume is None:
        raise CommandRefused("the snapshot names no volume")
    folder = snapshot_folder(
        storage_access(context).folder_of_pool(pool_of(snapshot.data_store or volume.data_store))
    )
    path = await volume_path(volume, context.files)
    stem = _stem(snapshot, volume)
    present = await find_disk(folder, stem, None, context.files)
    if present is None:
        users = await users_of(context, path)
        elsewhere = next((user.context for user in users if user.context is not context), None)
        if elsewhere is not None and len(users) == 1:
            # CloudStack asks any host of the pool; only the one that runs the VM can do it.
            return await create_snapshot(snapshot, elsewhere, patience)
        await context.files.make_folder(folder)
        final = disk_path(folder, stem, path.rpartition(".")[2])
        await _take(snapshot, context, path, final, patience)
    else:
        log.info("the snapshot was taken before", path=present)
    return CreateObjectAnswer(result=True, data=copy_with(snapshot, path=stem))


async def delete_snapshot(snapshot: SnapshotObjectTO, context: HostContext) -> Answer:
    """Delete a snapshot on primary storage; one that is gone is a success."""
    folder = snapshot_folder(storage_access(context).folder_of_pool(pool_of(snapshot.data_store)))
    stem = object_stem(snapshot.path, None)
    path = await find_disk(folder, stem, None, context.files)
    if path is None:
        return Answer(result=True, details=f"{stem} is not in {folder}")
    users = await users_of(context, path)
    if users:
        raise WrongState(f"delete snapshot {stem}: {path} is attached to {users[0]}")
    await host_copies.delete_on_host(context, path)
    log.info("deleted a snapshot", path=path)
    return Answer(result=True)


async def _take(
    snapshot: SnapshotObjectTO, context: HostContext, path: str, final: str, patience: float
) -> None:
    what = f"take snapshot {snapshot.name or snapshot.id} of {path}"
    # The host tells it; a running VM's disk may be closed to everybody else.
    size = (await images.read_disk(context.cim, path)).virtual_size
    async with (
        host_copies.new_disk(context, final) as temporary,
        _still(snapshot, context, path, what, patience) as still,
    ):
        await require_space(context.files, parent_folder(final), await occupied(context, still))
        async with storage_access(context).copies:
            await images.convert_disk(
                context.cim,
                still,
                temporary,
                disk_format=VhdFormat[final.rpartition(".")[2].upper()],
                block_size=context.settings.storage.block_size_mib * host_copies.MIB,
                progress=Progress(what),
            )
        await host_copies.require_size(context, temporary, size)
    log.info("snapshot taken", path=final, volume=path)


@asynccontextmanager
async def _still(
    snapshot: SnapshotObjectTO, context: HostContext, path: str, what: str, patience: float
) -> AsyncIterator[str]:
    """Give the block the file that holds the volume's content and does not change meanwhile."""
    machines = [user for user in await users_of(context, path) if user.state is not None]
    if len(machines) > 1:
        raise WrongState(f"{what}: it is attached to {machines[0]} and {machines[1]}")
    if not machines:
        yield path
        return
    user = machines[0]
    if user.state in _AT_REST:
        yield user.attachment.path  # what the VM writes to, if it has checkpoints
        return
    if user.state not in (EnabledState.ENABLED, EnabledState.PAUSED):
        raise WrongState(f"{what}: {user} is neither running, paused nor off")
    machine = await _ours(context, user, what)
    async with _frozen(snapshot, context, machine, user.attachment, what, patience) as frozen:
        yield frozen


@asynccontextmanager
async def _frozen(
    snapshot: SnapshotObjectTO,
    context: HostContext,
    machine: Machine,
    attachment: Attachment,
    what: str,
    patience: float,
) -> AsyncIterator[str]:
    """Hold the VM's disks by a checkpoint for the block; afterwards they are as before."""
    await remove_leftover_checkpoints_of(context, machine, patience)
    with temporary_name(context) as name:
        async with UndoStack() as undo:
            checkpoint = await _take_checkpoint(snapshot, context, machine, name, patience)
            undo.push(
                f"delete the checkpoint {name} of VM {machine.cloudstack_name}",
                lambda: checkpoints.delete(
                    context.cim, machine, checkpoint, min(patience, UNDO_TIMEOUT - 5)
                ),
            )
            yield await _file_in(context, checkpoint, attachment, what)
            await checkpoints.delete(context.cim, machine, checkpoint, patience)
            undo.commit()


async def _take_checkpoint(
    snapshot: SnapshotObjectTO,
    context: HostContext,
    machine: Machine,
    name: str,
    patience: float,
) -> Checkpoint:
    release = await known_release(context)
    vm = machine.cloudstack_name
    kinds = [Kind.DISK]
    if machine.state == EnabledState.ENABLED and release.has_production_checkpoints:
        kinds = [Kind.QUIESCED_DISK] if snapshot.quiescevm else [Kind.QUIESCED_DISK, Kind.DISK]
    elif snapshot.quiescevm:
        raise WrongState(f"VM {vm} cannot be quiesced: that needs a running VM on 2016 or later")
    for kind in kinds:
        present = await checkpoints.list_checkpoints(context.cim, machine.guid, vm)
        try:
            return await checkpoints.take(
                context.cim, machine, name, kind, release, present, patience
            )
        except (JobFailed, MethodFailed) as error:
            if kind is kinds[-1]:
                raise
            log.info("the guest did not quiesce", vm=vm, reason=str(error))
    raise HypervisorError(f"no checkpoint of VM {vm} was taken")


async def _file_in(
    context: HostContext, checkpoint: Checkpoint, attachment: Attachment, what: str
) -> str:
    """Return the file that the checkpoint froze: what the VM's drive held just before."""
    for each in await list_attachments(context.cim):
        if each.machine_guid == checkpoint.guid and (
            same_disk(each.path, attachment.path) or same_disk(attachment.path, each.path)
        ):
            return each.path
    raise HypervisorError(f"{what}: the checkpoint does not hold {attachment.path}")


async def _ours(context: HostContext, user: DiskUser, what: str) -> Machine:
    machine = await machine_directory(context).find(user.name)
    if (
        machine is None
        or machine.ownership is None
        or machine.guid.upper() != user.attachment.machine_guid
    ):
        raise WrongState(f"{what}: it is attached to {user}, which is not CloudStack's")
    return machine


def _stem(snapshot: SnapshotObjectTO, volume: VolumeObjectTO) -> str:
    """Return the stem of the snapshot's file, the same for the same snapshot."""
    if snapshot.path:
        return object_stem(snapshot.path, None)
    if not snapshot.id:
        raise CommandRefused("the snapshot has neither a path nor an id")
    return str(uuid.uuid5(_SNAPSHOTS, f"{volume.uuid or volume.path}|{snapshot.id}"))
