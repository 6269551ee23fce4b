"""Flip, read back and restore: migration, planned systems, export and import."""

from __future__ import annotations

import shutil

from tests.emulator_host.driver import V2, VSMS, system_path
from tests.emulator_host.round_trip import VSSD, Bench, Trip, writes
from tests.emulator_migration.fleet_driver import VM
from tests.emulator_migration.test_export_import import (
    checkpoint,
    exported,
    imported,
    realize,
)
from tests.emulator_migration.test_planned_systems import planned_path

from cloudstack_hyperv.emulator.cim.provider import Row

MIGRATION = "Msvm_VirtualSystemMigrationService"
IMPORTS = r"C:\imports"


@writes(MIGRATION, "MigrateVirtualSystemToHost")
async def migrate(bench: Bench) -> Trip:
    guid = await bench.host.build()
    return Trip(
        bench.host.names,
        lambda: bench.host.migrated(guid, VM, "HYPERV2"),
        lambda: bench.other.migrated(guid, VM, "HYPERV1"),
    )


@writes("Msvm_MigrationJob", "RequestStateChange")
async def cancelled_migration(bench: Bench) -> Trip:
    """A migration that was stopped is over; the value comes back with the next one."""
    guid = await bench.host.build()
    started: list[dict[str, str]] = []

    async def start() -> None:
        reply = await bench.host.migrate(guid, VM, "HYPERV2")
        started.append(dict(bench.created(reply, "Job").keys))

    async def running() -> bool:
        row = await bench.host.engine.get(V2, "Msvm_MigrationJob", started[-1])
        return row.values["JobState"] in (2, 3, 4)

    await start()
    return Trip(
        running,
        lambda: bench.host.done(
            "Msvm_MigrationJob", "RequestStateChange", started[-1], RequestedState=4
        ),
        start,
    )


async def drop_plan(bench: Bench) -> None:
    for guid in await bench.host.planned():
        await bench.host.done(VSMS, "DestroySystem", AffectedSystem=planned_path(guid))


async def plan(bench: Bench) -> str:
    reply = await bench.host.done(
        VSMS, "DefinePlannedSystem", SystemSettings=Row(VSSD, {"ElementName": "plan"})
    )
    return bench.created(reply, "ResultingSystem").key("Name") or ""


@writes(VSMS, "DefinePlannedSystem")
async def define_plan(bench: Bench) -> Trip:
    return Trip(bench.host.planned, lambda: plan(bench), lambda: drop_plan(bench))


@writes(VSMS, "RealizePlannedSystem")
async def realize_plan(bench: Bench) -> Trip:
    host = bench.host
    guid = await plan(bench)
    return Trip(
        host.names,
        lambda: host.done(VSMS, "RealizePlannedSystem", PlannedSystem=planned_path(guid)),
        lambda: host.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid)),
    )


@writes(VSMS, "ExportSystemDefinition")
async def export(bench: Bench) -> Trip:
    host = bench.host
    guid = await host.build(start=False)
    folder = host.file(r"C:\exports")

    async def read() -> list[str]:
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    async def restore() -> None:
        keys = {"Name": r"c:\exports"}
        await bench.invoke("root/cimv2", "Win32_Directory", keys, "Delete")

    return Trip(read, lambda: exported(host, guid), restore)


async def copied(bench: Bench, *, snapshot: bool) -> str:
    """Export a machine, take it away, return the file that describes it."""
    host = bench.host
    guid = await host.build(start=False, folder=r"C:\vms")
    if snapshot:
        await checkpoint(host, guid, b"one")
    root = await exported(host, guid)
    shutil.copytree(root / "web", host.file(rf"{IMPORTS}\web"))
    await host.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid))
    return f"{IMPORTS}\\web\\Virtual Machines\\{guid}.vmcx"


@writes(VSMS, "ImportSystemDefinition")
async def import_system(bench: Bench) -> Trip:
    file = await copied(bench, snapshot=False)
    return Trip(bench.host.planned, lambda: imported(bench.host, file), lambda: drop_plan(bench))


@writes(VSMS, "ImportSnapshotDefinitions")
async def import_snapshots(bench: Bench) -> Trip:
    file = await copied(bench, snapshot=True)
    host = bench.host
    guid = await imported(host, file)

    async def checkpoints() -> int:
        rows = await host.rows(VSSD)
        return sum(":Snapshot:" in str(row.values["VirtualSystemType"]) for row in rows)

    async def flip() -> None:
        await host.done(
            VSMS,
            "ImportSnapshotDefinitions",
            PlannedSystem=planned_path(guid),
            SnapshotFolder=rf"{IMPORTS}\web\Snapshots",
        )
        await realize(host, guid)

    async def restore() -> None:
        await host.done(VSMS, "DestroySystem", AffectedSystem=system_path(guid))

    return Trip(checkpoints, flip, restore)
