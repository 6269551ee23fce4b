"""Full disks, lost shares, locked files, refused queries, new passwords, as clients meet them."""

from __future__ import annotations

import asyncio

import pytest
import requests.exceptions
from pypsrp.exceptions import AuthenticationError, WSManFaultError
from tests.emulation import SECONDARY_URL, USER
from tests.emulator_mischief.conftest import Scene
from tests.emulator_mischief.outsider import (
    IMAGES,
    MANAGEMENT,
    SYSTEM,
    Outsider,
    embedded,
    machine_key,
)

from cloudstack_hyperv.emulator.host import JobMode
from cloudstack_hyperv.emulator.mischief import MischiefFailed, Rule
from cloudstack_hyperv.emulator.mischief.actions import (
    AllowWql,
    AttachDisk,
    ChangePassword,
    FillDisk,
    FreeDisk,
    LockFile,
    RefuseWql,
    ReturnShare,
    StartVm,
    TakeShare,
    UnlockFile,
)
from cloudstack_hyperv.wsman import wql

DISK = r"C:\pool\disk.vhdx"
SHARE = r"\\10.1.1.5\secondary"
MIB = 2**20
assert SECONDARY_URL.endswith("10.1.1.5/secondary")


async def outcome(scene: Scene, path: str, disk_type: int = 3, size: int = 64 * MIB) -> str:
    """Make a disk as a job; return how the job told its end."""
    scene.emulation.host.site.conductor.mode = JobMode.ALWAYS_4096
    job = await scene.client.job_ended(await scene.client.create_disk(path, size, disk_type))
    return "" if job["JobState"] == "7" else job["ErrorDescription"] or "?"


async def free_space(scene: Scene) -> int:
    (row,) = await scene.client.query(
        "SELECT * FROM Win32_LogicalDisk WHERE DeviceID = 'C:'", "root/cimv2"
    )
    return int(row["FreeSpace"] or -1)


@pytest.mark.parametrize("disk_type", [2, 3])
async def test_creating_on_a_full_disk(scene: Scene, disk_type: int) -> None:
    await scene.mischief.do(FillDisk(left=16 * 1024))
    assert await free_space(scene) == 16 * 1024
    assert "0x80070070" in await outcome(scene, DISK, disk_type)
    assert not scene.emulation.path(DISK).exists()
    await scene.mischief.do(FreeDisk())
    assert await free_space(scene) > 2**30
    assert await outcome(scene, DISK, disk_type) == ""


async def test_a_conversion_that_fills_the_disk_half_way(scene: Scene) -> None:
    assert await outcome(scene, DISK, size=128 * MIB) == ""
    place = scene.emulation.path(DISK)
    await run("qemu-io", "-f", "vhdx", "-c", "write -P 7 0 96M", str(place))
    await scene.mischief.do(FillDisk(left=40 * MIB))
    wanted = embedded(
        "Msvm_VirtualHardDiskSettingData",
        {"Path": r"C:\pool\copy.vhdx"},
        {"Type": ("uint16", 3), "Format": ("uint16", 3)},
    )
    answer = await scene.client.invoke(
        IMAGES, "ConvertVirtualHardDisk", SourcePath=DISK, VirtualDiskSettingData=wanted
    )
    job = await scene.client.job_ended(answer)
    assert "0x80070070" in (job["ErrorDescription"] or "")
    assert not scene.emulation.path(r"C:\pool\copy.vhdx").exists()
    await run("qemu-img", "check", str(place))


async def run(*command: str) -> None:
    """Run a program that must succeed."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0


async def test_copying_a_file_to_a_full_disk(scene: Scene) -> None:
    assert await outcome(scene, DISK) == ""
    for left, code in ((1, "8"), (2**30, "0")):  # 8: unspecified failure, CIM_DataFile has no other
        await scene.mischief.do(FillDisk(left=left))
        answer = await scene.client.invoke(
            "CIM_DataFile", "Copy", {"Name": DISK}, "root/cimv2", FileName=r"C:\pool\copy.vhdx"
        )
        assert answer["ReturnValue"] == code
        assert scene.emulation.path(r"C:\pool\copy.vhdx").exists() is (code == "0")


async def test_defining_a_machine_on_a_full_disk(scene: Scene) -> None:
    scene.mischief.add(f"disk-full@{MANAGEMENT}.DefineSystem")
    assert (await scene.client.define("vm"))["ReturnValue"] == "32768"
    assert await scene.client.names() == []


async def test_a_share_is_taken_and_given_back(scene: Scene) -> None:
    path = SHARE + r"\disk.vhdx"
    assert await outcome(scene, path) == ""
    guid = await scene.vm_anyhow()
    await scene.mischief.do(AttachDisk(vm=guid, path=path))
    await scene.mischief.do(StartVm(vm=guid))
    assert (await scene.client.machine(guid))["HealthState"] == "5"

    await scene.mischief.do(TakeShare(share=SHARE))
    assert (await scene.client.machine(guid))["HealthState"] == "25"
    assert "0x80070003" in await outcome(scene, SHARE + r"\other.vhdx")
    with pytest.raises(MischiefFailed):
        await scene.mischief.do(TakeShare(share=SHARE))

    await scene.mischief.do(ReturnShare(share=SHARE))
    assert (await scene.client.machine(guid))["HealthState"] == "5"
    assert await outcome(scene, SHARE + r"\other.vhdx") == ""


async def test_a_locked_file(scene: Scene) -> None:
    assert await outcome(scene, DISK) == ""
    guid = await scene.vm_anyhow()
    await scene.mischief.do(AttachDisk(vm=guid, path=DISK))
    await scene.mischief.do(LockFile(path=DISK))
    answer = await scene.client.invoke(
        SYSTEM, "RequestStateChange", machine_key(guid), RequestedState=2
    )
    job = await scene.client.job_ended(answer, "Msvm_ConcreteJob")
    assert "0x80070020" in (job["ErrorDescription"] or "")
    assert (await scene.client.machine(guid))["EnabledState"] == "3"
    deleted = await scene.delete_file(DISK)
    assert deleted != "0"
    await scene.mischief.do(UnlockFile(path=DISK))
    assert await scene.delete_file(DISK) == "0"
    assert not scene.emulation.path(DISK).exists()


async def test_wql_is_refused_in_one_namespace(scene: Scene) -> None:
    await scene.vm("vm")
    await scene.mischief.do(RefuseWql(namespace=r"Root\Virtualization\V2"))
    with pytest.raises(WSManFaultError) as refused:
        await scene.client.names()
    assert refused.value.code == 2150858778
    assert await scene.client.query("SELECT * FROM Win32_OperatingSystem", "root/cimv2")
    # An agent that knows such hosts finds its rows without WQL.
    agent = scene.emulation.client()
    rows = await agent.query(
        wql.Select("Msvm_ComputerSystem", where=wql.equals("ElementName", "vm"))
    )
    await agent.close()
    assert len(rows) == 1
    await scene.mischief.do(AllowWql())
    assert await scene.client.names() == ["vm"]


async def test_wql_is_refused_by_rule_from_some_call_on(scene: Scene) -> None:
    scene.mischief.add("wql-refused@Enumerate#2")
    assert await scene.client.names() == []
    with pytest.raises(WSManFaultError):
        await scene.client.names()
    with pytest.raises(WSManFaultError):
        await scene.client.names()


async def test_the_password_changes(scene: Scene) -> None:
    guid = await scene.vm()
    logged_in = Outsider(scene.emulation.port, auth="ntlm")
    await logged_in.machine(guid)
    await scene.mischief.do(ChangePassword(user=USER, password="Changed-2"))
    with pytest.raises(AuthenticationError):
        await scene.client.machine(guid)
    assert (await logged_in.machine(guid))["ElementName"] == "vm"
    scene.emulation.server.disconnect_all()
    with pytest.raises(AuthenticationError):
        await retried(logged_in, guid)
    await logged_in.close()
    for auth in ("basic", "ntlm"):
        new = Outsider(scene.emulation.port, password="Changed-2", auth=auth)
        assert (await new.machine(guid))["ElementName"] == "vm"
        await new.close()
    with pytest.raises(MischiefFailed):
        await scene.mischief.do(ChangePassword(user="nobody", password="x"))


async def retried(client: Outsider, guid: str) -> None:
    """Read once more where the pooled connection was reset."""
    try:
        await client.machine(guid)
    except requests.exceptions.ConnectionError:
        await client.machine(guid)


async def test_a_rule_that_cannot_act_says_why(scene: Scene) -> None:
    scene.mischief.add(
        Rule(name="r", action=TakeShare(share=r"\\no\such", after_effect=True), operation="Invoke")
    )
    await scene.vm()
    await scene.mischief.settled()
    took_effect, note = scene.firing()
    assert not took_effect
    assert r"\\no\such" in note
