"""CloudStack's security group rules as rules of a Hyper-V switch port.  Pure.

What CloudStack's KVM agent does with a VM's rules (`scripts/vm/network/security_group.py`), and so
do we: answers always pass; without an ingress rule nothing new comes in; without an egress rule of
an address family all of it goes out, with one everything else is dropped; the VM may ask a DHCP
server and a name server, may not act as DHCP server, and sends under its own addresses only.

Where a port's rules can say less than iptables:

* Only TCP and UDP have flows.  A rule for ICMP or another protocol therefore works both ways: what
  it lets in may also be sent there.  It never opens TCP or UDP that way.
* ICMP has no types: an ICMP rule opens all of them, and an "ICMP error about my flow" is not known
  to belong to the flow, so it passes with an ICMP rule only.
* IPv6 needs ICMPv6 on its link to work at all, so all of it passes between the VM and its
  neighbours: link-local addresses, the VM's own /64, and multicast.  That includes a neighbour's
  ping.  Router advertisements of the VM are dropped by the port's router guard.
* A flow may be idle for `TCP_IDLE_SECONDS` or UDP_IDLE_SECONDS, as kept here, not for days.
* ARP is not IP and passes; the MAC address of a frame is the switch's own check.

Sources: CloudStack's `security_group.py` (default_network_rules, add_network_rules) and
`SecurityGroupRulesCmd`; RFC 4861 (who asks whom for neighbours), RFC 5382 REQ-5.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.network.mac import normal_mac
from cloudstack_hyperv.network.port_acls import (
    ANY,
    MARK,
    MOST_RULES,
    Action,
    Direction,
    PortRule,
)

TCP_IDLE_SECONDS: Final = 7440
"""RFC 5382 REQ-5: a connection is not forgotten within two hours and four minutes."""
UDP_IDLE_SECONDS: Final = 255
"""Hyper-V's default."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_IN, _OUT = Direction.INCOMING, Direction.OUTGOING
_EVERYWHERE: Final = {4: "0.0.0.0/0", 6: "::/0"}
_ICMP: Final = {4: "1", 6: "58"}
_NEIGHBOURS: Final = "fe80::/10"
_MULTICAST: Final = "ff02::/16"
_NUMBERS: Final = {"tcp": 6, "udp": 17, "icmpv6": 58, "gre": 47, "esp": 50, "ah": 51, "sctp": 132}
_MARKER = re.compile(rf"{MARK} (?P<vm>-?\d{{1,19}}) (?P<seq>-?\d{{1,19}})(?: (?P<sum>[0-9a-f]+))?")


class UnusableRules(ValueError):
    """The rules cannot be put on a port; the text says which and why."""


@dataclass(frozen=True, slots=True)
class GroupRule:
    """`SecurityGroupRulesCmd$IpPortAndProto`; for ICMP the ports are type and code."""

    protocol: str
    first: int
    last: int
    cidrs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleMarker:
    """Whose rules a port has, and of which state of its groups."""

    vm_id: int
    sequence: int = 0
    """CloudStack's seqNum; 0 for what a VM starts with, before its rules arrive."""
    checksum: str = ""
    """The first digits of CloudStack's signature."""

    @property
    def name(self) -> str:
        """The name of the marker rule: 64 characters at most, Hyper-V takes no more."""
        return f"{MARK} {self.vm_id} {self.sequence} {self.checksum[:8]}".rstrip()

    @property
    def rule(self) -> PortRule:
        """The marker as a rule: one that denies what the last rules deny anyway."""
        return PortRule(_IN, Action.DENY, remote=_EVERYWHERE[4], name=self.name)

    @classmethod
    def read(cls, rules: Iterable[PortRule]) -> RuleMarker | None:
        """Return the newest marker among a port's rules."""
        found = [
            cls(int(match["vm"]), int(match["seq"]), match["sum"] or "")
            for rule in rules
            if (match := _MARKER.fullmatch(rule.name)) is not None
        ]
        return max(found, key=lambda marker: marker.sequence, default=None)


@dataclass(frozen=True, slots=True)
class GuestAddresses:
    """The addresses under which a VM may send."""

    mac: str
    ip: str | None = None
    ip6: str | None = None
    secondary: tuple[str, ...] = ()

    def own(self) -> tuple[_Address, ...]:
        """Return them without repetition, the link-local one of its MAC address among them."""
        texts = [text for text in (self.ip, self.ip6, *self.secondary) if text and text != "0"]
        found = [address_of(text) for text in texts]
        return tuple(dict.fromkeys([*found, link_local(self.mac)]))

    def neighbours(self) -> tuple[str, ...]:
        """Return the IPv6 networks of its link."""
        if not self.ip6:
            return (_NEIGHBOURS,)
        address = address_of(self.ip6)
        return (_NEIGHBOURS, str(ipaddress.ip_network((int(address) >> 64 << 64, 64))))


def rules_of_group(
    guest: GuestAddresses,
    ingress: Iterable[GroupRule],
    egress: Iterable[GroupRule],
    marker: RuleMarker,
) -> frozenset[PortRule]:
    """Return everything that a port should have for these rules; raises UnusableRules."""
    rules = {*denied_rules(), *_always(guest), marker.rule}
    own = guest.own()
    incoming, outgoing = list(ingress), list(egress)
    rules |= _allowed(_IN, own, incoming)
    rules |= _allowed(_OUT, own, outgoing)
    limited = {cidr.version for rule in outgoing for cidr in _cidrs(rule)}
    if any(not rule.cidrs for rule in outgoing):
        limited |= {4, 6}
    for version in {4, 6} - limited:
        everywhere = ipaddress.ip_network(_EVERYWHERE[version])
        mine = [address for address in own if address.version == version]
        rules |= {rule for rule in _all_protocols(_OUT, mine, everywhere) if rule.direction is _OUT}
    if len(rules) > MOST_RULES:
        raise UnusableRules(
            f"the security groups make {len(rules)} rules of the VM's switch port, more than "
            f"{MOST_RULES}: {len(own)} addresses, {len(incoming)} ingress and {len(outgoing)} "
            "egress rules; merge CIDRs or ports"
        )
    return frozenset(rules)


def rules_with_address(rules: Iterable[PortRule], text: str) -> frozenset[PortRule]:
    """Return a port's rules with one more address of the VM, which may do what the others may.

    Raises UnusableRules when the port has no rules of that family to go by.
    """
    address = address_of(text)
    present = frozenset(rules)
    hosts = {
        host
        for rule in present
        if (host := _host(rule.local)) is not None and host.version == address.version
    }
    if address in hosts:
        return present
    if not hosts:
        raise UnusableRules(f"the VM has no IPv{address.version} rules to which {text} could go")
    like = str(min(hosts, key=int))
    added = {_moved(rule, str(address)) for rule in present if rule.local == like}
    if len(present) + len(added) > MOST_RULES:
        raise UnusableRules(f"with {text} the port would have more than {MOST_RULES} rules")
    return present | added


def rules_without_address(rules: Iterable[PortRule], text: str) -> frozenset[PortRule]:
    """Return a port's rules without those of one address of the VM."""
    address = address_of(text)
    return frozenset(rule for rule in rules if _host(rule.local) != address)


def link_local(mac: str) -> ipaddress.IPv6Address:
    """Return the IPv6 address that a MAC address makes (RFC 4291, appendix A)."""
    octets = bytearray.fromhex(normal_mac(mac))
    octets[0] ^= 0x02
    return ipaddress.IPv6Address(
        b"\xfe\x80" + bytes(6) + bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    )


def address_of(text: str) -> _Address:
    """Read an address, with or without a prefix length; raises UnusableRules."""
    try:
        return ipaddress.ip_interface(text.strip()).ip
    except ValueError:
        raise UnusableRules(f"{text[:64]!r} is not an IP address") from None


def denied_rules() -> set[PortRule]:
    """What nothing allows: both ways, both families, one rule a kind of protocol (os-win)."""
    return {
        PortRule(direction, Action.DENY, remote=_EVERYWHERE[version], protocol=protocol)
        for direction in Direction
        for version in (4, 6)
        for protocol in ("TCP", "UDP", _ICMP[version], ANY)
    }


def _always(guest: GuestAddresses) -> set[PortRule]:
    """What a VM needs whatever its groups say, and what it never may."""
    rules = {
        PortRule(_OUT, Action.DENY, remote=_EVERYWHERE[4], protocol="UDP", local_ports="67"),
        PortRule(_OUT, Action.DENY, remote=_EVERYWHERE[6], protocol="UDP", local_ports="547"),
    }
    for direction in Direction:
        # Without flow: the request has no address yet, the answer may be broadcast.
        rules.add(_udp(direction, ANY, _EVERYWHERE[4], "68", "67"))
    rules.add(_udp(_OUT, _NEIGHBOURS, "ff02::1:2/128", "546", "547"))
    rules.add(_udp(_IN, _NEIGHBOURS, _NEIGHBOURS, "546", "547"))
    for address in guest.own():
        for protocol in ("TCP", "UDP"):
            rules.add(
                PortRule(
                    _OUT,
                    Action.ALLOW,
                    local=str(address),
                    remote=_EVERYWHERE[address.version],
                    protocol=protocol,
                    remote_ports="53",
                    stateful=True,
                )
            )
        if address.version == 6:
            for network in guest.neighbours():
                rules |= _both_ways(str(address), network, _ICMP[6])
            rules.add(
                PortRule(_OUT, Action.ALLOW, str(address), remote=_MULTICAST, protocol=_ICMP[6])
            )
    for network in (*guest.neighbours(), "::/128"):
        rules.add(PortRule(_IN, Action.ALLOW, _MULTICAST, remote=network, protocol=_ICMP[6]))
    # A guest asks whether its address is free before it has one (RFC 4862, 5.4).
    rules.add(PortRule(_OUT, Action.ALLOW, "::", remote=_MULTICAST, protocol=_ICMP[6]))
    return rules


def _udp(direction: Direction, local: str, remote: str, mine: str, theirs: str) -> PortRule:
    return PortRule(
        direction,
        Action.ALLOW,
        local=local,
        remote=remote,
        protocol="UDP",
        local_ports=mine,
        remote_ports=theirs,
    )


def _allowed(
    direction: Direction, own: Iterable[_Address], group: Iterable[GroupRule]
) -> set[PortRule]:
    """Return rules for what a group allows, its CIDRs merged where protocol and ports agree."""
    merged: dict[tuple[str, str], list[_Network]] = {}
    for rule in group:
        merged.setdefault(_kind(rule), []).extend(_cidrs(rule))
    mine = tuple(own)
    rules: set[PortRule] = set()
    for (protocol, ports), cidrs in merged.items():
        for peer in _collapsed(cidrs):
            matching = [address for address in mine if address.version == peer.version]
            if protocol == "all":
                rules |= _all_protocols(direction, matching, peer)
                continue
            for address in matching:
                if protocol in ("TCP", "UDP"):
                    rules.add(_flow(direction, str(address), str(peer), protocol, ports))
                else:
                    number = _ICMP[peer.version] if protocol == "icmp" else protocol
                    rules |= _both_ways(str(address), str(peer), number)
    return rules


def _all_protocols(direction: Direction, own: Iterable[_Address], peer: _Network) -> set[PortRule]:
    rules: set[PortRule] = set()
    for address in own:
        local, remote = str(address), str(peer)
        rules |= {_flow(direction, local, remote, name, ANY) for name in ("TCP", "UDP")}
        rules |= _both_ways(local, remote, _ICMP[peer.version])
        rules |= _both_ways(local, remote, ANY)
    return rules


def _flow(direction: Direction, local: str, remote: str, protocol: str, ports: str) -> PortRule:
    incoming = direction is _IN
    return PortRule(
        direction,
        Action.ALLOW,
        local=local,
        remote=remote,
        protocol=protocol,
        local_ports=ports if incoming else ANY,
        remote_ports=ANY if incoming else ports,
        stateful=True,
    )


def _both_ways(local: str, remote: str, protocol: str) -> set[PortRule]:
    return {
        PortRule(direction, Action.ALLOW, local=local, remote=remote, protocol=protocol)
        for direction in Direction
    }


def _kind(rule: GroupRule) -> tuple[str, str]:
    """Return protocol ("TCP", "UDP", "icmp", "all" or a number) and ports; UnusableRules."""
    name = rule.protocol.strip().casefold()
    if name in ("all", "any", "-1"):
        return "all", ANY
    if name in ("icmp", "1"):
        return "icmp", ANY
    number = int(name) if name.isascii() and name.isdecimal() else _NUMBERS.get(name, -1)
    if not 0 <= number <= 255:
        raise UnusableRules(f"protocol {rule.protocol[:40]!r} of a security group is unknown")
    if number == _NUMBERS["tcp"]:
        return "TCP", _ports(rule)
    if number == _NUMBERS["udp"]:
        return "UDP", _ports(rule)
    return str(number), ANY


def _ports(rule: GroupRule) -> str:
    first, last = rule.first, rule.last
    if (first, last) in ((-1, -1), (0, 65535)):
        return ANY
    if not 0 <= first <= last <= 65535:
        raise UnusableRules(f"ports {first} to {last} of a security group are no range of ports")
    return str(first) if first == last else f"{first}-{last}"


def _cidrs(rule: GroupRule) -> list[_Network]:
    try:
        return [ipaddress.ip_network(text.strip(), strict=False) for text in rule.cidrs]
    except ValueError as error:
        raise UnusableRules(f"a security group has a CIDR that is none: {error}") from None


def _collapsed(networks: Iterable[_Network]) -> list[_Network]:
    every = list(networks)
    four = [network for network in every if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in every if isinstance(network, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]


def _host(text: str) -> _Address | None:
    """Return the address of a rule that is about one address of the VM."""
    return None if text in (ANY, "::") or "/" in text else address_of(text)


def _moved(rule: PortRule, local: str) -> PortRule:
    return PortRule(
        rule.direction,
        rule.action,
        local=local,
        remote=rule.remote,
        protocol=rule.protocol,
        local_ports=rule.local_ports,
        remote_ports=rule.remote_ports,
        stateful=rule.stateful,
        name=rule.name,
    )
