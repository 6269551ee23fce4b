"""Frames for the tests, built by dpkt: not by the code that reads them."""

from __future__ import annotations

import socket
from typing import Any

import dpkt

MAC_A = bytes.fromhex("00155d000001")
MAC_B = bytes.fromhex("00155d000002")
MAC_C = bytes.fromhex("00155d000003")
BROADCAST = b"\xff" * 6
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58


def ethernet(src: bytes, dst: bytes, payload: bytes = b"x" * 46, kind: int = 0x88B5) -> bytes:
    """Build a frame of an experimental protocol, or of `kind`."""
    return dst + src + kind.to_bytes(2, "big") + payload


def tagged(frame: bytes, vlan: int, priority: int = 0) -> bytes:
    """Put an 802.1Q tag into a frame."""
    return frame[:12] + b"\x81\x00" + (priority << 13 | vlan).to_bytes(2, "big") + frame[12:]


def ip_frame(
    src: bytes,
    dst: bytes,
    source: str,
    destination: str,
    protocol: int = UDP,
    ports: tuple[int, int] = (1024, 80),
    *,
    icmp_type: int = 8,
    size: int = 0,
) -> bytes:
    """Build an IPv4 or IPv6 packet in a frame."""
    data: Any = b"payload".ljust(size, b".")
    if protocol == TCP:
        data = dpkt.tcp.TCP(sport=ports[0], dport=ports[1], data=data)
    elif protocol == UDP:
        data = dpkt.udp.UDP(sport=ports[0], dport=ports[1], data=data)
        data.ulen = len(data)
    elif protocol == ICMP:
        data = dpkt.icmp.ICMP(type=icmp_type, data=dpkt.icmp.ICMP.Echo())
    elif protocol == ICMP6:
        data = bytes([icmp_type, 0, 0, 0, 0, 0, 0, 0])
    if ":" in source:
        packet = dpkt.ip6.IP6(
            src=socket.inet_pton(socket.AF_INET6, source),
            dst=socket.inet_pton(socket.AF_INET6, destination),
            nxt=protocol,
            hlim=64,
            plen=len(bytes(data)),
            data=data,
        )
        packet.extension_hdrs = {}
        return bytes(dpkt.ethernet.Ethernet(src=src, dst=dst, type=0x86DD, data=packet))
    packet = dpkt.ip.IP(
        src=socket.inet_aton(source), dst=socket.inet_aton(destination), p=protocol, data=data
    )
    packet.len = len(packet)
    return bytes(dpkt.ethernet.Ethernet(src=src, dst=dst, type=0x0800, data=packet))


def arp_frame(src: bytes, source: str, wanted: str) -> bytes:
    """Build an ARP request."""
    request = dpkt.arp.ARP(
        sha=src, spa=socket.inet_aton(source), tha=b"\0" * 6, tpa=socket.inet_aton(wanted)
    )
    return bytes(dpkt.ethernet.Ethernet(src=src, dst=BROADCAST, type=0x0806, data=request))
