"""VLANs, bandwidth, security and ACLs on machines' connections."""

from __future__ import annotations

import pytest
from tests.emulator_host.driver import VSMS, Driver, connection_row, nic_row, resource_path

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row, Value

VLAN = "Msvm_EthernetSwitchPortVlanSettingData"
BANDWIDTH = "Msvm_EthernetSwitchPortBandwidthSettingData"
SECURITY = "Msvm_EthernetSwitchPortSecuritySettingData"
ACL = "Msvm_EthernetSwitchPortAclSettingData"
EXTENDED = "Msvm_EthernetSwitchPortExtendedAclSettingData"


@pytest.fixture
async def cable(driver: Driver) -> str:
    guid = await driver.define("vm", 1)
    (nic,) = await driver.add(guid, nic_row())
    (made,) = await driver.add(
        guid, connection_row(nic, next(iter(driver.host.switches)).path_text)
    )
    return made


async def add(driver: Driver, cable: str, class_name: str, **values: Value) -> int | None:
    reply = await driver.call(
        VSMS,
        "AddFeatureSettings",
        AffectedConfiguration=resource_path(cable),
        FeatureSettings=[Row(class_name, values)],
    )
    return await driver.code(reply)


async def test_a_vlan_is_set_changed_and_removed(driver: Driver, cable: str) -> None:
    assert await add(driver, cable, VLAN, OperationMode=1, AccessVlanId=120) == 0
    (row,) = await driver.rows(VLAN)
    assert row.values["AccessVlanId"] == 120
    instance_id = str(row.values["InstanceID"])
    assert instance_id.startswith(f"{cable}\\952C5004-4465-451C-8CB8-FA9AB382B773\\")
    assert await add(driver, cable, VLAN, OperationMode=1, AccessVlanId=121) == 32768
    change = Row(VLAN, {"InstanceID": instance_id, "AccessVlanId": 130})
    reply = await driver.call(VSMS, "ModifyFeatureSettings", FeatureSettings=[change])
    assert await driver.code(reply) == 0
    assert (await driver.rows(VLAN))[0].values["AccessVlanId"] == 130
    path = ObjectPath.of(VLAN, InstanceID=instance_id)
    reply = await driver.call(VSMS, "RemoveFeatureSettings", FeatureSettings=[path])
    assert await driver.code(reply) == 0
    assert await driver.rows(VLAN) == []


@pytest.mark.parametrize(
    ("class_name", "values"),
    [
        (VLAN, {"OperationMode": 1, "AccessVlanId": 4095}),
        (VLAN, {"OperationMode": 1}),
        (VLAN, {"OperationMode": 2, "NativeVlanId": 5}),
        (VLAN, {"OperationMode": 7}),
        (VLAN, {"OperationMode": 3, "PvlanMode": 1, "PrimaryVlanId": 5, "SecondaryVlanId": 5}),
        (SECURITY, {"MonitorMode": 3}),
        (ACL, {"Direction": 1, "Action": 1, "AclType": 2, "LocalAddress": "::1"}),
        (ACL, {"Direction": 3, "Action": 1, "AclType": 2}),
        (EXTENDED, {"Direction": 1, "Action": 3}),
        (EXTENDED, {"Direction": 1, "Action": 1, "RemotePort": "70000"}),
        (EXTENDED, {"Direction": 1, "Action": 1, "Protocol": "ICMP"}),
        (EXTENDED, {"Direction": 1, "Action": 2, "Stateful": True}),
        (
            EXTENDED,
            {"Direction": 1, "Action": 1, "LocalIPAddress": "10.0.0.1", "RemoteIPAddress": "::1"},
        ),
    ],
)
async def test_features_that_make_no_sense(
    driver: Driver, cable: str, class_name: str, values: dict[str, Value]
) -> None:
    assert await add(driver, cable, class_name, **values) == 32773
    assert await driver.rows(class_name) == []


async def test_bandwidth_follows_the_switch_s_mode(driver: Driver, cable: str) -> None:
    assert await add(driver, cable, BANDWIDTH, Weight=50) == 32768
    with pytest.raises(CimFault) as caught:
        await add(driver, cable, BANDWIDTH, Reservation=2000, Limit=1000)
    assert caught.value.code == 0x80070057
    assert await add(driver, cable, BANDWIDTH, Limit=200_000_007) == 0
    (row,) = await driver.rows(BANDWIDTH)
    assert row.values["Limit"] == 200_000_000


async def test_extended_rules_are_identified_by_weight_and_direction(
    driver: Driver, cable: str
) -> None:
    rule: dict[str, Value] = {"Action": 1, "Protocol": "TCP", "LocalPort": "22", "Stateful": True}
    assert await add(driver, cable, EXTENDED, Direction=1, Weight=10, **rule) == 0
    assert await add(driver, cable, EXTENDED, Direction=2, Weight=10, **rule) == 0
    assert await add(driver, cable, EXTENDED, Direction=1, Weight=10, **rule) == 32768
    assert len(await driver.rows(EXTENDED)) == 2


async def test_features_hang_on_connections_of_machines_only(driver: Driver, cable: str) -> None:
    nic = cable[:-2]
    path = resource_path(nic, "Msvm_SyntheticEthernetPortSettingData")
    reply = await driver.call(
        VSMS,
        "AddFeatureSettings",
        AffectedConfiguration=path,
        FeatureSettings=[Row(VLAN, {"OperationMode": 1, "AccessVlanId": 1})],
    )
    assert reply.return_value == 32773
