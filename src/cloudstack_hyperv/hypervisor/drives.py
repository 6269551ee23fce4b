r"""Attaching and detaching disks and ISOs of a VM that exists.

Only drives of that one VM are ever looked at: the same ISO may lie in many VMs.  A file is found
by its path without letter case; after a checkpoint the drive shows a differencing disk instead,
`<stem>_<GUID>.avhdx` in the same folder.

A disk is two things, a drive and a medium in it.  They go in that order and come out in the other,
in two calls: a drive that still holds a medium cannot be removed.

Source: Microsoft, "AddResourceSettings", "RemoveResourceSettings"; os-win `vmutils`
(`attach_drive`, `detach_vm_disk`).
"""

from __future__ import annotations

import re

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import Devices, Drive, read_devices
from cloudstack_hyperv.hypervisor.drive_layout import (
    ImpossibleLayout,
    disk_address,
    dvd_address,
    free_sequence,
    sequence_of,
)
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, Machine
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.hypervisor.wish import Bus, DriveAddress, DriveKind
from cloudstack_hyperv.storage.windows_paths import folded, same_path, split_extension
from cloudstack_hyperv.wsman.api import CimClient, EmbeddedInstance

_CHECKPOINT_SUFFIX = re.compile(r"_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)


class NoPlaceForDrive(HypervisorError):
    """The wanted place is taken, or the VM cannot have a drive there now."""


async def attach_disk(
    client: CimClient,
    machine: Machine,
    file: str,
    sequence: int | None,
    iops_limit: int | None = None,
    frozen_by: str | None = None,
) -> int:
    """Attach a disk and return its diskSeq; four round trips.

    A disk that the VM has already stays where it is.  Without a diskSeq the lowest free one is
    taken.  A VM with checkpoints gets no disk: going back to one would silently lose it; and no VM
    gets one that checkpoints of another VM stand on (`frozen_by` names their file).  Undone if it
    fails half-way.
    """
    name = machine.cloudstack_name
    devices = await read_devices(client, machine.guid, name)
    present = drive_with(devices, DriveKind.DISK, file)
    if present is not None:
        return sequence_of(present.address)
    if frozen_by is not None:
        raise WrongState(
            f"attach {file} to VM {name}: checkpoints of another VM stand on it ({frozen_by}); "
            "delete the VM snapshots first"
        )
    frozen = next((d.medium.file for d in devices.drives if d.medium and _is_branch(d)), None)
    if frozen is not None:
        raise WrongState(
            f"attach {file} to VM {name}: the VM has VM snapshots ({frozen} is in use) and going "
            "back to one would lose the disk; delete the snapshots first"
        )
    try:
        if sequence is None:
            sequence = free_sequence(devices.generation, (d.address for d in devices.drives))
        address = disk_address(sequence)
    except ImpossibleLayout as error:
        raise NoPlaceForDrive(f"attach {file} to VM {name}: {error}") from None
    what = f"attach {file} to VM {name} at {address}"
    drive = devices.drive_at(address)
    async with UndoStack() as undo:
        if drive is None:
            path = await _add_drive(client, machine, devices, DriveKind.DISK, address, what)
            undo.push(f"remove the drive at {address}", lambda: _remove(client, path, what))
        elif drive.kind is DriveKind.DISK and drive.medium is None:
            path = drive.path
        else:
            content = drive.medium.file if drive.medium else f"a {drive.kind} drive"
            raise NoPlaceForDrive(f"{what}: {content} is there")
        medium = data.medium(DriveKind.DISK, file, iops_limit)
        await _add(client, machine, data.parented(medium, path), what)
        undo.commit()
    return sequence


async def detach_disk(client: CimClient, machine: Machine, file: str, sequence: int | None) -> bool:
    """Detach a disk and remove its drive; False if the VM does not have it.

    A drive that an earlier, interrupted detach left empty at that diskSeq is removed too.
    """
    name = machine.cloudstack_name
    what = f"detach {file} from VM {name}"
    devices = await read_devices(client, machine.guid, name)
    drive = drive_with(devices, DriveKind.DISK, file)
    if drive is not None and drive.medium is not None:
        if not same_path(drive.medium.file, file):
            raise WrongState(
                f"{what}: the VM has a checkpoint, the disk is in use as {drive.medium.file}; "
                "delete the checkpoint first"
            )
        await _remove(client, drive.medium.path, what)
        await _remove(client, drive.path, what)
        return True
    if sequence is not None:
        left = devices.drive_at(disk_address(sequence))
        if left is not None and left.kind is DriveKind.DISK and left.medium is None:
            await _remove(client, left.path, what)
    return False


async def insert_iso(client: CimClient, machine: Machine, file: str, number: int) -> None:
    """Put an ISO into the VM's DVD drive `number` (0: the user's, 1: the config drive).

    What lies there is changed in place.  A drive that the VM lacks is added where that is
    possible: on SCSI always, on IDE only while the VM is off.
    """
    name = machine.cloudstack_name
    devices = await read_devices(client, machine.guid, name)
    try:
        address = dvd_address(devices.generation, number)
    except ImpossibleLayout as error:
        raise NoPlaceForDrive(f"insert {file} into VM {name}: {error}") from None
    what = f"insert {file} into VM {name} at {address}"
    drive = devices.drive_at(address)
    if drive is not None and drive.kind is not DriveKind.DVD:
        raise NoPlaceForDrive(f"{what}: a disk is there")
    async with UndoStack() as undo:
        if drive is None:
            if address.bus is Bus.IDE and machine.state != EnabledState.DISABLED:
                raise NoPlaceForDrive(
                    f"{what}: the VM has no DVD drive there and a generation 1 VM gets one only "
                    "while it is off; stop and start it"
                )
            path = await _add_drive(client, machine, devices, DriveKind.DVD, address, what)
            undo.push(f"remove the drive at {address}", lambda: _remove(client, path, what))
        elif drive.medium is None:
            path = drive.path
        elif same_path(drive.medium.file, file):
            return
        else:
            await _change(client, drive.medium.path, file, what)
            return
        await _add(client, machine, data.parented(data.medium(DriveKind.DVD, file), path), what)
        undo.commit()


async def eject_iso(client: CimClient, machine: Machine, file: str | None, number: int) -> bool:
    """Take an ISO out of the VM; False if it is not in.  The drive stays.

    `file` None means whatever is in DVD drive `number`.
    """
    name = machine.cloudstack_name
    devices = await read_devices(client, machine.guid, name)
    if file is not None:
        drive = drive_with(devices, DriveKind.DVD, file)
    else:
        drive = devices.drive_at(dvd_address(devices.generation, number))
    if drive is None or drive.medium is None:
        return False
    await _remove(client, drive.medium.path, f"eject {drive.medium.file} from VM {name}")
    return True


def same_disk(attached: str, file: str) -> bool:
    r"""Whether a drive's file is this disk, or the differencing disk of a checkpoint over it."""
    if same_path(attached, file):
        return True
    above, _, below = folded(attached).rpartition("\\")
    folder, _, base = folded(file).rpartition("\\")
    stem, dot, extension = below.rpartition(".")
    wanted, _, format_ = base.rpartition(".")
    return (
        above == folder
        and bool(dot)
        and extension == f"A{format_}"
        and _CHECKPOINT_SUFFIX.search(stem) is not None
        and _CHECKPOINT_SUFFIX.sub("", stem) == wanted
    )


def is_branch_of(name: str, stem: str) -> bool:
    """Whether a file name is that of a checkpoint's differencing disk over `<stem>.vhd(x)`."""
    base, dot, extension = folded(name).rpartition(".")
    return (
        bool(dot)
        and extension in {"AVHDX", "AVHD"}
        and _CHECKPOINT_SUFFIX.search(base) is not None
        and _CHECKPOINT_SUFFIX.sub("", base) == folded(stem)
    )


def drive_with(devices: Devices, kind: DriveKind, file: str) -> Drive | None:
    """Return the drive that holds a file, directly or under a checkpoint."""
    for drive in devices.drives:
        if drive.kind is kind and drive.medium is not None and same_disk(drive.medium.file, file):
            return drive
    return None


def _is_branch(drive: Drive) -> bool:
    return drive.medium is not None and split_extension(drive.medium.file)[1] in (
        ".avhdx",
        ".avhd",
    )


async def _add_drive(
    client: CimClient,
    machine: Machine,
    devices: Devices,
    kind: DriveKind,
    address: DriveAddress,
    what: str,
) -> ObjectPath:
    controller = devices.controller(address.bus, address.controller)
    if controller is None:
        raise NoPlaceForDrive(
            f"{what}: the VM has no {address.bus} controller {address.controller}; it gets one "
            "with its next start"
        )
    settings = data.parented(data.drive(kind, address.slot), controller.path)
    return await _add(client, machine, settings, what)


async def _add(
    client: CimClient, machine: Machine, settings: EmbeddedInstance, what: str
) -> ObjectPath:
    result = await call(
        client,
        MANAGEMENT_SERVICE,
        "AddResourceSettings",
        {"AffectedConfiguration": machine.settings_path, "ResourceSettings": [settings]},
        what=what,
    )
    paths = result.paths("ResultingResourceSettings")
    if len(paths) != 1:
        raise HypervisorError(f"{what}: the host does not say what it added")
    return paths[0]


async def _change(client: CimClient, medium: ObjectPath, file: str, what: str) -> None:
    await call(
        client,
        MANAGEMENT_SERVICE,
        "ModifyResourceSettings",
        {"ResourceSettings": [data.changed_medium(medium.key("InstanceID") or "", file)]},
        what=what,
    )


async def _remove(client: CimClient, path: ObjectPath, what: str) -> None:
    await call(
        client,
        MANAGEMENT_SERVICE,
        "RemoveResourceSettings",
        {"ResourceSettings": [path]},
        what=what,
    )
