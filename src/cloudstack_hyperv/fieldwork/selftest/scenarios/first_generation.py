"""A generation 1 machine that is off: its definition, its devices, its switch port, its media."""

from __future__ import annotations

from cloudstack_hyperv.cim import Uint8, Uint16, Uint32
from cloudstack_hyperv.cim.constants import IDE_CONTROLLER_GUID, EnabledState, VlanMode
from cloudstack_hyperv.fieldwork.selftest import scratch_machines
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Source
from cloudstack_hyperv.fieldwork.selftest.refusals import refusal
from cloudstack_hyperv.fieldwork.selftest.scenarios.disks import SIZE
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor import drives, images, port_features
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import Connection, Devices, read_devices
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, Machine
from cloudstack_hyperv.hypervisor.release import SERVER_2012_R2
from cloudstack_hyperv.hypervisor.wish import Bus, DriveKind, device_identifier
from cloudstack_hyperv.wsman import EmbeddedInstance, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, starts_with

_ACL = "Msvm_EthernetSwitchPortAclSettingData"
_EXTENDED_ACL = "Msvm_EthernetSwitchPortExtendedAclSettingData"
_HIGH_WEIGHT, _LOW_WEIGHT = 65000, 10
DATA_DISK = "extra1.vhdx"


async def play_define(stage: Stage, findings: Findings) -> None:
    """Define the machine with all its devices in one plan, then read it back."""
    for name in ("root1.vhdx", "data1.vhdx", DATA_DISK):
        await images.create_disk(stage.client, stage.path(name), SIZE)
    wish = scratch_machines.first_generation(stage)
    guid, sized = await scratch_machines.define(stage, wish)
    findings.expect_true("DefineSystem takes processors and memory", Source.CLIENT_CODE, sized)
    machine = await stage.machine(scratch_machines.FIRST)
    findings.expect("EnabledState", Source.DOCUMENTED, EnabledState.DISABLED, machine.state)
    findings.expect("Notes are kept", Source.DOCUMENTED, wish.ownership.note, machine.notes)
    devices = await read_devices(stage.client, guid, wish.name)
    _look_at_storage(devices, stage, findings)
    _look_at_sizes(devices, findings)
    (adapter,) = devices.adapters
    findings.expect(
        "a static MAC address is kept", Source.DOCUMENTED, stage.names.mac(1), adapter.mac
    )
    identifier = device_identifier(wish.ownership.uuid, "nic", 0)
    findings.expect(
        "VirtualSystemIdentifiers are kept", Source.CLIENT_CODE, identifier, adapter.identifier
    )
    findings.expect(
        "the connection's InstanceID is the NIC's and \\C",
        Source.RECORDED,
        f"{adapter.path.key('InstanceID')}\\C",
        _connection(devices).path.key("InstanceID"),
    )


async def play_port(stage: Stage, findings: Findings) -> None:
    """Read the port's features back; add ACLs; add what a port can have only once."""
    machine = await stage.machine(scratch_machines.FIRST)
    devices = await read_devices(stage.client, machine.guid, machine.element_name)
    connection = _connection(devices)
    vlan = await _one(stage, data.VLAN, connection)
    findings.expect("OperationMode", Source.DOCUMENTED, VlanMode.ACCESS, vlan.uint("OperationMode"))
    findings.expect(
        "AccessVlanId", Source.DOCUMENTED, scratch_machines.VLAN, vlan.uint("AccessVlanId")
    )
    bandwidth = await _one(stage, data.BANDWIDTH, connection)
    findings.expect(
        "bandwidth Limit reads as it was set",
        Source.CLIENT_CODE,
        scratch_machines.LIMIT,
        bandwidth.uint("Limit"),
    )
    security = await _one(stage, data.SECURITY, connection)
    findings.expect_true(
        "AllowMacSpoofing", Source.DOCUMENTED, security.boolean("AllowMacSpoofing")
    )
    findings.expect_that(
        "a second VLAN setting on a port",
        Source.CLIENT_CODE,
        "refused",
        answer := await refusal(_add(stage, connection, _vlan(121))),
        holds=answer.startswith("refused"),
    )
    await port_features.change_vlan(stage.client, connection.path, vlan, 122, "change the VLAN")
    vlan = await _one(stage, data.VLAN, connection)
    findings.expect("AccessVlanId, changed", Source.DOCUMENTED, 122, vlan.uint("AccessVlanId"))
    await _add(stage, connection, _meter())
    findings.expect(
        "simple ACLs of the port",
        Source.DOCUMENTED,
        1,
        len(await _features(stage, _ACL, connection)),
    )
    if stage.release.build >= SERVER_2012_R2:
        await _play_extended_acls(stage, connection, findings)


async def _play_extended_acls(stage: Stage, connection: Connection, findings: Findings) -> None:
    await _add(stage, connection, _rule(_HIGH_WEIGHT, allow=True), _rule(_LOW_WEIGHT, allow=False))
    rows = await _features(stage, _EXTENDED_ACL, connection)
    findings.expect(
        "weights of the extended ACLs",
        Source.DOCUMENTED,
        {_HIGH_WEIGHT, _LOW_WEIGHT},
        {row.uint("Weight") for row in rows},
    )
    findings.expect_that(
        "a second rule of the same weight and direction",
        Source.DOCUMENTED,
        "refused",
        answer := await refusal(_add(stage, connection, _rule(_HIGH_WEIGHT, allow=False))),
        holds=answer.startswith("refused"),
    )


async def play_media(stage: Stage, findings: Findings) -> None:
    """Put an ISO into the DVD drive and take it out; attach a disk and detach it."""
    client = stage.client
    machine = await stage.machine(scratch_machines.FIRST)
    iso = await stage.lay_iso("empty.iso")
    if iso is not None:
        await drives.insert_iso(client, machine, iso, 0)
        findings.expect_true(
            "the ISO lies in the drive", Source.DOCUMENTED, await _lies(stage, machine, iso)
        )
        findings.expect_true(
            "ejecting it", Source.DOCUMENTED, await drives.eject_iso(client, machine, iso, 0)
        )
    disk = stage.path(DATA_DISK)
    sequence = await drives.attach_disk(client, machine, disk, None)
    devices = await read_devices(client, machine.guid, machine.element_name)
    drive = drives.drive_with(devices, DriveKind.DISK, disk)
    if drive is None:
        raise HypervisorError(f"the machine does not show {disk}")
    findings.expect(
        "the disk is on the SCSI controller", Source.DOCUMENTED, Bus.SCSI, drive.address.bus
    )
    findings.expect_that(
        "removing a drive that holds a medium",
        Source.CLIENT_CODE,
        "refused",
        answer := await refusal(
            call(
                client,
                MANAGEMENT_SERVICE,
                "RemoveResourceSettings",
                {"ResourceSettings": [drive.path]},
                what="remove a drive that holds a disk",
            )
        ),
        holds=answer.startswith("refused"),
    )
    findings.expect_true(
        "detaching it",
        Source.DOCUMENTED,
        await drives.detach_disk(client, machine, disk, sequence),
    )


def _look_at_storage(devices: Devices, stage: Stage, findings: Findings) -> None:
    findings.expect("generation, by its controllers", Source.DOCUMENTED, 1, devices.generation)
    findings.expect(
        "drives",
        Source.DOCUMENTED,
        tuple(
            f"{drive.kind} {drive.address}"
            for drive in scratch_machines.first_generation(stage).drives
        ),
        tuple(f"{drive.kind} {drive.address}" for drive in devices.drives),
    )
    ide = [c.path.key("InstanceID") or "" for c in devices.controllers if c.bus is Bus.IDE]
    findings.expect(
        "InstanceIDs of the IDE controllers end with",
        Source.RECORDED,
        {f"{IDE_CONTROLLER_GUID}\\0", f"{IDE_CONTROLLER_GUID}\\1"},
        {"\\".join(identity.upper().split("\\")[-2:]) for identity in ide},
    )
    disk = devices.drives[0]
    findings.expect_that(
        "a drive's InstanceID",
        Source.RECORDED,
        "<controller>\\<slot>\\D",
        (disk.path.key("InstanceID") or "").partition("\\")[2],
        holds=(disk.path.key("InstanceID") or "")
        .upper()
        .endswith(f"{IDE_CONTROLLER_GUID}\\0\\0\\D"),
    )
    findings.expect_that(
        "a medium's InstanceID",
        Source.RECORDED,
        "<controller>\\<slot>\\L",
        (disk.medium.path.key("InstanceID") or "").partition("\\")[2] if disk.medium else "none",
        holds=disk.medium is not None
        and (disk.medium.path.key("InstanceID") or "").upper().endswith("\\0\\0\\L"),
    )


def _look_at_sizes(devices: Devices, findings: Findings) -> None:
    rows = {row.class_name: row for row in devices.rows}
    for class_name, expected in (
        ("Msvm_ProcessorSettingData", 1),
        ("Msvm_MemorySettingData", scratch_machines.MEMORY),
    ):
        row = rows.get(class_name)
        findings.expect(
            f"VirtualQuantity of {class_name}",
            Source.DOCUMENTED,
            expected,
            None if row is None else row.uint("VirtualQuantity"),
        )


def _connection(devices: Devices) -> Connection:
    connection = devices.adapters[0].connection if devices.adapters else None
    if connection is None:
        raise HypervisorError("the machine's NIC has no connection")
    return connection


async def _lies(stage: Stage, machine: Machine, file: str) -> bool:
    devices = await read_devices(stage.client, machine.guid, machine.element_name)
    return drives.drive_with(devices, DriveKind.DVD, file) is not None


async def _features(stage: Stage, class_name: str, connection: Connection) -> list[Instance]:
    prefix = f"{connection.path.key('InstanceID') or ''}\\"
    with translated(f"read {class_name}"):
        return await stage.client.query(Select(class_name, where=starts_with("InstanceID", prefix)))


async def _one(stage: Stage, class_name: str, connection: Connection) -> Instance:
    rows = await _features(stage, class_name, connection)
    if len(rows) != 1:
        raise HypervisorError(f"the port has {len(rows)} of {class_name}")
    return rows[0]


async def _add(stage: Stage, connection: Connection, *features: EmbeddedInstance) -> None:
    await call(
        stage.client,
        MANAGEMENT_SERVICE,
        "AddFeatureSettings",
        {"AffectedConfiguration": connection.path, "FeatureSettings": list(features)},
        what=f"add {features[0].class_name}",
    )


def _vlan(number: int) -> EmbeddedInstance:
    return EmbeddedInstance(
        data.VLAN, {"OperationMode": Uint32(VlanMode.ACCESS), "AccessVlanId": Uint16(number)}
    )


def _meter() -> EmbeddedInstance:
    """Count what comes from anywhere (what CloudStack's usage would be measured by)."""
    return EmbeddedInstance(
        _ACL,
        {
            "Direction": Uint8(1),
            "Action": Uint8(3),
            "AclType": Uint8(2),
            "Applicability": Uint8(2),
            "RemoteAddress": "0.0.0.0",  # noqa: S104  (every address, nothing is bound)
            "RemoteAddressPrefixLength": Uint8(0),
        },
    )


def _rule(weight: int, *, allow: bool) -> EmbeddedInstance:
    return EmbeddedInstance(
        _EXTENDED_ACL,
        {
            "Name": f"selftest {weight}",
            "Direction": Uint8(1),
            "Action": Uint8(1 if allow else 2),
            "Protocol": "tcp",
            "LocalPort": "22",
            "Weight": Uint16(weight),
            "Stateful": allow,
        },
    )
