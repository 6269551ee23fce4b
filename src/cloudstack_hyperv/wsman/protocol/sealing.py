"""Message encryption over plain http: `multipart/encrypted` around sealed bytes.

The security context (NTLM, Kerberos, CredSSP) seals; this file only packs and unpacks.  A part is
two MIME sections: the protocol with the clear length, then signature length, signature and sealed
data.  The sealed bytes may hold anything, the boundary too, so its end is sought only behind the
length that the first section announces.

Source: Microsoft [MS-WSMV] 2.2.9.1 (encrypted message types), 2.2.9.1.1.2 (the two sections).
"""

from __future__ import annotations

import enum
import re
import struct
from typing import Final, Protocol

from cloudstack_hyperv.wsman.errors import ProtocolViolation

_BOUNDARY: Final = b"--Encrypted Boundary"
_CREDSSP_PART: Final = 16 * 1024
"""CredSSP seals in TLS records, which hold at most 16 KiB: longer messages go as several parts."""

_FIRST_SECTION = re.compile(
    rb"--[ \t]*(?P<boundary>[^\r\n]{1,70})\r\n"
    rb"[ \t]*Content-Type:[ \t]*(?P<protocol>[^\r\n]+)\r\n"
    rb"[ \t]*OriginalContent:[ \t]*type=(?P<type>[^\r\n]*?);"
    rb"[ \t]*Length=(?P<length>\d{1,9})[ \t]*\r\n"
    rb"(?:[ \t]*\r\n)?"
    rb"--[ \t]*(?P=boundary)\r\n"
    rb"[ \t]*Content-Type:[ \t]*application/octet-stream[ \t]*\r\n",
    re.IGNORECASE,
)
_CHARSET = re.compile(r"""charset\s*=\s*"?([A-Za-z0-9_-]+)""", re.IGNORECASE)


class SealingProtocol(enum.StrEnum):
    """The `protocol` parameter, by the Authorization scheme that made the context."""

    SPNEGO = "application/HTTP-SPNEGO-session-encrypted"
    KERBEROS = "application/HTTP-Kerberos-session-encrypted"
    CREDSSP = "application/HTTP-CredSSP-session-encrypted"


class Sealer(Protocol):
    """An established security context."""

    def wrap(self, data: bytes) -> tuple[bytes, bytes, int]:
        """Return (signature, sealed data, length of padding added to the data)."""
        ...

    def unwrap(self, signature: bytes, data: bytes) -> bytes:
        """Return the clear data; raises ProtocolViolation when it was tampered with."""
        ...


def is_sealed(content_type: str) -> bool:
    """Tell by its Content-Type whether a body is encrypted."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("multipart/encrypted", "multipart/x-multi-encrypted")


def seal(sealer: Sealer, protocol: SealingProtocol, message: bytes) -> tuple[str, bytes]:
    """Return (Content-Type, body) of an encrypted UTF-8 envelope."""
    size = _CREDSSP_PART if protocol is SealingProtocol.CREDSSP else max(len(message), 1)
    chunks = [message[start : start + size] for start in range(0, len(message), size)] or [b""]
    kind = "multipart/encrypted" if len(chunks) == 1 else "multipart/x-multi-encrypted"
    body = b"".join(_part(sealer, protocol, chunk) for chunk in chunks) + _BOUNDARY + b"--\r\n"
    return f'{kind};protocol="{protocol}";boundary="Encrypted Boundary"', body


def unseal(sealer: Sealer, body: bytes) -> tuple[bytes, str]:
    """Return (clear message, its charset); raises ProtocolViolation."""
    clear: list[bytes] = []
    charset = "utf-8"
    position = 0
    while True:
        head = _FIRST_SECTION.match(body, position)
        if head is None:
            raise ProtocolViolation("an encrypted answer without its MIME sections")
        named = _CHARSET.search(head["type"].decode("latin-1"))
        charset = named[1] if named else charset
        data, end = _sealed_part(body, head)
        position = end.start()
        (signature_length,) = struct.unpack_from("<I", data)
        if signature_length > len(data) - 4:
            raise ProtocolViolation("an encrypted answer with a signature longer than itself")
        signed = 4 + signature_length
        opened = sealer.unwrap(data[4:signed], data[signed:])
        if len(opened) != int(head["length"]):
            raise ProtocolViolation("an encrypted answer whose length is not the announced one")
        clear.append(opened)
        if body.startswith(b"--", end.end()):
            return b"".join(clear), charset


def _part(sealer: Sealer, protocol: SealingProtocol, chunk: bytes) -> bytes:
    signature, data, padding = sealer.wrap(chunk)
    head = (
        f"--Encrypted Boundary\r\n\tContent-Type: {protocol}\r\n"
        "\tOriginalContent: type=application/soap+xml;charset=UTF-8;"
        f"Length={len(chunk) + padding}\r\n"
        "--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n"
    )
    return head.encode("ascii") + struct.pack("<I", len(signature)) + signature + data


def _sealed_part(body: bytes, head: re.Match[bytes]) -> tuple[bytes, re.Match[bytes]]:
    """Return the bytes of a part and the boundary found behind it."""
    start = head.end()
    least = start + 4 + int(head["length"])
    end = re.compile(rb"--[ \t]*" + re.escape(head["boundary"])).search(body, least)
    if end is None:
        raise ProtocolViolation("an encrypted answer without an end")
    return body[start : end.start()], end
