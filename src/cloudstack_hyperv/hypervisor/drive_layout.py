"""Where each disk and DVD of a VM goes.

    generation 1                         generation 2
    root disk      IDE 0:0               root disk      SCSI 0:0
    ISO            IDE 1:0               ISO            SCSI 0:3
    config drive   IDE 1:1               config drive   SCSI 0:63
    data disks     SCSI, by diskSeq      data disks     SCSI, by diskSeq

A generation 1 VM can only boot from IDE and cannot change IDE drives while it runs, so the DVD
drives are there from the start and data disks go to SCSI.  diskSeq n is controller n // 64, slot
n % 64.  CloudStack keeps 3 free for the ISO (`VolumeApiServiceImpl.getDeviceId`) but uses 4 for a
config drive *and* for volumes (`ConfigDriveNetworkElement.CONFIGDRIVEDISKSEQ`), hence slot 63.

Source: Microsoft, "Should I create a generation 1 or 2 virtual machine in Hyper-V?".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloudstack_hyperv.hypervisor.wish import (
    SCSI_CONTROLLERS,
    SCSI_SLOTS,
    Bus,
    DriveAddress,
    DriveKind,
    DriveWish,
)

ISO_SEQUENCE = 3
"""diskSeq of the user's ISO."""

_ROOT = {1: DriveAddress(Bus.IDE, 0, 0), 2: DriveAddress(Bus.SCSI, 0, 0)}
_DVDS = {
    1: (DriveAddress(Bus.IDE, 1, 0), DriveAddress(Bus.IDE, 1, 1), DriveAddress(Bus.IDE, 0, 1)),
    2: (DriveAddress(Bus.SCSI, 0, ISO_SEQUENCE), DriveAddress(Bus.SCSI, 0, 63)),
}


class ImpossibleLayout(ValueError):
    """The VM's disks do not fit onto its controllers; the text says why."""


@dataclass(frozen=True, slots=True)
class DiskRequest:
    """A disk or DVD as CloudStack asks for it."""

    kind: DriveKind
    root: bool
    sequence: int | None
    """diskSeq."""
    file: str | None
    iops_limit: int | None = None


def lay_out(generation: int, requests: Iterable[DiskRequest]) -> tuple[DriveWish, ...]:
    """Give each request its place, in the order in which a VM should boot from them.

    DVD drives come first (an empty one is passed over), then the root disk, then data disks.
    Raises ImpossibleLayout.
    """
    wanted = list(requests)
    drives: dict[DriveAddress, DriveWish] = {}
    files: set[str | None] = set()

    def place(address: DriveAddress, request: DiskRequest) -> None:
        if address in drives:
            raise ImpossibleLayout(f"two drives of the VM want {address}")
        if request.kind is DriveKind.DISK and request.file in files:
            raise ImpossibleLayout(f"the VM has the disk {request.file} twice")
        files.add(request.file)
        drives[address] = DriveWish(address, request.kind, request.file, request.iops_limit)

    dvds = sorted((request for request in wanted if request.kind is DriveKind.DVD), key=_dvd_order)
    for number, request in enumerate(dvds):
        place(dvd_address(generation, number), request)
    roots = [r for r in wanted if r.kind is DriveKind.DISK and r.root]
    if len(roots) > 1:
        raise ImpossibleLayout(f"the VM has {len(roots)} root disks")
    for request in roots:
        place(_ROOT[generation], request)
    disks = [r for r in wanted if r.kind is DriveKind.DISK and not r.root]
    for request in sorted(disks, key=lambda r: (r.sequence is None, r.sequence or 0)):
        sequence = request.sequence
        if sequence is None:
            sequence = free_sequence(generation, drives)
        place(disk_address(sequence), request)
    return tuple(drives.values())


def dvd_address(generation: int, number: int) -> DriveAddress:
    """Return the place of the first, second ... DVD drive; raises ImpossibleLayout."""
    places = _DVDS[generation]
    if number >= len(places):
        raise ImpossibleLayout(f"a generation {generation} VM can have {len(places)} DVD drives")
    return places[number]


def disk_address(sequence: int) -> DriveAddress:
    """Return the place of a data disk by its diskSeq; raises ImpossibleLayout."""
    if not 0 <= sequence < SCSI_CONTROLLERS * SCSI_SLOTS:
        raise ImpossibleLayout(
            f"diskSeq {sequence} is not from 0 to {SCSI_CONTROLLERS * SCSI_SLOTS - 1}"
        )
    return DriveAddress(Bus.SCSI, sequence // SCSI_SLOTS, sequence % SCSI_SLOTS)


def sequence_of(address: DriveAddress) -> int:
    """Return the diskSeq of a drive: the root's is 0, an IDE DVD drive's 3 or 4."""
    if address.bus is Bus.SCSI:
        return address.controller * SCSI_SLOTS + address.slot
    return 0 if address == _ROOT[1] else ISO_SEQUENCE + address.slot


def free_sequence(generation: int, taken: Iterable[DriveAddress]) -> int:
    """Return the lowest diskSeq that is free for a data disk; raises ImpossibleLayout."""
    used = set(taken) | set(_DVDS[generation])
    for sequence in range(1, SCSI_CONTROLLERS * SCSI_SLOTS):
        if sequence != ISO_SEQUENCE and disk_address(sequence) not in used:
            return sequence
    raise ImpossibleLayout("the VM has no free place for a disk")


def _dvd_order(request: DiskRequest) -> int:
    return ISO_SEQUENCE if request.sequence is None else request.sequence
