"""Features of a switch port: VLAN, bandwidth, security, ACLs and what else a port may carry.

One instance of a feature class on a port, except the ACL classes; an extended ACL is identified by
its weight and direction.  Numbers are checked as the cmdlets document them; the switch's bandwidth
mode decides whether Reservation or Weight can be used.

Sources: Microsoft's pages of the Msvm_EthernetSwitchPort*SettingData classes,
Add-VMNetworkAdapterExtendedAcl (weight and direction identify a rule), Set-VMNetworkAdapterVlan,
Set-VMNetworkAdapter (bandwidth); a second VLAN instance fails (os-win networkutils.py).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cloudstack_hyperv.cim.constants import FEATURE_IDS, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row, Value
from cloudstack_hyperv.emulator.host.outcome import Refused, invalid_parameter
from cloudstack_hyperv.emulator.host.profiles import ReleaseProfile
from cloudstack_hyperv.emulator.host.sameness import same_value
from cloudstack_hyperv.emulator.host.site import number, text

Values = dict[str, Value]
_WIN32_INVALID_PARAMETER = 0x80070057


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """One feature class."""

    class_name: str
    caption: str
    values: Values
    check: Callable[[Values, int], None]
    """Given the values and the switch's bandwidth mode."""
    many: bool = False
    since: float = 2012
    feature_id: str = ""
    on_switch: bool = False

    @property
    def guid(self) -> str:
        """FeatureId: UUID qualifier of the class."""
        return self.feature_id or FEATURE_IDS[self.class_name]

    def template(self, instance_id: str) -> Row:
        """Return a new instance with the class's defaults."""
        values: Values = {
            "InstanceID": instance_id,
            "Caption": self.caption,
            "Description": f"Represents the {self.caption.lower()}.",
            "ElementName": self.caption,
            **self.values,
        }
        return Row(self.class_name, values)


def _anything(values: Values, mode: int) -> None:
    del values, mode


def _vlan_id(values: Values, name: str) -> int:
    vlan = number(values, name)
    if not 1 <= vlan <= 4094:
        raise invalid_parameter(f"{name} {vlan} is not 1 to 4094")
    return vlan


def _check_vlan(values: Values, mode: int) -> None:
    del mode
    operation = number(values, "OperationMode")
    if operation == 0:
        return
    if operation == 1:
        _vlan_id(values, "AccessVlanId")
    elif operation == 2:
        if not 0 <= number(values, "NativeVlanId") <= 4094:
            raise invalid_parameter("NativeVlanId is not 0 to 4094")
        trunk = values.get("TrunkVlanIdArray")
        if not isinstance(trunk, list) or not trunk:
            raise invalid_parameter("a trunk needs TrunkVlanIdArray")
        if any(not isinstance(v, int) or not 0 <= v <= 4094 for v in trunk):
            raise invalid_parameter("TrunkVlanIdArray holds VLANs 0 to 4094")
    elif operation == 3:
        _check_private_vlan(values)
    else:
        raise invalid_parameter(f"OperationMode {operation} is unknown")


def _check_private_vlan(values: Values) -> None:
    private = number(values, "PvlanMode")
    primary = _vlan_id(values, "PrimaryVlanId")
    if private in (1, 2):
        if _vlan_id(values, "SecondaryVlanId") == primary:
            raise invalid_parameter("primary and secondary VLAN are the same")
    elif private == 3:
        if not values.get("SecondaryVlanIdArray"):
            raise invalid_parameter("a promiscuous port needs SecondaryVlanIdArray")
    else:
        raise invalid_parameter(f"PvlanMode {private} is unknown")


def _check_bandwidth(values: Values, mode: int) -> None:
    reservation, weight = number(values, "Reservation"), number(values, "Weight")
    limit = number(values, "Limit")
    if weight > 100:
        raise CimFault(_WIN32_INVALID_PARAMETER, "Weight is 0 to 100")
    if reservation and mode != 2:
        raise Refused(ReturnCode.FAILED, "the switch has no absolute bandwidth reservation")
    if weight and mode != 1:
        raise Refused(ReturnCode.FAILED, "the switch has no bandwidth weights")
    if limit and reservation > limit:
        raise CimFault(_WIN32_INVALID_PARAMETER, "Reservation is above Limit")
    # The cmdlet's documentation: bits a second, rounded to what is divisible by eight.
    values["Limit"] = limit - limit % 8
    values["Reservation"] = reservation - reservation % 8


def _check_security(values: Values, mode: int) -> None:
    del mode
    if not 0 <= number(values, "MonitorMode") <= 2:
        raise invalid_parameter("MonitorMode is 0, 1 or 2")
    if number(values, "VirtualSubnetId") not in (0, *range(4096, 16777215)):
        raise invalid_parameter("VirtualSubnetId is 0 or 4096 to 16777214")


def _check_acl(values: Values, mode: int) -> None:
    del mode
    if number(values, "Direction") not in (1, 2):
        raise invalid_parameter("Direction is 1 or 2")
    if number(values, "Action") not in (1, 2, 3):
        raise invalid_parameter("Action is 1, 2 or 3")
    kind = number(values, "AclType")
    if kind not in (1, 2, 3):
        raise invalid_parameter("AclType is 1, 2 or 3")
    longest = {1: 48, 2: 32, 3: 128}[kind]
    for side in ("Local", "Remote"):
        if number(values, f"{side}AddressPrefixLength") > longest:
            raise invalid_parameter(f"{side}AddressPrefixLength is above {longest}")
        address = text(values, f"{side}Address")
        if address and kind != 1:
            family = _ip(address, f"{side}Address").version
            if family != {2: 4, 3: 6}[kind]:
                raise invalid_parameter(f"{side}Address is of another family")


_PORTS = re.compile(r"(?:ANY|\d{1,5}(?:-\d{1,5})?)$")
_PROTOCOLS = {"ANY", "TCP", "UDP"}


def _check_extended_acl(values: Values, mode: int) -> None:
    del mode
    if number(values, "Direction") not in (1, 2):
        raise invalid_parameter("Direction is 1 or 2")
    if number(values, "Action") not in (1, 2):
        raise invalid_parameter("Action is 1 or 2")
    families = {
        _ip(address, name).version
        for name in ("LocalIPAddress", "RemoteIPAddress")
        if (address := text(values, name) or "ANY").upper() != "ANY"
    }
    if len(families) > 1:
        raise invalid_parameter("a rule cannot mix IPv4 and IPv6")
    for name in ("LocalPort", "RemotePort"):
        ports = (text(values, name) or "ANY").upper()
        if not _PORTS.match(ports) or any(
            int(port) > 65535 for port in ports.split("-") if port != "ANY"
        ):
            raise invalid_parameter(f"{name} {ports!r} is not a port or a range")
    protocol = (text(values, "Protocol") or "ANY").upper()
    if protocol not in _PROTOCOLS and not (protocol.isdecimal() and int(protocol) < 256):
        raise invalid_parameter(f"Protocol {protocol!r} is unknown")
    if values.get("Stateful") is True and number(values, "Action") != 1:
        raise invalid_parameter("a stateful rule allows")


def _ip(address: str, what: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(address, strict=False)
    except ValueError as problem:
        raise invalid_parameter(f"{what} {address!r} is not an address") from problem


FEATURES: tuple[FeatureKind, ...] = (
    FeatureKind(
        "Msvm_EthernetSwitchPortVlanSettingData",
        "Ethernet Switch Port VLAN Settings",
        {
            "OperationMode": 0,
            "AccessVlanId": 0,
            "NativeVlanId": 0,
            "PvlanMode": 0,
            "PrimaryVlanId": 0,
            "SecondaryVlanId": 0,
        },
        _check_vlan,
    ),
    FeatureKind(
        "Msvm_EthernetSwitchPortBandwidthSettingData",
        "Ethernet Switch Port Bandwidth Settings",
        {"Reservation": 0, "Weight": 0, "Limit": 0, "BurstLimit": 0, "BurstSize": 0},
        _check_bandwidth,
    ),
    FeatureKind(
        "Msvm_EthernetSwitchPortSecuritySettingData",
        "Ethernet Switch Port Security Settings",
        {
            "AllowMacSpoofing": False,
            "EnableDhcpGuard": False,
            "EnableRouterGuard": False,
            "MonitorMode": 0,
            "MonitorSession": 0,
            "AllowIeeePriorityTag": False,
            "VirtualSubnetId": 0,
            "AllowTeaming": False,
            "DynamicIPAddressLimit": 0,
            "StormLimit": 0,
        },
        _check_security,
    ),
    FeatureKind(
        "Msvm_EthernetSwitchPortAclSettingData",
        "Ethernet Switch Port ACL Settings",
        {
            "Name": "",
            "Direction": 0,
            "Applicability": 0,
            "AclType": 0,
            "Action": 0,
            "LocalAddress": "",
            "LocalAddressPrefixLength": 0,
            "RemoteAddress": "",
            "RemoteAddressPrefixLength": 0,
        },
        _check_acl,
        many=True,
    ),
    FeatureKind(
        "Msvm_EthernetSwitchPortExtendedAclSettingData",
        "Ethernet Switch Port Extended ACL Settings",
        {
            "Name": "",
            "Direction": 0,
            "Action": 0,
            "LocalIPAddress": "ANY",
            "RemoteIPAddress": "ANY",
            "LocalPort": "ANY",
            "RemotePort": "ANY",
            "Protocol": "ANY",
            "Weight": 0,
            "Stateful": False,
            "IdleSessionTimeout": 255,
            "IsolationID": 0,
        },
        _check_extended_acl,
        many=True,
        since=2012.5,
    ),
    FeatureKind(
        "Msvm_EthernetSwitchPortOffloadSettingData",
        "Ethernet Switch Port Offload Settings",
        {
            "IPSecOffloadLimit": 512,
            "VMQOffloadWeight": 100,
            "IOVOffloadWeight": 0,
            "IOVQueuePairsRequested": 1,
            "IOVInterruptModeration": 0,
        },
        _anything,
    ),
    FeatureKind(
        "Msvm_EthernetSwitchPortProfileSettingData",
        "Ethernet Switch Port Profile Settings",
        {"ProfileName": "", "ProfileId": "", "VendorName": "", "VendorId": "", "ProfileData": 0},
        _anything,
    ),
    FeatureKind(
        "Msvm_EthernetSwitchPortIsolationSettingData",
        "Ethernet Switch Port Isolation Settings",
        {
            "IsolationMode": 0,
            "AllowUntaggedTraffic": False,
            "DefaultIsolationId": 0,
            "EnableMultiTenantStack": False,
        },
        _anything,
        since=2012.5,
    ),
    FeatureKind(
        "Msvm_EthernetSwitchPortRdmaSettingData",
        "Ethernet Switch Port RDMA Settings",
        {"RdmaOffloadWeight": 0},
        _anything,
        since=2016,
        feature_id="7A498FC4-8572-4FDC-92AB-7A6FC7042D53",
    ),
    FeatureKind(
        "Msvm_VirtualEthernetSwitchBandwidthSettingData",
        "Ethernet Switch Bandwidth Settings",
        {"DefaultFlowReservation": 0, "DefaultFlowWeight": 0},
        _anything,
        feature_id="3EB2B8E8-4ABF-4DBF-9071-16DD47481FBE",
        on_switch=True,
    ),
    FeatureKind(
        "Msvm_VirtualEthernetSwitchNicTeamingSettingData",
        "Ethernet Switch NIC Teaming Settings",
        {"TeamingMode": 0, "LoadBalancingAlgorithm": 5},
        _anything,
        since=2016,
        feature_id="17AD26F1-DD6F-4ED9-BD2F-3750ADE6B68B",
        on_switch=True,
    ),
)

_BY_CLASS = {kind.class_name.lower(): kind for kind in FEATURES}


def features_of(profile: ReleaseProfile) -> Iterator[FeatureKind]:
    """Yield the feature classes that a release has."""
    return (kind for kind in FEATURES if profile.order >= kind.since)


def feature_kind(class_name: str, profile: ReleaseProfile, *, on_switch: bool) -> FeatureKind:
    """Return the feature class of that name; refuses with 32773."""
    kind = _BY_CLASS.get(class_name.lower())
    if kind is None or profile.order < kind.since or kind.on_switch is not on_switch:
        raise invalid_parameter(f"{class_name} is no feature of this kind of port")
    return kind


def add_feature(
    request: Row,
    kind: FeatureKind,
    owner_id: str,
    existing: list[Row],
    mode: int,
    new_guid: str,
) -> Row:
    """Return the new feature of a port; refuses what cannot stand beside `existing`."""
    same = [row for row in existing if row.class_name == kind.class_name]
    if same and not kind.many:
        raise Refused(ReturnCode.FAILED, f"the port has {kind.class_name} already")
    row = kind.template(f"{owner_id}\\{kind.guid}\\{new_guid}")
    for name, value in request.values.items():
        if name != "InstanceID" and value is not None:
            row.values[name] = value
    kind.check(row.values, mode)
    _check_rule_is_new(row, same)
    return row


def change_feature(row: Row, request: Row, kind: FeatureKind, others: list[Row], mode: int) -> Row:
    """Return a feature with the properties the client sent changed."""
    if request.class_name.lower() != row.class_name.lower():
        raise invalid_parameter(f"{request.class_name} does not fit this feature")
    changed = {
        name: value
        for name, value in request.values.items()
        if name != "InstanceID"
        and value is not None
        and not same_value(row.values.get(name), value)
    }
    for name in ("Caption", "Description", "ElementName"):
        if name in changed:
            raise invalid_parameter(f"{name} is read-only")
    new = Row(row.class_name, {**row.values, **changed})
    kind.check(new.values, mode)
    _check_rule_is_new(new, [other for other in others if other is not row])
    return new


def _check_rule_is_new(row: Row, others: list[Row]) -> None:
    if row.class_name != "Msvm_EthernetSwitchPortExtendedAclSettingData":
        return
    mine = (number(row.values, "Weight"), number(row.values, "Direction"))
    for other in others:
        if other.class_name == row.class_name and mine == (
            number(other.values, "Weight"),
            number(other.values, "Direction"),
        ):
            raise Refused(ReturnCode.FAILED, f"the port has a rule of weight {mine[0]} already")
