"""VLANs: random switches against a naive reading, the private VLAN matrix, tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator_switch.packets import BROADCAST, MAC_A, MAC_B, ethernet, tagged

from cloudstack_hyperv.emulator.switch import (
    AccessVlan,
    Drop,
    EthernetSwitch,
    PortKind,
    PortSettings,
    PrivateRole,
    PrivateVlan,
    Security,
    TrunkVlan,
    Vlan,
)

ISOLATED, COMMUNITY, PROMISCUOUS = PrivateRole
VLANS = st.integers(0, 6)


def mac(number: int) -> bytes:
    return bytes.fromhex("00155d0000") + bytes([number])


vlan_settings = st.one_of(
    st.builds(AccessVlan, VLANS),
    st.builds(TrunkVlan, VLANS, st.frozensets(st.integers(1, 6), min_size=1)),
)


def wire(setting: AccessVlan | TrunkVlan) -> dict[int, int]:
    """Return what a port speaks: VLAN by the tag on its cable, 0 for no tag."""
    if isinstance(setting, AccessVlan):
        return {0: setting.vlan_id}
    spoken = {vlan: vlan for vlan in setting.allowed}
    spoken[setting.native] = setting.native
    spoken[0] = setting.native
    return spoken


@given(settings=st.lists(vlan_settings, min_size=2, max_size=7), tag=VLANS, data=st.data())
def test_broadcast_reaches_exactly_the_ports_of_its_vlan(
    settings: list[AccessVlan | TrunkVlan], tag: int, data: st.DataObject
) -> None:
    switch = EthernetSwitch()
    for number, setting in enumerate(settings):
        switch.plug(str(number), PortSettings(mac(number), vlan=setting))
    switch.plug("uplink", PortSettings(b"", PortKind.UPLINK))
    sender = data.draw(st.integers(0, len(settings) - 1))
    plain = ethernet(mac(sender), BROADCAST)
    got = dict(switch.forward(tagged(plain, tag) if tag else plain, str(sender), 0.0))

    vlan = wire(settings[sender]).get(tag)
    expected: dict[str, bytes] = {}
    if vlan is not None:
        expected["uplink"] = tagged(plain, vlan) if vlan else plain
        for number, setting in enumerate(settings):
            tags = [t for t, spoken in wire(setting).items() if spoken == vlan]
            if number != sender and tags:
                expected[str(number)] = tagged(plain, max(tags)) if min(tags) else plain
    assert got == expected


def private(role: PrivateRole, primary: int, *secondaries: int) -> PrivateVlan:
    return PrivateVlan(role, primary, frozenset(secondaries))


PORTS: dict[str, Vlan] = {
    "isolated": private(ISOLATED, 100, 201),
    "isolated too": private(ISOLATED, 100, 201),
    "community": private(COMMUNITY, 100, 202),
    "community too": private(COMMUNITY, 100, 202),
    "other community": private(COMMUNITY, 100, 203),
    "promiscuous": private(PROMISCUOUS, 100, 201, 202),
    "promiscuous too": private(PROMISCUOUS, 100, 203),
    "stranger": private(PROMISCUOUS, 300, 201, 202),
    "access": AccessVlan(100),
}
REACHES = {
    "isolated": {"promiscuous"},
    "isolated too": {"promiscuous"},
    "community": {"community too", "promiscuous"},
    "community too": {"community", "promiscuous"},
    "other community": {"promiscuous too"},
    "promiscuous": {
        "isolated", "isolated too", "community", "community too", "promiscuous too",
    },
    "promiscuous too": {"other community", "promiscuous"},
    "stranger": set(),
    "access": set(),
}  # fmt: skip


@pytest.fixture
def private_switch() -> EthernetSwitch:
    switch = EthernetSwitch()
    for number, (name, vlan) in enumerate(PORTS.items()):
        switch.plug(name, PortSettings(mac(number), vlan=vlan))
    switch.plug("uplink", PortSettings(b"", PortKind.UPLINK))
    return switch


@pytest.mark.parametrize("sender", PORTS)
def test_private_vlan_matrix(private_switch: EthernetSwitch, sender: str) -> None:
    names = list(PORTS)
    for receiver in names:
        if receiver == sender:
            continue
        frame = ethernet(mac(names.index(sender)), mac(names.index(receiver)))
        got = {name for name, _ in private_switch.forward(frame, sender, 0.0)}
        assert (receiver in got) == (receiver in REACHES[sender]), receiver
    flooded = private_switch.forward(ethernet(mac(names.index(sender)), BROADCAST), sender, 0.0)
    assert {name for name, _ in flooded} == REACHES[sender] | {"uplink"}


@pytest.mark.parametrize(
    ("vlan", "receivers"),
    [
        (
            100,
            {
                "isolated", "isolated too", "community", "community too", "other community",
                "promiscuous", "promiscuous too", "access",
            },
        ),
        (201, {"promiscuous", "stranger"}),
        (202, {"community", "community too", "promiscuous", "stranger"}),
        (203, {"other community", "promiscuous too"}),
        (300, {"stranger"}),
        (0, set()),
    ],
)  # fmt: skip
def test_private_vlans_from_the_uplink(
    private_switch: EthernetSwitch, vlan: int, receivers: set[str]
) -> None:
    frame = ethernet(b"\x02" * 6, BROADCAST)
    out = private_switch.forward(tagged(frame, vlan) if vlan else frame, "uplink", 0.0)
    assert {name for name, _ in out} == receivers
    assert all(delivered == frame for _, delivered in out)


@pytest.mark.parametrize(("sender", "vlan"), [("isolated", 201), ("community", 202)])
def test_private_ports_speak_their_vlan_on_the_uplink(
    private_switch: EthernetSwitch, sender: str, vlan: int
) -> None:
    plain = ethernet(mac(list(PORTS).index(sender)), b"\x02" * 6)
    out = dict(private_switch.forward(plain, sender, 0.0))
    assert out["uplink"] == tagged(plain, vlan)
    plain = ethernet(mac(list(PORTS).index("promiscuous")), b"\x02" * 6)
    assert dict(private_switch.forward(plain, "promiscuous", 0.0))["uplink"] == tagged(plain, 100)


def test_an_access_port_may_not_tag() -> None:
    switch = EthernetSwitch()
    switch.plug("a", PortSettings(MAC_A, vlan=AccessVlan(5)))
    switch.plug("b", PortSettings(MAC_B, vlan=AccessVlan(6)))
    frame = ethernet(MAC_A, MAC_B)
    assert switch.forward(tagged(frame, 6), "a", 0.0) == []
    assert switch.forward(tagged(frame, 5), "a", 0.0) == []
    assert switch.counters("a").dropped_outgoing == {Drop.VLAN: 2}
    assert switch.counters("a").packets_sent == 0


def test_two_tags_do_not_hop_into_another_vlan() -> None:
    switch = EthernetSwitch()
    switch.plug("a", PortSettings(MAC_A, vlan=TrunkVlan(5, frozenset({5}))))
    switch.plug("b", PortSettings(MAC_B, vlan=TrunkVlan(5, frozenset({6}))))
    frame = tagged(tagged(ethernet(MAC_A, MAC_B), 6), 5)
    assert switch.forward(frame, "a", 0.0) == []
    assert switch.counters("b").dropped_incoming == {Drop.VLAN: 1}


@pytest.mark.parametrize(("allowed", "priority"), [(False, 0), (True, 5)])
def test_priority_survives_where_it_may(allowed: bool, priority: int) -> None:
    switch = EthernetSwitch()
    security = Security(allow_priority_tag=allowed)
    switch.plug("a", PortSettings(MAC_A, vlan=AccessVlan(7), security=security))
    switch.plug("uplink", PortSettings(b"", PortKind.UPLINK))
    frame = ethernet(MAC_A, MAC_B)
    out = switch.forward(tagged(frame, 0, priority=5), "a", 0.0)
    assert out == [("uplink", tagged(frame, 7, priority))]


def test_a_new_vlan_applies_to_the_next_frame() -> None:
    switch = EthernetSwitch()
    switch.plug("a", PortSettings(MAC_A, vlan=AccessVlan(5)))
    switch.plug("b", PortSettings(MAC_B, vlan=AccessVlan(5)))
    frame = ethernet(MAC_A, MAC_B)
    assert switch.forward(frame, "a", 0.0) == [("b", frame)]
    switch.configure("b", PortSettings(MAC_B, vlan=AccessVlan(6)))
    assert switch.forward(frame, "a", 0.0) == []
    switch.configure("b", PortSettings(MAC_B, vlan=AccessVlan(5)))
    assert switch.forward(frame, "a", 0.0) == [("b", frame)]
