"""listsnapshots, createsnapshot, restoresnapshot, deletesnapshot: checkpoints as custom actions.

A checkpoint is known by the name that the user gives (`snapshot_name`).  With
`snapshot_save_memory` the guest's memory is saved with it, as it is for a running VM when nothing
is said; with `quiesce` the guest freezes its file systems.  Restoring leaves a VM running that was,
and any other off.

CloudStack knows nothing of these checkpoints: the VM's disks are on no storage pool of its.
"""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.doors.extension.outcome import Outcome, succeeded, table
from cloudstack_hyperv.doors.extension.payload import text_parameter, truth_parameter
from cloudstack_hyperv.doors.extension.work import Work
from cloudstack_hyperv.hypervisor import checkpoints
from cloudstack_hyperv.hypervisor.checkpoints import Checkpoint, Kind
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import known_release

_LONGEST_NAME = 100


async def list_snapshots(work: Work) -> Outcome:
    """Show all checkpoints of the VM, whoever took them."""
    machine = await work.require()
    found = await checkpoints.list_checkpoints(work.cim, machine.guid, work.name)
    names = {checkpoint.guid: checkpoint.name for checkpoint in found}
    return table(
        [
            {
                "Name": checkpoint.name,
                "CreationTime": checkpoint.created,
                "Parent": names.get(checkpoint.parent, ""),
            }
            for checkpoint in sorted(found, key=lambda one: one.created)
        ]
    )


async def create_snapshot(work: Work) -> Outcome:
    """Take a checkpoint; one that exists under that name is not taken again."""
    name = _name(work)
    machine = await work.require()
    present = await checkpoints.list_checkpoints(work.cim, machine.guid, work.name)
    if checkpoints.named(present, name) is not None:
        return succeeded(f"Snapshot '{name}' exists")
    await checkpoints.take(
        work.cim,
        machine,
        name,
        _kind(work, machine),
        await known_release(work.context),
        present,
        work.seconds,
    )
    return succeeded(f"Snapshot '{name}' created")


async def restore_snapshot(work: Work) -> Outcome:
    """Go back to a checkpoint."""
    machine, found = await _required(work)
    run = machine.state == EnabledState.ENABLED
    await checkpoints.revert(
        work.cim, machine, found, run=run, notes=machine.notes, timeout=work.seconds
    )
    return succeeded(f"Snapshot '{found.name}' restored")


async def delete_snapshot(work: Work) -> Outcome:
    """Delete a checkpoint and wait until its disks are merged."""
    name = _name(work)
    machine = await work.require()
    present = await checkpoints.list_checkpoints(work.cim, machine.guid, work.name)
    found = checkpoints.named(present, name)
    if found is None:
        return succeeded(f"Snapshot '{name}' is gone")
    await checkpoints.delete(work.cim, machine, found, work.seconds)
    return succeeded(f"Snapshot '{name}' deleted")


async def _required(work: Work) -> tuple[Machine, Checkpoint]:
    name = _name(work)
    machine = await work.require()
    present = await checkpoints.list_checkpoints(work.cim, machine.guid, work.name)
    found = checkpoints.named(present, name)
    if found is None:
        raise CommandRefused(f"VM {work.name} has no snapshot '{name}'")
    return machine, found


def _name(work: Work) -> str:
    name = text_parameter(work.payload.parameters, "snapshot_name")
    if name is None or not name.strip():
        raise CommandRefused("the parameter snapshot_name is missing")
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise CommandRefused(
            f"snapshot_name has at most {_LONGEST_NAME} characters, and only printable ones"
        )
    return name


def _kind(work: Work, machine: Machine) -> Kind:
    parameters = work.payload.parameters
    if truth_parameter(parameters, "quiesce"):
        return Kind.QUIESCED_DISK
    runs = machine.state not in (EnabledState.DISABLED, EnabledState.SAVED)
    memory = truth_parameter(parameters, "snapshot_save_memory")
    return Kind.MEMORY if runs and memory is not False else Kind.DISK
