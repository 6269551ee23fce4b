"""Jobs as clients see them: rows, time, errors, removal."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.emulator_host.driver import V2, VSMS, Driver, system_path

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.errors import SelectorFault
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row


async def start_job(driver: Driver, guid: str) -> ObjectPath:
    row = Row("Msvm_VirtualSystemSettingData", {"InstanceID": f"Microsoft:{guid}", "Notes": ["x"]})
    reply = await driver.call(VSMS, "ModifySystemSettings", SystemSettings=row)
    path = reply.out["Job"]
    assert isinstance(path, ObjectPath)
    return path


async def test_a_job_runs_completes_and_is_removed_after_five_minutes(driver: Driver) -> None:
    guid = await driver.define("vm", 1)
    path = await start_job(driver, guid)
    keys = dict(path.keys)
    job = await driver.engine.get(V2, "Msvm_ConcreteJob", keys)
    assert (job.values["JobState"], job.values["Owner"]) == (4, "HYPERV1\\Administrator")
    driver.clock.advance(0.01)
    running = [
        row
        for row in await driver.rows("Msvm_ConcreteJob")
        if row.values["InstanceID"] == keys["InstanceID"]
    ]
    assert 0 < int(str(running[0].values["PercentComplete"])) < 100
    driver.clock.advance(1)
    job = await driver.engine.get(V2, "Msvm_ConcreteJob", keys)
    assert job.values["JobState"] == 7
    assert job.values["PercentComplete"] == 100
    assert job.values["ElapsedTime"] == timedelta(seconds=0.05)
    assert job.values["TimeBeforeRemoval"] == timedelta(minutes=5)
    effects = await driver.rows("Msvm_AffectedJobElement")
    assert any(row.values["AffectingElement"] == path for row in effects)
    driver.clock.advance(298)
    await driver.engine.get(V2, "Msvm_ConcreteJob", keys)
    driver.clock.advance(2)
    with pytest.raises((CimFault, SelectorFault)):
        await driver.engine.get(V2, "Msvm_ConcreteJob", keys)


async def test_jobs_go_with_their_machine_and_the_last_one_stays_a_while(driver: Driver) -> None:
    """libvirt fails an undefine whose job it cannot find any more."""
    guid = await driver.define("vm", 1)
    path = await start_job(driver, guid)
    driver.clock.advance(1)
    reply = await driver.call(VSMS, "DestroySystem", AffectedSystem=system_path(guid))
    job = await driver.finish(reply)
    assert job["JobState"] == 7
    jobs = await driver.rows("Msvm_ConcreteJob")
    assert path.key("InstanceID") not in [row.values["InstanceID"] for row in jobs]
    driver.clock.advance(10)
    jobs = await driver.rows("Msvm_ConcreteJob")
    assert job["InstanceID"] not in [row.values["InstanceID"] for row in jobs]


async def test_most_jobs_cannot_be_cancelled(driver: Driver) -> None:
    guid = await driver.define("vm", 1)
    path = await start_job(driver, guid)
    reply = await driver.call(
        "Msvm_ConcreteJob", "RequestStateChange", dict(path.keys), RequestedState=4
    )
    assert reply.return_value == 32775
    reply = await driver.call(
        "Msvm_ConcreteJob", "RequestStateChange", dict(path.keys), RequestedState=2
    )
    assert reply.return_value == 5
