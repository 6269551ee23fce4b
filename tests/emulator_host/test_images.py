"""The image service on real files, checked with QEMU's tools and an independent reader."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from tests.emulator_host.driver import Driver

from cloudstack_hyperv import vhd
from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import HostConfig, JobMode

FOLDER = "C:\\Users\\Public\\Documents\\Hyper-V\\Virtual Hard Disks"
MIB = 2**20


def write(path: Path, offset: int, data: bytes) -> None:
    with vhd.OsFile(path, writable=True) as file, vhd.open_disk(file, writable=True) as disk:
        disk.write(offset, data)


def qemu_check(path: Path) -> None:
    subprocess.run(["qemu-img", "check", "-f", "vhdx", str(path)], check=True, capture_output=True)


def qemu_compare(vhdx: Path, vpc: Path) -> None:
    command = ["qemu-img", "compare", "-f", "vhdx", "-F", "vpc", str(vhdx), str(vpc)]
    subprocess.run(command, check=True, capture_output=True)


def qemu_size(path: Path, form: str) -> int:
    done = subprocess.run(
        ["qemu-img", "info", "-f", form, "--output=json", str(path)],
        check=True,
        capture_output=True,
    )
    size: int = json.loads(done.stdout)["virtual-size"]
    return size


async def setting_data(driver: Driver, path: str) -> dict[str, Value]:
    reply = await driver.call(
        "Msvm_ImageManagementService", "GetVirtualHardDiskSettingData", Path=path
    )
    assert reply.return_value == 0
    row = reply.out["SettingData"]
    assert isinstance(row, Row)
    return row.values


@pytest.mark.parametrize(
    ("name", "kind", "form"),
    [("a.vhdx", 3, 3), ("b.vhdx", 2, 3), ("c.vhd", 3, 2), ("d.vhd", 2, 2)],
)
async def test_disks_of_every_kind_are_real(
    driver: Driver, name: str, kind: int, form: int
) -> None:
    path = f"{FOLDER}\\{name}"
    assert await driver.create_disk(path, 16 * MIB, Type=kind, Format=form) == 0
    local = driver.file(path)
    assert qemu_size(local, "vhdx" if form == 3 else "vpc") >= 16 * MIB
    values = await setting_data(driver, path)
    assert (values["Type"], values["Format"], values["MaxInternalSize"]) == (kind, form, 16 * MIB)
    assert values["Path"] == path


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Path": f"{FOLDER}\\x.vhd"}, 32773),
        ({"Type": 1}, 32773),
        ({"Format": 4}, 32773),
        ({"MaxInternalSize": 0}, 32773),
        ({"MaxInternalSize": 1000}, 32773),
        ({"MaxInternalSize": 65 * 2**40}, 32773),
        ({"LogicalSectorSize": 513}, 32773),
        ({"Type": 4}, 32773),
        ({"Path": "C:\\nowhere\\x.vhdx"}, 32779),
        ({"Path": "\\\\nas\\share\\x.vhdx"}, 32779),
    ],
)
async def test_disks_that_cannot_be_made(
    driver: Driver, changes: dict[str, Value], code: int
) -> None:
    wanted: dict[str, Value] = {"Path": f"{FOLDER}\\x.vhdx", "MaxInternalSize": MIB, **changes}
    assert await driver.create(wanted) == code
    assert list(driver.file(FOLDER).iterdir()) == []


async def test_a_file_that_exists_is_not_overwritten(driver: Driver) -> None:
    path = f"{FOLDER}\\x.vhdx"
    assert await driver.create_disk(path) == 0
    before = driver.file(path).read_bytes()
    reply = await driver.call(
        "Msvm_ImageManagementService",
        "CreateVirtualHardDisk",
        VirtualDiskSettingData=Row(
            "Msvm_VirtualHardDiskSettingData",
            {"Path": path, "Type": 3, "Format": 3, "MaxInternalSize": MIB},
        ),
    )
    job = await driver.finish(reply)
    assert (job["JobState"], job["ErrorCode"]) == (10, 32768)
    assert "0x80070050" in str(job["ErrorDescription"])
    assert job["JobCompletionStatusCode"] == 0x80070050
    assert driver.file(path).read_bytes() == before


async def test_convert_copies_the_content_of_a_whole_chain(driver: Driver) -> None:
    base, child, copy = (f"{FOLDER}\\{name}.vhdx" for name in ("base", "child", "copy"))
    assert await driver.create_disk(base, 32 * MIB) == 0
    dice = random.Random(7)
    write(driver.file(base), 3 * MIB + 17, dice.randbytes(100_000))
    assert await driver.create_disk(child, Type=4, ParentPath=base) == 0
    values = await setting_data(driver, child)
    assert (values["Type"], values["ParentPath"]) == (4, base)
    with driver.host.disks.opened(child, "test", writable=True) as disk:
        disk.write(9 * MIB, dice.randbytes(5000))
    target = Row("Msvm_VirtualHardDiskSettingData", {"Path": copy, "Type": 3, "Format": 3})
    code = await driver.image(
        "ConvertVirtualHardDisk", SourcePath=child, VirtualDiskSettingData=target
    )
    assert code == 0
    qemu_check(driver.file(copy))
    with (
        driver.host.disks.opened(child, "test") as one,
        driver.host.disks.opened(copy, "test") as two,
    ):
        assert one.read(0, 32 * MIB) == two.read(0, 32 * MIB)
        assert two.read(9 * MIB, 10) != bytes(10)


async def test_convert_between_formats_compares_equal_for_qemu(driver: Driver) -> None:
    source, target = f"{FOLDER}\\s.vhdx", f"{FOLDER}\\t.vhd"
    assert await driver.create_disk(source, 16 * MIB) == 0
    write(driver.file(source), 5 * MIB, b"content" * 1000)
    row = Row("Msvm_VirtualHardDiskSettingData", {"Path": target, "Type": 2, "Format": 2})
    assert (
        await driver.image("ConvertVirtualHardDisk", SourcePath=source, VirtualDiskSettingData=row)
        == 0
    )
    qemu_compare(driver.file(source), driver.file(target))


async def test_resize_grows_and_shrinks_to_what_is_used(driver: Driver) -> None:
    path = f"{FOLDER}\\r.vhdx"
    assert await driver.create_disk(path, 32 * MIB) == 0
    write(driver.file(path), 20 * MIB, b"x" * 512)
    assert await driver.image("ResizeVirtualHardDisk", Path=path, MaxInternalSize=64 * MIB) == 0
    assert qemu_size(driver.file(path), "vhdx") == 64 * MIB
    qemu_check(driver.file(path))
    assert await driver.image("ResizeVirtualHardDisk", Path=path, MaxInternalSize=8 * MIB) == 32768
    reply = await driver.call("Msvm_ImageManagementService", "GetVirtualHardDiskState", Path=path)
    state = reply.out["State"]
    assert isinstance(state, Row)
    smallest = state.values["MinInternalSize"]
    assert isinstance(smallest, int)
    assert smallest == 20 * MIB + 512
    assert await driver.image("ResizeVirtualHardDisk", Path=path, MaxInternalSize=smallest) == 0
    assert await driver.image("ResizeVirtualHardDisk", Path=path, MaxInternalSize=777) == 32768


async def test_merge_compact_and_reconnect(driver: Driver) -> None:
    base, child = f"{FOLDER}\\base.vhdx", f"{FOLDER}\\child.vhdx"
    assert await driver.create_disk(base, 16 * MIB) == 0
    assert await driver.create_disk(child, Type=4, ParentPath=base) == 0
    with driver.host.disks.opened(child, "test", writable=True) as disk:
        disk.write(MIB, b"from the child")
    moved = f"{FOLDER}\\moved.vhdx"
    driver.file(base).rename(driver.file(moved))
    assert await driver.image("ValidateVirtualHardDisk", Path=child) == 32768
    assert await driver.image("SetParentVirtualHardDisk", ChildPath=child, ParentPath=moved) == 0
    assert await driver.image("ValidateVirtualHardDisk", Path=child) == 0
    other = f"{FOLDER}\\other.vhdx"
    assert await driver.create_disk(other, 16 * MIB) == 0
    code = await driver.image("MergeVirtualHardDisk", SourcePath=child, DestinationPath=other)
    assert code == 32768
    code = await driver.image("MergeVirtualHardDisk", SourcePath=child, DestinationPath=moved)
    assert code == 0
    assert not driver.file(child).exists()
    with driver.host.disks.opened(moved, "test") as disk:
        assert disk.read(MIB, 14) == b"from the child"
    assert await driver.image("CompactVirtualHardDisk", Path=moved, Mode=0) == 0
    assert await driver.image("CompactVirtualHardDisk", Path=moved, Mode=9) == 32773
    qemu_check(driver.file(moved))


async def test_a_disk_of_a_running_machine_is_in_use(driver: Driver) -> None:
    path = f"{FOLDER}\\used.vhdx"
    assert await driver.create_disk(path) == 0
    guid = await driver.define("vm", 1)
    await driver.ide_disk(guid, path)
    await driver.start(guid)
    row = Row(
        "Msvm_VirtualHardDiskSettingData", {"Path": f"{FOLDER}\\c.vhdx", "Type": 3, "Format": 3}
    )
    code = await driver.image("ConvertVirtualHardDisk", SourcePath=path, VirtualDiskSettingData=row)
    assert code == 32768
    assert await driver.image("CompactVirtualHardDisk", Path=path, Mode=0) == 32768
    assert (await setting_data(driver, path))["MaxInternalSize"] == 64 * MIB
    files = await driver.engine.get("root/cimv2", "CIM_DataFile", {"Name": path.lower()})
    assert files.values["FileSize"]


async def test_a_mounted_disk_is_held_until_it_is_detached(driver: Driver) -> None:
    path = f"{FOLDER}\\mount.vhdx"
    assert await driver.create_disk(path) == 0
    assert await driver.image("AttachVirtualHardDisk", Path=path) == 0
    assert await driver.image("AttachVirtualHardDisk", Path=path) == 32768
    found = await driver.call(
        "Msvm_ImageManagementService",
        "FindMountedStorageImageInstance",
        SelectionCriterion=path.upper(),
        CriterionType=0,
    )
    image = found.out["Image"]
    assert isinstance(image, ObjectPath)
    reply = await driver.call("Msvm_MountedStorageImage", "DetachVirtualHardDisk", dict(image.keys))
    assert reply.return_value == 0
    assert await driver.rows("Msvm_MountedStorageImage") == []
    assert not driver.host.site.files.is_held(driver.file(path))


async def test_a_cancelled_conversion_leaves_nothing(tmp_path: Path) -> None:
    driver = Driver(HostConfig(tmp_path, job_mode=JobMode.ALWAYS_4096))
    source, target = f"{FOLDER}\\big.vhdx", f"{FOLDER}\\target.vhdx"
    assert await driver.create_disk(source, 64 * MIB) == 0
    write(driver.file(source), 0, random.Random(1).randbytes(32 * MIB))
    row = Row("Msvm_VirtualHardDiskSettingData", {"Path": target, "Type": 3, "Format": 3})
    reply = await driver.call(
        "Msvm_ImageManagementService",
        "ConvertVirtualHardDisk",
        SourcePath=source,
        VirtualDiskSettingData=row,
    )
    path = reply.out["Job"]
    assert isinstance(path, ObjectPath)
    cancel = await driver.call(
        "Msvm_StorageJob", "RequestStateChange", dict(path.keys), RequestedState=4
    )
    assert cancel.return_value == 0
    job = await driver.engine.get("root/virtualization/v2", "Msvm_StorageJob", dict(path.keys))
    assert job.values["JobState"] == 8
    driver.host.close()
    assert not driver.file(target).exists()
    assert not driver.host.site.files.is_held(driver.file(source))
