"""Commands by which CloudStack learns whether a host is there and fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.emulation import Emulation, agent_context, running_emulation
from tests.resource_host.storage_stage import StorageStage

from cloudstack_hyperv.emulator.host.config import SwitchKind, SwitchPlan
from cloudstack_hyperv.messages import Command
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.host import (
    CheckHealthAnswer,
    CheckNetworkAnswer,
    CheckOnHostAnswer,
    MaintainAnswer,
    ReadyAnswer,
    SetupAnswer,
)
from cloudstack_hyperv.messages.commands.host import (
    CheckHealthCommand,
    CheckNetworkCommand,
    CheckOnHostCommand,
    MaintainCommand,
    PingCommand,
    PingRoutingCommand,
    ReadyCommand,
    SetupCommand,
)
from cloudstack_hyperv.messages.objects.host import HostTO, PhysicalNetworkSetupInfo
from cloudstack_hyperv.resource.resource import Resource


async def test_ready_command_is_true_when_everything_works(resource: Resource) -> None:
    answer = await resource.execute(ReadyCommand())
    assert isinstance(answer, ReadyAnswer)
    assert answer.result


async def test_ready_command_takes_one_round_trip(
    resource: Resource, capsys: pytest.CaptureFixture[str]
) -> None:
    await resource.execute(ReadyCommand())
    assert "round_trips=1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [ReadyCommand(), CheckHealthCommand(), PingRoutingCommand(), SetupCommand()],
    ids=lambda command: type(command).__name__,
)
async def test_a_host_that_is_gone_is_not_reported_alive(
    emulated_host: Emulation, resource: Resource, command: Command
) -> None:
    assert (await resource.execute(command)).result
    await emulated_host.server.stop(grace_s=0)
    answer = await resource.execute(command)
    assert not answer.result
    assert "cannot reach the host" in (answer.details or "")


async def test_ready_command_is_false_with_a_wrong_password(emulated_host: Emulation) -> None:
    from cloudstack_hyperv.resource.context import HostContext
    from cloudstack_hyperv.storage.folder_files import FolderFiles
    from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient

    settings, host = emulated_host.settings()
    client = WsmanClient(
        Endpoint("127.0.0.1", emulated_host.port, https=False),
        Credentials(AuthScheme.BASIC, "Administrator", "wrong", allow_clear_text=True),
    )
    try:
        resource = Resource(HostContext(settings, host, client, FolderFiles(host.mounts)))
        answer = await resource.execute(ReadyCommand())
    finally:
        await client.close()
    assert not answer.result
    assert "login" in (answer.details or "")
    assert "wrong" not in (answer.details or "")


async def test_setup_command_never_asks_for_a_reconnect(resource: Resource) -> None:
    answer = await resource.execute(SetupCommand(need_setup=True))
    assert isinstance(answer, SetupAnswer)
    assert answer.result
    assert answer.reconnect is False


async def test_setup_command_warns_of_a_host_without_switches(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path, switches=()) as emulation,
        agent_context(emulation) as context,
    ):
        answer = await Resource(context).execute(SetupCommand())
    assert answer.result
    assert "no virtual switch" in (answer.details or "")


async def test_check_health_command_makes_a_fresh_round_trip(resource: Resource) -> None:
    answer = await resource.execute(CheckHealthCommand())
    assert isinstance(answer, CheckHealthAnswer)
    assert answer.result


async def test_maintain_command_lets_cloudstack_migrate(resource: Resource) -> None:
    answer = await resource.execute(MaintainCommand())
    assert isinstance(answer, MaintainAnswer)
    assert answer.result
    assert answer.will_migrate


async def test_ping_command_of_old_servers_looks_at_the_host(
    emulated_host: Emulation, resource: Resource
) -> None:
    answer = await resource.execute(PingCommand())
    assert type(answer) is Answer
    assert answer.result
    await emulated_host.server.stop(grace_s=0)
    assert not (await resource.execute(PingCommand())).result


async def test_ping_routing_command_is_a_plain_answer(resource: Resource) -> None:
    answer = await resource.execute(PingRoutingCommand(host_id=5))
    assert type(answer) is Answer
    assert answer.result


async def test_check_on_host_command_never_declares_a_host_dead(resource: Resource) -> None:
    for host in (None, HostTO(guid="x")):
        answer = await resource.execute(CheckOnHostCommand(host=host))
        assert isinstance(answer, CheckOnHostAnswer)
        assert (answer.result, answer.determined, answer.alive) == (False, False, False)


async def check_labels(storage: StorageStage, **labels: Any) -> CheckNetworkAnswer:
    info = PhysicalNetworkSetupInfo(physical_network_id=200, **labels)
    answer = await storage.execute(CheckNetworkCommand(network_info_list=[info]))
    assert isinstance(answer, CheckNetworkAnswer)
    assert answer.reconnect is False
    return answer


async def test_check_network_command_finds_every_label(storage: StorageStage) -> None:
    answer = await check_labels(
        storage, guest_network_name="External", private_network_name="Internal"
    )
    assert answer.result
    assert (await check_labels(storage)).result


async def test_check_network_command_says_what_is_missing_and_what_there_is(
    storage: StorageStage,
) -> None:
    answer = await check_labels(storage, guest_network_name="cloudbr1")
    assert not answer.result
    for text in ("guest traffic", "200", "'cloudbr1'", "'External' (external)", "'Internal'"):
        assert text in (answer.details or "")


async def test_check_network_command_only_tells_a_missing_storage_label(
    storage: StorageStage,
) -> None:
    answer = await check_labels(storage, storage_network_name="cloudbr9")
    assert answer.result
    assert "cloudbr9" in (answer.details or "")


async def test_check_network_command_sees_switches_as_they_are_now(
    storage: StorageStage, emulated_host: Emulation
) -> None:
    assert not (await check_labels(storage, public_network_name="dmz")).result
    switches = emulated_host.host.switches
    switches.put(switches.build_planned(SwitchPlan("dmz", SwitchKind.PRIVATE)))
    answer = await check_labels(storage, public_network_name="dmz")
    assert answer.result
    assert "'dmz' (private)" in (answer.details or "")
