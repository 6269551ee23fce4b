"""A NIC as CloudStack describes it, turned into what a Hyper-V switch port should be.

Pure: the switch stays a label here (finding it needs the host).  Two kinds of NICs are special,
both of system VMs:

* *Padding*: CloudStack fills a virtual router up to eight NICs with address 0.0.0.0 and mask
  255.255.255.255 (`HypervGuru`), because it cannot add NICs later; they are made, disconnected,
  on their switch, and connected when a public network needs them.
* *Link-local control*: console proxy and secondary storage VM have a control NIC with a 169.254
  address that nothing on a Hyper-V host answers, on a switch that need not exist; it is made
  without a connection.

Units: CloudStack's rate is megabits a second, Hyper-V's bandwidth limit bits a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cloudstack_hyperv.network.mac import normal_mac
from cloudstack_hyperv.network.port_acls import PortRule
from cloudstack_hyperv.network.pvlan import PortVlan, port_vlan_of
from cloudstack_hyperv.network.security_groups import (
    GuestAddresses,
    RuleMarker,
    UnusableRules,
    rules_of_group,
)
from cloudstack_hyperv.network.vlan import UnusableNetwork

_BITS_PER_MEGABIT = 1_000_000
_SPOOFING_DETAILS = ("MacAddressChanges", "ForgedTransmits", "MacLearning")


class NicFields(Protocol):
    """The fields of CloudStack's `NicTO` that are read here."""

    @property
    def device_id(self) -> int:
        """Position in the order of the guest's interfaces."""
        ...

    @property
    def name(self) -> str | None:
        """Traffic label."""
        ...

    @property
    def mac(self) -> str | None:
        """MAC address with separators."""
        ...

    @property
    def type(self) -> str | None:
        """Traffic type, such as Guest or Control."""
        ...

    @property
    def ip(self) -> str | None:
        """IPv4 address."""
        ...

    @property
    def ip6address(self) -> str | None:
        """IPv6 address."""
        ...

    @property
    def nic_sec_ips(self) -> Iterable[str] | None:
        """Secondary addresses."""
        ...

    @property
    def netmask(self) -> str | None:
        """IPv4 mask."""
        ...

    @property
    def broadcast_uri(self) -> str | None:
        """See `vlan`."""
        ...

    @property
    def isolation_uri(self) -> str | None:
        """See `vlan`."""
        ...

    @property
    def network_rate_mbps(self) -> int | None:
        """Megabits a second."""
        ...

    @property
    def security_group_enabled(self) -> bool:
        """Whether strangers share the network."""
        ...

    @property
    def details(self) -> Mapping[str, str] | None:
        """Switches by name, such as MacLearning."""
        ...


@dataclass(frozen=True, slots=True)
class PortGuards:
    """What a port lets through; the defaults are Hyper-V's own."""

    allow_mac_spoofing: bool = False
    dhcp_guard: bool = False
    """Drop what only a DHCP server sends."""
    router_guard: bool = False
    """Drop router advertisements and redirects."""

    @property
    def are_default(self) -> bool:
        """Whether nothing has to be set."""
        return not (self.allow_mac_spoofing or self.dhcp_guard or self.router_guard)


@dataclass(frozen=True, slots=True)
class NicWish:
    """What one NIC should be."""

    device_id: int
    mac: str
    """Twelve hex digits, upper case, as Hyper-V writes them."""
    switch_label: str | None
    """Traffic label; None together with `needs_switch` means the only external switch."""
    needs_switch: bool
    """False: the NIC stays without a connection to any switch."""
    connected: bool
    """False with `needs_switch`: on its switch, but with the cable out."""
    vlan: PortVlan | None = None
    limit: int | None = None
    """Bits a second that the VM may send; None for no limit."""
    guards: PortGuards = PortGuards()
    rules: frozenset[PortRule] = frozenset()
    """What its port denies and allows from the start, before its groups' rules arrive."""


def nic_wishes(nics: Iterable[NicFields], *, system_vm: bool) -> tuple[NicWish, ...]:
    """Return the wishes in deviceId order, which is the guest's order; raises UnusableNetwork."""
    wishes = sorted((nic_wish(nic, system_vm=system_vm) for nic in nics), key=_device_id)
    for earlier, later in itertools.pairwise(wishes):
        if earlier.device_id == later.device_id:
            raise UnusableNetwork(f"two NICs have deviceId {later.device_id}")
    seen: dict[str, int] = {}
    for wish in wishes:
        if wish.mac in seen:
            raise UnusableNetwork(
                f"NICs {seen[wish.mac]} and {wish.device_id} have the same MAC address {wish.mac}"
            )
        seen[wish.mac] = wish.device_id
    return tuple(wishes)


def nic_wish(nic: NicFields, *, system_vm: bool) -> NicWish:
    """Return what one NIC should be; raises UnusableNetwork with the NIC's number in it."""
    try:
        if not 0 <= nic.device_id <= 255:
            raise UnusableNetwork("its deviceId is not from 0 to 255")
        mac = normal_mac(nic.mac)
        if _is_link_local_control(nic):
            return NicWish(nic.device_id, mac, None, needs_switch=False, connected=False)
        if _is_padding(nic):
            return NicWish(nic.device_id, mac, nic.name, needs_switch=True, connected=False)
        return NicWish(
            device_id=nic.device_id,
            mac=mac,
            switch_label=nic.name,
            needs_switch=True,
            connected=True,
            vlan=port_vlan_of(
                nic.broadcast_uri, nic.isolation_uri, serves=system_vm, details=nic.details
            ),
            limit=rate_limit(nic.network_rate_mbps),
            guards=guards_of(nic, system_vm=system_vm),
            rules=first_rules(nic, mac) if is_shared(nic) and not system_vm else frozenset(),
        )
    except (UnusableNetwork, UnusableRules) as error:
        raise UnusableNetwork(f"NIC {nic.device_id}: {error}") from None


def rate_limit(megabits: int | None) -> int | None:
    """Return bits a second; None, 0 and negative numbers mean no limit."""
    return megabits * _BITS_PER_MEGABIT if megabits is not None and megabits > 0 else None


def guards_of(nic: NicFields, *, system_vm: bool) -> PortGuards:
    """Return what the port should let through.

    MAC spoofing is allowed when any of CloudStack's three NIC details asks for what it covers.
    User VMs in networks with security groups, which strangers share, may not act as DHCP server
    or router; a system VM must, that is its work.
    """
    details = nic.details or {}
    spoofing = any(details.get(name, "").casefold() == "true" for name in _SPOOFING_DETAILS)
    guarded = is_shared(nic) and not system_vm
    return PortGuards(spoofing, guarded, guarded)


def is_shared(nic: NicFields) -> bool:
    """Whether strangers are on the network and security groups keep them apart."""
    return nic.security_group_enabled or (nic.isolation_uri or "").lower().startswith("ec2:")


def first_rules(nic: NicFields, mac: str) -> frozenset[PortRule]:
    """Return what a guest's port has from the start: nothing new comes in, everything goes out.

    As the KVM agent does, which sets the default rules when it starts a VM.
    """
    guest = GuestAddresses(mac, nic.ip, nic.ip6address, tuple(nic.nic_sec_ips or ()))
    return rules_of_group(guest, (), (), RuleMarker(0))


def _is_padding(nic: NicFields) -> bool:
    return nic.ip == "0.0.0.0" and nic.netmask == "255.255.255.255"  # noqa: S104  (not a bind)


def _is_link_local_control(nic: NicFields) -> bool:
    return (nic.type or "").casefold() == "control" and (nic.ip or "").startswith("169.254.")


def _device_id(wish: NicWish) -> int:
    return wish.device_id
