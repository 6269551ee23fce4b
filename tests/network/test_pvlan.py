"""Private VLANs from CloudStack's URIs and commands."""

from __future__ import annotations

import pytest

from cloudstack_hyperv.network import (
    PrivateRole,
    PrivateVlan,
    UnusableNetwork,
    port_vlan_of,
    private_vlan,
)

ISOLATED, COMMUNITY, PROMISCUOUS = PrivateRole


@pytest.mark.parametrize(
    ("uri", "role"),
    [
        ("pvlan://100-i200", ISOLATED),
        ("pvlan://100-200", ISOLATED),
        ("PVLAN://100-C200", COMMUNITY),
        ("pvlan://100-p200", PROMISCUOUS),
    ],
)
def test_a_guests_port(uri: str, role: PrivateRole) -> None:
    expected = PrivateVlan(role, 100, frozenset({200}))
    assert port_vlan_of(uri, uri, serves=False) == expected
    assert port_vlan_of(None, uri, serves=False) == expected


def test_the_routers_port_reaches_everybody() -> None:
    for uri in ("pvlan://100-i200", "pvlan://100-c200"):
        assert port_vlan_of(uri, uri, serves=True) == PrivateVlan(
            PROMISCUOUS, 100, frozenset({200})
        )


def test_a_promiscuous_network_reaches_all_secondaries() -> None:
    vlan = port_vlan_of("pvlan://100-p100", None, serves=False)
    assert isinstance(vlan, PrivateVlan)
    assert vlan.secondaries == frozenset(range(1, 4095)) - {100}
    assert str(vlan) == "100-p1-4094"


def test_a_nics_details_name_the_kind() -> None:
    vlan = port_vlan_of("pvlan://7-i8", None, serves=False, details={"pvlanType": "Community"})
    assert str(vlan) == "7-c8"


def test_other_networks_are_read_as_before() -> None:
    assert port_vlan_of("vlan://5", None, serves=False) == 5
    assert port_vlan_of(None, None, serves=True) is None
    with pytest.raises(UnusableNetwork, match="VXLAN"):
        port_vlan_of("vxlan://5001", "vxlan://5001", serves=False)


@pytest.mark.parametrize(
    "uri",
    [
        "pvlan://100",
        "pvlan://100-x200",
        "pvlan://5000-i1",
        "pvlan://0-i1",
        "pvlan://9-i9",
        "pvlan:",
    ],
)
def test_what_is_refused(uri: str) -> None:
    with pytest.raises(UnusableNetwork):
        port_vlan_of(uri, uri, serves=False)


def test_kinds_that_are_none() -> None:
    assert PrivateRole.named(None) is ISOLATED
    with pytest.raises(UnusableNetwork, match="trunk"):
        PrivateRole.named("trunk")
    with pytest.raises(UnusableNetwork, match="secondary"):
        private_vlan("100", "untagged", ISOLATED, serves=False)
