"""A physical disk passed through to a machine, addressed as libvirt's driver does."""

from __future__ import annotations

from pathlib import Path

from tests.emulator_host.driver import CONTROLLER, Driver

from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host import HostConfig
from cloudstack_hyperv.emulator.host.config import PhysicalDisk


async def test_the_template_of_a_physical_disk_drive_names_the_disks(tmp_path: Path) -> None:
    driver = Driver(HostConfig(tmp_path, physical_disks=(PhysicalDisk(3),)))
    guid = await driver.define()
    (controller,) = await driver.add(guid, CONTROLLER)
    (template,) = await driver.query(
        "SELECT * FROM Msvm_ResourceAllocationSettingData WHERE ResourceSubType = "
        "'Microsoft:Hyper-V:Physical Disk Drive' AND InstanceID LIKE '%%Default%%'"
    )
    disk_guid = str(template.values["InstanceID"]).split("\\")[1]
    (disk,) = await driver.rows("Msvm_DiskDrive")
    assert disk.values["DeviceID"] == f"Microsoft:{disk_guid}\\3"
    path = (
        r"\\HYPERV1\Root\Virtualization\V2:Msvm_DiskDrive.CreationClassName="
        rf'"Msvm_DiskDrive",DeviceID="Microsoft:{disk_guid}\\3",'
        r'SystemCreationClassName="Msvm_ComputerSystem",SystemName="HYPERV1"'
    )
    parent = driver.host.site.path_text("Msvm_ResourceAllocationSettingData", InstanceID=controller)
    (drive,) = await driver.add(
        guid,
        Row(
            "Msvm_ResourceAllocationSettingData",
            {
                "ResourceType": 17,
                "ResourceSubType": "Microsoft:Hyper-V:Physical Disk Drive",
                "Parent": parent,
                "AddressOnParent": "0",
                "HostResource": [path],
            },
        ),
    )
    rows = await driver.rows("Msvm_ResourceAllocationSettingData")
    stored = next(row for row in rows if row.values["InstanceID"] == drive)
    resources = stored.values["HostResource"]
    assert isinstance(resources, list)
    doubled = str(resources[0]).replace("\\", "\\\\")
    query = f"SELECT * FROM Msvm_DiskDrive WHERE __PATH = '{doubled}'"  # noqa: S608 - the form
    assert len(await driver.query(query)) == 1
    driver.host.close()
