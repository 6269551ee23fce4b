"""Reference points and the changes of real disks since then."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulator_host.driver import Driver, system_path

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import CimFault, MethodReply, Value
from cloudstack_hyperv.emulator.host import HostConfig, JobMode

SERVICE, IMAGES = "Msvm_VirtualSystemReferencePointService", "Msvm_ImageManagementService"
POINT = "Msvm_VirtualSystemReferencePoint"
DISK = "C:\\disk.vhdx"
MIB = 2**20
BLOCK = 64 * 1024


@pytest.fixture
async def machine(driver: Driver) -> str:
    assert await driver.create_disk(DISK, 16 * MIB) == 0
    guid = await driver.define("vm", 1)
    await driver.ide_disk(guid, DISK)
    write(driver, DISK, MIB, b"old")
    return guid


def write(driver: Driver, path: str, offset: int, data: bytes) -> None:
    """Write as the guest would."""
    with driver.host.disks.opened(path, "test", writable=True) as disk:
        disk.write(offset, data)
        disk.flush()


async def create(driver: Driver, guid: str) -> dict[str, Value]:
    reply = await driver.call(
        SERVICE, "CreateReferencePoint", AffectedSystem=system_path(guid), ReferencePointType=1
    )
    assert reply.return_value == 4096
    assert (await driver.finish(reply))["JobState"] == 7
    (effect,) = [
        row.values["AffectedElement"]
        for row in await driver.rows("Msvm_AffectedJobElement")
        if row.values["ElementEffects"] == [5]
        and row.values["AffectingElement"] == reply.out["Job"]
    ]
    assert isinstance(effect, ObjectPath)
    (row,) = [r for r in await driver.rows(POINT) if r.values["InstanceID"] == effect.keys[0][1]]
    return row.values


def track_id(point: dict[str, Value]) -> str:
    tracks = point["ResilientChangeTrackingIdentifiers"]
    assert isinstance(tracks, list)
    (track,) = tracks
    return str(track)


async def ask(
    driver: Driver, point: dict[str, Value], path: str = DISK, **more: Value
) -> MethodReply:
    args: dict[str, Value] = {
        "Path": path,
        "LimitId": track_id(point),
        "ByteOffset": 0,
        "ByteLength": 16 * MIB,
        **more,
    }
    return await driver.call(IMAGES, "GetVirtualDiskChanges", None, **args)


async def changes(
    driver: Driver, point: dict[str, Value], path: str = DISK
) -> list[tuple[int, int]]:
    reply = await ask(driver, point, path)
    assert reply.return_value == 0
    assert reply.out["ProcessedByteLength"] == 16 * MIB
    offsets, lengths = reply.out["ChangedByteOffsets"], reply.out["ChangedByteLengths"]
    assert isinstance(offsets, list | None)
    assert isinstance(lengths, list | None)
    return list(zip(offsets or [], lengths or [], strict=True))


async def test_changes_are_those_of_the_content(driver: Driver, machine: str) -> None:
    first = await create(driver, machine)
    assert (first["ReferencePointType"], first["ConsistencyLevel"]) == (2, 2)
    assert first["HasAssociatedData"] is False
    assert await changes(driver, first) == []
    write(driver, DISK, MIB, b"new")
    write(driver, DISK, 5 * MIB - 100, b"x" * 200)
    expected = [(MIB, BLOCK), (5 * MIB - BLOCK, 2 * BLOCK)]
    assert await changes(driver, first) == expected
    second = await create(driver, machine)
    assert await changes(driver, second) == []
    write(driver, DISK, 9 * MIB, b"later")
    assert await changes(driver, second) == [(9 * MIB, BLOCK)]
    assert await changes(driver, first) == [*expected, (9 * MIB, BLOCK)]
    part = await ask(driver, first, ByteOffset=5 * MIB, ByteLength=1000)
    assert part.out["ChangedByteOffsets"] == [5 * MIB]
    assert part.out["ChangedByteLengths"] == [1000]


async def test_changes_go_on_through_a_checkpoint(driver: Driver, machine: str) -> None:
    point = await create(driver, machine)
    await driver.done(
        "Msvm_VirtualSystemSnapshotService",
        "CreateSnapshot",
        AffectedSystem=system_path(machine),
        SnapshotType=2,
    )
    found = driver.host.machines.get(machine)
    assert found is not None
    (medium,) = found.settings.media
    paths = medium.values["HostResource"]
    assert isinstance(paths, list)
    child = str(paths[0])
    assert child.endswith(".avhdx")
    write(driver, child, 3 * MIB, b"in the child")
    assert await changes(driver, point, child) == [(3 * MIB, BLOCK)]


async def test_a_destroyed_point_tracks_nothing(driver: Driver, machine: str) -> None:
    point = await create(driver, machine)
    path = ObjectPath.of(POINT, InstanceID=str(point["InstanceID"]))
    await driver.done(SERVICE, "DestroyReferencePoint", AffectedReferencePoint=path)
    assert await driver.rows(POINT) == []
    assert (await ask(driver, point)).return_value == 32773
    again = await driver.call(SERVICE, "DestroyReferencePoint", AffectedReferencePoint=path)
    assert again.return_value == 32773


async def test_points_go_with_their_machine(driver: Driver, machine: str) -> None:
    await create(driver, machine)
    await driver.done(
        "Msvm_VirtualSystemManagementService", "DestroySystem", AffectedSystem=system_path(machine)
    )
    assert await driver.rows(POINT) == []


async def test_what_is_asked_wrongly(driver: Driver, machine: str) -> None:
    point = await create(driver, machine)
    other = "C:\\other.vhdx"
    assert await driver.create_disk(other, 16 * MIB) == 0
    assert (await ask(driver, point, other)).return_value == 32773
    for more in (
        {"ByteLength": 17 * MIB},
        {"ByteLength": 0},
        {"LimitId": "rctX:0"},
        {"TargetSnapshotId": "x"},
    ):
        assert (await ask(driver, point, DISK, **more)).return_value == 32773
    log = await driver.call(
        SERVICE,
        "CreateReferencePoint",
        AffectedSystem=system_path(machine),
        ReferencePointType=0,
    )
    assert log.return_value == 32770


async def test_the_answer_at_once_names_the_point(tmp_path: Path) -> None:
    driver = Driver(HostConfig(tmp_path, job_mode=JobMode.ALWAYS_0))
    guid = await driver.define("vm", 1)
    reply = await driver.call(
        SERVICE, "CreateReferencePoint", AffectedSystem=system_path(guid), ReferencePointType=1
    )
    assert reply.return_value == 0
    path = reply.out["ResultingReferencePoint"]
    assert isinstance(path, ObjectPath)
    (row,) = await driver.rows(POINT)
    assert row.values["InstanceID"] == path.key("InstanceID")
    driver.host.close()


async def test_2012_r2_has_no_reference_points(tmp_path: Path) -> None:
    driver = Driver(HostConfig(tmp_path, release="2012r2"))
    with pytest.raises(CimFault):
        await driver.rows(POINT)
    driver.host.close()
