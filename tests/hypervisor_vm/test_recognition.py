"""References that AddResourceSettings hands back, in any order and in doubt."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.apply import recognise, search_rows
from cloudstack_hyperv.hypervisor.devices import Devices, devices_of
from cloudstack_hyperv.hypervisor.plan import Device
from cloudstack_hyperv.hypervisor.wish import Bus, DriveAddress, DriveKind, device_identifier
from cloudstack_hyperv.network import NicWish
from cloudstack_hyperv.wsman.api import Instance

VM = "B637F346-6A0E-4DEC-AF52-BD70CB80A21D"
CONTROLLER = f"Microsoft:{VM}\\5E5E6E2B-0000-4000-8000-000000000001\\0"
FIRST, SECOND = (device_identifier("vm", "nic", number) for number in (0, 1))


def path(class_name: str, instance_id: str) -> ObjectPath:
    return ObjectPath.of(class_name, InstanceID=instance_id)


def nic(number: int) -> Device:
    wish = NicWish(number, f"0200000000{number:02}", None, needs_switch=False, connected=False)
    identifier = (FIRST, SECOND)[number]
    return Device(f"eth{number}", data.adapter(wish, identifier), identifier=identifier)


def drive(slot: int) -> Device:
    return Device(f"SCSI 0:{slot}", data.drive(DriveKind.DISK, slot), "SCSI 0")


@given(st.integers(0, 10_000))
def test_drives_are_recognised_by_their_slot_in_any_order(seed: int) -> None:
    devices = [drive(1), drive(2), drive(10), drive(0)]
    parents = {device.key: path(data.RASD, CONTROLLER) for device in devices}
    right = {d.key: path(data.RASD, f"{CONTROLLER}\\{d.key[7:]}\\D") for d in devices}
    results = list(right.values())
    random.Random(seed).shuffle(results)
    assert recognise(devices, parents, results) == right


def test_nics_are_recognised_by_the_identifier_we_gave_them() -> None:
    results = [
        path(data.NIC, f"Microsoft:{VM}\\{SECOND.lower()}"),
        path(data.NIC, f"Microsoft:{VM}\\{FIRST}"),
    ]
    assert recognise([nic(0), nic(1)], {}, results) == {"eth0": results[1], "eth1": results[0]}


def test_nics_with_ids_of_the_hosts_own_are_in_doubt_unless_there_is_one() -> None:
    results = [path(data.NIC, f"Microsoft:{VM}\\A"), path(data.NIC, f"Microsoft:{VM}\\B")]
    assert recognise([nic(0), nic(1)], {}, results) is None
    assert recognise([nic(0)], {}, results[:1]) == {"eth0": results[0]}
    assert recognise([nic(0)], {}, results) is None  # more than was asked for
    assert recognise([nic(0)], {}, []) is None


def test_media_and_connections_are_recognised_by_their_parent() -> None:
    on_drive = Device("m", data.medium(DriveKind.DISK, r"D:\a.vhdx"), "SCSI 0:1")
    other = Device("n", data.medium(DriveKind.DISK, r"D:\b.vhdx"), "SCSI 0:2")
    parents = {
        "m": path(data.RASD, f"{CONTROLLER}\\1\\D"),
        "n": path(data.RASD, f"{CONTROLLER}\\2\\D"),
    }
    results = [path(data.SASD, f"{CONTROLLER}\\2\\L"), path(data.SASD, f"{CONTROLLER}\\1\\L")]
    assert recognise([on_drive, other], parents, results) == {"m": results[1], "n": results[0]}


def row(class_name: str, instance_id: str, **values: str | list[str]) -> Instance:
    return Instance(
        class_name,
        {
            "InstanceID": (instance_id,),
            **{k: tuple(v) if isinstance(v, list) else (v,) for k, v in values.items()},
        },
    )


def text(class_name: str, instance_id: str) -> str:
    return str(
        ObjectPath(class_name, (("InstanceID", instance_id),), "root/virtualization/v2", host="HV1")
    )


ROWS = [
    row(
        data.NIC,
        f"Microsoft:{VM}\\BB",
        VirtualSystemIdentifiers=[f"{{{FIRST.lower()}}}"],
        Address="020000000000",
    ),
    row(
        data.NIC,
        f"Microsoft:{VM}\\AA",
        VirtualSystemIdentifiers=[f"{{{SECOND.lower()}}}"],
        Address="020000000001",
    ),
    row(
        data.CONNECTION,
        f"Microsoft:{VM}\\AA\\C",
        Parent=text(data.NIC, f"Microsoft:{VM}\\AA"),
        HostResource=["switch"],
        EnabledState="3",
    ),
    row(data.RASD, CONTROLLER, ResourceSubType="Microsoft:Hyper-V:Synthetic SCSI Controller"),
    row(
        data.RASD,
        f"{CONTROLLER}\\1\\D",
        ResourceSubType="Microsoft:Hyper-V:Synthetic Disk Drive",
        Parent=text(data.RASD, CONTROLLER),
        AddressOnParent="1",
    ),
    row(
        data.SASD,
        f"{CONTROLLER}\\1\\L",
        Parent=text(data.RASD, f"{CONTROLLER}\\1\\D"),
        HostResource=[r"D:\a.vhdx"],
    ),
    # A checkpoint's devices and another VM's, which a class query brings too:
    row(data.NIC, "Microsoft:00000000-0000-4000-8000-000000000000\\CC", Address="02"),
    row(
        data.RASD,
        "Microsoft:Definition\\X\\Default",
        ResourceSubType="Microsoft:Hyper-V:Synthetic Disk Drive",
    ),
]


def test_devices_in_doubt_are_found_by_their_properties() -> None:
    devices = [nic(0), nic(1), drive(1)]
    parents = {"SCSI 0:1": path(data.RASD, CONTROLLER)}
    assert search_rows(devices, parents, ROWS) == {
        "eth0": path(data.NIC, f"Microsoft:{VM}\\BB"),
        "eth1": path(data.NIC, f"Microsoft:{VM}\\AA"),
        "SCSI 0:1": path(data.RASD, f"{CONTROLLER}\\1\\D"),
    }


def test_devices_of_a_vm_are_put_together_from_rows_in_any_order() -> None:
    first = devices_of(VM.lower(), ROWS)
    assert devices_of(VM, reversed(ROWS)) == Devices(
        first.controllers, first.drives, first.adapters, tuple(reversed(first.rows))
    )
    assert first.generation == 2
    [disk] = first.drives
    assert disk.address == DriveAddress(Bus.SCSI, 0, 1)
    assert disk.medium is not None
    assert disk.medium.file == r"D:\a.vhdx"
    assert [adapter.mac for adapter in first.adapters] == ["020000000000", "020000000001"]
    assert first.adapters[0].connection is None
    connection = first.adapters[1].connection
    assert connection is not None
    assert not connection.connected
