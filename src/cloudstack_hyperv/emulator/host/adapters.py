"""The host's own network: physical cards, virtual cards on switches, and their addresses.

When a switch takes a physical card and gives the host a port, the address moves to that virtual
card, as on Windows.

Sources: Microsoft's pages Win32_NetworkAdapter(Configuration), MSFT_NetAdapter, MSFT_NetIPAddress.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.config import PhysicalNic, SwitchKind
from cloudstack_hyperv.emulator.host.site import Site, strings
from cloudstack_hyperv.emulator.host.switches import Switches, nic_guid


@dataclass(frozen=True, slots=True)
class Adapter:
    """One interface of the host's network stack."""

    index: int
    guid: str
    alias: str
    description: str
    mac: str
    speed: int
    source: PhysicalNic | None
    """Whose addresses it carries; None for none."""
    is_physical: bool
    bound: bool = False


class Adapters:
    """Interfaces of one host."""

    def __init__(self, site: Site, switches: Switches) -> None:
        self._site = site
        self._switches = switches

    def all(self) -> list[Adapter]:
        """Return physical cards, then the host's ports on switches."""
        found: list[Adapter] = []
        for number, nic in enumerate(self._site.config.nics):
            switch = self._switches.switch_of_nic(nic)
            found.append(
                Adapter(
                    10 + number,
                    nic_guid(self._site, nic),
                    nic.name,
                    nic.description + (f" #{number + 1}" if number else ""),
                    nic.mac.upper(),
                    nic.speed,
                    nic if switch is None and nic.address else None,
                    is_physical=True,
                    bound=switch is not None,
                )
            )
        found.extend(self._virtual(len(found) + 10))
        return found

    def _virtual(self, first: int) -> Iterator[Adapter]:
        number = 0
        for switch in self._switches:
            for connection in switch.connections.values():
                if self._switches.own_port_kind(connection) is not SwitchKind.INTERNAL:
                    continue
                nic = self._uplink_of(switch.guid)
                guid = str(connection.values["InstanceID"]).rsplit("\\", 1)[1]
                suffix = f" #{number + 1}" if number else ""
                mac = nic.mac.upper() if nic is not None else _mac_from(guid)
                yield Adapter(
                    first + number,
                    guid,
                    f"vEthernet ({switch.name})",
                    f"Hyper-V Virtual Ethernet Adapter{suffix}",
                    mac,
                    nic.speed if nic is not None else 10_000_000_000,
                    nic if nic is not None and nic.address else None,
                    is_physical=False,
                )
                number += 1

    def _uplink_of(self, guid: str) -> PhysicalNic | None:
        switch = self._switches.get(guid)
        if switch is None:
            return None
        resources = [
            r for c in switch.connections.values() for r in strings(c.values, "HostResource")
        ]
        for nic in self._site.config.nics:
            if self._switches.external_port_path(nic) in resources:
                return nic
        return None

    def win32_adapters(self) -> Iterator[Row]:
        """Yield Win32_NetworkAdapter."""
        for adapter in self.all():
            yield Row(
                "Win32_NetworkAdapter",
                {
                    "AdapterType": "Ethernet 802.3",
                    "AdapterTypeId": 0,
                    "Availability": 3,
                    "Caption": f"[{adapter.index:08d}] {adapter.description}",
                    "CreationClassName": "Win32_NetworkAdapter",
                    "Description": adapter.description,
                    "DeviceID": str(adapter.index),
                    "GUID": f"{{{adapter.guid}}}",
                    "Index": adapter.index,
                    "Installed": True,
                    "InterfaceIndex": adapter.index,
                    "MACAddress": adapter.mac,
                    "Manufacturer": "Intel" if adapter.is_physical else "Microsoft",
                    "MaxNumberControlled": 0,
                    "Name": adapter.description,
                    "NetConnectionID": adapter.alias,
                    "NetConnectionStatus": 2,
                    "NetEnabled": True,
                    "PhysicalAdapter": True,
                    "PowerManagementSupported": False,
                    "ProductName": adapter.description,
                    "ServiceName": "ixgbi" if adapter.is_physical else "VMSNPXYMP",
                    "Speed": adapter.speed,
                    "SystemCreationClassName": "Win32_ComputerSystem",
                    "SystemName": self._site.name,
                },
            )

    def configurations(self) -> Iterator[Row]:
        """Yield Win32_NetworkAdapterConfiguration."""
        for adapter in self.all():
            nic = adapter.source
            values: dict[str, Value] = {
                "Caption": f"[{adapter.index:08d}] {adapter.description}",
                "Description": adapter.description,
                "SettingID": f"{{{adapter.guid}}}",
                "DHCPEnabled": False,
                "Index": adapter.index,
                "InterfaceIndex": adapter.index,
                "IPEnabled": nic is not None,
                "ServiceName": "ixgbi" if adapter.is_physical else "VMSNPXYMP",
            }
            row = Row("Win32_NetworkAdapterConfiguration", values)
            if nic is not None:
                row.values.update(
                    MACAddress=adapter.mac,
                    DNSHostName=self._site.name,
                    DNSDomain=self._site.config.domain or None,
                    IPAddress=[nic.address],
                    IPSubnet=[nic.netmask],
                    DefaultIPGateway=[nic.gateway] if nic.gateway else None,
                    GatewayCostMetric=[256] if nic.gateway else None,
                    DNSServerSearchOrder=list(nic.dns) or None,
                    DomainDNSRegistrationEnabled=False,
                    FullDNSRegistrationEnabled=True,
                    IPConnectionMetric=25,
                    IPFilterSecurityEnabled=False,
                    TcpipNetbiosOptions=0,
                    WINSEnableLMHostsLookup=True,
                )
            yield row

    def net_adapters(self) -> Iterator[Row]:
        """Yield MSFT_NetAdapter."""
        for adapter in self.all():
            guid = f"{{{adapter.guid}}}"
            yield Row(
                "MSFT_NetAdapter",
                {
                    "Caption": adapter.description,
                    "CreationClassName": "MSFT_NetAdapter",
                    "DeviceID": guid,
                    "DeviceName": f"\\Device\\{guid}",
                    "ElementName": adapter.alias,
                    "InstanceID": guid,
                    "InterfaceAdminStatus": 1,
                    "InterfaceDescription": adapter.description,
                    "InterfaceGuid": guid,
                    "InterfaceIndex": adapter.index,
                    "InterfaceName": f"ethernet_{adapter.index}",
                    "InterfaceOperationalStatus": 1,
                    "InterfaceType": 6,
                    "HardwareInterface": adapter.is_physical,
                    "ConnectorPresent": adapter.is_physical,
                    "MediaConnectState": 1,
                    "MtuSize": 1500,
                    "Name": adapter.alias,
                    "NetworkAddresses": [adapter.mac.replace(":", "")],
                    "PermanentAddress": adapter.mac.replace(":", ""),
                    "Speed": adapter.speed,
                    "ReceiveLinkSpeed": adapter.speed,
                    "TransmitLinkSpeed": adapter.speed,
                    "State": 2,
                    "EnabledState": 5,
                    "RequestedState": 12,
                    "Virtual": not adapter.is_physical,
                    "SystemCreationClassName": "CIM_NetworkPort",
                    "SystemName": self._site.dns_name,
                },
            )

    def net_addresses(self) -> Iterator[Row]:
        """Yield MSFT_NetIPAddress."""
        for adapter in self.all():
            nic = adapter.source
            if nic is None:
                continue
            network = ipaddress.ip_interface(f"{nic.address}/{nic.netmask}").network
            name = f"{nic.address}%{adapter.index}"
            yield Row(
                "MSFT_NetIPAddress",
                {
                    "Address": nic.address,
                    "AddressFamily": 2 if network.version == 4 else 23,
                    "AddressState": 4,
                    "Caption": nic.address,
                    "CreationClassName": "",
                    "ElementName": nic.address,
                    "IPAddress": nic.address,
                    "IPv4Address": nic.address if network.version == 4 else None,
                    "IPv6Address": nic.address if network.version == 6 else None,
                    "InstanceID": name,
                    "InterfaceAlias": adapter.alias,
                    "InterfaceIndex": adapter.index,
                    "Name": name,
                    "PrefixLength": network.prefixlen,
                    "PrefixOrigin": 1,
                    "SuffixOrigin": 1,
                    "ProtocolIFType": 4096 if network.version == 4 else 4097,
                    "SkipAsSource": False,
                    "Store": 1,
                    "SubnetMask": nic.netmask,
                    "SystemCreationClassName": "",
                    "SystemName": "",
                    "Type": 1,
                },
            )


def _mac_from(guid: str) -> str:
    tail = uuid.UUID(guid).hex[-6:].upper()
    return ":".join(("00", "15", "5D", tail[:2], tail[2:4], tail[4:]))
