"""Two guests under QEMU on one virtual switch: VLANs and extended ACLs decide what they reach."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.emulator_guests.bootable_disk import PROMPT
from tests.emulator_guests.conftest import bootable_machine
from tests.emulator_guests.serial_port import SerialPort
from tests.emulator_host.driver import (
    VSMS,
    Driver,
    connection_row,
    nic_row,
    resource_path,
)

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.guests import QemuEngine

VLAN = "Msvm_EthernetSwitchPortVlanSettingData"
EXTENDED = "Msvm_EthernetSwitchPortExtendedAclSettingData"
COUNTERS = "Win32_PerfRawData_NvspNicStats_HyperVVirtualNetworkAdapter"


async def connected_machine(driver: Driver, disk: Path, number: int) -> tuple[str, str]:
    """Return a machine's GUID and its cable; its address is 10.9.0.<number>."""
    guid = await bootable_machine(driver, disk, f"vm{number}")
    (nic,) = await driver.add(guid, nic_row(mac=f"02004A1B00{number:02X}"))
    switch = next(iter(driver.host.switches)).path_text
    (cable,) = await driver.add(guid, connection_row(nic, switch))
    return guid, cable


async def set_feature(driver: Driver, cable: str, class_name: str, **values: Value) -> ObjectPath:
    reply = await driver.done(
        VSMS,
        "AddFeatureSettings",
        AffectedConfiguration=resource_path(cable),
        FeatureSettings=[Row(class_name, values)],
    )
    found = reply.out["ResultingFeatureSettings"]
    assert isinstance(found, list)
    assert isinstance(found[0], ObjectPath)
    return found[0]


async def pings(serial: SerialPort) -> bool:
    return "0% packet loss" in (await serial.run("ping -c 2 -W 2 10.9.0.2")).replace(
        "100% packet loss", ""
    )


async def fetches(serial: SerialPort, port: int) -> bool:
    said = await serial.run(f"timeout 4 wget -q -O - http://10.9.0.2:{port}/index.html")
    return "\npage" in said.replace("\r", "")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_two_guests_reach_each_other_as_their_ports_allow(
    driver: Driver, engine: QemuEngine, bootable: Path
) -> None:
    first, first_cable = await connected_machine(driver, bootable, 1)
    second, second_cable = await connected_machine(driver, bootable, 2)
    await driver.start(first)
    await driver.start(second)
    async with (
        SerialPort.of(engine, first) as serial,
        SerialPort.of(engine, second) as other,
    ):
        await asyncio.gather(serial.wait_for(PROMPT, 120), other.wait_for(PROMPT, 120))
        assert await pings(serial)

        mine = await set_feature(driver, first_cable, VLAN, OperationMode=1, AccessVlanId=100)
        assert not await pings(serial), "VLAN 100 does not reach the untagged network"
        await set_feature(driver, second_cable, VLAN, OperationMode=1, AccessVlanId=100)
        assert await pings(serial), "both in VLAN 100"
        change = Row(VLAN, {"InstanceID": mine.key("InstanceID"), "AccessVlanId": 101})
        await driver.done(VSMS, "ModifyFeatureSettings", FeatureSettings=[change])
        assert not await pings(serial), "VLAN 101 does not reach VLAN 100"
        change.values["AccessVlanId"] = 100
        await driver.done(VSMS, "ModifyFeatureSettings", FeatureSettings=[change])

        assert await fetches(serial, 80)
        assert await fetches(serial, 81)
        for direction in (1, 2):
            await set_feature(
                driver, second_cable, EXTENDED, Direction=direction, Action=2, Weight=1
            )
        assert not await fetches(serial, 80)
        await set_feature(
            driver, second_cable, EXTENDED, Direction=1, Action=1, Weight=65000,
            Protocol="TCP", LocalPort="80", RemoteIPAddress="10.9.0.0/24", Stateful=True,
        )  # fmt: skip
        assert await fetches(serial, 80), "exactly this port is open, and its answers come back"
        assert not await fetches(serial, 81)
        assert not await pings(serial)
    rows = {str(r.values["Name"]): r.values for r in await driver.rows(COUNTERS, "root/cimv2")}
    (counted,) = [values for name, values in rows.items() if second in name]
    assert int(str(counted["PacketsReceivedPersec"])) > 0
    assert int(str(counted["DroppedPacketsIncomingPersec"])) > 0
