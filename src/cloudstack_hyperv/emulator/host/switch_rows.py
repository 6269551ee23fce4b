"""Rows of switches: the switch itself, ports, endpoints, physical cards.

A machine's port exists while the machine runs; a switch's own ports always do.

Sources: Microsoft's pages of the networking classes; the walk from a physical port over two LAN
endpoints to a switch port is what CloudStack's WmiCallsV2.cs does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.clock import NEVER
from cloudstack_hyperv.emulator.host.config import PhysicalNic, SwitchKind
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.site import Site, strings, text
from cloudstack_hyperv.emulator.host.switches import SWITCH, Switch, Switches, nic_guid
from cloudstack_hyperv.emulator.host.texts import in_language

PORT = "Msvm_EthernetSwitchPort"
ENDPOINT = "Msvm_LANEndpoint"
EXTERNAL_PORT = "Msvm_ExternalEthernetPort"
INTERNAL_PORT = "Msvm_InternalEthernetPort"
SYNTHETIC_PORT = "Msvm_SyntheticEthernetPort"
EMULATED_PORT = "Msvm_EmulatedEthernetPort"
_PORT_SPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


@dataclass(frozen=True, slots=True)
class Cable:
    """A connection between a device's port and a switch port."""

    switch: Switch
    port_guid: str
    name: str
    mac: str
    device: Row
    """The port at the other end: external, internal or a machine's."""
    connection: Row
    """Its Msvm_EthernetPortAllocationSettingData."""
    machine: Machine | None = None
    """The machine at the other end, None for the switch's own ports."""


class SwitchRows:
    """Networking rows of one host."""

    def __init__(self, site: Site, machines: Machines, switches: Switches) -> None:
        self._site = site
        self._machines = machines
        self._switches = switches

    def switches(self) -> Iterator[Row]:
        """Yield Msvm_VirtualEthernetSwitch."""
        for switch in self._switches:
            yield self.switch(switch)

    def switch(self, switch: Switch) -> Row:
        """Return a switch's row."""
        return Row(
            SWITCH,
            {
                "Caption": in_language(self._site.profile, "Virtual Switch"),
                "Description": in_language(self._site.profile, "Microsoft Virtual Switch"),
                "ElementName": switch.name,
                "IdentifyingDescriptions": [
                    in_language(self._site.profile, "Virtual switch extension miniport adapter ID")
                ],
                "OtherIdentifyingInfo": [
                    f"{{{str(uuid.uuid5(_PORT_SPACE, switch.guid)).upper()}}}"
                ],
                "OperationalStatus": [2],
                "Status": "OK",
                "StatusDescriptions": ["OK"],
                "HealthState": 5,
                "EnabledState": 5,
                "RequestedState": 12,
                "EnabledDefault": 2,
                "CreationClassName": SWITCH,
                "Name": switch.guid,
                "Dedicated": [38],
                "ResetCapability": 5,
                "MaxVMQOffloads": 0,
                "MaxIOVOffloads": 0,
            },
        )

    def settings(self) -> Iterator[Row]:
        """Yield Msvm_VirtualEthernetSwitchSettingData."""
        return (switch.settings for switch in self._switches)

    def own_connections(self) -> Iterator[Row]:
        """Yield the switches' own connections."""
        for switch in self._switches:
            yield from switch.connections.values()

    def own_features(self, class_name: str) -> Iterator[Row]:
        """Yield features of switches and of their own ports."""
        for switch in self._switches:
            for row in switch.features.values():
                if row.class_name == class_name:
                    yield row

    def find(self, class_name: str, keys: Mapping[str, str]) -> Row | None:
        """Return a switch's own connection or feature of an InstanceID."""
        instance_id = next(iter(keys.values()), "").upper()
        switch = self._switches.by_settings(instance_id)
        if switch is None:
            return None
        row = switch.connections.get(instance_id) or switch.features.get(instance_id)
        return row if row is not None and row.class_name == class_name else None

    # Ports ---------------------------------------------------------------------------------

    def cables(self) -> Iterator[Cable]:
        """Yield everything that is plugged into a switch now."""
        for switch in self._switches:
            for connection in switch.connections.values():
                yield self._own_cable(switch, connection)
        for machine in self._machines:
            if machine.state.has_worker:
                yield from self._machine_cables(machine)

    def _own_cable(self, switch: Switch, connection: Row) -> Cable:
        guid = str(connection.values["InstanceID"]).rsplit("\\", 1)[1]
        resource = strings(connection.values, "HostResource")[0]
        if self._switches.own_port_kind(connection) is SwitchKind.EXTERNAL:
            nic = next(
                n
                for n in self._site.config.nics
                if self._switches.external_port_path(n) == resource
            )
            device = self.external_port(nic)
        else:
            device = self._internal_port(switch, guid)
        return Cable(
            switch,
            guid,
            text(connection.values, "ElementName"),
            text(device.values, "PermanentAddress"),
            device,
            connection,
        )

    def _machine_cables(self, machine: Machine) -> Iterator[Cable]:
        for nic in machine.settings.nics:
            for connection in machine.settings.children(str(nic.values["InstanceID"])):
                switch = self._switches.of_connection(connection)
                if switch is None:
                    continue
                name = text(nic.values, "ElementName")
                mac = text(nic.values, "Address")
                device = machine_port(machine, nic)
                guid = port_guid(connection)
                yield Cable(switch, guid, name, mac, device, connection, machine)

    def ports(self) -> Iterator[Row]:
        """Yield Msvm_EthernetSwitchPort."""
        return (port for _, port in self.cables_with_ports())

    def cables_with_ports(self) -> Iterator[tuple[Cable, Row]]:
        """Yield each cable with the switch port it is plugged into."""
        for cable in self.cables():
            yield (
                cable,
                _port_row(
                    PORT,
                    SWITCH,
                    cable.switch.guid,
                    f"Microsoft:{cable.port_guid}",
                    cable.name,
                    cable.mac,
                    Name=cable.port_guid,
                    Caption="Ethernet Switch Port",
                    Description="Microsoft Virtual Ethernet Switch Port",
                ),
            )

    def ports_of(self, machine: Machine) -> Iterator[Row]:
        """Yield the live network adapters of a machine."""
        return (machine_port(machine, nic) for nic in machine.settings.nics)

    def external_port(self, nic: PhysicalNic) -> Row:
        """Return a physical card as Msvm_ExternalEthernetPort."""
        guid = nic_guid(self._site, nic)
        return _port_row(
            EXTERNAL_PORT,
            "Msvm_ComputerSystem",
            self._site.name,
            f"Microsoft:{{{guid}}}",
            nic.description,
            nic.mac.replace(":", "").upper(),
            Name=nic.description,
            Caption=in_language(self._site.profile, "Ethernet Port"),
            Description=in_language(self._site.profile, "Microsoft External Ethernet Port"),
            Speed=nic.speed,
            MaxSpeed=nic.speed,
            RequestedSpeed=nic.speed,
            AutoSense=True,
            MaxDataSize=1500,
            NetworkAddresses=None,
            PortNumber=0,
            PortType=53,
            SupportedMaximumTransmissionUnit=1500,
            TimeOfLastStateChange=None,
            IsBound=self._switches.switch_of_nic(nic) is not None,
        )

    def external_ports(self) -> Iterator[Row]:
        """Yield all physical cards."""
        return (self.external_port(nic) for nic in self._site.config.nics)

    def _internal_port(self, switch: Switch, guid: str) -> Row:
        tail = guid.replace("-", "")[-6:]
        return _port_row(
            INTERNAL_PORT,
            "Msvm_ComputerSystem",
            self._site.name,
            f"Microsoft:{{{guid}}}",
            switch.name,
            f"00155D{tail}",
            Name=switch.name,
            Caption="Internal Ethernet Port",
            Description="Microsoft Internal Ethernet Port",
        )

    def internal_ports(self) -> Iterator[Row]:
        """Yield the host's own ports on switches."""
        return (c.device for c in self.cables() if c.device.class_name == INTERNAL_PORT)

    def machine_ports(self, class_name: str) -> Iterator[Row]:
        """Yield network adapters of running machines."""
        for machine in self._machines:
            if machine.state.has_worker:
                for nic in machine.settings.nics:
                    row = machine_port(machine, nic)
                    if row.class_name == class_name:
                        yield row

    def endpoints(self) -> Iterator[Row]:
        """Yield Msvm_LANEndpoint: two a cable, one at each end."""
        for cable in self.cables():
            yield switch_endpoint(cable)
            yield device_endpoint(cable)


def port_guid(connection: Row) -> str:
    """Return the GUID of the switch port that a machine's connection has while it runs."""
    return str(uuid.uuid5(_PORT_SPACE, str(connection.values["InstanceID"]))).upper()


def machine_port(machine: Machine, nic: Row) -> Row:
    """Return a machine's network adapter as a live port."""
    emulated = nic.class_name == catalogue.LEGACY_NIC
    return _port_row(
        EMULATED_PORT if emulated else SYNTHETIC_PORT,
        "Msvm_ComputerSystem",
        machine.machine_id,
        str(nic.values["InstanceID"]),
        text(nic.values, "ElementName"),
        text(nic.values, "Address"),
        Name=text(nic.values, "ElementName"),
        Caption="Ethernet Port",
        Description="Microsoft Emulated Ethernet Port"
        if emulated
        else "Microsoft Synthetic Ethernet Port",
    )


def switch_endpoint(cable: Cable) -> Row:
    """Return the endpoint of a switch port."""
    return _endpoint(SWITCH, cable.switch.guid, cable.port_guid, cable)


def device_endpoint(cable: Cable) -> Row:
    """Return the endpoint of the device at the other end."""
    device = cable.device.values
    return _endpoint(
        str(device["SystemCreationClassName"]),
        str(device["SystemName"]),
        f"/DEVICE/{cable.port_guid}",
        cable,
    )


def _endpoint(system_class: str, system: str, name: str, cable: Cable) -> Row:
    return Row(
        ENDPOINT,
        {
            "Caption": "LAN Endpoint",
            "Description": "Microsoft Virtual LAN Endpoint",
            "ElementName": cable.name,
            "Name": name,
            "OperationalStatus": [2],
            "StatusDescriptions": ["OK"],
            "HealthState": 5,
            "EnabledState": 2,
            "RequestedState": 12,
            "EnabledDefault": 2,
            "TimeOfLastStateChange": NEVER,
            "SystemCreationClassName": system_class,
            "SystemName": system,
            "CreationClassName": ENDPOINT,
            "NameFormat": "Microsoft Virtual Device ID",
            "ProtocolIFType": 6,
            "MACAddress": cable.mac,
            "MaxDataSize": 1514,
            "Connected": True,
        },
    )


def _port_row(
    class_name: str,
    system_class: str,
    system: str,
    device_id: str,
    element_name: str,
    mac: str,
    **values: Value,
) -> Row:
    merged: dict[str, Value] = {
        "ElementName": element_name,
        "OperationalStatus": [2],
        "StatusDescriptions": ["OK"],
        "Status": "OK",
        "HealthState": 5,
        "EnabledState": 2,
        "RequestedState": 12,
        "EnabledDefault": 2,
        "TimeOfLastStateChange": NEVER,
        "SystemCreationClassName": system_class,
        "SystemName": system,
        "CreationClassName": class_name,
        "DeviceID": device_id,
        "Speed": 10_000_000_000,
        "MaxSpeed": 10_000_000_000,
        "UsageRestriction": 4,
        "PortType": 0,
        "LinkTechnology": 2,
        "PermanentAddress": mac,
        "NetworkAddresses": [mac],
        "FullDuplex": True,
        "AutoSense": False,
        "ActiveMaximumTransmissionUnit": 1500,
        "SupportedMaximumTransmissionUnit": 9014,
        **values,
    }
    return Row(class_name, merged)
