"""VM snapshots on real disk chains: taken, gone back to, deleted, over stops and starts."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest
from tests.resource_vm.commands import (
    DATA,
    GIB,
    ISO,
    NAME,
    ROOT,
    SPARE,
    UUID,
    Stage,
    attach_command,
    detach_command,
    iso,
    nic,
    staged,
    start_command,
    stop_command,
    virtual_machine,
    volume,
)

from cloudstack_hyperv.emulator.door.calls import AnswerCode, Call, DropConnection, Verdict
from cloudstack_hyperv.emulator.host import GuestScript, JobMode
from cloudstack_hyperv.hypervisor.checkpoints import Checkpoint, change_system, list_checkpoints
from cloudstack_hyperv.hypervisor.ownership import KEPT
from cloudstack_hyperv.hypervisor.port_features import read_vlans
from cloudstack_hyperv.messages.answers.snapshots import (
    CreateVMSnapshotAnswer,
    DeleteVMSnapshotAnswer,
    RevertToVMSnapshotAnswer,
)
from cloudstack_hyperv.messages.commands.snapshots import (
    CreateVMSnapshotCommand,
    DeleteVMSnapshotCommand,
    RevertToVMSnapshotCommand,
)
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import VMSnapshotTO
from cloudstack_hyperv.resource.handlers import HANDLER_MODULES

FIRST = f"{NAME}_VS_20260101120000"
SECOND = f"{NAME}_VS_20260102120000"
THIRD = f"{NAME}_VS_20260103120000"


def volumes() -> list[VolumeObjectTO]:
    found = [disk.data for disk in (volume(ROOT, "ROOT", 0), volume(DATA, "DATADISK", 1))]
    return [data for data in found if isinstance(data, VolumeObjectTO)]


def fields(name: str, **target: Any) -> dict[str, Any]:
    snapshot = VMSnapshotTO(**{"id": 5, "snapshot_name": name, "type": "DiskAndMemory", **target})
    return {"vm_name": NAME, "target": snapshot, "volume_tos": volumes()}


def create(name: str = FIRST, **target: Any) -> CreateVMSnapshotCommand:
    return CreateVMSnapshotCommand(**fields(name, **target), vm_uuid=UUID)


def revert(name: str = FIRST, **target: Any) -> RevertToVMSnapshotCommand:
    return RevertToVMSnapshotCommand(**fields(name, **target))


def delete(name: str = FIRST, **target: Any) -> DeleteVMSnapshotCommand:
    return DeleteVMSnapshotCommand(**fields(name, **target))


async def checkpoints(stage: Stage) -> dict[str, Checkpoint]:
    machine = await stage.machine()
    if machine is None:
        return {}
    found = await list_checkpoints(stage.directory.client, machine.guid, NAME)
    return {checkpoint.name: checkpoint for checkpoint in found}


async def test_create_vm_snapshot_command_freezes_the_disks_under_their_own_names(
    stage: Stage,
) -> None:
    await stage.done(start_command())
    await stage.write_guest(b"one")
    answer = await stage.done(create())
    assert isinstance(answer, CreateVMSnapshotAnswer)
    assert answer.vm_snapshot_to is not None
    assert answer.vm_snapshot_to.snapshot_name == FIRST
    assert [(v.path, (v.size or 0) > 0) for v in answer.volume_tos or ()] == [
        (ROOT, True),
        (DATA, True),
    ]
    assert stage.round_trips <= 6
    await stage.write_guest(b"two")
    assert stage.read_disk(rf"C:\pool\{ROOT}.vhdx") == b"one"
    assert list(await checkpoints(stage)) == [FIRST]
    await stage.running()


async def test_create_vm_snapshot_command_twice_takes_one(stage: Stage) -> None:
    await stage.done(start_command())
    answers = await asyncio.gather(*(stage.send(create()) for _ in range(3)))
    assert [answer.result for answer in answers] == [True] * 3
    assert list(await checkpoints(stage)) == [FIRST]


async def test_create_vm_snapshot_command_counts_what_checkpoints_take(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.done(create())
    await stage.write_guest(b"two")
    answer = await stage.done(create(SECOND))
    assert isinstance(answer, CreateVMSnapshotAnswer)
    pool = stage.emulation.path(r"C:\pool")
    for each in answer.volume_tos or ():
        sizes = [p.stat().st_size for p in pool.iterdir() if f"{each.path}_" in p.name]
        assert len(sizes) == 2
        assert each.size == sum(sizes)


@pytest.mark.parametrize(
    ("target", "saved", "kind"),
    [
        ({"type": "DiskAndMemory"}, True, 5),
        ({"type": "Disk"}, False, 5),
        ({"type": "Disk", "quiescevm": True}, False, 4),
    ],
)
async def test_create_vm_snapshot_command_saves_memory_only_when_asked(
    tmp_path: Path, target: dict[str, Any], saved: bool, kind: int
) -> None:
    async with staged(tmp_path, guest=GuestScript(boot=0.0, kvp_delay=0.0)) as stage:
        await stage.done(start_command())
        await stage.done(create(**target))
        found = (await checkpoints(stage))[FIRST]
        row = await stage.directory.client.get(found.path)
        assert row.boolean("IsSaved") is saved
        machine = await stage.running()
        settings = await stage.directory.client.get(machine.settings_path)
        assert settings.uint("UserSnapshotType") == kind


async def test_create_vm_snapshot_command_fails_when_the_guest_cannot_quiesce(
    tmp_path: Path,
) -> None:
    guest = GuestScript(boot=0.0, fails_production_checkpoint=True)
    async with staged(tmp_path, guest=guest) as stage:
        await stage.done(start_command())
        details = await stage.refused(create(type="Disk", quiescevm=True))
        assert "quiesce" in details
        assert await checkpoints(stage) == {}
        assert stage.branches() == []
        await stage.running()


async def test_create_vm_snapshot_command_of_a_stopped_vm_without_snapshots_says_why_not(
    stage: Stage,
) -> None:
    assert "start it" in await stage.refused(create(type="Disk"))


@pytest.mark.parametrize(
    "target", [{"type": "Memory"}, {"type": None}, {"snapshot_name": " "}, {"snapshot_name": None}]
)
async def test_create_vm_snapshot_command_refuses_what_it_does_not_know(
    stage: Stage, target: dict[str, Any]
) -> None:
    await stage.done(start_command())
    await stage.refused(create(**target))
    assert stage.branches() == []


STEPS = [
    ("ModifySystemSettings", 1),
    ("CreateSnapshot", 1),
    ("ClearSnapshotState", 1),
    ("ModifySystemSettings", 2),
]


@pytest.mark.parametrize(("method", "nth"), STEPS)
@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
async def test_create_vm_snapshot_command_is_undone_when_a_step_fails(
    stage: Stage, method: str, nth: int, lost: bool
) -> None:
    await stage.done(start_command())
    await stage.write_guest(b"one")
    seen = 0

    def fail(call: Call) -> Verdict | None:
        nonlocal seen
        seen += call.method == method
        if call.method != method or seen != nth:
            return None
        return DropConnection(after_effect=True) if lost else AnswerCode(32768)

    stage.emulation.server.calls.intercept(fail)
    await stage.refused(create(type="Disk"))
    assert seen >= nth
    assert await checkpoints(stage) == {}
    assert stage.branches() == []
    assert await stage.read_guest() == b"one"
    await stage.running()
    stage.emulation.server.calls.intercept(lambda _: None)
    await stage.done(create(type="Disk"))


async def test_revert_to_vm_snapshot_command_goes_back_with_disks_and_memory(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.write_guest(b"one")
    await stage.done(create())
    await stage.write_guest(b"two")
    answer = await stage.done(revert())
    assert isinstance(answer, RevertToVMSnapshotAnswer)
    assert answer.vm_state == "PowerOn"
    assert [v.path for v in answer.volume_tos or ()] == [ROOT, DATA]
    assert await stage.read_guest() == b"one"
    machine = await stage.running()
    assert machine.ownership is not None
    assert not machine.is_kept
    await stage.write_guest(b"three")
    await stage.done(revert())
    assert await stage.read_guest() == b"one"
    assert list(await checkpoints(stage)) == [FIRST]


async def test_revert_to_vm_snapshot_command_of_a_disk_leaves_the_vm_off(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.write_guest(b"one")
    await stage.done(create(type="Disk"))
    await stage.write_guest(b"two")
    await stage.done(stop_command())
    answer = await stage.done(revert(type="Disk"))
    assert isinstance(answer, RevertToVMSnapshotAnswer)
    assert answer.vm_state == "PowerOff"
    assert await stage.resource.vm_state_report() == {}
    await stage.done(start_command())
    assert await stage.read_guest() == b"one"


async def test_revert_to_vm_snapshot_command_puts_nics_back_on_the_networks_of_today(
    stage: Stage,
) -> None:
    """The VLAN that the checkpoint remembers may be another tenant's by now."""
    await stage.done(start_command(nics=[nic(0, "vlan://261"), nic(1)]))
    await stage.done(create())
    await stage.done(stop_command())
    await stage.done(start_command(nics=[nic(0, "vlan://262"), nic(1)]))
    await stage.done(revert())
    assert [state.vlan for state in await stage.adapters()] == [262, None]
    assert all(state.connected for state in await stage.adapters())


async def test_revert_to_vm_snapshot_command_that_the_host_refuses_lets_the_vm_go_on(
    stage: Stage,
) -> None:
    await stage.done(start_command())
    await stage.done(create())
    await stage.write_guest(b"two")
    stage.emulation.server.calls.intercept(
        lambda call: AnswerCode(32768) if call.method == "ApplySnapshot" else None
    )
    await stage.refused(revert())
    await stage.running()
    assert await stage.read_guest() == b"two"


async def test_revert_to_vm_snapshot_command_without_the_snapshot_fails(stage: Stage) -> None:
    await stage.done(start_command())
    assert SECOND in await stage.refused(revert(SECOND))
    await stage.running()


async def test_delete_vm_snapshot_command_waits_for_the_merge(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.write_guest(b"one")
    await stage.done(create())
    await stage.write_guest(b"two")
    answer = await stage.done(delete())
    assert isinstance(answer, DeleteVMSnapshotAnswer)
    assert [(v.path, v.size) for v in answer.volume_tos or ()] == [(ROOT, 0), (DATA, 0)]
    assert stage.branches() == []
    assert await stage.live_file() == rf"C:\pool\{ROOT}.vhdx"
    assert await stage.read_guest() == b"two"
    await stage.running()


async def test_delete_vm_snapshot_command_of_what_is_gone_succeeds(stage: Stage) -> None:
    await stage.done(delete())
    await stage.done(start_command())
    await stage.done(delete())
    await stage.done(create())
    answers = await asyncio.gather(*(stage.send(delete()) for _ in range(3)))
    assert [answer.result for answer in answers] == [True] * 3
    assert stage.branches() == []


async def test_delete_vm_snapshot_command_whose_answer_was_lost_succeeds(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.done(create())
    stage.emulation.server.calls.intercept(
        lambda call: DropConnection(after_effect=True) if call.method == "DestroySnapshot" else None
    )
    await stage.done(delete())
    assert stage.branches() == []


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(order, marks=() if order[0] == FIRST else pytest.mark.slow)
        for order in itertools.permutations([FIRST, SECOND, THIRD])
    ],
)
async def test_vm_snapshots_form_a_tree_that_can_be_taken_apart_in_any_order(
    stage: Stage, order: tuple[str, ...]
) -> None:
    """first - second, and third beside second; going back to each shows what was there."""
    await stage.done(start_command())
    contents = {FIRST: b"first", SECOND: b"second", THIRD: b"third"}
    await stage.write_guest(b"first")
    await stage.done(create(FIRST))
    await stage.write_guest(b"second")
    await stage.done(create(SECOND))
    await stage.done(revert(FIRST))
    await stage.write_guest(b"third")
    await stage.done(create(THIRD))
    tree = await checkpoints(stage)
    assert tree[SECOND].parent == tree[THIRD].parent == tree[FIRST].guid
    for gone in order:
        for name in (await checkpoints(stage)).keys() & contents.keys():
            await stage.done(revert(name))
            assert await stage.read_guest() == contents[name]
        await stage.done(delete(gone))
        assert gone not in await checkpoints(stage)
    assert stage.branches() == []
    await stage.running()
    await stage.done(stop_command())
    assert await stage.all_names() == []


async def test_stop_command_keeps_the_definition_of_a_vm_with_snapshots(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.write_guest(b"one")
    await stage.done(create())
    await stage.write_guest(b"two")
    answer = await stage.done(stop_command())
    assert "kept" in (answer.details or "")
    machine = await stage.machine()
    assert machine is not None
    assert machine.is_kept
    assert KEPT in machine.notes
    assert await stage.resource.vm_state_report() == {}
    await stage.done(stop_command())
    await stage.done(stop_command(check_before_cleanup=True))
    await stage.done(start_command())
    again = await stage.running()
    assert again.guid == machine.guid
    assert KEPT not in again.notes
    assert await stage.read_guest() == b"two"
    assert list(await checkpoints(stage)) == [FIRST]
    assert await stage.resource.vm_state_report() == {NAME: "PowerOn"}
    await stage.done(revert())
    assert await stage.read_guest() == b"one"


async def test_stop_command_leaves_what_an_operator_wrote_into_the_notes(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.done(create())
    machine = await stage.running()
    notes = f"call Ada\n{machine.notes}\nasset 12"
    await change_system(stage.directory.client, machine.guid, {"Notes": [notes]}, "write a note")
    await stage.done(stop_command())
    await stage.done(start_command())
    assert (await stage.running()).notes == notes


async def test_stop_command_that_expunges_removes_a_vm_with_its_snapshots(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.write_guest(b"one")
    await stage.done(create())
    await stage.done(stop_command(expunge_vm=True))
    assert await stage.all_names() == []


async def test_delete_vm_snapshot_command_removes_a_kept_definition_with_its_last_one(
    stage: Stage,
) -> None:
    await stage.done(start_command())
    await stage.done(create(FIRST))
    await stage.done(create(SECOND))
    await stage.write_guest(b"two")
    await stage.done(stop_command())
    await stage.done(delete(FIRST))
    assert await stage.all_names() == [NAME]
    await stage.done(delete(SECOND))
    assert await stage.all_names() == []
    assert stage.branches() == []
    assert stage.read_disk(rf"C:\pool\{ROOT}.vhdx") == b"two"


async def test_delete_vm_snapshot_command_leaves_a_vm_that_went_off_by_itself(
    stage: Stage,
) -> None:
    """CloudStack still takes it for running and is going to stop it."""
    await stage.done(start_command())
    await stage.done(create())
    await stage.request_state(3, 3)
    await stage.done(delete())
    assert await stage.all_names() == [NAME]


async def test_start_command_brings_a_kept_definition_to_shape(stage: Stage) -> None:
    await stage.done(start_command())
    identifiers = [state.adapter.identifier for state in await stage.adapters()]
    await stage.done(create())
    await stage.done(stop_command())
    disks = [
        volume(ROOT, "ROOT", 0),
        volume(DATA, "DATADISK", 1),
        iso(),
        iso(ISO, 4),
    ]
    command = start_command(
        cpus=4, min_ram=2 * GIB, max_ram=2 * GIB, disks=disks, nics=[nic(0, "vlan://300"), nic(2)]
    )
    await stage.done(command)
    machine = await stage.running()
    drives = await stage.drives()
    assert drives.keys() == {"IDE 0:0", "IDE 1:0", "IDE 1:1", "SCSI 0:1"}
    assert drives["IDE 1:0"] is not None
    states = await stage.adapters()
    assert [state.vlan for state in states] == [300, None]
    assert states[0].adapter.identifier == identifiers[0]
    rows = (await stage.devices()).rows
    sizes = {row.class_name: row.uint("VirtualQuantity") for row in rows}
    assert sizes["Msvm_ProcessorSettingData"] == 4
    assert sizes["Msvm_MemorySettingData"] == 2048
    await stage.done(stop_command())
    await stage.done(start_command())
    assert (await stage.running()).guid == machine.guid
    assert (await stage.drives()).keys() == {"IDE 0:0", "IDE 1:0", "SCSI 0:1"}
    assert (await stage.drives())["IDE 1:0"] is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"boot_type": "UEFI"}, "generation"),
        ({"disks": [volume(ROOT, "ROOT", 0)]}, "delete the snapshots"),
        (
            {"disks": [*(virtual_machine().disks or ()), volume(SPARE, "DATADISK", 2)]},
            "do not hold",
        ),
        ({"boot_args": "a=b"}, "boot arguments"),
    ],
)
async def test_start_command_refuses_what_a_kept_definition_cannot_become(
    stage: Stage, changes: dict[str, Any], reason: str
) -> None:
    await stage.done(start_command())
    await stage.done(create())
    await stage.done(stop_command())
    assert reason in await stage.refused(start_command(**changes))
    assert list(await checkpoints(stage)) == [FIRST]
    await stage.done(start_command())


@pytest.mark.parametrize(
    ("method", "nth"),
    [
        ("ModifySystemSettings", 1),
        ("ModifyResourceSettings", 1),
        ("RemoveResourceSettings", 1),
        ("AddResourceSettings", 1),
        ("AddResourceSettings", 2),
        ("AddFeatureSettings", 1),
        ("RequestStateChange", 1),
    ],
)
async def test_start_command_of_a_kept_definition_that_fails_leaves_it_off_and_startable(
    stage: Stage, method: str, nth: int
) -> None:
    await stage.done(start_command())
    await stage.done(create())
    await stage.done(stop_command())
    seen = 0

    def fail(call: Call) -> Verdict | None:
        nonlocal seen
        seen += call.method == method
        return AnswerCode(32768) if call.method == method and seen == nth else None

    stage.emulation.server.calls.intercept(fail)
    nics = [nic(0, "vlan://261", network_rate_mbps=None)]
    await stage.refused(start_command(nics=nics))
    assert seen >= nth
    machine = await stage.machine()
    assert machine is not None
    assert machine.state == 3
    assert list(await checkpoints(stage)) == [FIRST]
    stage.emulation.server.calls.intercept(lambda _: None)
    await stage.done(start_command(nics=nics))
    assert [state.vlan for state in await stage.adapters()] == [261]


async def test_start_command_elsewhere_refuses_disks_that_checkpoints_stand_on(
    stage: Stage,
) -> None:
    """Another host sees the same pool, but not the definition."""
    await stage.done(start_command())
    await stage.done(create())
    elsewhere = start_command(name="i-2-99-VM", uuid="0000-99")
    assert "only on the host that has the VM's definition" in await stage.refused(elsewhere)
    assert await stage.all_names() == [NAME]


async def test_attach_and_dettach_commands_leave_a_vm_with_snapshots_as_it_is(
    stage: Stage,
) -> None:
    await stage.done(start_command())
    await stage.done(create())
    before = await stage.drives()
    attach = await stage.refused(attach_command(volume(SPARE, "DATADISK", 2)))
    assert "delete the snapshots first" in attach
    detach = await stage.refused(detach_command(volume(DATA, "DATADISK", 1)))
    assert "checkpoint" in detach
    assert await stage.drives() == before
    await stage.done(attach_command(volume(DATA, "DATADISK", 1)))  # it is there
    await stage.done(attach_command(iso()))
    await stage.done(detach_command(iso()))


async def test_attach_command_refuses_a_volume_with_checkpoints_of_another_vm(
    stage: Stage,
) -> None:
    await stage.done(start_command())
    await stage.done(create())
    stage.emulation.make_disk("other-root")
    other = start_command(name="i-2-99-VM", uuid="0000-99", disks=[volume("other-root", "ROOT", 0)])
    await stage.done(other)
    attach = attach_command(volume(DATA, "DATADISK", 1))
    attach = type(attach)(vm_name="i-2-99-VM", disk=attach.disk)
    assert "another VM" in await stage.refused(attach)


@pytest.mark.parametrize("release", ["2012", "2012r2", "2016", "2025"])
@pytest.mark.parametrize("job_mode", list(JobMode))
async def test_vm_snapshots_on_every_release(
    tmp_path: Path, release: str, job_mode: JobMode
) -> None:
    assert HANDLER_MODULES
    async with staged(tmp_path, release=release, job_mode=job_mode) as stage:
        generation_2 = {} if release == "2012" else {"boot_type": "UEFI"}
        await stage.done(start_command(**generation_2))
        await stage.write_guest(b"one")
        await stage.done(create())
        await stage.write_guest(b"two")
        if release.startswith("2012"):
            assert "2016" in await stage.refused(create(SECOND, type="Disk", quiescevm=True))
        await stage.done(stop_command())
        await stage.done(start_command(**generation_2))
        machine = await stage.running()
        assert len(await read_vlans(stage.directory.client, machine.guid, NAME)) == 1
        await stage.done(revert())
        assert await stage.read_guest() == b"one"
        await stage.done(delete())
        assert stage.branches() == []
        await stage.done(stop_command())
        assert await stage.all_names() == []
