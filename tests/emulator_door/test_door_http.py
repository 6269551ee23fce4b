"""The HTTP side of the door: paths, statuses, limits, slow and broken senders."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.emulator_door.doors import OpenDoor
from tests.emulator_door.raw_client import (
    CIMV2,
    SERVICE,
    SERVICE_KEY,
    SYSTEM,
    RawClient,
    enumerate_,
    get,
    invoke,
    machine_key,
)

from cloudstack_hyperv.emulator.door.settings import DoorSettings

OPEN = DoorSettings(basic=True, allow_unencrypted=True)
GOOD = get(SYSTEM, machine_key(1))


async def test_only_post_to_wsman_is_served(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    assert (await client.post(GOOD, path="/")).status == 404
    assert (await client.post(GOOD, path="/wsman/other")).status == 404
    refused = await client.post("", method="GET")
    assert (refused.status, refused.header("Allow")) == (405, "POST")
    assert (await client.post(GOOD, path="/wsman?PSVersion=5.1")).status == 200
    assert (await client.post(GOOD, path="/WSMAN")).status == 200


async def test_the_content_type_must_be_soap(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    for kind in ("text/xml", "application/json", "application/soap", ";"):
        assert (await client.post(GOOD, content_type=kind)).status == 415
    assert (await client.post(GOOD, content_type="application/soap+xml")).status == 200


async def test_one_connection_carries_many_requests(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    for _ in range(20):
        answer = await client.post(GOOD)
        assert answer.status == 200
        assert answer.header("Content-Type") == "application/soap+xml;charset=UTF-8"
        assert answer.header("Transfer-Encoding") is None


async def test_head_and_body_arrive_together(open_door: OpenDoor) -> None:
    """One write: a second small segment would wait for a delayed acknowledgement."""
    door = await open_door()
    client = await RawClient.connect(door)
    started = asyncio.get_running_loop().time()
    for _ in range(50):
        await client.post(GOOD)
    assert asyncio.get_running_loop().time() - started < 1.0


async def test_pipelined_requests_are_answered_in_order(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    first, second = get(SYSTEM, machine_key(1)), get(SYSTEM, machine_key(2))
    for text in (first, second):
        client.writer.write(
            f"POST /wsman HTTP/1.1\r\nHost: h\r\nAuthorization: {client.authorization}\r\n"
            "Content-Type: application/soap+xml\r\n"
            f"Content-Length: {len(text)}\r\n\r\n{text}".encode()
        )
    assert "vm1" in (await client.read()).text
    assert "vm2" in (await client.read()).text


async def test_expect_100_continue(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    body = GOOD.encode()
    client.writer.write(
        f"POST /wsman HTTP/1.1\r\nHost: h\r\nAuthorization: {client.authorization}\r\n"
        "Content-Type: application/soap+xml\r\nExpect: 100-continue\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
    )
    assert (await client.read()).status == 100
    client.writer.write(body)
    assert (await client.read()).status == 200


async def test_chunked_requests(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    body = GOOD.encode()
    client.writer.write(
        f"POST /wsman HTTP/1.1\r\nHost: h\r\nAuthorization: {client.authorization}\r\n"
        "Content-Type: application/soap+xml\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    for start in range(0, len(body), 700):
        piece = body[start : start + 700]
        client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    client.writer.write(b"0\r\n\r\n")
    assert (await client.read()).status == 200


async def test_a_request_above_the_envelope_limit_is_413(open_door: OpenDoor) -> None:
    door = await open_door(replace(OPEN, max_envelope_kb=16))
    client = await RawClient.connect(door)
    assert (await client.post(GOOD + " " * 40_000)).status == 413
    assert await client.ended()
    client = await RawClient.connect(door)
    client.writer.write(
        f"POST /wsman HTTP/1.1\r\nHost: h\r\nAuthorization: {client.authorization}\r\n"
        "Content-Type: application/soap+xml\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    client.writer.write(b"%x\r\n%b\r\n" % (60_000, b" " * 60_000))
    assert (await client.read()).status == 413
    assert await client.ended()


async def test_connection_close_is_honoured(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    assert (await client.post(GOOD, headers="Connection: close\r\n")).status == 200
    assert await client.ended()


@pytest.mark.parametrize(
    "sent",
    [
        b"NOT HTTP AT ALL\r\n\r\n",
        b"POST /wsman HTTP/1.1\r\nHost: h\r\nContent-Length: abc\r\n\r\n",
        b"POST /wsman HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /wsman HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /wsman HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 200_000,
    ],
)
async def test_broken_requests_end_the_connection_and_nothing_else(
    open_door: OpenDoor, sent: bytes
) -> None:
    door = await open_door(replace(OPEN, max_packet_retrieval_s=0.3))
    client = await RawClient.connect(door)
    client.writer.write(sent)
    async with asyncio.timeout(5):
        answer = await client.reader.read()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    other = await RawClient.connect(door)
    assert (await other.post(GOOD)).status == 200


async def test_a_sender_that_dawdles_is_cut_off(open_door: OpenDoor) -> None:
    door = await open_door(replace(OPEN, max_packet_retrieval_s=0.2))
    client = await RawClient.connect(door)
    client.writer.write(b"POST /wsman HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n<")
    started = asyncio.get_running_loop().time()
    assert (await client.read()).status == 408
    assert await client.ended()
    assert asyncio.get_running_loop().time() - started < 3
    slow_head = await RawClient.connect(door)
    slow_head.writer.write(b"POST /wsm")
    assert await slow_head.ended()


async def test_an_idle_connection_is_closed(open_door: OpenDoor) -> None:
    door = await open_door(replace(OPEN, idle_timeout_s=0.2))
    client = await RawClient.connect(door)
    assert (await client.post(GOOD)).status == 200
    assert await client.ended()


async def test_more_connections_than_allowed_get_503(open_door: OpenDoor) -> None:
    door = await open_door(replace(OPEN, max_connections=2))
    first, second = await RawClient.connect(door), await RawClient.connect(door)
    assert (await first.post(GOOD)).status == 200
    assert (await second.post(GOOD)).status == 200
    third = await RawClient.connect(door)
    assert (await third.post(GOOD)).status == 503
    assert await third.ended()
    await first.close()
    await asyncio.sleep(0.05)
    fourth = await RawClient.connect(door)
    assert (await fourth.post(GOOD)).status == 200


async def test_a_client_that_vanishes_leaves_no_trace(open_door: OpenDoor) -> None:
    door = await open_door()
    for _ in range(5):
        client = await RawClient.connect(door)
        client.writer.write(b"POST /wsman HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n<s:")
        client.writer.transport.abort()
    other = await RawClient.connect(door)
    assert (await other.post(enumerate_(CIMV2 + "Win32_Volume"))).status == 200


async def test_stop_lets_a_request_finish_and_closes_idle_connections(
    open_door: OpenDoor,
) -> None:
    door = await open_door()
    port = door.port
    idle, busy = await RawClient.connect(door), await RawClient.connect(door)
    await idle.post(GOOD)
    call = asyncio.create_task(
        busy.post(invoke(SERVICE, "Sleep", "<q:Seconds>0.3</q:Seconds>", SERVICE_KEY))
    )
    await asyncio.sleep(0.1)
    await door.server.stop(grace_s=5)
    answer = await call
    assert answer.status == 200
    assert answer.header("Connection") == "close"
    assert await idle.ended()
    assert door.server.endpoints == ()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
