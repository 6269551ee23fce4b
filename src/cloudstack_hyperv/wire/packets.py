"""The link's packets: a 4-byte header in clear, then TLS bytes.

After the TLS handshake every run of TLS records is preceded by a big-endian 32-bit header that is
*outside* TLS: bits 0-15 are the number of TLS bytes (read as a signed number), bit 16 says that
another packet of the same frame follows, the rest is ignored.  A frame is what the packets up to
the first one without bit 16 decrypt to; there is no other length.

Source: CloudStack's com.cloud.utils.nio.Link (read and write), observed with its own classes.
"""

from __future__ import annotations

from dataclasses import dataclass

HEADER_SIZE = 4
MOST_BYTES = 18000
"""A packet that claims more closes the connection."""
MORE_FOLLOWS = 0x10000


class LinkBroken(Exception):
    """The peer broke the link's rules: close the connection, nothing on it can be trusted."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet's TLS bytes."""

    content: bytes
    more_follows: bool
    """Whether the frame goes on in the next packet."""


def packet(tls_bytes: bytes, *, more_follows: bool = False) -> bytes:
    """Return `tls_bytes` (whole TLS records, at most 18000 bytes) with the header before them."""
    if len(tls_bytes) > MOST_BYTES:
        raise ValueError(f"a packet holds at most {MOST_BYTES} bytes, not {len(tls_bytes)}")
    header = len(tls_bytes) | (MORE_FOLLOWS if more_follows else 0)
    return header.to_bytes(HEADER_SIZE, "big") + tls_bytes


class PacketReader:
    """Cuts a byte stream into packets; holds at most one unfinished packet."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Packet]:
        """Take bytes as they come; return the packets that are complete.  Raises LinkBroken."""
        self._buffer += data
        packets: list[Packet] = []
        position = 0
        while len(self._buffer) - position >= HEADER_SIZE:
            header = int.from_bytes(self._buffer[position : position + HEADER_SIZE], "big")
            size = header & 0xFFFF
            if size > MOST_BYTES:
                raise LinkBroken(f"a packet claims {size} bytes, more than {MOST_BYTES}")
            end = position + HEADER_SIZE + size
            if len(self._buffer) < end:
                break
            content = bytes(self._buffer[position + HEADER_SIZE : end])
            packets.append(Packet(content, bool(header & MORE_FOLLOWS)))
            position = end
        del self._buffer[:position]
        return packets

    @property
    def pending(self) -> int:
        """Bytes of an unfinished packet."""
        return len(self._buffer)

    def __repr__(self) -> str:
        return f"PacketReader({self.pending} bytes pending)"
