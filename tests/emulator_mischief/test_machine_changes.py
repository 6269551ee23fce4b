"""A second administrator changes machines, and the agent's side sees it."""

from __future__ import annotations

import pytest
from tests.emulator_mischief.conftest import Scene
from tests.emulator_mischief.outsider import SYSTEM, machine_key

from cloudstack_hyperv.emulator.host import JobMode
from cloudstack_hyperv.emulator.mischief import MischiefFailed, Rule
from cloudstack_hyperv.emulator.mischief.actions import (
    AttachDisk,
    CheckpointVm,
    DeleteVm,
    RenameVm,
    StartVm,
    StopVm,
)

DISK = r"C:\pool\disk.vhdx"


@pytest.mark.parametrize("mode", [JobMode.ALWAYS_0, JobMode.ALWAYS_4096])
async def test_every_change_is_complete_when_it_returns(scene: Scene, mode: JobMode) -> None:
    guid = await scene.vm("before")
    await scene.client.create_disk(DISK)
    scene.emulation.host.site.conductor.mode = mode
    mischief, client = scene.mischief, scene.client

    await mischief.do(RenameVm(vm="before", to="after"))
    assert await client.names() == ["after"]
    await mischief.do(AttachDisk(vm="AFTER", path=DISK))
    (medium,) = await client.query(
        "SELECT * FROM Msvm_StorageAllocationSettingData WHERE ResourceSubType = "
        "'Microsoft:Hyper-V:Virtual Hard Disk' AND NOT InstanceID LIKE '%Definition%'"
    )
    assert medium["HostResource"] == DISK
    await mischief.do(StartVm(vm=guid.lower()))
    assert (await client.machine(guid))["EnabledState"] == "2"
    await mischief.do(CheckpointVm(vm=guid))
    settings = await client.query(
        "SELECT * FROM Msvm_VirtualSystemSettingData WHERE VirtualSystemType LIKE '%Snapshot%'"
    )
    assert len(settings) == 1
    assert len(list(scene.emulation.path(DISK).parent.glob("*.avhdx"))) == 1
    await mischief.do(StopVm(vm=guid))
    assert (await client.machine(guid))["EnabledState"] == "3"
    await mischief.do(StartVm(vm=guid))
    await mischief.do(DeleteVm(vm=guid))
    assert await client.names() == []
    assert scene.emulation.path(DISK).exists()
    assert await client.query("SELECT * FROM Msvm_ConcreteJob") == []


async def test_what_the_host_refuses(scene: Scene) -> None:
    guid = await scene.vm("twin")
    await scene.vm("twin")
    for action in (
        StopVm(vm=guid),
        StartVm(vm="nobody"),
        StartVm(vm="twin"),
        RenameVm(vm=guid, to=""),
        AttachDisk(vm=guid, path=r"C:\pool\missing.vhdx"),
    ):
        with pytest.raises(MischiefFailed):
            await scene.mischief.do(action)
    drives = await scene.client.query(
        "SELECT * FROM Msvm_ResourceAllocationSettingData WHERE ResourceSubType = "
        "'Microsoft:Hyper-V:Synthetic Disk Drive' AND InstanceID LIKE 'Microsoft:%'"
    )
    assert [each for each in drives if guid in (each["InstanceID"] or "")] == []


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_change_at_a_call(scene: Scene, after_effect: bool) -> None:
    """Somebody else starts the machine just before, or turns it off just after the agent did."""
    guid = await scene.vm()
    action = StopVm(vm=guid, after_effect=True) if after_effect else StartVm(vm=guid)
    scene.mischief.add(Rule(name="r", action=action, class_name=SYSTEM, operation="Invoke"))
    answer = await scene.client.invoke(
        SYSTEM, "RequestStateChange", machine_key(guid), RequestedState=2
    )
    await scene.mischief.settled()
    assert answer["ReturnValue"] == ("0" if after_effect else "32775")
    state = (await scene.client.machine(guid))["EnabledState"]
    assert state == ("3" if after_effect else "2")
    assert scene.firing() == (True, "")


async def test_changes_are_not_in_the_call_log(scene: Scene) -> None:
    guid = await scene.vm()
    before = scene.emulation.server.calls.count
    await scene.mischief.do(StartVm(vm=guid))
    assert scene.emulation.server.calls.count == before
