"""Frames a second through the user-space switch, on one core.  One line a figure.

The anchor is 100,000 frames/s of plain forwarding: more than ten guests under QEMU's emulated
processor produce.  Run: make bench-switch
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from cloudstack_hyperv.emulator.switch import (
    AccessVlan,
    AclAction,
    Direction,
    EthernetSwitch,
    ExtendedAcl,
    Network,
    PortKind,
    PortRange,
    PortSettings,
)

PORTS = 50
TCP = 6
ANCHOR = 100_000


def _mac(number: int) -> bytes:
    return bytes.fromhex("00155d00") + number.to_bytes(2, "big")


def _packet(source: int, destination: int, port: int = 80) -> bytes:
    """Build a TCP packet of 1514 bytes; checksums play no part here."""
    ip = bytearray(20)
    ip[0], ip[9] = 0x45, TCP
    ip[2:4] = (1500).to_bytes(2, "big")
    ip[12:16] = bytes((10, 0, 0, source))
    ip[16:20] = bytes((10, 0, 0, destination))
    ports = (40000).to_bytes(2, "big") + port.to_bytes(2, "big")
    frame = _mac(destination) + _mac(source) + b"\x08\x00" + bytes(ip) + ports
    return frame.ljust(1514, b".")


def _security_group(rules: int) -> tuple[ExtendedAcl, ...]:
    """Return `rules` allows above a closed default; the wanted port is the last of them."""
    allows = tuple(
        ExtendedAcl(
            str(n),
            Direction.INCOMING,
            AclAction.ALLOW,
            65000 - n,
            remote=Network.parse("10.0.0.0/8"),
            local_ports=PortRange(80 + rules - 1 - n, 80 + rules - 1 - n),
            protocol=TCP,
            stateful=True,
        )
        for n in range(rules)
    )
    return (*allows, ExtendedAcl("closed", Direction.INCOMING, AclAction.DENY, 1))


def _switch(acls: tuple[ExtendedAcl, ...] = ()) -> EthernetSwitch:
    switch = EthernetSwitch()
    for number in range(PORTS):
        vlan = AccessVlan(100 + number // 10)
        switch.plug(str(number), PortSettings(_mac(number), vlan=vlan, extended_acls=acls))
    switch.plug("uplink", PortSettings(b"", PortKind.UPLINK))
    return switch


def _rate(seconds: float, send: Callable[[float], object]) -> float:
    """Call `send` in batches until the time is over; returns calls a second."""
    count, begun = 0, time.perf_counter()
    while (now := time.perf_counter()) - begun < seconds:
        for _ in range(1000):
            send(now)
        count += 1000
    return count / (time.perf_counter() - begun)


def main() -> None:
    """Print a line for each kind of traffic."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    plain, guarded = _switch(), _switch(_security_group(100))
    frame = _packet(1, 2)
    refused = _packet(1, 2, port=79)
    broadcast = b"\xff" * 6 + frame[6:]
    if not guarded.forward(frame, "1", 0.0) or guarded.forward(refused, "1", 0.0):
        raise AssertionError("the security group does not do what this measures")
    lines = {
        "plain, to an adapter": lambda now: plain.forward(frame, "1", now),
        "plain, to the uplink (tagged)": lambda now: plain.forward(_TO_UPLINK, "1", now),
        f"broadcast, {PORTS // 5 - 1} adapters and the uplink": lambda now: plain.forward(
            broadcast, "1", now
        ),
        "100 extended ACLs, open flow": lambda now: guarded.forward(frame, "1", now),
        "100 extended ACLs, refused": lambda now: guarded.forward(refused, "1", now),
    }
    for name, send in lines.items():
        rate = _rate(seconds, send)
        anchor = f"  (anchor {ANCHOR:,})" if name.startswith("plain, to an adapter") else ""
        print(f"{name:45} {rate:10,.0f} frames/s{anchor}")


_TO_UPLINK = _packet(1, 2)[6:12].join((b"\x02" * 6, _packet(1, 2)[12:]))


if __name__ == "__main__":
    main()
