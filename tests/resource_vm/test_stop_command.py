"""StopCommand: the definition goes, the disks stay, and what is not ours is not touched."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.emulation import QUICK
from tests.resource_vm.commands import NAME, Stage, staged, start_command, stop_command

from cloudstack_hyperv.cim import Uint16
from cloudstack_hyperv.emulator.host import GuestScript
from cloudstack_hyperv.messages.commands.vm import RebootCommand
from cloudstack_hyperv.resource.known_cluster import known_cluster


async def test_stop_command_turns_off_and_removes_the_definition_within_its_budget(
    stage: Stage,
) -> None:
    await known_cluster(stage.resource.context)  # as StartupCommand does
    await stage.done(start_command())
    await stage.done(stop_command(force_stop=True))
    assert stage.round_trips == 4
    assert await stage.all_names() == []
    assert stage.has_disks()


async def test_stop_command_of_a_vm_that_is_gone_succeeds(stage: Stage) -> None:
    await stage.done(stop_command())
    await stage.done(stop_command(check_before_cleanup=True))
    assert stage.has_disks()


async def test_stop_command_twice_succeeds(stage: Stage) -> None:
    await stage.done(start_command())
    answers = await asyncio.gather(*(stage.send(stop_command()) for _ in range(3)))
    assert all(answer.result for answer in answers)


async def test_stop_command_that_checks_leaves_a_running_vm_alone(stage: Stage) -> None:
    await stage.done(start_command())
    details = await stage.refused(stop_command(check_before_cleanup=True))
    assert "still running" in details
    await stage.running()


async def test_stop_command_that_checks_cleans_up_a_vm_that_is_off(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.request_state(3, 3)
    await stage.done(stop_command(check_before_cleanup=True))
    assert await stage.all_names() == []
    assert stage.has_disks()


async def test_stop_command_leaves_a_vm_that_is_not_ours_alone(stage: Stage) -> None:
    await stage.foreign_vm()
    assert "not made by CloudStack" in await stage.refused(stop_command())
    assert await stage.all_names() == [NAME]


async def test_stop_command_finds_our_vm_beside_another_of_its_name(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.foreign_vm()
    assert await stage.all_names() == [NAME, NAME]
    await stage.done(stop_command())
    left = await stage.directory.list_all()
    assert [machine.ownership for machine in left] == [None]


async def test_stop_command_finds_our_vm_after_a_restart_of_the_agent(stage: Stage) -> None:
    await stage.done(start_command())
    stage.resource.context.memory.values.clear()
    await stage.done(stop_command())
    # Finding the VM by name, and once whether the host is in a cluster.
    assert stage.round_trips == 6
    assert await stage.all_names() == []


async def test_stop_command_of_a_paused_or_saved_vm(stage: Stage) -> None:
    for requested, state in ((9, 9), (6, 6)):
        await stage.done(start_command())
        await stage.request_state(requested, state)
        await stage.done(stop_command(force_stop=False))
        assert await stage.all_names() == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (GuestScript(boot=0.0, shutdown=0.05), "shut down"),
        (GuestScript(boot=0.0, shutdown=0.05, locked=True), "shut down"),
        (GuestScript(boot=0.0, hangs=True), "turned off"),
        (GuestScript(integration_services=False), "turned off"),
        (GuestScript(boot=60.0), "turned off"),
    ],
    ids=["willing", "locked", "hanging", "without services", "booting"],
)
async def test_stop_command_asks_the_guest_first(
    tmp_path: Path, script: GuestScript, said: str
) -> None:
    async with staged(
        tmp_path, guest=script, timings=QUICK, agent={"shutdown_timeout": 0.4}
    ) as stage:
        await stage.done(start_command())
        await asyncio.sleep(0.05)
        answer = await stage.done(stop_command(force_stop=False))
        assert said in (answer.details or "")
        assert await stage.all_names() == []
        assert stage.has_disks()


async def test_stop_command_waits_until_a_lingering_vm_is_gone(tmp_path: Path) -> None:
    async with staged(tmp_path, timings=replace(QUICK, linger=0.3)) as stage:
        await stage.done(start_command())
        await stage.done(stop_command())
        assert await stage.all_names() == []


async def test_stop_command_waits_for_a_vm_that_is_just_starting(tmp_path: Path) -> None:
    async with staged(tmp_path, timings=replace(QUICK, start=0.4)) as stage:
        await stage.done(start_command())
        await stage.request_state(3, 3)
        machine = await stage.machine()
        assert machine is not None
        await stage.directory.client.invoke(
            machine.path, "RequestStateChange", {"RequestedState": Uint16(2)}
        )
        await stage.done(stop_command())
        assert await stage.all_names() == []


async def test_stop_command_while_the_guest_reboots_asks_once_more(tmp_path: Path) -> None:
    """InitiateShutdown answers 32782 during a reboot, which is no promise to shut down."""
    script = GuestScript(boot=0.0, shutdown=0.2)
    async with staged(
        tmp_path, guest=script, timings=QUICK, agent={"shutdown_timeout": 10.0}
    ) as stage:
        await stage.done(start_command())
        await asyncio.sleep(0.05)
        await stage.done(RebootCommand(vm_name=NAME))
        started = asyncio.get_running_loop().time()
        answer = await stage.done(stop_command(force_stop=False))
        assert asyncio.get_running_loop().time() - started < 5
        assert "shut down" in (answer.details or "")
        assert await stage.all_names() == []
