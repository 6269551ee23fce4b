"""A host that is stopped and started on its folder."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from tests.emulator_host.driver import (
    V2,
    VSMS,
    Driver,
    connection_row,
    nic_row,
    resource_path,
    settings_path,
    system_path,
)

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import HostConfig, JobMode

VSSD = "Msvm_VirtualSystemSettingData"
VLAN = "Msvm_EthernetSwitchPortVlanSettingData"


def again(driver: Driver) -> Driver:
    """Return a new host on the same folder, an hour later by the same clock."""
    clock = driver.clock
    clock.advance(3600)
    made = Driver(driver.host.config, clock)
    assert made.host.machines is not driver.host.machines
    return made


async def equipped(driver: Driver, **settings: Value) -> str:
    """Make a machine with an adapter, a VLAN, an item and a checkpoint."""
    guid = await driver.define("kept", 2, None, Notes=["keep me"], **settings)
    (nic,) = await driver.add(guid, nic_row())
    switch = next(iter(driver.host.switches)).path_text
    (cable,) = await driver.add(guid, connection_row(nic, switch))
    await driver.done(
        VSMS,
        "AddFeatureSettings",
        AffectedConfiguration=resource_path(cable),
        FeatureSettings=[Row(VLAN, {"OperationMode": 1, "AccessVlanId": 77})],
    )
    item = Row("Msvm_KvpExchangeDataItem", {"Name": "key", "Data": "value", "Source": 0})
    await driver.done(VSMS, "AddKvpItems", TargetSystem=system_path(guid), DataItems=[item])
    await driver.done(
        "Msvm_VirtualSystemSnapshotService",
        "CreateSnapshot",
        AffectedSystem=system_path(guid),
        SnapshotType=2,
    )
    return guid


async def everything(driver: Driver) -> dict[str, list[dict[str, Value]]]:
    """Return what clients see of machines and switches."""
    classes = (
        VSSD,
        "Msvm_ProcessorSettingData",
        "Msvm_MemorySettingData",
        "Msvm_ResourceAllocationSettingData",
        "Msvm_SyntheticEthernetPortSettingData",
        "Msvm_EthernetPortAllocationSettingData",
        "Msvm_KvpExchangeComponentSettingData",
        "Msvm_VirtualEthernetSwitch",
        "Msvm_VirtualEthernetSwitchSettingData",
        "Msvm_SnapshotOfVirtualSystem",
        VLAN,
    )
    found: dict[str, list[dict[str, Value]]] = {}
    for name in classes:
        rows = [dict(row.values) for row in await driver.rows(name)]
        for row in rows:
            if isinstance(row.get("HostExchangeItems"), list):
                row["HostExchangeItems"] = str(row["HostExchangeItems"])
        found[name] = rows
    return found


async def test_all_settings_survive(driver: Driver) -> None:
    guid = await equipped(driver)
    before = await everything(driver)
    driver.host.close()
    later = again(driver)
    assert await everything(later) == before
    assert (await later.machine(guid))["EnabledState"] == 3
    assert (await later.rows(VLAN))[0].values["AccessVlanId"] == 77
    fresh = await later.define("new", 1)
    assert fresh != guid
    later.host.close()


async def test_a_killed_emulator_loses_nothing_a_client_was_told(driver: Driver) -> None:
    """No close: what was answered is on disk."""
    guid = await equipped(driver)
    before = await everything(driver)
    later = again(driver)
    assert await everything(later) == before
    await later.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid))
    last = again(later)
    assert len(last.host.machines) == 0
    later.host.close()
    last.host.close()


@pytest.mark.parametrize(
    ("action", "running", "state"), [(2, True, 3), (3, True, 2), (3, False, 3), (4, False, 2)]
)
async def test_machines_come_back_as_after_a_host_reboot(
    driver: Driver, action: int, running: bool, state: int
) -> None:
    guid = await driver.define("vm", 1, AutomaticStartupAction=action)
    if running:
        await driver.start(guid)
    driver.host.close()
    later = again(driver)
    assert (await later.machine(guid))["EnabledState"] == 3
    later.clock.advance(5)
    assert (await later.machine(guid))["EnabledState"] == state
    later.host.close()


async def test_a_clean_stop_lets_machines_run_on(driver: Driver) -> None:
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    driver.clock.advance(100)
    driver.host.close(keep_running=True)
    later = again(driver)
    values = await later.machine(guid)
    assert values["EnabledState"] == 2
    assert values["OnTimeInMilliseconds"] == 3_700_000
    (beat,) = await later.rows("Msvm_HeartbeatComponent")
    assert beat.values["OperationalStatus"] == [2, 32775]
    assert await later.state(guid, 9) == 0
    later.host.close()
    last = again(later)
    assert (await last.machine(guid))["EnabledState"] == 3, "this stop did not say keep"
    last.host.close()


async def test_a_saved_machine_stays_saved(driver: Driver) -> None:
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    assert await driver.state(guid, 6) == 0
    driver.host.close()
    later = again(driver)
    assert (await later.machine(guid))["EnabledState"] == 6
    await later.start(guid)
    later.host.close()


async def test_a_restart_of_the_management_service_loses_jobs_only(driver: Driver) -> None:
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    row = Row(VSSD, {"InstanceID": f"Microsoft:{guid}", "Notes": ["lost?"]})
    reply = await driver.call(VSMS, "ModifySystemSettings", SystemSettings=row)
    assert reply.return_value == 4096
    driver.host.restart_management_service()
    driver.clock.advance(10)
    assert await driver.rows("Msvm_ConcreteJob") == []
    assert (await driver.machine(guid))["EnabledState"] == 2
    assert (await driver.engine.get(V2, VSSD, {"InstanceID": f"Microsoft:{guid}"})).values[
        "Notes"
    ] is None
    await driver.done(VSMS, "ModifySystemSettings", SystemSettings=row)
    assert settings_path(guid)


async def test_a_reboot_takes_the_power_away(driver: Driver) -> None:
    guid = await driver.define("vm", 1, AutomaticStartupAction=2)
    await driver.start(guid)
    driver.host.reboot()
    assert (await driver.machine(guid))["EnabledState"] == 3


def test_an_empty_host_is_small(tmp_path: Path) -> None:
    Driver(HostConfig(tmp_path / "first")).host.close()
    tracemalloc.start()
    driver = Driver(HostConfig(tmp_path / "second", job_mode=JobMode.ALWAYS_0))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    driver.host.close()
    assert size < 3 * 2**20
