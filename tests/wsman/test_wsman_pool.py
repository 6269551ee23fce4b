"""The pool: how many connections, which one, for how long."""

from __future__ import annotations

import asyncio

import pytest
from tests.wsman.scripted_host import Answer, Request, machine
from tests.wsman.stage import VM, on_stage, plays

from cloudstack_hyperv.wsman import HostUnreachable, WsmanClient


async def slow(_: Request) -> Answer:
    await asyncio.sleep(0.02)
    return Answer(machine("a"))


async def read(client: WsmanClient, times: int) -> None:
    await asyncio.gather(*(client.get(VM) for _ in range(times)))


async def test_no_more_connections_than_the_maximum_serve_any_number_of_calls() -> None:
    async with on_stage(slow, max_connections=3) as (client, host):
        await read(client, 30)
        assert host.most_connections == 3
        assert len(host.requests) == 30
        assert "3 idle, 0 active of 3" in repr(client)


async def test_the_connection_used_last_is_used_next() -> None:
    async with on_stage(slow) as (client, host):
        await read(client, 4)
        await client.get(VM)
        last = host.requests[-1].connection
        await client.get(VM)
        assert host.requests[-1].connection == last


async def test_idle_connections_end_after_a_while() -> None:
    async with on_stage(slow, idle_seconds=0.1) as (client, host):
        await read(client, 4)
        assert "4 idle" in repr(client)
        for _ in range(4):
            await asyncio.sleep(0.05)
            await client.get(VM)
        assert "1 idle" in repr(client)
        await asyncio.sleep(0.25)
        assert "0 idle" in repr(client)
        assert host.open_connections == 0


async def test_a_hundred_cancelled_calls_leave_no_connection_and_no_blocked_place() -> None:
    async with on_stage(slow, max_connections=4) as (client, host):
        await client.get(VM)
        tasks = [asyncio.create_task(client.get(VM)) for _ in range(100)]
        for index, task in enumerate(tasks):
            if index % 10 == 0:
                await asyncio.sleep(0.005)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert any(isinstance(result, asyncio.CancelledError) for result in results)
        await read(client, 8)
        assert "0 active of 4" in repr(client)
        assert host.open_connections <= 4


async def test_one_dead_connection_makes_the_other_idle_ones_suspect() -> None:
    dying = False

    async def script(request: Request) -> Answer:
        await asyncio.sleep(0.02)
        return Answer(drop=True) if dying and request.connection <= 4 else Answer(machine("a"))

    async with on_stage(script) as (client, host):
        await read(client, 4)
        assert host.connections == 4
        dying = True
        assert (await client.get(VM)).string("ElementName") == "a"
        assert host.connections == 5
        assert "1 idle" in repr(client)


async def test_a_closed_client_refuses() -> None:
    async with on_stage(plays(Answer(machine("a")))) as (client, _):
        await client.close()
        with pytest.raises(HostUnreachable):
            await client.get(VM)
        await client.close()
