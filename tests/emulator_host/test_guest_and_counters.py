"""What moves: counters, key-value items, guest addresses, screen and keyboard, metrics."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.emulator_host.driver import (
    V2,
    VSMS,
    Driver,
    connection_row,
    nic_row,
    settings_path,
    system_path,
)

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import GuestScript

CIMV2 = "root/cimv2"
ITEM = "Msvm_KvpExchangeDataItem"
LOGICAL = "HvStats_HyperVHypervisorLogicalProcessor"


@pytest.fixture
async def machine(driver: Driver) -> str:
    folder = driver.host.config.disk_folder
    assert await driver.create_disk(f"{folder}\\root.vhdx") == 0
    guid = await driver.define(
        "web01", 1, [Row("Msvm_ProcessorSettingData", {"VirtualQuantity": 4})]
    )
    await driver.ide_disk(guid, f"{folder}\\root.vhdx")
    (nic,) = await driver.add(guid, nic_row())
    await driver.add(guid, connection_row(nic, next(iter(driver.host.switches)).path_text))
    return guid


async def counters(driver: Driver, name: str) -> dict[str, dict[str, Value]]:
    return {str(row.values["Name"]): row.values for row in await driver.rows(name, CIMV2)}


def number(value: Value) -> int:
    assert isinstance(value, int)
    return value


async def test_the_host_s_load_follows_its_machines(driver: Driver, machine: str) -> None:
    driver.host.play("*", GuestScript(boot=0, load=0.8))
    raw = f"Win32_PerfRawData_{LOGICAL}"

    async def share() -> float:
        first = (await counters(driver, raw))["_Total"]
        driver.clock.advance(60)
        second = (await counters(driver, raw))["_Total"]
        busy = number(second["PercentTotalRunTime"]) - number(first["PercentTotalRunTime"])
        passed = number(second["Timestamp_Sys100NS"]) - number(first["Timestamp_Sys100NS"])
        assert passed == 60 * 10**7
        return busy / passed

    idle = await share()
    await driver.start(machine)
    loaded = await share()
    assert idle < 0.02
    assert 0.05 < loaded < 0.25, "four of 32 processors at about 80 percent"
    before = (await counters(driver, raw))["_Total"]["PercentTotalRunTime"]
    assert await driver.state(machine, 3) == 0
    after = (await counters(driver, raw))["_Total"]["PercentTotalRunTime"]
    assert number(after) >= number(before), "what a machine used is not taken back"


async def test_the_first_formatted_reading_is_zero(driver: Driver) -> None:
    name = f"Win32_PerfFormattedData_{LOGICAL}"
    assert (await counters(driver, name))["_Total"]["PercentTotalRunTime"] == 0
    driver.clock.advance(10)
    assert number((await counters(driver, name))["_Total"]["PercentTotalRunTime"]) > 0


async def test_disks_adapters_and_processors_of_a_machine(driver: Driver, machine: str) -> None:
    await driver.start(machine)
    driver.clock.advance(100)
    disk = "Win32_PerfRawData_Counters_HyperVVirtualStorageDevice"
    path = f"{driver.host.config.disk_folder}\\root.vhdx".replace("\\", "-")
    nic = "Win32_PerfRawData_NvspNicStats_HyperVVirtualNetworkAdapter"
    cpu = "Win32_PerfRawData_HvStats_HyperVHypervisorVirtualProcessor"
    first = (await counters(driver, disk))[path], await counters(driver, nic)
    assert sorted(await counters(driver, cpu)) == [f"web01:Hv VP {n}" for n in range(4)]
    (name,) = first[1]
    assert name.startswith(f"nic0_{machine}--")
    driver.clock.advance(100)
    second = (await counters(driver, disk))[path], await counters(driver, nic)
    assert number(second[0]["ReadBytesPersec"]) > number(first[0]["ReadBytesPersec"])
    assert number(second[1][name]["BytesSentPersec"]) > number(first[1][name]["BytesSentPersec"])
    assert await driver.state(machine, 3) == 0
    assert await counters(driver, disk) == {}


async def test_free_memory_is_what_machines_leave(driver: Driver, machine: str) -> None:
    (before,) = await driver.rows("Win32_OperatingSystem", CIMV2)
    await driver.start(machine)
    (after,) = await driver.rows("Win32_OperatingSystem", CIMV2)
    taken = number(before.values["FreePhysicalMemory"]) - number(after.values["FreePhysicalMemory"])
    assert taken == 512 * 1024


# Key-value exchange ------------------------------------------------------------------------


async def kvp(
    driver: Driver, guid: str, method: str, name: str, data: str = "", source: int = 0
) -> int | None:
    reply = await driver.call(
        VSMS,
        method,
        TargetSystem=system_path(guid),
        DataItems=[Row(ITEM, {"Name": name, "Data": data, "Source": source})],
    )
    return await driver.code(reply)


async def test_items_are_added_changed_and_removed_by_their_rules(
    driver: Driver, machine: str
) -> None:
    assert await kvp(driver, machine, "AddKvpItems", "key", "one") == 0
    assert await kvp(driver, machine, "AddKvpItems", "key", "two") == 32768
    assert await kvp(driver, machine, "ModifyKvpItems", "key", "x" * 1023) == 0
    assert await kvp(driver, machine, "ModifyKvpItems", "key", "x" * 1024) == 32773
    assert await kvp(driver, machine, "AddKvpItems", "k" * 256) == 32773
    assert await kvp(driver, machine, "AddKvpItems", "guest", "x", source=1) == 32773
    assert await kvp(driver, machine, "ModifyKvpItems", "other", "x") == 32768
    (row,) = await driver.rows("Msvm_KvpExchangeComponentSettingData")
    items = row.values["HostExchangeItems"]
    assert isinstance(items, list)
    assert [item.values["Name"] for item in items] == ["key"]
    assert await kvp(driver, machine, "RemoveKvpItems", "key") == 0
    assert await kvp(driver, machine, "RemoveKvpItems", "key") == 32768


async def test_the_guest_tells_about_itself_once_its_daemon_runs(
    driver: Driver, machine: str
) -> None:
    driver.host.play("*", GuestScript(boot=5, kvp_delay=5))
    await driver.start(machine)
    assert (await driver.rows("Msvm_KvpExchangeComponent"))[0].values[
        "GuestIntrinsicExchangeItems"
    ] is None
    (network,) = await driver.rows("Msvm_GuestNetworkAdapterConfiguration")
    assert network.values.get("IPAddresses") is None
    driver.clock.advance(20)
    items = (await driver.rows("Msvm_KvpExchangeComponent"))[0].values[
        "GuestIntrinsicExchangeItems"
    ]
    assert isinstance(items, list)
    told = {item.values["Name"]: item.values["Data"] for item in items}
    assert told["OSName"] == "Debian GNU/Linux 12 (bookworm)"
    (network,) = await driver.rows("Msvm_GuestNetworkAdapterConfiguration")
    assert network.values["IPAddresses"] == [told["NetworkAddressIPv4"]]
    assert str(network.values["InstanceID"]).startswith(f"Microsoft:GuestNetwork\\{machine}\\")


# Console -----------------------------------------------------------------------------------


async def thumbnail(driver: Driver, path: ObjectPath, width: int, height: int) -> Value:
    reply = await driver.call(
        VSMS,
        "GetVirtualSystemThumbnailImage",
        TargetSystem=path,
        WidthPixels=width,
        HeightPixels=height,
    )
    return reply.out.get("ImageData") or reply.return_value


async def test_a_thumbnail_has_the_size_asked_for_and_changes(driver: Driver, machine: str) -> None:
    assert await thumbnail(driver, settings_path(machine), 80, 60) == 32775
    await driver.start(machine)
    booting = await thumbnail(driver, settings_path(machine), 80, 60)
    assert isinstance(booting, bytes)
    assert len(booting) == 80 * 60 * 2
    driver.clock.advance(30)
    booted = await thumbnail(driver, system_path(machine), 80, 60)
    assert booted != booting
    assert await thumbnail(driver, settings_path(machine), 0, 60) == 32773
    (head,) = await driver.rows("Msvm_VideoHead")
    assert (head.values["CurrentHorizontalResolution"], head.values["EnabledState"]) == (400, 2)


async def test_keys_reach_the_guest(driver: Driver, machine: str) -> None:
    assert await driver.rows("Msvm_Keyboard") == []
    await driver.start(machine)
    (row,) = await driver.rows("Msvm_Keyboard")
    keys = dict(driver.engine.path_of(V2, row).keys)

    async def press(method: str, **arguments: Value) -> Value:
        reply = await driver.call("Msvm_Keyboard", method, keys, **arguments)
        return reply.out.get("keyState", reply.return_value)

    assert await press("PressKey", keyCode=0x41) == 0
    assert await press("IsKeyPressed", keyCode=0x41) is True
    assert await press("ReleaseKey", keyCode=0x41) == 0
    assert await press("IsKeyPressed", keyCode=0x41) is False
    assert await press("TypeText", asciiText="ls -l") == 0
    assert await press("TypeText", asciiText="é") == 32773
    assert await press("TypeKey", keyCode=999) == 32773
    assert await press("TypeCtrlAltDel") == 0
    assert await press("TypeScancodes", Scancodes=[0x1E, 0x9E]) == 0
    guest = driver.host.machines.get(machine)
    assert guest is not None
    assert guest.guest is not None
    assert guest.guest.typed == ["<41>", "ls -l", "<11><12><2E>", "[1e][9e]"]
    assert await driver.state(machine, 9) == 0
    assert await press("TypeKey", keyCode=0x41) == 32775


# Metrics, console access, services ---------------------------------------------------------


async def test_metrics_are_collected_while_they_are_on(driver: Driver, machine: str) -> None:
    await driver.start(machine)
    service = "Msvm_MetricService"
    assert await driver.rows("Msvm_AggregationMetricValue") == []
    assert len(await driver.rows("Msvm_AggregationMetricDefinition")) == 3
    subject = system_path(machine)
    await driver.call(service, "ControlMetrics", Subject=subject, MetricCollectionEnabled=2)
    driver.clock.advance(600)
    values = {
        str(row.values["ElementName"]): row.values
        for row in await driver.rows("Msvm_AggregationMetricValue")
    }
    memory = values["Aggregated Average Memory Utilization"]
    assert (memory["MetricValue"], memory["Duration"]) == ("512", timedelta(seconds=600))
    read = {r.values["ElementName"]: r.values for r in await driver.rows("Msvm_BaseMetricValue")}
    assert int(str(read["Aggregated Disk Data Read"]["MetricValue"])) > 0
    assert len(await driver.rows("Msvm_MetricForME")) == 8
    reply = await driver.call(service, "ControlMetrics", Subject=subject, MetricCollectionEnabled=9)
    assert reply.return_value == 32773
    await driver.call(service, "ControlMetrics", Subject=subject, MetricCollectionEnabled=3)
    assert await driver.rows("Msvm_MetricForME") == []
    interval = Row("Msvm_MetricServiceSettingData", {"MetricsFlushInterval": timedelta(minutes=5)})
    await driver.done(service, "ModifyServiceSettings", SettingData=interval)
    (settings,) = await driver.rows("Msvm_MetricServiceSettingData")
    assert settings.values["MetricsFlushInterval"] == timedelta(minutes=5)


async def test_who_may_open_the_console(driver: Driver, machine: str) -> None:
    service, system = "Msvm_TerminalService", system_path(machine)

    async def trustees() -> list[Value]:
        reply = await driver.call(service, "GetInteractiveSessionACL", ComputerSystem=system)
        entries = reply.out["AccessControlList"]
        assert isinstance(entries, list)
        return [entry.values["Trustee"] for entry in entries]

    names = ["DOM\\console", "DOM\\other"]
    await driver.done(
        service, "GrantInteractiveSessionAccess", ComputerSystem=system, Trustees=names
    )
    assert await trustees() == names
    await driver.done(
        service, "RevokeInteractiveSessionAccess", ComputerSystem=system, Trustees=["dom\\OTHER"]
    )
    assert await trustees() == ["DOM\\console"]
    reply = await driver.call(
        service, "RevokeInteractiveSessionAccess", ComputerSystem=system, Trustees=["nobody"]
    )
    assert reply.return_value == 32773


async def test_a_virtual_tpm_needs_generation_2(driver: Driver, machine: str) -> None:
    second = await driver.define("second", 2)

    async def enable(guid: str) -> int | None:
        wish = Row(
            "Msvm_SecuritySettingData",
            {"InstanceID": f"Microsoft:{guid}\\Security", "TpmEnabled": True},
        )
        reply = await driver.call(
            "Msvm_SecurityService", "ModifySecuritySettings", SecuritySettingData=wish
        )
        return await driver.code(reply)

    assert await enable(machine) == 32773
    assert await enable(second) == 0
    rows = await driver.rows("Msvm_SecuritySettingData")
    assert [row.values["TpmEnabled"] for row in rows] == [False, True]


async def test_pools_lead_to_defaults(driver: Driver) -> None:
    pools = [
        row
        for row in await driver.rows("Msvm_ResourcePool")
        if row.values["ResourceSubType"] == "Microsoft:Hyper-V:Synthetic SCSI Controller"
    ]
    assert [row.values["Primordial"] for row in pools] == [True]
    pool = driver.engine.path_of(V2, pools[0])
    links = await driver.rows("Msvm_ElementCapabilities")
    (link,) = [row for row in links if pool.same_object(row.values["ManagedElement"])]  # type: ignore[arg-type]
    settings = [
        row.values["PartComponent"]
        for row in await driver.rows("Msvm_SettingsDefineCapabilities")
        if row.values["GroupComponent"] == link.values["Capabilities"]
        and (row.values["ValueRole"], row.values["ValueRange"]) == (0, 0)
    ]
    (default,) = settings
    assert isinstance(default, ObjectPath)
    row = await driver.engine.get(V2, default.class_name, dict(default.keys))
    assert row.values["ResourceType"] == 6


async def test_service_settings_change(driver: Driver) -> None:
    wish = Row(
        "Msvm_VirtualSystemManagementServiceSettingData",
        {"DefaultVirtualHardDiskPath": "C:\\disks"},
    )
    await driver.done(VSMS, "ModifyServiceSettings", SettingData=wish)
    (row,) = await driver.rows("Msvm_VirtualSystemManagementServiceSettingData")
    assert row.values["DefaultVirtualHardDiskPath"] == "C:\\disks"
    wish.values["DefaultVirtualHardDiskPath"] = "disks"
    reply = await driver.call(VSMS, "ModifyServiceSettings", SettingData=wish)
    assert reply.return_value == 32773


async def test_methods_nobody_modelled_say_so(driver: Driver) -> None:
    reply = await driver.call(VSMS, "GenerateWwpn", NumberOfWwpns=1)
    assert reply.return_value == 32770
