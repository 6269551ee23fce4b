"""Reading Ethernet frames: the 802.1Q tag, and what of an IP packet the rules of a port look at.

Nothing is copied and nothing is kept; a frame stays the bytes that it was.

Sources: IEEE 802.1Q 9.6 (tag), RFC 791, RFC 8200 (extension headers), RFC 4302 (length of AH).
"""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST = 14
"""Bytes of an Ethernet header; a frame without the padding of the wire may be that short."""
TAG = b"\x81\x00"
TAG_TYPES = frozenset({b"\x81\x00", b"\x88\xa8"})
IPV4_TYPE, IPV6_TYPE = b"\x08\x00", b"\x86\xdd"
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION})
_WITH_PORTS = frozenset({TCP, UDP})


class MalformedPacket(Exception):
    """The frame says that it carries IP, and its header cannot be read."""


@dataclass(slots=True)
class Packet:
    """The header fields of an IP packet that rules are about; addresses as numbers."""

    version: int
    protocol: int
    source: int
    destination: int
    source_port: int | None = None
    """None: not TCP or UDP, or a later fragment, which does not repeat the ports."""
    destination_port: int | None = None
    icmp_type: int | None = None


def without_tag(frame: bytes) -> bytes:
    """Return a tagged frame without its tag."""
    return frame[:12] + frame[16:]


def with_tag(frame: bytes, vlan: int, priority: int) -> bytes:
    """Return an untagged frame with a tag."""
    return frame[:12] + TAG + (priority << 13 | vlan).to_bytes(2, "big") + frame[12:]


def read_packet(frame: bytes) -> Packet | None:
    """Return the IP packet of an untagged frame, None when it carries none; MalformedPacket."""
    kind = frame[12:14]
    if kind == IPV4_TYPE:
        return _read_ipv4(frame)
    if kind == IPV6_TYPE:
        return _read_ipv6(frame)
    return None


def _read_ipv4(frame: bytes) -> Packet:
    if len(frame) < 34 or frame[14] >> 4 != 4 or frame[14] & 0xF < 5:
        raise MalformedPacket
    end = 14 + (frame[14] & 0xF) * 4
    packet = Packet(
        4,
        frame[23],
        int.from_bytes(frame[26:30], "big"),
        int.from_bytes(frame[30:34], "big"),
    )
    if not int.from_bytes(frame[20:22], "big") & 0x1FFF:
        _read_transport(frame, end, packet)
    return packet


def _read_ipv6(frame: bytes) -> Packet:
    if len(frame) < 54 or frame[14] >> 4 != 6:
        raise MalformedPacket
    protocol, at, first = frame[20], 54, True
    while protocol in _EXTENSIONS:
        if len(frame) < at + 8:
            raise MalformedPacket
        length = (frame[at + 1] + 1) * 8
        if protocol == _FRAGMENT:
            length = 8
            first = not int.from_bytes(frame[at + 2 : at + 4], "big") & 0xFFF8
        elif protocol == _AUTHENTICATION:
            length = (frame[at + 1] + 2) * 4
        protocol, at = frame[at], at + length
        if not first:
            break
    packet = Packet(
        6,
        protocol,
        int.from_bytes(frame[22:38], "big"),
        int.from_bytes(frame[38:54], "big"),
    )
    if first:
        _read_transport(frame, at, packet)
    return packet


def _read_transport(frame: bytes, at: int, packet: Packet) -> None:
    if packet.protocol in _WITH_PORTS and len(frame) >= at + 4:
        packet.source_port = int.from_bytes(frame[at : at + 2], "big")
        packet.destination_port = int.from_bytes(frame[at + 2 : at + 4], "big")
    elif packet.protocol in (ICMP, ICMPV6) and len(frame) > at:
        packet.icmp_type = frame[at]
