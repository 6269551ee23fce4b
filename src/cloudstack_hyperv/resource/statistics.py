"""Statistics of the host and its VMs, in the units that CloudStack expects (StatsCollector).

Kilobytes are 1024 bytes.  A VM's network and disk figures are what was added since the previous
poll of the same kind; host figures are sums since boot.  A first poll takes two samples a second
apart, so that nothing ever reads as 0 because nobody asked before.  VMs that are not here or do
not run are left out, never an error.

Kept in `HostMemory` (lost without harm): "host stats sample" the processors' run time,
"vm stats sample", "vm disk stats sample" the counters of the last poll, "vm disks" which VM has
which disks, read again when a counter belongs to no known disk and every few minutes.

A performance counter knows a disk by its file only; its VM is found by what is attached where.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cloudstack_hyperv.hypervisor.attachments import list_attachments
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.machine_loads import MachineLoad, read_machine_loads
from cloudstack_hyperv.hypervisor.nic_addresses import read_nic_addresses
from cloudstack_hyperv.hypervisor.performance import (
    DiskUse,
    ProcessorSample,
    Traffic,
    read_counters,
    read_disk_use,
    read_host_traffic,
    read_memory,
    read_nic_traffic,
    sample_processors,
    unknown_disks,
    use_of_disk,
)
from cloudstack_hyperv.messages.answers.monitoring import (
    GetHostStatsAnswer,
    GetVmDiskStatsAnswer,
    GetVmNetworkStatsAnswer,
    GetVmStatsAnswer,
    HostStatsEntry,
    VmDiskStatsEntry,
    VmNetworkStatsEntry,
    VmStatsEntry,
)
from cloudstack_hyperv.messages.commands.monitoring import (
    GetHostStatsCommand,
    GetVmDiskStatsCommand,
    GetVmNetworkStatsCommand,
    GetVmStatsCommand,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.storage.windows_paths import file_name, split_extension

FIRST_INTERVAL: Final = 1.0
"""Seconds between the two samples of a first poll."""
DISKS_STAY: Final = 300.0
"""Seconds for which the list of who has which disk is believed."""
KIB: Final = 1024

_HOST: Final = "host stats sample"
_VMS: Final = "vm stats sample"
_VM_DISKS: Final = "vm disk stats sample"
_DISKS: Final = "vm disks"


@dataclass(frozen=True, slots=True)
class Counters:
    """One reading of the counters of all VMs."""

    disks: Mapping[str, DiskUse] = field(default_factory=dict)
    nics: Mapping[tuple[str, str], Traffic] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KnownDisks:
    """Paths of attached disks by VM GUID (upper case), and when that was read."""

    by_machine: Mapping[str, tuple[str, ...]]
    read_at: float


def _one_poll(_command: object) -> tuple[str, ...]:
    """Polls of one kind do not overlap: each compares with the one before it."""
    return (f"statistics:{type(_command).__name__}",)


@handles(GetHostStatsCommand, ordered_by=_one_poll, page="Phase 1: host statistics")
async def get_host_stats(command: GetHostStatsCommand, context: HostContext) -> GetHostStatsAnswer:
    """Three round trips; the first poll one more, a second later."""
    earlier = context.memory.values.get(_HOST)
    if not isinstance(earlier, ProcessorSample):
        earlier = await sample_processors(context.cim)
        await asyncio.sleep(FIRST_INTERVAL)
    sample, memory, traffic = await asyncio.gather(
        sample_processors(context.cim), read_memory(context.cim), read_host_traffic(context.cim)
    )
    context.memory.values[_HOST] = sample
    load = sample.load_since(earlier)
    if load is None:
        # The host booted since the last poll, or its clock went back: compare anew.
        await asyncio.sleep(FIRST_INTERVAL)
        later = await sample_processors(context.cim)
        context.memory.values[_HOST] = later
        load = later.load_since(sample)
    if load is None:
        raise HypervisorError("the host's processor counters stand still")
    return GetHostStatsAnswer(
        result=True,
        host_stats=HostStatsEntry(
            host_id=command.host_id,
            cpu_utilization=round(load, 2),
            network_read_kbs=traffic.received / KIB,
            network_write_kbs=traffic.sent / KIB,
            total_memory_kbs=float(memory.total),
            free_memory_kbs=float(memory.free),
        ),
    )


@handles(GetVmStatsCommand, ordered_by=_one_poll, page="Phase 1: VM statistics")
async def get_vm_stats(command: GetVmStatsCommand, context: HostContext) -> GetVmStatsAnswer:
    """Three round trips for any number of VMs; more on a first poll or when disks changed."""
    before = context.memory.values.get(_VMS)
    if not isinstance(before, Counters):
        before = Counters(*await read_counters(context.cim))
        await asyncio.sleep(FIRST_INTERVAL)
    loads, (disk_use, nic_traffic) = await asyncio.gather(
        read_machine_loads(context.cim), read_counters(context.cim)
    )
    now = Counters(disk_use, nic_traffic)
    disks = await _disks_of_machines(context, disk_use)
    context.memory.values[_VMS] = now
    wanted = _wanted(loads, command.vm_names)
    return GetVmStatsAnswer(
        result=True,
        vm_stats_map={
            name: _vm_stats(load, disks.get(load.guid, ()), now, before)
            for name, load in wanted.items()
        },
    )


@handles(GetVmDiskStatsCommand, ordered_by=_one_poll, page="Phase 1: storage statistics")
async def get_vm_disk_stats(
    command: GetVmDiskStatsCommand, context: HostContext
) -> GetVmDiskStatsAnswer:
    """Counters of each disk since its VM started, and what was added since the previous poll."""
    loads, disk_use = await asyncio.gather(
        read_machine_loads(context.cim), read_disk_use(context.cim)
    )
    disks = await _disks_of_machines(context, disk_use)
    before = context.memory.values.get(_VM_DISKS)
    earlier = before.disks if isinstance(before, Counters) else disk_use
    context.memory.values[_VM_DISKS] = Counters(disk_use)
    return GetVmDiskStatsAnswer(
        result=True,
        host_name=command.host_name,
        vm_disk_stats_map={
            name: [
                _disk_stats(name, path, use, use_of_disk(earlier, path) or DiskUse())
                for path in disks.get(load.guid, ())
                if (use := use_of_disk(disk_use, path)) is not None
            ]
            for name, load in _wanted(loads, command.vm_names).items()
        },
    )


@handles(GetVmNetworkStatsCommand, ordered_by=_one_poll, page="Phase 1: statistics")
async def get_vm_network_stats(
    command: GetVmNetworkStatsCommand, context: HostContext
) -> GetVmNetworkStatsAnswer:
    """Bytes of each NIC since its VM started, by MAC address: three round trips."""
    loads, traffic, addresses = await asyncio.gather(
        read_machine_loads(context.cim),
        read_nic_traffic(context.cim),
        read_nic_addresses(context.cim),
    )
    return GetVmNetworkStatsAnswer(
        result=True,
        host_name=command.host_name,
        vm_network_stats_map={
            name: [
                VmNetworkStatsEntry(
                    vm_name=name,
                    mac_address=mac,
                    bytes_sent=traffic[machine, nic].sent,
                    bytes_received=traffic[machine, nic].received,
                )
                for (machine, nic), mac in addresses.items()
                if machine == load.guid and (machine, nic) in traffic
            ]
            for name, load in _wanted(loads, command.vm_names).items()
        },
    )


def _vm_stats(
    load: MachineLoad, disks: Iterable[str], now: Counters, before: Counters
) -> VmStatsEntry:
    disk = sum(
        (
            use.since(use_of_disk(before.disks, path) or DiskUse())
            for path in disks
            if (use := use_of_disk(now.disks, path)) is not None
        ),
        DiskUse(),
    )
    network = sum(
        (
            traffic.since(before.nics.get(key, Traffic()))
            for key, traffic in now.nics.items()
            if key[0] == load.guid
        ),
        Traffic(),
    )
    memory = float(load.memory_mib * KIB)
    free = memory * (load.memory_available or 0) / 100
    return VmStatsEntry(
        cpu_utilization=float(load.processor_load),
        num_cpus=load.processors,
        # What the counters say of "received" and "sent" is the VM's own view.
        network_read_kbs=network.received / KIB,
        network_write_kbs=network.sent / KIB,
        disk_read_ios=float(disk.read_operations),
        disk_write_ios=float(disk.write_operations),
        disk_read_kbs=disk.read_bytes / KIB,
        disk_write_kbs=disk.written_bytes / KIB,
        memory_kbs=memory,
        target_memory_kbs=memory,
        int_free_memory_kbs=free,
    )


def _disk_stats(name: str, path: str, now: DiskUse, before: DiskUse) -> VmDiskStatsEntry:
    added = now.since(before)
    return VmDiskStatsEntry(
        vm_name=name,
        path=split_extension(file_name(path))[0],
        io_read=now.read_operations,
        io_write=now.write_operations,
        bytes_read=now.read_bytes,
        bytes_write=now.written_bytes,
        delta_io_read=added.read_operations,
        delta_io_write=added.write_operations,
        delta_bytes_read=added.read_bytes,
        delta_bytes_write=added.written_bytes,
    )


def _wanted(loads: Iterable[MachineLoad], names: Iterable[str]) -> dict[str, MachineLoad]:
    """Return the running VMs that were asked for; of two with one name the first."""
    asked = set(names)
    found: dict[str, MachineLoad] = {}
    for load in loads:
        if load.running and load.name in asked:
            found.setdefault(load.name, load)
    return found


async def _disks_of_machines(
    context: HostContext, counters: Mapping[str, DiskUse]
) -> Mapping[str, tuple[str, ...]]:
    """Return who has which disk: from memory, or from the host where that cannot be right."""
    known = context.memory.values.get(_DISKS)
    if (
        isinstance(known, KnownDisks)
        and time.monotonic() - known.read_at < DISKS_STAY
        and not unknown_disks(
            counters, (path for paths in known.by_machine.values() for path in paths)
        )
    ):
        return known.by_machine
    by_machine: dict[str, tuple[str, ...]] = {}
    for attachment in await list_attachments(context.cim):
        guid = attachment.machine_guid
        by_machine[guid] = (*by_machine.get(guid, ()), attachment.path)
    context.memory.values[_DISKS] = KnownDisks(by_machine, time.monotonic())
    return by_machine
