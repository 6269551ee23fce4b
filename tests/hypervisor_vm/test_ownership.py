"""The mark in a VM's Notes: read back exactly, and not found where it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.hypervisor.ownership import Ownership, is_instance_name, read_ownership

MARK = Ownership("i-2-17-VM", 17, "8b030b6a-0243-440a-8cc5-45d08815ca11")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,40}", fullmatch=True)


@given(names, st.integers(0, 2**63 - 1), st.uuids(), st.text(), st.text())
def test_a_mark_is_read_back_whatever_stands_around_it(
    name: str, number: int, uuid: object, before: str, after: str
) -> None:
    mark = Ownership(name, number, str(uuid))
    assert read_ownership(mark.note) == mark
    assert read_ownership(f"{before}\r\n{mark.note}\r\n{after}") == mark


@pytest.mark.parametrize(
    "notes",
    [
        None,
        "",
        "CloudStack",
        "CloudStack creating VM, do not edit",  # the C# agent's kind of note
        MARK.note.replace("keep this line", "keep"),
        "x" + MARK.note,
        MARK.note + "x",
        MARK.note.replace("id=17", "id=seventeen"),
    ],
)
def test_other_notes_are_no_mark(notes: str | None) -> None:
    assert read_ownership(notes) is None


def test_two_different_marks_are_none() -> None:
    other = Ownership("i-2-18-VM", 18, "00000000-0243-440a-8cc5-45d08815ca11")
    assert read_ownership(f"{MARK.note}\n{other.note}") is None
    assert read_ownership(f"{MARK.note}\n{MARK.note}") == MARK


@given(st.text(max_size=200))
def test_any_text_is_a_mark_or_not(text: str) -> None:
    assert read_ownership(text) is None


@pytest.mark.parametrize(
    "name",
    ["", "i-2-3-VM' OR ElementName LIKE '%", "a b", "x\n", "-x", "ü", "a" * 101, "a\\b", 'a"b'],
)
def test_what_no_instance_is_called(name: str) -> None:
    assert not is_instance_name(name)
    with pytest.raises(ValueError, match="instance name"):
        Ownership(name, 1, "uuid")


def test_the_uuid_tells_two_vms_of_one_name_apart() -> None:
    assert MARK.same_machine(Ownership("i-2-17-VM", 17, MARK.uuid.upper()))
    assert not MARK.same_machine(Ownership("i-2-17-VM", 17, "other"))
    assert not MARK.same_machine(None)
