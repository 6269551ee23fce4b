"""Which VLAN the two URIs of a NIC mean, row by row of CloudStack's kinds of networks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.network import UnusableNetwork, vlan_from_text, vlan_of


@pytest.mark.parametrize(
    ("broadcast", "isolation", "vlan"),
    [
        ("vlan://261", "vlan://261", 261),  # guest, public
        ("vlan://untagged", "vlan://untagged", None),
        ("vlan://UNTAGGED", None, None),
        ("vlan://untagged", "ec2://untagged", None),  # Basic zone
        ("vlan://50", None, 50),  # management with a VLAN: the isolation URI is null
        (None, None, None),
        ("", "", None),
        ("storage://60", None, 60),
        ("storage://untagged", None, None),
        (None, "vlan://7", 7),
        (None, "ec2://untagged", None),
        ("VLAN://4094", None, 4094),
        ("vlan://1", None, 1),
    ],
)
def test_table(broadcast: str | None, isolation: str | None, vlan: int | None) -> None:
    assert vlan_of(broadcast, isolation) == vlan


@pytest.mark.parametrize(
    ("broadcast", "isolation"),
    [
        ("vxlan://5001", "vxlan://5001"),
        ("vxlan://5001", "vlan://5"),  # the broadcast domain counts
        ("pvlan://100-i200", "pvlan://100-i200"),
        ("vs://1", None),
        ("lswitch:abc", None),
        ("nsx://seg", None),
        (None, "vxlan://9"),
        ("vlan://100:200", None),
        ("vlan://100-200", None),
        ("vlan://0", None),
        ("vlan://4095", None),
        ("vlan://-5", None),
        ("vlan://1e2", None),
        ("vlan://٣", None),
        ("vlan://" + "9" * 5000, None),
        ("261", None),
        ("vlan://5;drop", None),
    ],
)
def test_what_is_refused(broadcast: str | None, isolation: str | None) -> None:
    with pytest.raises(UnusableNetwork):
        vlan_of(broadcast, isolation)


def test_the_refusal_names_the_uri() -> None:
    with pytest.raises(UnusableNetwork, match=r"vxlan://5001.*network virtualisation"):
        vlan_of("vxlan://5001", None)


@given(st.integers(min_value=-10, max_value=70_000))
def test_every_number_is_taken_as_it_is_or_refused(number: int) -> None:
    if 1 <= number <= 4094:
        assert vlan_of(f"vlan://{number}", None) == number
    elif number == -1:
        assert vlan_from_text("-1") is None
    else:
        with pytest.raises(UnusableNetwork):
            vlan_of(f"vlan://{number}", None)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_gives_a_vlan_or_a_refusal(broadcast: str, isolation: str) -> None:
    try:
        vlan = vlan_of(broadcast, isolation)
    except UnusableNetwork:
        return
    assert vlan is None or 1 <= vlan <= 4094
