"""Random security groups and random packets: the switch's verdict against a reading of the rules.

The oracle knows nothing of ACLs, weights, bands and merged CIDRs: it goes through CloudStack's
rules one by one, as a person reads them.  What it allows beyond them is what the module under test
says that a Hyper-V port cannot tell apart, and nothing more (`works_both_ways`, `on_the_link`).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.emulator_switch.packets import ICMP, ICMP6, TCP, UDP, ip_frame

from cloudstack_hyperv.emulator.switch import (
    AclAction,
    Direction,
    EthernetSwitch,
    ExtendedAcl,
    Network,
    PortKind,
    PortRange,
    PortSettings,
)
from cloudstack_hyperv.network.port_acls import WeighedRule, changes
from cloudstack_hyperv.network.security_groups import (
    GroupRule,
    GuestAddresses,
    RuleMarker,
    rules_of_group,
)

MAC = "02:00:51:2c:00:00"
VM, PEER = bytes.fromhex("0200512c0000"), bytes.fromhex("020051990009")
IP, SECOND, IP6 = "10.1.1.5", "10.1.1.6", "2001:db8:1::5"
LINK_LOCAL = "fe80::51ff:fe2c:0"
GRE = 47
NAMES = {TCP: "tcp", UDP: "udp"}

LOCALS = (IP, SECOND, "10.1.1.7", "0.0.0.0", IP6, LINK_LOCAL, "2001:db8:1::6", "::")  # noqa: S104
REMOTES = (
    "10.1.1.8",
    "10.1.1.9",
    "10.1.2.1",
    "192.0.2.1",
    "2001:db8:1::9",
    "2001:db8:2::1",
    "fe80::9",
    "ff02::1:2",
    "ff02::1",
)
CIDRS = (
    "0.0.0.0/0",
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.1.1.8/32",
    "10.1.1.9/31",
    "10.1.2.0/24",
    "192.0.2.0/25",
    "::/0",
    "2001:db8:1::/64",
    "2001:db8:2::1/128",
    "2001:db8::/33",
)
PORTS = (22, 53, 67, 68, 80, 81, 546, 547)


@dataclass(frozen=True)
class Packet:
    """The first packet of something new."""

    outgoing: bool
    protocol: int
    local: str
    remote: str
    local_port: int
    remote_port: int

    @property
    def version(self) -> int:
        return ipaddress.ip_address(self.local).version

    def reply(self) -> Packet:
        return replace(self, outgoing=not self.outgoing)

    def frame(self) -> bytes:
        ends = [(VM, self.local, self.local_port), (PEER, self.remote, self.remote_port)]
        source, to = ends if self.outgoing else reversed(ends)
        return ip_frame(
            source[0], to[0], source[1], to[1], self.protocol, (source[2], to[2]), icmp_type=8
        )


def within(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)


def fits(rule: GroupRule, packet: Packet) -> bool:
    """Whether a rule of the packet's direction is about it."""
    if not any(within(packet.remote, cidr) for cidr in rule.cidrs):
        return False
    if rule.protocol == "all":
        return True
    if rule.protocol == "icmp":
        return packet.protocol == (ICMP if packet.version == 4 else ICMP6)
    if rule.protocol != NAMES.get(packet.protocol, str(packet.protocol)):
        return False
    port = packet.remote_port if packet.outgoing else packet.local_port
    return packet.protocol not in NAMES or rule.first <= port <= rule.last


def works_both_ways(rules: list[GroupRule], packet: Packet) -> bool:
    """Whether the packet could be the answer to what a rule of the other direction allows."""
    return packet.protocol not in NAMES and any(fits(rule, packet) for rule in rules)


def on_the_link(packet: Packet, own: set[str], neighbours: list[str]) -> bool:
    """Whether IPv6 needs it to find neighbours and routers."""
    if packet.protocol != ICMP6 or packet.version != 6:
        return False
    near = any(within(packet.remote, network) for network in neighbours)
    if packet.outgoing and within(packet.remote, "ff02::/16"):
        return packet.local in own or packet.local == "::"
    return near and packet.local in own


def is_dhcp(packet: Packet) -> bool:
    """Whether the VM asks a DHCP server, or one answers."""
    ports = (packet.protocol, packet.local_port, packet.remote_port)
    if packet.version == 4:
        return ports == (UDP, 68, 67)
    server = "ff02::1:2/128" if packet.outgoing else "fe80::/10"
    return (
        ports == (UDP, 546, 547)
        and within(packet.local, "fe80::/10")
        and within(packet.remote, server)
    )


@dataclass(frozen=True)
class Group:
    """What CloudStack sends."""

    ingress: list[GroupRule]
    egress: list[GroupRule]
    secondary: tuple[str, ...]
    ip6: str | None

    def guest(self) -> GuestAddresses:
        return GuestAddresses(MAC, IP, self.ip6, self.secondary)

    def allows(self, packet: Packet) -> bool:
        """Read the rules."""
        own = {IP, LINK_LOCAL, *self.secondary, *([self.ip6] if self.ip6 else [])}
        neighbours = ["fe80::/10", *(["2001:db8:1::/64"] if self.ip6 else [])]
        server = 67 if packet.version == 4 else 547
        if packet.outgoing and packet.protocol == UDP and packet.local_port == server:
            return False
        if is_dhcp(packet) or on_the_link(packet, own, neighbours):
            return True
        if packet.local not in own:
            return False
        if not packet.outgoing:
            return any(fits(rule, packet) for rule in self.ingress) or works_both_ways(
                self.egress, packet
            )
        if packet.protocol in NAMES and packet.remote_port == 53:
            return True
        families = {
            ipaddress.ip_network(cidr, strict=False).version
            for rule in self.egress
            for cidr in rule.cidrs
        }
        if packet.version not in families:
            return True
        return any(fits(rule, packet) for rule in self.egress) or works_both_ways(
            self.ingress, packet
        )


@st.composite
def group_rules(draw: st.DrawFn) -> GroupRule:
    protocol = draw(st.sampled_from(["tcp", "udp", "icmp", "all", str(GRE)]))
    first, last = -1, -1
    if protocol in NAMES.values():
        first, last = sorted(draw(st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS))))
    cidrs = draw(st.lists(st.sampled_from(CIDRS), min_size=1, max_size=4))
    return GroupRule(protocol, first, last, tuple(cidrs))


GROUPS = st.builds(
    Group,
    st.lists(group_rules(), max_size=5),
    st.lists(group_rules(), max_size=4),
    st.sampled_from([(), (SECOND,)]),
    st.sampled_from([None, IP6]),
)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    local = draw(st.sampled_from(LOCALS))
    version = ipaddress.ip_address(local).version
    same = [text for text in REMOTES if ipaddress.ip_address(text).version == version]
    protocols = [TCP, UDP, GRE, ICMP if version == 4 else ICMP6]
    port = st.sampled_from(PORTS)
    return Packet(
        draw(st.booleans()),
        draw(st.sampled_from(protocols)),
        local,
        draw(st.sampled_from(same)),
        draw(port),
        draw(port),
    )


def acl(weighed: WeighedRule) -> ExtendedAcl:
    """Return a rule as the switch takes it."""

    def network(text: str) -> Network | None:
        return None if text == "ANY" else Network.parse(text)

    def ports(text: str) -> PortRange | None:
        first, _, last = text.partition("-")
        return None if text == "ANY" else PortRange(int(first), int(last or first))

    rule = weighed.rule
    numbers = {"ANY": None, "TCP": TCP, "UDP": UDP}
    return ExtendedAcl(
        f"{weighed.weight}",
        Direction(rule.direction),
        AclAction(rule.action),
        weighed.weight,
        network(rule.local),
        network(rule.remote),
        ports(rule.local_ports),
        ports(rule.remote_ports),
        numbers[rule.protocol] if rule.protocol in numbers else int(rule.protocol),
        rule.stateful,
    )


class Wire:
    """A switch with the VM's port on it and a cable that leads away."""

    def __init__(self, group: Group) -> None:
        wanted = rules_of_group(group.guest(), group.ingress, group.egress, RuleMarker(17, 5))
        rules = changes((), wanted).add
        pairs = {(each.weight, each.rule.direction) for each in rules}
        assert len(pairs) == len(rules) == len(wanted)
        self.switch = EthernetSwitch(64)
        self.switch.plug("vm", PortSettings(VM, extended_acls=tuple(acl(each) for each in rules)))
        self.switch.plug("cable", PortSettings(PEER, PortKind.UPLINK))

    def passes(self, packet: Packet, now: float = 0.0) -> bool:
        port = "vm" if packet.outgoing else "cable"
        return bool(self.switch.forward(packet.frame(), port, now))


SSH_AND_PING = Group(
    [GroupRule("tcp", 22, 22, ("10.1.1.0/24",)), GroupRule("icmp", -1, -1, ("10.1.1.8/32",))],
    [GroupRule("all", 0, 0, ("10.1.2.0/24",))],
    (),
    IP6,
)


@settings(max_examples=150, deadline=None)
@given(GROUPS, st.lists(packets(), min_size=5, max_size=25))
@example(SSH_AND_PING, [Packet(False, TCP, IP, "10.1.2.1", 22, 80)])
@example(SSH_AND_PING, [Packet(True, GRE, IP, "10.1.1.8", 22, 80)])
def test_the_switch_decides_as_the_rules_read(group: Group, some: list[Packet]) -> None:
    wire = Wire(group)
    for packet in some:
        fresh = Wire(group) if packet.protocol in NAMES else wire
        assert fresh.passes(packet) == group.allows(packet), (packet, group)


@settings(max_examples=100, deadline=None)
@given(GROUPS, packets())
def test_answers_pass_and_only_as_long_as_the_flow_is_not_idle(
    group: Group, packet: Packet
) -> None:
    assume(packet.protocol in NAMES and not is_dhcp(packet))
    wire = Wire(group)
    allowed = wire.passes(packet)
    assert allowed == group.allows(packet)
    if allowed:
        assert wire.passes(packet.reply(), 200.0)
        assert wire.passes(packet.reply(), 99_999.0) == group.allows(packet.reply())
    else:
        assert wire.passes(packet.reply(), 1.0) == group.allows(packet.reply())
