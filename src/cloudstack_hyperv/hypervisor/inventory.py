"""What a Hyper-V host is: Windows, processors, memory, NICs, volumes, where Hyper-V keeps disks.

Everything is read in one go, each class in its own request side by side, once per connect.  What
the host does not tell is an error: CloudStack persists these figures, and a wrong memory size
re-plans a whole cluster.

Sources: Microsoft, "Win32_OperatingSystem" (memory in KiB), "Win32_Processor" (one row a socket),
"Win32_NetworkAdapterConfiguration", "Win32_Volume" (mount points and cluster shared volumes too),
"Msvm_VirtualSystemManagementServiceSettingData", "Msvm_VirtualSystemMigrationServiceSettingData".
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState, translated
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath, relative_to
from cloudstack_hyperv.wsman.api import CimClient, Instance, MissingProperty
from cloudstack_hyperv.wsman.protocol.wql import Select, equals

_SERVICE = "Msvm_VirtualSystemManagementService"


@dataclass(frozen=True, slots=True)
class WindowsRelease:
    """Which Windows the host runs."""

    caption: str
    """Product name, in the host's language."""
    version: str
    """`10.0.20348`."""
    build: str


@dataclass(frozen=True, slots=True)
class Processors:
    """The host's processors."""

    sockets: int
    cores: int
    logical: int
    """Threads that the hypervisor schedules on."""
    mhz: int
    """Of the slowest socket."""
    architecture: str
    """CloudStack's word: `x86_64` or `aarch64`."""


@dataclass(frozen=True, slots=True)
class HostNic:
    """A network interface with an IP stack."""

    description: str
    mac: str
    """Lower case with colons."""
    addresses: tuple[tuple[str, str], ...]
    """(address, netmask); for IPv6 the mask is a prefix length."""
    gateways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PrivateInterface:
    """The interface that holds an address, as CloudStack wants to know it."""

    address: str
    netmask: str
    mac: str
    gateway: str | None


@dataclass(frozen=True, slots=True)
class HostVolume:
    r"""A formatted volume by its mount path (`C:\`, `C:\ClusterStorage\Volume1\`), bytes."""

    path: str
    capacity: int
    free: int


@dataclass(frozen=True, slots=True)
class MigrationSettings:
    """Whether and how the host takes part in live migration."""

    enabled: bool
    authentication: int
    """0 CredSSP, 1 Kerberos."""


@dataclass(frozen=True, slots=True)
class HostInventory:
    """All of it."""

    name: str
    windows: WindowsRelease
    processors: Processors
    memory: int
    """Bytes that Windows sees."""
    nics: tuple[HostNic, ...]
    volumes: tuple[HostVolume, ...]
    default_disk_folder: str


async def read_inventory(client: CimClient) -> HostInventory:
    """Read everything: six requests at once; raises HypervisorError."""
    with translated("read the host's inventory"):
        windows, computer, sockets, nics, volumes, settings = await asyncio.gather(
            client.enumerate("Win32_OperatingSystem", namespace=NAMESPACE_CIMV2),
            client.enumerate("Win32_ComputerSystem", namespace=NAMESPACE_CIMV2),
            client.enumerate("Win32_Processor", namespace=NAMESPACE_CIMV2),
            client.query(
                Select("Win32_NetworkAdapterConfiguration", where=equals("IPEnabled", value=True)),
                namespace=NAMESPACE_CIMV2,
            ),
            client.enumerate("Win32_Volume", namespace=NAMESPACE_CIMV2),
            client.enumerate("Msvm_VirtualSystemManagementServiceSettingData"),
        )
    try:
        return HostInventory(
            name=_only(computer).require("Name"),
            windows=_windows(_only(windows)),
            processors=_processors(sockets),
            memory=_positive(_only(windows), "TotalVisibleMemorySize") * 1024,
            nics=tuple(_nic(row) for row in nics),
            volumes=_volumes(volumes),
            default_disk_folder=_only(settings).require("DefaultVirtualHardDiskPath"),
        )
    except MissingProperty as error:
        raise HypervisorError(f"the host's inventory is incomplete: {error}") from error


async def read_volumes(client: CimClient) -> tuple[HostVolume, ...]:
    """Read capacity and free space of the host's volumes: one round trip."""
    with translated("read the host's volumes"):
        return _volumes(await client.enumerate("Win32_Volume", namespace=NAMESPACE_CIMV2))


async def read_default_disk_folder(client: CimClient) -> str:
    """Read where Hyper-V puts new disks: one round trip."""
    with translated("read Hyper-V's default folder"):
        rows = await client.enumerate("Msvm_VirtualSystemManagementServiceSettingData")
        return _only(rows).require("DefaultVirtualHardDiskPath")


async def read_migration_settings(client: CimClient) -> MigrationSettings | None:
    """Read the live migration settings, None if this edition has none: one round trip."""
    with translated("read the live migration settings"):
        rows = await client.enumerate("Msvm_VirtualSystemMigrationServiceSettingData")
    if not rows:
        return None
    return MigrationSettings(
        enabled=rows[0].boolean("EnableVirtualSystemMigration") or False,
        authentication=rows[0].uint("AuthenticationType") or 0,
    )


async def check_management_service(client: CimClient) -> None:
    """Make sure that WS-Man, login, v2 namespace and VMMS work: one round trip.

    Raises HypervisorError (HostUnavailable when it cannot be reached or refuses the login,
    WrongState when the service does not run).
    """
    with translated("ask Hyper-V's management service"):
        rows = await client.enumerate(_SERVICE)
    if not rows:
        raise WrongState(f"the host has no {_SERVICE}: Hyper-V is not installed")
    if rows[0].boolean("Started") is False:
        raise WrongState("Hyper-V's management service (VMMS) is not started on the host")


def interface_with(nics: Iterable[HostNic], address: str) -> PrivateInterface:
    """Return the interface that holds `address`.

    Raises HypervisorError naming the addresses that there are: another interface is never
    reported in its place.
    """
    known = []
    for nic in nics:
        for held, mask in nic.addresses:
            known.append(held)
            if _same_address(held, address):
                version = ipaddress.ip_address(address).version
                gateway = next(
                    (g for g in nic.gateways if ipaddress.ip_address(g).version == version), None
                )
                return PrivateInterface(address, mask, nic.mac, gateway)
    raise HypervisorError(
        f"no network interface of the host holds {address}, CloudStack's private address of it; "
        f"it has {', '.join(known) or 'none'}: set private_address, or add the host by the other "
        "address"
    )


def volume_of(volumes: Iterable[HostVolume], path: str) -> HostVolume | None:
    """Return the volume that holds a path: the one mounted deepest; None for a UNC path."""
    holding = [volume for volume in volumes if relative_to(path, volume.path) is not None]
    return max(holding, key=lambda volume: len(volume.path), default=None)


def _windows(row: Instance) -> WindowsRelease:
    return WindowsRelease(
        caption=(row.string("Caption") or "Microsoft Windows").strip(),
        version=row.require("Version"),
        build=row.require("BuildNumber"),
    )


def _processors(rows: list[Instance]) -> Processors:
    if not rows:
        raise HypervisorError("the host does not tell its processors")
    return Processors(
        sockets=len(rows),
        cores=sum(_positive(row, "NumberOfCores") for row in rows),
        logical=sum(_positive(row, "NumberOfLogicalProcessors") for row in rows),
        mhz=min(_positive(row, "MaxClockSpeed") for row in rows),
        architecture="aarch64" if rows[0].uint("Architecture") == 12 else "x86_64",
    )


def _nic(row: Instance) -> HostNic:
    return HostNic(
        description=row.string("Description") or "",
        mac=(row.string("MACAddress") or "").lower().replace("-", ":"),
        addresses=tuple(zip(row.strings("IPAddress"), row.strings("IPSubnet"), strict=False)),
        gateways=row.strings("DefaultIPGateway"),
    )


def _volumes(rows: Iterable[Instance]) -> tuple[HostVolume, ...]:
    """Leave out volumes without a mount path and those of which no size is known (empty drives)."""
    volumes = []
    for row in rows:
        path, capacity, free = row.string("Name"), row.uint("Capacity"), row.uint("FreeSpace")
        if not path or capacity is None or free is None:
            continue
        try:
            relative_to(path, path)
        except BadWindowsPath:
            continue  # `\\?\Volume{...}\`: not mounted anywhere
        volumes.append(HostVolume(path, capacity, free))
    return tuple(volumes)


def _only(rows: list[Instance]) -> Instance:
    if not rows:
        raise HypervisorError("the host's inventory is incomplete: a class has no instance")
    return rows[0]


def _positive(row: Instance, name: str) -> int:
    value = row.uint(name)
    if not value:
        raise HypervisorError(f"the host does not tell {row.class_name}.{name}")
    return value


def _same_address(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return one == other
