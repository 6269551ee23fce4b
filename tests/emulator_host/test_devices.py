"""Devices of machines: places, media, hot plug, quantities, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulator_host.driver import (
    CONTROLLER,
    V2,
    Driver,
    connection_row,
    drive_row,
    medium_row,
    nic_row,
    resource_path,
)

from cloudstack_hyperv.emulator.cim.provider import CimFault, Row
from cloudstack_hyperv.emulator.host import HostConfig, JobMode

IDE = "83F8638B-8DCA-4152-9EDA-2CA8B33039B4"
FOLDER = "C:\\Users\\Public\\Documents\\Hyper-V\\Virtual Hard Disks"
ROOT = f"{FOLDER}\\root.vhdx"
ISO = "C:\\iso\\install.iso"
NO_SWITCH = 'Msvm_VirtualEthernetSwitch.CreationClassName="Msvm_VirtualEthernetSwitch",Name="x"'


@pytest.fixture
async def disk(driver: Driver) -> str:
    assert await driver.create_disk(ROOT) == 0
    return ROOT


@pytest.fixture
def iso(driver: Driver) -> str:
    file = driver.file(ISO)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\0" * 65536)
    return ISO


async def test_drive_then_medium_with_the_parents_libvirt_finds_by_suffix(
    driver: Driver, disk: str
) -> None:
    guid = await driver.define("vm", 1)
    controller = f"Microsoft:{guid}\\{IDE}\\0"
    lower = drive_row(controller.lower(), 1)
    (drive,) = await driver.add(guid, lower)
    assert drive == f"{controller}\\1\\D"
    (medium,) = await driver.add(guid, medium_row(drive, disk))
    assert medium == f"{controller}\\1\\L"
    (row,) = await driver.rows("Msvm_StorageAllocationSettingData")
    assert row.values["HostResource"] == [disk]
    assert str(row.values["Parent"]).endswith(drive.replace("\\", "\\\\") + '"')
    assert str(row.values["Parent"]).startswith("\\\\HYPERV1\\root\\virtualization\\v2:")


async def test_media_may_be_sent_as_the_superclass_and_are_filed_as_storage(
    driver: Driver, disk: str
) -> None:
    guid = await driver.define("vm", 1)
    (drive,) = await driver.add(guid, drive_row(f"Microsoft:{guid}\\{IDE}\\0", 0))
    as_rasd = Row("Msvm_ResourceAllocationSettingData", medium_row(drive, disk).values)
    (medium,) = await driver.add(guid, as_rasd)
    row = await driver.engine.get(V2, "Msvm_StorageAllocationSettingData", {"InstanceID": medium})
    assert row.values["ResourceType"] == 31


async def test_a_drive_without_a_place_takes_the_first_free_one(driver: Driver) -> None:
    guid = await driver.define("vm", 2)
    controller = await driver.scsi_controller(guid)
    assert await driver.add_code(guid, drive_row(controller, 0)) == 0
    (second,) = await driver.add(guid, drive_row(controller))
    assert second == f"{controller}\\1\\D"
    assert await driver.add_code(guid, drive_row(controller, 0)) == 32773
    assert await driver.add_code(guid, drive_row(controller, 64)) == 32773


async def test_places_and_kinds_that_do_not_fit(driver: Driver, disk: str, iso: str) -> None:
    guid = await driver.define("vm", 1)
    controller = f"Microsoft:{guid}\\{IDE}\\0"
    assert await driver.add_code(guid, drive_row(controller, 2)) == 32773
    assert await driver.add_code(guid, medium_row(controller, disk)) == 32773
    (drive,) = await driver.add(guid, drive_row(controller, 0))
    assert await driver.add_code(guid, medium_row(drive, iso, iso=True)) == 32773
    scsi = await driver.scsi_controller(guid)
    assert await driver.add_code(guid, drive_row(scsi, 0, dvd=True)) == 32773
    other = await driver.define("other", 1)
    assert await driver.add_code(other, medium_row(drive, disk)) == 32773


async def test_at_most_four_scsi_controllers(driver: Driver) -> None:
    guid = await driver.define("vm", 2)
    for _ in range(4):
        await driver.scsi_controller(guid)
    assert await driver.add_code(guid, CONTROLLER) == 32773


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{FOLDER}\\missing.vhdx", 32779),
        ("C:\\nowhere\\missing.vhdx", 32779),
        ("Z:\\disk.vhdx", 32779),
        ("disk.vhdx", 32768),
        ("C:\\disk?.vhdx", 32768),
        (f"{FOLDER}\\broken.vhdx", 32768),
        (f"{FOLDER}\\text.txt", 32768),
    ],
)
async def test_files_that_cannot_be_a_disk_fail_in_the_job(
    driver: Driver, path: str, code: int
) -> None:
    for name in ("broken.vhdx", "text.txt"):
        driver.file(f"{FOLDER}\\{name}").write_bytes(b"nonsense" * 1000)
    guid = await driver.define("vm", 1)
    (drive,) = await driver.add(guid, drive_row(f"Microsoft:{guid}\\{IDE}\\0", 0))
    assert await driver.add_code(guid, medium_row(drive, path)) == code
    assert await driver.rows("Msvm_StorageAllocationSettingData") == []


async def test_one_file_once_in_a_machine(driver: Driver, disk: str) -> None:
    guid = await driver.define("vm", 1)
    await driver.ide_disk(guid, disk, 0)
    (drive,) = await driver.add(guid, drive_row(f"Microsoft:{guid}\\{IDE}\\1", 0))
    assert await driver.add_code(guid, medium_row(drive, disk.upper())) == 32768


async def test_a_disk_that_runs_elsewhere_cannot_be_used(driver: Driver, disk: str) -> None:
    first, second = await driver.define("first", 1), await driver.define("second", 1)
    await driver.ide_disk(first, disk)
    await driver.ide_disk(second, disk)
    await driver.start(first)
    assert await driver.state(second, 2) == 32768
    assert (await driver.machine(second))["EnabledState"] == 3
    assert await driver.state(first, 3) == 0
    await driver.start(second)


async def test_removing_a_drive_with_its_medium_makes_the_provider_throw(
    driver: Driver, disk: str
) -> None:
    guid = await driver.define("vm", 1)
    medium = await driver.ide_disk(guid, disk)
    drive = medium[:-1] + "D"
    with pytest.raises(CimFault) as caught:
        await driver.remove(drive)
    assert caught.value.code == 0x80041001
    assert await driver.remove(medium) == 0
    assert await driver.remove(drive) == 0
    assert await driver.remove(drive) == 32773


async def test_hot_plug_is_for_scsi(driver: Driver, disk: str) -> None:
    data = f"{FOLDER}\\data.vhdx"
    assert await driver.create_disk(data) == 0
    guid = await driver.define("vm", 1)
    medium = await driver.ide_disk(guid, disk)
    scsi = await driver.scsi_controller(guid)
    await driver.start(guid)
    assert await driver.remove(medium) == 32775
    assert await driver.add_code(guid, drive_row(f"Microsoft:{guid}\\{IDE}\\1", 0)) == 32775
    assert await driver.add_code(guid, CONTROLLER) == 32775
    (drive,) = await driver.add(guid, drive_row(scsi, 3))
    (hot,) = await driver.add(guid, medium_row(drive, data))
    assert driver.host.site.files.is_held(driver.file(data))
    assert await driver.remove(hot) == 0
    assert not driver.host.site.files.is_held(driver.file(data))
    assert await driver.remove(drive) == 0


async def test_an_iso_is_changed_while_the_machine_runs(driver: Driver, iso: str) -> None:
    guid = await driver.define("vm", 1)
    (drive,) = await driver.add(guid, drive_row(f"Microsoft:{guid}\\{IDE}\\1", 0, dvd=True))
    await driver.start(guid)
    (medium,) = await driver.add(guid, medium_row(drive, iso, iso=True))
    second = "C:\\iso\\second.iso"
    driver.file(second).write_bytes(b"\0" * 65536)
    change = Row(
        "Msvm_StorageAllocationSettingData", {"InstanceID": medium, "HostResource": [second]}
    )
    assert await driver.modify(change) == 0
    row = await driver.engine.get(V2, "Msvm_StorageAllocationSettingData", {"InstanceID": medium})
    assert row.values["HostResource"] == [second]
    change.values["HostResource"] = ["C:\\iso\\missing.iso"]
    assert await driver.modify(change) == 32779
    assert not driver.host.site.files.is_held(driver.file(iso))
    assert await driver.remove(medium) == 0


async def test_processors_and_memory(driver: Driver) -> None:
    guid = await driver.define("vm", 1)
    cpu = f"Microsoft:{guid}\\b637f346-6a0e-4dec-af52-bd70cb80a21d\\0"
    memory = f"Microsoft:{guid}\\4764334d-e001-4176-82ee-5594ec9b530e"

    async def processor(**values: int) -> int | None:
        return await driver.modify(Row("Msvm_ProcessorSettingData", {"InstanceID": cpu, **values}))

    async def mib(**values: int | bool) -> int | None:
        return await driver.modify(Row("Msvm_MemorySettingData", {"InstanceID": memory, **values}))

    assert await processor(VirtualQuantity=2, Limit=50000, Weight=200) == 0
    assert await processor(VirtualQuantity=0) == 32773
    assert await processor(VirtualQuantity=33) == 32773
    assert await processor(Reservation=60000) == 32773
    assert await processor(Weight=0) == 32773
    assert await mib(VirtualQuantity=1024) == 0
    assert await mib(VirtualQuantity=1025) == 32773
    assert await mib(Limit=256) == 0, "libvirt lowers Limit before VirtualQuantity"
    assert await mib(DynamicMemoryEnabled=True, Reservation=2048, Limit=4096) == 32773
    assert await mib(DynamicMemoryEnabled=True, Reservation=512, Limit=4096) == 0
    assert await mib(TargetMemoryBuffer=3000) == 32773
    await driver.start(guid)
    assert await processor(VirtualQuantity=4) == 32775
    assert await processor(Weight=300) == 0
    assert await mib(VirtualQuantity=2048) == 32775
    assert await mib(Limit=8192) == 0


async def test_unchanged_values_pass_and_read_only_ones_do_not(driver: Driver) -> None:
    """Clients send back whole objects; what differs and is read-only is refused."""
    guid = await driver.define("vm", 1)
    (row,) = await driver.rows("Msvm_ProcessorSettingData")
    whole = Row(row.class_name, {**row.values, "VirtualQuantity": 2})
    assert await driver.modify(whole) == 0
    whole.values["AllocationUnits"] = "bananas"
    assert await driver.modify(whole) == 32773
    assert guid


async def test_network_adapters_and_connections(driver: Driver) -> None:
    guid = await driver.define("vm", 1)
    switch = next(iter(driver.host.switches))
    assert await driver.add_code(guid, nic_row(mac="02:00:4A:1B:00:01")) == 32773
    (nic,) = await driver.add(guid, nic_row(mac="02004a1b0001"))
    assert (
        await driver.add_code(guid, connection_row(nic, 'Msvm_VirtualEthernetSwitch.Name="x"'))
        == 32773
    )
    spelled = switch.path_text.replace(
        "root\\virtualization\\v2", "Root\\Virtualization\\V2"
    ).lower()
    (cable,) = await driver.add(guid, connection_row(nic, spelled))
    row = await driver.engine.get(
        V2, "Msvm_EthernetPortAllocationSettingData", {"InstanceID": cable}
    )
    assert row.values["HostResource"] == [switch.path_text]
    assert await driver.add_code(guid, connection_row(nic, None)) == 32773
    port = await driver.engine.get(V2, "Msvm_SyntheticEthernetPortSettingData", {"InstanceID": nic})
    assert port.values["Address"] == "02004A1B0001"
    assert len(port.values["VirtualSystemIdentifiers"]) == 1  # type: ignore[arg-type]
    assert await driver.remove(nic, class_name="Msvm_SyntheticEthernetPortSettingData") == 0
    left = await driver.rows("Msvm_EthernetPortAllocationSettingData")
    assert [row for row in left if guid in str(row.values["InstanceID"])] == []


async def test_a_dynamic_mac_is_assigned_at_start(driver: Driver) -> None:
    guid = await driver.define("vm", 2)
    row = nic_row()
    row.values.update(StaticMacAddress=False, Address=None)
    (nic,) = await driver.add(guid, row)
    key = {"InstanceID": nic}
    port = await driver.engine.get(V2, "Msvm_SyntheticEthernetPortSettingData", key)
    assert port.values["Address"] == "000000000000"
    await driver.start(guid)
    port = await driver.engine.get(V2, "Msvm_SyntheticEthernetPortSettingData", key)
    assert str(port.values["Address"]).startswith("00155D")


@pytest.mark.parametrize(
    ("release", "generation", "version", "code"),
    [
        ("2019", 2, "9.0", 0),
        ("2019", 1, "9.0", 32775),
        ("2019", 2, "5.0", 32775),
        ("2012r2", 2, "5.0", 32775),
    ],
)
async def test_hot_add_of_a_network_adapter(
    tmp_path: Path, release: str, generation: int, version: str, code: int
) -> None:
    driver = Driver(HostConfig(tmp_path, release=release, job_mode=JobMode.ALWAYS_4096))
    guid = await driver.define("vm", generation, Version=version)
    await driver.start(guid)
    assert await driver.add_code(guid, nic_row()) == code
    driver.host.close()


async def test_boot_sources_follow_the_devices_and_can_only_be_reordered(
    driver: Driver, disk: str
) -> None:
    guid = await driver.define("vm", 2)
    controller = await driver.scsi_controller(guid)
    (drive,) = await driver.add(guid, drive_row(controller, 0))
    await driver.add(guid, medium_row(drive, disk))
    await driver.add(guid, nic_row())
    key = {"InstanceID": f"Microsoft:{guid}"}
    row = await driver.engine.get(V2, "Msvm_VirtualSystemSettingData", key)
    order = row.values["BootSourceOrder"]
    assert isinstance(order, list)
    assert len(order) == 2
    assert len(await driver.rows("Msvm_BootSourceSettingData")) == 2

    async def reorder(paths: list[str]) -> int | None:
        change = Row("Msvm_VirtualSystemSettingData", {**key, "BootSourceOrder": paths})
        return await driver.code(
            await driver.call(
                "Msvm_VirtualSystemManagementService", "ModifySystemSettings", SystemSettings=change
            )
        )

    assert await reorder([str(order[1]), str(order[0])]) == 0
    assert await reorder([str(order[0])]) == 32773
    row = await driver.engine.get(V2, "Msvm_VirtualSystemSettingData", key)
    assert row.values["BootSourceOrder"] == [order[1], order[0]]


async def test_resources_of_two_machines_cannot_be_changed_in_one_call(driver: Driver) -> None:
    first, second = await driver.define("first", 1), await driver.define("second", 1)
    rows = [
        Row(
            "Msvm_ProcessorSettingData",
            {
                "InstanceID": f"Microsoft:{guid}\\B637F346-6A0E-4DEC-AF52-BD70CB80A21D\\0",
                "VirtualQuantity": 2,
            },
        )
        for guid in (first, second)
    ]
    assert await driver.modify(*rows) == 32773
    assert resource_path(first)
