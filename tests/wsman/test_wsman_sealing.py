"""Encrypted bodies: what pypsrp seals we open, what we seal pypsrp opens, and nothing forged."""

from __future__ import annotations

import hashlib
import re
import struct
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypsrp.encryption import WinRMEncryption

from cloudstack_hyperv.wsman import ProtocolViolation
from cloudstack_hyperv.wsman.protocol.sealing import (
    SealingProtocol,
    is_sealed,
    seal,
    unseal,
)


class Wrapped(NamedTuple):
    header: bytes
    data: bytes
    padding_length: int


class XorContext:
    """A context with a signature and reversible bytes, for both libraries."""

    def wrap(self, data: bytes) -> tuple[bytes, bytes, int]:
        sealed = bytes(byte ^ 0x5A for byte in data)
        return hashlib.md5(data).digest(), sealed, 0  # noqa: S324 - it stands for a signature

    def unwrap(self, signature: bytes, data: bytes) -> bytes:
        clear = bytes(byte ^ 0x5A for byte in data)
        if hashlib.md5(clear).digest() != signature:  # noqa: S324 - it stands for a signature
            raise ProtocolViolation("forged")
        return clear

    def wrap_winrm(self, data: bytes) -> Wrapped:
        return Wrapped(*self.wrap(data))

    unwrap_winrm = unwrap


CONTEXT = XorContext()
PROTOCOLS = st.sampled_from(list(SealingProtocol))
BOUNDARY_SEALED = bytes(byte ^ 0x5A for byte in b"\r\n--Encrypted Boundary--\r\n")
MESSAGES = st.binary(max_size=200) | st.binary(max_size=40).map(lambda b: b + BOUNDARY_SEALED + b)
LONG = st.integers(0, 60_000).map(lambda size: (b"0123456789abcdef" * (size // 16 + 1))[:size])


def boundary(content_type: str) -> str:
    found = re.search('boundary="(.*)"', content_type)
    assert found is not None
    return found[1]


@given(MESSAGES | LONG, PROTOCOLS)
def test_what_we_seal_is_opened_by_us_even_with_a_boundary_inside(
    message: bytes, protocol: SealingProtocol
) -> None:
    content_type, body = seal(CONTEXT, protocol, message)
    assert is_sealed(content_type)
    assert unseal(CONTEXT, body) == (message, "UTF-8")


@given(st.binary(min_size=1, max_size=300) | LONG, PROTOCOLS)
def test_pypsrp_opens_what_we_seal(message: bytes, protocol: SealingProtocol) -> None:
    content_type, body = seal(CONTEXT, protocol, message)
    theirs = WinRMEncryption(CONTEXT, protocol.value)
    assert theirs.unwrap_message(body, boundary(content_type)) == message


@given(st.binary(min_size=1, max_size=300) | LONG.filter(bool), PROTOCOLS)
def test_we_seal_as_pypsrp_does(message: bytes, protocol: SealingProtocol) -> None:
    kind, body = WinRMEncryption(CONTEXT, protocol.value).wrap_message(message)
    content_type, ours = seal(CONTEXT, protocol, message)
    assert ours == body
    assert content_type.startswith(kind + f';protocol="{protocol}"')
    assert unseal(CONTEXT, body)[0] == message


def part(clear: bytes, *, length: int | None = None, head: str = "") -> bytes:
    signature, data, _ = CONTEXT.wrap(clear)
    head = head or (
        "--Encrypted Boundary\r\n"
        "Content-Type: application/HTTP-SPNEGO-session-encrypted\r\n"
        f"OriginalContent: type=application/soap+xml;charset=UTF-16;"
        f"Length={len(clear) if length is None else length}\r\n"
        "--Encrypted Boundary\r\nContent-Type: application/octet-stream\r\n"
    )
    return head.encode() + struct.pack("<I", len(signature)) + signature + data


END = b"--Encrypted Boundary--\r\n"


def test_the_charset_is_that_of_the_original_content() -> None:
    assert unseal(CONTEXT, part(b"abc") + END) == (b"abc", "UTF-16")


def test_a_boundary_with_a_blank_as_some_services_write_it() -> None:
    body = (part(b"abc") + END).replace(b"--Encrypted", b"-- Encrypted")
    assert unseal(CONTEXT, body)[0] == b"abc"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<s:Envelope/>",
        part(b"abc"),
        part(b"abc", length=4) + END,
        part(b"abc", length=2) + END,
        part(b"abc", length=10**9 - 1) + END,
        part(b"abc", head="--Encrypted Boundary\r\n") + END,
        part(b"abc").replace(struct.pack("<I", 16), struct.pack("<I", 2**31)) + END,
        part(b"abc")[:-1] + b"X" + END,
        part(b"abc") + b"--Encrypted Boundary\r\nmore" + END,
    ],
)
def test_bodies_that_are_refused(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        unseal(CONTEXT, body)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ('multipart/encrypted;protocol="x"', True),
        ("Multipart/X-Multi-Encrypted", True),
        ("application/soap+xml;charset=UTF-8", False),
        ("", False),
    ],
)
def test_sealed_by_content_type(content_type: str, expected: bool) -> None:
    assert is_sealed(content_type) is expected
