"""What happens to single calls, as an independent client meets it."""

from __future__ import annotations

import time

import pytest
import requests.exceptions
from pypsrp.exceptions import WinRMTransportError, WSManFaultError
from tests.emulator_mischief.conftest import Scene
from tests.emulator_mischief.outsider import MANAGEMENT, SYSTEM, machine_key

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.mischief import BadRule, Rule
from cloudstack_hyperv.emulator.mischief.actions import (
    AnswerFault,
    Drop,
    Hang,
    ReturnCodeOnly,
    Slow,
)
from cloudstack_hyperv.wsman import DeadlineExceeded


@pytest.mark.parametrize(("fault", "made"), [("lost-before", False), ("lost-after", True)])
async def test_the_connection_is_lost(scene: Scene, fault: str, made: bool) -> None:
    scene.mischief.add(f"{fault}@{MANAGEMENT}.DefineSystem#2")
    await scene.vm("first")
    with pytest.raises(requests.exceptions.ConnectionError):
        await scene.client.define("second")
    assert await scene.client.names() == (["first", "second"] if made else ["first"])
    await scene.vm("third")
    assert "third" in await scene.client.names()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("access-denied", 5),
        ("timed-out", 0x80338029),
        ("quota", 2150858815),
        ("provider-failure", 0x80041001),
        ("rpc-unavailable", 0x800706BA),
    ],
)
async def test_a_fault_instead(scene: Scene, fault: str, code: int) -> None:
    scene.mischief.add(f"{fault}@{MANAGEMENT}.DefineSystem")
    with pytest.raises(WSManFaultError) as raised:
        await scene.client.define("vm")
    assert raised.value.code == code
    assert await scene.client.names() == []


async def test_faults_that_do_not_exist(scene: Scene) -> None:
    for action in (AnswerFault(name="NO_SUCH_FAULT"), AnswerFault(), AnswerFault(name="dataclass")):
        with pytest.raises(BadRule):
            scene.mischief.add(Rule(name="r", action=action))


async def test_a_return_code_instead(scene: Scene) -> None:
    scene.mischief.add(
        Rule(name="r", action=ReturnCodeOnly(code=32778), method="DefineSystem", times=2)
    )
    for _ in range(2):
        assert (await scene.client.define("vm"))["ReturnValue"] == "32778"
    assert await scene.client.names() == []
    await scene.vm("vm")


async def test_a_bare_http_status(scene: Scene) -> None:
    scene.mischief.add("http-503@Get")
    guid = await scene.vm()
    with pytest.raises(WinRMTransportError) as raised:
        await scene.client.machine(guid)
    assert raised.value.code == 503
    assert (await scene.client.machine(guid))["ElementName"] == "vm"


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_call_that_hangs(scene: Scene, after_effect: bool) -> None:
    scene.mischief.add(
        Rule(name="r", action=Hang(after_effect=after_effect), method="DefineSystem")
    )
    impatient = scene.emulation.client()
    service = ObjectPath.of(MANAGEMENT, CreationClassName=MANAGEMENT)
    with pytest.raises(DeadlineExceeded):
        await impatient.invoke(service, "DefineSystem", timeout=0.4)
    await impatient.close()
    assert len(await scene.client.names()) == int(after_effect)


async def test_a_slow_call(scene: Scene) -> None:
    guid = await scene.vm()
    scene.mischief.add(Rule(name="r", action=Slow(seconds=0.3), operation="Get"))
    started = time.monotonic()
    assert (await scene.client.machine(guid))["ElementName"] == "vm"
    assert time.monotonic() - started >= 0.3


async def test_a_call_that_is_slower_than_its_timeout(scene: Scene) -> None:
    scene.mischief.add(Rule(name="r", action=Slow(seconds=5), method="DefineSystem"))
    service = ObjectPath.of(MANAGEMENT, CreationClassName=MANAGEMENT)
    client = scene.emulation.client()
    with pytest.raises(DeadlineExceeded) as late:
        await client.invoke(service, "DefineSystem", timeout=0.5)
    await client.close()
    assert late.value.request_sent
    assert len(await scene.client.names()) == 1


async def test_one_rule_about_one_machine(scene: Scene) -> None:
    first, second = await scene.vm("first"), await scene.vm("second")
    scene.mischief.add(
        Rule(name="r", action=Drop(), class_name=SYSTEM, about=second, times=0, operation="Get")
    )
    assert (await scene.client.machine(first))["ElementName"] == "first"
    for _ in range(2):
        with pytest.raises(requests.exceptions.ConnectionError):
            await scene.client.machine(second)
    assert len(scene.mischief.firings) == 2
    scene.mischief.rules.remove("r")
    assert (await scene.client.get(SYSTEM, machine_key(second)))["ElementName"] == "second"


async def test_rules_end_with_the_mischief(scene: Scene) -> None:
    scene.mischief.add("return-32768@*.DefineSystem")
    await scene.mischief.close()
    await scene.vm("vm")
