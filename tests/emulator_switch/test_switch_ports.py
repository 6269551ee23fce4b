"""Learning, spoofing, guards, mirroring, limits and counters."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator_switch.packets import (
    BROADCAST,
    ICMP,
    ICMP6,
    MAC_A,
    MAC_B,
    MAC_C,
    UDP,
    ethernet,
    ip_frame,
    tagged,
)

from cloudstack_hyperv.emulator.switch import (
    AccessVlan,
    Bandwidth,
    Drop,
    EthernetSwitch,
    MonitorMode,
    PortKind,
    PortSettings,
    Security,
)

OUTSIDE = bytes.fromhex("020000000001")
NOBODY = ".".join("0000")
NESTED = bytes.fromhex("020000000002")


def built(
    a: PortSettings | None = None, b: PortSettings | None = None, c: PortSettings | None = None
) -> EthernetSwitch:
    switch = EthernetSwitch()
    switch.plug("a", a or PortSettings(MAC_A))
    switch.plug("b", b or PortSettings(MAC_B))
    switch.plug("c", c or PortSettings(MAC_C))
    switch.plug("uplink", PortSettings(b"", PortKind.UPLINK))
    return switch


def names(switch: EthernetSwitch, frame: bytes, port: str, now: float = 0.0) -> list[str]:
    return [name for name, _ in switch.forward(frame, port, now)]


def test_known_addresses_go_to_one_port_and_unknown_ones_to_the_uplink() -> None:
    switch = built()
    assert names(switch, ethernet(MAC_A, MAC_B), "a") == ["b"]
    assert names(switch, ethernet(MAC_A, OUTSIDE), "a") == ["uplink"]
    assert names(switch, ethernet(MAC_A, BROADCAST), "a") == ["b", "c", "uplink"]
    assert names(switch, ethernet(OUTSIDE, MAC_A), "uplink") == ["a"]
    assert names(switch, ethernet(OUTSIDE, NESTED), "uplink") == []
    assert names(switch, ethernet(MAC_A, MAC_A), "a") == []


def test_a_foreign_source_address_is_dropped() -> None:
    switch = built()
    assert names(switch, ethernet(MAC_B, MAC_C), "a") == []
    assert switch.counters("a").dropped_outgoing == {Drop.MAC_SPOOFING: 1}
    assert switch.counters("a").packets_sent == 0


def test_a_spoofing_port_learns_until_it_ages() -> None:
    switch = built(a=PortSettings(MAC_A, security=Security(allow_mac_spoofing=True)))
    assert names(switch, ethernet(MAC_B, NESTED), "b") == ["a", "uplink"]
    assert names(switch, ethernet(NESTED, MAC_B), "a") == ["b"]
    assert names(switch, ethernet(MAC_B, NESTED), "b", 300.0) == ["a"]
    assert names(switch, ethernet(MAC_B, NESTED), "b", 300.5) == ["a", "uplink"]


def test_a_spoofing_port_does_not_take_over_an_adapters_address() -> None:
    switch = built(a=PortSettings(MAC_A, security=Security(allow_mac_spoofing=True)))
    assert names(switch, ethernet(MAC_B, OUTSIDE), "a") == ["uplink"]
    assert names(switch, ethernet(MAC_C, MAC_B), "c") == ["b"]


def test_what_moved_to_the_uplink_is_learned_there() -> None:
    switch = built(a=PortSettings(MAC_A, security=Security(allow_mac_spoofing=True)))
    switch.forward(ethernet(NESTED, MAC_B), "a", 0.0)
    switch.forward(ethernet(NESTED, MAC_B), "uplink", 1.0)
    assert names(switch, ethernet(MAC_B, NESTED), "b", 2.0) == ["uplink"]
    switch.unplug("uplink")
    assert names(switch, ethernet(MAC_B, NESTED), "b", 2.0) == ["a"]


def test_learning_is_by_vlan() -> None:
    switch = built(b=PortSettings(MAC_B, vlan=AccessVlan(5)))
    switch.configure("a", PortSettings(MAC_A, security=Security(allow_mac_spoofing=True)))
    switch.forward(ethernet(NESTED, BROADCAST), "a", 0.0)
    assert names(switch, ethernet(MAC_B, NESTED), "b") == ["uplink"]
    assert names(switch, ethernet(MAC_C, NESTED), "c") == ["a"]


def test_the_table_is_bounded() -> None:
    switch = EthernetSwitch(max_learned=2)
    switch.plug("a", PortSettings(MAC_A, security=Security(allow_mac_spoofing=True)))
    switch.plug("b", PortSettings(MAC_B))
    switch.plug("uplink", PortSettings(b"", PortKind.UPLINK))
    for number in range(3):
        switch.forward(ethernet(NESTED[:5] + bytes([number]), MAC_B), "a", 0.0)
    reached = [names(switch, ethernet(MAC_B, NESTED[:5] + bytes([n])), "b", 0.0) for n in range(3)]
    assert reached == [["a"], ["a"], ["a", "uplink"]]


def test_two_adapters_may_have_one_address_in_different_vlans() -> None:
    switch = built(
        b=PortSettings(MAC_A, vlan=AccessVlan(5)), c=PortSettings(MAC_C, vlan=AccessVlan(5))
    )
    assert names(switch, ethernet(MAC_C, MAC_A), "c") == ["b"]
    assert names(switch, ethernet(OUTSIDE, MAC_A), "uplink") == ["a"]
    assert names(switch, tagged(ethernet(OUTSIDE, MAC_A), 5), "uplink") == ["b"]


@pytest.mark.parametrize(
    ("security", "frame", "reason"),
    [
        (
            Security(dhcp_guard=True),
            ip_frame(MAC_A, BROADCAST, "10.0.0.1", "255.255.255.255", UDP, (67, 68)),
            Drop.DHCP_GUARD,
        ),
        (
            Security(dhcp_guard=True),
            ip_frame(MAC_A, MAC_B, "fe80::1", "fe80::2", UDP, (547, 546)),
            Drop.DHCP_GUARD,
        ),
        (
            Security(router_guard=True),
            ip_frame(MAC_A, MAC_B, "fe80::1", "ff02::1", ICMP6, icmp_type=134),
            Drop.ROUTER_GUARD,
        ),
        (
            Security(router_guard=True),
            ip_frame(MAC_A, MAC_B, "10.0.0.1", "10.0.0.2", ICMP, icmp_type=5),
            Drop.ROUTER_GUARD,
        ),
    ],
)
def test_guards(security: Security, frame: bytes, reason: Drop) -> None:
    switch = built(a=PortSettings(MAC_A, security=security))
    assert names(switch, frame, "a") == []
    assert switch.counters("a").dropped_outgoing == {reason: 1}
    switch.configure("a", PortSettings(MAC_A))
    assert "b" in names(switch, frame, "a")


def test_guards_let_clients_ask() -> None:
    switch = built(a=PortSettings(MAC_A, security=Security(dhcp_guard=True, router_guard=True)))
    asks = (
        ip_frame(MAC_A, BROADCAST, NOBODY, "255.255.255.255", UDP, (68, 67)),
        ip_frame(MAC_A, BROADCAST, "fe80::1", "ff02::2", ICMP6, icmp_type=133),
        ip_frame(MAC_A, BROADCAST, "10.0.0.1", "10.0.0.2", ICMP, icmp_type=8),
    )
    for frame in asks:
        assert names(switch, frame, "a") == ["b", "c", "uplink"]


def test_a_monitor_gets_copies_of_both_directions_of_its_session() -> None:
    switch = built(
        a=PortSettings(MAC_A, security=Security(monitor=MonitorMode.SOURCE)),
        c=PortSettings(MAC_C, security=Security(monitor=MonitorMode.DESTINATION)),
    )
    assert names(switch, ethernet(MAC_A, MAC_B), "a") == ["b", "c"]
    assert names(switch, ethernet(MAC_B, MAC_A), "b") == ["a", "c"]
    assert names(switch, ethernet(MAC_B, OUTSIDE), "b") == ["uplink"]
    other = Security(monitor=MonitorMode.DESTINATION, monitor_session=1)
    switch.configure("c", PortSettings(MAC_C, security=other))
    assert names(switch, ethernet(MAC_A, MAC_B), "a") == ["b"]
    elsewhere = Security(monitor=MonitorMode.DESTINATION)
    switch.configure("c", PortSettings(MAC_C, vlan=AccessVlan(9), security=elsewhere))
    assert names(switch, ethernet(MAC_A, MAC_B), "a") == ["b"]


@given(
    limit=st.integers(80_000, 50_000_000),
    gaps=st.lists(st.integers(0, 20_000), min_size=1, max_size=60),
    size=st.integers(64, 1514),
)
def test_a_limit_holds_over_every_span(limit: int, gaps: list[int], size: int) -> None:
    """Bytes that pass in a span: never above burst + rate * span; no less when always wanted."""
    burst = 20_000
    switch = built(a=PortSettings(MAC_A, bandwidth=Bandwidth(limit, burst)))
    frame = ethernet(MAC_A, MAC_B, b"." * (size - 14))
    now, passed = 0.0, []
    for gap in gaps:
        now += gap / 1e6
        if switch.forward(frame, "a", now):
            passed.append(now)
    for first in range(len(passed)):
        span = passed[-1] - passed[first]
        sent = (len(passed) - first) * size
        assert sent <= burst + limit / 8 * span + 1e-6
    if len(passed) < len(gaps):
        assert len(passed) * size > burst - size, "the burst was there to be used"


def test_a_limit_gives_what_it_promises() -> None:
    switch = built(a=PortSettings(MAC_A, bandwidth=Bandwidth(8_000_000, 10_000)))
    frame = ethernet(MAC_A, MAC_B, b"." * 986)
    passed = sum(bool(switch.forward(frame, "a", n / 10_000)) for n in range(100_000))
    assert passed == pytest.approx(10 * 1000 + 10, abs=2), "8 Mbit/s are 1000 such frames a second"
    assert switch.counters("a").dropped_outgoing == {Drop.BANDWIDTH: 100_000 - passed}
    switch.configure("a", PortSettings(MAC_A))
    assert all(switch.forward(frame, "a", 10.0) for _ in range(1000))


def test_a_limit_is_not_filled_anew_by_other_settings_or_by_clocks_that_go_back() -> None:
    limited = PortSettings(MAC_A, bandwidth=Bandwidth(8_000, 1_000))
    switch = built(a=limited)
    frame = ethernet(MAC_A, MAC_B, b"." * 986)
    assert switch.forward(frame, "a", 10.0)
    switch.configure("a", dataclasses.replace(limited, security=Security(dhcp_guard=True)))
    assert not switch.forward(frame, "a", 10.0)
    assert not switch.forward(frame, "a", 5.0)
    assert not switch.forward(frame, "a", 10.5), "half a frame's worth since 10.0"
    assert switch.forward(frame, "a", 11.0)


def test_what_a_machine_receives_is_not_limited() -> None:
    switch = built(b=PortSettings(MAC_B, bandwidth=Bandwidth(8)))
    assert all(switch.forward(ethernet(MAC_A, MAC_B), "a", 0.0) for _ in range(1000))


def test_a_storm_limit_is_about_broadcast_only() -> None:
    switch = built(a=PortSettings(MAC_A, security=Security(storm_limit=3)))
    loud = [bool(switch.forward(ethernet(MAC_A, BROADCAST), "a", 0.0)) for _ in range(5)]
    assert loud == [True, True, True, False, False]
    assert switch.forward(ethernet(MAC_A, MAC_B), "a", 0.0)
    assert switch.counters("a").dropped_outgoing == {Drop.STORM: 2}
    assert switch.forward(ethernet(MAC_A, BROADCAST), "a", 0.5)


def test_counters_are_the_machines_view() -> None:
    switch = built(b=PortSettings(MAC_B, vlan=AccessVlan(5)))
    frame = ethernet(MAC_A, BROADCAST)
    switch.forward(frame, "a", 0.0)
    switch.forward(tagged(ethernet(OUTSIDE, MAC_B), 5), "uplink", 0.0)
    a, b, c = (switch.counters(name) for name in "abc")
    assert (a.packets_sent, a.bytes_sent, a.packets_received) == (1, 60, 0)
    assert (b.packets_received, b.bytes_received) == (1, 60), "the tag stayed outside"
    assert (c.packets_received, c.bytes_received) == (1, 60)
    assert switch.counters("uplink").bytes_sent == 64


@pytest.mark.parametrize("frame", [b"", b"short", MAC_B + b"\x01" + MAC_A[1:] + b"\x08\x00"])
def test_malformed_frames_go_nowhere(frame: bytes) -> None:
    switch = built()
    assert switch.forward(frame, "uplink", 0.0) == []
    assert switch.counters("uplink").dropped_outgoing == {Drop.MALFORMED: 1}


@given(st.binary(max_size=120), st.sampled_from(("a", "b", "uplink")))
def test_no_bytes_break_the_switch(frame: bytes, port: str) -> None:
    switch = built(
        a=PortSettings(
            MAC_A, security=Security(allow_mac_spoofing=True, dhcp_guard=True, router_guard=True)
        )
    )
    for name, delivered in switch.forward(frame, port, 0.0):
        assert name != port
        assert delivered[:12] == frame[:12]


def test_ports_are_known_by_name() -> None:
    switch = built()
    with pytest.raises(ValueError, match="already"):
        switch.plug("a", PortSettings(MAC_A))
    with pytest.raises(KeyError):
        switch.forward(ethernet(MAC_A, MAC_B), "nobody", 0.0)
    switch.unplug("a")
    assert list(switch.ports) == ["b", "c", "uplink"]
