"""Random bytes and random XML never break the door: it answers or closes, and serves the next."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import spnego
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.emulator_door.doors import ACCOUNTS, Door, OpenDoor
from tests.emulator_door.raw_client import (
    SERVICE,
    SERVICE_KEY,
    SYSTEM,
    RawClient,
    enumerate_,
    envelope,
    get,
    invoke,
    machine_key,
    pull,
)
from tests.emulator_door.small_host import SCHEMA, SmallHost

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.provider import Caller
from cloudstack_hyperv.emulator.door import sealing, soap
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.ntlm_tokens import read_authenticate
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.service import WsmanService
from cloudstack_hyperv.emulator.door.settings import Accounts, DoorSettings

SEEDS = [
    get(SYSTEM, machine_key(1)),
    enumerate_(SYSTEM, "<w:OptimizeEnumeration/><w:MaxElements>5</w:MaxElements>"),
    pull(SYSTEM, "uuid:x"),
    invoke(SERVICE, "Echo", "<q:Text>x</q:Text><q:Numbers>1</q:Numbers>", SERVICE_KEY),
    invoke(
        SERVICE,
        "AddResourceSettings",
        '<q:ResourceSettings>&lt;INSTANCE CLASSNAME="X"/></q:ResourceSettings>',
        SERVICE_KEY,
    ),
]
CALLER = Caller("Administrator")


def answer(text: str) -> int:
    service = WsmanService(CimEngine(SmallHost(), SCHEMA), DoorSettings())
    return asyncio.run(service.answer(text, CALLER)).status


@given(st.text())
@settings(max_examples=150)
def test_any_text_is_answered_with_a_fault(text: str) -> None:
    assert answer(text) == 500


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Return a good request with a piece cut out, doubled, moved or replaced."""
    text = draw(st.sampled_from(SEEDS))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 60)))
    piece = draw(st.sampled_from(["", text[start:end] * 2, "<x/>", "&", '"', "</s:Body>", "\x00"]))
    return text[:start] + piece + text[end:]


@given(damaged())
@settings(max_examples=300)
def test_damaged_requests_are_answered(text: str) -> None:
    assert answer(text) in (200, 500)


NAMES = st.sampled_from(
    ["p:X", "a:Address", "w:Filter", "w:Selector", "q:Text", "n:Enumerate", "n:Pull", "w:Items"]
)


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> str:
    name = draw(NAMES)
    inner = draw(st.text("ab <&>'\"", max_size=6)).replace("&", "&amp;").replace("<", "&lt;")
    if depth:
        inner += "".join(draw(st.lists(elements(depth - 1), max_size=2)))
    return f'<{name} xmlns:q="{SERVICE}" Name="x">{inner}</{name}>'


ACTIONS = st.sampled_from(
    [
        "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get",
        "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put",
        "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create",
        "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate",
        "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull",
        SERVICE + "/Echo",
        SERVICE + "/AddResourceSettings",
    ]
)


@given(ACTIONS, elements())
@settings(max_examples=300)
def test_random_bodies_are_answered(action: str, body: str) -> None:
    assert answer(envelope(action, SERVICE, body, SERVICE_KEY)) in (200, 500)


@given(st.binary(max_size=300))
def test_bytes_are_decoded_or_refused(body: bytes) -> None:
    for charset in ("UTF-8", "UTF-16", "nonsense"):
        with contextlib.suppress(WsmanFault):
            text, chosen = soap.decode(body, f"application/soap+xml;charset={charset}")
            assert chosen in ("UTF-8", "UTF-16")
            assert len(text) <= len(body)


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_ntlm_tokens_are_read_or_left(noise: bytes, tail: bytes) -> None:
    for token in (noise, b"NTLMSSP\0\x03\0\0\0" + noise, noise + b"NTLMSSP\0\x03\0\0\0" + tail):
        read_authenticate(token)


@given(st.binary(max_size=300))
def test_sealed_bodies_that_are_none(noise: bytes) -> None:
    context = spnego.client("u", "p", protocol="ntlm")
    framed = (
        b"--Encrypted Boundary\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n"
        b"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=5\r\n"
        b"--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n"
    )
    for body in (noise, framed + noise):
        with pytest.raises((sealing.BadSealing, spnego.exceptions.SpnegoError)):
            sealing.unseal(context, body)


@given(st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=3))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_random_bytes_on_a_socket(pieces: list[bytes]) -> None:
    """The server answers a good request after every kind of noise."""

    async def run() -> None:
        host = SmallHost()
        chosen = DoorSettings(
            basic=True, allow_unencrypted=True, max_packet_retrieval_s=0.05, idle_timeout_s=0.2
        )
        server = WsmanServer(CimEngine(host, SCHEMA), chosen, Accounts(ACCOUNTS, host.name))
        await server.start()
        door = Door(server, host)
        try:
            noisy = await RawClient.connect(door)
            for piece in pieces:
                noisy.writer.write(piece)
            noisy.writer.write_eof()
            async with asyncio.timeout(5):
                await noisy.reader.read()
            client = await RawClient.connect(door)
            assert (await client.post(SEEDS[0])).status == 200
        finally:
            while RawClient.opened:
                await RawClient.opened.pop().close()
            await server.stop(grace_s=1)

    asyncio.run(run())


async def test_deeply_nested_and_very_wide_bodies(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    deep = "<x>" * 60_000 + "</x>" * 60_000
    wide = "<q:Numbers>1</q:Numbers>" * 10_000
    assert (await client.post(deep)).status == 500
    assert (await client.post(invoke(SERVICE, "Echo", wide, SERVICE_KEY))).status == 200
