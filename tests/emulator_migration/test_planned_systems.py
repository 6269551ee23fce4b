"""Planned systems: prepared on the destination, mended there, and then used or realized."""

from __future__ import annotations

from pathlib import Path

from tests.emulator_host.driver import VSMS, settings_path
from tests.emulator_migration.fleet_driver import STAGED, VM, FleetDriver, HostDriver
from tests.emulator_migration.test_migration_refusals import two_hosts

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import SwitchPlan

PLANNED = "Msvm_PlannedComputerSystem"
VSSD = "Msvm_VirtualSystemSettingData"


def planned_path(guid: str) -> ObjectPath:
    return ObjectPath.of(PLANNED, CreationClassName=PLANNED, Name=guid)


async def cable_of(host: HostDriver, guid: str) -> Row:
    (cable,) = [
        row
        for row in await host.rows("Msvm_EthernetPortAllocationSettingData")
        if str(row.values["InstanceID"]).startswith(f"Microsoft:{guid}\\")
    ]
    return cable


async def test_a_staged_migration_is_mended_and_then_goes_through(tmp_path: Path) -> None:
    """What os-win does: stage, change the planned system over there, migrate into it."""
    pair = two_hosts(tmp_path, switches=(SwitchPlan("Elsewhere"),))
    source, target = pair[0], pair[1]
    guid = await source.build()
    await source.migrated(guid, STAGED, "HYPERV2")
    assert await source.enabled_state(guid) == 2
    assert await target.planned() == [guid]
    (settings,) = [
        row for row in await target.rows(VSSD) if row.values["VirtualSystemIdentifier"] == guid
    ]
    assert settings.values["VirtualSystemType"] == "Microsoft:Hyper-V:System:Planned"
    assert await target.summary() == []
    assert await target.names() == set()
    validated = await target.call(VSMS, "ValidatePlannedSystem", PlannedSystem=planned_path(guid))
    job = await target.finish(validated)
    assert job["JobState"] == 10
    assert "Could not find Ethernet switch 'External'" in str(job["ErrorDescription"])
    cable = await cable_of(target, guid)
    (switch,) = list(target.host.switches)
    changed: dict[str, Value] = {
        "InstanceID": cable.values["InstanceID"],
        "HostResource": [switch.path_text],
    }
    assert await target.modify(Row(cable.class_name, changed)) == 0
    await target.done(VSMS, "ValidatePlannedSystem", PlannedSystem=planned_path(guid))
    await source.migrated(guid, VM, "HYPERV2", DestinationPlannedVirtualSystemId=guid)
    assert await target.planned() == []
    assert await target.names() == {guid}
    assert (await cable_of(target, guid)).values["HostResource"] == [switch.path_text]
    pair.fleet.close()


async def test_a_planned_system_s_settings_are_found_by_walking(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    await source.migrated(guid, STAGED, "HYPERV2")
    found = await target.query(
        f"ASSOCIATORS OF {{{planned_path(guid)}}} WHERE AssocClass=Msvm_SettingsDefineState "
        f"ResultClass={VSSD}"
    )
    assert [row.values["InstanceID"] for row in found] == [f"Microsoft:{guid}"]
    parts = await target.query(
        f"ASSOCIATORS OF {{{settings_path(guid)}}} "
        "WHERE AssocClass=Msvm_VirtualSystemSettingDataComponent "
        "ResultClass=Msvm_StorageAllocationSettingData"
    )
    assert len(parts) == 1


async def test_a_plan_that_is_not_wanted_is_destroyed(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    await source.migrated(guid, STAGED, "HYPERV2")
    await target.done(VSMS, "DestroySystem", AffectedSystem=planned_path(guid))
    assert await target.planned() == []
    assert source.file(await source.disk_path(guid)).exists()
    await source.migrated(guid, VM, "HYPERV2")


async def test_another_s_plan_is_no_place_to_go(pair: FleetDriver) -> None:
    source = pair[0]
    guid, other = await source.build(), await source.build("other")
    await source.migrated(other, STAGED, "HYPERV2")
    job = await source.refused(guid, VM, "HYPERV2", DestinationPlannedVirtualSystemId=other)
    assert "does not exist on the destination" in str(job["ErrorDescription"])


async def test_a_defined_plan_becomes_a_machine(pair: FleetDriver) -> None:
    host = pair[0]
    reply = await host.done(
        VSMS, "DefinePlannedSystem", SystemSettings=Row(VSSD, {"ElementName": "plan"})
    )
    path = reply.out["ResultingSystem"]
    assert isinstance(path, ObjectPath)
    assert path.class_name == PLANNED
    guid = path.key("Name") or ""
    change = Row(VSSD, {"InstanceID": f"Microsoft:{guid}", "ConfigurationDataRoot": r"C:\there"})
    assert (
        await host.code(await host.call(VSMS, "ModifySystemSettings", SystemSettings=change)) == 0
    )
    realized = await host.done(VSMS, "RealizePlannedSystem", PlannedSystem=planned_path(guid))
    system = realized.out["ResultingSystem"]
    assert isinstance(system, ObjectPath)
    assert system.class_name == "Msvm_ComputerSystem"
    assert await host.planned() == []
    assert await host.names() == {guid}
    assert host.file(f"C:\\there\\Virtual Machines\\{guid}.vmcx").is_file()
    await host.start(guid)
    again = await host.call(VSMS, "RealizePlannedSystem", PlannedSystem=planned_path(guid))
    assert again.return_value == 32773


async def test_a_plan_has_no_power_state(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    await source.migrated(guid, STAGED, "HYPERV2")
    reply = await target.call(
        PLANNED,
        "RequestStateChange",
        {"CreationClassName": PLANNED, "Name": guid},
        RequestedState=2,
    )
    assert reply.return_value == 32770
