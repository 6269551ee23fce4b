"""What speaks against a migration, and that a failure at any point leaves the machine alive."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.emulator_host.driver import CALLER, V2, VSMS, drive_row, medium_row, system_path
from tests.emulator_migration.fleet_driver import (
    SERVICE,
    SHARE,
    STORAGE,
    VM,
    VM_AND_STORAGE,
    FleetDriver,
    HostDriver,
)
from tests.emulator_migration.test_migration_login import unharmed

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import IDE_CONTROLLER_GUID
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import Drive, HostConfig, JobMode, SwitchPlan, VirtualClock
from cloudstack_hyperv.emulator.host.fleet import Fleet, plan_fleet
from cloudstack_hyperv.emulator.host.migration_move import Stage
from cloudstack_hyperv.emulator.host.outcome import JobFailed

CHECK = "CheckVirtualSystemIsMigratable"


def two_hosts(folder: Path, **second: Any) -> FleetDriver:
    """Two hosts, the second with other properties."""
    template = HostConfig(folder, job_mode=JobMode.ALWAYS_4096)
    plan = plan_fleet(folder, 2, template=template)
    hosts = (plan.hosts[0], dataclasses.replace(plan.hosts[1], **second))
    driver = FleetDriver.__new__(FleetDriver)
    driver.clock = VirtualClock()
    driver.fleet = Fleet(dataclasses.replace(plan, hosts=hosts), driver.clock)
    driver.hosts = [HostDriver(host, driver.clock) for host in driver.fleet]
    return driver


async def reasons(host: HostDriver, guid: str, job: dict[str, Value]) -> dict[str, str]:
    """MessageID and text of what GetErrorEx lists below the failure itself."""
    reply = await host.engine.invoke(
        V2,
        "Msvm_MigrationJob",
        {"InstanceID": str(job["InstanceID"])},
        "GetErrorEx",
        {},
        CALLER,
    )
    errors = reply.out["Errors"]
    assert isinstance(errors, list)
    return {str(row.values["MessageID"]): str(row.values["Message"]) for row in errors[1:]}


async def verdict(host: HostDriver, guid: str, kind: int, **more: Any) -> dict[str, str]:
    """Ask all three ways; return the reasons, {} for yes."""
    at_once = await host.migrate(
        guid, kind, "HYPERV2", method="CheckVirtualSystemIsMigratableToHost", **more
    )
    assert at_once.return_value == 0
    reply = await host.migrate(guid, kind, "HYPERV2", method=CHECK, **more)
    job = await host.finish(reply)
    assert at_once.out["IsMigratable"] == (job["JobState"] == 7)
    if job["JobState"] == 7:
        return {}
    again = await host.refused(guid, kind, "HYPERV2", **more)
    assert again["ErrorDescription"] == job["ErrorDescription"]
    return await reasons(host, guid, job)


async def test_nothing_speaks_against_a_good_migration(pair: FleetDriver) -> None:
    guid = await pair[0].build()
    assert await verdict(pair[0], guid, VM) == {}
    assert await pair[0].names() == {guid}


@pytest.mark.parametrize(
    ("source", "target", "works"),
    [
        ("2012", "2012r2", True),
        ("2012r2", "2012", False),
        ("2012r2", "2016", True),
        ("2016", "2012r2", False),
        ("2016", "2019", True),
        ("2019", "2016", False),
        ("2019", "2022", True),
        ("2022", "2019", False),
        ("2022", "2025", True),
        ("2025", "2022", False),
    ],
)
async def test_the_configuration_version_decides_between_releases(
    tmp_path: Path, source: str, target: str, works: bool
) -> None:
    plan = plan_fleet(
        tmp_path, 2, template=HostConfig(tmp_path, release=source, job_mode=JobMode.ALWAYS_4096)
    )
    hosts = (plan.hosts[0], dataclasses.replace(plan.hosts[1], release=target))
    clock = VirtualClock()
    fleet = Fleet(dataclasses.replace(plan, hosts=hosts), clock)
    first, second = (HostDriver(host, clock) for host in fleet)
    guid = await first.build()
    found = await verdict(first, guid, VM)
    if not works:
        assert list(found) == ["24006"]
        await unharmed(first, second, guid)
    else:
        await first.migrated(guid, VM, "HYPERV2")
        assert await second.enabled_state(guid) == 2
    fleet.close()


async def test_an_old_configuration_goes_back_to_the_old_release(tmp_path: Path) -> None:
    pair = two_hosts(tmp_path, release="2016")
    guid = await pair[0].build(Version="8.0")
    await pair[0].migrated(guid, VM, "HYPERV2")
    assert await pair[1].enabled_state(guid) == 2
    pair.fleet.close()


@pytest.mark.parametrize("limited", [False, True])
async def test_another_processor_of_the_same_maker(tmp_path: Path, limited: bool) -> None:
    pair = two_hosts(tmp_path, processor_name="Intel(R) Xeon(R) CPU E5-2620 v4")
    source = pair[0]
    guid = await source.build(start=False)
    (processor,) = [
        row
        for row in await source.rows("Msvm_ProcessorSettingData")
        if guid in str(row.values["InstanceID"])
    ]
    if limited:
        values = {"InstanceID": processor.values["InstanceID"], "LimitProcessorFeatures": True}
        assert await source.modify(Row("Msvm_ProcessorSettingData", values)) == 0
    assert await verdict(source, guid, VM) == {}  # off: it will meet the processor later
    await source.start(guid)
    found = await verdict(source, guid, VM)
    assert list(found) == ([] if limited else ["24004"])
    reply = await source.call(
        SERVICE, "GetSystemCompatibilityInfo", ComputerSystem=system_path(guid)
    )
    answer = await pair[1].call(
        SERVICE,
        "CheckSystemCompatibilityInfo",
        CompatibilityInfo=reply.out["CompatibilityInfo"],
    )
    assert answer.return_value == (0 if limited else 32784)
    pair.fleet.close()


async def test_another_maker_is_refused_in_any_case(tmp_path: Path) -> None:
    pair = two_hosts(tmp_path, processor_manufacturer="AuthenticAMD")
    guid = await pair[0].build()
    assert list(await verdict(pair[0], guid, VM)) == ["24004"]
    pair.fleet.close()


async def test_a_switch_of_another_name_has_to_be_chosen(tmp_path: Path) -> None:
    pair = two_hosts(tmp_path, switches=(SwitchPlan("Elsewhere"),))
    source, target = pair[0], pair[1]
    guid = await source.build()
    found = await verdict(source, guid, VM)
    assert found == {"33012": "Could not find Ethernet switch 'External'."}
    await unharmed(source, target, guid)
    (cable,) = [
        row
        for row in await source.rows("Msvm_EthernetPortAllocationSettingData")
        if str(row.values["InstanceID"]).startswith(f"Microsoft:{guid}\\")
    ]
    (switch,) = list(target.host.switches)
    chosen = Row(
        cable.class_name,
        {
            "InstanceID": cable.values["InstanceID"],
            "HostResource": [switch.path_text],
            "PoolID": "",
        },
    )
    await source.migrated(guid, VM, "HYPERV2", resources=[chosen])
    (there,) = [
        row
        for row in await target.rows("Msvm_EthernetPortAllocationSettingData")
        if str(row.values["InstanceID"]).startswith(f"Microsoft:{guid}\\")
    ]
    assert there.values["HostResource"] == [switch.path_text]
    assert there.values["LastKnownSwitchName"] == "Elsewhere"
    pair.fleet.close()


async def test_local_disks_do_not_go_without_storage(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms")
    assert "40010" in await verdict(source, guid, VM)
    # A file of the same name over there is not the same file.
    assert await target.create_disk(r"C:\vms\web.vhdx", 2**20) in (0, 32779)
    target.file(r"C:\vms").mkdir(exist_ok=True)
    assert await target.create_disk(r"C:\vms\web.vhdx", 2**20) == 0
    found = await verdict(source, guid, VM)
    assert "not on storage that both hosts share" in found["40010"]
    await unharmed(source, target, guid)


async def test_the_destination_s_account_must_be_let_into_the_share(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    (share,) = [s for s in target.host.site.files.shares if s.name == "vms"]
    only_first = dataclasses.replace(share, accounts=frozenset({"HYPERV\\HYPERV1$"}))
    target.host.site.files.add_share(only_first)
    assert "0x80070005" in (await verdict(source, guid, VM))["40010"]


async def test_memory_space_files_ids_and_pools(tmp_path: Path) -> None:
    pair = two_hosts(tmp_path, memory_mib=2048, drives=(Drive(capacity=2**20),))
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms")
    target.file(r"C:\taken").mkdir()
    target.file(r"C:\taken\web.vhdx").write_bytes(b"x")
    disk = await source.moved_disk(guid, r"C:\taken\web.vhdx", PoolID="Microsoft:somewhere")
    found = await verdict(source, guid, VM_AND_STORAGE, resources=[disk])
    assert set(found) == {"24022", "24016", "24020", "24014"}
    assert target.file(r"C:\taken\web.vhdx").read_bytes() == b"x"
    pair.fleet.close()


async def test_two_copies_of_one_id_cannot_be_on_a_host(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    reply = await source.migrate(guid, 32770, "HYPERV2")
    assert (await source.finish(reply))["JobState"] == 7
    found = await verdict(source, guid, VM)
    assert list(found) == ["24008"]
    assert await target.planned() == [guid]


async def test_as_many_at_once_as_are_allowed(pair: FleetDriver) -> None:
    source = pair[0]
    guids = [await source.build(f"vm{number}") for number in range(3)]
    replies = [await source.migrate(guid, VM, "HYPERV2") for guid in guids]
    (service,) = await source.rows(SERVICE)
    assert service.values["ActiveVirtualSystemMigrationCount"] == 2
    states = [(await source.finish(reply))["JobState"] for reply in replies]
    assert states == [7, 7, 10]
    await source.migrated(guids[2], VM, "HYPERV2")
    assert await pair[1].names() == set(guids)


@pytest.mark.parametrize(
    ("kind", "destination", "changes", "code"),
    [
        (VM, None, {}, 32773),
        (STORAGE, "HYPERV2", {}, 32773),
        (4711, "HYPERV2", {}, 32773),
        (32772, "HYPERV2", {}, 32770),
        (VM, "HYPERV2", {"TransportType": 6}, 32773),
    ],
)
async def test_arguments_that_make_no_sense(
    pair: FleetDriver, kind: int, destination: str | None, changes: dict[str, Any], code: int
) -> None:
    guid = await pair[0].build(start=False)
    reply = await pair[0].migrate(guid, kind, destination, **changes)
    assert reply.return_value == code


async def test_busy_and_paused_machines_stay(pair: FleetDriver) -> None:
    source = pair[0]
    guid = await source.build()
    first = await source.migrate(guid, VM, "HYPERV2")
    assert (await source.migrate(guid, VM, "HYPERV2")).return_value == 32775
    assert await source.state(guid, 3) == 32775
    assert (await source.finish(first))["JobState"] == 7
    other = await source.build("other")
    assert await source.state(other, 9) == 0
    assert (await source.migrate(other, VM, "HYPERV2")).return_value == 32775


# Rolling back -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stage"),
    [(VM_AND_STORAGE, stage) for stage in Stage]
    + [(VM, stage) for stage in Stage if stage is not Stage.COPY],
)
async def test_a_failure_at_any_point_leaves_the_machine_alive(
    pair: FleetDriver, stage: Stage, kind: int
) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=SHARE if kind == VM else r"C:\vms")
    old = await source.disk_path(guid)
    before = source.content(old)
    resources = None if kind == VM else [await source.moved_disk(guid, r"C:\moved\web.vhdx")]
    failure = JobFailed(32768, f"It failed at {stage} (0x80004005).")
    source.host.migration.hooks.faults[stage] = failure
    job = await source.refused(guid, kind, "HYPERV2", resources=resources)
    assert job["ErrorDescription"] == failure.text
    await unharmed(source, target, guid)
    assert await source.disk_path(guid) == old
    assert source.content(old) == before
    assert not list(target.file("C:\\").rglob("*.vhdx*"))
    # And it works when nothing fails.
    await source.migrated(guid, kind, "HYPERV2", resources=resources)
    assert target.content(await target.disk_path(guid)) == before


async def test_the_switch_goes_while_the_machine_is_on_its_way(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    reply = await source.migrate(guid, VM, "HYPERV2")
    (switch,) = [s for s in target.host.switches if s.name == "External"]
    target.host.switches.remove(switch)
    job = await source.finish(reply)
    assert job["JobState"] == 10
    assert "External" in str(job["ErrorDescription"])
    await unharmed(source, target, guid)


async def test_the_destination_s_memory_goes_meanwhile(tmp_path: Path) -> None:
    pair = two_hosts(tmp_path, memory_mib=4096)
    source, target = pair[0], pair[1]
    guid = await source.build()
    rival = await target.define("rival")
    reply = await source.migrate(guid, VM, "HYPERV2")
    (memory,) = [
        row
        for row in await target.rows("Msvm_MemorySettingData")
        if str(row.values["InstanceID"]).startswith(f"Microsoft:{rival}\\")
    ]
    values: dict[str, Value] = {"InstanceID": memory.values["InstanceID"]}
    values |= dict.fromkeys(("VirtualQuantity", "Reservation", "Limit"), 1800)
    started = await target.call(
        VSMS,
        "ModifyResourceSettings",
        ResourceSettings=[Row("Msvm_MemorySettingData", values)],
    )
    assert started.return_value == 4096
    pair.clock.advance(0.06)
    rival_machine = target.host.machines.get(rival)
    assert rival_machine is not None
    target.host.timeline.settle()
    target.host.power.start_now(rival_machine)
    job = await source.finish(reply)
    assert job["JobState"] == 10
    assert job["ErrorCode"] == 32778
    assert (await source.machine(guid))["EnabledState"] == 2
    assert await target.names() == {rival}
    pair.fleet.close()


async def test_the_destination_s_disk_fills_while_copying(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms")
    files = target.host.site.files
    root = files.locate("C:\\").root
    source.host.migration.hooks.before_chunk = lambda: files.space.limit(root, 100_000)
    disk = await source.moved_disk(guid, r"C:\moved\web.vhdx")
    job = await source.refused(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk])
    assert "0x80070070" in str(job["ErrorDescription"])
    assert not list(target.file(r"C:\moved").iterdir())
    await unharmed(source, target, guid)


async def test_the_destination_dies_meanwhile(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    reply = await source.migrate(guid, VM, "HYPERV2")
    target.host.peer.reachable = False
    job = await source.finish(reply)
    assert job["JobState"] == 10
    assert "0x8007274C" in str(job["ErrorDescription"])
    await unharmed(source, target, guid)


@pytest.mark.parametrize(("request_code", "state"), [(4, 8), (5, 9)])
async def test_a_migration_is_cancelled_in_the_middle(
    pair: FleetDriver, request_code: int, state: int
) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms")
    started, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        assert go_on.wait(20)

    source.host.migration.hooks.before_chunk = wait
    disk = await source.moved_disk(guid, r"C:\moved\web.vhdx")
    reply = await source.migrate(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk])
    assert started.wait(20)
    path = reply.out["Job"]
    assert isinstance(path, ObjectPath)
    answer = await source.call(
        "Msvm_MigrationJob",
        "RequestStateChange",
        dict(path.keys),
        RequestedState=request_code,
    )
    assert answer.return_value == 0
    go_on.set()
    job = await source.finish(reply)
    assert job["JobState"] == state
    source.host.site.conductor.close()
    assert not list(target.file(r"C:\moved").iterdir())
    await unharmed(source, target, guid)


async def test_vmms_restarts_in_the_middle(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    await source.migrate(guid, VM, "HYPERV2")
    source.host.restart_management_service()
    assert await source.rows("Msvm_MigrationJob") == []
    await unharmed(source, target, guid)


async def test_storage_migration_fails_and_the_machine_keeps_its_files(pair: FleetDriver) -> None:
    source = pair[0]
    guid = await source.build(folder=r"C:\vms")
    old = await source.disk_path(guid)
    disk = await source.moved_disk(guid, r"C:\moved\web.vhdx")
    source.host.migration.hooks.faults[Stage.HAND_OVER] = JobFailed(32768, "no (0x80004005).")
    await source.refused(guid, STORAGE, resources=[disk])
    assert await source.disk_path(guid) == old
    assert not source.file(r"C:\moved\web.vhdx").exists()
    await unharmed(source, pair[1], guid)


async def test_what_is_not_modelled_says_so(pair: FleetDriver) -> None:
    guid = await pair[0].build(start=False)
    for method in ("MigrateVirtualSystemToSystem", "GetSystemCompatibilityVectors"):
        reply = await pair[0].call(SERVICE, method, ComputerSystem=system_path(guid))
        assert reply.return_value == 32770


async def test_a_disk_on_a_share_is_open_on_one_host_only(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    disk = await source.disk_path(guid)
    rival = await target.define("rival")
    (drive,) = await target.add(rival, drive_row(f"Microsoft:{rival}\\{IDE_CONTROLLER_GUID}\\0"))
    await target.add(rival, medium_row(drive, disk))
    assert await target.state(rival, 2) == 32768
    assert await source.state(guid, 3) == 0
    await target.start(rival)
    assert await source.state(guid, 2) == 32768


@pytest.mark.parametrize("mode", [JobMode.ALWAYS_0, JobMode.SEEDED])
async def test_a_migration_may_be_done_at_once(pair: FleetDriver, mode: JobMode) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms")
    before = source.content(await source.disk_path(guid))
    for host in pair.hosts:
        host.host.site.conductor.mode = mode
    disk = await source.moved_disk(guid, r"C:\moved\web.vhdx")
    source.host.migration.hooks.faults[Stage.ARRIVE] = JobFailed(32768, "no (0x80004005).")
    reply = await source.migrate(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk])
    assert await source.code(reply) == 32768
    assert await source.enabled_state(guid) == 2
    assert not target.file(r"C:\moved\web.vhdx").exists()
    reply = await source.migrate(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk])
    assert await source.code(reply) == 0
    assert target.content(r"C:\moved\web.vhdx") == before
    assert await target.enabled_state(guid) == 2


async def test_a_client_release_moves_storage_only(tmp_path: Path) -> None:
    template = HostConfig(tmp_path, release="client-11", job_mode=JobMode.ALWAYS_4096)
    pair = FleetDriver(tmp_path, template=template)
    guid = await pair[0].build(folder=r"C:\vms", start=False)
    assert (await pair[0].migrate(guid, VM, "HYPERV2")).return_value == 32770
    disk = await pair[0].moved_disk(guid, r"C:\moved\web.vhdx")
    await pair[0].migrated(guid, STORAGE, resources=[disk])
    pair.fleet.close()
