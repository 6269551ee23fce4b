"""Machines become files, travel as files, and become machines again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.emulator_host.driver import V2, VSMS, settings_path, system_path
from tests.emulator_migration.fleet_driver import FleetDriver, HostDriver, standalone_content
from tests.emulator_migration.test_planned_systems import planned_path

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import HostConfig, JobMode
from cloudstack_hyperv.emulator.host.machine import Machine

EXPORTS = r"C:\exports"
SETTINGS = "Msvm_VirtualSystemExportSettingData"
SNAPSHOTS = "Msvm_VirtualSystemSnapshotService"
ALL, NONE, ONE, FOR_BACKUP = 0, 1, 2, 3


async def export(host: HostDriver, guid: str, **settings: Value) -> MethodReply:
    return await host.call(
        VSMS,
        "ExportSystemDefinition",
        ComputerSystem=system_path(guid),
        ExportDirectory=EXPORTS,
        ExportSettingData=Row(SETTINGS, settings),
    )


async def exported(host: HostDriver, guid: str, **settings: Value) -> Path:
    reply = await export(host, guid, **settings)
    assert reply.return_value == 4096
    job = await host.finish(reply)
    assert job["JobState"] == 7, job["ErrorDescription"]
    return host.file(EXPORTS)


async def checkpoint(host: HostDriver, guid: str, text: bytes) -> str:
    """Make a checkpoint, then change the disk; return the checkpoint's GUID."""
    before = set(machine_of(host, guid).checkpoints)
    await host.done(SNAPSHOTS, "CreateSnapshot", AffectedSystem=system_path(guid), SnapshotType=2)
    host.write(await host.disk_path(guid), 6 * 2**20, text * 100)
    (made,) = set(machine_of(host, guid).checkpoints) - before
    return made


def machine_of(host: HostDriver, guid: str) -> Machine:
    machine = host.host.machines.get(guid)
    assert machine is not None
    return machine


async def import_system(
    host: HostDriver, file: str, snapshots: str = "", *, new: bool = False
) -> dict[str, Value]:
    """Import; return the finished job."""
    reply = await host.call(
        VSMS,
        "ImportSystemDefinition",
        SystemDefinitionFile=file,
        SnapshotFolder=snapshots,
        GenerateNewSystemIdentifier=new,
    )
    assert reply.return_value == 4096
    assert reply.out.get("ImportedSystem") is None
    return await host.finish(reply)


async def imported(host: HostDriver, file: str, snapshots: str = "", *, new: bool = False) -> str:
    """Import and find the planned system through the job."""
    job = await import_system(host, file, snapshots, new=new)
    assert job["JobState"] == 7, job["ErrorDescription"]
    (row,) = [
        row
        for row in await host.rows("Msvm_AffectedJobElement")
        if row.values["ElementEffects"] == [5]
        and str(row.values["AffectingElement"]).endswith(f'"{job["InstanceID"]}"')
    ]
    path = row.values["AffectedElement"]
    assert isinstance(path, ObjectPath)
    assert path.class_name == "Msvm_PlannedComputerSystem"
    return path.key("Name") or ""


async def realize(host: HostDriver, guid: str) -> None:
    await host.done(VSMS, "ValidatePlannedSystem", PlannedSystem=planned_path(guid))
    await host.done(VSMS, "RealizePlannedSystem", PlannedSystem=planned_path(guid))


@pytest.mark.parametrize(
    ("release", "suffix", "runtime"),
    [("2012", "xml", "bin"), ("2012r2", "xml", "vsv"), ("2019", "vmcx", "vmrs")],
)
async def test_files_are_called_as_the_release_calls_them(
    tmp_path: Path, release: str, suffix: str, runtime: str
) -> None:
    template = HostConfig(tmp_path, release=release, job_mode=JobMode.ALWAYS_4096)
    pair = FleetDriver(tmp_path, template=template)
    host = pair[0]
    guid = await host.build()
    assert await host.state(guid, 6) == 0
    root = await exported(host, guid) / "web"
    assert (root / "Virtual Machines" / f"{guid}.{suffix}").is_file()
    assert (root / "Virtual Hard Disks" / "web.vhdx").is_file()
    assert list((root / "Virtual Machines").rglob(f"{guid}.{runtime}"))
    pair.fleet.close()


async def test_an_export_is_carried_to_another_host_and_imported(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms", start=False)
    before = source.content(await source.disk_path(guid))
    root = await exported(source, guid)
    shutil.copytree(root / "web", target.file(r"C:\imports\web"))
    file = f"C:\\imports\\web\\Virtual Machines\\{guid}.vmcx"
    planned = await imported(target, file)
    assert planned == guid
    assert await target.names() == set()
    await realize(target, guid)
    assert await target.names() == {guid}
    path = await target.disk_path(guid)
    assert path == r"C:\imports\web\Virtual Hard Disks\web.vhdx"
    assert target.content(path) == before
    await target.start(guid)
    settings = await target.engine.get(
        V2, "Msvm_VirtualSystemSettingData", {"InstanceID": f"Microsoft:{guid}"}
    )
    assert settings.values["ConfigurationDataRoot"] == r"C:\imports\web"


async def test_an_import_beside_the_original_needs_a_new_id(pair: FleetDriver) -> None:
    host = pair[0]
    guid = await host.build(start=False)
    await checkpoint(host, guid, b"after")
    await exported(host, guid, CopySnapshotConfiguration=NONE)
    file = f"{EXPORTS}\\web\\Virtual Machines\\{guid}.vmcx"
    job = await import_system(host, file)
    assert job["JobState"] == 10
    assert "exists" in str(job["ErrorDescription"])
    other = await imported(host, file, new=True)
    assert other != guid
    await realize(host, other)
    assert await host.names() == {guid, other}
    assert await host.disk_path(other) == EXPORTS + r"\web\Virtual Hard Disks\web.vhdx"
    assert host.content(await host.disk_path(other)) == host.content(await host.disk_path(guid))
    await host.start(other)


async def test_without_checkpoints_the_disk_is_merged(pair: FleetDriver) -> None:
    host = pair[0]
    guid = await host.build(start=False)
    await checkpoint(host, guid, b"one")
    await checkpoint(host, guid, b"two")
    now = host.content(await host.disk_path(guid))
    root = await exported(host, guid, CopySnapshotConfiguration=NONE)
    disks = list((root / "web" / "Virtual Hard Disks").iterdir())
    assert [disk.name for disk in disks] == ["web.vhdx"]
    assert standalone_content(disks[0]) == now
    assert not list((root / "web" / "Snapshots").iterdir())


@pytest.mark.parametrize("kind", [ONE, FOR_BACKUP])
async def test_one_checkpoint_is_what_the_machine_was_then(pair: FleetDriver, kind: int) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(start=False)
    first = await checkpoint(source, guid, b"one")
    then = source.content(await source.disk_path(guid))
    second = await checkpoint(source, guid, b"two")
    assert source.content(await source.disk_path(guid)) != then
    assert first != second
    path = str(settings_path(second))
    root = await exported(source, guid, CopySnapshotConfiguration=kind, SnapshotVirtualSystem=path)
    disks = sorted(d.name for d in (root / "web" / "Virtual Hard Disks").iterdir())
    assert len(disks) == (1 if kind == ONE else 2)
    shutil.copytree(root / "web", target.file(r"C:\imports\web"))
    planned = await imported(target, f"C:\\imports\\web\\Virtual Machines\\{guid}.vmcx")
    await realize(target, planned)
    assert target.content(await target.disk_path(guid)) == then
    assert machine_of(target, guid).checkpoints == {}


async def test_all_checkpoints_travel_and_can_be_applied(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(start=False)
    first = await checkpoint(source, guid, b"one")
    await checkpoint(source, guid, b"two")
    now = source.content(await source.disk_path(guid))
    root = await exported(source, guid, CopySnapshotConfiguration=ALL)
    assert len(list((root / "web" / "Snapshots").glob("*.vmcx"))) == 2
    shutil.copytree(root / "web", target.file(r"C:\imports\web"))
    file = f"C:\\imports\\web\\Virtual Machines\\{guid}.vmcx"
    await imported(target, file)
    reply = await target.call(
        VSMS,
        "ImportSnapshotDefinitions",
        PlannedSystem=planned_path(guid),
        SnapshotFolder=r"C:\imports\web\Snapshots",
    )
    assert (await target.finish(reply))["JobState"] == 7
    await realize(target, guid)
    rows = [
        row
        for row in await target.rows("Msvm_VirtualSystemSettingData")
        if row.values["VirtualSystemIdentifier"] == guid
        and str(row.values["VirtualSystemType"]).startswith("Microsoft:Hyper-V:Snapshot:")
    ]
    assert len(rows) == 2
    assert target.content(await target.disk_path(guid)) == now
    await target.done(SNAPSHOTS, "ApplySnapshot", Snapshot=settings_path(first))
    content = target.content(await target.disk_path(guid))
    assert b"content of web" in content
    assert b"oneone" not in content
    await target.start(guid)


async def test_checkpoints_come_along_when_their_folder_is_named(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(start=False)
    await checkpoint(source, guid, b"one")
    root = await exported(source, guid)
    shutil.copytree(root / "web", target.file(r"C:\imports\web"))
    file = f"C:\\imports\\web\\Virtual Machines\\{guid}.vmcx"
    new = await imported(target, file, r"C:\imports\web\Snapshots", new=True)
    await realize(target, new)
    (one,) = machine_of(target, new).checkpoints.values()
    assert one.settings.system.values["VirtualSystemIdentifier"] == new


@pytest.mark.parametrize(("live", "state"), [(1, 6), (0, 3), (2, 3)])
async def test_a_running_machine_is_exported_and_runs_on(
    pair: FleetDriver, live: int, state: int
) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    reply = await export(source, guid, CaptureLiveState=live)
    assert (await source.machine(guid))["OperationalStatus"] == [11, 32773]
    assert (await source.finish(reply))["JobState"] == 7
    assert await source.enabled_state(guid) == 2
    shutil.copytree(source.file(EXPORTS) / "web", target.file(r"C:\imports\web"))
    await imported(target, f"C:\\imports\\web\\Virtual Machines\\{guid}.vmcx")
    await realize(target, guid)
    assert await target.enabled_state(guid) == state
    await target.start(guid)


async def test_2012_exports_machines_at_rest_only(tmp_path: Path) -> None:
    template = HostConfig(tmp_path, release="2012", job_mode=JobMode.ALWAYS_4096)
    pair = FleetDriver(tmp_path, template=template)
    guid = await pair[0].build()
    assert (await export(pair[0], guid)).return_value == 32775
    pair.fleet.close()


async def test_storage_and_folder_are_matters_of_choice(pair: FleetDriver) -> None:
    host = pair[0]
    guid = await host.build(start=False)
    root = await exported(host, guid, CopyVmStorage=False, CreateVmExportSubdirectory=False)
    assert (root / "Virtual Machines" / f"{guid}.vmcx").is_file()
    assert not list((root / "Virtual Hard Disks").iterdir())
    again = await host.finish(await export(host, guid, CreateVmExportSubdirectory=False))
    assert again["JobState"] == 10
    assert "0x80070050" in str(again["ErrorDescription"])
    assert (root / "Virtual Machines" / f"{guid}.vmcx").is_file()
    other = await imported(host, f"{EXPORTS}\\Virtual Machines\\{guid}.vmcx", new=True)
    assert await host.disk_path(other) == await host.disk_path(guid)


async def test_an_export_does_not_overwrite(pair: FleetDriver) -> None:
    host = pair[0]
    guid = await host.build(start=False)
    root = await exported(host, guid)
    job = await host.finish(await export(host, guid))
    assert job["JobState"] == 10
    assert (root / "web" / "Virtual Hard Disks" / "web.vhdx").is_file()


async def test_a_full_disk_leaves_no_half_export(pair: FleetDriver) -> None:
    host = pair[0]
    guid = await host.build()
    files = host.host.site.files
    files.space.limit(files.locate("C:\\").root, 100_000)
    job = await host.finish(await export(host, guid))
    assert job["JobState"] == 10
    assert "0x80070070" in str(job["ErrorDescription"])
    assert not list(host.file(EXPORTS).iterdir())
    assert (await host.machine(guid))["OperationalStatus"] == [2]


async def test_what_does_not_fit_is_listed_and_mended(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build(folder=r"C:\vms", switch="Internal", start=False)
    root = await exported(source, guid, CopyVmStorage=False)
    shutil.copytree(root / "web", target.file(r"C:\imports\web"))
    (internal,) = [s for s in target.host.switches if s.name == "Internal"]
    target.host.switches.remove(internal)
    await imported(target, f"C:\\imports\\web\\Virtual Machines\\{guid}.vmcx")
    reply = await target.call(VSMS, "RealizePlannedSystem", PlannedSystem=planned_path(guid))
    job = await target.finish(reply)
    assert job["JobState"] == 10
    assert "Internal" in str(job["ErrorDescription"])
    assert r"C:\vms\web.vhdx" in str(job["ErrorDescription"])
    (medium,) = await target.disks(guid)
    assert await target.create_disk(r"C:\imports\new.vhdx", 2**20) == 0
    values = {"InstanceID": medium.values["InstanceID"], "HostResource": [r"C:\imports\new.vhdx"]}
    assert await target.modify(Row(medium.class_name, values)) == 0
    cables = [
        row
        for row in await target.rows("Msvm_EthernetPortAllocationSettingData")
        if str(row.values["InstanceID"]).startswith(f"Microsoft:{guid}\\")
    ]
    (switch,) = list(target.host.switches)
    values = {"InstanceID": cables[0].values["InstanceID"], "HostResource": [switch.path_text]}
    assert await target.modify(Row(cables[0].class_name, values)) == 0
    await realize(target, guid)
    await target.start(guid)


async def test_definition_files_that_cannot_be_imported(tmp_path: Path) -> None:
    new = FleetDriver(
        tmp_path / "new",
        1,
        template=HostConfig(tmp_path, release="2025", job_mode=JobMode.ALWAYS_4096),
    )
    old = FleetDriver(
        tmp_path / "old",
        1,
        template=HostConfig(tmp_path, release="2016", job_mode=JobMode.ALWAYS_4096),
    )
    guid = await new[0].build(start=False)
    shutil.copytree(await exported(new[0], guid) / "web", old[0].file(r"C:\web"))
    file = f"C:\\web\\Virtual Machines\\{guid}.vmcx"
    job = await import_system(old[0], file)
    assert job["JobState"] == 10
    assert "12.0" in str(job["ErrorDescription"])
    for path, code in (
        (r"C:\web\none.vmcx", 32779),
        (r"C:\web\Virtual Hard Disks\web.vhdx", 32768),
    ):
        job = await import_system(old[0], path)
        assert (job["JobState"], job["ErrorCode"]) == (10, code)
    old[0].file(file).write_text("nonsense")
    job = await import_system(old[0], file)
    assert "0x80070570" in str(job["ErrorDescription"])
    assert await old[0].planned() == []
    for fleet in (new, old):
        fleet.fleet.close()


async def test_a_definition_file_tells_what_is_in_it(pair: FleetDriver) -> None:
    host = pair[0]
    guid = await host.build(start=False)
    await exported(host, guid)
    reply = await host.call(
        VSMS,
        "GetDefinitionFileSummaryInformation",
        DefinitionFiles=[f"{EXPORTS}\\web\\Virtual Machines\\{guid}.vmcx"],
    )
    rows = reply.out["SummaryInformation"]
    assert isinstance(rows, list)
    assert [(r.values["Name"], r.values["ElementName"]) for r in rows] == [(guid, "web")]


async def test_default_export_settings_hang_on_the_machine(pair: FleetDriver) -> None:
    """os-win takes them from an association and changes them."""
    host = pair[0]
    guid = await host.build(start=False)
    found = await host.query(f"ASSOCIATORS OF {{{system_path(guid)}}} WHERE ResultClass={SETTINGS}")
    assert [row.class_name for row in found] == [SETTINGS]
    again = await host.engine.get(V2, SETTINGS, {"InstanceID": str(found[0].values["InstanceID"])})
    reply = await export(host, guid, **{k: v for k, v in again.values.items() if v is not None})
    assert (await host.finish(reply))["JobState"] == 7


@pytest.mark.parametrize(
    "settings",
    [
        {"CopySnapshotConfiguration": ONE},
        {"CopySnapshotConfiguration": ONE, "SnapshotVirtualSystem": "nonsense"},
        {"CopySnapshotConfiguration": 9},
        {"CaptureLiveState": 7},
    ],
)
async def test_export_settings_that_make_no_sense(
    pair: FleetDriver, settings: dict[str, Value]
) -> None:
    guid = await pair[0].build(start=False)
    assert (await export(pair[0], guid, **settings)).return_value == 32773
