"""From a kept definition to the VM that a StartCommand wants: what to change, and nothing else.

A VM with checkpoints cannot be defined anew, so its definition stays when CloudStack stops it.
Meanwhile it may have got another size, other NICs, another ISO.  Processors, memory, name and
firmware are set again; NICs are all removed and added, which while the VM is off costs nothing and
leaves no feature of an old port behind (their identifiers are derived, so the guest sees the same
ones); DVD drives get what lies in them now.  Disks must be the ones that the checkpoints hold: a
disk that came or went would not be in a checkpoint, or only there.

The generation cannot change, and a system VM has no checkpoints.  Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import Devices, Drive
from cloudstack_hyperv.hypervisor.drives import same_disk
from cloudstack_hyperv.hypervisor.plan import (
    AddDevices,
    ImpossibleWish,
    LimitDisk,
    Plan,
    RemoveDevices,
    RenewSystem,
    SizeSystem,
    Step,
    check_wish,
    controller_key,
    device_layers,
    last_steps,
)
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.wish import DriveKind, DriveWish, MachineWish
from cloudstack_hyperv.storage.windows_paths import same_path


def plan_reuse(wish: MachineWish, release: Release, devices: Devices, notes: str) -> Plan:
    """Return the steps that bring a VM that is off to shape and start it.

    `devices` is what it has, `notes` what its Notes should be.  Raises ImpossibleWish.
    """
    check_wish(wish, release)
    _check_same_machine(wish, devices)
    _check_same_disks(wish, devices)
    steps: list[Step] = [
        RenewSystem(wish.name, data.kept_system(wish, notes, release)),
        SizeSystem(wish),
    ]
    steps.extend(_removals(wish, devices))
    steps.extend(_limits(wish, devices, release))
    present = present_keys(devices)
    stale = {str(drive.address) for drive in _stale_drives(wish, devices)}
    kept_media = {_medium_key(w) for w in wish.drives if w.file and _holds(devices, w)}
    here = (present.keys() - stale) | kept_media
    for layer in device_layers(wish):
        missing = tuple(device for device in layer if device.key not in here)
        if missing:
            steps.append(AddDevices(missing))
    steps.extend(last_steps(wish))
    return Plan(wish, tuple(steps))


def present_keys(devices: Devices) -> Mapping[str, ObjectPath]:
    """Return controllers and drives by the keys that plans use for them."""
    keys = {controller_key(c.bus, c.number): c.path for c in devices.controllers}
    keys.update({str(drive.address): drive.path for drive in devices.drives})
    return keys


def _check_same_machine(wish: MachineWish, devices: Devices) -> None:
    if devices.generation != wish.generation:
        raise ImpossibleWish(
            f"VM {wish.name} has VM snapshots as generation {devices.generation} and cannot become "
            f"generation {wish.generation}; delete the snapshots, or start it with the boot type "
            "that it had"
        )
    if wish.guest_data:
        raise ImpossibleWish(
            f"VM {wish.name} has VM snapshots and boot arguments, which a kept definition cannot "
            "be given; delete the snapshots"
        )


def _check_same_disks(wish: MachineWish, devices: Devices) -> None:
    for drive in devices.drives:
        if drive.kind is not DriveKind.DISK or drive.medium is None:
            continue
        wanted = _wish_at(wish, drive)
        if wanted is None or wanted.file is None or not same_disk(drive.medium.file, wanted.file):
            raise ImpossibleWish(
                f"VM {wish.name} has VM snapshots with {drive.medium.file} at {drive.address}, "
                "which it should not have there now; delete the snapshots first"
            )
    for wanted in wish.drives:
        if wanted.kind is DriveKind.DISK and devices.drive_at(wanted.address) is None:
            raise ImpossibleWish(
                f"VM {wish.name} should have {wanted.file} at {wanted.address}, which its VM "
                "snapshots do not hold; delete the snapshots first"
            )


def _removals(wish: MachineWish, devices: Devices) -> list[Step]:
    steps: list[Step] = []
    stale = _stale_drives(wish, devices)
    media = [
        drive.medium.path
        for drive in devices.drives
        if drive.kind is DriveKind.DVD
        and drive.medium is not None
        and (drive in stale or not _same_iso(drive, _wish_at(wish, drive)))
    ]
    nics = [adapter.path for adapter in devices.adapters]
    if media or nics:
        steps.append(RemoveDevices((*media, *nics), f"{len(media)} ISOs and {len(nics)} NICs"))
    if stale:
        names = ", ".join(f"the drive at {drive.address}" for drive in stale)
        steps.append(RemoveDevices(tuple(drive.path for drive in stale), names))
    return steps


def _limits(wish: MachineWish, devices: Devices, release: Release) -> list[Step]:
    if not release.has_disk_limits:
        return []
    steps: list[Step] = []
    for wanted in wish.drives:
        drive = devices.drive_at(wanted.address)
        if wanted.kind is DriveKind.DISK and drive is not None and drive.medium is not None:
            identity = drive.medium.path.key("InstanceID") or ""
            if wanted.iops_limit != drive.medium.iops_limit:
                change = data.changed_iops_limit(identity, wanted.iops_limit)
                steps.append(LimitDisk(change, f"the disk at {wanted.address}"))
    return steps


def _stale_drives(wish: MachineWish, devices: Devices) -> list[Drive]:
    """Return DVD drives that the VM should not have any more, or of which it wants a disk drive."""
    return [
        drive
        for drive in devices.drives
        if drive.kind is DriveKind.DVD
        and ((wanted := _wish_at(wish, drive)) is None or wanted.kind is not DriveKind.DVD)
    ]


def _wish_at(wish: MachineWish, drive: Drive) -> DriveWish | None:
    return next((wanted for wanted in wish.drives if wanted.address == drive.address), None)


def _same_iso(drive: Drive, wanted: DriveWish | None) -> bool:
    return (
        wanted is not None
        and wanted.file is not None
        and drive.medium is not None
        and same_path(drive.medium.file, wanted.file)
    )


def _holds(devices: Devices, wanted: DriveWish) -> bool:
    """Whether what the drive should hold is in it already."""
    drive = devices.drive_at(wanted.address)
    if drive is None or drive.medium is None or wanted.file is None:
        return False
    if wanted.kind is DriveKind.DISK:
        return same_disk(drive.medium.file, wanted.file)
    return _same_iso(drive, wanted)


def _medium_key(wanted: DriveWish) -> str:
    return f"{wanted.file} in {wanted.address}"
