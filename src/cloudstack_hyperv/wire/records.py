"""TLS records, as far as the link must see them: where one ends and what kind it is.

During the handshake records travel bare; after it every packet must hold whole records (a record
cut over two packets closes the connection on the Java side too), and a handshake record is an
attempt to renegotiate, which nobody does rightly here.

Source: RFC 5246, 6.2.1; com.cloud.utils.nio.Link.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.wire.packets import LinkBroken

HEADER_SIZE: Final = 5
MOST_RECORD: Final = 16384 + 2048
"""A TLS 1.2 record's ciphertext, RFC 5246, 6.2.3."""
MOST_PLAIN: Final = 16384
"""Plain bytes that one record takes."""

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
_MAJOR: Final = 3


def record_size(data: bytes | bytearray | memoryview, at: int = 0) -> int:
    """Return the size of the record that begins at `at`, its header included; 0 if not yet known.

    Raises LinkBroken for what begins no TLS record.
    """
    available = len(data) - at
    if available > 0 and not CHANGE_CIPHER_SPEC <= data[at] <= APPLICATION_DATA:
        raise LinkBroken(f"a TLS record of type {data[at]}: the peer does not speak TLS here")
    if available < HEADER_SIZE:
        return 0
    if data[at + 1] != _MAJOR:
        raise LinkBroken("the peer does not speak TLS 1.x")
    length = int.from_bytes(data[at + 3 : at + 5], "big")
    if length > MOST_RECORD:
        raise LinkBroken(f"a TLS record of {length} bytes, more than {MOST_RECORD}")
    return HEADER_SIZE + length


def check_packet(content: bytes) -> None:
    """Check a packet's bytes: whole records, application data or alerts.  Raises LinkBroken."""
    at = 0
    while at < len(content):
        size = record_size(content, at)
        if not size or at + size > len(content):
            raise LinkBroken("a packet holds a part of a TLS record")
        if content[at] not in (APPLICATION_DATA, ALERT):
            raise LinkBroken(f"a TLS record of type {content[at]} after the handshake")
        at += size


class RecordReader:
    """Cuts the bare stream of the handshake into records; what follows stays for the packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> None:
        """Take bytes as they come."""
        self._buffer += data

    def next_record(self) -> bytes | None:
        """Return the next whole record, None if it is not there yet.  Raises LinkBroken."""
        size = record_size(self._buffer)
        if not size or len(self._buffer) < size:
            return None
        record = bytes(self._buffer[:size])
        del self._buffer[:size]
        return record

    def rest(self) -> bytes:
        """Return what came behind the handshake: the first packets."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
