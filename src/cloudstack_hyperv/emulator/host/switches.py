"""Virtual switches of the host, and Msvm_VirtualEthernetSwitchManagementService.

A switch is its settings, its connections (an external port, the host's own port) and their
features; machines connect to it through settings of their own.  What a switch is connected to
makes its kind: nothing (private), the host (internal), a physical port (external).

Sources: Microsoft's pages Msvm_VirtualEthernetSwitchManagementService and
Msvm_EthernetPortAllocationSettingData; codes for a missing or scalar HostResource as recorded in
r4sd/go-wsman's notes; that a bound port cannot be bound again from Msvm_ExternalEthernetPort.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import (
    NAMESPACE_VIRTUALIZATION,
    ResourceSubType,
    ReturnCode,
)
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.catalogue import kind_by_sub_type
from cloudstack_hyperv.emulator.host.config import PhysicalNic, SwitchKind, SwitchPlan
from cloudstack_hyperv.emulator.host.outcome import Refused, invalid_parameter
from cloudstack_hyperv.emulator.host.site import Site, parse_path, strings, text

SWITCH = "Msvm_VirtualEthernetSwitch"
SWITCH_SETTINGS = "Msvm_VirtualEthernetSwitchSettingData"
DEFAULT_SWITCH = "C08CB7B8-9B3C-408E-8E30-5E16A3AEB444"
"""GUID of the NAT switch that every client Windows has, the same everywhere."""
_NIC_SPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def nic_guid(site: Site, nic: PhysicalNic) -> str:
    """Return the adapter GUID of a physical NIC, the same at every start."""
    return str(uuid.uuid5(_NIC_SPACE, f"{site.name}/{nic.name}/{nic.mac}")).upper()


@dataclass(slots=True)
class Switch:
    """One virtual switch."""

    guid: str
    settings: Row
    path_text: str
    created: datetime
    connections: dict[str, Row] = field(default_factory=dict)
    """Its own ports (uplink, host), keyed by InstanceID, upper case."""
    features: dict[str, Row] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Display name."""
        return text(self.settings.values, "ElementName")

    @property
    def kind(self) -> SwitchKind:
        """What it is connected to."""
        resources = [
            r for c in self.connections.values() for r in strings(c.values, "HostResource")
        ]
        if any("Msvm_ExternalEthernetPort" in resource for resource in resources):
            return SwitchKind.EXTERNAL
        return SwitchKind.INTERNAL if resources else SwitchKind.PRIVATE

    @property
    def is_default(self) -> bool:
        """Whether it is Windows client's "Default Switch", which nobody can change."""
        return self.guid == DEFAULT_SWITCH

    @property
    def reference(self) -> ObjectPath:
        """Reference to its Msvm_VirtualEthernetSwitch."""
        return switch_reference(self.guid)


def switch_reference(guid: str) -> ObjectPath:
    """Return a reference to a switch."""
    return ObjectPath(
        SWITCH, (("CreationClassName", SWITCH), ("Name", guid)), NAMESPACE_VIRTUALIZATION
    )


class Switches:
    """The switches of one host."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._switches: dict[str, Switch] = {}
        self.changed: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[Switch]:
        return iter(self._switches.values())

    def __len__(self) -> int:
        return len(self._switches)

    def get(self, guid: str) -> Switch | None:
        """Return the switch of a GUID in any letter case."""
        return self._switches.get(guid.upper())

    def put(self, switch: Switch) -> None:
        """Take a switch in."""
        self._switches[switch.guid] = switch
        self.announce()

    def remove(self, switch: Switch) -> None:
        """Forget a switch."""
        self._switches.pop(switch.guid, None)
        self.announce()

    def announce(self) -> None:
        """Tell who wants to know that switches changed."""
        for listener in self.changed:
            listener()

    def by_path(self, path_text: str) -> Switch:
        """Return the switch that a HostResource names; refuses with 32773."""
        path = parse_path(path_text, "HostResource")
        switch = (
            self.get(path.key("Name") or "") if path.class_name.lower() == SWITCH.lower() else None
        )
        if switch is None:
            raise invalid_parameter("HostResource names no switch of this host")
        return switch

    def of_connection(self, connection: Row) -> Switch | None:
        """Return the switch that a machine's adapter is plugged into, None for none."""
        resources = strings(connection.values, "HostResource")
        if not resources or not resources[0] or connection.values.get("EnabledState") == 3:
            return None
        return self.get(ObjectPath.parse(resources[0]).key("Name") or "")

    def by_settings(self, instance_id: str) -> Switch | None:
        """Return the switch of a Msvm_VirtualEthernetSwitchSettingData."""
        guid = instance_id.upper().removeprefix("MICROSOFT:").split("\\")[0]
        return self.get(guid)

    def build_planned(self, plan: SwitchPlan) -> Switch:
        """Return a switch as the configuration describes it."""
        switch = self.new(plan.name)
        if plan.kind is SwitchKind.EXTERNAL:
            nic = next((n for n in self._site.config.nics if n.name == plan.uplink), None)
            if nic is None:
                raise ValueError(f"switch {plan.name}: the host has no NIC {plan.uplink!r}")
            self.connect(switch, self.external_port_path(nic), "External")
        if plan.kind is SwitchKind.INTERNAL or (
            plan.kind is SwitchKind.EXTERNAL and plan.management
        ):
            self.connect(switch, self.host_path, plan.name)
        return switch

    def build_default(self) -> Switch:
        """Return the Default Switch of a client Windows."""
        switch = self.new("Default Switch", guid=DEFAULT_SWITCH)
        self.connect(switch, self.host_path, "Default Switch")
        return switch

    def new(self, name: str, settings: Mapping[str, Value] | None = None, guid: str = "") -> Switch:
        """Return a new, unconnected switch that is not in the table yet."""
        guid = guid or self._site.dice.guid()
        values: dict[str, Value] = {
            "InstanceID": f"Microsoft:{guid}",
            "Caption": "Virtual Ethernet Switch Settings",
            "Description": "Microsoft Virtual Ethernet Switch Settings",
            "ElementName": name,
            "VirtualSystemIdentifier": guid,
            "VirtualSystemType": "Microsoft:Hyper-V:EthernetSwitch",
            "ConfigurationID": guid,
            "CreationTime": self._site.timeline.now(),
            "MaxNumMACAddress": 1024,
            "IOVPreferred": False,
            "BandwidthReservationMode": 2,
        }
        if self._site.profile.is_2016_or_newer:
            values["TeamingEnabled"] = False
            values["PacketDirectEnabled"] = False
        values.update(settings or {})
        path = self._site.path_text(SWITCH, CreationClassName=SWITCH, Name=guid)
        return Switch(guid, Row(SWITCH_SETTINGS, values), path, self._site.timeline.now())

    def connect(self, switch: Switch, resource: str, name: str) -> Row:
        """Give a switch a port of its own."""
        kind = kind_by_sub_type(ResourceSubType.ETHERNET_CONNECTION)
        row = kind.template(f"Microsoft:{switch.guid}\\{self._site.dice.guid()}")
        row.values.update(HostResource=[resource], ElementName=name)
        switch.connections[str(row.values["InstanceID"]).upper()] = row
        return row

    @property
    def host_path(self) -> str:
        """Path of the host's own Msvm_ComputerSystem."""
        return self._site.path_text(
            "Msvm_ComputerSystem", CreationClassName="Msvm_ComputerSystem", Name=self._site.name
        )

    def external_port_path(self, nic: PhysicalNic) -> str:
        """Path of a physical NIC's Msvm_ExternalEthernetPort."""
        return self._site.path_text(
            "Msvm_ExternalEthernetPort",
            CreationClassName="Msvm_ExternalEthernetPort",
            DeviceID=f"Microsoft:{{{nic_guid(self._site, nic)}}}",
            SystemCreationClassName="Msvm_ComputerSystem",
            SystemName=self._site.name,
        )

    def switch_of_nic(self, nic: PhysicalNic) -> Switch | None:
        """Return the switch that a physical NIC is bound to."""
        path = self.external_port_path(nic)
        for switch in self:
            for connection in switch.connections.values():
                if path in strings(connection.values, "HostResource"):
                    return switch
        return None

    def checked_resource(self, connection: Row, ignore: Switch | None = None) -> str:
        """Return the HostResource of a switch's own port in canonical spelling; refuses."""
        resources = strings(connection.values, "HostResource")
        if len(resources) != 1 or not resources[0]:
            raise invalid_parameter("HostResource of a switch port holds one path")
        path = parse_path(resources[0], "HostResource")
        kind = path.class_name.lower()
        if kind == "msvm_computersystem":
            if (path.key("Name") or "").upper() != self._site.name:
                raise invalid_parameter("an internal port belongs to the host")
            return self.host_path
        if kind == "msvm_externalethernetport":
            device = (path.key("DeviceID") or "").upper()
            for nic in self._site.config.nics:
                if device == f"MICROSOFT:{{{nic_guid(self._site, nic)}}}":
                    bound = self.switch_of_nic(nic)
                    if bound is not None and bound is not ignore:
                        raise Refused(ReturnCode.FAILED, "the port is bound to another switch")
                    return self.external_port_path(nic)
        raise invalid_parameter("HostResource names nothing a switch can be connected to")

    def users_of(self, switch: Switch, connections: Iterator[Row]) -> list[Row]:
        """Return those of `connections` that are plugged into a switch."""
        return [
            row for row in connections if switch.path_text in strings(row.values, "HostResource")
        ]

    def own_port_kind(self, connection: Row) -> SwitchKind:
        """Return EXTERNAL for an uplink, INTERNAL for the host's port."""
        resource = strings(connection.values, "HostResource")[0]
        external = "Msvm_ExternalEthernetPort" in resource
        return SwitchKind.EXTERNAL if external else SwitchKind.INTERNAL
