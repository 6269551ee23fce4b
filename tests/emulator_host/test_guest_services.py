"""The host acts inside the guest: addresses of adapters, files."""

from __future__ import annotations

import pytest
from tests.emulator_host.driver import (
    V2,
    VSMS,
    Driver,
    connection_row,
    nic_row,
    system_path,
)

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import GuestScript

NETWORK = "Msvm_GuestNetworkAdapterConfiguration"
FILES, COPY = "Msvm_GuestFileService", "Msvm_CopyFileToGuestSettingData"
INTERFACE = "Msvm_GuestServiceInterfaceComponentSettingData"
STATIC: dict[str, Value] = {
    "DHCPEnabled": False,
    "IPAddresses": ["192.0.2.77"],
    "Subnets": ["255.255.255.0"],
    "DefaultGateways": ["192.0.2.1"],
    "DNSServers": ["192.0.2.2"],
}


@pytest.fixture
async def machine(driver: Driver) -> str:
    guid = await driver.define("vm", 1)
    (nic,) = await driver.add(guid, nic_row())
    await driver.add(guid, connection_row(nic, next(iter(driver.host.switches)).path_text))
    return guid


async def boot(driver: Driver, guid: str) -> None:
    await driver.start(guid)
    driver.clock.advance(20)


async def network(driver: Driver) -> dict[str, Value]:
    (row,) = await driver.rows(NETWORK)
    return row.values


async def set_network(driver: Driver, guid: str, **values: Value) -> int | None:
    key = (await network(driver))["InstanceID"]
    wish = Row(NETWORK, {"InstanceID": key, **values})
    reply = await driver.call(
        VSMS,
        "SetGuestNetworkAdapterConfiguration",
        ComputerSystem=system_path(guid),
        NetworkConfiguration=[wish],
    )
    return await driver.code(reply)


async def test_an_adapter_gets_a_static_address_and_dhcp_again(
    driver: Driver, machine: str
) -> None:
    await boot(driver, machine)
    before = await network(driver)
    assert before["DHCPEnabled"] is True
    assert await set_network(driver, machine, **STATIC) == 0
    after = await network(driver)
    assert {name: after[name] for name in STATIC} == STATIC
    (component,) = await driver.rows("Msvm_KvpExchangeComponent")
    items = component.values["GuestIntrinsicExchangeItems"]
    assert isinstance(items, list)
    found = {item.values["Name"]: item.values["Data"] for item in items}
    assert found["NetworkAddressIPv4"] == "192.0.2.77"
    assert await set_network(driver, machine, DHCPEnabled=True) == 0
    assert await network(driver) == before


async def test_settings_wait_for_the_guest(driver: Driver, machine: str) -> None:
    assert await set_network(driver, machine, **STATIC) == 0
    assert "IPAddresses" not in await network(driver)
    await boot(driver, machine)
    assert (await network(driver))["IPAddresses"] == ["192.0.2.77"]


@pytest.mark.parametrize(
    "changes",
    [
        {"DHCPEnabled": None},
        {"Subnets": []},
        {"IPAddresses": ["192.0.2.300"]},
        {"DefaultGateways": ["192.0.2.1"] * 6},
        {"DNSServers": ["resolver"]},
        {"InstanceID": "Microsoft:GuestNetwork\\other"},
    ],
)
async def test_network_settings_that_make_no_sense(
    driver: Driver, machine: str, changes: dict[str, Value]
) -> None:
    await boot(driver, machine)
    before = await network(driver)
    assert await set_network(driver, machine, **{**STATIC, **changes}) == 32773
    assert await network(driver) == before


# Files -------------------------------------------------------------------------------------


async def switch_on(driver: Driver) -> None:
    (row,) = await driver.rows(INTERFACE)
    change = Row(INTERFACE, {"InstanceID": row.values["InstanceID"], "EnabledState": 2})
    await driver.done(VSMS, "ModifyGuestServiceSettings", GuestServiceSettings=[change])


async def copy(driver: Driver, destination: str, **more: Value) -> int | None:
    (service,) = await driver.rows(FILES)
    keys = dict(driver.engine.path_of(V2, service).keys)
    wish = Row(COPY, {"SourcePath": "C:\\seed", "DestinationPath": destination, **more})
    reply = await driver.call(FILES, "CopyFilesToGuest", keys, CopyFileToGuestSettings=[wish])
    return await driver.code(reply)


def received(driver: Driver, guid: str) -> dict[str, bytes]:
    machine = driver.host.machines.get(guid)
    assert machine is not None
    return machine.guest_files


async def test_files_reach_a_guest_that_takes_them(driver: Driver, machine: str) -> None:
    driver.file("C:\\seed").write_bytes(b"one")
    await boot(driver, machine)
    assert await driver.rows(FILES) == []  # the component is off in new machines
    await switch_on(driver)
    (component,) = await driver.rows("Msvm_GuestServiceInterfaceComponent")
    path = driver.engine.path_of(V2, component)
    keys = ",".join(f'{k}="{v}"'.replace("\\", "\\\\") for k, v in path.keys)
    found = await driver.query(
        f"ASSOCIATORS OF {{{path.class_name}.{keys}}} WHERE AssocClass=Msvm_RegisteredGuestService"
    )
    assert [row.class_name for row in found] == [FILES]
    assert await copy(driver, "/tmp/file") == 0
    assert await copy(driver, "/tmp") == 0
    assert received(driver, machine) == {"/tmp/file": b"one", "/tmp/seed": b"one"}
    driver.file("C:\\seed").write_bytes(b"two")
    assert await copy(driver, "/tmp/file") == 32768
    assert received(driver, machine)["/tmp/file"] == b"one"
    assert await copy(driver, "/tmp/file", OverwriteExisting=True) == 0
    assert received(driver, machine)["/tmp/file"] == b"two"
    assert await copy(driver, "/srv/new/file") == 32768
    assert await copy(driver, "/srv/new/file", CreateFullPath=True) == 0
    assert await copy(driver, "/srv/new/second") == 0
    assert await driver.state(machine, 3) == 0
    assert await driver.rows(FILES) == []
    assert "/srv/new/second" in received(driver, machine)


async def test_copies_that_cannot_be(driver: Driver, machine: str) -> None:
    await boot(driver, machine)
    await switch_on(driver)
    assert await copy(driver, "/tmp/file") == 32779  # no such file on the host
    driver.file("C:\\seed").write_bytes(b"one")
    assert await copy(driver, "file") == 32773
    assert await copy(driver, "/tmp/file", SourcePath="") == 32773
    assert received(driver, machine) == {}


async def test_guests_without_services_take_nothing(driver: Driver) -> None:
    driver.host.play("mute", GuestScript(integration_services=False))
    guid = await driver.define("mute", 1)
    await boot(driver, guid)
    await switch_on(driver)
    assert await driver.rows(FILES) == []
