r"""WinRM's message encryption: a SOAP envelope sealed by the login's security context.

Over plain http Windows demands that every message after the login is sealed.  The sealed body is a
MIME-like container with fixed text, not real MIME: header lines start with a tab, the second part
is binary and ends directly before the closing boundary.

    --Encrypted Boundary\r\n
    \tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n
    \tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=1234\r\n
    --Encrypted Boundary\r\n
    \tContent-Type: application/octet-stream\r\n
    <length of signature, 4 bytes little endian><signature><sealed data>
    --Encrypted Boundary--\r\n

CredSSP seals at most 16 KiB at once and repeats both parts for each piece.

Source: [MS-WSMV] 2.2.9.1 "Encrypted Message Types"; pypsrp's encryption.py as the reading client.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from spnego import ContextProxy

SPNEGO: Final = "application/HTTP-SPNEGO-session-encrypted"
KERBEROS: Final = "application/HTTP-Kerberos-session-encrypted"
CREDSSP: Final = "application/HTTP-CredSSP-session-encrypted"
_BOUNDARY: Final = b"Encrypted Boundary"
_CREDSSP_PIECE: Final = 16 * 1024
_MAX_SIGNATURE: Final = 1024

_HEADER = re.compile(
    rb"\s*Content-Type:\s*(?P<protocol>[^\r\n]+?)\s*\r\n"
    rb"\s*OriginalContent:\s*type=(?P<type>[^\r\n]*?);Length=(?P<length>[0-9]{1,9})\s*\r\n\Z",
    re.IGNORECASE,
)
_PAYLOAD_HEADER = re.compile(rb"\s*Content-Type:\s*application/octet-stream\r\n", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*\"?(?P<charset>[A-Za-z0-9_-]+)", re.IGNORECASE)


class BadSealing(ValueError):
    """The body is not a sealed message, or its length is not the announced one."""


@dataclass(frozen=True, slots=True)
class Unsealed:
    """A clear message and the content type (with charset) that it had before sealing."""

    data: bytes
    content_type: str


def is_sealed(content_type: str) -> bool:
    """Whether an HTTP Content-Type announces a sealed body."""
    return content_type.split(";", 1)[0].strip().lower() in (
        "multipart/encrypted",
        "multipart/x-multi-encrypted",
    )


def charset_of(content_type: str) -> str | None:
    """Return the charset parameter of a content type, as written; None if there is none."""
    found = _CHARSET.search(content_type)
    return found["charset"] if found else None


def unseal(context: ContextProxy, body: bytes) -> Unsealed:
    """Open a sealed body; raises BadSealing, or SpnegoError when the signature is wrong."""
    parts = body.split(b"--" + _BOUNDARY + b"\r\n")
    if len(parts) < 3 or len(parts) % 2 == 0 or parts[0].strip():
        raise BadSealing("not two parts between Encrypted Boundary lines")
    clear: list[bytes] = []
    content_type = ""
    for head, payload in zip(parts[1::2], parts[2::2], strict=True):
        header = _HEADER.match(head)
        start = _PAYLOAD_HEADER.match(payload)
        if header is None or start is None:
            raise BadSealing("a part without its header lines")
        end_mark = b"--" + _BOUNDARY + b"--\r\n"
        end = len(payload) - len(end_mark) if payload.endswith(end_mark) else len(payload)
        clear.append(_unseal_part(context, payload[start.end() : end], int(header["length"])))
        content_type = header["type"].decode("latin-1")
    return Unsealed(b"".join(clear), content_type)


def _unseal_part(context: ContextProxy, sealed: bytes, length: int) -> bytes:
    size = int.from_bytes(sealed[:4], "little")
    if size > _MAX_SIGNATURE or len(sealed) < 4 + size:
        raise BadSealing("the signature is longer than the part")
    data = context.unwrap_winrm(sealed[4 : 4 + size], sealed[4 + size :])
    if len(data) != length:
        raise BadSealing(f"{len(data)} bytes where Length announces {length}")
    return data


def seal(context: ContextProxy, protocol: str, message: bytes, charset: str) -> tuple[str, bytes]:
    """Seal an answer; returns its Content-Type and body."""
    if protocol == CREDSSP and len(message) > _CREDSSP_PIECE:
        kind = "multipart/x-multi-encrypted"
        pieces = [
            message[start : start + _CREDSSP_PIECE]
            for start in range(0, len(message), _CREDSSP_PIECE)
        ]
    else:
        kind = "multipart/encrypted"
        pieces = [message]
    body = bytearray()
    for piece in pieces:
        wrapped = context.wrap_winrm(piece)
        body += (
            f"--Encrypted Boundary\r\n\tContent-Type: {protocol}\r\n"
            f"\tOriginalContent: type=application/soap+xml;charset={charset};"
            f"Length={len(piece) + wrapped.padding_length}\r\n"
            "--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n"
        ).encode("ascii")
        body += len(wrapped.header).to_bytes(4, "little") + wrapped.header + wrapped.data
    body += b"--Encrypted Boundary--\r\n"
    return f'{kind};protocol="{protocol}";boundary="Encrypted Boundary"', bytes(body)
