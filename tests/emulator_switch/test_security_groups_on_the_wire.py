"""Security groups, from CloudStack's rules to frames: the agent's port rules in the host's switch.

The oracle reads CloudStack's rules as its KVM script (security_group.py) does, and knows nothing of
port rules, weights or flows.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.emulator_switch.packets import ICMP, MAC_A, MAC_B, TCP, UDP, ip_frame

from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host.port_settings import port_settings
from cloudstack_hyperv.emulator.switch import EthernetSwitch, PortKind, PortSettings
from cloudstack_hyperv.hypervisor.rule_settings import rule_data
from cloudstack_hyperv.network.port_acls import changes
from cloudstack_hyperv.network.security_groups import (
    GroupRule,
    GuestAddresses,
    RuleMarker,
    rules_of_group,
)

OWN = {4: ("10.1.1.5", "10.1.1.6"), 6: ("2001:db8:1::5",)}
"""The VM's addresses, a secondary one among them."""
GUEST = GuestAddresses(MAC_A.hex(":"), OWN[4][0], OWN[6][0], OWN[4][1:])
PEERS = {4: ("10.1.1.9", "192.0.2.1", "198.51.100.7"), 6: ("2001:db8:2::9", "2001:db8:3::1")}
FOREIGN = {4: "10.1.1.77", 6: "2001:db8:1::77"}
CIDRS = (
    "0.0.0.0/0", "10.1.1.0/24", "192.0.2.1/32", "198.51.0.0/16",
    "::/0", "2001:db8:2::/64", "2001:db8:3::1/128",
)  # fmt: skip
PORTS = (22, 53, 67, 68, 80, 443, 5000)
NAMES = {TCP: "tcp", UDP: "udp", ICMP: "icmp"}

cidrs = st.lists(st.sampled_from(CIDRS), min_size=1, max_size=3, unique=True).map(tuple)
group_rules = st.lists(
    st.one_of(
        st.builds(
            lambda name, ends, allowed: GroupRule(name, min(ends), max(ends), allowed),
            st.sampled_from(("tcp", "udp")),
            st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)),
            cidrs,
        ),
        st.builds(GroupRule, st.just("icmp"), st.just(-1), st.just(-1), cidrs),
        st.builds(GroupRule, st.just("all"), st.just(0), st.just(0), cidrs),
    ),
    max_size=3,
)


def fits(rules: list[GroupRule], peer: str, protocol: int, port: int) -> bool:
    """Whether a rule of CloudStack's allows a new packet to this port."""
    address = ipaddress.ip_address(peer)
    return any(
        any(address in ipaddress.ip_network(cidr) for cidr in rule.cidrs)
        and (
            rule.protocol == "all"
            or (
                (rule.protocol == NAMES[protocol])
                and (protocol == ICMP or rule.first <= port <= rule.last)
            )
        )
        for rule in rules
    )


def may_come_in(
    ingress: list[GroupRule], egress: list[GroupRule], peer: str, protocol: int,
    ports: tuple[int, int],
) -> bool:  # fmt: skip
    """Read the rules for a new packet to the VM; `ports` are source and destination."""
    if protocol == UDP and ports == (67, 68) and ":" not in peer:
        return True  # a DHCP server answers
    if fits(ingress, peer, protocol, ports[1]):
        return True
    # ICMP has no flows on a Hyper-V port: what may go out may come in.
    return protocol == ICMP and fits(egress, peer, protocol, 0)


def may_go_out(
    ingress: list[GroupRule], egress: list[GroupRule], source: str, peer: str, protocol: int,
    ports: tuple[int, int],
) -> bool:  # fmt: skip
    """Read the rules for a new packet from the VM."""
    version = ipaddress.ip_address(peer).version
    if protocol == UDP and ports[0] == 67 and version == 4:
        return False  # it may not act as DHCP server
    if protocol == UDP and ports == (68, 67) and version == 4:
        return True  # but it may ask one, under whatever address
    if source not in OWN[version]:
        return False
    if protocol != ICMP and ports[1] == 53:
        return True
    if not any(ipaddress.ip_network(c).version == version for r in egress for c in r.cidrs):
        return True
    if fits(egress, peer, protocol, ports[1]):
        return True
    return protocol == ICMP and fits(ingress, peer, protocol, 0)


def guarded_port(ingress: list[GroupRule], egress: list[GroupRule]) -> PortSettings:
    """Return the VM's port as the agent sets it, by way of the setting data that it sends."""
    wanted = rules_of_group(GUEST, ingress, egress, RuleMarker(7, 1, "abc"))
    features = []
    for number, weighed in enumerate(changes([], wanted).add):
        data = rule_data(weighed)
        values: dict[str, Any] = {"InstanceID": str(number), **dict(data.properties)}
        features.append(Row(data.class_name, values))
    return port_settings(PortKind.MACHINE, MAC_A.hex(), features)


def switch_with(port: PortSettings) -> EthernetSwitch:
    """Return a switch that has seen no packet yet."""
    switch = EthernetSwitch()
    switch.plug("vm", port)
    switch.plug("peer", PortSettings(MAC_B))
    return switch


@st.composite
def packets(draw: st.DrawFn) -> tuple[str, str, int, tuple[int, int]]:
    """Draw an address of the VM (or one that is not its own), a peer, a protocol and ports."""
    version = draw(st.sampled_from((4, 6)))
    mine = draw(st.sampled_from((*OWN[version], FOREIGN[version])))
    protocol = draw(st.sampled_from((TCP, UDP, ICMP) if version == 4 else (TCP, UDP)))
    ports = draw(st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)))
    return mine, draw(st.sampled_from(PEERS[version])), protocol, ports


@given(ingress=group_rules, egress=group_rules, sent=st.lists(packets(), min_size=1, max_size=8))
def test_what_cloudstack_allows_and_nothing_else_passes(
    ingress: list[GroupRule],
    egress: list[GroupRule],
    sent: list[tuple[str, str, int, tuple[int, int]]],
) -> None:
    port = guarded_port(ingress, egress)
    for mine, peer, protocol, ports in sent:
        inward = ip_frame(MAC_B, MAC_A, peer, mine, protocol, ports)
        passed = bool(switch_with(port).forward(inward, "peer", 0.0))
        own = mine in (*OWN[4], *OWN[6]) or (protocol == UDP and ports == (67, 68))
        allowed = may_come_in(ingress, egress, peer, protocol, ports)
        assert passed == (own and allowed), ("in", mine, peer, protocol, ports)

        outward = ip_frame(MAC_A, MAC_B, mine, peer, protocol, ports)
        passed = bool(switch_with(port).forward(outward, "vm", 0.0))
        allowed = may_go_out(ingress, egress, mine, peer, protocol, ports)
        assert passed == allowed, ("out", mine, peer, protocol, ports)


@given(ingress=group_rules, egress=group_rules, packet=packets(), inward=st.booleans())
def test_answers_to_what_passed_pass(
    ingress: list[GroupRule],
    egress: list[GroupRule],
    packet: tuple[str, str, int, tuple[int, int]],
    inward: bool,
) -> None:
    mine, peer, protocol, ports = packet
    switch = switch_with(guarded_port(ingress, egress))
    there = ip_frame(MAC_B, MAC_A, peer, mine, protocol, ports)
    back = ip_frame(MAC_A, MAC_B, mine, peer, protocol, ports[::-1])
    asked = switch.forward(there, "peer", 0.0) if inward else switch.forward(back, "vm", 0.0)
    answered = switch.forward(back, "vm", 1.0) if inward else switch.forward(there, "peer", 1.0)
    if asked and not answered:
        # Where the agent's own notes say that a port's rules can do less than iptables.
        assert protocol == ICMP
        assert not fits(ingress + egress, peer, ICMP, 0)
