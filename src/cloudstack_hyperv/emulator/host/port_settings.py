"""From WMI rows to what the user-space switch understands: a port's features as its settings.

The values were checked when the client set them (`features`).  Not carried over, because no frame
shows them: bandwidth reservations and weights, teaming, DynamicIPAddressLimit, VirtualSubnetId,
offloads.  BurstSize counts as bytes [guess].
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.site import number, text
from cloudstack_hyperv.emulator.switch import (
    AccessVlan,
    AclAction,
    AclKind,
    Bandwidth,
    Direction,
    ExtendedAcl,
    MonitorMode,
    Network,
    PortAcl,
    PortKind,
    PortRange,
    PortSettings,
    PrivateRole,
    PrivateVlan,
    Security,
    TrunkVlan,
    Vlan,
)
from cloudstack_hyperv.emulator.switch.settings import DEFAULT_IDLE_TIMEOUT

Values = dict[str, Value]
_PROTOCOLS = {"TCP": 6, "UDP": 17}
_BITS = {AclKind.MAC: 48, AclKind.IPV4: 32, AclKind.IPV6: 128}
_ACCESS, _TRUNK, _PRIVATE = 1, 2, 3


def port_settings(kind: PortKind, mac: str, features: Iterable[Row]) -> PortSettings:
    """Return the settings of a port with these features; `mac` is hexadecimal."""
    vlan: Vlan = AccessVlan()
    acls: list[PortAcl] = []
    extended: list[ExtendedAcl] = []
    bandwidth: Bandwidth | None = None
    security = Security()
    for row in features:
        match row.class_name:
            case "Msvm_EthernetSwitchPortVlanSettingData":
                vlan = _vlan(row.values)
            case "Msvm_EthernetSwitchPortAclSettingData":
                acls.append(_acl(row.values))
            case "Msvm_EthernetSwitchPortExtendedAclSettingData":
                extended.append(_extended_acl(row.values))
            case "Msvm_EthernetSwitchPortBandwidthSettingData":
                bandwidth = Bandwidth(number(row.values, "Limit"), number(row.values, "BurstSize"))
            case "Msvm_EthernetSwitchPortSecuritySettingData":
                security = _security(row.values)
    return PortSettings(_mac(mac), kind, vlan, tuple(acls), tuple(extended), bandwidth, security)


def _mac(text_form: str) -> bytes:
    return bytes.fromhex(text_form.replace("-", "").replace(":", "").rjust(12, "0"))


def _vlan(values: Values) -> Vlan:
    mode = number(values, "OperationMode")
    if mode == _ACCESS:
        return AccessVlan(number(values, "AccessVlanId"))
    if mode == _TRUNK:
        return TrunkVlan(number(values, "NativeVlanId"), _numbers(values, "TrunkVlanIdArray"))
    if mode != _PRIVATE:
        return AccessVlan()
    role = PrivateRole(number(values, "PvlanMode"))
    secondaries = _numbers(values, "SecondaryVlanIdArray")
    if role is not PrivateRole.PROMISCUOUS:
        secondaries = frozenset({number(values, "SecondaryVlanId")})
    return PrivateVlan(role, number(values, "PrimaryVlanId"), secondaries)


def _numbers(values: Values, name: str) -> frozenset[int]:
    value = values.get(name)
    found = value if isinstance(value, list | tuple) else ()
    return frozenset(int(item) for item in found if isinstance(item, int))


def _acl(values: Values) -> PortAcl:
    kind = AclKind(number(values, "AclType"))
    return PortAcl(
        text(values, "InstanceID"),
        Direction(number(values, "Direction")),
        AclAction(number(values, "Action")),
        kind,
        _acl_network(values, "Local", kind),
        _acl_network(values, "Remote", kind),
    )


def _acl_network(values: Values, side: str, kind: AclKind) -> Network | None:
    address = text(values, f"{side}Address")
    prefix = number(values, f"{side}AddressPrefixLength")
    if not address:
        return None
    if kind is AclKind.MAC:
        return Network.of_mac(_mac(address), prefix)
    value = int(ipaddress.ip_network(address, strict=False).network_address)
    return Network(value, prefix, _BITS[kind])


def _extended_acl(values: Values) -> ExtendedAcl:
    protocol = (text(values, "Protocol") or "ANY").upper()
    return ExtendedAcl(
        text(values, "InstanceID"),
        Direction(number(values, "Direction")),
        AclAction(number(values, "Action")),
        number(values, "Weight"),
        _network(text(values, "LocalIPAddress")),
        _network(text(values, "RemoteIPAddress")),
        _ports(text(values, "LocalPort")),
        _ports(text(values, "RemotePort")),
        None if protocol == "ANY" else _PROTOCOLS.get(protocol) or int(protocol),
        values.get("Stateful") is True,
        number(values, "IdleSessionTimeout") or DEFAULT_IDLE_TIMEOUT,
        number(values, "IsolationID"),
    )


def _network(address: str) -> Network | None:
    return None if address.upper() in ("", "ANY") else Network.parse(address)


def _ports(ports: str) -> PortRange | None:
    if ports.upper() in ("", "ANY"):
        return None
    first, _, last = ports.partition("-")
    return PortRange(int(first), int(last or first))


def _security(values: Values) -> Security:
    return Security(
        allow_mac_spoofing=values.get("AllowMacSpoofing") is True,
        dhcp_guard=values.get("EnableDhcpGuard") is True,
        router_guard=values.get("EnableRouterGuard") is True,
        monitor=MonitorMode(number(values, "MonitorMode")),
        monitor_session=number(values, "MonitorSession"),
        allow_priority_tag=values.get("AllowIeeePriorityTag") is True,
        storm_limit=number(values, "StormLimit"),
    )
