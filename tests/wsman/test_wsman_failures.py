"""What the client makes of connections that break, hosts that hang, and answers that are none."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.wsman.scripted_host import V2, Answer, Request, fault_body, machine, soap, whole
from tests.wsman.stage import SERVICE, VM, login, on_stage, plays

from cloudstack_hyperv.cim import Uint16
from cloudstack_hyperv.wsman import (
    AccessDenied,
    AuthScheme,
    ConnectionLost,
    DeadlineExceeded,
    EmbeddedInstance,
    Endpoint,
    HostUnreachable,
    ProtocolViolation,
    WsmanClient,
    WsmanError,
)

DONE = (
    f'<p:RequestStateChange_OUTPUT xmlns:p="{V2}Msvm_ComputerSystem">'
    "<p:ReturnValue>0</p:ReturnValue></p:RequestStateChange_OUTPUT>"
)


async def start(client: WsmanClient, **options: Any) -> int | None:
    result = await client.invoke(VM, "RequestStateChange", {"RequestedState": Uint16(2)}, **options)
    return result.return_value


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        client = WsmanClient(Endpoint("127.0.0.1", port, https=False), login())
        with pytest.raises(HostUnreachable, match=str(port)):
            await client.get(VM)


async def test_a_host_that_accepts_and_says_nothing_is_unreachable_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = Endpoint("127.0.0.1", silent.getsockname()[1], https=False)
        client = WsmanClient(endpoint, login(), connect_timeout=0.2)
        with pytest.raises(HostUnreachable, match=r"no connection within 0\.2 s"):
            await client.get(VM)


@pytest.mark.parametrize("scheme", [AuthScheme.NTLM, AuthScheme.BASIC])
async def test_a_call_whose_answer_is_lost_is_not_repeated(scheme: AuthScheme) -> None:
    script = plays(Answer(DONE), Answer(drop=True), Answer(DONE))
    async with on_stage(script, login(scheme)) as (client, host):
        assert await start(client) == 0
        with pytest.raises(ConnectionLost):
            await start(client)
        assert len(host.requests) == 2


async def test_a_read_is_repeated_once_when_its_kept_alive_connection_dies() -> None:
    script = plays(Answer(machine("a")), Answer(drop=True), Answer(machine("b")))
    async with on_stage(script) as (client, host):
        await client.get(VM)
        assert (await client.get(VM)).string("ElementName") == "b"
        assert host.connections == 2


async def test_a_read_is_not_repeated_a_second_time() -> None:
    script = plays(Answer(machine("a")), Answer(drop=True))
    async with on_stage(script) as (client, host):
        await client.get(VM)
        with pytest.raises(ConnectionLost):
            await client.get(VM)
        assert len(host.requests) == 3


async def test_a_read_on_a_new_connection_is_not_repeated() -> None:
    async with on_stage(plays(Answer(drop=True))) as (client, host):
        with pytest.raises(ConnectionLost):
            await client.get(VM)
        assert len(host.requests) == 1


async def test_a_connection_that_the_host_closed_while_idle_costs_a_call_nothing() -> None:
    async with on_stage(plays(Answer(DONE, close_after=True))) as (client, host):
        for _ in range(3):
            assert await start(client) == 0
            # The end of the stream must have arrived, else the call would be on a dying connection.
            await asyncio.sleep(0.05)
        assert host.connections == 3
        assert len(host.requests) == 3


@pytest.mark.parametrize(
    ("https", "error", "message"),
    [
        (False, HostUnreachable, "before the request was sent"),
        (True, ConnectionLost, "127.0.0.1"),
    ],
)
async def test_a_large_call_that_breaks_while_it_is_sent(
    https: bool, error: type[WsmanError], message: str, tmp_path: Path
) -> None:
    """The host reads the head, then closes: over plain TCP it cannot have the whole request."""
    calls = 0
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, limit=1024, ssl=tls if https else None
    )
    port = server.sockets[0].getsockname()[1]
    client = WsmanClient(
        Endpoint("127.0.0.1", port, https=https, ca_file=tmp_path / "ca.pem"),
        login(AuthScheme.BASIC),
        default_timeout=5,
    )
    huge = EmbeddedInstance("Msvm_X", {"Notes": ["x" * 12_000_000]})
    async with server:
        with pytest.raises(error, match=message):
            await client.invoke(SERVICE, "DefineSystem", {"SystemSettings": huge})
        await client.close()
    assert calls == 1, "it was a new connection: no second try"


async def test_our_deadline_ends_a_call_that_hangs_and_its_connection() -> None:
    async def script(request: Request) -> Answer:
        await asyncio.sleep(0 if "Get" in request.action else 30)
        return Answer(machine("a"))

    async with on_stage(script) as (client, host):
        await client.get(VM)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            await start(client, timeout=0.2)
        assert time.monotonic() - started < 1
        assert caught.value.request_sent
        assert "0 idle, 0 active" in repr(client)
        await client.get(VM)
        assert host.connections == 2


async def test_the_host_is_told_a_time_that_ends_before_ours() -> None:
    async with on_stage(plays(Answer(DONE))) as (client, host):
        await start(client, timeout=40)
    text = host.requests[0].text
    seconds = float(text.partition(">PT")[2].partition("S<")[0])
    assert 30 < seconds < 40


async def test_waiting_for_a_free_connection_ends_without_effect() -> None:
    async def script(_: Request) -> Answer:
        await asyncio.sleep(0.4)
        return Answer(DONE)

    async with on_stage(script, max_connections=1) as (client, host):
        first = asyncio.create_task(start(client))
        await asyncio.sleep(0.1)
        with pytest.raises(DeadlineExceeded) as caught:
            await start(client, timeout=0.2)
        assert not caught.value.request_sent
        await first
        assert len(host.requests) == 1


async def test_the_hosts_own_time_limit_is_a_deadline_exceeded() -> None:
    answer = Answer(fault_body("w:TimedOut", 2150858793), 500)
    async with on_stage(plays(answer)) as (client, _):
        with pytest.raises(DeadlineExceeded):
            await start(client)


async def test_a_cancelled_call_closes_its_connection() -> None:
    asked = asyncio.Event()

    async def script(_: Request) -> Answer:
        asked.set()
        await asyncio.sleep(30)
        return Answer(DONE)

    async with on_stage(script) as (client, _):
        task = asyncio.create_task(start(client))
        await asked.wait()
        assert "0 idle, 1 active" in repr(client)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "0 idle, 0 active" in repr(client)


NOT_HTTP = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<s:Envelope"


@pytest.mark.parametrize("scheme", [AuthScheme.NTLM, AuthScheme.BASIC])
@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (Answer(raw=NOT_HTTP), ProtocolViolation, "not HTTP"),
        (Answer(raw=HALF), ConnectionLost, "before its answer was complete"),
        (Answer(raw=b""), ConnectionLost, "closed by the host"),
        (Answer('<?xml version="1.0"?><html/>'), ProtocolViolation, "not a SOAP envelope"),
        (Answer('<?xml version="1.0"?>plain text'), ProtocolViolation, "not XML"),
        (Answer(""), ProtocolViolation, "without an envelope"),
        (Answer("", 500), ProtocolViolation, "HTTP 500"),
        (Answer(machine("a"), relates_to="uuid:OTHER"), ProtocolViolation, "another message"),
        (Answer("", 404), ProtocolViolation, "no WS-Management at /wsman"),
        (Answer("", 302), ProtocolViolation, "HTTP 302"),
        (Answer("", 403), AccessDenied, "HTTP 403"),
        (Answer("", 503), HostUnreachable, "HTTP 503"),
        (Answer("x" * 2_000_000), ProtocolViolation, "beyond"),
        (Answer("<a>" * 100 + "</a>" * 100), ProtocolViolation, "nested too deeply"),
        (
            Answer('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y "z">]><x>&y;</x>'),
            ProtocolViolation,
            "document type",
        ),
    ],
    ids=lambda value: value.envelope[:20] if isinstance(value, Answer) else None,
)
async def test_answers_that_are_none(
    scheme: AuthScheme, answer: Answer, error: type[WsmanError], message: str
) -> None:
    async with on_stage(plays(answer), login(scheme)) as (client, _):
        with pytest.raises(error, match=message):
            await client.get(VM)
        assert "0 idle, 0 active" in repr(client), "a doubtful connection is not kept"


async def test_a_body_that_is_not_what_was_asked_for() -> None:
    async with on_stage(plays(Answer(machine("a") + machine("b")))) as (client, _):
        with pytest.raises(ProtocolViolation, match="holds 2 elements"):
            await client.get(VM)
        with pytest.raises(ProtocolViolation, match="no EnumerateResponse"):
            await client.enumerate("Msvm_ComputerSystem")
        with pytest.raises(ProtocolViolation, match="RequestStateChange was answered with"):
            await start(client)


async def test_a_charset_that_soap_does_not_have() -> None:
    answer = Answer(machine("a"), content_type="text/xml; charset=koi8-r")
    async with on_stage(plays(answer), login(AuthScheme.BASIC)) as (client, _):
        with pytest.raises(ProtocolViolation, match="koi8-r"):
            await client.get(VM)


async def test_an_answer_in_clear_text_on_an_encrypted_connection_is_refused() -> None:
    for answer in (
        Answer(machine("a"), clear=True),
        Answer(fault_body("w:InvalidSelectors", 2150858813), 500, clear=True),
    ):
        async with on_stage(plays(answer)) as (client, _):
            with pytest.raises(ProtocolViolation, match="unencrypted answer"):
                await client.get(VM)


async def test_a_sealed_answer_that_was_changed_on_the_way_is_refused() -> None:
    async with on_stage(plays(Answer(machine("a"), tamper=True))) as (client, _):
        with pytest.raises(ProtocolViolation, match="cannot open"):
            await client.get(VM)


async def test_bytes_that_drip_are_put_together_and_bounded_by_the_deadline() -> None:
    answer = Answer(whole(*(machine(f"vm{number}") for number in range(4))), byte_by_byte=True)
    async with on_stage(plays(answer)) as (client, _):
        assert len(await client.enumerate("Msvm_ComputerSystem")) == 4
        with pytest.raises(DeadlineExceeded):
            await client.enumerate("Msvm_ComputerSystem", timeout=0.05)


async def test_an_answer_that_ends_with_the_connection_is_complete() -> None:
    """HTTP/1.0 has no length: the end of the stream is the end of the body."""

    def script(request: Request) -> Answer:
        text = soap(machine("a"), request.message_id)
        return Answer(raw=b"HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\n\r\n" + text.encode())

    async with on_stage(script, login(AuthScheme.BASIC)) as (client, host):
        for _ in range(2):
            assert (await client.get(VM)).string("ElementName") == "a"
        assert host.connections == 2


async def test_after_close_nothing_is_sent() -> None:
    async with on_stage(plays(Answer(machine("a")))) as (client, host):
        await client.get(VM)
        await client.close()
        with pytest.raises(HostUnreachable, match="closed"):
            await client.get(VM)
        assert len(host.requests) == 1


async def test_close_ends_the_calls_under_way() -> None:
    async def script(_: Request) -> Answer:
        await asyncio.sleep(30)
        return Answer(DONE)

    async with on_stage(script) as (client, host):
        task = asyncio.create_task(start(client))
        while not host.requests:  # noqa: ASYNC110 - the host tells by its list
            await asyncio.sleep(0.01)
        await client.close()
        with pytest.raises(WsmanError):
            await asyncio.wait_for(task, 2)
