"""Commands on an open connection: side by side, in order, again and again, broken off."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.doors_agent.stage import Play, Stage, staged
from tests.link.management_server import (
    FROM_SERVER,
    IN_SEQUENCE,
    MS_ID,
    REQUEST,
    STOP_ON_ERROR,
    AgentConnection,
    Authority,
    ManagementServer,
    command,
    pack,
)

from cloudstack_hyperv.config import HostAgentSettings
from cloudstack_hyperv.messages import Answer, Command, UnsupportedAnswer
from cloudstack_hyperv.messages.answers.vm import StopAnswer
from cloudstack_hyperv.messages.commands.system_vm import ConsoleAccessAuthenticationCommand
from cloudstack_hyperv.messages.commands.vm import StopCommand
from cloudstack_hyperv.resource.context import HostContext

FRAMES = Path(__file__).parent.parent / "wire" / "frames"


def stats(count: int) -> dict[str, object]:
    return command("GetVmStatsCommand", vmNames=[f"i-2-{n}-VM" for n in range(count)])


def gated(gate: asyncio.Event) -> Play:
    async def play(stop: Command) -> Answer:
        assert isinstance(stop, StopCommand)
        await gate.wait()
        return StopAnswer(result=stop.vm_name != "locked", details="vm is locked")

    return play


def stop(name: str = "i-2-3-VM") -> dict[str, object]:
    return command("StopCommand", vmName=name)


async def test_a_real_command_on_the_real_host(stage: Stage) -> None:
    connection = await stage.admitted()
    got = await connection.ask(command("GetHostStatsCommand", hostGuid="g", hostName="hv1"))
    assert got.names == ["GetHostStatsAnswer"]
    assert got.contents[0]["result"] is True, got.contents[0]
    assert got.flags == STOP_ON_ERROR
    assert (got.ms, got.agent, got.via) == (MS_ID, 5, 5)


async def test_requests_run_side_by_side_and_are_answered_as_they_end(stage: Stage) -> None:
    gate = asyncio.Event()
    stage.resource.plays["StopCommand"] = gated(gate)
    connection = await stage.admitted()
    slow = await connection.request(stop(), flags=STOP_ON_ERROR | IN_SEQUENCE)
    quick = await connection.ask(command("CheckHealthCommand"))
    assert quick.names == ["CheckHealthAnswer"]
    gate.set()
    late = await connection.receive()
    assert (late.sequence, late.names) == (slow, ["StopAnswer"])
    assert late.flags == STOP_ON_ERROR | IN_SEQUENCE


async def test_commands_of_one_request_run_in_order_until_one_fails(stage: Stage) -> None:
    gate = asyncio.Event()
    gate.set()
    stage.resource.plays["StopCommand"] = gated(gate)
    connection = await stage.admitted()
    both = (stop("locked"), command("CheckHealthCommand"), command("CheckHealthCommand"))
    got = await connection.ask(*both)
    assert got.names == ["StopAnswer", "Answer", "Answer"]
    assert got.contents[1]["details"] == "Stopped by previous failure"
    got = await connection.ask(*both, flags=0)
    assert got.names == ["StopAnswer", "CheckHealthAnswer", "CheckHealthAnswer"]
    assert [one["result"] for one in got.contents] == [False, True, True]


@pytest.mark.parametrize(
    ("name", "most"), [("AgentControlCommand", 4096), ("StopCommand", 4096), ("StopCommand", 40)]
)
async def test_no_request_of_a_burst_is_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr("cloudstack_hyperv.doors.agent.parts.MOST_REQUESTS", most)
    seen = 0

    async def play(_: Command) -> Answer:
        nonlocal seen
        seen = max(seen, len(stage.agent._parts.running))
        await asyncio.sleep(0)
        return StopAnswer(result=True)

    stage.resource.plays["StopCommand"] = play
    connection = await stage.admitted()
    count = 1000
    burst = command(name, vmName="i-2-3-VM")
    frames = [
        pack(REQUEST | FROM_SERVER | STOP_ON_ERROR, 10_000 + n, [burst]) for n in range(count)
    ]
    await connection.send_raw(
        b"".join(
            header + content for frame in frames for header, content in connection.packets(frame)
        )
    )
    answered: set[int] = set()
    while len(answered) < count:
        message = await connection.receive()
        assert message.names == [name.replace("Command", "Answer")]
        answered.add(message.sequence)
    assert answered == {10_000 + n for n in range(count)}
    assert seen <= most


@pytest.mark.parametrize(("workers", "most"), [(3, 3), (50, 40)])
async def test_no_more_requests_run_than_there_are_workers(
    host_context: HostContext,
    authority: Authority,
    server: ManagementServer,
    tmp_path: Path,
    workers: int,
    most: int,
) -> None:
    running = seen = 0

    async def play(_: Command) -> Answer:
        nonlocal running, seen
        running += 1
        seen = max(seen, running)
        await asyncio.sleep(0.01)
        running -= 1
        return StopAnswer(result=True)

    async with staged(host_context, authority, server, tmp_path, workers=workers) as stage:
        stage.resource.plays["StopCommand"] = play
        connection = await stage.admitted()
        for _ in range(40):
            await connection.request(stop())
        # The host's health is told although all places are taken.
        health = await connection.request(command("CheckHealthCommand"))
        got = [(await connection.receive()).sequence for _ in range(41)]
        assert health in got
        assert seen == most


async def test_gzip_both_ways_and_large_frames(stage: Stage) -> None:
    async def play(_: Command) -> Answer:
        return Answer(result=True, details="x" * 100_000)

    stage.resource.plays["GetVmStatsCommand"] = play
    connection = await stage.admitted()
    await connection.request(stats(9000), squeeze=True)
    message = await connection.receive()
    assert message.compressed
    assert len(message.contents[0]["details"]) == 100_000
    await connection.request(stats(9000), squeeze=False)  # a plain frame of 100 kB
    assert (await connection.receive()).compressed
    await connection.request(command("CheckHealthCommand"), squeeze=True)
    assert not (await connection.receive()).compressed


@pytest.mark.parametrize(
    "name",
    [
        "40-version-v2",
        "41-version-v3",
        "42-version-9",
        "43-truncated-header",
        "49-bad-gzip",
        "50-gzip-length-too-small",
        "54-null-answer",
    ],
)
async def test_bad_frames_are_dropped_and_the_connection_stays(stage: Stage, name: str) -> None:
    connection = await stage.admitted()
    await connection.send_frame((FRAMES / f"{name}.bin").read_bytes())
    assert (await connection.ask(command("CheckHealthCommand"))).contents[0]["result"] is True


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("44-truncated-body", ["UnsupportedAnswer"]),
        ("45-unknown-class", ["UnsupportedAnswer"]),
        ("46-bad-json", ["UnsupportedAnswer"]),
        ("47-object-not-array", ["UnsupportedAnswer"]),
        ("48-empty-array", []),
    ],
)
async def test_requests_that_cannot_be_read_are_answered(
    stage: Stage, name: str, answers: list[str]
) -> None:
    connection = await stage.admitted()
    await connection.send_frame((FRAMES / f"{name}.bin").read_bytes())
    assert (await connection.receive()).names == answers


async def test_an_unsupported_command_says_so(stage: Stage) -> None:
    connection = await stage.admitted()
    got = await connection.ask(command("PrepareOCFS2NodesCommand"))
    assert got.names == ["UnsupportedAnswer"]
    assert "PrepareOCFS2NodesCommand" in got.contents[0]["details"]


async def test_a_bug_costs_one_answer_and_no_more(stage: Stage) -> None:
    async def play(_: Command) -> Answer:
        raise ZeroDivisionError("planted-secret")

    stage.resource.plays["StopCommand"] = play
    connection = await stage.admitted()
    got = await connection.ask(stop())
    assert got.contents[0]["result"] is False
    assert "planted-secret" not in json.dumps(got.body)
    assert (await connection.ask(command("CheckHealthCommand"))).contents[0]["result"] is True


async def test_cron_commands_are_answered_at_once_and_then_every_interval(stage: Stage) -> None:
    runs = 0

    async def play(_: Command) -> Answer:
        nonlocal runs
        runs += 1
        return Answer(result=True, details=f"run {runs}")

    stage.resource.plays["CleanupNetworkRulesCmd"] = play
    connection = await stage.admitted()
    first = await connection.ask(command("CleanupNetworkRulesCmd", interval=0))
    assert (first.names, first.contents[0]["result"]) == (["Answer"], True)
    assert "details" not in first.contents[0]
    for number in (1, 2, 3):
        again = await connection.receive(timeout=5)
        assert (again.sequence, again.flags) == (first.sequence, first.flags)
        assert again.contents[0]["details"] == f"run {number}"
    connection.drop()
    await stage.admitted()
    done = runs
    await asyncio.sleep(0.3)
    assert runs == done  # the timer died with its connection


async def test_a_cron_command_that_nobody_handles_is_told_once(stage: Stage) -> None:
    async def play(_: Command) -> Answer:
        return UnsupportedAnswer(result=False)

    stage.resource.plays["CleanupNetworkRulesCmd"] = play
    connection = await stage.admitted()
    first = await connection.ask(command("CleanupNetworkRulesCmd", interval=0))
    assert (await connection.receive()).names == ["UnsupportedAnswer"]
    with pytest.raises(TimeoutError):
        await connection.receive(timeout=0.4)
    assert first.contents[0]["result"] is True


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AgentControlCommand", "AgentControlAnswer"),
        ("ConsoleAccessAuthenticationCommand", "AgentControlAnswer"),
        ("MaintainCommand", "MaintainAnswer"),
    ],
)
async def test_commands_to_the_agent(stage: Stage, name: str, expected: str) -> None:
    connection = await stage.admitted()
    got = await connection.ask(command(name))
    assert got.names[0].endswith("Answer")
    assert got.names == [expected]
    assert got.contents[0]["result"] is True
    assert got.contents[0].get("willMigrate") in (None, True)
    assert (await connection.ask(command("CheckHealthCommand"))).contents[0]["result"] is True


async def test_a_request_can_be_cancelled(stage: Stage) -> None:
    stage.resource.plays["StopCommand"] = gated(asyncio.Event())
    connection = await stage.admitted()
    slow = await connection.request(stop())
    await connection.request(command("CancelCommand", sequence=slow, reason="user"))
    got = {(await connection.receive()).sequence for _ in range(2)}
    assert slow in got
    unknown = await connection.ask(command("CancelCommand", sequence=4711))
    assert unknown.contents[0]["result"] is False


async def test_answers_of_a_lost_connection_are_dropped(stage: Stage) -> None:
    gate = asyncio.Event()
    stage.resource.plays["StopCommand"] = gated(gate)
    first = await stage.admitted()
    await first.request(stop())
    await first.ask(command("CheckHealthCommand"))
    first.drop()
    second = await stage.admitted()
    gate.set()
    assert (await second.ask(command("CheckHealthCommand"))).names == ["CheckHealthAnswer"]
    with pytest.raises(TimeoutError):
        await second.receive(timeout=0.2)


async def test_running_commands_end_before_the_agent_stops_and_new_ones_do_not_begin(
    stage: Stage,
) -> None:
    gate = asyncio.Event()
    stage.resource.plays["StopCommand"] = gated(gate)
    connection = await stage.admitted()
    slow = await connection.request(stop())
    await connection.ask(command("CheckHealthCommand"))
    stopping = asyncio.create_task(stage.door.stop(drain=5))
    await asyncio.sleep(0.05)
    late = await connection.ask(stop("other"))
    assert late.contents[0]["details"] == "the agent is stopping"
    gate.set()
    assert await _names(connection) == [(slow, "StopAnswer"), (None, "ShutdownCommand")]
    await stopping


async def test_what_does_not_end_in_time_is_broken_off_and_answered(stage: Stage) -> None:
    stage.resource.plays["StopCommand"] = gated(asyncio.Event())
    connection = await stage.admitted()
    slow = await connection.request(stop())
    await connection.ask(command("CheckHealthCommand"))
    stopping = asyncio.create_task(stage.door.stop(drain=0.05))
    message = await connection.receive()
    assert (message.sequence, message.names) == (slow, ["StopAnswer"])
    assert message.contents[0]["details"] == "cancelled: the agent stops"
    assert (await connection.receive()).names == ["ShutdownCommand"]
    await stopping


async def _names(connection: AgentConnection) -> list[tuple[int | None, str]]:
    messages = [await connection.receive() for _ in range(2)]
    return [(None if one.is_request else one.sequence, one.names[0]) for one in messages]


async def test_control_commands_of_the_agent_s_own(stage: Stage) -> None:
    connection = await stage.admitted()
    asking = asyncio.create_task(
        stage.agent.control(ConsoleAccessAuthenticationCommand(), timeout=5)
    )
    message = await connection.receive()
    assert message.flags == REQUEST | STOP_ON_ERROR
    assert (message.ms, message.agent) == (-1, 5)
    await connection.respond(message, {"com.cloud.agent.api.AgentControlAnswer": {"result": True}})
    assert (await asking).result
    with pytest.raises(TimeoutError):
        await stage.agent.control(ConsoleAccessAuthenticationCommand(), timeout=0.05)


async def test_several_hosts_in_one_process_each_on_its_own_connection(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    hosts = tuple(HostAgentSettings(guid=guid) for guid in "abc")
    async with staged(host_context, authority, server, tmp_path, hosts=hosts) as stage:
        connections = [await server.next() for _ in hosts]
        guids = {(await each.admit()).contents[0]["guid"] for each in connections}
        assert guids == {"a-HypervResource", "b-HypervResource", "c-HypervResource"}
        connections[0].drop()
        got = await connections[1].ask(command("CheckHealthCommand"))
        assert got.contents[0]["result"] is True
        await (await server.next()).admit()
        assert all(agent.is_admitted for agent in stage.door.agents)
