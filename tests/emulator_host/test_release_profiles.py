"""What the releases differ in, and what a host has that no test looks at elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulator_host.driver import (
    CALLER,
    V2,
    VSMS,
    Driver,
    drive_row,
    resource_path,
    settings_path,
    system_path,
)

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.errors import ArgumentFault
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row
from cloudstack_hyperv.emulator.cim.schema import RELEASES
from cloudstack_hyperv.emulator.host import HostConfig, JobMode
from cloudstack_hyperv.emulator.host.config import PhysicalDisk

CIMV2 = "root/cimv2"
VSSD = "Msvm_VirtualSystemSettingData"


def host_of(tmp_path: Path, release: str) -> Driver:
    return Driver(HostConfig(tmp_path, release=release, job_mode=JobMode.ALWAYS_0))


@pytest.mark.parametrize(
    ("release", "version", "configuration", "suffix"),
    [
        ("2012", "6.2.9200", "4.0", "xml"),
        ("2012r2", "6.3.9600", "5.0", "xml"),
        ("2016", "10.0.14393", "8.0", "vmcx"),
        ("2019", "10.0.17763", "9.0", "vmcx"),
        ("2022", "10.0.20348", "10.0", "vmcx"),
        ("2025", "10.0.26100", "12.0", "vmcx"),
        ("client-11", "10.0.26100", "12.0", "vmcx"),
    ],
)
async def test_versions_and_files(
    tmp_path: Path, release: str, version: str, configuration: str, suffix: str
) -> None:
    driver = host_of(tmp_path, release)
    (system,) = await driver.rows("Win32_OperatingSystem", CIMV2)
    assert system.values["Version"] == version
    assert system.values["ProductType"] == (1 if release == "client-11" else 3)
    guid = await driver.define("vm", 1)
    row = await driver.engine.get(V2, VSSD, {"InstanceID": f"Microsoft:{guid}"})
    assert row.values["Version"] == configuration
    assert str(row.values["ConfigurationFile"]).endswith(suffix)
    assert ("UserSnapshotType" in row.values) is (release not in ("2012", "2012r2"))
    assert ("VirtualSystemSubType" in row.values) is (release != "2012")
    driver.host.close()


async def test_2012_knows_neither_generation_2_nor_its_property(tmp_path: Path) -> None:
    driver = host_of(tmp_path, "2012")
    wish = Row(VSSD, {"VirtualSystemSubType": "Microsoft:Hyper-V:SubType:2"})
    with pytest.raises(ArgumentFault):
        await driver.call(VSMS, "DefineSystem", SystemSettings=wish)
    driver.host.close()


async def test_old_and_new_configuration_versions(tmp_path: Path) -> None:
    driver = host_of(tmp_path, "2022")
    guid = await driver.define("vm", 2, Version="8.0")
    system = system_path(guid)
    await driver.done(VSMS, "UpgradeSystemVersion", ComputerSystem=system)
    row = await driver.engine.get(V2, VSSD, {"InstanceID": f"Microsoft:{guid}"})
    assert row.values["Version"] == "10.0"
    again = await driver.call(VSMS, "UpgradeSystemVersion", ComputerSystem=system)
    assert again.return_value == 32775
    reply = await driver.call(VSMS, "DefineSystem", SystemSettings=Row(VSSD, {"Version": "12.0"}))
    assert reply.return_value == 32770
    driver.host.close()


async def test_a_client_has_a_default_switch_and_dynamic_memory(tmp_path: Path) -> None:
    driver = host_of(tmp_path, "client-11")
    switch = driver.host.switches.get("C08CB7B8-9B3C-408E-8E30-5E16A3AEB444")
    assert switch is not None
    reply = await driver.call(
        "Msvm_VirtualEthernetSwitchManagementService",
        "DestroySystem",
        AffectedSystem=switch.reference,
    )
    assert reply.return_value == 32769
    await driver.define("vm", 2)
    (memory,) = await driver.rows("Msvm_MemorySettingData")
    assert memory.values["DynamicMemoryEnabled"] is True
    driver.host.close()


@pytest.mark.parametrize("release", RELEASES)
async def test_each_release_has_default_settings_a_version(tmp_path: Path, release: str) -> None:
    driver = host_of(tmp_path, release)
    rows = [
        row
        for row in await driver.engine.instances(V2, VSSD)
        if str(row.values["InstanceID"]).startswith("Microsoft:Definition\\")
    ]
    assert tuple(row.values["Version"] for row in rows) == driver.host.site.profile.configurations
    assert {row.values["VirtualSystemType"] for row in rows} == {
        "Microsoft:Hyper-V:System:Definition"
    }
    driver.host.close()


async def test_a_disk_of_the_host_is_passed_through_and_stops_checkpoints(tmp_path: Path) -> None:
    config = HostConfig(tmp_path, job_mode=JobMode.ALWAYS_0, physical_disks=(PhysicalDisk(3),))
    driver = Driver(config)
    (disk,) = await driver.rows("Msvm_DiskDrive")
    path = str(driver.engine.path_of(V2, disk))
    guid = await driver.define("vm", 1)
    row = drive_row(f"Microsoft:{guid}\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\1", 1)
    row.values.update(
        ResourceSubType="Microsoft:Hyper-V:Physical Disk Drive", HostResource=[path.lower()]
    )
    (drive,) = await driver.add(guid, row)
    made = await driver.engine.get(V2, "Msvm_ResourceAllocationSettingData", {"InstanceID": drive})
    assert made.values["HostResource"] == [path]
    row.values["HostResource"] = [path.replace("\\\\3", "\\\\9")]
    row.values["AddressOnParent"] = "0"
    assert await driver.add_code(guid, row) == 32773
    reply = await driver.call(
        "Msvm_VirtualSystemSnapshotService",
        "CreateSnapshot",
        AffectedSystem=system_path(guid),
        SnapshotType=2,
    )
    assert reply.return_value == 32770
    driver.host.close()


async def test_error_texts_and_sizes(driver: Driver) -> None:
    guid = await driver.define("vm", 1)
    errors = [Row("Msvm_Error", {"Message": text}) for text in ("outer", "inner")]
    reply = await driver.call(VSMS, "FormatError", Errors=errors)
    assert reply.out["ErrorMessage"] == "outer\n\ninner"
    small = await driver.call(VSMS, "GetSizeOfSystemFiles", Vssd=settings_path(guid))
    await driver.start(guid)
    assert await driver.state(guid, 6) == 0
    large = await driver.call(VSMS, "GetSizeOfSystemFiles", Vssd=settings_path(guid))
    assert isinstance(small.out["Size"], int)
    assert isinstance(large.out["Size"], int)
    assert large.out["Size"] - small.out["Size"] == 512 * 2**20


async def test_every_method_is_modelled_or_says_that_it_is_not(driver: Driver) -> None:
    """Nothing in the list answers 0, and what conversations need is not in it."""
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    listed = driver.host.unmodelled_methods()
    names = {(class_name, method) for _, class_name, method in listed}
    assert (VSMS, "DefineSystem") not in names
    assert (VSMS, "GenerateWwpn") in names
    for namespace, class_name, method in listed:
        rows = await driver.rows(class_name, namespace)
        provider = driver.host.provider(namespace, class_name)
        if not rows or provider is None:
            continue
        keys = dict(driver.engine.path_of(namespace, rows[0]).keys)
        code = await code_of(driver, namespace, rows[0].class_name, method, keys)
        assert code in REFUSALS, (class_name, method, code)


REFUSALS = {32770, 0x8004100C, 0x8004102F, "arguments"}
"""Not supported, provider not capable, or required arguments are missing."""


async def code_of(
    driver: Driver, namespace: str, class_name: str, method: str, keys: dict[str, str]
) -> int | str | None:
    """Call a method without arguments; return its code or the fault's."""
    try:
        reply = await driver.engine.invoke(namespace, class_name, keys, method, {}, CALLER)
    except CimFault as fault:
        return fault.code
    except ArgumentFault:
        return "arguments"
    return reply.return_value


async def test_labels_of_volumes_can_be_changed(driver: Driver) -> None:
    (volume,) = await driver.rows("Win32_Volume", CIMV2)
    path = driver.engine.path_of(CIMV2, volume)
    await driver.engine.put(CIMV2, "Win32_Volume", dict(path.keys), {"Label": "Data"}, CALLER)
    (volume,) = await driver.rows("Win32_Volume", CIMV2)
    assert volume.values["Label"] == "Data"
    with pytest.raises(CimFault):
        await driver.engine.put(
            CIMV2, "Win32_Volume", dict(path.keys), {"FileSystem": "ReFS"}, CALLER
        )
    assert isinstance(resource_path("x"), ObjectPath)
