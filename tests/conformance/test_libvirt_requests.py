"""libvirt's hyperv driver, request by request: what its commands send, and that they succeed.

Reconstructed from the driver's source (hyperv_driver.c, hyperv_wmi.c of libvirt 9.0) and checked
once against the real virsh; the numbers of requests are those that virsh was seen to need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.wire import CIMV2, Libvirt, connect, copied, embedded, value
from tests.emulation import Emulation, running_emulation

from cloudstack_hyperv.emulator.host import JobMode
from cloudstack_hyperv.emulator.host.config import PhysicalDisk

VSMS = "Msvm_VirtualSystemManagementService"
SYSTEM = "Msvm_ComputerSystem"
RASD = "Msvm_ResourceAllocationSettingData"


@pytest.fixture(params=[JobMode.ALWAYS_0, JobMode.ALWAYS_4096])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    async with running_emulation(
        tmp_path, job_mode=request.param, physical_disks=(PhysicalDisk(1),)
    ) as emulation:
        yield Driver(emulation, Libvirt(await connect(emulation.port)))


class Driver:
    """The driver's own routines, by their purpose."""

    def __init__(self, emulation: Emulation, libvirt: Libvirt) -> None:
        self.emulation = emulation
        self.libvirt = libvirt

    async def define(self, name: str) -> str:
        """Define a machine with a name only, as hypervDomainDefineXML does; returns its id."""
        settings = embedded("Msvm_VirtualSystemSettingData", ElementName=("string", name))
        await self.libvirt.done(
            VSMS, "DefineSystem", f"<n1:SystemSettings>{settings}</n1:SystemSettings>"
        )
        return (await self.by_name(name))[0]

    async def by_name(self, name: str) -> tuple[str, int]:
        """Return id and EnabledState."""
        (row,) = await self.libvirt.query(
            f"SELECT * FROM {SYSTEM} WHERE Name != __SERVER AND ElementName = '{name}'",  # noqa: S608
            SYSTEM,
        )
        return (value(row, "Name") or "").lower(), int(value(row, "EnabledState") or 0)

    async def settings(self, machine: str) -> str:
        """Return the InstanceID of a machine's settings, the id given in lower case."""
        (row,) = await self.libvirt.query(
            f"ASSOCIATORS OF {{{SYSTEM}.CreationClassName='{SYSTEM}',Name='{machine}'}} WHERE "
            "AssocClass = Msvm_SettingsDefineState ResultClass = Msvm_VirtualSystemSettingData",
            "Msvm_VirtualSystemSettingData",
        )
        return value(row, "InstanceID") or ""

    async def parts(self, machine: str, class_name: str) -> list[dict[str, str | None]]:
        rows = await self.libvirt.query(
            "ASSOCIATORS OF {Msvm_VirtualSystemSettingData.InstanceID='"
            f"{await self.settings(machine)}'}} WHERE AssocClass = "
            f"Msvm_VirtualSystemSettingDataComponent ResultClass = {class_name}",
            class_name,
        )
        return [{child.tag.partition("}")[2]: child.text for child in row} for row in rows]

    async def add(
        self, machine: str, class_name: str = RASD, **values: tuple[str, str | list[str]]
    ) -> str:
        """Add a resource, media as the superclass too; the first InstanceID of the answer."""
        (epr,) = await self.libvirt.query(
            "SELECT * FROM Msvm_VirtualSystemSettingData WHERE InstanceID = "  # noqa: S608 - WQL
            f"'{await self.settings(machine)}'",
            VSMS,
            mode="EnumerateEPR",
        )
        answer = await self.libvirt.done(
            VSMS,
            "AddResourceSettings",
            f"<n1:AffectedConfiguration>{copied(epr)}</n1:AffectedConfiguration>"
            f"<n1:ResourceSettings>{embedded(class_name, **values)}</n1:ResourceSettings>",
        )
        return answer.partition('Selector Name="InstanceID">')[2].partition("<")[0]

    def path(self, instance_id: str, class_name: str = RASD) -> str:
        """Write a path in the driver's spelling of the namespace."""
        escaped = instance_id.replace("\\", "\\\\")
        return rf'\\HYPERV1\Root\Virtualization\V2:{class_name}.InstanceID="{escaped}"'

    async def change_state(self, machine: str, state: int) -> None:
        await self.libvirt.done(
            SYSTEM,
            "RequestStateChange",
            f"<n1:RequestedState>{state}</n1:RequestedState>",
            Name=machine,
        )


async def test_connecting_and_asking_about_the_host(driver: Driver) -> None:
    libvirt = driver.libvirt
    (product,) = await libvirt.query(
        "SELECT * FROM Win32_ComputerSystemProduct ", "Win32_ComputerSystemProduct", CIMV2
    )
    assert len(value(product, "UUID") or "") == 36
    (system,) = await libvirt.query(
        "SELECT * FROM Win32_OperatingSystem ", "Win32_OperatingSystem", CIMV2
    )
    assert value(system, "Version") == "10.0.17763"
    assert libvirt.requests == 4
    (host,) = await libvirt.query(
        "SELECT * FROM Win32_ComputerSystem ", "Win32_ComputerSystem", CIMV2
    )
    processors = await libvirt.query(
        f"ASSOCIATORS OF {{Win32_ComputerSystem.Name='{value(host, 'Name')}'}} WHERE AssocClass = "
        "Win32_ComputerSystemProcessor ResultClass = Win32_Processor",
        "Win32_Processor",
        CIMV2,
    )
    assert int(value(processors[0], "NumberOfCores") or 0) > 0
    (most,) = await libvirt.query(
        "SELECT * FROM Msvm_ProcessorSettingData WHERE InstanceID LIKE "
        "'Microsoft:Definition%Maximum'",
        "Msvm_ProcessorSettingData",
    )
    assert int(value(most, "VirtualQuantity") or 0) == 240
    switches = await libvirt.query(
        "SELECT * FROM Msvm_VirtualEthernetSwitch WHERE HealthState = 5",
        "Msvm_VirtualEthernetSwitch",
    )
    assert [value(row, "ElementName") for row in switches] == ["External", "Internal"]


async def test_defining_a_full_machine_and_reading_it_back(driver: Driver) -> None:
    """Every kind of device, media filed as Msvm_StorageAllocationSettingData, Parent suffixes."""
    emulation = driver.emulation
    disk = emulation.make_disk("root")
    machine = await driver.define("full")
    controller = await driver.add(
        machine,
        ResourceType=("uint16", "6"),
        ResourceSubType=("string", "Microsoft:Hyper-V:Synthetic SCSI Controller"),
    )
    drive = await driver.add(
        machine,
        Parent=("string", driver.path(controller)),
        AddressOnParent=("string", "0"),
        ResourceType=("uint16", "17"),
        ResourceSubType=("string", "Microsoft:Hyper-V:Synthetic Disk Drive"),
    )
    medium = await driver.add(
        machine,
        Parent=("string", driver.path(drive)),
        HostResource=("string", [disk]),
        ResourceType=("uint16", "31"),
        ResourceSubType=("string", "Microsoft:Hyper-V:Virtual Hard Disk"),
    )
    (template,) = await driver.libvirt.query(
        f"SELECT * FROM {RASD} WHERE ResourceSubType = "  # noqa: S608 - WQL
        "'Microsoft:Hyper-V:Physical Disk Drive' AND InstanceID LIKE '%%Default%%'",
        RASD,
    )
    guid = (value(template, "InstanceID") or "").split("\\")[1]
    await driver.add(
        machine,
        Parent=("string", driver.path(controller)),
        AddressOnParent=("string", "1"),
        HostResource=(
            "string",
            [
                (
                    r"\\HYPERV1\Root\Virtualization\V2:Msvm_DiskDrive.CreationClassName="
                    rf'"Msvm_DiskDrive",DeviceID="Microsoft:{guid}\\1",'
                    r'SystemCreationClassName="Msvm_ComputerSystem",SystemName="HYPERV1"'
                )
            ],
        ),
        ResourceType=("uint16", "17"),
        ResourceSubType=("string", "Microsoft:Hyper-V:Physical Disk Drive"),
    )
    (switch,) = await driver.libvirt.query(
        "SELECT * FROM Msvm_VirtualEthernetSwitch WHERE ElementName = 'External'",
        "Msvm_VirtualEthernetSwitch",
    )
    card = await driver.add(
        machine,
        "Msvm_SyntheticEthernetPortSettingData",
        ResourceType=("uint16", "10"),
        ResourceSubType=("string", "Microsoft:Hyper-V:Synthetic Ethernet Port"),
        Address=("string", "00155D010203"),
        StaticMacAddress=("boolean", "true"),
        VirtualSystemIdentifiers=("string", ["{E4B06CE6-0741-47A8-BCE4-2C8218072E8C}"]),
    )
    await driver.add(
        machine,
        "Msvm_EthernetPortAllocationSettingData",
        EnabledState=("uint16", "2"),
        HostResource=(
            "string",
            [
                (
                    r"\\HYPERV1\Root\Virtualization\V2:Msvm_VirtualEthernetSwitch.CreationClassName="
                    rf'"Msvm_VirtualEthernetSwitch",Name="{value(switch, "Name")}"'
                )
            ],
        ),
        Parent=("string", driver.path(card, "Msvm_SyntheticEthernetPortSettingData")),
        ResourceType=("uint16", "33"),
        ResourceSubType=("string", "Microsoft:Hyper-V:Ethernet Connection"),
    )

    resources = await driver.parts(machine, RASD)
    media = await driver.parts(machine, "Msvm_StorageAllocationSettingData")
    assert [each["InstanceID"] for each in media] == [medium]
    assert media[0]["HostResource"] == disk
    suffix = drive.replace("\\", "\\\\") + '"'
    assert (media[0]["Parent"] or "").endswith(suffix)
    drives = [each for each in resources if each["ResourceType"] == "17"]
    assert len(drives) == 2
    for each in drives:
        assert (each["Parent"] or "").endswith(controller.replace("\\", "\\\\") + '"')
        physical = each["ResourceSubType"] == "Microsoft:Hyper-V:Physical Disk Drive"
        assert ("HostResource" in each) is physical, "a drive with HostResource is passed through"
    assert [each["Address"] for each in resources if each["ResourceType"] == "5"] == ["0", "1"]
    (cable,) = await driver.parts(machine, "Msvm_EthernetPortAllocationSettingData")
    doubled = (cable["Parent"] or "").replace("\\", "\\\\")
    (port,) = await driver.libvirt.query(
        f"SELECT * FROM Msvm_SyntheticEthernetPortSettingData WHERE __PATH = '{doubled}'",  # noqa: S608
        "Msvm_SyntheticEthernetPortSettingData",
    )
    assert value(port, "Address") == "00155D010203"
    serial = await driver.parts(machine, "Msvm_SerialPortSettingData")
    assert [each["ElementName"] for each in serial] == ["COM 1", "COM 2"]


async def test_power_keys_and_the_screen(driver: Driver) -> None:
    machine = await driver.define("web")
    await driver.change_state(machine, 2)
    assert (await driver.by_name("web"))[1] == 2
    await driver.change_state(machine, 9)
    assert (await driver.by_name("web"))[1] == 9, "resume asks for 9, not for v1's 32768"
    await driver.change_state(machine, 2)
    libvirt = driver.libvirt
    (keyboard,) = await libvirt.query(
        f"ASSOCIATORS OF {{{SYSTEM}.CreationClassName='{SYSTEM}',Name='{machine}'}} WHERE "
        "ResultClass = Msvm_Keyboard",
        "Msvm_Keyboard",
    )
    keys = {
        name: value(keyboard, name) or ""
        for name in ("DeviceID", "SystemCreationClassName", "SystemName")
    }
    for method in ("PressKey", "ReleaseKey"):
        code, _, _ = await libvirt.invoke(
            "Msvm_Keyboard", method, "<n1:keyCode>65</n1:keyCode>", **keys
        )
        assert code == 0
    (display,) = await libvirt.query(
        "SELECT * FROM Msvm_SyntheticDisplayController WHERE SystemName = "  # noqa: S608 - WQL
        f"'{machine}'",
        "Msvm_SyntheticDisplayController",
    )
    # The DeviceID stands in the path as it was read, its backslash not doubled.
    (head,) = await libvirt.query(
        "ASSOCIATORS OF {Msvm_SyntheticDisplayController.CreationClassName="
        "'Msvm_SyntheticDisplayController',"
        f"DeviceID='{value(display, 'DeviceID')}',SystemCreationClassName='{SYSTEM}',"
        f"SystemName='{machine}'}} WHERE AssocClass = Msvm_VideoHeadOnController "
        "ResultClass = Msvm_VideoHead",
        "Msvm_VideoHead",
    )
    assert value(head, "EnabledState") == "2"
    width, height = (value(head, f"Current{axis}Resolution") for axis in ("Horizontal", "Vertical"))
    (epr,) = await libvirt.query(
        f"ASSOCIATORS OF {{{SYSTEM}.CreationClassName='{SYSTEM}',Name='{machine}'}} WHERE "
        "ResultClass = Msvm_VirtualSystemSettingData",
        VSMS,
        mode="EnumerateEPR",
    )
    code, _, answer = await libvirt.invoke(
        VSMS,
        "GetVirtualSystemThumbnailImage",
        f"<n1:HeightPixels>{height}</n1:HeightPixels><n1:WidthPixels>{width}</n1:WidthPixels>"
        f"<n1:TargetSystem>{copied(epr)}</n1:TargetSystem>",
    )
    assert code == 0
    assert "<p:ImageData>" in answer
    await driver.change_state(machine, 3)
    (system,) = await libvirt.query(
        f"SELECT * FROM {SYSTEM} WHERE Name = '{machine}'",  # noqa: S608 - WQL
        SYSTEM,
        mode="EnumerateEPR",
    )
    await libvirt.done(
        VSMS, "DestroySystem", f"<n1:AffectedSystem>{copied(system)}</n1:AffectedSystem>"
    )


async def test_a_saved_machine_shows_no_v1_state(driver: Driver) -> None:
    """The driver waits for 32769 of the old namespace before it takes a machine for saved.

    So `virsh managedsave-remove` skips it and `list --with-managed-save` never names it, against
    this host as against a real one; `start` goes on from the saved state.
    """
    machine = await driver.define("saved")
    await driver.change_state(machine, 2)
    await driver.change_state(machine, 6)
    assert (await driver.by_name("saved"))[1] == 6
    await driver.change_state(machine, 2)
    assert (await driver.by_name("saved"))[1] == 2
