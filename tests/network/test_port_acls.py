"""Changing a port's rules: the smallest difference, unique weights, others' rules untouched."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstack_hyperv.network.port_acls import (
    MARK,
    Action,
    Band,
    Direction,
    NoWeightLeft,
    PortRule,
    WeighedRule,
    changes,
    is_ours,
)

IN, OUT = Direction.INCOMING, Direction.OUTGOING

RULES = st.builds(
    PortRule,
    st.sampled_from(Direction),
    st.sampled_from(Action),
    st.sampled_from(["ANY", "10.1.1.5"]),
    st.sampled_from(["ANY", "10.0.0.0/8", "10.1.0.0/16"]),
    st.sampled_from(["ANY", "TCP", "1"]),
    st.sampled_from(["ANY", "22"]),
    name=st.sampled_from([MARK, f"{MARK} 17 5", "operator's"]),
)
OURS = RULES.filter(is_ours)


def carried_out(present: list[WeighedRule], wanted: frozenset[PortRule]) -> list[WeighedRule]:
    difference = changes(present, wanted)
    gone = set(difference.remove)
    kept = [row for index, row in enumerate(present) if index not in gone]
    beside = [*present, *difference.add]
    pairs = [(row.weight, row.rule.direction) for row in beside]
    assert len(set(pairs)) == len(pairs), "added while the old ones are still there"
    return [*kept, *difference.add]


@settings(max_examples=200)
@given(st.lists(st.frozensets(OURS, max_size=30), min_size=1, max_size=4), st.frozensets(RULES))
def test_a_port_gets_what_is_wanted_whatever_it_had(
    states: list[frozenset[PortRule]], others: frozenset[PortRule]
) -> None:
    theirs = [rule for rule in others if not is_ours(rule)]
    port = [WeighedRule(65499 - number, rule) for number, rule in enumerate(theirs)]
    for wanted in states:
        before = set(port)
        port = carried_out(port, wanted)
        assert {row.rule for row in port if is_ours(row.rule)} == wanted
        assert [row.rule for row in port if not is_ours(row.rule)] == theirs
        assert all(Band.of(row.weight) is row.rule.band for row in port if is_ours(row.rule))
        stayed = {row for row in before if row.rule in wanted}
        assert stayed <= set(port), "what stays is not touched"
        assert not changes(port, wanted)


def test_a_rule_twice_on_a_port_is_there_once_afterwards() -> None:
    rule = PortRule(IN, Action.ALLOW, protocol="TCP")
    difference = changes([WeighedRule(65000, rule), WeighedRule(64000, rule)], {rule})
    assert (difference.add, difference.remove) == ((), (1,))


def test_a_rule_at_a_weight_of_another_band_is_set_anew() -> None:
    rule = PortRule(IN, Action.ALLOW, protocol="TCP")
    difference = changes([WeighedRule(3, rule)], {rule})
    assert [row.weight for row in difference.add] == [65499]
    assert difference.remove == (0,)


def test_denying_rules_are_added_before_allowing_ones() -> None:
    allow, deny = PortRule(IN, Action.ALLOW), PortRule(OUT, Action.DENY)
    assert [row.rule for row in changes([], {allow, deny}).add] == [deny, allow]


def test_a_full_band_is_said() -> None:
    wanted = {
        PortRule(IN, Action.DENY, local=f"10.0.0.{number}", local_ports="67")
        for number in range(40)
    }
    with pytest.raises(NoWeightLeft, match="incoming"):
        changes([], wanted)


def test_every_weight_but_zero_is_of_one_band() -> None:
    bands = [Band.of(weight) for weight in range(65536)]
    assert bands[0] is None
    assert None not in bands[1:]
    for band in Band:
        assert list(band.weights()) == [w for w in range(65535, 0, -1) if bands[w] is band]
