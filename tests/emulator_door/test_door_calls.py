"""The record of calls, and faults on purpose through interceptors."""

from __future__ import annotations

import asyncio

import pytest
from tests.emulator_door.doors import Door, OpenDoor
from tests.emulator_door.raw_client import (
    SERVICE,
    SERVICE_KEY,
    SYSTEM,
    V2,
    N,
    RawClient,
    enumerate_,
    get,
    invoke,
    machine_key,
    pull,
    wql,
)

from cloudstack_hyperv.emulator.cim.provider import CimFault
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door.calls import (
    AnswerCode,
    AnswerFault,
    AnswerStatus,
    Call,
    DropConnection,
    Hang,
    Slow,
    Verdict,
)
from cloudstack_hyperv.emulator.door.faults import WsmanFault, from_wmi

ECHO = invoke(SERVICE, "Echo", "<q:Text>hello</q:Text>", SERVICE_KEY)


async def test_every_call_is_recorded(open_door: OpenDoor) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    await client.post(get(SYSTEM, machine_key(1)))
    context = (await client.post(enumerate_(SYSTEM))).body_child.findtext(N + "EnumerationContext")
    await client.post(pull(SYSTEM, context or ""))
    await client.post(wql("SELECT * FROM Msvm_ComputerSystem"))
    await client.post(ECHO)
    await client.post(get(SYSTEM, machine_key(9)))
    await client.post(invoke(SERVICE, "NoSuchMethod", "", SERVICE_KEY))
    records = list(door.server.calls.records)
    assert [(r.call.number, r.call.operation, r.call.method, r.result) for r in records] == [
        (1, "Get", "", "ok"),
        (2, "Enumerate", "", "ok 3"),
        (3, "Pull", "", "ok"),
        (4, "Enumerate", "", "ok 3"),
        (5, "Invoke", "Echo", "ReturnValue 0"),
        (6, "Get", "", "a:DestinationUnreachable 2150858752"),
        (7, "Invoke", "NoSuchMethod", "a:ActionNotSupported 2150858771"),
    ]
    assert records[0].call.selectors == machine_key(1)
    assert records[3].call.filter == "SELECT * FROM Msvm_ComputerSystem"
    assert records[3].call.class_name == "*"
    assert records[4].call.arguments == {"Text": "hello"}
    assert all(0 <= record.duration_s < 5 for record in records)
    assert door.server.calls.count == 7


def interfere(door: Door, verdict: Verdict, *, at: int = 1) -> list[Call]:
    """Let `verdict` happen to the `at`-th call of Echo; returns the calls seen."""
    seen: list[Call] = []

    def interceptor(call: Call) -> Verdict | None:
        if call.method != "Echo":
            return None
        seen.append(call)
        return verdict if len(seen) == at else None

    door.server.calls.intercept(interceptor)
    return seen


@pytest.mark.parametrize("after_effect", [False, True])
async def test_drop_the_connection(open_door: OpenDoor, after_effect: bool) -> None:
    door = await open_door()
    interfere(door, DropConnection(after_effect), at=2)
    client = await RawClient.connect(door)
    assert (await client.post(ECHO)).status == 200
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.post(ECHO)
    assert len(door.host.service.seen) == (2 if after_effect else 1)
    assert door.server.calls.records[-1].result == "connection dropped"
    again = await RawClient.connect(door)
    assert (await again.post(ECHO)).status == 200


@pytest.mark.parametrize("after_effect", [False, True])
async def test_hang(open_door: OpenDoor, after_effect: bool) -> None:
    door = await open_door()
    interfere(door, Hang(after_effect))
    client = await RawClient.connect(door)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await client.post(ECHO)
    assert len(door.host.service.seen) == int(after_effect)
    await client.close()
    other = await RawClient.connect(door)
    assert (await other.post(ECHO)).status == 200


async def test_answer_a_fault(open_door: OpenDoor) -> None:
    door = await open_door()
    interfere(door, AnswerFault(WsmanFault(table.QUOTA_LIMIT)))
    interfere(door, AnswerFault(from_wmi(CimFault(0x800706BA), "ExecMethod")), at=2)
    client = await RawClient.connect(door)
    assert (await client.post(ECHO)).fault == ("w:QuotaLimit", 2150858815)
    answer = await client.post(ECHO)
    assert answer.innermost_code == 0x800706BA
    assert door.host.service.seen == []


async def test_answer_a_code(open_door: OpenDoor) -> None:
    door = await open_door()
    interfere(door, AnswerCode(32774))
    client = await RawClient.connect(door)
    answer = await client.post(ECHO)
    assert answer.body_child.findtext("{" + SERVICE + "}ReturnValue") == "32774"
    assert '<p:EchoedText xsi:nil="true"/>' in answer.text
    assert door.host.service.seen == []
    assert door.server.calls.records[-1].result == "answered 32774"


async def test_answer_a_status(open_door: OpenDoor) -> None:
    door = await open_door()
    interfere(door, AnswerStatus(503))
    client = await RawClient.connect(door)
    answer = await client.post(ECHO)
    assert (answer.status, answer.body) == (503, b"")
    interfere(door, AnswerStatus(401))
    answer = await client.post(ECHO)
    assert (answer.status, len(answer.all("WWW-Authenticate"))) == (401, 2)
    assert (await client.post(ECHO)).status == 200


async def test_slow(open_door: OpenDoor) -> None:
    door = await open_door()
    interfere(door, Slow(0.2))
    interfere(door, Slow(30), at=2)
    client = await RawClient.connect(door)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await client.post(ECHO)).status == 200
    assert loop.time() - started >= 0.2
    answer = await client.post(ECHO.replace("PT60S", "PT0.1S"))
    assert answer.fault == ("w:TimedOut", 2150858793)
    assert len(door.host.service.seen) == 2


async def test_interceptors_may_be_coroutines_and_go_away(open_door: OpenDoor) -> None:
    door = await open_door()

    async def refuse_writes(call: Call) -> Verdict | None:
        await asyncio.sleep(0)
        if call.operation in ("Get", "Enumerate", "Pull"):
            return None
        return AnswerFault(WsmanFault(table.ACCESS_DENIED))

    remove = door.server.calls.intercept(refuse_writes)
    client = await RawClient.connect(door)
    assert (await client.post(ECHO)).fault == ("w:AccessDenied", 5)
    assert (await client.post(get(SYSTEM, machine_key(1)))).status == 200
    remove()
    remove()
    assert (await client.post(ECHO)).status == 200


async def test_disconnect_all(open_door: OpenDoor) -> None:
    door = await open_door()
    clients = [await RawClient.connect(door) for _ in range(3)]
    for client in clients:
        assert (await client.post(ECHO)).status == 200
    door.server.disconnect_all()
    for client in clients:
        assert await client.ended()
    other = await RawClient.connect(door)
    assert (await other.post(get(V2 + "Msvm_ComputerSystem", machine_key(2)))).status == 200
