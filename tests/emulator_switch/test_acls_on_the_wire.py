"""ACLs: random rules and random packets against a direct reading of the rules."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator_switch.packets import (
    ICMP,
    ICMP6,
    MAC_A,
    MAC_B,
    TCP,
    UDP,
    arp_frame,
    ethernet,
    ip_frame,
)

from cloudstack_hyperv.emulator.switch import (
    AclAction,
    AclKind,
    Direction,
    Drop,
    EthernetSwitch,
    ExtendedAcl,
    Network,
    PortAcl,
    PortRange,
    PortSettings,
)

IN, OUT = Direction
ALLOW, DENY, METER = AclAction
FOUR = ("10.0.0.1", "10.0.0.2", "10.0.1.1", "192.0.2.7")
SIX = ("2001:db8::1", "2001:db8::2", "2001:db8:1::1")
NETWORKS_4 = ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.1/32", "192.0.2.0/24")
NETWORKS_6 = ("::/0", "2001:db8::/32", "2001:db8::/64", "2001:db8::1/128")
PORTS = (22, 80, 81, 443)


@dataclass(frozen=True)
class Said:
    """A packet in words, as the oracle reads it."""

    source: str
    destination: str
    protocol: int
    ports: tuple[int, int]

    def frame(self, src: bytes, dst: bytes) -> bytes:
        return ip_frame(src, dst, self.source, self.destination, self.protocol, self.ports)

    def answer(self) -> Said:
        return Said(self.destination, self.source, self.protocol, self.ports[::-1])


def said() -> st.SearchStrategy[Said]:
    ports = st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS))
    four, six = st.sampled_from(FOUR), st.sampled_from(SIX)
    return st.one_of(
        st.builds(Said, four, four, st.sampled_from((TCP, UDP, ICMP)), ports),
        st.builds(Said, six, six, st.sampled_from((TCP, UDP, ICMP6)), ports),
    )


@dataclass(frozen=True)
class Rule:
    """An extended ACL in words."""

    direction: Direction
    action: AclAction
    local: str | None
    remote: str | None
    local_ports: tuple[int, int] | None
    remote_ports: tuple[int, int] | None
    protocol: int | None
    stateful: bool

    def acl(self, weight: int) -> ExtendedAcl:
        def ports(ends: tuple[int, int] | None) -> PortRange | None:
            return PortRange(*ends) if ends else None

        return ExtendedAcl(
            f"rule {weight}",
            self.direction,
            self.action,
            weight,
            Network.parse(self.local) if self.local else None,
            Network.parse(self.remote) if self.remote else None,
            ports(self.local_ports),
            ports(self.remote_ports),
            self.protocol,
            self.stateful and self.action is ALLOW,
            idle_timeout=10.0,
        )

    def fits(self, direction: Direction, packet: Said) -> bool:
        local, remote = packet.source, packet.destination
        local_port, remote_port = packet.ports
        if direction is IN:
            local, remote, local_port, remote_port = remote, local, remote_port, local_port
        with_ports = packet.protocol in (TCP, UDP)
        return (
            self.direction is direction
            and (self.protocol is None or self.protocol == packet.protocol)
            and inside(local, self.local)
            and inside(remote, self.remote)
            and among(local_port if with_ports else None, self.local_ports)
            and among(remote_port if with_ports else None, self.remote_ports)
        )


def inside(address: str, network: str | None) -> bool:
    return network is None or ipaddress.ip_address(address) in ipaddress.ip_network(network)


def among(port: int | None, ports: tuple[int, int] | None) -> bool:
    return ports is None or (port is not None and ports[0] <= port <= ports[1])


def rules() -> st.SearchStrategy[Rule]:
    some_ports = st.one_of(st.none(), st.sampled_from(((80, 80), (80, 443), (1, 79))))

    def of(networks: tuple[str, ...], protocols: tuple[int | None, ...]) -> st.SearchStrategy[Rule]:
        network = st.one_of(st.none(), st.sampled_from(networks))
        return st.builds(
            Rule,
            st.sampled_from(Direction),
            st.sampled_from((ALLOW, DENY)),
            network,
            network,
            some_ports,
            some_ports,
            st.sampled_from(protocols),
            st.booleans(),
        )

    return st.one_of(
        of(NETWORKS_4, (None, TCP, UDP, ICMP)), of(NETWORKS_6, (None, TCP, UDP, ICMP6))
    )


@dataclass
class Event:
    after: float
    direction: Direction
    packet: Said


def verdict(ordered: list[Rule], history: list[tuple[float, Event, bool]], now: float,
            event: Event) -> bool:  # fmt: skip
    """Read the rules directly: is the packet of an open flow, else what says the first that fits?

    A flow is a chain of passed packets between the same ends, none later than ten seconds after
    the one before, that begins with one that a stateful rule let through.
    """
    alive: float | None = None
    for then, old, passed in history:
        mine = event.packet if old.direction is event.direction else event.packet.answer()
        if not passed or old.packet != mine:
            continue
        if alive is not None and then - alive <= 10.0:
            alive = then
            continue
        first = next((rule for rule in ordered if rule.fits(old.direction, old.packet)), None)
        opened = (
            first is not None
            and first.stateful
            and first.action is ALLOW
            and old.packet.protocol in (TCP, UDP)
        )
        alive = then if opened else None
    if alive is not None and now - alive <= 10.0:
        return True
    for rule in ordered:
        if rule.fits(event.direction, event.packet):
            return rule.action is ALLOW
    return True


events = st.lists(
    st.builds(Event, st.sampled_from((0.0, 1.0, 6.0, 10.0, 10.5)), st.sampled_from(Direction),
              said()),
    min_size=1,
    max_size=6,
)  # fmt: skip


@given(ordered=st.lists(rules(), max_size=5), events=events, echo=st.booleans())
def test_extended_acls_are_read_as_written(
    ordered: list[Rule], events: list[Event], echo: bool
) -> None:
    if echo:  # answers to what was sent: random packets seldom are
        events = [
            both
            for event in events
            for both in (event, Event(event.after, Direction(3 - event.direction),
                                      event.packet.answer()))
        ]  # fmt: skip
    switch = EthernetSwitch()
    acls = tuple(rule.acl(100 - place) for place, rule in enumerate(ordered))
    switch.plug("vm", PortSettings(MAC_A, extended_acls=tuple(reversed(acls))))
    switch.plug("peer", PortSettings(MAC_B))
    now = 0.0
    history: list[tuple[float, Event, bool]] = []
    for event in events:
        now += event.after
        if event.direction is OUT:
            out = switch.forward(event.packet.frame(MAC_A, MAC_B), "vm", now)
        else:
            out = switch.forward(event.packet.frame(MAC_B, MAC_A), "peer", now)
        expected = verdict(ordered, history, now, event)
        assert bool(out) == expected
        history.append((now, event, expected))


def test_exactly_one_port_is_open_and_answers_come_back() -> None:
    """A security group as an agent writes it: one allow above a closed default."""
    closed = [
        ExtendedAcl(f"{d}{n}", d, DENY, 1 + 2 * n + (d is OUT), Network.parse(n_text), None)
        for d in Direction
        for n, n_text in enumerate(("0.0.0.0/0", "::/0"))
    ]
    web = ExtendedAcl(
        "web", IN, ALLOW, 65000, None, Network.parse("10.0.0.0/24"), PortRange(80, 80), None, TCP,
        stateful=True, idle_timeout=30,
    )  # fmt: skip
    switch = EthernetSwitch()
    switch.plug("vm", PortSettings(MAC_A, extended_acls=(*closed, web)))
    switch.plug("peer", PortSettings(MAC_B))

    def peer_sends(port: int, protocol: int = TCP, source: str = "10.0.0.9") -> bool:
        packet = Said(source, "10.0.0.1", protocol, (5000, port))
        return bool(switch.forward(packet.frame(MAC_B, MAC_A), "peer", 0.0))

    def answers(now: float, port: int = 80) -> bool:
        packet = Said("10.0.0.1", "10.0.0.9", TCP, (port, 5000))
        return bool(switch.forward(packet.frame(MAC_A, MAC_B), "vm", now))

    assert not answers(0.0), "nobody asked yet"
    frame = Said("10.0.0.9", "10.0.0.1", TCP, (5000, 0)).frame(MAC_B, MAC_A)
    to_port = [frame[:36] + port.to_bytes(2, "big") + frame[38:] for port in range(65536)]
    assert [n for n, f in enumerate(to_port) if switch.forward(f, "peer", 0.0)] == [80]
    assert not any(peer_sends(port, UDP) for port in range(100))
    assert not peer_sends(80, source="10.0.1.9")
    assert answers(30.0)
    assert answers(60.0), "the answer before kept the flow alive"
    assert not answers(90.5), "idle for longer than the timeout"
    assert not answers(0.0, port=81)
    assert switch.forward(arp_frame(MAC_B, "10.0.0.9", "10.0.0.1"), "peer", 0.0), "ARP is not IP"
    assert switch.counters("vm").dropped_incoming[Drop.EXTENDED_ACL] > 65535


def test_a_flow_ends_with_its_rule() -> None:
    rule = ExtendedAcl("in", IN, ALLOW, 9, protocol=TCP, stateful=True)
    closed = (ExtendedAcl("no in", IN, DENY, 1), ExtendedAcl("no out", OUT, DENY, 1))
    switch = EthernetSwitch()
    switch.plug("vm", PortSettings(MAC_A, extended_acls=(rule, *closed)))
    switch.plug("peer", PortSettings(MAC_B))
    packet = Said("10.0.0.9", "10.0.0.1", TCP, (5000, 22))
    assert switch.forward(packet.frame(MAC_B, MAC_A), "peer", 0.0)
    assert switch.forward(packet.answer().frame(MAC_A, MAC_B), "vm", 0.0)
    switch.configure("vm", PortSettings(MAC_A, extended_acls=(*closed, rule)))
    assert switch.forward(packet.answer().frame(MAC_A, MAC_B), "vm", 0.0), "another order only"
    switch.configure("vm", PortSettings(MAC_A, extended_acls=closed))
    assert not switch.forward(packet.answer().frame(MAC_A, MAC_B), "vm", 0.0)
    assert not switch.forward(packet.frame(MAC_B, MAC_A), "peer", 0.0)


def test_ip_that_cannot_be_read_does_not_pass_rules() -> None:
    switch = EthernetSwitch()
    rule = ExtendedAcl("any", IN, ALLOW, 9)
    switch.plug("vm", PortSettings(MAC_A, extended_acls=(rule,)))
    switch.plug("peer", PortSettings(MAC_B))
    for kind in (0x0800, 0x86DD):
        broken = ethernet(MAC_B, MAC_A, b"\x45\x00", kind=kind)
        assert switch.forward(broken, "peer", 0.0) == []
    assert switch.counters("vm").dropped_incoming == {Drop.MALFORMED: 2}


def test_ports_behind_extension_headers_are_found() -> None:
    switch = EthernetSwitch()
    rule = ExtendedAcl("web", IN, DENY, 9, local_ports=PortRange(80, 80), protocol=UDP)
    switch.plug("vm", PortSettings(MAC_A, extended_acls=(rule,)))
    switch.plug("peer", PortSettings(MAC_B))
    plain = Said(*SIX[:2], UDP, (1, 80)).frame(MAC_B, MAC_A)
    udp = plain[54:]
    options = bytes([UDP, 0, 1, 4, 0, 0, 0, 0])
    hidden = plain[:20] + bytes([60]) + plain[21:54] + options + udp
    assert switch.forward(hidden, "peer", 0.0) == []
    fragment = plain[:20] + bytes([44]) + plain[21:54] + bytes([UDP, 0, 0, 8, 0, 0, 0, 1]) + udp
    assert len(switch.forward(fragment, "peer", 0.0)) == 1, "a later fragment has no ports"


# Simple ACLs -------------------------------------------------------------------------------


def simple_acls() -> st.SearchStrategy[PortAcl]:
    def of(kind: AclKind, networks: list[Network]) -> st.SearchStrategy[PortAcl]:
        network = st.one_of(st.none(), st.sampled_from(networks))
        return st.builds(
            PortAcl,
            st.uuids().map(str),
            st.sampled_from(Direction),
            st.sampled_from(AclAction),
            st.just(kind),
            network,
            network,
        )

    macs = [Network.of_mac(MAC_A), Network.of_mac(MAC_B), Network.of_mac(MAC_A, 24)]
    return st.one_of(
        of(AclKind.IPV4, [Network.parse(text) for text in NETWORKS_4]),
        of(AclKind.IPV6, [Network.parse(text) for text in NETWORKS_6]),
        of(AclKind.MAC, macs),
    )


def best(acls: list[PortAcl], kind: AclKind, local: int, remote: int) -> list[PortAcl]:
    """Return the rules of a kind with the longest prefixes that fit."""
    fitting = []
    for acl in acls:
        ends = ((acl.local, local), (acl.remote, remote))
        if acl.kind is kind and all(
            network is None
            or f"{address:0{network.bits}b}"[: network.prefix]
            == f"{network.value:0{network.bits}b}"[: network.prefix]
            for network, address in ends
        ):
            fitting.append((sum(n.prefix for n, _ in ends if n), acl))
    longest = max((length for length, _ in fitting), default=0)
    return [acl for length, acl in fitting if length == longest]


@given(acls=st.lists(simple_acls(), max_size=6, unique_by=lambda acl: acl.key), packet=said(),
       direction=st.sampled_from(Direction))  # fmt: skip
def test_simple_acls_take_the_longest_prefix(
    acls: list[PortAcl], packet: Said, direction: Direction
) -> None:
    switch = EthernetSwitch()
    switch.plug("vm", PortSettings(MAC_A, acls=tuple(acls)))
    switch.plug("peer", PortSettings(MAC_B))
    frame = packet.frame(MAC_A, MAC_B) if direction is OUT else packet.frame(MAC_B, MAC_A)
    out = switch.forward(frame, "vm" if direction is OUT else "peer", 0.0)

    source, destination = (
        int(ipaddress.ip_address(packet.source)), int(ipaddress.ip_address(packet.destination)),
    )  # fmt: skip
    addresses = (source, destination) if direction is OUT else (destination, source)
    family = AclKind.IPV6 if ":" in packet.source else AclKind.IPV4
    macs = (int.from_bytes(MAC_A, "big"), int.from_bytes(MAC_B, "big"))
    mine = [acl for acl in acls if acl.direction is direction]
    allowed, metered = True, set()
    for kind, (local, remote) in ((family, addresses), (AclKind.MAC, macs)):
        judges = [acl for acl in mine if acl.action is not METER]
        if any(acl.action is DENY for acl in best(judges, kind, local, remote)):
            allowed = False
        meters = [acl for acl in mine if acl.action is METER]
        metered |= {acl.key for acl in best(meters, kind, local, remote)[:1]}
    assert bool(out) == allowed
    assert switch.counters("vm").metered == (dict.fromkeys(metered, len(frame)) if allowed else {})


@pytest.mark.parametrize(("remote", "key"), [("10.0.0.2", "near"), ("192.0.2.7", "far")])
def test_a_meter_counts_bytes_of_its_networks_only(remote: str, key: str) -> None:
    meters = (
        PortAcl("far", IN, METER, AclKind.IPV4, None, Network.parse("0.0.0.0/0")),
        PortAcl("near", IN, METER, AclKind.IPV4, None, Network.parse("10.0.0.0/8")),
    )
    switch = EthernetSwitch()
    switch.plug("vm", PortSettings(MAC_A, acls=meters))
    switch.plug("peer", PortSettings(MAC_B))
    frame = Said(remote, "10.0.0.1", UDP, (1, 2)).frame(MAC_B, MAC_A)
    for _ in range(3):
        switch.forward(frame, "peer", 0.0)
    assert switch.counters("vm").metered == {key: 3 * len(frame)}


def test_at_a_tie_the_denying_rule_wins() -> None:
    acls = tuple(
        PortAcl(action.name, IN, action, AclKind.IPV4, None, Network.parse("10.0.0.0/8"))
        for action in (ALLOW, DENY)
    )
    frame = Said("10.0.0.2", "10.0.0.1", UDP, (1, 2)).frame(MAC_B, MAC_A)
    for order in (acls, acls[::-1]):
        switch = EthernetSwitch()
        switch.plug("vm", PortSettings(MAC_A, acls=order))
        switch.plug("peer", PortSettings(MAC_B))
        assert switch.forward(frame, "peer", 0.0) == []
