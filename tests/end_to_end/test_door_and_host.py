"""The direct door in front of a running emulated host: logs, stopping, checking."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from tests.emulation import Emulation, agent_context, running_emulation

from cloudstack_hyperv.cli.check import Verdict, examine
from cloudstack_hyperv.config import DirectDoorSettings
from cloudstack_hyperv.demo import conversation as say
from cloudstack_hyperv.doors.direct.server import DirectDoor
from cloudstack_hyperv.observe import configure_logs
from cloudstack_hyperv.resource.resource import Resource


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.asynccontextmanager
async def open_door(resource: Resource, folder: Path) -> AsyncIterator[tuple[DirectDoor, str]]:
    door = DirectDoor([resource], DirectDoorSettings(port=0, allow=("127.0.0.1",)), folder)
    listening = await door.start()
    try:
        yield door, f"https://127.0.0.1:{listening[0].port}/api/HypervResource/"
    finally:
        await door.stop(drain=0)


async def post(url: str, command: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=json.dumps(command), ssl=trusting()) as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_a_graceful_stop_lets_a_running_command_end(
    resource: Resource, tmp_path: Path
) -> None:
    async with open_door(resource, tmp_path) as (door, url):
        # The first poll takes two samples a second apart.
        command = {"hostGuid": "g", "hostName": "h", "hostId": 5}
        running = asyncio.create_task(post(f"{url}{say.AGENT}GetHostStatsCommand", command))
        await asyncio.sleep(0.4)
        assert not running.done()
        await door.stop()
        status, body = await running
        assert status == 200
        assert body[0][f"{say.AGENT}GetHostStatsAnswer"]["result"] is True
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(f"{url}{say.AGENT}ReadyCommand", {})


async def test_log_lines_carry_cloudstacks_logid_and_the_cost(
    resource: Resource, tmp_path: Path
) -> None:
    stream = io.StringIO()
    configure_logs("info", "json", stream)
    try:
        async with open_door(resource, tmp_path) as (_, url):
            context_map = {"logid": "1b6c0f3e", "job": "job-31"}
            await post(f"{url}{say.AGENT}ReadyCommand", {"contextMap": context_map})
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    answered = next(line for line in lines if line["event"] == "command answered")
    assert answered["logid"] == "1b6c0f3e"
    assert answered["command"] == "ReadyCommand"
    assert answered["host"] == "hv1"
    assert answered["round_trips"] == 1


async def test_two_hosts_are_told_apart_by_their_listening_address(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path / "a", name="HOSTA", memory_mib=4096) as one,
        running_emulation(tmp_path / "b", name="HOSTB", memory_mib=8192) as other,
        agent_context(one, name="a", listen="127.0.0.1") as first,
        agent_context(other, name="b", listen="127.0.0.2") as second,
    ):
        door = DirectDoor(
            [Resource(first), Resource(second)],
            DirectDoorSettings(port=0, allow=("127.0.0.0/8",)),
            tmp_path,
        )
        listening = await door.start()
        memory = {}
        for each in listening:
            url = f"https://{each.address}:{each.port}/api/HypervResource/"
            zone = say.Zone("192.0.2.10", "External", "", "", 0, 0, 0)
            status, body = await post(f"{url}{say.AGENT}StartupCommand", say.startup(zone))
            assert status == 200, body
            memory[each.host] = body[0][f"{say.AGENT}StartupRoutingCommand"]["memory"]
        await door.stop(drain=0)
    assert memory["b"] == 2 * memory["a"]


async def test_check_finds_a_good_host_good(emulated_host: Emulation) -> None:
    async with agent_context(emulated_host) as context:
        findings = {finding.subject: finding async for finding in examine(context)}
    assert findings["WinRM and login"].verdict is Verdict.GOOD
    assert findings["Hyper-V (root/virtualization/v2)"].verdict is Verdict.GOOD
    assert findings["private address"].verdict is Verdict.GOOD
    assert findings["local pool"].verdict is Verdict.GOOD
    assert "External" in findings["virtual switches"].found
    assert not [f for f in findings.values() if f.verdict is Verdict.BAD]


async def test_check_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path, switches=()) as emulation,
        agent_context(emulation, private_address="192.0.2.99", local_pool="D:\\x") as context,
    ):
        findings = {finding.subject: finding async for finding in examine(context)}
    for subject in ("private address", "local pool"):
        assert findings[subject].verdict is Verdict.BAD
        assert findings[subject].remedy
    assert findings["virtual switches"].verdict is Verdict.WARNING
