"""Performance counters: how much the processors, disks and adapters have done so far.

Where frames are moved (`fabric`), adapters' counters are what the switch ports counted.  Otherwise
every counter is an integral over the time that its owner has been running, so it only grows, and
two readings a second apart differ by what a second is worth.  Raw classes give the integral;
formatted ones the difference to the last reading, so that their first one after a pause is 0, as
on Windows.

Sources: class dumps of Server 2019 (names and types), Microsoft's "Win32_PerfRawData"; how
instances are named (a disk's path with "-" for "\\", adapter "name_VM--NIC") from os-win and
CloudStack's and Microsoft's scripts.
"""

from __future__ import annotations

import ntpath
import zlib
from collections.abc import Iterator
from datetime import datetime

from cloudstack_hyperv.cim.constants import ResourceSubType
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.adapters import Adapters
from cloudstack_hyperv.emulator.host.clock import NEVER
from cloudstack_hyperv.emulator.host.fabric import Fabric
from cloudstack_hyperv.emulator.host.guest import DiskTraffic
from cloudstack_hyperv.emulator.host.inventory import Inventory
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.site import Site, strings, text
from cloudstack_hyperv.emulator.host.switch_rows import port_guid
from cloudstack_hyperv.emulator.switch import PortCounters

_TICKS = 10_000_000
"""100 ns intervals in a second."""
_ROOT_SHARE = 0.015
_UINT32 = 2**32
_READ_RATE, _WRITE_RATE = 400_000, 250_000
"""Bytes a second that a fully busy machine reads and writes on each disk."""
_RECEIVE_RATE, _SEND_RATE = 180_000, 120_000
_OPERATION = 16_384
_PACKET = 700


class Performance:
    """Counters of one host and its machines."""

    def __init__(
        self,
        site: Site,
        machines: Machines,
        adapters: Adapters,
        inventory: Inventory,
        fabric: Fabric,
    ) -> None:
        self._site = site
        self._fabric = fabric
        self._machines = machines
        self._adapters = adapters
        self._inventory = inventory
        self._last: dict[str, tuple[datetime, float]] = {}
        self._gone = 0.0
        machines.removed.append(self._remember)

    def _remember(self, machine: Machine) -> None:
        self._last.pop(machine.machine_id, None)

    def _stamps(self, now: datetime) -> dict[str, Value]:
        ticks = int((now - NEVER).total_seconds() * _TICKS)
        since_boot = int((now - self._inventory.booted).total_seconds() * _TICKS)
        return {
            "Timestamp_Sys100NS": ticks,
            "Timestamp_PerfTime": since_boot,
            "Timestamp_Object": ticks,
            "Frequency_Sys100NS": _TICKS,
            "Frequency_PerfTime": _TICKS,
            "Frequency_Object": _TICKS,
        }

    def _guest_seconds(self, now: datetime) -> float:
        """Processor seconds that all machines have used since the host booted."""
        return self._gone + sum(m.processors * m.busy_seconds(now) for m in self._machines)

    def account(self, machine: Machine) -> None:
        """Keep what a machine has used before its own count begins anew."""
        self._gone += machine.processors * machine.busy_seconds(self._site.timeline.now())

    # Processors ----------------------------------------------------------------------------

    def _logical(self, now: datetime) -> tuple[float, float]:
        """Return seconds since boot and the mean processor's run time in them."""
        up = (now - self._inventory.booted).total_seconds()
        count = self._site.config.logical_processors
        return up, min(up, up * _ROOT_SHARE + self._guest_seconds(now) / count)

    def logical_raw(self) -> Iterator[Row]:
        """Yield the raw logical processor counters, one row a processor and _Total."""
        now = self._site.timeline.now()
        up, busy = self._logical(now)
        guest = self._guest_seconds(now) / self._site.config.logical_processors
        stamps = self._stamps(now)
        names = [f"Hv LP {n}" for n in range(self._site.config.logical_processors)]
        for name in (*names, "_Total"):
            yield Row(
                "Win32_PerfRawData_HvStats_HyperVHypervisorLogicalProcessor",
                {
                    "Name": name,
                    "PercentTotalRunTime": int(busy * _TICKS),
                    "PercentGuestRunTime": int(guest * _TICKS),
                    "PercentHypervisorRunTime": int(busy * _TICKS * 0.05),
                    "PercentIdleTime": int((up - busy) * _TICKS),
                    "ContextSwitchesPersec": int(up * 2000),
                    **stamps,
                },
            )

    def logical_formatted(self) -> Iterator[Row]:
        """Yield the formatted logical processor counters."""
        now = self._site.timeline.now()
        _, busy = self._logical(now)
        share = self._share("logical", now, busy)
        names = [f"Hv LP {n}" for n in range(self._site.config.logical_processors)]
        for name in (*names, "_Total"):
            yield Row(
                "Win32_PerfFormattedData_HvStats_HyperVHypervisorLogicalProcessor",
                {
                    "Name": name,
                    "PercentTotalRunTime": share,
                    "PercentGuestRunTime": max(0, share - 2),
                    "PercentHypervisorRunTime": min(share, 1),
                    "PercentIdleTime": 100 - share,
                },
            )

    def _share(self, key: str, now: datetime, seconds: float) -> int:
        """Return percent of the time since the last reading; the first reading is 0."""
        earlier = self._last.get(key)
        self._last[key] = (now, seconds)
        if earlier is None or now <= earlier[0]:
            return 0
        return round(100 * (seconds - earlier[1]) / (now - earlier[0]).total_seconds())

    def root_formatted(self) -> Iterator[Row]:
        """Yield what Windows' own counters see: the parent partition only."""
        for number in ("0,_Total", "_Total"):
            yield Row(
                "Win32_PerfFormattedData_Counters_ProcessorInformation",
                {
                    "Name": number,
                    "PercentProcessorTime": 2,
                    "PercentIdleTime": 98,
                    "ProcessorFrequency": self._site.config.mhz,
                },
            )

    def _virtual_names(self) -> Iterator[tuple[str, Machine]]:
        """Yield instance names of virtual processors; equal names get `#1`."""
        seen: dict[str, int] = {}
        for machine in self._machines:
            if not machine.state.has_worker:
                continue
            number = seen.get(machine.name.casefold(), -1) + 1
            seen[machine.name.casefold()] = number
            suffix = f"#{number}" if number else ""
            for index in range(machine.processors):
                yield f"{machine.name}:Hv VP {index}{suffix}", machine

    def virtual_raw(self) -> Iterator[Row]:
        """Yield the raw virtual processor counters."""
        now = self._site.timeline.now()
        stamps = self._stamps(now)
        for name, machine in self._virtual_names():
            busy = machine.busy_seconds(now)
            yield Row(
                "Win32_PerfRawData_HvStats_HyperVHypervisorVirtualProcessor",
                {
                    "Name": name,
                    "PercentTotalRunTime": int(busy * _TICKS),
                    "PercentGuestRunTime": int(busy * _TICKS * 0.97),
                    "PercentHypervisorRunTime": int(busy * _TICKS * 0.03),
                    **stamps,
                },
            )

    def virtual_formatted(self) -> Iterator[Row]:
        """Yield the formatted virtual processor counters."""
        now = self._site.timeline.now()
        shares: dict[str, int] = {}
        for name, machine in self._virtual_names():
            if machine.machine_id not in shares:
                shares[machine.machine_id] = self._share(
                    machine.machine_id, now, machine.busy_seconds(now)
                )
            share = shares[machine.machine_id]
            yield Row(
                "Win32_PerfFormattedData_HvStats_HyperVHypervisorVirtualProcessor",
                {
                    "Name": name,
                    "PercentTotalRunTime": share,
                    "PercentGuestRunTime": share,
                    "PercentHypervisorRunTime": 0,
                },
            )

    def hypervisor(self) -> Iterator[Row]:
        """Yield counts of partitions and processors."""
        running = [m for m in self._machines if m.state.has_worker]
        yield Row(
            "Win32_PerfFormattedData_HvStats_HyperVHypervisor",
            {
                "Name": "",
                "LogicalProcessors": self._site.config.logical_processors,
                "Partitions": 1 + len(running),
                "VirtualProcessors": self._site.config.logical_processors
                + sum(m.processors for m in running),
            },
        )

    # Disks and adapters --------------------------------------------------------------------

    def storage_raw(self) -> Iterator[Row]:
        """Yield the raw counters of virtual disks that are open."""
        now = self._site.timeline.now()
        stamps = self._stamps(now)
        for machine in self._machines:
            if not machine.state.has_worker:
                continue
            busy = machine.busy_seconds(now) / max(machine.script.load, 0.01)
            for medium in machine.settings.media:
                if medium.values["ResourceSubType"] != ResourceSubType.VIRTUAL_HARD_DISK:
                    continue
                for path in strings(medium.values, "HostResource"):
                    traffic = self._disk_traffic(machine, path, busy)
                    yield Row(
                        "Win32_PerfRawData_Counters_HyperVVirtualStorageDevice",
                        {
                            "Name": disk_instance(path),
                            "ReadBytesPersec": traffic.bytes_read,
                            "WriteBytesPersec": traffic.bytes_written,
                            "ReadOperationsPerSec": traffic.reads % _UINT32,
                            "WriteOperationsPerSec": traffic.writes % _UINT32,
                            "ReadCount": traffic.reads % _UINT32,
                            "WriteCount": traffic.writes % _UINT32,
                            "ErrorCount": 0,
                            "FlushCount": traffic.flushes % _UINT32,
                            "QueueLength": 0,
                            **stamps,
                        },
                    )

    def _disk_traffic(self, machine: Machine, path: str, busy: float) -> DiskTraffic:
        counted = machine.guest.disk_traffic(path) if machine.guest is not None else None
        if counted is not None:
            return counted
        share = 0.5 + zlib.crc32(path.encode()) % 100 / 100
        read, written = busy * _READ_RATE * share, busy * _WRITE_RATE * share
        return DiskTraffic(
            int(read), int(written), int(read / _OPERATION), int(written / _OPERATION), int(busy)
        )

    def network_raw(self) -> Iterator[Row]:
        """Yield the raw counters of machines' network adapters."""
        now = self._site.timeline.now()
        stamps = self._stamps(now)
        for machine in self._machines:
            if not machine.state.has_worker:
                continue
            busy = machine.busy_seconds(now) / max(machine.script.load, 0.01)
            for nic in machine.settings.nics:
                nic_id = str(nic.values["InstanceID"]).rsplit("\\", 1)[1]
                traffic = self._counted(machine, nic)
                if traffic is None:
                    share = 0.5 + zlib.crc32(nic_id.encode()) % 100 / 100
                    received, sent = busy * _RECEIVE_RATE * share, busy * _SEND_RATE * share
                    traffic = PortCounters(
                        int(sent), int(sent / _PACKET), int(received), int(received / _PACKET)
                    )
                name = f"{text(nic.values, 'ElementName')}_{machine.machine_id}--{nic_id}"
                yield Row(
                    "Win32_PerfRawData_NvspNicStats_HyperVVirtualNetworkAdapter",
                    {
                        "Name": name,
                        "BytesReceivedPersec": traffic.bytes_received,
                        "BytesSentPersec": traffic.bytes_sent,
                        "BytesPersec": traffic.bytes_received + traffic.bytes_sent,
                        "PacketsReceivedPersec": traffic.packets_received,
                        "PacketsSentPersec": traffic.packets_sent,
                        "PacketsPersec": traffic.packets_received + traffic.packets_sent,
                        "DroppedPacketsIncomingPersec": sum(traffic.dropped_incoming.values()),
                        "DroppedPacketsOutgoingPersec": sum(traffic.dropped_outgoing.values()),
                        **stamps,
                    },
                )

    def _counted(self, machine: Machine, nic: Row) -> PortCounters | None:
        """Return what a card's switch port has counted, None where no frames move."""
        if not self._fabric.is_live:
            return None
        for connection in machine.settings.children(str(nic.values["InstanceID"])):
            return self._fabric.counters(port_guid(connection))
        return PortCounters()

    def interfaces_raw(self) -> Iterator[Row]:
        """Yield the raw counters of the host's interfaces."""
        now = self._site.timeline.now()
        up = (now - self._inventory.booted).total_seconds()
        guests = sum(m.busy_seconds(now) / max(m.script.load, 0.01) for m in self._machines)
        stamps = self._stamps(now)
        for adapter in self._adapters.all():
            received = up * 20_000 + (guests * _RECEIVE_RATE if adapter.is_physical else 0)
            sent = up * 15_000 + (guests * _SEND_RATE if adapter.is_physical else 0)
            yield Row(
                "Win32_PerfRawData_Tcpip_NetworkInterface",
                {
                    "Name": adapter.description.replace("(", "[").replace(")", "]"),
                    "BytesReceivedPersec": int(received),
                    "BytesSentPersec": int(sent),
                    "BytesTotalPersec": int(received) + int(sent),
                    "PacketsReceivedPersec": int(received / _PACKET),
                    "PacketsSentPersec": int(sent / _PACKET),
                    "PacketsPersec": int((received + sent) / _PACKET),
                    "CurrentBandwidth": adapter.speed,
                    **stamps,
                },
            )

    # Memory --------------------------------------------------------------------------------

    def dynamic_memory(self) -> Iterator[Row]:
        """Yield the balancer's view of machines with dynamic memory."""
        now = self._site.timeline.now()
        for machine in self._machines:
            if not machine.state.has_worker or not machine.has_dynamic_memory:
                continue
            used = machine.memory_usage(now)
            pressure = 60 + machine.load_percent(now) // 4
            yield Row(
                "Win32_PerfFormattedData_BalancerStats_HyperVDynamicMemoryVM",
                {
                    "Name": machine.name,
                    "PhysicalMemory": used,
                    "GuestVisiblePhysicalMemory": used,
                    "GuestAvailableMemory": used // 4,
                    "CurrentPressure": pressure,
                    "AveragePressure": pressure,
                    "MaximumPressure": 100,
                    "MinimumPressure": 50,
                    "AddedMemory": 0,
                    "RemovedMemory": 0,
                },
            )

    def root_memory(self) -> Iterator[Row]:
        """Yield Windows' own memory counters."""
        free = self._inventory.free_memory_kib()
        yield Row(
            "Win32_PerfFormattedData_PerfOS_Memory",
            {
                "Name": "",
                "AvailableBytes": free * 1024,
                "AvailableKBytes": free,
                "AvailableMBytes": free // 1024,
                "CommittedBytes": self._site.config.root_memory_mib * 2**20,
            },
        )

    def partitions(self) -> Iterator[Row]:
        """Yield physical pages of running machines."""
        now = self._site.timeline.now()
        for machine in self._machines:
            if machine.state.has_worker:
                yield Row(
                    "Win32_PerfFormattedData_VidPerfProvider_HyperVVMVidPartition",
                    {
                        "Name": f"{machine.name}:{machine.process_id}",
                        "PhysicalPagesAllocated": machine.memory_usage(now) * 256,
                        "PreferredNUMANodeIndex": 0,
                        "RemotePhysicalPages": 0,
                    },
                )

    def health(self) -> Iterator[Row]:
        """Yield how many machines are well."""
        critical = sum(1 for machine in self._machines if machine.critical)
        yield Row(
            "Win32_PerfFormattedData_VmmsVirtualMachineStats_HyperVVirtualMachineHealthSummary",
            {"Name": "", "HealthCritical": critical, "HealthOk": len(self._machines) - critical},
        )


def disk_instance(path: str) -> str:
    """Return the counter instance of a disk's path."""
    return ntpath.normpath(path).replace("\\", "-")
