"""Statistics: units, deltas, few round trips, and never 0 for want of a second sample."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.emulation import POOL, agent_context, running_emulation
from tests.resource_host.storage_stage import (
    VOLUME_UUID,
    StorageStage,
    counted,
    make_disk,
)

from cloudstack_hyperv.hypervisor.machine_loads import read_machine_loads
from cloudstack_hyperv.messages import to_json
from cloudstack_hyperv.messages.answers.monitoring import (
    GetHostStatsAnswer,
    GetVmDiskStatsAnswer,
    GetVmNetworkStatsAnswer,
    GetVmStatsAnswer,
)
from cloudstack_hyperv.messages.commands.monitoring import (
    GetHostStatsCommand,
    GetVmDiskStatsCommand,
    GetVmNetworkStatsCommand,
    GetVmStatsCommand,
)
from cloudstack_hyperv.observe import CommandScope, command_scope
from cloudstack_hyperv.resource import statistics
from cloudstack_hyperv.resource.resource import Resource

NAME = "i-2-17-VM"
PATH = f"{POOL}\\{VOLUME_UUID}.vhdx"


@pytest.fixture(autouse=True)
def quick_first_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "FIRST_INTERVAL", 0.2)


async def running_vm(storage: StorageStage) -> str:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    return await storage.define_vm(NAME, PATH, running=True, ours=True)


async def test_get_host_stats_command_measures_the_whole_host(storage: StorageStage) -> None:
    command = GetHostStatsCommand(host_id=5, host_name="hv1")
    first, trips = await counted(storage, command)
    assert trips == 4
    again, trips = await counted(storage, command)
    assert trips == 3
    for answer in (first, again):
        assert isinstance(answer, GetHostStatsAnswer)
        stats = answer.host_stats
        assert stats is not None
        assert (stats.host_id, stats.entity_type) == (5, "host")
        assert 0 < stats.cpu_utilization <= 100
        config = storage.emulation.host.config
        assert stats.total_memory_kbs == config.memory_mib * 1024
        assert 0 < stats.free_memory_kbs < stats.total_memory_kbs
        assert stats.network_read_kbs > 0


async def test_get_host_stats_command_sees_what_guests_use(storage: StorageStage) -> None:
    async def load() -> float:
        await asyncio.sleep(0.3)
        answer = await storage.execute(GetHostStatsCommand())
        assert isinstance(answer, GetHostStatsAnswer)
        assert answer.host_stats is not None
        return answer.host_stats.cpu_utilization

    await load()
    idle = await load()
    await running_vm(storage)
    await load()
    assert await load() > idle


async def vm_stats(storage: StorageStage, *names: str) -> tuple[GetVmStatsAnswer, int]:
    answer, trips = await counted(storage, GetVmStatsCommand(vm_names=list(names)))
    assert isinstance(answer, GetVmStatsAnswer)
    assert answer.result, answer.details
    return answer, trips


async def test_get_vm_stats_command_gives_what_was_added_since_the_last_poll(
    storage: StorageStage,
) -> None:
    await running_vm(storage)
    await asyncio.sleep(0.5)
    first, _ = await vm_stats(storage, NAME)
    await asyncio.sleep(0.6)
    second, trips = await vm_stats(storage, NAME)
    assert trips == 3
    for answer in (first, second):
        assert answer.vm_stats_map is not None
        stats = answer.vm_stats_map[NAME]
        assert stats.num_cpus >= 1
        assert 0 <= stats.cpu_utilization <= 100
        assert stats.memory_kbs == stats.target_memory_kbs > 0
        assert stats.memory_kbs % 1024 == 0
        assert stats.entity_type == "vm"
        assert 0 <= stats.int_free_memory_kbs <= stats.memory_kbs
    assert first.vm_stats_map is not None
    assert second.vm_stats_map is not None
    assert first.vm_stats_map[NAME].disk_read_kbs > 0
    early, late = first.vm_stats_map[NAME], second.vm_stats_map[NAME]
    # Deltas: the second poll covers three times as long as the first one's two samples, and
    # nothing of what the machine did before.
    assert late.disk_read_kbs > early.disk_read_kbs
    assert late.disk_read_ios > 0


async def test_get_vm_stats_command_leaves_out_what_is_not_here(storage: StorageStage) -> None:
    make_disk(storage.pool / f"{VOLUME_UUID}.vhdx")
    await storage.define_vm("i-2-18-VM", PATH, ours=True)
    answer, _ = await vm_stats(storage, "i-2-18-VM", "i-2-99-VM", "x' OR '1'='1")
    assert answer.vm_stats_map == {}


async def test_get_vm_stats_command_writes_both_spellings(storage: StorageStage) -> None:
    await running_vm(storage)
    answer, _ = await vm_stats(storage, NAME)
    entry: Any = to_json(answer)["vmStatsMap"]
    assert entry[NAME]["intfreememoryKBs"] == entry[NAME]["intFreeMemoryKBs"]
    assert entry[NAME]["targetmemoryKBs"] == entry[NAME]["targetMemoryKBs"]


async def test_get_vm_stats_command_follows_a_disk_to_another_vm(storage: StorageStage) -> None:
    await running_vm(storage)
    await vm_stats(storage, NAME)
    other = f"{POOL}\\other.vhdx"
    make_disk(storage.pool / "other.vhdx")
    await storage.define_vm("i-2-18-VM", other, running=True, ours=True)
    await asyncio.sleep(0.5)
    answer, trips = await vm_stats(storage, NAME, "i-2-18-VM")
    assert trips == 4
    assert answer.vm_stats_map is not None
    assert answer.vm_stats_map["i-2-18-VM"].disk_read_kbs > 0


async def test_get_vm_disk_stats_command_counts_per_disk(storage: StorageStage) -> None:
    await running_vm(storage)
    await asyncio.sleep(0.3)
    command = GetVmDiskStatsCommand(vm_names=[NAME, "i-2-99-VM"], host_name="hv1")
    await storage.execute(command)
    await asyncio.sleep(0.3)
    answer = await storage.execute(command)
    assert isinstance(answer, GetVmDiskStatsAnswer)
    assert answer.vm_disk_stats_map is not None
    (entry,) = answer.vm_disk_stats_map[NAME]
    assert list(answer.vm_disk_stats_map) == [NAME]
    assert (entry.vm_name, entry.path) == (NAME, VOLUME_UUID)
    assert entry.bytes_read > entry.delta_bytes_read > 0
    assert entry.io_read >= entry.delta_io_read > 0


async def test_get_vm_network_stats_command_answers_for_running_vms(
    storage: StorageStage,
) -> None:
    await running_vm(storage)
    answer, trips = await counted(
        storage, GetVmNetworkStatsCommand(vm_names=[NAME, "i-2-99-VM"], host_name="hv1")
    )
    assert isinstance(answer, GetVmNetworkStatsAnswer)
    assert answer.host_name == "hv1"
    assert answer.vm_network_stats_map == {NAME: []}
    assert trips == 3


async def test_get_vm_stats_command_asks_in_slices_where_one_answer_is_too_small(
    tmp_path: Path,
) -> None:
    async with (
        running_emulation(tmp_path, max_envelope_kb=64) as emulation,
        agent_context(emulation) as context,
    ):
        storage = StorageStage(emulation, Resource(context))
        names = [f"i-2-{number}-VM" for number in range(130)]
        for name in names:
            await storage.define_empty_vm(name)
        with command_scope(CommandScope("test", "hv1")) as scope:
            loads = await read_machine_loads(storage.cim)
    assert scope.round_trips > 2
    assert sorted(load.name for load in loads) == sorted(names)
