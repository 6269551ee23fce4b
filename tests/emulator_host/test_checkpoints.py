"""Checkpoints with their disks: created, applied, deleted, merged, on real files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.emulator_host.driver import V2, VSMS, Driver, system_path

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host import GuestScript, HostConfig, JobMode
from cloudstack_hyperv.emulator.host.disk_chains import ChainWork, Collapse

SERVICE = "Msvm_VirtualSystemSnapshotService"
VSSD = "Msvm_VirtualSystemSettingData"
FOLDER = "C:\\disks"
DISK = f"{FOLDER}\\vm.vhdx"
MIB = 2**20


@pytest.fixture
async def machine(driver: Driver) -> str:
    driver.file(FOLDER).mkdir()
    assert await driver.create_disk(DISK, 16 * MIB) == 0
    guid = await driver.define("vm", 1)
    await driver.ide_disk(guid, DISK)
    return guid


async def create(driver: Driver, guid: str) -> ObjectPath:
    """Create a checkpoint and find it as os-win does, by the job's created element."""
    reply = await driver.call(
        SERVICE, "CreateSnapshot", AffectedSystem=system_path(guid), SnapshotType=2
    )
    assert reply.return_value == 4096
    assert reply.out.get("ResultingSnapshot") is None
    job = await driver.finish(reply)
    assert job["JobState"] == 7, job["ErrorDescription"]
    path = reply.out["Job"]
    for row in await driver.rows("Msvm_AffectedJobElement"):
        if row.values["AffectingElement"] == path and row.values["ElementEffects"] == [5]:
            made = row.values["AffectedElement"]
            assert isinstance(made, ObjectPath)
            return made
    raise AssertionError("the job created nothing")


async def code(driver: Driver, method: str, **arguments: ObjectPath) -> int | None:
    return await driver.code(await driver.call(SERVICE, method, None, **arguments))


async def merge(driver: Driver, guid: str) -> None:
    """Wait until the background merge is over."""
    for _ in range(500):
        values = await driver.machine(guid)
        if values["OperationalStatus"] == [2]:
            return
        assert values["OperationalStatus"] == [11, 32772]
        driver.clock.advance(0.1)
        await driver.finish_soon()
    raise AssertionError("the merge does not end")


def disk_of(driver: Driver, guid: str) -> str:
    machine = driver.host.machines.get(guid)
    assert machine is not None
    (medium,) = machine.settings.media
    return str(medium.values["HostResource"][0])  # type: ignore[index]


def put(driver: Driver, path: str, data: bytes) -> None:
    """Write as the guest would, at 1 MiB."""
    with driver.host.disks.opened(path, "test", writable=True) as disk:
        disk.write(MIB, data)


def read(driver: Driver, path: str) -> bytes:
    with driver.host.disks.opened(path, "test") as disk:
        return disk.read(MIB, 3)


def names(driver: Driver) -> list[str]:
    return sorted(path.suffix for path in driver.file(FOLDER).iterdir())


async def test_a_checkpoint_freezes_the_disk_and_gives_the_machine_a_child(
    driver: Driver, machine: str
) -> None:
    put(driver, DISK, b"one")
    made = await create(driver, machine)
    current = disk_of(driver, machine)
    assert current.startswith(f"{FOLDER}\\vm_")
    assert current.endswith(".avhdx")
    put(driver, current, b"two")
    assert (read(driver, current), read(driver, DISK)) == (b"two", b"one")
    rows = await driver.query(
        f"SELECT * FROM {VSSD} WHERE VirtualSystemIdentifier = '{machine}' "  # noqa: S608
        "AND VirtualSystemType LIKE 'Microsoft:Hyper-V:Snapshot:%'"
    )
    assert [row.values["InstanceID"] for row in rows] == [made.key("InstanceID")]
    assert str(rows[0].values["ElementName"]).startswith("vm - (")
    own = await driver.engine.get(V2, VSSD, {"InstanceID": f"Microsoft:{machine}"})
    assert str(own.values["Parent"]).endswith(f'"{made.key("InstanceID")}"')
    media = await driver.rows("Msvm_StorageAllocationSettingData")
    prefixes = {str(row.values["InstanceID"])[:46]: row.values["HostResource"] for row in media}
    assert prefixes[f"{made.key('InstanceID')}"] == [DISK]
    resize = await driver.image("ResizeVirtualHardDisk", Path=DISK, MaxInternalSize=32 * MIB)
    assert resize == 32768


async def test_applying_goes_back_and_forgets_what_was(driver: Driver, machine: str) -> None:
    put(driver, DISK, b"one")
    made = await create(driver, machine)
    put(driver, disk_of(driver, machine), b"two")
    assert await code(driver, "ApplySnapshot", Snapshot=made) == 0
    assert read(driver, disk_of(driver, machine)) == b"one"
    assert names(driver) == [".avhdx", ".vhdx"], "the abandoned child is gone"
    assert (await driver.machine(machine))["EnabledState"] == 3
    await driver.start(machine)
    assert await code(driver, "ApplySnapshot", Snapshot=made) == 32775


async def test_deleting_merges_in_the_background(driver: Driver, machine: str) -> None:
    put(driver, DISK, b"one")
    made = await create(driver, machine)
    put(driver, disk_of(driver, machine), b"two")
    assert await code(driver, "DestroySnapshot", AffectedSnapshot=made) == 0
    values = await driver.machine(machine)
    assert values["OperationalStatus"] == [11, 32772]
    reply = await driver.call(VSMS, "DestroySystem", AffectedSystem=system_path(machine))
    assert reply.return_value == 32775
    await merge(driver, machine)
    assert disk_of(driver, machine) == DISK
    assert read(driver, DISK) == b"two"
    assert names(driver) == [".vhdx"]
    assert await driver.rows("Msvm_SnapshotOfVirtualSystem") == []


async def test_two_deleted_at_once_merge_one_after_the_other(
    driver: Driver, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    collapse = ChainWork.collapse

    def slow(self: ChainWork, wanted: Collapse) -> dict[str, str]:
        time.sleep(0.2)  # the second deletion comes while the first one's disks are merged
        return collapse(self, wanted)

    monkeypatch.setattr(ChainWork, "collapse", slow)
    put(driver, DISK, b"one")
    first = await create(driver, machine)
    put(driver, disk_of(driver, machine), b"two")
    second = await create(driver, machine)
    put(driver, disk_of(driver, machine), b"end")
    for made in (first, second):
        assert await code(driver, "DestroySnapshot", AffectedSnapshot=made) == 0
    await merge(driver, machine)
    assert disk_of(driver, machine) == DISK
    assert read(driver, DISK) == b"end"
    assert names(driver) == [".vhdx"]


async def test_a_tree_of_checkpoints(driver: Driver, machine: str) -> None:
    """root - a - b, and c beside b; deleting a keeps its disk as b's and c's parent."""
    put(driver, DISK, b"000")
    root = await create(driver, machine)
    put(driver, disk_of(driver, machine), b"aaa")
    middle = await create(driver, machine)
    put(driver, disk_of(driver, machine), b"bbb")
    leaf = await create(driver, machine)
    assert await code(driver, "ApplySnapshot", Snapshot=middle) == 0
    put(driver, disk_of(driver, machine), b"ccc")
    tree = await driver.rows("Msvm_ParentChildSettingData")
    pairs = {(row.values["Antecedent"], row.values["Dependent"]) for row in tree}
    assert pairs == {(root, middle), (middle, leaf)}
    assert await code(driver, "DestroySnapshot", AffectedSnapshot=middle) == 0
    await merge(driver, machine)
    assert read(driver, disk_of(driver, machine)) == b"ccc"
    assert await code(driver, "ApplySnapshot", Snapshot=leaf) == 0
    assert read(driver, disk_of(driver, machine)) == b"bbb"
    await merge(driver, machine)
    assert await code(driver, "ApplySnapshot", Snapshot=root) == 0
    assert read(driver, disk_of(driver, machine)) == b"000"
    assert await code(driver, "DestroySnapshotTree", SnapshotSettingData=root) == 0
    await merge(driver, machine)
    assert disk_of(driver, machine) == DISK
    assert read(driver, DISK) == b"000"
    assert names(driver) == [".vhdx"]


async def test_destroying_a_machine_merges_its_checkpoints(driver: Driver, machine: str) -> None:
    await create(driver, machine)
    put(driver, disk_of(driver, machine), b"two")
    await create(driver, machine)
    put(driver, disk_of(driver, machine), b"new")
    await driver.done(VSMS, "DestroySystem", AffectedSystem=system_path(machine))
    assert names(driver) == [".vhdx"]
    assert read(driver, DISK) == b"new"


async def test_a_template_below_a_linked_clone_is_never_merged(driver: Driver) -> None:
    driver.file(FOLDER).mkdir()
    template, clone = f"{FOLDER}\\template.vhdx", f"{FOLDER}\\clone.vhdx"
    assert await driver.create_disk(template, 16 * MIB) == 0
    assert await driver.create_disk(clone, Type=4, ParentPath=template) == 0
    guid = await driver.define("vm", 1)
    await driver.ide_disk(guid, clone)
    made = await create(driver, guid)
    put(driver, disk_of(driver, guid), b"two")
    assert await code(driver, "DestroySnapshot", AffectedSnapshot=made) == 0
    await merge(driver, guid)
    assert disk_of(driver, guid) == clone
    assert (read(driver, clone), read(driver, template)) == (b"two", bytes(3))


@pytest.mark.parametrize(
    ("kind", "fails", "saved", "result"),
    [
        (5, False, True, 0),
        (3, False, False, 0),
        (3, True, True, 0),
        (4, False, False, 0),
        (4, True, None, 32768),
        (2, False, None, 32770),
    ],
)
async def test_standard_and_production_checkpoints(
    driver: Driver, machine: str, kind: int, fails: bool, saved: bool | None, result: int
) -> None:
    driver.host.play("*", GuestScript(boot=0, fails_production_checkpoint=fails))
    change = Row(VSSD, {"InstanceID": f"Microsoft:{machine}", "UserSnapshotType": kind})
    await driver.done(VSMS, "ModifySystemSettings", SystemSettings=change)
    await driver.start(machine)
    driver.clock.advance(10)
    reply = await driver.call(
        SERVICE, "CreateSnapshot", AffectedSystem=system_path(machine), SnapshotType=2
    )
    assert await driver.code(reply) == result
    rows = [r for r in await driver.rows(VSSD) if "Snapshot" in str(r.values["VirtualSystemType"])]
    assert [row.values["IsSaved"] for row in rows] == ([] if saved is None else [saved])
    if saved is None:
        assert names(driver) == [".vhdx"]
        return
    assert await driver.state(machine, 3) == 0
    path = ObjectPath.of(VSSD, InstanceID=str(rows[0].values["InstanceID"]))
    assert await code(driver, "ApplySnapshot", Snapshot=path) == 0
    assert (await driver.machine(machine))["EnabledState"] == (6 if saved else 3)
    await driver.start(machine)


async def test_a_running_machine_goes_on_on_its_child(driver: Driver, machine: str) -> None:
    await driver.start(machine)
    driver.clock.advance(10)
    made = await create(driver, machine)
    current = disk_of(driver, machine)
    files = driver.host.site.files
    assert files.holders(driver.file(current)) == {machine: True}
    assert files.holders(driver.file(DISK)) == {machine: False}
    assert await code(driver, "DestroySnapshot", AffectedSnapshot=made) == 0
    await merge(driver, machine)
    assert files.holders(driver.file(DISK)) == {machine: True}
    assert (await driver.machine(machine))["EnabledState"] == 2


async def test_a_checkpoint_can_be_renamed_and_nothing_else(driver: Driver, machine: str) -> None:
    made = await create(driver, machine)
    key = made.key("InstanceID") or ""
    rename = Row(VSSD, {"InstanceID": key, "ElementName": "before the upgrade"})
    await driver.done(VSMS, "ModifySystemSettings", SystemSettings=rename)
    row = await driver.engine.get(V2, VSSD, {"InstanceID": key})
    assert row.values["ElementName"] == "before the upgrade"
    other = Row(VSSD, {"InstanceID": key, "AutomaticStartupAction": 4})
    reply = await driver.call(VSMS, "ModifySystemSettings", SystemSettings=other)
    assert reply.return_value == 32773


async def test_2012_r2_has_standard_checkpoints_only(tmp_path: Path) -> None:
    driver = Driver(HostConfig(tmp_path, release="2012r2", job_mode=JobMode.ALWAYS_4096))
    guid = await driver.define("vm", 1)
    await driver.start(guid)
    driver.clock.advance(10)
    made = await create(driver, guid)
    row = await driver.engine.get(V2, VSSD, {"InstanceID": made.key("InstanceID") or ""})
    assert row.values["IsSaved"] is True
    driver.host.close()


async def test_creating_a_checkpoint_always_starts_a_job(tmp_path: Path) -> None:
    """os-win and go-wsman find the checkpoint through Msvm_AffectedJobElement only."""
    driver = Driver(HostConfig(tmp_path, job_mode=JobMode.SEEDED))
    guid = await driver.define()
    for _ in range(40):
        reply = await driver.done(
            SERVICE, "CreateSnapshot", AffectedSystem=system_path(guid), SnapshotType=2
        )
        assert reply.return_value == 4096
        assert reply.out.get("ResultingSnapshot") is None
    driver.host.close()
