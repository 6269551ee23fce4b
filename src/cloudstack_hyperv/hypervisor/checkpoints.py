"""Checkpoints of a VM: taken, gone back to, deleted, each with everything that comes after.

A checkpoint freezes the VM's settings and disks; the VM goes on with differencing disks
(`<stem>_<GUID>.avhdx`).  Three kinds are asked for:

    disk and memory    standard: the guest's memory is saved with it
    disk, quiesced     production: the guest freezes its file systems (Windows Server 2016 on)
    disk               standard, and its memory thrown away at once: what a power cut leaves

A checkpoint is known by its name, CloudStack's own of the VM snapshot, which is given after the
host made it.  What is in between when something breaks is taken back.  Deleting is over when the
host has merged the disks, not when its job is: until then the files must not be touched.

Going back needs a VM that is off or saved.  One that runs is saved first, not turned off, so that
it can go on if the host refuses.  Name, Notes and networks are put back to what they were: a
checkpoint holds old ones.

Source: Microsoft, "Msvm_VirtualSystemSnapshotService" and its methods' pages,
"Msvm_VirtualSystemSettingData" (UserSnapshotType), "Msvm_ComputerSystem" (OperationalStatus).
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.cim import MalformedPath, ObjectPath, Uint16
from cloudstack_hyperv.cim.constants import EnabledState, ReturnCode
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.adapters import AdapterState, read_adapters, restore_network
from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.hypervisor.errors import (
    HypervisorError,
    MethodFailed,
    OperationTimedOut,
    VirtualMachineNotFound,
    WrongState,
    failed_by_host,
    translated,
)
from cloudstack_hyperv.hypervisor.jobs import JobVanished, call
from cloudstack_hyperv.hypervisor.machines import (
    MANAGEMENT_SERVICE,
    Machine,
    machine_path,
    settings_path,
)
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.storage.windows_paths import split_extension
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import CimClient, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, all_of, equals, starts_with

_SERVICE: Final = "Msvm_VirtualSystemSnapshotService"
SNAPSHOT_SERVICE: Final = ObjectPath.of(_SERVICE, CreationClassName=_SERVICE)
_TYPES: Final = "Microsoft:Hyper-V:Snapshot:"
_FULL: Final = Uint16(2)
_BUSY: Final = range(32768, 32773)
"""OperationalStatus[1] while a checkpoint is made, applied or deleted, or disks are merged."""
SETTLING: Final = 10.0
"""Seconds in which a checkpoint may still appear whose making broke down."""
MOMENT: Final = 2.0
"""Seconds for which a refusal may be another job's doing."""
QUIET_LOOKS: Final = 2
"""Looks in a row without a merge that count as its end: it may begin after the job's end."""


class Kind(enum.Enum):
    """What a checkpoint holds."""

    MEMORY = "disk and memory"
    DISK = "disk"
    QUIESCED_DISK = "disk, quiesced"

    @property
    def user_snapshot_type(self) -> int:
        """UserSnapshotType: 5 standard, 4 production only."""
        return 4 if self is Kind.QUIESCED_DISK else 5


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint of a VM."""

    guid: str
    name: str
    """ElementName: CloudStack's name of the VM snapshot, or whatever an operator chose."""
    parent: str
    """GUID of the checkpoint before it, "" for a root of the tree."""
    created: str = ""
    """CreationTime as the host writes it, "" where that was not read."""

    @property
    def path(self) -> ObjectPath:
        """Its settings, which stand for it."""
        return settings_path(self.guid)


async def list_checkpoints(client: CimClient, guid: str, name: str) -> tuple[Checkpoint, ...]:
    """Read the checkpoints of a VM, whoever made them: one round trip."""
    with translated(f"list the checkpoints of VM {name}"):
        rows = await client.query(
            Select(
                "Msvm_VirtualSystemSettingData",
                where=all_of(
                    (
                        equals("VirtualSystemIdentifier", guid),
                        starts_with("VirtualSystemType", _TYPES),
                    )
                ),
                properties=("InstanceID", "ElementName", "Parent", "CreationTime"),
            )
        )
    return tuple(_checkpoint(row) for row in rows)


def named(checkpoints: Sequence[Checkpoint], name: str) -> Checkpoint | None:
    """Return the checkpoint of a name; raises WrongState if there are several."""
    found = [checkpoint for checkpoint in checkpoints if checkpoint.name == name]
    if len(found) > 1:
        raise WrongState(f"the VM has {len(found)} checkpoints called {name!r}")
    return found[0] if found else None


async def take(
    client: CimClient,
    machine: Machine,
    name: str,
    kind: Kind,
    release: Release,
    present: Sequence[Checkpoint],
    timeout: float,
) -> Checkpoint:
    """Take a checkpoint and give it its name; `present` are those that the VM has already.

    Four round trips, five for a disk alone.  Raises WrongState where the release or the VM's state
    does not allow the kind; what was made is taken back.
    """
    vm = machine.cloudstack_name
    what = f"take checkpoint {name} of VM {vm}"
    runs = machine.state not in (EnabledState.DISABLED, EnabledState.SAVED)
    if kind is Kind.QUIESCED_DISK and runs and not release.has_production_checkpoints:
        raise WrongState(f"{what}: this release of Windows cannot quiesce a guest (needs 2016)")
    if kind is Kind.MEMORY and machine.state == EnabledState.DISABLED:
        raise WrongState(f"{what}: the VM is off and has no memory to save")
    if release.has_production_checkpoints:
        await change_system(
            client, machine.guid, {"UserSnapshotType": Uint16(kind.user_snapshot_type)}, what
        )
    before = frozenset(checkpoint.guid for checkpoint in present)
    patience = SETTLING
    async with UndoStack() as undo:
        undo.push(
            f"delete the new checkpoint of VM {vm}",
            lambda: _remove_new(client, machine, before, patience),
        )
        try:
            await _patiently(
                client,
                machine.guid,
                timeout,
                lambda: call(
                    client,
                    SNAPSHOT_SERVICE,
                    "CreateSnapshot",
                    {"AffectedSystem": machine.path, "SnapshotType": _FULL},
                    what=what,
                    timeout=timeout,
                ),
            )
        except HypervisorError as error:
            patience = 0.0 if failed_by_host(error) else SETTLING
            raise
        patience = 0.0
        new = [c for c in await list_checkpoints(client, machine.guid, vm) if c.guid not in before]
        if len(new) != 1:
            raise HypervisorError(f"{what}: the host shows {len(new)} new checkpoints")
        checkpoint = new[0]
        if kind is Kind.DISK and runs:
            await call(
                client,
                SNAPSHOT_SERVICE,
                "ClearSnapshotState",
                {"SnapshotSettingData": checkpoint.path},
                what=f"{what}: drop its memory",
            )
        await change_system(client, checkpoint.guid, {"ElementName": name}, what)
        undo.commit()
    return Checkpoint(checkpoint.guid, name, checkpoint.parent)


async def delete(
    client: CimClient, machine: Machine, checkpoint: Checkpoint, timeout: float
) -> None:
    """Delete one checkpoint and wait until its disks are merged; success if it is gone."""
    what = f"delete checkpoint {checkpoint.name} of VM {machine.cloudstack_name}"
    deadline = asyncio.get_running_loop().time() + timeout

    async def destroy() -> None:
        await call(
            client,
            SNAPSHOT_SERVICE,
            "DestroySnapshot",
            {"AffectedSnapshot": checkpoint.path},
            what=what,
            timeout=timeout,
        )

    try:
        await _patiently(client, machine.guid, timeout, destroy)
    except HypervisorError as error:
        if not await _vanishes(
            client, machine, checkpoint, 0 if failed_by_host(error) else SETTLING
        ):
            raise
    else:
        if not await _vanishes(client, machine, checkpoint, SETTLING):
            raise HypervisorError(f"{what}: the host still has it although it said otherwise")
    left_time = max(deadline - asyncio.get_running_loop().time(), 0)
    await wait_until_merged(client, machine, what, left_time)


async def wait_until_merged(client: CimClient, machine: Machine, what: str, seconds: float) -> None:
    """Wait until the host merges no disks of a VM any more; raises OperationTimedOut.

    A VM without checkpoints must also have no disk of one left in its drives.
    """
    name = machine.cloudstack_name
    pace = power.Pace.for_seconds(seconds)
    quiet = 0
    while True:
        quiet = 0 if await _is_busy(client, machine.guid) else quiet + 1
        if quiet >= QUIET_LOOKS and not await _has_left_overs(client, machine.guid, name):
            return
        if not await pace.next():
            raise OperationTimedOut(
                f"{what}: the host still merges disks after {seconds:g} s; it goes on by itself"
            )


async def revert(
    client: CimClient,
    machine: Machine,
    checkpoint: Checkpoint,
    *,
    run: bool,
    notes: str,
    timeout: float,
) -> None:
    """Make the VM what it was at a checkpoint, then let it run or leave it off.

    `notes` are what its Notes should be.  A VM that cannot go back goes on as it was.
    """
    name = machine.cloudstack_name
    what = f"revert VM {name} to checkpoint {checkpoint.name}"
    networks = await read_adapters(client, machine)
    async with UndoStack() as undo:
        if machine.state not in (EnabledState.DISABLED, EnabledState.SAVED):
            undo.push(f"let VM {name} go on", lambda: power.turn_on(client, machine.guid, name))
            await power.save(client, machine.guid, name)
        await _patiently(
            client,
            machine.guid,
            timeout,
            lambda: call(
                client,
                SNAPSHOT_SERVICE,
                "ApplySnapshot",
                {"Snapshot": checkpoint.path},
                what=what,
                timeout=timeout,
            ),
        )
        # From here on the old state is lost; what follows is repaired by the next try.
        undo.commit()
    await change_system(client, machine.guid, {"ElementName": name, "Notes": [notes]}, what)
    await _restore_networks(client, machine, networks, what)
    if run:
        await power.turn_on(client, machine.guid, name)
    else:
        await power.turn_off(client, machine.guid, name)


async def change_system(
    client: CimClient, guid: str, properties: data.Properties, what: str
) -> None:
    """Set properties of a VM or checkpoint as a whole: one round trip."""
    await call(
        client,
        MANAGEMENT_SERVICE,
        "ModifySystemSettings",
        {"SystemSettings": data.changed_system(f"Microsoft:{guid}", properties)},
        what=what,
    )


async def _restore_networks(
    client: CimClient, machine: Machine, before: Sequence[AdapterState], what: str
) -> None:
    known = {state.adapter.mac: state for state in before}
    for state in await read_adapters(client, machine):
        await restore_network(client, state, known.get(state.adapter.mac), what)


async def _patiently(
    client: CimClient, guid: str, seconds: float, work: Callable[[], Awaitable[object]]
) -> None:
    """Do it, again and again while the host is busy with another checkpoint's disks.

    What else holds the VM does not always show, so it gets a moment as well.
    """
    loop = asyncio.get_running_loop()
    soon = loop.time() + MOMENT
    pace = power.Pace.for_seconds(seconds)
    while True:
        try:
            await work()
        except JobVanished:
            return  # What came of it shows in what is looked at next.
        except MethodFailed as error:
            refused = error.code in (ReturnCode.INVALID_STATE, ReturnCode.SYSTEM_IN_USE)
            waits = refused and (loop.time() < soon or await _is_busy(client, guid))
            if not waits or not await pace.next():
                raise
        else:
            return


async def _remove_new(
    client: CimClient, machine: Machine, before: frozenset[str], patience: float
) -> None:
    """Undo: delete what a CreateSnapshot made, which may take a moment to show."""
    pace = power.Pace.for_seconds(patience)
    while True:
        checkpoints = await list_checkpoints(client, machine.guid, machine.cloudstack_name)
        new = [checkpoint for checkpoint in checkpoints if checkpoint.guid not in before]
        for checkpoint in new:
            await delete(client, machine, checkpoint, power.STATE_TIMEOUT)
        if new or not await pace.next():
            return


async def _vanishes(
    client: CimClient, machine: Machine, checkpoint: Checkpoint, patience: float
) -> bool:
    """Whether a checkpoint is gone, or goes while one looks."""
    pace = power.Pace.for_seconds(patience)
    while True:
        left = await list_checkpoints(client, machine.guid, machine.cloudstack_name)
        if checkpoint.guid not in {each.guid for each in left}:
            return True
        if not await pace.next():
            return False


async def _is_busy(client: CimClient, guid: str) -> bool:
    with translated("see whether disks are merged"):
        try:
            row = await client.get(machine_path(guid), job_poll=True)
        except wsman.NotFound:
            raise VirtualMachineNotFound(f"VM {guid} is gone") from None
    return any(number in _BUSY for number in row.uints("OperationalStatus"))


async def _has_left_overs(client: CimClient, guid: str, name: str) -> bool:
    if await list_checkpoints(client, guid, name):
        return False
    devices = await read_devices(client, guid, name)
    return any(
        drive.medium is not None and split_extension(drive.medium.file)[1] in (".avhdx", ".avhd")
        for drive in devices.drives
    )


def _checkpoint(row: Instance) -> Checkpoint:
    guid = row.require("InstanceID").removeprefix("Microsoft:").upper()
    return Checkpoint(
        guid,
        row.string("ElementName") or "",
        _guid_of(row.string("Parent")),
        row.string("CreationTime") or "",
    )


def _guid_of(path: str | None) -> str:
    if not path:
        return ""
    try:
        identity = ObjectPath.parse(path).key("InstanceID") or ""
    except MalformedPath:
        return ""
    return identity.removeprefix("Microsoft:").upper()
