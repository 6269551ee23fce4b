"""What a VM should be, in Hyper-V's terms: the whole answer to "define this machine".

A wish holds no references to objects of the host (but the switches, which exist already), so it
can be made, compared and printed without one.  `plan` turns it into steps.

Units: memory in MiB (multiples of 2, as Hyper-V wants them), processor limit in thousandths of a
percent of all the VM's processors (100000 is everything), weight 1 to 10000.
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from typing import Final

from cloudstack_hyperv.hypervisor.ownership import Ownership
from cloudstack_hyperv.hypervisor.switches import VirtualSwitch
from cloudstack_hyperv.network import NicWish

FULL_PROCESSOR: Final = 100_000
"""Processor limit that limits nothing."""
SCSI_SLOTS: Final = 64
SCSI_CONTROLLERS: Final = 4
SECURE_BOOT_WINDOWS: Final = "1734c6e8-3154-4dda-ba5f-a874cc483422"
SECURE_BOOT_UEFI_CA: Final = "272e7447-90a4-4563-a4b9-8e4ab00526ce"
"""Templates for secure boot: "Microsoft Windows", "Microsoft UEFI Certificate Authority"."""

_IDENTIFIER_SPACE: Final = uuid.UUID("5f0d1a1c-6f0e-5f43-9b40-2b8f6f0a9d27")


class Bus(enum.StrEnum):
    """Kinds of storage controllers."""

    IDE = "IDE"
    SCSI = "SCSI"


class DriveKind(enum.StrEnum):
    """Kinds of drives."""

    DISK = "disk"
    DVD = "DVD"


@dataclass(frozen=True, slots=True, order=True)
class DriveAddress:
    """Where a drive sits: `IDE 1:0` is slot 0 of the second IDE controller."""

    bus: Bus
    controller: int
    slot: int

    def __str__(self) -> str:
        return f"{self.bus} {self.controller}:{self.slot}"


@dataclass(frozen=True, slots=True)
class DriveWish:
    """A drive and what lies in it."""

    address: DriveAddress
    kind: DriveKind
    file: str | None
    """Windows path; None for an empty DVD drive."""
    iops_limit: int | None = None
    """Operations of 8 KiB a second, reading and writing together; None for no limit."""


@dataclass(frozen=True, slots=True)
class ProcessorWish:
    """Processors of a VM."""

    count: int
    limit: int = FULL_PROCESSOR
    weight: int = 100
    nested: bool = False
    """Whether the guest may run a hypervisor of its own."""
    compatible: bool = False
    """Whether to hide what processors of other steppings lack, for live migration."""


@dataclass(frozen=True, slots=True)
class MemoryWish:
    """Memory of a VM in MiB; static when all three are equal."""

    startup: int
    minimum: int
    maximum: int

    @property
    def dynamic(self) -> bool:
        """Whether the host may move memory between minimum and maximum."""
        return self.minimum != self.maximum


@dataclass(frozen=True, slots=True)
class SecureBootWish:
    """Secure boot of a generation 2 VM; Hyper-V's default is on, with the Windows template."""

    enabled: bool
    template: str | None = None


@dataclass(frozen=True, slots=True)
class AdapterWish:
    """A NIC and the switch that its label means; None: no connection."""

    nic: NicWish
    switch: VirtualSwitch | None


@dataclass(frozen=True, slots=True)
class MachineWish:
    """A whole VM."""

    ownership: Ownership
    generation: int
    """1 (BIOS) or 2 (UEFI)."""
    processor: ProcessorWish
    memory: MemoryWish
    drives: tuple[DriveWish, ...]
    adapters: tuple[AdapterWish, ...]
    secure_boot: SecureBootWish | None = None
    """None for generation 1."""
    guest_data: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Key-value pairs for the guest; the values may be secrets."""
    configuration_root: str | None = None

    @property
    def name(self) -> str:
        """CloudStack's instance name."""
        return self.ownership.name

    @property
    def scsi_controllers(self) -> int:
        """Controllers that the drives need; one always, so that disks can be added later."""
        used = [drive.address.controller for drive in self.drives if drive.address.bus is Bus.SCSI]
        return max(used, default=0) + 1


def device_identifier(machine_uuid: str, kind: str, number: int) -> str:
    """Return the VMBus identifier (a GUID, upper case) for a device of a VM.

    It depends on CloudStack's VM and the device's number alone, so that a VM that is defined anew
    at each start keeps its devices: a Windows guest takes a NIC with another identifier for a new
    one and forgets its addresses.  It begins with the number, because guests number their
    interfaces in the order of these GUIDs (Linux `vmbus`, seen by CloudStack's system VMs).
    """
    if not 0 <= number <= 0xFF:
        raise ValueError(f"{number} is no device number")
    derived = uuid.uuid5(_IDENTIFIER_SPACE, f"{machine_uuid.casefold()}/{kind}/{number}")
    return str(uuid.UUID(bytes=bytes([number]) + derived.bytes[1:])).upper()
