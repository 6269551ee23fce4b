"""From the first byte to admission, refusal, loss and return."""

import asyncio
import time
from pathlib import Path

import pytest
import structlog
from tests.doors_agent.stage import GUID, Stage, staged, until
from tests.emulation import HOST_ADDRESS, Emulation
from tests.link.management_server import (
    IN_SEQUENCE,
    REQUEST,
    STOP_ON_ERROR,
    Authority,
    Gone,
    ManagementServer,
    answer,
    command,
    pack,
)

from cloudstack_hyperv.config import ConfigurationError, HostAgentSettings
from cloudstack_hyperv.doors.agent.configuration import name_based_uuid
from cloudstack_hyperv.resource.context import HostContext

REFUSAL = "com.cloud.utils.exception.CloudRuntimeException: No resource state adapter response"


async def test_startup_carries_configuration_and_host(stage: Stage) -> None:
    connection = await stage.connection()
    startup = await connection.receive()
    assert (startup.flags, startup.sequence) == (REQUEST, 0)
    assert (startup.ms, startup.agent, startup.via) == (-1, -1, -1)
    assert startup.names == ["StartupRoutingCommand", "StartupStorageCommand"]
    routing, storage = startup.contents
    assert routing["guid"] == f"{GUID}-HypervResource"
    assert routing["resourceName"] == "HypervResource"
    assert (routing["dataCenter"], routing["pod"], routing["cluster"]) == ("1", "1", "1")
    assert routing["name"] == "hv1"
    assert routing["privateIpAddress"] == HOST_ADDRESS
    assert routing["hypervisorType"] == "Hyperv"
    assert routing["msHostList"] == "127.0.0.1@static"
    assert routing["arch"] == routing["cpuArch"] == "x86_64"
    assert routing["connectionTransferred"] is False
    assert "id" not in routing
    assert routing["cpus"] > 0
    assert routing["memory"] > 2**30
    assert routing["hostDetails"]["emulated"] == "true"
    assert (
        routing["hostDetails"]["com.cloud.network.Networks.RouterPrivateIpStrategy"] == "HostLocal"
    )
    assert storage["resourceType"] == "STORAGE_POOL"
    assert storage["poolInfo"]["capacityBytes"] > 0
    assert storage["resourceName"] == "HypervResource"


async def test_the_first_startup_answer_is_no_admission_ready_is(stage: Stage) -> None:
    connection = await stage.connection()
    await connection.take_startup()
    got = await connection.ask(command("SetupCommand", needSetup=True))
    assert got.names == ["SetupAnswer"]
    assert not stage.agent.is_admitted
    for _ in range(2):
        ready = await connection.ask(
            command("ReadyCommand", hostId=5, dcId=1), flags=STOP_ON_ERROR | IN_SEQUENCE
        )
        assert ready.names == ["ReadyAnswer"]
        assert ready.contents[0]["result"] is True
        assert ready.flags == STOP_ON_ERROR | IN_SEQUENCE
    assert stage.agent.is_admitted


async def test_the_id_is_used_after_ready(stage: Stage) -> None:
    first = await stage.admitted()
    first.drop()
    second = await stage.connection()
    startup = await second.receive()
    assert (startup.agent, startup.via, startup.ms) == (5, 5, -1)
    assert startup.sequence == 1
    assert startup.contents[0]["id"] == 5


async def test_a_refusal_is_not_answered_and_logged_as_what_it_means(stage: Stage) -> None:
    with structlog.testing.capture_logs() as logs:
        connection = await stage.connection()
        await connection.take_startup()
        refusal = pack(
            REQUEST | STOP_ON_ERROR | IN_SEQUENCE,
            -1,
            [command("ReadyCommand", _details=REFUSAL)],
            agent=-1,
            ms=-1,
        )
        await connection.send_frame(refusal)
        with pytest.raises(Gone):
            await connection.receive(timeout=5)
        await stage.connection()  # it tries again, later
    [said] = [entry for entry in logs if "refuses" in entry["event"]]
    assert said["reason"] == REFUSAL
    assert "adapter" in said["meaning"]
    assert stage.server.accepted == 2


async def test_a_startup_answer_may_refuse_too(stage: Stage) -> None:
    with structlog.testing.capture_logs() as logs:
        connection = await stage.connection()
        startup = await connection.receive()
        await connection.respond(
            startup, answer("StartupAnswer", result=False, details="wrong hypervisor type")
        )
        assert await connection.closed()
    assert any("wrong hypervisor type" in str(entry.get("reason")) for entry in logs)


@pytest.mark.parametrize("style", ["joined", "bytes"])
async def test_peers_that_write_otherwise(
    host_context: HostContext, authority: Authority, tmp_path: Path, style: str
) -> None:
    async with (
        ManagementServer(authority.server_context(tls13=True), style).serving() as server,
        staged(host_context, authority, server, tmp_path) as stage,
    ):
        connection = await stage.admitted()
        assert (await connection.ask(command("CheckHealthCommand"))).names == ["CheckHealthAnswer"]


async def test_a_strict_server_and_a_configured_certificate(
    host_context: HostContext, authority: Authority, tmp_path: Path
) -> None:
    context = authority.server_context(demand_certificate=True)
    certificate, key = authority.client_files("strict")
    async with ManagementServer(context).serving() as server:
        async with staged(
            host_context, authority, server, tmp_path, certificate=str(certificate), key=str(key)
        ) as stage:
            connection = await stage.admitted()
            assert connection.tls.getpeercert()
        with structlog.testing.capture_logs() as logs:
            async with staged(host_context, authority, server, tmp_path):
                await until(lambda: "client certificate" in str(logs))


async def test_nobody_to_trust_is_told_at_start(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="trust_any_server"):
        async with staged(host_context, authority, server, tmp_path, ca_file=None):
            pass
    async with staged(
        host_context, authority, server, tmp_path, ca_file=None, trust_any_server=True
    ) as stage:
        await stage.admitted()


async def test_the_next_server_is_tried_and_avoided_ones_are_not(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    other = ManagementServer(authority.server_context(), address="127.0.0.3", port=server.port)
    servers = ("127.0.0.2", "127.0.0.1", "127.0.0.3")  # nobody listens at the first
    async with (
        other.serving(),
        staged(host_context, authority, server, tmp_path, servers=servers) as stage,
    ):
        first = await stage.admitted(avoidMsHostList=["127.0.0.3"])
        first.drop()
        again = await stage.admitted(avoidMsHostList=[])
        assert other.accepted == 0
        again.drop()
        assert await (await other.next()).admit()


async def test_no_startup_answer_ends_the_connection(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    async with staged(host_context, authority, server, tmp_path, startup_timeout=0.3) as stage:
        first = await stage.connection()
        assert await first.closed()
        began = time.monotonic()
        second = await stage.connection()
        assert await second.closed()
        assert time.monotonic() - began > 0.55  # twice as long the second time
        await stage.admitted()


async def test_many_breaks_in_the_middle_are_survived(stage: Stage) -> None:
    for cut in (0, 2, 4, 60, 300):
        connection = await stage.connection()
        await connection.take_startup()
        [(header, content)] = connection.packets(b"x" * 500)
        await connection.send_raw((header + content)[:cut])
        connection.drop()
    connection = await stage.admitted()
    assert (await connection.ask(command("CheckHealthCommand"))).contents[0]["result"] is True


async def test_a_host_that_cannot_be_reached_is_not_offered(
    host_context: HostContext,
    emulated_host: Emulation,
    authority: Authority,
    server: ManagementServer,
    tmp_path: Path,
) -> None:
    await emulated_host.server.stop(grace_s=0)
    with structlog.testing.capture_logs() as logs:
        async with staged(host_context, authority, server, tmp_path):
            await until(lambda: "host is not ready" in str(logs))
    assert server.accepted == 0


async def test_stopping_says_goodbye(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    async with staged(host_context, authority, server, tmp_path) as stage:
        connection = await stage.admitted()
        stopping = asyncio.create_task(stage.door.stop(drain=5))
        message = await connection.receive()
        assert message.names == ["ShutdownCommand"]
        assert message.contents[0]["reason"] == "sig.kill"
        assert message.contents[0]["removeHost"] is False
        assert await connection.closed()
        await stopping
    assert server.accepted == 1


async def test_a_guid_is_made_from_the_address_when_none_is_given(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    hosts = (HostAgentSettings(),)
    async with staged(host_context, authority, server, tmp_path, hosts=hosts) as stage:
        startup = await (await stage.connection()).receive()
    assert startup.contents[0]["guid"] == f"{name_based_uuid(HOST_ADDRESS)}-HypervResource"


async def test_a_bug_at_startup_is_logged_with_its_trace_and_tried_again(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with staged(host_context, authority, server, tmp_path) as stage:
            # Before the agent's first step: there was no await yet.
            stage.resource.startup_error = ZeroDivisionError("planted")
            await until(lambda: "internal error at Startup: ZeroDivisionError" in str(logs))
            stage.resource.startup_error = None
            await stage.admitted()
    assert any(entry.get("exc_info") for entry in logs)
