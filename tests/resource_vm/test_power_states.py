"""From Hyper-V's states to CloudStack's three words, and the report of a whole host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import Ownership
from cloudstack_hyperv.resource.vm_state import power_state, state_report

ON, OFF, UNKNOWN = "PowerOn", "PowerOff", "PowerUnknown"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (2, ON),
        (3, OFF),
        (4, ON),  # shutting down: its address is still in use
        (6, UNKNOWN),
        (9, UNKNOWN),
        (10, ON),
        (1, UNKNOWN),
        (0, UNKNOWN),
        (5, UNKNOWN),
        (32768, UNKNOWN),
        (32769, UNKNOWN),
        (32770, ON),
        (32771, ON),
        (32773, ON),
        (32774, ON),
        (32776, UNKNOWN),
        (32777, ON),
        (32785, UNKNOWN),
    ],
)
def test_each_state(state: int, word: str) -> None:
    assert power_state(state) == word


@given(st.integers(0, 65535))
def test_only_off_is_off(state: int) -> None:
    assert (power_state(state) == OFF) == (state == 3)


def test_a_critical_vm_is_unknown_whatever_else_it_says() -> None:
    assert power_state(3, health=25) == UNKNOWN
    assert power_state(2, health=25) == UNKNOWN
    assert power_state(2, health=5) == ON


def test_other_states_are_named_by_the_host() -> None:
    assert power_state(1, other="Saving") == ON
    assert power_state(1, other="Fast Saved") == UNKNOWN
    assert power_state(1, other="Wird gespeichert") == UNKNOWN


def vm(guid: str, name: str, state: int, marked: str | None = None) -> Machine:
    mark = Ownership(marked, 1, "uuid-1") if marked else None
    return Machine(guid, name, state, mark)


def test_our_vm_is_reported_under_its_own_name_after_a_rename() -> None:
    machines = [vm("A", "i-2-3-VM (do not touch)", 2, marked="i-2-3-VM")]
    assert state_report(machines) == {"i-2-3-VM": ON}


def test_a_vm_that_is_not_ours_is_reported_too_but_ours_counts() -> None:
    theirs, ours = vm("A", "i-2-3-VM", 3), vm("B", "i-2-3-VM", 2, marked="i-2-3-VM")
    assert state_report([theirs]) == {"i-2-3-VM": OFF}
    assert state_report([theirs, ours]) == {"i-2-3-VM": ON}
    assert state_report([ours, theirs]) == {"i-2-3-VM": ON}


def test_a_copy_of_ours_that_was_renamed_does_not_count() -> None:
    original, copy = vm("A", "i-2-3-VM", 2, "i-2-3-VM"), vm("B", "copy", 3, "i-2-3-VM")
    assert state_report([copy, original]) == {"i-2-3-VM": ON}


def test_equals_that_disagree_are_unknown() -> None:
    assert state_report([vm("A", "x", 2), vm("B", "x", 3)]) == {"x": UNKNOWN}
    assert state_report([vm("A", "x", 3), vm("B", "x", 3)]) == {"x": OFF}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([2, 3, 9])), max_size=8))
def test_every_name_is_reported_once(rows: list[tuple[str, int]]) -> None:
    machines = [vm(str(number), name, state) for number, (name, state) in enumerate(rows)]
    report = state_report(machines)
    assert report.keys() == {name for name, _ in rows}
    assert set(report.values()) <= {ON, OFF, UNKNOWN}
    assert report == state_report(reversed(machines))
