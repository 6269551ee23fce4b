"""Machines move between hosts, alive, with shared storage and with their disks."""

from __future__ import annotations

from tests.emulator_host.driver import VSMS, settings_path, system_path
from tests.emulator_migration.fleet_driver import (
    SHARE,
    STORAGE,
    VM,
    VM_AND_STORAGE,
    FleetDriver,
    standalone_content,
)

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host.checkpoints import disk_paths
from cloudstack_hyperv.emulator.host.files import Place
from cloudstack_hyperv.emulator.host.machine import Machine

TARGET = r"C:\moved"


async def test_a_running_machine_on_a_share_goes_to_another_host(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    before = await source.disk_path(guid)
    uptime = (await source.machine(guid))["OnTimeInMilliseconds"]
    reply = await source.migrate(guid, VM, "HYPERV2")
    path = reply.out["Job"]
    assert isinstance(path, ObjectPath)
    assert path.class_name == "Msvm_MigrationJob"
    row = await source.machine(guid)
    assert row["OperationalStatus"] == [11, 32774]
    assert row["EnabledState"] == 2
    assert await target.planned() == [guid]
    assert await target.names() == set()
    assert await target.summary() == []
    source.clock.advance(0.4)
    job = await source.engine.get("root/virtualization/v2", path.class_name, dict(path.keys))
    assert job.values["JobState"] == 4
    assert job.values["PercentComplete"] == 50
    assert job.values["DestinationHost"] == "HYPERV2"
    assert job.values["VirtualSystemName"] == guid
    assert job.values["MigrationType"] == VM
    assert (await source.finish(reply))["JobState"] == 7
    assert await source.names() == set()
    assert await target.names() == {guid}
    assert await target.planned() == []
    moved = await target.machine(guid)
    assert moved["EnabledState"] == 2
    assert isinstance(uptime, int)
    assert isinstance(moved["OnTimeInMilliseconds"], int)
    assert moved["OnTimeInMilliseconds"] > uptime
    assert await target.disk_path(guid) == before
    assert await target.state(guid, 3) == 0


async def test_settings_name_the_new_host_and_its_switch(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    ids = {str(r.values["InstanceID"]) for r in await source.rows("CIM_SettingData")}
    await source.migrated(guid, VM, "hyperv2.HYPERV.example")
    cables = [
        row
        for row in await target.rows("Msvm_EthernetPortAllocationSettingData")
        if str(row.values["InstanceID"]).startswith(f"Microsoft:{guid}\\")
    ]
    (wanted,) = [s for s in target.host.switches if s.name == "External"]
    assert [row.values["HostResource"] for row in cables] == [[wanted.path_text]]
    (drive,) = [
        row
        for row in await target.rows("Msvm_ResourceAllocationSettingData")
        if str(row.values["InstanceID"]).startswith(f"Microsoft:{guid}\\")
        and row.values["ResourceType"] == 17
    ]
    assert str(drive.values["Parent"]).startswith("\\\\HYPERV2\\root\\virtualization\\v2:")
    there = {
        str(r.values["InstanceID"])
        for r in await target.rows("CIM_SettingData")
        if guid in str(r.values["InstanceID"])
    }
    assert there == {each for each in ids if guid in each}


async def test_off_and_saved_machines_move_as_they_are(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    off = await source.build("off", start=False)
    saved = await source.build("saved")
    assert await source.state(saved, 6) == 0
    for guid, state in ((off, 3), (saved, 6)):
        await source.migrated(guid, VM, "HYPERV2")
        assert await target.enabled_state(guid) == state
    await target.start(saved)
    assert await source.names() == set()


async def test_machine_and_disks_move_without_shared_storage(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms")
    old = await source.disk_path(guid)
    before = source.content(old)
    new = TARGET + r"\web.vhdx"
    disk = await source.moved_disk(guid, new)
    system = Row(
        "Msvm_VirtualSystemSettingData",
        {"InstanceID": f"Microsoft:{guid}", "ConfigurationDataRoot": TARGET},
    )
    await source.migrated(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk], system=system)
    assert await target.disk_path(guid) == new
    assert standalone_content(target.file(new)) == before
    assert b"content of web" in before
    assert not source.file(old).exists()
    assert await target.enabled_state(guid) == 2
    assert target.file(f"{TARGET}\\Virtual Machines\\{guid}.vmcx").is_file()
    assert not source.file(f"C:\\vms\\Virtual Machines\\{guid}.vmcx").exists()


async def test_source_files_stay_when_they_are_to_be_kept(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms")
    old = await source.disk_path(guid)
    disk = await source.moved_disk(guid, TARGET + r"\web.vhdx")
    await source.migrated(
        guid, VM_AND_STORAGE, "HYPERV2", resources=[disk], RetainVhdCopiesOnSource=True
    )
    assert standalone_content(source.file(old)) == target.content(TARGET + r"\web.vhdx")


async def test_a_chain_of_checkpoints_moves_whole(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms", UserSnapshotType=5)
    snapshots = "Msvm_VirtualSystemSnapshotService"
    for text in (b"first", b"second"):
        await source.done(
            snapshots, "CreateSnapshot", AffectedSystem=system_path(guid), SnapshotType=2
        )
        assert await source.state(guid, 3) == 0
        source.write(await source.disk_path(guid), 5 * 2**20, text * 200)
        await source.start(guid)
    leaf = await source.disk_path(guid)
    assert leaf.endswith(".avhdx")
    frozen = {m: source.content(m) for m in _checkpoint_disks(source.host.machines.get(guid))}
    before = source.content(leaf)
    new = f"{TARGET}\\{leaf.rsplit(chr(92), 1)[1]}"
    disk = await source.moved_disk(guid, new)
    await source.migrated(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk])
    assert target.content(await target.disk_path(guid)) == before
    machine = target.host.machines.get(guid)
    assert machine is not None
    there = _checkpoint_disks(machine)
    assert sorted(target.content(path) for path in there) == sorted(frozen.values())
    assert all(path.startswith(TARGET) for path in there)
    assert not [p for p in source.file(r"C:\vms").iterdir() if "vhd" in p.suffix]
    # The tree still works: going back and merging happen on the new host.
    assert await target.state(guid, 3) == 0
    checkpoint = next(iter(machine.checkpoints))
    (at_checkpoint,) = disk_paths(machine.checkpoints[checkpoint].settings)
    expected = target.content(at_checkpoint)
    await target.done(snapshots, "ApplySnapshot", Snapshot=settings_path(checkpoint))
    assert target.content(await target.disk_path(guid)) == expected != before
    for each in list(machine.checkpoints):
        await target.done(snapshots, "DestroySnapshot", AffectedSnapshot=settings_path(each))
    for _ in range(50):
        target.clock.advance(1)
        await target.finish_soon()
        target.host.timeline.settle()
    assert not (await target.disk_path(guid)).endswith(".avhdx")


def _checkpoint_disks(machine: Machine | None) -> list[str]:
    assert machine is not None
    return [path for c in machine.checkpoints.values() for path in disk_paths(c.settings)]


async def test_a_linked_clone_leaves_its_template_where_it_is(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    template, clone = SHARE + r"\template.vhdx", r"C:\vms\clone.vhdx"
    assert await source.create_disk(template, 8 * 2**20) == 0
    source.write(template, 0, b"template " * 64)
    guid = await source.build("clone-vm", folder=r"C:\vms", start=False)
    assert await source.create_disk(clone, 0, Type=4, ParentPath=template) == 0
    source.write(clone, 2**20, b"clone " * 64)
    medium = await source.moved_disk(guid, clone)
    assert await source.modify(medium) == 0
    before = source.content(clone)
    disk = await source.moved_disk(guid, TARGET + r"\clone.vhdx")
    await source.migrated(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk])
    assert target.content(TARGET + r"\clone.vhdx") == before
    assert source.file(template).exists()
    assert not source.file(clone).exists()
    chain: list[Place] = target.host.disks.chain(TARGET + r"\clone.vhdx")
    assert [place.windows for place in chain] == [TARGET + r"\clone.vhdx", template]


async def test_storage_moves_under_a_running_machine(pair: FleetDriver) -> None:
    source = pair[0]
    guid = await source.build(folder=r"C:\vms")
    old = await source.disk_path(guid)
    before = source.content(old)
    new = r"C:\elsewhere\renamed.vhdx"
    job = await source.migrated(
        guid, STORAGE, resources=[await source.moved_disk(guid, new)], TransportType=5
    )
    assert job["Caption"] == "Moving Storage"
    assert await source.enabled_state(guid) == 2
    assert await source.disk_path(guid) == new
    assert source.content(new) == before
    assert not source.file(old).exists()
    assert (await source.machine(guid))["OperationalStatus"] == [2]
    # The machine holds the new file now.
    assert source.host.site.files.is_held(source.file(new))
    assert await source.state(guid, 3) == 0


async def test_storage_moves_with_configuration_and_checkpoints(pair: FleetDriver) -> None:
    source = pair[0]
    guid = await source.build(folder=r"C:\vms", start=False)
    await source.done(
        "Msvm_VirtualSystemSnapshotService",
        "CreateSnapshot",
        AffectedSystem=system_path(guid),
        SnapshotType=2,
    )
    leaf = await source.disk_path(guid)
    new = "C:\\elsewhere\\" + leaf.rsplit("\\", 1)[1]
    system = Row("Msvm_VirtualSystemSettingData", {"ConfigurationDataRoot": r"C:\elsewhere"})
    await source.migrated(
        guid, STORAGE, resources=[await source.moved_disk(guid, new)], system=system
    )
    assert await source.disk_path(guid) == new
    assert source.file(r"C:\elsewhere\web.vhdx").is_file()
    assert source.file(f"C:\\elsewhere\\Virtual Machines\\{guid}.vmcx").is_file()
    assert not source.file(f"C:\\vms\\Virtual Machines\\{guid}.vmcx").exists()
    await source.start(guid)


async def test_the_job_may_go_with_the_machine(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    source.host.migration.hooks.job_vanishes = True
    guid = await source.build()
    reply = await source.migrate(guid, VM, "HYPERV2")
    assert reply.return_value == 4096
    source.clock.advance(5)
    assert await source.rows("Msvm_MigrationJob") == []
    assert await target.names() == {guid}


async def test_a_machine_comes_back(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    for _ in range(2):
        await source.migrated(guid, VM, "HYPERV2")
        await target.migrated(guid, VM, "HYPERV1")
    assert await source.enabled_state(guid) == 2
    assert await target.names() == set()
    reply = await source.call(VSMS, "GetSummaryInformation", RequestedInformation=[1, 100])
    rows = reply.out["SummaryInformation"]
    assert isinstance(rows, list)
    assert [row.values["ElementName"] for row in rows] == ["web"]


async def test_a_guest_that_shuts_down_meanwhile_does_so_on_the_new_host(
    pair: FleetDriver,
) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    (component,) = await source.rows("Msvm_ShutdownComponent")
    reply = await source.migrate(guid, VM, "HYPERV2")
    source.clock.advance(0.5)
    await source.done(
        "Msvm_ShutdownComponent",
        "InitiateShutdown",
        {k: str(component.values[k]) for k in ("DeviceID", "SystemName", "CreationClassName")}
        | {"SystemCreationClassName": "Msvm_ComputerSystem"},
        Force=True,
        Reason="test",
    )
    assert (await source.finish(reply))["JobState"] == 7
    target.clock.advance(5)
    assert await target.enabled_state(guid) == 3
