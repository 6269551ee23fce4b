"""How many simple Invokes a second one core carries through the door, measured by CPU time."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time

import pytest
from tests.emulator_door.doors import PASSWORD, OpenDoor
from tests.emulator_door.raw_client import SERVICE, SERVICE_KEY, basic, invoke

REQUESTS = 1500
WANTED_PER_SECOND = 600


def ask(port: int, request: bytes) -> None:
    """Send the request over and over on one connection, waiting for each answer."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(REQUESTS):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"</s:Envelope>"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.slow
async def test_simple_invokes_a_second(open_door: OpenDoor) -> None:
    door = await open_door()
    body = invoke(
        SERVICE, "Echo", "<q:Text>x</q:Text><q:Numbers>1</q:Numbers>", SERVICE_KEY
    ).encode()
    head = (
        "POST /wsman HTTP/1.1\r\nHost: h\r\nContent-Type: application/soap+xml;charset=UTF-8\r\n"
        f"Authorization: {basic('Administrator', PASSWORD)}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    client = multiprocessing.get_context("spawn").Process(target=ask, args=(door.port, head + body))
    started = time.process_time()
    client.start()
    await asyncio.to_thread(client.join)
    used = time.process_time() - started
    assert client.exitcode == 0
    assert door.server.calls.count == REQUESTS
    assert REQUESTS / used > WANTED_PER_SECOND
