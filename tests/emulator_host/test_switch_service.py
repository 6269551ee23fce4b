"""Switches: what is there at the start, and the switch management service."""

from __future__ import annotations

import pytest
from tests.emulator_host.driver import V2, VSMS, Driver, connection_row, nic_row, resource_path

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import BadEmbedded, Row, UnusableInstance, Value

SERVICE = "Msvm_VirtualEthernetSwitchManagementService"
SETTINGS = "Msvm_VirtualEthernetSwitchSettingData"
CONNECTION = "Msvm_EthernetPortAllocationSettingData"
VLAN = "Msvm_EthernetSwitchPortVlanSettingData"


def connection(resource: str) -> Row:
    return Row(CONNECTION, {"HostResource": [resource]})


async def define(driver: Driver, name: str, *connections: Row, **values: Value) -> ObjectPath:
    reply = await driver.done(
        SERVICE,
        "DefineSystem",
        SystemSettings=Row(SETTINGS, {"ElementName": name, **values}),
        ResourceSettings=list(connections) or None,
    )
    path = reply.out["ResultingSystem"]
    assert isinstance(path, ObjectPath)
    return path


async def names(driver: Driver) -> list[object]:
    return [row.values["ElementName"] for row in await driver.rows("Msvm_VirtualEthernetSwitch")]


async def test_switches_of_the_configuration(driver: Driver) -> None:
    assert await names(driver) == ["External", "Internal"]
    rows = await driver.rows(CONNECTION)
    kinds = [str(row.values["HostResource"]) for row in rows]
    assert sum("Msvm_ExternalEthernetPort" in kind for kind in kinds) == 1
    assert sum("v2:Msvm_ComputerSystem" in kind for kind in kinds) == 2
    (port,) = await driver.rows("Msvm_ExternalEthernetPort")
    assert port.values["IsBound"] is True
    (address,) = [
        row
        for row in await driver.rows("Win32_NetworkAdapterConfiguration", "root/cimv2")
        if row.values["IPEnabled"]
    ]
    assert address.values["IPAddress"] == ["192.0.2.10"]
    assert "Hyper-V Virtual Ethernet Adapter" in str(address.values["Description"])


async def test_from_a_physical_port_to_its_switch_as_the_csharp_agent_walks(
    driver: Driver,
) -> None:
    (port,) = await driver.rows("Msvm_ExternalEthernetPort")
    path = driver.engine.path_of(V2, port)

    async def step(source: ObjectPath, association: str) -> list[ObjectPath]:
        keys = ",".join(f'{k}="{v}"'.replace("\\", "\\\\") for k, v in source.keys)
        rows = await driver.query(
            f"ASSOCIATORS OF {{{source.class_name}.{keys}}} WHERE AssocClass = {association}"
        )
        return [driver.engine.path_of(V2, row) for row in rows]

    (near,) = await step(path, "Msvm_EthernetDeviceSAPImplementation")
    (far,) = await step(near, "Msvm_ActiveConnection")
    (switch_port,) = await step(far, "Msvm_EthernetDeviceSAPImplementation")
    assert switch_port.class_name == "Msvm_EthernetSwitchPort"
    external = next(s for s in driver.host.switches if s.name == "External")
    assert switch_port.key("SystemName") == external.guid


async def test_private_and_internal_switches_are_defined_and_destroyed(driver: Driver) -> None:
    private = await define(driver, "private", Notes=["for tests"])
    internal = await define(driver, "internal", connection(driver.host.switches.host_path))
    assert await names(driver) == ["External", "Internal", "private", "internal"]
    found = {str(s.guid): s.kind for s in driver.host.switches}
    assert found[private.key("Name") or ""] == "private"
    assert found[internal.key("Name") or ""] == "internal"
    await driver.done(SERVICE, "DestroySystem", AffectedSystem=private)
    assert await names(driver) == ["External", "Internal", "internal"]
    reply = await driver.call(SERVICE, "DestroySystem", AffectedSystem=private)
    assert reply.return_value == 32773


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        ("", 32773),
        ("nonsense", 32773),
        ('Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",Name="OTHER"', 32773),
        ('Msvm_ExternalEthernetPort.DeviceID="Microsoft:{0}"', 32773),
    ],
)
async def test_connections_that_are_none(driver: Driver, resource: str, code: int) -> None:
    reply = await driver.call(
        SERVICE,
        "DefineSystem",
        SystemSettings=Row(SETTINGS, {"ElementName": "x"}),
        ResourceSettings=[connection(resource)],
    )
    assert reply.return_value == code
    assert len(driver.host.switches) == 2


async def test_a_scalar_host_resource_is_32776_on_this_service(driver: Driver) -> None:
    unusable = UnusableInstance(BadEmbedded.SCALAR_FOR_ARRAY, "HostResource")
    reply = await driver.call(SERVICE, "DefineSystem", ResourceSettings=[unusable])
    assert reply.return_value == 32776


async def test_a_bound_port_cannot_be_bound_again(driver: Driver) -> None:
    port = driver.host.switches.external_port_path(driver.host.config.nics[0])
    reply = await driver.call(
        SERVICE,
        "DefineSystem",
        SystemSettings=Row(SETTINGS, {"ElementName": "second"}),
        ResourceSettings=[connection(port)],
    )
    assert reply.return_value == 32768
    external = next(s for s in driver.host.switches if s.name == "External")
    await driver.done(SERVICE, "DestroySystem", AffectedSystem=external.reference)
    await define(driver, "second", connection(port))
    assert (await driver.rows("Msvm_ExternalEthernetPort"))[0].values["IsBound"] is True


async def test_settings_and_connections_change(driver: Driver) -> None:
    path = await define(driver, "before")
    instance_id = f"Microsoft:{path.key('Name')}"
    change = Row(SETTINGS, {"InstanceID": instance_id, "ElementName": "after"})
    await driver.done(SERVICE, "ModifySystemSettings", SystemSettings=change)
    assert "after" in await names(driver)
    change = Row(SETTINGS, {"InstanceID": instance_id, "IOVPreferred": True})
    reply = await driver.call(SERVICE, "ModifySystemSettings", SystemSettings=change)
    assert reply.return_value == 32773
    reply = await driver.done(
        SERVICE,
        "AddResourceSettings",
        AffectedConfiguration=ObjectPath.of(SETTINGS, InstanceID=instance_id),
        ResourceSettings=[connection(driver.host.switches.host_path)],
    )
    results = reply.out["ResultingResourceSettings"]
    assert isinstance(results, list)
    (made,) = results
    assert isinstance(made, ObjectPath)
    switch = driver.host.switches.get(path.key("Name") or "")
    assert switch is not None
    assert switch.kind == "internal"
    vlan = Row(VLAN, {"OperationMode": 1, "AccessVlanId": 9})
    await driver.done(
        SERVICE, "AddFeatureSettings", AffectedConfiguration=made, FeatureSettings=[vlan]
    )
    (feature,) = await driver.rows(VLAN)
    key = str(feature.values["InstanceID"])
    assert key.startswith(made.key("InstanceID") or "?")
    change = Row(VLAN, {"InstanceID": key, "AccessVlanId": 10})
    await driver.done(SERVICE, "ModifyFeatureSettings", FeatureSettings=[change])
    assert (await driver.rows(VLAN))[0].values["AccessVlanId"] == 10
    await driver.done(SERVICE, "RemoveResourceSettings", ResourceSettings=[made])
    assert switch.kind == "private"
    assert await driver.rows(VLAN) == []


async def test_a_machine_whose_switch_is_gone_does_not_start(driver: Driver) -> None:
    path = await define(driver, "passing")
    switch = driver.host.switches.get(path.key("Name") or "")
    assert switch is not None
    guid = await driver.define("vm", 1)
    (nic,) = await driver.add(guid, nic_row())
    (cable,) = await driver.add(guid, connection_row(nic, switch.path_text))
    await driver.done(SERVICE, "DestroySystem", AffectedSystem=path)
    assert await driver.state(guid, 2) == 32768
    off = Row(CONNECTION, {"InstanceID": cable, "EnabledState": 3})
    await driver.done(VSMS, "ModifyResourceSettings", ResourceSettings=[off])
    await driver.start(guid)
    assert resource_path(cable)
