r"""Counters of a host and its VMs, in few requests however many VMs there are.

A raw counter is a sum since boot; a rate is the difference of two samples.  The formatted classes
need two samples inside the host's provider and answer 0 after idle time, so only raw ones are
read.  The processors' load is that of the hypervisor's logical processors: what Windows calls CPU
load (Win32_Processor.LoadPercentage) is the parent partition alone.

An instance name is not a path: a virtual disk's is its path with `\` as `-`, a NIC's ends with
`<VM GUID>--<NIC GUID>`.  Performance names have no `( ) # /`; both sides are made alike before
they are compared, and a long name may be cut.

Source: Microsoft, "Win32_PerfRawData"; counter names as class dumps of Server 2019 show them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.wsman.api import CimClient, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select

_PROCESSOR: Final = "Win32_PerfRawData_HvStats_HyperVHypervisorLogicalProcessor"
_DISK: Final = "Win32_PerfRawData_Counters_HyperVVirtualStorageDevice"
_NIC: Final = "Win32_PerfRawData_NvspNicStats_HyperVVirtualNetworkAdapter"
_INTERFACE: Final = "Win32_PerfRawData_Tcpip_NetworkInterface"
_VIRTUAL_INTERFACE: Final = "hyper-v virtual ethernet adapter"
_NO_INTERFACE: Final = ("isatap", "teredo", "loopback", "6to4")
_NIC_NAME: Final = re.compile(
    r"(?P<vm>[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})--(?P<nic>[0-9A-F-]{36})", re.IGNORECASE
)
_PERFORMANCE_NAME: Final = str.maketrans({"\\": "-", "/": "-", "(": "[", ")": "]", "#": "_"})
UINT32: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class ProcessorSample:
    """Run time of each logical processor, and when it was read; both in 100 ns."""

    run_time: Mapping[str, int]
    timestamp: int

    def load_since(self, earlier: ProcessorSample) -> float | None:
        """Return the whole host's load in percent, None if the samples cannot be compared."""
        elapsed = self.timestamp - earlier.timestamp
        common = self.run_time.keys() & earlier.run_time.keys()
        if elapsed <= 0 or not common:
            return None
        ran = sum(self.run_time[name] - earlier.run_time[name] for name in common)
        if ran < 0:
            return None  # the host booted in between
        return min(100.0, 100.0 * ran / (elapsed * len(common)))


@dataclass(frozen=True, slots=True)
class PhysicalMemory:
    """Kibibytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes so far."""

    received: int = 0
    sent: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.received + other.received, self.sent + other.sent)

    def since(self, earlier: Traffic) -> Traffic:
        """Return what was added; a counter that began anew counts from zero."""
        return Traffic(
            _difference(self.received, earlier.received), _difference(self.sent, earlier.sent)
        )


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Operations and bytes so far.  The host counts operations in 32 bits."""

    read_operations: int = 0
    write_operations: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    def __add__(self, other: DiskUse) -> DiskUse:
        return DiskUse(
            self.read_operations + other.read_operations,
            self.write_operations + other.write_operations,
            self.read_bytes + other.read_bytes,
            self.written_bytes + other.written_bytes,
        )

    def since(self, earlier: DiskUse) -> DiskUse:
        """Return what was added; a counter that began anew counts from zero."""
        restarted = (
            self.read_bytes < earlier.read_bytes or self.written_bytes < earlier.written_bytes
        )
        if restarted:
            return self
        return DiskUse(
            (self.read_operations - earlier.read_operations) % UINT32,
            (self.write_operations - earlier.write_operations) % UINT32,
            self.read_bytes - earlier.read_bytes,
            self.written_bytes - earlier.written_bytes,
        )


async def sample_processors(client: CimClient) -> ProcessorSample:
    """Read the run time of the logical processors: one round trip."""
    with translated("read the host's processor counters"):
        rows = await client.query(
            Select(_PROCESSOR, properties=("Name", "PercentTotalRunTime", "Timestamp_Sys100NS")),
            namespace=NAMESPACE_CIMV2,
        )
    singles = [row for row in rows if row.string("Name") != "_Total"] or rows
    if not singles:
        raise HypervisorError("the host has no counters of its logical processors")
    return ProcessorSample(
        {row.require("Name"): row.uint("PercentTotalRunTime") or 0 for row in singles},
        max(row.uint("Timestamp_Sys100NS") or 0 for row in singles),
    )


async def read_memory(client: CimClient) -> PhysicalMemory:
    """Read total and free memory as Windows sees them (VMs' memory is taken): one round trip."""
    with translated("read the host's memory"):
        rows = await client.query(
            Select(
                "Win32_OperatingSystem",
                properties=("TotalVisibleMemorySize", "FreePhysicalMemory"),
            ),
            namespace=NAMESPACE_CIMV2,
        )
    total = rows[0].uint("TotalVisibleMemorySize") if rows else None
    free = rows[0].uint("FreePhysicalMemory") if rows else None
    if not total or free is None:
        raise HypervisorError("the host does not tell its memory")
    return PhysicalMemory(total, free)


async def read_host_traffic(client: CimClient) -> Traffic:
    """Read the bytes of the host's physical interfaces since boot: one round trip.

    What VMs send passes a physical interface too; the parent partition's virtual ones would be
    counted twice and are left out unless there are no others.
    """
    with translated("read the host's network counters"):
        rows = await client.query(
            Select(_INTERFACE, properties=("Name", "BytesReceivedPersec", "BytesSentPersec")),
            namespace=NAMESPACE_CIMV2,
        )
    named = [(performance_key(row.string("Name") or ""), row) for row in rows]
    real = [(name, row) for name, row in named if not name.startswith(_NO_INTERFACE)]
    physical = [row for name, row in real if not name.startswith(_VIRTUAL_INTERFACE)]
    return sum((_traffic(row) for row in physical or [row for _, row in real]), Traffic())


async def read_disk_use(client: CimClient) -> dict[str, DiskUse]:
    """Read the counters of all virtual disks by `performance_key` of their path: one round trip."""
    with translated("read the disk counters"):
        rows = await client.query(
            Select(
                _DISK,
                properties=(
                    "Name",
                    "ReadOperationsPerSec",
                    "WriteOperationsPerSec",
                    "ReadBytesPersec",
                    "WriteBytesPersec",
                ),
            ),
            namespace=NAMESPACE_CIMV2,
        )
    return {
        performance_key(row.string("Name") or ""): DiskUse(
            row.uint("ReadOperationsPerSec") or 0,
            row.uint("WriteOperationsPerSec") or 0,
            row.uint("ReadBytesPersec") or 0,
            row.uint("WriteBytesPersec") or 0,
        )
        for row in rows
    }


async def read_nic_traffic(client: CimClient) -> dict[tuple[str, str], Traffic]:
    """Read the counters of all VMs' NICs by (VM GUID, NIC GUID), upper case: one round trip."""
    with translated("read the NIC counters"):
        rows = await client.query(
            Select(_NIC, properties=("Name", "BytesReceivedPersec", "BytesSentPersec")),
            namespace=NAMESPACE_CIMV2,
        )
    found: dict[tuple[str, str], Traffic] = {}
    for row in rows:
        match = _NIC_NAME.search(row.string("Name") or "")
        if match is not None:
            found[match["vm"].upper(), match["nic"].upper()] = _traffic(row)
    return found


async def read_counters(
    client: CimClient,
) -> tuple[dict[str, DiskUse], dict[tuple[str, str], Traffic]]:
    """Read disk and NIC counters side by side: two round trips."""
    return await asyncio.gather(read_disk_use(client), read_nic_traffic(client))


def performance_key(name: str) -> str:
    """Return a path or instance name in the form in which the two are compared."""
    return name.translate(_PERFORMANCE_NAME).casefold()


def use_of_disk(counters: Mapping[str, DiskUse], path: str) -> DiskUse | None:
    """Return the counters of the disk at `path`; a name that the host cut still matches."""
    key = performance_key(path)
    exact = counters.get(key)
    if exact is not None:
        return exact
    cut = [name for name in counters if len(name) >= SHORTEST_CUT and key.startswith(name)]
    return counters[cut[0]] if len(cut) == 1 else None


SHORTEST_CUT: Final = 60
"""Length from which on an instance name may be the beginning of a longer path."""


def unknown_disks(counters: Iterable[str], known: Iterable[str]) -> set[str]:
    """Return the instance names that belong to none of the known paths."""
    keys = [performance_key(path) for path in known]
    exact = set(keys)
    return {
        name
        for name in counters
        if name not in exact
        and name != "_total"
        and not (len(name) >= SHORTEST_CUT and any(key.startswith(name) for key in keys))
    }


def _traffic(row: Instance) -> Traffic:
    return Traffic(row.uint("BytesReceivedPersec") or 0, row.uint("BytesSentPersec") or 0)


def _difference(now: int, before: int) -> int:
    return now - before if now >= before else now
