"""The power state machine against a table of its own, and the guest's part in it."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.emulator_host.driver import Driver

from cloudstack_hyperv.emulator.cim.provider import MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import GuestScript, HostConfig, JobMode

RUNNING, OFF, SAVED, PAUSED = 2, 3, 6, 9

EXPECTED = {
    (OFF, 2): RUNNING,
    (SAVED, 2): RUNNING,
    (PAUSED, 2): RUNNING,
    (RUNNING, 3): OFF,
    (PAUSED, 3): OFF,
    (SAVED, 3): OFF,
    (RUNNING, 4): OFF,
    (RUNNING, 6): SAVED,
    (PAUSED, 6): SAVED,
    (RUNNING, 9): PAUSED,
    (RUNNING, 10): RUNNING,
    (RUNNING, 11): RUNNING,
    (PAUSED, 11): RUNNING,
}
"""Written down from Microsoft's page of RequestStateChange, not from the code under test."""

LEGACY = {32773: 6, 32776: 9, 32777: 2}
TRANSITIONAL = {1, 4, 10}


class PowerStates(RuleBasedStateMachine):
    """Any sequence of requests: the state follows the table, everything else is 32775."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.driver = Driver(HostConfig(Path(self.folder.name), job_mode=JobMode.SEEDED))
        self.guid = self.loop.run_until_complete(self.driver.define("vm", 1))
        self.state = OFF
        self.up_for = 0.0

    def teardown(self) -> None:
        self.driver.host.close()
        self.loop.close()
        self.folder.cleanup()

    def settled(self) -> dict[str, Value]:
        return self.loop.run_until_complete(self.driver.machine(self.guid))

    @rule(wanted=st.sampled_from([2, 3, 4, 6, 9, 10, 11, 32773, 32776, 32777]))
    def request(self, wanted: int) -> None:
        self.driver.clock.advance(60)  # integration services are up
        code = self.loop.run_until_complete(self.driver.state(self.guid, wanted))
        expected = EXPECTED.get((self.state, LEGACY.get(wanted, wanted)))
        assert code == (32775 if expected is None else 0)
        if expected is not None:
            self.state = expected

    @rule(wanted=st.sampled_from([0, 5, 12, 99, 32768, 32769]))
    def nonsense(self, wanted: int) -> None:
        code = self.loop.run_until_complete(self.driver.state(self.guid, wanted))
        assert code == 32773

    @rule(wanted=st.sampled_from([1, 7, 8, 32779]))
    def unsupported(self, wanted: int) -> None:
        assert self.loop.run_until_complete(self.driver.state(self.guid, wanted)) == 32770

    @rule(seconds=st.integers(1, 1000))
    def wait(self, seconds: int) -> None:
        before = self.settled()["OnTimeInMilliseconds"]
        self.driver.clock.advance(seconds)
        after = self.settled()["OnTimeInMilliseconds"]
        assert isinstance(before, int)
        assert isinstance(after, int)
        assert after - before == (seconds * 1000 if self.state == RUNNING else 0)

    @invariant()
    def shown_state_is_the_table_s(self) -> None:
        values = self.settled()
        assert values["EnabledState"] == self.state
        assert values["EnabledState"] not in range(32768, 32800)
        assert (values.get("ProcessID") is not None) == (self.state in (RUNNING, PAUSED))


PowerStates.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPowerStates = PowerStates.TestCase


async def request(driver: Driver, guid: str, wanted: int) -> MethodReply:
    return await driver.call(
        "Msvm_ComputerSystem",
        "RequestStateChange",
        {"CreationClassName": "Msvm_ComputerSystem", "Name": guid},
        RequestedState=wanted,
    )


@pytest.mark.parametrize(
    ("wanted", "shown", "text"),
    [(2, 10, None), (3, 4, None), (6, 1, "Saving"), (9, 1, "Pausing"), (4, 4, None)],
)
async def test_transitions_take_time_and_show_no_v1_number(
    driver: Driver, wanted: int, shown: int, text: str | None
) -> None:
    guid = await driver.define("vm", 1)
    if wanted != 2:
        await driver.start(guid)
        driver.clock.advance(30)
    reply = await request(driver, guid, wanted)
    assert reply.return_value == 4096
    values = await driver.machine(guid)
    assert (values["EnabledState"], values["OtherEnabledState"]) == (shown, text)
    if wanted != 4:
        again = await request(driver, guid, wanted)
        assert again.return_value == 32775
    job = await driver.finish(reply)
    assert (job["JobState"], job["OperationalStatus"]) == (7, [17, 2])


async def test_a_start_without_memory_fails_in_the_job(driver: Driver) -> None:
    guids = []
    for name in ("a", "b"):
        memory = Row("Msvm_MemorySettingData", {"VirtualQuantity": 40000})
        guids.append(await driver.define(name, 1, [memory]))
    await driver.start(guids[0])
    reply = await request(driver, guids[1], 2)
    job = await driver.finish(reply)
    assert (job["JobState"], job["ErrorCode"]) == (10, 32778)
    assert "0x800705AA" in str(job["ErrorDescription"])
    errors = await driver.call(
        "Msvm_ConcreteJob", "GetErrorEx", {"InstanceID": str(job["InstanceID"])}
    )
    found = errors.out["Errors"]
    assert isinstance(found, list)
    assert [row.values["Message"] for row in found] == [job["ErrorDescription"]]
    assert (await driver.machine(guids[1]))["EnabledState"] == 3


async def shut_down(driver: Driver, guid: str, *, force: bool = False) -> int | None:
    (row,) = [
        r for r in await driver.rows("Msvm_ShutdownComponent") if r.values["SystemName"] == guid
    ]
    keys = ("CreationClassName", "DeviceID", "SystemCreationClassName", "SystemName")
    reply = await driver.call(
        "Msvm_ShutdownComponent",
        "InitiateShutdown",
        {key: str(row.values[key]) for key in keys},
        Force=force,
        Reason="test",
    )
    return reply.return_value


async def test_a_guest_shuts_down_in_its_own_time(driver: Driver) -> None:
    driver.host.play("*", GuestScript(boot=5, shutdown=8))
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    assert await shut_down(driver, guid) == 32780, "still booting"
    driver.clock.advance(10)
    assert await shut_down(driver, guid) == 0
    assert await shut_down(driver, guid) == 32782
    driver.clock.advance(7)
    assert (await driver.machine(guid))["EnabledState"] == 2
    driver.clock.advance(2)
    assert (await driver.machine(guid))["EnabledState"] == 3


async def test_a_locked_guest_wants_force(driver: Driver) -> None:
    driver.host.play("locked*", GuestScript(boot=0, locked=True))
    guid = await driver.define("locked vm", 1)
    await driver.start(guid)
    assert await shut_down(driver, guid) == 32781
    assert await shut_down(driver, guid, force=True) == 0


async def test_a_hanging_guest_never_ends_and_can_be_turned_off(driver: Driver) -> None:
    driver.host.play("*", GuestScript(boot=0, hangs=True))
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    driver.clock.advance(5)
    assert await shut_down(driver, guid) == 0
    driver.clock.advance(3600)
    assert (await driver.machine(guid))["EnabledState"] == 2
    (beat,) = await driver.rows("Msvm_HeartbeatComponent")
    assert beat.values["OperationalStatus"] == [13]
    assert await driver.state(guid, 3) == 0


async def test_turning_off_ends_a_shutdown_job_that_hangs(driver: Driver) -> None:
    driver.host.play("*", GuestScript(boot=0, hangs=True))
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    driver.clock.advance(5)
    hanging = await request(driver, guid, 4)
    assert hanging.return_value == 4096
    assert (await driver.machine(guid))["EnabledState"] == 4
    assert await driver.state(guid, 3) == 0
    assert (await driver.machine(guid))["EnabledState"] == 3
    job = await driver.finish(hanging)
    assert job["JobState"] == 8


async def test_a_guest_without_services_cannot_be_shut_down(driver: Driver) -> None:
    driver.host.play("*", GuestScript(boot=0, integration_services=False))
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    driver.clock.advance(60)
    assert await shut_down(driver, guid) == 32780
    assert await driver.state(guid, 4) == 32768
    assert await driver.state(guid, 10) == 32768
    assert await driver.state(guid, 11) == 0
