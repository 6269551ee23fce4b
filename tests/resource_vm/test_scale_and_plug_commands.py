"""ScaleVmCommand and the NIC commands of a running VM: what may change, what is refused whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.resource_vm.commands import (
    DATA,
    GIB,
    NAME,
    ROOT,
    Stage,
    nic,
    staged,
    start_command,
    virtual_machine,
    volume,
)

from cloudstack_hyperv.emulator.door.calls import AnswerCode, Call, DropConnection, Verdict
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.messages.commands.vm import (
    GetVmConfigCommand,
    PlugNicCommand,
    ReplugNicCommand,
    ScaleVmCommand,
    UnPlugNicCommand,
)
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import DiskTO, NicTO, VirtualMachineTO
from cloudstack_hyperv.wsman.api import Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, starts_with

STATIC = {"min_ram": GIB, "max_ram": GIB}


def scale(**changes: Any) -> ScaleVmCommand:
    """The management server's form: a VM of sizes only."""
    sizes = {"cpus": 2, "min_speed": 1000, "max_speed": 1000, **STATIC, **changes}
    return ScaleVmCommand(vm=VirtualMachineTO(id=1, name=NAME, **sizes), vm_name=NAME)


def plug(nic_: NicTO) -> PlugNicCommand:
    return PlugNicCommand(nic=nic_, instance_name=NAME, vm_type="User")


def unplug(nic_: NicTO) -> UnPlugNicCommand:
    return UnPlugNicCommand(nic=nic_, instance_name=NAME)


def replug(nic_: NicTO) -> ReplugNicCommand:
    return ReplugNicCommand(nic=nic_, instance_name=NAME, vm_type="User")


async def sizes(stage: Stage) -> dict[str, tuple[int | None, ...]]:
    rows = {row.class_name: row for row in (await stage.devices()).rows}
    processor, memory = rows["Msvm_ProcessorSettingData"], rows["Msvm_MemorySettingData"]
    return {
        "cpu": tuple(processor.uint(n) for n in ("VirtualQuantity", "Limit", "Weight")),
        "memory": tuple(memory.uint(n) for n in ("VirtualQuantity", "Reservation", "Limit")),
    }


async def limits(stage: Stage) -> list[Instance]:
    machine = await stage.running()
    return await stage.directory.client.query(
        Select(data.BANDWIDTH, where=starts_with("InstanceID", f"Microsoft:{machine.guid}\\"))
    )


async def test_scale_vm_command_changes_static_memory_and_shares(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.done(
        scale(min_ram=2 * GIB, max_ram=2 * GIB, min_speed=2000, max_speed=1200, limit_cpu_use=True)
    )
    assert stage.round_trips <= 5
    assert await sizes(stage) == {"cpu": (2, 50_000, 200), "memory": (2048, 2048, 2048)}
    await stage.running()


async def test_scale_vm_command_to_the_same_size_changes_nothing(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.done(scale())
    methods = {record.call.method for record in stage.emulation.server.calls.records}
    assert "ModifyResourceSettings" not in methods


async def test_scale_vm_command_raises_the_maximum_of_dynamic_memory(stage: Stage) -> None:
    await stage.done(start_command(min_ram=512 * 2**20, max_ram=GIB))
    await stage.done(scale(min_ram=GIB, max_ram=2 * GIB))
    assert (await sizes(stage))["memory"] == (512, 512, 2048)
    assert "less" in await stage.refused(scale(min_ram=512 * 2**20, max_ram=GIB))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cpus": 4}, "number of processors"),
        ({"cpus": 4, "max_ram": 2 * GIB, "min_ram": 2 * GIB}, "number of processors"),
        ({"min_ram": GIB // 2}, "dynamic"),
        ({"max_ram": 2**50, "min_ram": 2**50}, "scale"),
    ],
)
async def test_scale_vm_command_refuses_whole_what_cannot_be(
    stage: Stage, changes: dict[str, Any], reason: str
) -> None:
    await stage.done(start_command())
    before = await sizes(stage)
    assert reason in await stage.refused(scale(min_speed=3000, **{**STATIC, **changes}))
    assert await sizes(stage) == before


async def test_scale_vm_command_where_the_release_keeps_memory(tmp_path: Path) -> None:
    async with staged(tmp_path, release="2012r2") as stage:
        await stage.done(start_command())
        details = await stage.refused(scale(min_ram=2 * GIB, max_ram=2 * GIB, min_speed=2000))
        assert "2016" in details
        assert await sizes(stage) == {"cpu": (2, 100_000, 100), "memory": (1024, 1024, 1024)}
        await stage.done(scale(min_speed=2000))
        assert (await sizes(stage))["cpu"] == (2, 100_000, 200)


async def test_scale_vm_command_whose_answer_is_lost_puts_the_old_size_back(stage: Stage) -> None:
    await stage.done(start_command())
    before = await sizes(stage)
    lost = 0

    def lose_once(call: Call) -> Verdict | None:
        nonlocal lost
        if call.method == "ModifyResourceSettings" and not lost:
            lost = 1
            return DropConnection(after_effect=True)
        return None

    stage.emulation.server.calls.intercept(lose_once)
    await stage.refused(scale(min_ram=2 * GIB, max_ram=2 * GIB, min_speed=2000))
    assert await sizes(stage) == before


async def test_scale_vm_command_sets_limits_of_disks_and_nics(stage: Stage) -> None:
    await stage.done(start_command())
    root, other = volume(ROOT, "ROOT", 0), volume(DATA, "DATADISK", 1)
    assert isinstance(root.data, VolumeObjectTO)
    root.data.iops_read_rate, root.data.iops_write_rate = 100, 100
    disks = [root, other, DiskTO(disk_seq=3, type="ISO")]
    nics = [nic(0, network_rate_mbps=50), nic(1, network_rate_mbps=None)]
    await stage.done(ScaleVmCommand(vm=virtual_machine(disks=disks, nics=nics), vm_name=NAME))
    media = [drive.medium for drive in (await stage.devices()).drives if drive.medium]
    assert sorted(medium.iops_limit or 0 for medium in media) == [0, 200]
    assert [row.uint("Limit") for row in await limits(stage)] == [50_000_000]
    await stage.done(ScaleVmCommand(vm=virtual_machine(), vm_name=NAME))
    media = [drive.medium for drive in (await stage.devices()).drives if drive.medium]
    assert [medium.iops_limit for medium in media] == [None, None]
    assert [row.uint("Limit") for row in await limits(stage)] == [200_000_000] * 2


async def test_scale_vm_command_of_a_vm_that_is_not_here_fails(stage: Stage) -> None:
    assert "no VM" in await stage.refused(scale())


async def test_plug_nic_command_adds_a_nic_to_a_running_vm_in_device_order(stage: Stage) -> None:
    await stage.done(start_command(boot_type="UEFI", nics=[nic(0, "vlan://261"), nic(2)]))
    await stage.done(plug(nic(1, "vlan://50", network_rate_mbps=10)))
    states = await stage.adapters()
    assert [state.adapter.mac[-2:] for state in states] == ["00", "01", "02"]
    assert [state.vlan for state in states] == [261, 50, None]
    assert all(state.connected for state in states)
    assert sorted(row.uint("Limit") or 0 for row in await limits(stage))[0] == 10_000_000
    answer = await stage.done(GetVmConfigCommand(vm_name=NAME))
    assert [n.vlanid for n in answer.nics] == ["261", "50", "-1"]  # type: ignore[attr-defined]  # its own answer
    await stage.done(plug(nic(1, "vlan://50")))
    assert len(await stage.adapters()) == 3


async def test_plug_nic_command_is_never_on_a_network_without_its_tag(stage: Stage) -> None:
    await stage.done(start_command(boot_type="UEFI", nics=[nic(0)]))
    order: list[str] = []

    def note(call: Call) -> Verdict | None:
        if call.method in ("AddFeatureSettings", "ModifyResourceSettings"):
            order.append(call.method)
        return None

    stage.emulation.server.calls.intercept(note)
    await stage.done(plug(nic(1, "vlan://50")))
    assert order == ["AddFeatureSettings", "ModifyResourceSettings"]


@pytest.mark.parametrize(
    ("method", "nth"),
    [
        ("AddResourceSettings", 1),
        ("AddResourceSettings", 2),
        ("AddFeatureSettings", 1),
        ("ModifyResourceSettings", 1),
    ],
)
@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
async def test_plug_nic_command_is_undone_when_a_step_fails(
    stage: Stage, method: str, nth: int, lost: bool
) -> None:
    await stage.done(start_command(boot_type="UEFI", nics=[nic(0)]))
    seen = 0

    def fail(call: Call) -> Verdict | None:
        nonlocal seen
        seen += call.method == method
        if call.method != method or seen != nth:
            return None
        return DropConnection(after_effect=True) if lost else AnswerCode(32768)

    stage.emulation.server.calls.intercept(fail)
    await stage.refused(plug(nic(1, "vlan://50", network_rate_mbps=None)))
    assert [state.adapter.mac for state in await stage.adapters()] == ["0200512C0000"]
    await stage.done(plug(nic(1, "vlan://50")))


async def test_plug_and_unplug_nic_commands_of_generation_1_need_the_vm_off(stage: Stage) -> None:
    await stage.done(start_command(nics=[nic(0)]))
    assert "generation 1" in await stage.refused(plug(nic(1)))
    assert "generation 1" in await stage.refused(unplug(nic(0)))
    assert len(await stage.adapters()) == 1


async def test_plug_nic_command_where_the_release_has_no_hot_add(tmp_path: Path) -> None:
    async with staged(tmp_path, release="2012r2") as stage:
        await stage.done(start_command(boot_type="UEFI", nics=[nic(0)]))
        assert "2016" in await stage.refused(plug(nic(1)))


async def test_unplug_nic_command_takes_the_nic_out(stage: Stage) -> None:
    await stage.done(start_command(boot_type="UEFI"))
    await stage.done(unplug(nic(0)))
    assert [state.adapter.mac for state in await stage.adapters()] == ["0200512C0001"]
    await stage.done(unplug(nic(0)))
    await stage.done(unplug(nic(7)))


async def test_unplug_nic_command_of_a_vm_that_is_gone_succeeds(stage: Stage) -> None:
    await stage.done(unplug(nic(0)))
    assert "no VM" in await stage.refused(plug(nic(0)))


async def test_replug_nic_command_moves_a_nic_to_another_network(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.done(replug(nic(0, "vlan://77", name="Internal", network_rate_mbps=5)))
    states = await stage.adapters()
    assert [state.vlan for state in states] == [77, None]
    first, second = states[0].adapter.connection, states[1].adapter.connection
    assert first is not None
    assert second is not None
    assert first.switch != second.switch
    assert sorted(row.uint("Limit") or 0 for row in await limits(stage)) == [5_000_000, 200_000_000]
    assert "no NIC" in await stage.refused(replug(nic(9)))


@pytest.mark.parametrize("command", [plug, replug])
async def test_nic_commands_refuse_networks_that_cannot_be(stage: Stage, command: Any) -> None:
    await stage.done(start_command(boot_type="UEFI"))
    assert "vxlan" in await stage.refused(command(nic(0, "vxlan://5001")))
    assert "nowhere" in await stage.refused(command(nic(0, name="nowhere")))
    assert [state.vlan for state in await stage.adapters()] == [261, None]
