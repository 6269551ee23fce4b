"""Signs of life: with a whole report, without one, and none for a dead host."""

import asyncio
from pathlib import Path

import structlog
from tests.doors_agent.stage import Stage, staged, until
from tests.emulation import Emulation
from tests.link.management_server import (
    REQUEST,
    STOP_ON_ERROR,
    Authority,
    ManagementServer,
    command,
)

from cloudstack_hyperv.resource.context import HostContext


async def test_a_ping_every_interval_with_the_state_of_every_vm(stage: Stage) -> None:
    connection = await stage.admitted(ping_interval=0)
    for number in (1, 2):
        ping = await connection.receive(timeout=3)
        assert (ping.flags, ping.sequence) == (REQUEST | STOP_ON_ERROR, number)
        assert (ping.ms, ping.agent, ping.via) == (-1, 5, 5)
        [body] = ping.contents
        assert body["hostType"] == "Routing"
        assert body["hostId"] == 5
        assert body["_hostVmStateReport"] == {}
        assert body["_gatewayAccessible"] is True
        assert body["_vnetAccessible"] is True
        assert body["outOfBand"] is False
        assert body["commandInfos"] == []
        await connection.answer_ping(ping)


async def test_the_report_names_state_and_host(stage: Stage) -> None:
    stage.resource.states = {"i-2-17-VM": "PowerOn", "r-6-VM": "PowerOff"}
    connection = await stage.admitted(ping_interval=0)
    [body] = (await connection.receive(timeout=3)).contents
    assert body["_hostVmStateReport"] == {
        "i-2-17-VM": {"state": "PowerOn", "host": "hv1"},
        "r-6-VM": {"state": "PowerOff", "host": "hv1"},
    }


async def test_pings_begin_after_the_startup_answer_before_ready(stage: Stage) -> None:
    connection = await stage.connection()
    await connection.take_startup(ping_interval=0)
    ping = await connection.receive(timeout=3)
    assert ping.names == ["PingRoutingCommand"]
    assert ping.contents[0]["hostId"] == 0


async def test_a_host_that_cannot_be_asked_is_never_reported_empty(
    stage: Stage, emulated_host: Emulation
) -> None:
    connection = await stage.admitted(ping_interval=0)
    await emulated_host.server.stop(grace_s=0)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            ping = await connection.receive(timeout=5)
            assert "_hostVmStateReport" not in ping.contents[0]
            await connection.answer_ping(ping)
        # The third time nothing is sent: the management server shall investigate.
        await until(lambda: "pings stop" in str(logs))
    health = await connection.ask(command("CheckHealthCommand"))
    assert health.names == ["CheckHealthAnswer"]
    assert health.contents[0]["result"] is False
    assert not connection.reader.at_eof()


async def test_a_ping_never_waits_for_a_command(stage: Stage) -> None:
    async def for_ever(_: object) -> object:
        await asyncio.Event().wait()
        return None

    stage.resource.plays["StopCommand"] = for_ever  # type: ignore[assignment]
    connection = await stage.admitted(ping_interval=0)
    for _ in range(60):  # more than there are workers
        await connection.request(command("StopCommand", vmName="i-2-3-VM"))
    assert (await connection.receive(timeout=3)).names == ["PingRoutingCommand"]


async def test_unanswered_pings_end_the_connection(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    async with staged(host_context, authority, server, tmp_path, ping_retries=2) as stage:
        connection = await stage.admitted(ping_interval=0)
        for _ in range(2):
            assert (await connection.receive(timeout=3)).is_request
        assert await connection.closed(timeout=3)
        await stage.admitted()


async def test_send_startup_asks_for_startup_on_the_same_connection(stage: Stage) -> None:
    connection = await stage.admitted(ping_interval=0)
    ping = await connection.receive(timeout=3)
    await connection.answer_ping(ping, sendStartup=True)
    startup = await connection.take_startup(ping_interval=0)
    assert startup.names[0] == "StartupRoutingCommand"
    assert startup.flags == REQUEST
    assert startup.agent == 5
    again = await connection.receive(timeout=3)
    assert again.names == ["PingRoutingCommand"]
    assert stage.server.accepted == 1


async def test_a_ping_answer_names_servers_to_avoid(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    other = ManagementServer(authority.server_context(), address="127.0.0.2", port=server.port)
    servers = ("127.0.0.1", "127.0.0.2")
    async with (
        other.serving(),
        staged(host_context, authority, server, tmp_path, servers=servers) as stage,
    ):
        connection = await stage.admitted(ping_interval=0)
        ping = await connection.receive(timeout=3)
        await connection.answer_ping(ping, avoidMsList=["127.0.0.2"])
        await connection.ask(command("CheckHealthCommand"))
        connection.drop()
        await stage.admitted()
        assert other.accepted == 0
