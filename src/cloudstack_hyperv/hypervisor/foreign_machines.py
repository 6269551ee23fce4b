"""VMs that CloudStack does not know: what they are, read without changing anything.

Five requests side by side read all VMs of a host, however many: states, settings, devices, VLANs,
switches.  The virtual size of each disk is one more request a disk.  Only those VMs are described
that are asked for.

Source: Microsoft, "Msvm_VirtualSystemSettingData", "CIM_ResourceAllocationSettingData".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.cim.constants import SYSTEM_TYPE_REALIZED
from cloudstack_hyperv.hypervisor import images
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import Adapter, Drive, devices_of
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.hypervisor.machines import Machine, MachineDirectory
from cloudstack_hyperv.hypervisor.port_features import access_vlan_of, vlan_row
from cloudstack_hyperv.hypervisor.switches import VirtualSwitch, list_switch_names
from cloudstack_hyperv.hypervisor.wish import DriveKind
from cloudstack_hyperv.wsman.api import CimClient, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, equals

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ForeignDisk:
    """A disk of a VM."""

    drive: Drive
    file: str
    """Windows path."""
    size: int | None
    """Virtual size in bytes; None where the host cannot tell."""


@dataclass(frozen=True, slots=True)
class ForeignNic:
    """A NIC of a VM."""

    adapter: Adapter
    switch: str | None
    """Name of its switch."""
    vlan: int | None


@dataclass(frozen=True, slots=True)
class ForeignMachine:
    """A VM with what an import needs to know."""

    machine: Machine
    generation: int
    secure_boot: bool
    processors: int
    memory: int
    """MiB at start."""
    disks: tuple[ForeignDisk, ...]
    nics: tuple[ForeignNic, ...]
    """In the guest's order."""


async def describe_machines(
    client: CimClient, wanted: Callable[[Machine], bool]
) -> tuple[ForeignMachine, ...]:
    """Describe the VMs that are wanted, in the order of their names."""
    machines = [m for m in await MachineDirectory(client).list_all() if wanted(m)]
    if not machines:
        return ()
    with translated("read the settings of the VMs"):
        systems, rows, vlans, switches = await asyncio.gather(
            client.query(
                Select(
                    "Msvm_VirtualSystemSettingData",
                    where=equals("VirtualSystemType", SYSTEM_TYPE_REALIZED),
                )
            ),
            client.enumerate("CIM_ResourceAllocationSettingData"),
            client.enumerate(data.VLAN),
            list_switch_names(client),
        )
    by_guid = {(row.string("VirtualSystemIdentifier") or "").upper(): row for row in systems}
    described = [
        _describe(client, machine, by_guid.get(machine.guid.upper()), rows, vlans, switches)
        for machine in sorted(machines, key=lambda machine: (machine.element_name, machine.guid))
    ]
    return tuple(await asyncio.gather(*described))


async def _describe(
    client: CimClient,
    machine: Machine,
    system: Instance | None,
    rows: Iterable[Instance],
    vlans: list[Instance],
    switches: tuple[VirtualSwitch, ...],
) -> ForeignMachine:
    devices = devices_of(machine.guid, rows)
    quantities = {row.class_name: row.uint("VirtualQuantity") or 0 for row in devices.rows}
    held = [
        (drive, drive.medium.file)
        for drive in devices.drives
        if drive.kind is DriveKind.DISK and drive.medium is not None
    ]
    sizes = await asyncio.gather(*(_size(client, file) for _, file in held))
    return ForeignMachine(
        machine=machine,
        generation=devices.generation,
        secure_boot=devices.generation == 2
        and system is not None
        and system.boolean("SecureBootEnabled") is True,
        processors=quantities.get("Msvm_ProcessorSettingData", 0),
        memory=quantities.get("Msvm_MemorySettingData", 0),
        disks=tuple(
            ForeignDisk(drive, file, size) for (drive, file), size in zip(held, sizes, strict=True)
        ),
        nics=tuple(_nic(adapter, vlans, switches) for adapter in devices.adapters),
    )


def _nic(
    adapter: Adapter, vlans: list[Instance], switches: tuple[VirtualSwitch, ...]
) -> ForeignNic:
    if adapter.connection is None:
        return ForeignNic(adapter, None, None)
    vlan = access_vlan_of(vlan_row(vlans, adapter.connection.path))
    return ForeignNic(adapter, _switch_name(adapter.connection.switch, switches), vlan)


def _switch_name(path: str | None, switches: tuple[VirtualSwitch, ...]) -> str | None:
    if path is None:
        return None
    try:
        guid = ObjectPath.parse(path).key("Name") or ""
    except MalformedPath:
        return None
    return next((s.name for s in switches if s.guid.casefold() == guid.casefold()), None)


async def _size(client: CimClient, file: str) -> int | None:
    try:
        return (await images.read_disk(client, file)).virtual_size
    except HypervisorError as error:
        log.warning("the size of a disk cannot be read", path=file, reason=str(error))
        return None
