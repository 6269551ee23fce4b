"""What the host does inside a guest: setting up its adapters, copying files into it.

Both are played with the scripted guest, so a guest that really runs refuses them (32770).  The
adapters' settings are kept and take effect once the guest's key-value daemon runs.  The file
service exists for machines whose component "Guest Service Interface" is switched on (it is off in
new machines) and whose guest answers; what a guest received stays on its disk over restarts and
is in `Machine.guest_files`.

Sources: Microsoft's pages SetGuestNetworkAdapterConfiguration ("DHCPEnabled must be specified for
each instance"; "applied when communication with the KVP component is established"),
Msvm_GuestNetworkAdapterConfiguration (five gateways at most), CopyFilesToGuest,
Msvm_CopyFileToGuestSettingData.  Name of the service and the texts of its failures are guesses;
environment variables in a DestinationPath are not expanded.
"""

from __future__ import annotations

import ipaddress
import ntpath
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host.arguments import instances
from cloudstack_hyperv.emulator.host.disks import HostDisks, failures
from cloudstack_hyperv.emulator.host.guest import GuestNetwork, require_scripted
from cloudstack_hyperv.emulator.host.jobs import JobKind, Progress
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    Hresult,
    JobFailed,
    file_failure,
    invalid_parameter,
    invalid_state,
)
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site, machine_reference, strings, text
from cloudstack_hyperv.emulator.host.system_rows import SYSTEM, SystemRows

NETWORK = "Msvm_GuestNetworkAdapterConfiguration"
SERVICE = "Msvm_GuestFileService"
COPY = "Msvm_CopyFileToGuestSettingData"
INTERFACE = "Msvm_GuestServiceInterfaceComponent"
_PREFIX = "Microsoft:GuestNetwork\\"
_MOST_GATEWAYS = 5
_SET_NETWORK = JobKind.concrete(2, "Setting Guest Network Adapter Configuration")
_COPY = JobKind.concrete(0, "Copying Files to Guest")
_GUEST_FOLDERS = frozenset({"", "/tmp", "/root", "c:", "c:\\windows", "c:\\users"})  # noqa: S108 - of guests

Reply = MethodReply | Awaitable[MethodReply]


@dataclass(frozen=True, slots=True)
class _Copy:
    source: str
    destination: str
    overwrite: bool
    make_folders: bool


class GuestServices:
    """Services of one host that act inside guests."""

    def __init__(
        self, site: Site, machines: Machines, disks: HostDisks, systems: SystemRows
    ) -> None:
        self._site = site
        self._machines = machines
        self._disks = disks
        self._systems = systems

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods of the management service."""
        return {"SetGuestNetworkAdapterConfiguration": self.set_network}

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        if self._site.profile.is_2012_r2_or_newer:
            table.serve(SERVICE, self.services, methods={"CopyFilesToGuest": self.copy})
            table.serve("Msvm_RegisteredGuestService", self.registrations)

    # Adapters ------------------------------------------------------------------------------

    def set_network(self, call: MethodCall) -> Reply:
        """Set up adapters in the guest."""
        machine = self._machines.referenced(call, "ComputerSystem")
        require_scripted(machine.guest, "setting up a guest's adapters")
        if not machine.settings.component_enabled("Msvm_KvpExchangeComponentSettingData"):
            raise invalid_state("key-value pair exchange is switched off")
        rows = instances(call, "NetworkConfiguration")
        if not rows:
            raise invalid_parameter("NetworkConfiguration is empty")
        wanted = dict(_adapter(machine, row) for row in rows)

        def apply(_: object) -> None:
            for nic_id, network in wanted.items():
                if network is None:
                    machine.guest_networks.pop(nic_id, None)
                else:
                    machine.guest_networks[nic_id] = network

        return self._run(call, machine, Operation(_SET_NETWORK, apply))

    def _run(self, call: MethodCall, machine: Machine, operation: Operation) -> Reply:
        operation.seconds = self._site.config.timings.configure
        operation.machine = machine
        operation.affected = (machine_reference(machine.machine_id),)
        return self._site.conductor.run(call, operation)

    # Files ---------------------------------------------------------------------------------

    def _serving(self, machine: Machine) -> bool:
        guest = machine.guest
        return (
            machine.is_running
            and guest is not None
            and not guest.is_real
            and guest.services_up(self._site.timeline.now())
            and machine.settings.component_enabled(f"{INTERFACE}SettingData")
        )

    def services(self) -> Iterator[Row]:
        """Yield Msvm_GuestFileService of guests that offer it."""
        for machine in self._machines:
            if self._serving(machine):
                yield Row(
                    SERVICE,
                    {
                        "Caption": "Guest File Service",
                        "Description": "Microsoft Guest File Service",
                        "ElementName": "Guest File Service",
                        "Name": "GuestFileService",
                        "CreationClassName": SERVICE,
                        "SystemCreationClassName": SYSTEM,
                        "SystemName": machine.machine_id,
                        "EnabledState": 2,
                        "EnabledDefault": 2,
                        "RequestedState": 12,
                        "HealthState": 5,
                        "OperationalStatus": [2],
                        "Started": True,
                        "StartMode": "Automatic",
                    },
                )

    def registrations(self) -> Iterator[Row]:
        """Yield Msvm_RegisteredGuestService: from the component to the service."""
        for service in self.services():
            machine = self._machines.get(text(service.values, "SystemName"))
            if machine is None:
                continue
            for component in self._systems.component(machine, INTERFACE):
                yield Row(
                    "Msvm_RegisteredGuestService",
                    {
                        "Antecedent": _path(component, "DeviceID"),
                        "Dependent": _path(service, "Name"),
                    },
                )

    def copy(self, call: MethodCall) -> Reply:
        """Copy files of the host into the guest."""
        values = call.target.values if call.target is not None else {}
        machine = self._machines.get(text(values, "SystemName"))
        if machine is None or not self._serving(machine):
            raise invalid_state("the guest does not answer")
        wishes = [_wish(row) for row in instances(call, "CopyFileToGuestSettings")]
        if not wishes:
            raise invalid_parameter("CopyFileToGuestSettings is empty")
        received = machine.guest_files

        def work(progress: Progress) -> dict[str, bytes]:
            found: dict[str, bytes] = {}
            for count, wish in enumerate(wishes, start=1):
                target = _target(received, wish)
                place = self._disks.existing(wish.source, "copy the file to the guest")
                with failures("copy the file to the guest", wish.source):
                    found[target] = place.local.read_bytes()
                progress.report(count, len(wishes))
            return found

        return self._run(call, machine, Operation(_COPY, received.update, work=work))


def _adapter(machine: Machine, row: Row) -> tuple[str, GuestNetwork | None]:
    """Return an adapter's InstanceID and what it is to be; None stands for DHCP."""
    name = text(row.values, "InstanceID")
    wanted = "Microsoft:" + name[len(_PREFIX) :] if name.startswith(_PREFIX) else ""
    nics = (str(nic.values["InstanceID"]) for nic in machine.settings.nics)
    nic_id = next((each for each in nics if each.upper() == wanted.upper()), None)
    if row.class_name != NETWORK or nic_id is None:
        raise invalid_parameter("InstanceID names no adapter of the virtual machine")
    dhcp = row.values.get("DHCPEnabled")
    if not isinstance(dhcp, bool):
        raise invalid_parameter("DHCPEnabled is missing")
    if dhcp:
        return nic_id, None
    network = GuestNetwork(
        tuple(strings(row.values, "IPAddresses")),
        tuple(strings(row.values, "Subnets")),
        tuple(strings(row.values, "DefaultGateways")),
        tuple(strings(row.values, "DNSServers")),
    )
    if not network.addresses or len(network.addresses) != len(network.subnets):
        raise invalid_parameter("IPAddresses and Subnets have different lengths")
    if len(network.gateways) > _MOST_GATEWAYS:
        raise invalid_parameter(f"an adapter has at most {_MOST_GATEWAYS} gateways")
    try:
        for address, subnet in zip(network.addresses, network.subnets, strict=True):
            ipaddress.ip_interface(f"{address}/{subnet}")
        for address in (*network.gateways, *network.dns_servers):
            ipaddress.ip_address(address)
    except ValueError as problem:
        raise invalid_parameter(f"not an address: {problem}") from problem
    return nic_id, network


def _wish(row: Row) -> _Copy:
    if row.class_name != COPY:
        raise invalid_parameter(f"CopyFileToGuestSettings holds {COPY}")
    values = row.values
    wish = _Copy(
        text(values, "SourcePath"),
        text(values, "DestinationPath"),
        values.get("OverwriteExisting") is True,
        values.get("CreateFullPath") is True,
    )
    if not wish.source or not _is_full(wish.destination):
        raise invalid_parameter("SourcePath and DestinationPath are full paths")
    return wish


def _is_full(path: str) -> bool:
    return path.startswith("/") or (ntpath.splitdrive(path)[0] != "" and ntpath.isabs(path))


def _target(received: dict[str, bytes], wish: _Copy) -> str:
    """Return where a file goes in the guest; raises JobFailed as the guest would refuse."""
    separator = "/" if wish.destination.startswith("/") else "\\"
    path = wish.destination.rstrip(separator)
    folders = {name for file in received for name in _folders(file)} | _GUEST_FOLDERS
    if path.lower() in folders:
        path = f"{path}{separator}{ntpath.basename(wish.source)}"
    elif path.rpartition(separator)[0].lower() not in folders and not wish.make_folders:
        raise _failed(path, "The system cannot find the path specified.", Hresult.PATH_NOT_FOUND)
    if path in received and not wish.overwrite:
        raise _failed(path, "The file exists.", Hresult.FILE_EXISTS)
    return path


def _folders(file: str) -> Iterator[str]:
    separator = "/" if file.startswith("/") else "\\"
    folder = file.lower()
    while separator in folder:
        folder = folder.rpartition(separator)[0]
        yield folder


def _failed(path: str, reason: str, hresult: int) -> JobFailed:
    failure = file_failure("copy the file to the guest", path, reason, hresult)
    return JobFailed(ReturnCode.FAILED, failure.text, hresult)


def _path(row: Row, name: str) -> ObjectPath:
    keys = ("CreationClassName", name, "SystemCreationClassName", "SystemName")
    values = tuple((key, text(row.values, key)) for key in keys)
    return ObjectPath(row.class_name, values, NAMESPACE_VIRTUALIZATION)
