"""DefineSystem, DestroySystem, ModifySystemSettings: what a machine is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulator_host.driver import V2, VSMS, Driver, settings_path, system_path

from cloudstack_hyperv.emulator.cim.provider import BadEmbedded, Row, UnusableInstance
from cloudstack_hyperv.emulator.host import HostConfig, JobMode

VSSD = "Msvm_VirtualSystemSettingData"


async def system_settings(driver: Driver, guid: str) -> dict[str, object]:
    row = await driver.engine.get(V2, VSSD, {"InstanceID": f"Microsoft:{guid}"})
    return dict(row.values)


async def devices(driver: Driver, guid: str) -> list[Row]:
    text = (
        f'ASSOCIATORS OF {{{VSSD}.InstanceID="Microsoft:{guid}"}} '
        "WHERE AssocClass = Msvm_VirtualSystemSettingDataComponent"
    )
    return await driver.query(text)


async def test_a_generation_1_machine_has_what_libvirt_looks_for(driver: Driver) -> None:
    """Two IDE controllers 0 and 1, a floppy drive, COM 1 and COM 2, processor, memory."""
    guid = await driver.define("first", 1)
    assert guid == guid.upper()
    rows = await devices(driver, guid)
    ide = [r.values["Address"] for r in rows if r.values.get("ResourceType") == 5]
    assert ide == ["0", "1"]
    (floppy,) = [r for r in rows if r.values.get("ResourceType") == 14]
    controller = next(r for r in rows if "Diskette Controller" in str(r.values["ResourceSubType"]))
    suffix = str(controller.values["InstanceID"]).replace("\\", "\\\\") + '"'
    assert str(floppy.values["Parent"]).endswith(suffix)
    ports = [r for r in rows if r.class_name == "Msvm_SerialPortSettingData"]
    assert [r.values["ElementName"] for r in ports] == ["COM 1", "COM 2"]
    (processor,) = [r for r in rows if r.class_name == "Msvm_ProcessorSettingData"]
    assert processor.values["VirtualQuantity"] == 1
    (memory,) = [r for r in rows if r.class_name == "Msvm_MemorySettingData"]
    assert (memory.values["VirtualQuantity"], memory.values["DynamicMemoryEnabled"]) == (512, False)


async def test_a_generation_2_machine_has_no_controller_and_secure_boot(driver: Driver) -> None:
    guid = await driver.define("second", 2)
    rows = await devices(driver, guid)
    assert not [
        r
        for r in rows
        if r.values.get("ResourceType") in (1, 5, 6, 14) and not r.values.get("OtherResourceType")
    ]
    values = await system_settings(driver, guid)
    assert values["SecureBootEnabled"] is True
    assert values["SecureBootTemplateId"] == "1734C6E8-3154-4DDA-BA5F-A874CC483422"
    assert values["VirtualSystemSubType"] == "Microsoft:Hyper-V:SubType:2"
    assert values["Version"] == "9.0"


async def test_processor_memory_and_devices_may_come_with_the_definition(driver: Driver) -> None:
    controller = Row(
        "Msvm_ResourceAllocationSettingData",
        {"ResourceType": 6, "ResourceSubType": "Microsoft:Hyper-V:Synthetic SCSI Controller"},
    )
    guid = await driver.define(
        "third",
        2,
        [
            Row("Msvm_ProcessorSettingData", {"VirtualQuantity": 4}),
            Row(
                "Msvm_MemorySettingData",
                {
                    "VirtualQuantity": 2048,
                    "DynamicMemoryEnabled": True,
                    "Reservation": 1024,
                    "Limit": 4096,
                },
            ),
            controller,
        ],
    )
    rows = {row.class_name: row.values for row in await devices(driver, guid)}
    assert rows["Msvm_ProcessorSettingData"]["VirtualQuantity"] == 4
    memory = rows["Msvm_MemorySettingData"]
    assert (memory["VirtualQuantity"], memory["Reservation"], memory["Limit"]) == (2048, 1024, 4096)
    scsi = [r for r in await devices(driver, guid) if r.values.get("ResourceType") == 6]
    assert len(scsi) == 1


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"ElementName": ""}, 32773),
        ({"ElementName": "x" * 101}, 32773),
        ({"ElementName": "x", "Version": "1.0"}, 32770),
        ({"ElementName": "x", "AutomaticStartupAction": 9}, 32773),
        ({"ElementName": "x", "SecureBootEnabled": True}, 32773),
        ({"ElementName": "x", "BootOrder": [0, 1, 2, 2]}, 32773),
        ({"ElementName": "x", "VirtualSystemSubType": "Microsoft:Hyper-V:SubType:3"}, 32773),
    ],
)
async def test_definitions_that_hyper_v_refuses(
    driver: Driver, values: dict[str, object], code: int
) -> None:
    reply = await driver.call(VSMS, "DefineSystem", SystemSettings=Row(VSSD, values))  # type: ignore[arg-type]
    assert reply.return_value == code
    assert len(driver.host.machines) == 0


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (BadEmbedded.SYNTAX, 32773),
        (BadEmbedded.UNKNOWN_PROPERTY, 32773),
        (BadEmbedded.SCALAR_FOR_ARRAY, 32773),
        (BadEmbedded.WRONG_TYPE, 32768),
    ],
)
async def test_an_unusable_instance_is_a_code_and_no_fault(
    driver: Driver, problem: BadEmbedded, code: int
) -> None:
    reply = await driver.call(
        VSMS, "DefineSystem", SystemSettings=UnusableInstance(problem, "<INSTANCE")
    )
    assert reply.return_value == code


async def test_settings_change_and_only_what_may(driver: Driver) -> None:
    guid = await driver.define("fourth", 1)
    key = f"Microsoft:{guid}"

    async def change(**values: object) -> int | None:
        row = Row(VSSD, {"InstanceID": key, **values})  # type: ignore[dict-item]
        return await driver.code(
            await driver.call(VSMS, "ModifySystemSettings", SystemSettings=row)
        )

    assert await change(ElementName="renamed", Notes=["hello"], AutomaticStartupAction=2) == 0
    values = await system_settings(driver, guid)
    assert (values["ElementName"], values["Notes"]) == ("renamed", ["hello"])
    assert values["AutomaticStartupAction"] == 2
    assert await change(ConfigurationID="x") == 32773
    assert await change(ConfigurationID=values["ConfigurationID"]) == 0
    await driver.start(guid)
    assert await change(BIOSNumLock=True) == 32775
    assert await change(Notes=["while running"]) == 0
    assert (await system_settings(driver, guid))["Notes"] == ["while running"]


async def test_a_machine_is_destroyed_when_off_and_its_disks_stay(driver: Driver) -> None:
    guid = await driver.define("fifth", 1)
    path = f"{driver.host.config.disk_folder}\\fifth.vhdx"
    assert await driver.create_disk(path) == 0
    await driver.ide_disk(guid, path)
    await driver.start(guid)
    reply = await driver.call(VSMS, "DestroySystem", AffectedSystem=system_path(guid))
    assert reply.return_value == 32775
    assert await driver.state(guid, 3) == 0
    assert driver.file(path).exists()
    config_file = driver.host.definition.configuration_files(
        driver.host.machines.get(guid).settings  # type: ignore[union-attr]
    )[0]
    assert driver.file(config_file).exists()
    await driver.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid))
    assert driver.file(path).exists()
    assert not driver.file(config_file).exists()
    assert await driver.rows(VSSD) == []
    reply = await driver.call(VSMS, "DestroySystem", AffectedSystem=system_path(guid))
    assert reply.return_value == 32773


async def test_one_operation_at_a_time(driver: Driver) -> None:
    """A second change of the same machine is refused while the first one's job runs."""
    guid = await driver.define("sixth", 1)
    row = Row(VSSD, {"InstanceID": f"Microsoft:{guid}", "ElementName": "a"})
    first = await driver.call(VSMS, "ModifySystemSettings", SystemSettings=row)
    assert first.return_value == 4096
    second = await driver.call(VSMS, "ModifySystemSettings", SystemSettings=row)
    assert second.return_value == 32775
    assert (await driver.finish(first))["JobState"] == 7
    third = await driver.call(VSMS, "ModifySystemSettings", SystemSettings=row)
    assert third.return_value == 4096


async def test_the_configuration_goes_where_the_client_wants_it(driver: Driver) -> None:
    guid = await driver.define("seventh", 1, ConfigurationDataRoot="C:\\VMs\\seventh")
    values = await system_settings(driver, guid)
    assert values["SnapshotDataRoot"] == "C:\\VMs\\seventh"
    assert driver.file(f"C:\\VMs\\seventh\\Virtual Machines\\{guid}.vmcx").exists()
    reply = await driver.call(
        VSMS,
        "DefineSystem",
        SystemSettings=Row(VSSD, {"ElementName": "x", "ConfigurationDataRoot": "Q:\\VMs"}),
    )
    assert await driver.code(reply) == 32779


async def test_always_0_and_always_4096_end_in_the_same_state(tmp_path: Path) -> None:
    for mode in (JobMode.ALWAYS_0, JobMode.ALWAYS_4096):
        driver = Driver(HostConfig(tmp_path / mode, job_mode=mode))
        guid = await driver.define("same", 1)
        await driver.start(guid)
        assert await driver.state(guid, 2) == 32775
        assert await driver.state(guid, 3) == 0
        await driver.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid))
        assert len(driver.host.machines) == 0
        driver.host.close()


async def test_integration_components_can_be_switched(driver: Driver) -> None:
    guid = await driver.define("eighth", 1)
    (row,) = [
        r
        for r in await devices(driver, guid)
        if r.class_name == "Msvm_GuestServiceInterfaceComponentSettingData"
    ]
    assert row.values["EnabledState"] == 3
    request = Row(row.class_name, {"InstanceID": row.values["InstanceID"], "EnabledState": 2})
    await driver.done(VSMS, "ModifyGuestServiceSettings", GuestServiceSettings=[request])
    (row,) = [r for r in await devices(driver, guid) if r.class_name == row.class_name]
    assert row.values["EnabledState"] == 2


async def test_machine_paths_are_taken_for_settings_as_os_win_sends_them(driver: Driver) -> None:
    guid = await driver.define("ninth", 1)
    reply = await driver.done(
        VSMS,
        "AddResourceSettings",
        AffectedConfiguration=system_path(guid),
        ResourceSettings=[
            Row(
                "Msvm_ResourceAllocationSettingData",
                {
                    "InstanceID": "Microsoft:Definition\\D422512D\\Default",
                    "ResourceType": 6,
                    "ResourceSubType": "Microsoft:Hyper-V:Synthetic SCSI Controller",
                },
            )
        ],
    )
    assert reply.out["ResultingResourceSettings"]
    assert settings_path(guid)
