"""Restarts of VMMS and of the host, as an independent client meets them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import requests.exceptions
from pypsrp.exceptions import WinRMTransportError, WSManFaultError
from tests.emulation import running_emulation
from tests.emulator_mischief.conftest import Scene
from tests.emulator_mischief.outsider import (
    MANAGEMENT,
    SYSTEM,
    Answer,
    Outsider,
    embedded,
    machine_key,
)

from cloudstack_hyperv.emulator.host import JobMode
from cloudstack_hyperv.emulator.mischief import Mischief, Rule
from cloudstack_hyperv.emulator.mischief.actions import AnswerWay, RebootHost, RestartVmms

Lost = (requests.exceptions.ConnectionError, WinRMTransportError, WSManFaultError)


async def until_answered(ask: Callable[[], Awaitable[Answer]], seconds: float = 5.0) -> Answer:
    """Ask until there is an answer, as a client with patience does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await ask()
        except Lost:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)


async def start(scene: Scene, guid: str) -> Answer:
    return await scene.client.invoke(
        SYSTEM, "RequestStateChange", machine_key(guid), RequestedState=2
    )


async def test_vmms_restarts_in_the_order_of_its_symptoms(scene: Scene) -> None:
    guid = await scene.vm()
    await start(scene, guid)
    await scene.mischief.do(RestartVmms(unavailable=0.4, rpc_errors=0.6))
    with pytest.raises(WinRMTransportError) as unavailable:
        await until(requests.exceptions.ConnectionError, lambda: scene.client.machine(guid))
    assert unavailable.value.code == 503
    await asyncio.sleep(0.4)
    with pytest.raises(WSManFaultError) as rpc:
        await scene.client.machine(guid)
    assert rpc.value.code == 0x800706BA
    assert await scene.client.query("SELECT * FROM Win32_OperatingSystem", "root/cimv2")
    row = await until_answered(lambda: scene.client.machine(guid))
    assert row["EnabledState"] == "2"


async def until(passing: type[Exception], ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask again where the pooled connection turns out to be reset."""
    try:
        return await ask()
    except passing:
        return await ask()


async def test_a_vmms_restart_loses_jobs_and_no_machines(scene: Scene) -> None:
    running, starting = await scene.vm("running"), await scene.vm("starting")
    await start(scene, running)
    scene.mischief.add(Rule(name="slow", action=AnswerWay(as_job=True, seconds=5)))
    job = (await start(scene, starting))["Job"] or ""
    assert (await scene.client.machine(starting))["EnabledState"] == "10"
    await scene.mischief.do(RestartVmms(unavailable=0, rpc_errors=0))
    assert (await until_answered(lambda: scene.client.machine(running)))["EnabledState"] == "2"
    with pytest.raises(WSManFaultError) as gone:
        await scene.client.get("Msvm_ConcreteJob", {"InstanceID": job})
    assert gone.value.code == 0x80338000
    assert (await scene.client.machine(starting))["EnabledState"] == "3"
    scene.mischief.rules.clear()
    assert (await start(scene, starting))["ReturnValue"] == "0"


@pytest.mark.parametrize(("fault", "made"), [("vmms-restart", 0), ("vmms-restart-after", 1)])
async def test_vmms_restarts_at_a_call(scene: Scene, fault: str, made: int) -> None:
    scene.mischief.add(f"{fault}@{MANAGEMENT}.DefineSystem")
    with pytest.raises(requests.exceptions.ConnectionError):
        await scene.client.define("vm")
    await until_answered(lambda: scene.client.get(MANAGEMENT, service_keys(scene)))
    assert len(await scene.client.names()) == made


def service_keys(scene: Scene) -> dict[str, str]:
    return {
        "CreationClassName": MANAGEMENT,
        "Name": "vmms",
        "SystemCreationClassName": SYSTEM,
        "SystemName": scene.emulation.host.name,
    }


async def boot_time(scene: Scene) -> str | None:
    (row,) = await scene.client.query("SELECT * FROM Win32_OperatingSystem", "root/cimv2")
    return row["LastBootUpTime"]


async def test_the_host_reboots(scene: Scene) -> None:
    """2 none, 3 if it was running, 4 always; each running and off."""
    wanted: dict[str, str] = {}
    for action, was_running, runs in (
        (2, True, "3"),
        (3, True, "2"),
        (3, False, "3"),
        (4, False, "2"),
    ):
        text = embedded(
            "Msvm_VirtualSystemSettingData",
            {"ElementName": f"{action} {was_running}"},
            {"AutomaticStartupAction": ("uint16", action)},
        )
        answer = await scene.client.invoke(MANAGEMENT, "DefineSystem", SystemSettings=text)
        guid = answer["ResultingSystem"] or ""
        wanted[guid] = runs
        if was_running:
            assert (await start(scene, guid))["ReturnValue"] == "0"
    before = await boot_time(scene)
    endpoint = scene.emulation.server.endpoints

    began = time.monotonic()
    await scene.mischief.do(RebootHost(away=0.4))
    with pytest.raises(requests.exceptions.ConnectionError):
        await scene.client.machine(guid)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", scene.emulation.port)
    await until_answered(lambda: scene.client.machine(guid))
    assert time.monotonic() - began >= 0.4
    assert scene.emulation.server.endpoints == endpoint
    await asyncio.sleep(0.05)
    for each, state in wanted.items():
        assert (await scene.client.machine(each))["EnabledState"] == state
    assert await boot_time(scene) != before


@pytest.mark.parametrize(("fault", "made"), [("host-reboot", 0), ("host-reboot-after", 1)])
async def test_the_host_reboots_at_a_call(scene: Scene, fault: str, made: int) -> None:
    scene.mischief.add(f"{fault}@{MANAGEMENT}.DefineSystem")
    with pytest.raises(requests.exceptions.ConnectionError):
        await scene.client.define("vm")
    await until_answered(lambda: scene.client.get(MANAGEMENT, service_keys(scene)))
    assert len(await scene.client.names()) == made


async def test_two_reboots_in_a_row(scene: Scene) -> None:
    guid = await scene.vm()
    for _ in range(2):
        await scene.mischief.do(RebootHost(away=0.1))
        await scene.mischief.do(RebootHost(away=0.2))
        await until_answered(lambda: scene.client.machine(guid))


async def test_a_host_that_is_away_can_be_stopped(tmp_path: Path) -> None:
    async with running_emulation(tmp_path, job_mode=JobMode.ALWAYS_0) as emulation:
        mischief = Mischief(emulation.host, emulation.server)
        port = emulation.port
        await mischief.do(RebootHost(away=30))
        await mischief.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    async with running_emulation(tmp_path, http_port=port) as emulation:
        client = Outsider(emulation.port)
        assert await client.names() == []
        await client.close()
