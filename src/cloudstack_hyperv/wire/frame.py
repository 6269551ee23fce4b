"""One frame: 40 bytes of header, then a JSON array of tagged commands or answers, maybe gzipped.

Source: CloudStack's com.cloud.agent.transport.Request and Response; every rule below was observed
with these classes, and `tests/wire/frames` holds frames they wrote.  The length field counts the
body *before* compression and is ignored on plain frames.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass, replace

HEADER = struct.Struct(">BBHqiqqq")
"""version, reserved, flags, sequence, length, management server id, agent id, via."""
COMPRESS_FROM = 8192
"""Bodies of this many bytes and more are gzipped."""
UNKNOWN_ID = -1


class Flag(enum.IntFlag):
    """Low byte of the flags; the high byte is ignored."""

    REQUEST = 0x01
    STOP_ON_ERROR = 0x02
    IN_SEQUENCE = 0x04
    FROM_SERVER = 0x20
    CONTROL = 0x40
    COMPRESSED = 0x80


class FrameUnreadable(Exception):
    """The frame cannot be used; the connection stays (Java logs and drops it)."""


class BodyTooLarge(FrameUnreadable):
    """The body, or what it would inflate to, is beyond the limit."""


@dataclass(frozen=True, slots=True)
class Header:
    """A frame's header without length and compression, which belong to the body's travel."""

    flags: Flag
    sequence: int
    management_server: int = UNKNOWN_ID
    agent: int = UNKNOWN_ID
    via: int = UNKNOWN_ID

    @property
    def is_request(self) -> bool:
        """Whether commands follow, not answers."""
        return Flag.REQUEST in self.flags


@dataclass(frozen=True, slots=True)
class Frame:
    """A header and its body, inflated: UTF-8 JSON text."""

    header: Header
    body: bytes


def response_header(request: Header) -> Header:
    """Make the header of the response to `request`.

    In-sequence and stop-on-error are echoed (the server's queue waits for the first), from-server
    is inverted (a set bit would route the answer back to a host), control is cleared; ids and
    sequence are copied.
    """
    kept = request.flags & (Flag.IN_SEQUENCE | Flag.STOP_ON_ERROR)
    inverted = (request.flags & Flag.FROM_SERVER) ^ Flag.FROM_SERVER
    return replace(request, flags=kept | inverted)


def encode_frame(header: Header, body: bytes) -> bytes:
    """Return the frame's bytes; bodies of 8192 bytes and more are gzipped, as Java does."""
    flags = header.flags & ~Flag.COMPRESSED
    travelling = body
    if len(body) >= COMPRESS_FROM:
        flags |= Flag.COMPRESSED
        deflate = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        travelling = deflate.compress(body) + deflate.flush()
    return (
        HEADER.pack(
            0,
            0,
            int(flags),
            header.sequence,
            len(body),
            header.management_server,
            header.agent,
            header.via,
        )
        + travelling
    )


def decode_frame(data: bytes, *, most_body_bytes: int) -> Frame:
    """Read a frame; raises FrameUnreadable, BodyTooLarge.

    Zero bytes that a too large length field leaves behind a gzipped body in Java do not arise
    here; a length field smaller than the inflated body is refused as Java refuses it.
    """
    if len(data) < HEADER.size:
        raise FrameUnreadable(f"{len(data)} bytes are less than a header of {HEADER.size}")
    version, _, flags, sequence, length, server, agent, via = HEADER.unpack_from(data)
    if version != 0:
        raise FrameUnreadable(f"version byte {version}: only 0 is in use")
    body = data[HEADER.size :]
    if flags & Flag.COMPRESSED:
        body = _inflate(body, length, most_body_bytes)
    elif len(body) > most_body_bytes:
        raise BodyTooLarge(f"a body of {len(body)} bytes, more than {most_body_bytes}")
    known = Flag(flags & 0x67)
    return Frame(Header(known, sequence, server, agent, via), body)


def _inflate(body: bytes, length: int, most_body_bytes: int) -> bytes:
    if not 0 <= length <= most_body_bytes:
        raise BodyTooLarge(f"a body said to inflate to {length} bytes, more than {most_body_bytes}")
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        # One byte more than was announced shows a lie without inflating the rest.
        content = inflate.decompress(body, length + 1)
    except zlib.error as error:
        raise FrameUnreadable(f"compressed, but not gzip: {error}") from error
    if len(content) > length:
        raise FrameUnreadable("the body inflates to more than its length field says")
    if not inflate.eof:
        raise FrameUnreadable("the gzip stream is cut short")
    return content
