r"""The devices that a VM has, read in one round trip.

All settings of a VM are associated with its settings object; their InstanceIDs begin with
`Microsoft:<VM GUID>\`, which also tells them from a checkpoint's.  A medium (disk image, ISO)
hangs on a drive, a drive on a controller, a connection on a NIC: by `Parent`, an object path.

Source: Microsoft, "Msvm_VirtualSystemSettingDataComponent", "Msvm_StorageAllocationSettingData".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.cim.constants import EnabledState, ResourceSubType
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.hypervisor.machines import settings_path
from cloudstack_hyperv.hypervisor.wish import Bus, DriveAddress, DriveKind
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import CimClient, Instance
from cloudstack_hyperv.wsman.protocol.wql import Associators

_CONTROLLERS: Final[dict[str, Bus]] = {
    ResourceSubType.IDE_CONTROLLER: Bus.IDE,
    ResourceSubType.SCSI_CONTROLLER: Bus.SCSI,
}
_DRIVES: Final[dict[str, DriveKind]] = {
    ResourceSubType.DISK_DRIVE: DriveKind.DISK,
    ResourceSubType.DVD_DRIVE: DriveKind.DVD,
}


@dataclass(frozen=True, slots=True)
class Medium:
    """A disk image or ISO in a drive."""

    path: ObjectPath
    file: str
    """Windows path; after a checkpoint that of the differencing disk (.avhdx)."""
    iops_limit: int | None = None
    """Operations of 8 KiB a second; None for no limit."""


@dataclass(frozen=True, slots=True)
class Controller:
    """A storage controller."""

    path: ObjectPath
    bus: Bus
    number: int


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive and what lies in it."""

    path: ObjectPath
    kind: DriveKind
    address: DriveAddress
    medium: Medium | None


@dataclass(frozen=True, slots=True)
class Connection:
    """A NIC's connection to a switch."""

    path: ObjectPath
    switch: str | None
    """Object path of the switch as the host wrote it; None: no switch."""
    enabled: bool

    @property
    def connected(self) -> bool:
        """Whether the cable is in and leads somewhere."""
        return self.enabled and self.switch is not None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A synthetic NIC."""

    path: ObjectPath
    identifier: str
    """VMBus identifier, upper case without braces: guests order their NICs by it."""
    mac: str
    """Twelve hex digits, upper case."""
    connection: Connection | None


@dataclass(frozen=True, slots=True)
class Devices:
    """The storage and network devices of one VM."""

    controllers: tuple[Controller, ...]
    drives: tuple[Drive, ...]
    """In the order of their addresses."""
    adapters: tuple[Adapter, ...]
    """In the guest's order."""
    rows: tuple[Instance, ...] = ()
    """Everything that was read."""

    @property
    def generation(self) -> int:
        """1 if there are IDE controllers, which generation 2 does not have."""
        return 1 if any(c.bus is Bus.IDE for c in self.controllers) else 2

    def controller(self, bus: Bus, number: int) -> Controller | None:
        """Return a controller by its number."""
        return next((c for c in self.controllers if (c.bus, c.number) == (bus, number)), None)

    def drive_at(self, address: DriveAddress) -> Drive | None:
        """Return the drive at an address."""
        return next((drive for drive in self.drives if drive.address == address), None)


async def read_devices(client: CimClient, guid: str, name: str) -> Devices:
    """Read the devices of a VM: one round trip."""
    with translated(f"read the devices of VM {name}"):
        try:
            rows = await client.query(
                Associators(
                    settings_path(guid), association="Msvm_VirtualSystemSettingDataComponent"
                )
            )
        except wsman.QueryRefused:
            rows = await client.enumerate("CIM_ResourceAllocationSettingData")
    return devices_of(guid, rows)


def devices_of(guid: str, rows: Iterable[Instance]) -> Devices:
    """Put the rows that belong to the VM together.  Pure."""
    prefix = f"microsoft:{guid}\\".casefold()
    mine = tuple(
        row for row in rows if (row.string("InstanceID") or "").casefold().startswith(prefix)
    )
    controllers = tuple(_controllers(mine))
    media = [row for row in mine if row.class_name == data.SASD]
    drives = sorted(
        (drive for row in mine if (drive := _drive(row, controllers, media)) is not None),
        key=lambda drive: drive.address,
    )
    connections = [row for row in mine if row.class_name == data.CONNECTION]
    adapters = sorted(
        (_adapter(row, connections) for row in mine if row.class_name == data.NIC),
        key=lambda adapter: adapter.identifier,
    )
    return Devices(controllers, tuple(drives), tuple(adapters), mine)


def row_path(row: Instance) -> ObjectPath:
    """Return the object path of a setting data row."""
    return ObjectPath.of(row.class_name, InstanceID=row.require("InstanceID"))


def is_parent(row: Instance, parent: ObjectPath) -> bool:
    """Whether the row's `Parent` names that object, whatever spelling the host chose."""
    text = row.string("Parent")
    if not text:
        return False
    try:
        return ObjectPath.parse(text).same_object(parent)
    except MalformedPath:
        return False


def identifier_of(row: Instance) -> str:
    """Return the VMBus identifier of a device, upper case without braces; "" if it has none."""
    return next(iter(row.strings("VirtualSystemIdentifiers")), "").strip("{}").upper()


def _controllers(rows: Iterable[Instance]) -> Iterable[Controller]:
    """Number the controllers: IDE by their own address, SCSI in the order of identifiers."""
    found: dict[Bus, list[tuple[str, Instance]]] = {bus: [] for bus in Bus}
    for row in rows:
        bus = _CONTROLLERS.get(_sub_type(row))
        if bus is Bus.IDE:
            found[bus].append((row.string("Address") or "", row))
        elif bus is Bus.SCSI:
            found[bus].append((f"{identifier_of(row)} {row.require('InstanceID').upper()}", row))
    for bus, members in found.items():
        for number, (_, row) in enumerate(sorted(members, key=lambda member: member[0])):
            yield Controller(row_path(row), bus, number)


def _drive(
    row: Instance, controllers: Iterable[Controller], media: Iterable[Instance]
) -> Drive | None:
    kind = _DRIVES.get(_sub_type(row))
    if kind is None:
        return None
    controller = next((c for c in controllers if is_parent(row, c.path)), None)
    slot = row.uint("AddressOnParent")
    if controller is None or slot is None:
        raise HypervisorError(f"drive {row.string('InstanceID')} hangs on no controller")
    path = row_path(row)
    medium = next((m for m in media if is_parent(m, path)), None)
    file = next(iter(medium.strings("HostResource")), None) if medium else None
    return Drive(
        path,
        kind,
        DriveAddress(controller.bus, controller.number, slot),
        Medium(row_path(medium), file, medium.uint("IOPSLimit") or None)
        if medium and file
        else None,
    )


def _adapter(row: Instance, connections: Iterable[Instance]) -> Adapter:
    path = row_path(row)
    port = next((c for c in connections if is_parent(c, path)), None)
    connection = None
    if port is not None:
        switch = next((text for text in port.strings("HostResource") if text), None)
        enabled = port.uint("EnabledState") in (None, EnabledState.ENABLED)
        connection = Connection(row_path(port), switch, enabled)
    identifier = identifier_of(row) or path.keys[0][1].rpartition("\\")[2].upper()
    return Adapter(path, identifier, (row.string("Address") or "").upper(), connection)


def _sub_type(row: Instance) -> str:
    return (row.string("ResourceSubType") or "") if row.class_name == data.RASD else ""
