"""Boot arguments in pieces that data exchange can carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.hypervisor.kvp import (
    BOOT_ARGUMENTS_KEY,
    MAX_VALUE_UNITS,
    TooLongForDataExchange,
    split_boot_arguments,
)

tokens = st.text(st.characters(blacklist_categories=("Z", "C")), min_size=1, max_size=300)


@given(st.lists(tokens, max_size=30))
def test_the_pieces_read_as_the_same_tokens_and_each_fits(words: list[str]) -> None:
    pairs = split_boot_arguments("  ".join(words))
    assert "".join(value for _, value in pairs).split() == " ".join(words).split()
    for _, value in pairs:
        assert len(value.encode("utf-16-le")) // 2 <= MAX_VALUE_UNITS
        assert len(value.encode()) < 2048
        assert value.startswith(" ")
        assert value.endswith(" ")
    assert len({key for key, _ in pairs}) == len(pairs)


def test_short_arguments_are_one_item_under_cloudstacks_key() -> None:
    assert split_boot_arguments(" type=router name=r-6-VM") == (
        (BOOT_ARGUMENTS_KEY, " type=router name=r-6-VM "),
    )
    assert split_boot_arguments("") == ()
    assert split_boot_arguments("   ") == ()


def test_arguments_of_a_current_release_need_two_items() -> None:
    arguments = f"template=domP type=router authorized_key={'A' * 700} keystore={'b' * 400}"
    pairs = split_boot_arguments(arguments)
    assert [key for key, _ in pairs] == [BOOT_ARGUMENTS_KEY, f"{BOOT_ARGUMENTS_KEY}-2"]


def test_a_token_that_no_item_can_hold_is_named_without_its_value() -> None:
    with pytest.raises(TooLongForDataExchange) as caught:
        split_boot_arguments("type=router userdata=" + "s3cr3t" * 300)
    assert "userdata" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


def test_too_many_pieces_are_refused() -> None:
    with pytest.raises(TooLongForDataExchange):
        split_boot_arguments(" ".join(["x" * 1000] * 17))
