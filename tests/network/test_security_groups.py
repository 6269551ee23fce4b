"""CloudStack's rules as rules of a port: merging, limits, markers, secondary addresses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstack_hyperv.network.port_acls import MOST_RULES, Action, Direction, PortRule
from cloudstack_hyperv.network.security_groups import (
    GroupRule,
    GuestAddresses,
    RuleMarker,
    UnusableRules,
    denied_rules,
    link_local,
    rules_of_group,
    rules_with_address,
    rules_without_address,
)

GUEST = GuestAddresses("02:00:51:2c:00:00", "10.1.1.5")
MARKER = RuleMarker(17, 5, "0cc175b9")


def allowed(*rules: GroupRule, egress: bool = False) -> list[tuple[str, str, str]]:
    """What a group adds to an empty one: peers, protocols, ports."""
    group, none = list(rules), list[GroupRule]()
    sides = (none, group) if egress else (group, none)
    added = rules_of_group(GUEST, *sides, MARKER) - rules_of_group(GUEST, [], [], MARKER)
    return sorted(
        (rule.remote, rule.protocol, rule.remote_ports if egress else rule.local_ports)
        for rule in added
    )


def test_cidrs_of_rules_with_the_same_ports_are_merged() -> None:
    one = GroupRule("tcp", 80, 80, ("10.0.0.0/25", "10.0.3.0/24", "10.0.0.7/32"))
    two = GroupRule("6", 80, 80, ("10.0.0.128/25",))
    assert allowed(one, two) == [("10.0.0.0/24", "TCP", "80"), ("10.0.3.0/24", "TCP", "80")]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (GroupRule("tcp", 1, 65535, ("10.0.0.1",)), [("10.0.0.1/32", "TCP", "1-65535")]),
        (GroupRule("UDP", 0, 65535, ("10.0.0.9/8",)), [("10.0.0.0/8", "UDP", "ANY")]),
        (GroupRule("tcp", -1, -1, ("10.0.0.0/8",)), [("10.0.0.0/8", "TCP", "ANY")]),
        (GroupRule("icmp", 8, 0, ("10.0.0.0/8",)), [("10.0.0.0/8", "1", "ANY")] * 2),
        (GroupRule("gre", 0, 0, ("10.0.0.0/8",)), [("10.0.0.0/8", "47", "ANY")] * 2),
        (GroupRule("tcp", 22, 22, ()), []),
    ],
)
def test_protocols_and_ports(rule: GroupRule, expected: list[tuple[str, str, str]]) -> None:
    assert allowed(rule) == expected


def test_icmp_for_ipv6_is_icmpv6() -> None:
    assert (
        allowed(GroupRule("icmp", -1, -1, ("2001:db8::/32",)))
        == [("2001:db8::/32", "58", "ANY")] * 2
    )


def test_an_egress_rule_of_an_empty_group_closes_both_families() -> None:
    rules = rules_of_group(GUEST, [], [GroupRule("tcp", 1, 2, ())], MARKER)
    out = [r for r in rules if r.direction is Direction.OUTGOING and r.action is Action.ALLOW]
    assert not [r for r in out if r.protocol == "TCP" and r.remote_ports != "53"]


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        (GroupRule("tcp", 5, 4, ("10.0.0.0/8",)), "5 to 4"),
        (GroupRule("tcp", 0, 70000, ("10.0.0.0/8",)), "70000"),
        (GroupRule("", 0, 0, ("10.0.0.0/8",)), "unknown"),
        (GroupRule("300", 0, 0, ("10.0.0.0/8",)), "300"),
        (GroupRule("tcp", 1, 1, ("everywhere",)), "everywhere"),
    ],
)
def test_rules_that_are_none(rule: GroupRule, word: str) -> None:
    with pytest.raises(UnusableRules, match=word):
        rules_of_group(GUEST, [rule], [], MARKER)


def test_addresses_that_are_none() -> None:
    with pytest.raises(UnusableRules, match="nowhere"):
        rules_of_group(GuestAddresses(GUEST.mac, "nowhere"), [], [], MARKER)


def test_more_rules_than_a_port_should_have() -> None:
    cidrs = tuple(f"10.{high}.{low}.1/32" for high in range(5) for low in range(0, 256, 2))
    with pytest.raises(UnusableRules, match=f"more than {MOST_RULES}"):
        rules_of_group(GUEST, [GroupRule("tcp", 1, 1, cidrs)], [], MARKER)


def test_sixteen_rules_deny_what_nothing_allows() -> None:
    assert len(denied_rules()) == 16


def test_the_link_local_address_of_a_mac_address() -> None:
    """The example of RFC 4291, appendix A: the universal/local bit is turned."""
    assert str(link_local("34:56:78:9A:BC:DE")) == "fe80::3656:78ff:fe9a:bcde"


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    st.text("0123456789abcdef", max_size=32),
)
def test_a_marker_fits_into_a_name_and_is_read_again(vm: int, sequence: int, checksum: str) -> None:
    marker = RuleMarker(vm, sequence, checksum[:8])
    assert len(marker.name) <= 64
    assert RuleMarker.read([*denied_rules(), marker.rule]) == marker


def test_the_newest_of_two_markers_counts() -> None:
    """Between adding the new one and removing the old one a port has both."""
    assert RuleMarker.read([RuleMarker(17, 5).rule, RuleMarker(17, 6).rule]) == RuleMarker(17, 6)
    assert RuleMarker.read(denied_rules()) is None


RULES = st.lists(
    st.builds(
        GroupRule,
        st.sampled_from(["tcp", "udp", "icmp", "all", "47"]),
        st.integers(1, 3),
        st.integers(3, 5),
        st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.1/32", "::/0"]), min_size=1).map(tuple),
    ),
    max_size=3,
)


@settings(max_examples=60)
@given(RULES, RULES, st.sampled_from(["10.1.1.99", "2001:db8:1::99", "10.1.1.5"]))
def test_a_secondary_address_later_is_the_same_as_at_once(
    ingress: list[GroupRule], egress: list[GroupRule], address: str
) -> None:
    guest = GuestAddresses(GUEST.mac, "10.1.1.5", "2001:db8:1::5")
    before = rules_of_group(guest, ingress, egress, MARKER)
    later = rules_with_address(before, address)
    at_once = GuestAddresses(guest.mac, guest.ip, guest.ip6, (address,))
    assert later == rules_of_group(at_once, ingress, egress, MARKER)
    assert rules_with_address(later, address) == later
    if address != "10.1.1.5":
        assert rules_without_address(later, address) == before


def test_a_secondary_address_needs_rules_to_go_by() -> None:
    with pytest.raises(UnusableRules, match="no IPv4 rules"):
        rules_with_address([PortRule(Direction.INCOMING, Action.DENY)], "10.1.1.99")
