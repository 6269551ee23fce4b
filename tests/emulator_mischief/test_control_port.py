"""The control port over real sockets, and virtual time moved by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests.exceptions
from pypsrp.exceptions import WSManFaultError
from tests.emulation import PASSWORD, USER, Emulation, schema_of
from tests.emulator_mischief.outsider import SYSTEM, Outsider, machine_key

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import Account, Accounts, DoorSettings
from cloudstack_hyperv.emulator.host import (
    EmulatedHost,
    GuestScript,
    HostConfig,
    JobMode,
    Timings,
    VirtualClock,
)
from cloudstack_hyperv.emulator.mischief import Mischief
from cloudstack_hyperv.emulator.mischief.actions import FAULTS, RebootHost
from cloudstack_hyperv.emulator.mischief.control import ControlPort
from cloudstack_hyperv.emulator.mischief.virtual_time import KeptClock


@dataclass
class Stage:
    """A host on virtual time with a control port."""

    emulation: Emulation
    mischief: Mischief
    client: Outsider
    port: int
    http: aiohttp.ClientSession

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        async with self.http.request(
            method, f"http://127.0.0.1:{self.port}{path}", json=body, headers=headers
        ) as answer:
            return answer.status, await answer.json()

    async def good(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.ask(method, path, body)
        assert status == 200, answer
        return answer

    async def advance(self, seconds: float) -> datetime:
        return datetime.fromisoformat(
            (await self.good("POST", "/clock", {"advance": seconds}))["now"]
        )


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    clock = VirtualClock()
    config = HostConfig(
        tmp_path,
        job_mode=JobMode.ALWAYS_4096,
        timings=Timings(start=10, merge=60, image=5),
        guest=GuestScript(boot=30, shutdown=20),
    )
    host = EmulatedHost(config, clock)
    server = WsmanServer(
        CimEngine(host, schema_of("2019")),
        DoorSettings(basic=True, allow_unencrypted=True),
        Accounts([Account(USER, PASSWORD)], host.name),
    )
    await server.start()
    emulation = Emulation(host, server, tmp_path, tmp_path)
    emulation.path(r"C:\pool").mkdir(parents=True)
    mischief = Mischief(host, server, clock)
    control = ControlPort(mischief)
    port = await control.start()
    client = Outsider(emulation.port)
    async with aiohttp.ClientSession() as http:
        yield Stage(emulation, mischief, client, port, http)
    await client.close()
    await control.stop()
    await mischief.close()
    await server.stop(grace_s=0.5)
    host.close()


async def test_a_rule_from_its_arrival_to_its_end(stage: Stage) -> None:
    rule = {
        "name": "lost",
        "class": "Msvm_VirtualSystemManagementService",
        "method": "DefineSystem",
        "nth": 2,
        "action": {"do": "drop", "after_effect": True},
    }
    made = await stage.good("POST", "/rules", rule)
    assert made["action"] == {"do": "drop", "after_effect": True}
    await stage.client.define("first")
    with pytest.raises(requests.exceptions.ConnectionError):
        await stage.client.define("second")
    shown = await stage.good("GET", "/rules")
    assert [(each["rule"]["name"], each["seen"]) for each in shown["rules"]] == [("lost", 2)]
    assert shown["firings"] == [{"rule": "lost", "call": 2, "took_effect": True, "note": ""}]
    await stage.good("DELETE", "/rules/lost")
    assert (await stage.ask("DELETE", "/rules/lost"))[0] == 404
    await stage.good("POST", "/rules", "lost-before@Get")
    await stage.good("POST", "/rules", "http-503@Msvm_ConcreteJob.Get#2")
    await stage.good("DELETE", "/rules")
    assert (await stage.good("GET", "/rules"))["rules"] == []


async def test_names_of_faults(stage: Stage) -> None:
    faults = await stage.good("GET", "/faults")
    assert set(faults) == set(FAULTS)
    for name in faults:
        await stage.good("POST", "/rules", f"{name}@Get#1000")


async def test_the_calls_so_far(stage: Stage) -> None:
    await stage.client.define("vm")
    await stage.client.names()
    calls = await stage.good("GET", "/calls")
    assert [each["number"] for each in calls] == [1, 2]
    assert calls[0]["arguments"]["SystemSettings"]["ElementName"] == "vm"
    assert [each["number"] for each in await stage.good("GET", "/calls?after=1")] == [2]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rules", {"name": "r"}),
        ("/rules", {"name": "r", "action": {"do": "explode"}}),
        ("/rules", {"name": "r", "action": {"do": "fault", "name": "no such"}}),
        ("/rules", "no-such-fault@Get"),
        ("/rules", [1]),
        ("/do", {"do": "drop"}),
        ("/do", {"do": "stop-vm"}),
        ("/do", {"do": "restart-vmms", "away": 1}),
        ("/clock", {"advance": -1}),
        ("/clock", {"advance": "1"}),
        ("/clock", {}),
    ],
)
async def test_what_makes_no_sense_is_refused(stage: Stage, path: str, body: Any) -> None:
    status, answer = await stage.ask("POST", path, body)
    assert status == 400
    assert answer["error"]
    assert list(stage.mischief.rules) == []


async def test_what_is_not_there(stage: Stage) -> None:
    assert (await stage.ask("GET", "/nothing"))[0] == 404
    assert (await stage.ask("PUT", "/rules", {}))[0] == 405
    assert (await stage.ask("GET", "/calls?after=x"))[0] == 400
    status, answer = await stage.ask("POST", "/do", {"do": "start-vm", "vm": "nobody"})
    assert (status, "nobody" in answer["error"]) == (409, True)


async def test_web_pages_are_kept_out(stage: Stage) -> None:
    assert (await stage.ask("GET", "/rules", Host="evil.example"))[0] == 400
    assert (await stage.ask("GET", "/rules", Host=f"evil.example:{stage.port}"))[0] == 400
    assert (await stage.ask("GET", "/rules", Host=f"localhost:{stage.port}"))[0] == 200
    url = f"http://127.0.0.1:{stage.port}/rules"
    async with stage.http.post(url, data='"lost-before@Get"') as answer:
        assert answer.status == 400
    body = '"' + "x" * 70_000 + '"'
    headers = {"Content-Type": "application/json"}
    async with stage.http.post(url, data=body, headers=headers) as answer:
        assert answer.status == 413


async def test_jobs_guests_and_merges_follow_virtual_time(stage: Stage) -> None:
    client = stage.client
    answer = await client.define("vm")
    guid = answer["ResultingSystem"] or ""
    disk = await client.create_disk(r"C:\pool\disk.vhdx")
    job = await client.get("Msvm_StorageJob", {"InstanceID": disk["Job"] or ""})
    assert job["JobState"] == "4"
    await stage.advance(5)
    job = await client.get("Msvm_StorageJob", {"InstanceID": disk["Job"] or ""})
    assert job["JobState"] == "7"
    await stage.good("POST", "/do", {"do": "attach-disk", "vm": guid, "path": r"C:\pool\disk.vhdx"})

    start = await client.invoke(SYSTEM, "RequestStateChange", machine_key(guid), RequestedState=2)
    states = []
    for _ in range(3):
        row = await client.get("Msvm_ConcreteJob", {"InstanceID": start["Job"] or ""})
        states.append((row["JobState"], row["PercentComplete"]))
        await stage.advance(5)
    assert states == [("4", "0"), ("4", "50"), ("7", "100")]

    async def heartbeat() -> list[str | None]:
        rows = await client.query("SELECT * FROM Msvm_HeartbeatComponent")
        return [row["OperationalStatus"] for row in rows]

    before = await heartbeat()
    await stage.advance(30)
    assert before != await heartbeat()
    assert int((await client.machine(guid))["OnTimeInMilliseconds"] or 0) == 35_000

    await stage.good("POST", "/do", {"do": "checkpoint-vm", "vm": guid})
    folder = stage.emulation.path(r"C:\pool")
    assert len(list(folder.glob("*.avhdx"))) == 1
    (snapshot,) = await client.query(
        "SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemType LIKE '%Snapshot%'"
    )
    agent = stage.emulation.client()
    service = "Msvm_VirtualSystemSnapshotService"
    await agent.invoke(
        ObjectPath.of(service, CreationClassName=service),
        "DestroySnapshot",
        {
            "AffectedSnapshot": ObjectPath.of(
                "Msvm_VirtualSystemSettingData", InstanceID=snapshot["InstanceID"] or ""
            )
        },
    )
    await agent.close()
    await stage.advance(5)
    assert (await client.machine(guid))["OperationalStatus"] == "32772"  # merging disks
    await stage.advance(60)
    assert list(folder.glob("*.avhdx")) == []

    await stage.advance(300)
    with pytest.raises(WSManFaultError):
        await client.get("Msvm_ConcreteJob", {"InstanceID": start["Job"] or ""})


async def test_an_outage_ends_with_virtual_time(stage: Stage) -> None:
    await stage.client.define("vm")
    await stage.advance(1)
    await stage.mischief.do(RebootHost(away=120))
    await stage.advance(119)
    with pytest.raises(requests.exceptions.ConnectionError):
        await stage.client.names()
    await stage.advance(1)
    assert await stage.client.names() == ["vm"]


def test_virtual_time_goes_on_where_it_ended(tmp_path: Path) -> None:
    file = tmp_path / "state" / "virtual-time"
    clock = KeptClock(file)
    clock.advance(10 * 86400)
    assert KeptClock(file).now() == clock.now()
    file.write_text("yesterday\n")
    with pytest.raises(ValueError, match="yesterday"):
        KeptClock(file)
