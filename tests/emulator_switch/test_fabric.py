"""The switch behind the host model: what a client sets over WMI is what happens to frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.emulator_host.driver import (
    VSMS,
    Driver,
    connection_row,
    nic_row,
    resource_path,
    system_path,
)
from tests.emulator_switch.packets import BROADCAST, TCP, UDP, ethernet, ip_frame, tagged

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import HostConfig, JobMode

VLAN = "Msvm_EthernetSwitchPortVlanSettingData"
SECURITY = "Msvm_EthernetSwitchPortSecuritySettingData"
BANDWIDTH = "Msvm_EthernetSwitchPortBandwidthSettingData"
ACL = "Msvm_EthernetSwitchPortAclSettingData"
EXTENDED = "Msvm_EthernetSwitchPortExtendedAclSettingData"
NIC_COUNTERS = "Win32_PerfRawData_NvspNicStats_HyperVVirtualNetworkAdapter"


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(HostConfig(tmp_path, job_mode=JobMode.ALWAYS_0))
    yield made
    made.host.close()


class Guest:
    """A machine with one card, and what comes out of it."""

    def __init__(self, driver: Driver, guid: str, cable: str, mac: bytes) -> None:
        self.driver, self.guid, self.cable, self.mac = driver, guid, cable, mac
        self.got: list[bytes] = []

    @classmethod
    async def make(cls, driver: Driver, number: int, switch: str = "External") -> Guest:
        mac = f"02004A1B00{number:02X}"
        guid = await driver.define(f"vm{number}", 1)
        (nic,) = await driver.add(guid, nic_row(mac=mac))
        path = next(s for s in driver.host.switches if s.name == switch).path_text
        (cable,) = await driver.add(guid, connection_row(nic, path))
        await driver.start(guid)
        made = cls(driver, guid, cable, bytes.fromhex(mac))
        driver.host.fabric.attach(await made.port(), made.got.append)
        return made

    async def port(self) -> str:
        """Return the Name of its port, as a client finds it: by the MAC address."""
        rows = await self.driver.rows("Msvm_EthernetSwitchPort")
        (port,) = [r for r in rows if str(r.values["PermanentAddress"]) == self.mac.hex().upper()]
        return str(port.values["Name"])

    async def send(self, frame: bytes) -> list[str]:
        return [name for name, _ in self.driver.host.fabric.send(await self.port(), frame)]

    async def set(self, class_name: str, **values: Value) -> ObjectPath:
        reply = await self.driver.done(
            VSMS,
            "AddFeatureSettings",
            AffectedConfiguration=resource_path(self.cable),
            FeatureSettings=[Row(class_name, values)],
        )
        found = reply.out["ResultingFeatureSettings"]
        assert isinstance(found, list)
        (path,) = found
        assert isinstance(path, ObjectPath)
        return path

    async def unset(self, path: ObjectPath) -> None:
        await self.driver.done(VSMS, "RemoveFeatureSettings", FeatureSettings=[path])

    async def reaches(self, other: Guest) -> bool:
        before = len(other.got)
        await self.send(ethernet(self.mac, other.mac))
        return len(other.got) > before


@pytest.fixture
async def pair(driver: Driver) -> tuple[Guest, Guest]:
    return await Guest.make(driver, 1), await Guest.make(driver, 2)


async def test_a_vlan_counts_at_once_and_until_it_is_taken_away(
    pair: tuple[Guest, Guest],
) -> None:
    a, b = pair
    assert await a.reaches(b)
    mine = await a.set(VLAN, OperationMode=1, AccessVlanId=100)
    assert not await a.reaches(b)
    await b.set(VLAN, OperationMode=1, AccessVlanId=100)
    assert await a.reaches(b)
    change = Row(VLAN, {"InstanceID": mine.key("InstanceID"), "AccessVlanId": 101})
    await a.driver.done(VSMS, "ModifyFeatureSettings", FeatureSettings=[change])
    assert not await a.reaches(b)
    await a.unset(mine)
    assert not await b.reaches(a)


async def test_trunk_and_private_vlans_come_through(pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    trunk = await a.set(VLAN, OperationMode=2, NativeVlanId=5, TrunkVlanIdArray=[7, 8])
    access = await b.set(VLAN, OperationMode=1, AccessVlanId=7)
    await a.send(tagged(ethernet(a.mac, b.mac), 7))
    assert b.got == [ethernet(a.mac, b.mac)]
    await a.unset(trunk)
    await b.unset(access)
    isolated = {"OperationMode": 3, "PvlanMode": 1, "PrimaryVlanId": 10, "SecondaryVlanId": 20}
    await a.set(VLAN, **isolated)
    other = await b.set(VLAN, **isolated)
    assert not await a.reaches(b)
    await b.unset(other)
    await b.set(VLAN, OperationMode=3, PvlanMode=3, PrimaryVlanId=10, SecondaryVlanIdArray=[20])
    assert await a.reaches(b)
    assert await b.reaches(a)


async def test_a_security_group_opens_exactly_one_port(pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    for direction in (1, 2):
        for weight, network in ((1, "0.0.0.0/0"), (2, "::/0")):
            await b.set(
                EXTENDED, Direction=direction, Action=2, Weight=weight, RemoteIPAddress=network
            )
    await b.set(
        EXTENDED, Direction=1, Action=1, Weight=65000, Protocol="TCP", LocalPort="22-23",
        RemoteIPAddress="10.0.0.0/24", Stateful=True, IdleSessionTimeout=60,
    )  # fmt: skip

    async def a_sends(port: int, protocol: int = TCP, source: str = "10.0.0.1") -> bool:
        frame = ip_frame(a.mac, b.mac, source, "10.0.0.2", protocol, (5000, port))
        return bool(await a.send(frame))

    async def b_answers(port: int) -> bool:
        return bool(await b.send(ip_frame(b.mac, a.mac, "10.0.0.2", "10.0.0.1", TCP, (port, 5000))))

    assert not await b_answers(22)
    assert [port for port in (21, 22, 23, 24, 80) if await a_sends(port)] == [22, 23]
    assert not await a_sends(22, UDP)
    assert not await a_sends(22, source="10.0.1.1")
    assert await b_answers(22)
    a.driver.clock.advance(61)
    assert not await b_answers(22)


async def test_simple_acls_deny_by_address(pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    for action, prefix, address in ((2, 8, "10.0.0.0"), (1, 32, "10.0.0.9")):
        await b.set(
            ACL, Direction=1, Action=action, AclType=2, RemoteAddress=address,
            RemoteAddressPrefixLength=prefix,
        )  # fmt: skip
    sources = ("10.0.0.1", "10.0.0.9", "192.0.2.1")
    passed = [s for s in sources if await a.send(ip_frame(a.mac, b.mac, s, "10.0.0.2"))]
    assert passed == ["10.0.0.9", "192.0.2.1"]
    await b.set(
        ACL, Direction=1, Action=2, AclType=1, RemoteAddress=a.mac.hex("-"),
        RemoteAddressPrefixLength=48,
    )  # fmt: skip
    assert not await a.reaches(b)


async def test_guards_spoofing_and_limits(pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    foreign = ethernet(b"\x02" * 6, b.mac)
    offer = ip_frame(a.mac, BROADCAST, "10.0.0.1", "255.255.255.255", UDP, (67, 68))
    assert not await a.send(foreign)
    assert await a.send(offer)
    await a.set(SECURITY, AllowMacSpoofing=True, EnableDhcpGuard=True)
    assert await a.send(foreign)
    assert not await a.send(offer)
    await a.set(BANDWIDTH, Limit=8_000_000)
    big = ethernet(a.mac, b.mac, b"." * 986)
    sent = sum([bool(await a.send(big)) for _ in range(200)])
    assert 90 < sent < 110, "a tenth of a second's worth at once"
    a.driver.clock.advance(0.01)
    assert sum([bool(await a.send(big)) for _ in range(20)]) == 10


async def test_ports_follow_the_machines(driver: Driver, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    port = await a.port()
    assert port in driver.host.fabric.ports
    assert await driver.state(a.guid, 3) == 0
    assert port not in driver.host.fabric.ports
    assert not await b.reaches(a)
    assert driver.host.fabric.send(port, ethernet(a.mac, b.mac)) == []
    await driver.start(a.guid)
    assert await b.reaches(a), "the end stays attached to the port of its name"


async def test_an_adapter_that_moves_takes_port_and_counters_along(
    driver: Driver, pair: tuple[Guest, Guest]
) -> None:
    a, b = pair
    port = await a.port()
    assert await a.reaches(b)
    inside = next(s for s in driver.host.switches if s.name == "Internal").path_text
    row = await driver.engine.get(
        "root/virtualization/v2",
        "Msvm_EthernetPortAllocationSettingData",
        {"InstanceID": a.cable},
    )
    moved = Row(row.class_name, {**row.values, "HostResource": [inside]})
    assert await driver.modify(moved) == 0
    assert await a.port() == port
    assert not await a.reaches(b)
    assert driver.host.fabric.counters(port).packets_sent == 2
    unplugged = Row(row.class_name, {**moved.values, "EnabledState": 3})
    assert await driver.modify(unplugged) == 0
    assert port not in driver.host.fabric.ports


async def test_the_host_and_the_uplink_are_ports_too(
    driver: Driver, pair: tuple[Guest, Guest]
) -> None:
    a, _ = pair
    await a.set(VLAN, OperationMode=1, AccessVlanId=100)
    rows = await driver.rows("Msvm_EthernetSwitchPort")
    (external,) = [s for s in driver.host.switches if s.name == "External"]
    own = {str(r.values["Name"]): r for r in rows if r.values["SystemName"] == external.guid}
    reached = await a.send(ethernet(a.mac, BROADCAST))
    (uplink,) = reached
    assert own[uplink].values["PermanentAddress"] == "3CECEF102030"
    got: list[bytes] = []
    driver.host.fabric.attach(uplink, got.append)
    frame = ethernet(a.mac, b"\x02" * 6)
    await a.send(frame)
    assert got == [tagged(frame, 100)]
    driver.host.fabric.send(uplink, tagged(ethernet(b"\x02" * 6, a.mac), 100))
    assert a.got == [ethernet(b"\x02" * 6, a.mac)]


async def test_two_hosts_are_wired_by_their_uplinks(tmp_path: Path) -> None:
    drivers = [
        Driver(HostConfig(tmp_path / name, name=name, job_mode=JobMode.ALWAYS_0, seed=seed))
        for seed, name in enumerate(("HV1", "HV2"))
    ]
    try:
        a = await Guest.make(drivers[0], 1)
        b = await Guest.make(drivers[1], 2)
        uplinks = []
        for driver in drivers:
            rows = await driver.rows("Msvm_EthernetSwitchPort")
            uplinks += [
                str(r.values["Name"])
                for r in rows
                if r.values["PermanentAddress"] == "3CECEF102030"
            ]
        first, second = (driver.host.fabric for driver in drivers)
        first.attach(uplinks[0], lambda frame: void(second.send(uplinks[1], frame)))
        second.attach(uplinks[1], lambda frame: void(first.send(uplinks[0], frame)))
        assert await a.reaches(b)
        mine = await a.set(VLAN, OperationMode=1, AccessVlanId=100)
        assert not await a.reaches(b)
        await b.set(VLAN, OperationMode=1, AccessVlanId=100)
        assert await b.reaches(a)
        await a.unset(mine)
        assert not await b.reaches(a)
    finally:
        for driver in drivers:
            driver.host.close()


def void(_: object) -> None:
    """Ends give nothing back."""


async def test_counters_are_the_ports_once_frames_move(driver: Driver) -> None:
    guid = await driver.define("alone", 1)
    (nic,) = await driver.add(guid, nic_row(mac="02004A1B0009"))
    await driver.add(guid, connection_row(nic, next(iter(driver.host.switches)).path_text))
    await driver.start(guid)
    driver.clock.advance(100)
    (row,) = await driver.rows(NIC_COUNTERS, "root/cimv2")
    assert int(str(row.values["BytesSentPersec"])) > 0, "without frames a script's traffic"
    assert not driver.host.fabric.is_live
    a = await Guest.make(driver, 1)
    b = await Guest.make(driver, 2)
    await b.set(EXTENDED, Direction=1, Action=2, Weight=1, Protocol="UDP", LocalPort="9")
    for _ in range(3):
        await a.send(ethernet(a.mac, b.mac, b"." * 86))
    await a.send(ip_frame(a.mac, b.mac, "10.0.0.1", "10.0.0.2", UDP, (1, 9)))
    rows = {
        guid: row.values
        for row in await driver.rows(NIC_COUNTERS, "root/cimv2")
        for guid in (a.guid, b.guid)
        if guid in str(row.values["Name"])
    }
    assert rows[a.guid]["PacketsSentPersec"] == 4
    assert rows[b.guid]["BytesReceivedPersec"] == 300
    assert rows[b.guid]["DroppedPacketsIncomingPersec"] == 1


async def test_meters_fill_the_metrics(driver: Driver, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    await b.set(ACL, Direction=1, Action=3, AclType=2, RemoteAddress="10.0.0.0",
                RemoteAddressPrefixLength=8)  # fmt: skip

    async def collect(state: int) -> None:
        await driver.done(
            "Msvm_MetricService",
            "ControlMetrics",
            Subject=system_path(b.guid),
            MetricCollectionEnabled=state,
        )

    async def traffic(way: str) -> str:
        rows = await driver.rows("Msvm_BaseMetricValue")
        name = f"Aggregated Filtered {way} Network Traffic"
        (value,) = [r.values["MetricValue"] for r in rows if r.values["ElementName"] == name]
        return str(value)

    frame = ip_frame(a.mac, b.mac, "10.0.0.1", "10.0.0.2", size=2**16 - 100)
    unmetered = ip_frame(a.mac, b.mac, "192.0.2.1", "10.0.0.2", size=2**16 - 100)
    for _ in range(20):
        await a.send(frame)
    await collect(2)
    assert await traffic("Incoming") == "0", "from when collection began"
    for _ in range(34):
        await a.send(frame)
        await a.send(unmetered)
    assert await traffic("Incoming") == "2"
    assert await traffic("Outgoing") == "0"
    await collect(4)
    assert await traffic("Incoming") == "0"
