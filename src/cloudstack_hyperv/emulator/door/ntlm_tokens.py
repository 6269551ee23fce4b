"""What the emulated host reads in an NTLM AUTHENTICATE message besides what the library checks.

pyspnego verifies the response, but it wants the account's secret in a store under exactly the
domain and user name that the client sent, and it takes an all-zero channel binding for a right one.
So the names and the binding are read here; nothing is computed.

Source: [MS-NLMP] 2.2.1.3 AUTHENTICATE_MESSAGE, 2.2.2.1 AV_PAIR, 2.2.2.7 NTLMv2_CLIENT_CHALLENGE.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_AUTHENTICATE: Final = b"NTLMSSP\x00\x03\x00\x00\x00"
_UNICODE: Final = 0x00000001
_AV_END: Final = 0
_AV_CHANNEL_BINDINGS: Final = 10
_NO_BINDING: Final = b"\x00" * 16


@dataclass(frozen=True, slots=True)
class NtlmLogin:
    """Who an AUTHENTICATE message claims to be."""

    domain: str
    user: str
    channel_binding: bytes | None
    """MD5 of the channel bindings; None when absent or all zero."""


def read_authenticate(token: bytes) -> NtlmLogin | None:
    """Find an AUTHENTICATE message in a raw NTLM or SPNEGO token; None if there is none.

    A damaged message gives None too: the library then refuses it with its own error.
    """
    start = token.find(_AUTHENTICATE)
    if start < 0:
        return None
    message = token[start:]
    try:
        (flags,) = struct.unpack_from("<I", message, 60)
        encoding = "utf-16-le" if flags & _UNICODE else "latin-1"
        response = _field(message, 20)
        domain = _field(message, 28).decode(encoding)
        user = _field(message, 36).decode(encoding)
        binding = _channel_binding(response)
    except (struct.error, UnicodeDecodeError, IndexError):
        return None
    return NtlmLogin(domain, user, binding)


def _field(message: bytes, at: int) -> bytes:
    length, _, offset = struct.unpack_from("<HHI", message, at)
    if offset + length > len(message):
        raise IndexError("field outside the message")
    return message[offset : offset + length]


def _channel_binding(response: bytes) -> bytes | None:
    position = 16 + 28
    while position + 4 <= len(response):
        kind, length = struct.unpack_from("<HH", response, position)
        value = response[position + 4 : position + 4 + length]
        if kind == _AV_END:
            break
        if kind == _AV_CHANNEL_BINDINGS:
            return None if value == _NO_BINDING else value
        position += 4 + length
    return None
