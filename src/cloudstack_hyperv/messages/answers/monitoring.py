"""Answers with measurements.  Every field says its unit; the server does not convert."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.java import AGENT_API
from cloudstack_hyperv.messages.objects.storage import VolumeStatsEntry
from cloudstack_hyperv.messages.objects.vm import VgpuTypesInfo
from cloudstack_hyperv.messages.wire import WireObject


class HostStatsEntry(WireObject):
    """Load of a host: processor in percent of the whole host, the rest in kilobytes."""

    host_id: int = 0
    entity_type: str | None = "host"
    cpu_utilization: float = 0.0
    average_load: float = 0.0
    network_read_kbs: float = msgspec.field(default=0.0, name="networkReadKBs")
    network_write_kbs: float = msgspec.field(default=0.0, name="networkWriteKBs")
    total_memory_kbs: float = msgspec.field(default=0.0, name="totalMemoryKBs")
    free_memory_kbs: float = msgspec.field(default=0.0, name="freeMemoryKBs")


@answer(AGENT_API)
class GetHostStatsAnswer(Answer):
    """Load of the host."""

    host_stats: HostStatsEntry | None = None


class VmStatsEntry(WireObject):
    """Load of a VM since the previous poll: processor in percent of its own processors."""

    vm_id: int = 0
    vm_uuid: str | None = None
    cpu_utilization: float = 0.0
    network_read_kbs: float = msgspec.field(default=0.0, name="networkReadKBs")
    network_write_kbs: float = msgspec.field(default=0.0, name="networkWriteKBs")
    disk_read_ios: float = msgspec.field(default=0.0, name="diskReadIOs")
    disk_write_ios: float = msgspec.field(default=0.0, name="diskWriteIOs")
    disk_read_kbs: float = msgspec.field(default=0.0, name="diskReadKBs")
    disk_write_kbs: float = msgspec.field(default=0.0, name="diskWriteKBs")
    memory_kbs: float = msgspec.field(default=0.0, name="memoryKBs")
    int_free_memory_kbs: float = msgspec.field(default=0.0, name="intFreeMemoryKBs")
    target_memory_kbs: float = msgspec.field(default=0.0, name="targetMemoryKBs")
    num_cpus: int = msgspec.field(default=0, name="numCPUs")
    entity_type: str | None = "vm"


@answer(AGENT_API)
class GetVmStatsAnswer(Answer):
    """Load by VM name; a VM that is not here is left out."""

    vm_stats_map: dict[str, VmStatsEntry] | None = None


class VmDiskStatsEntry(WireObject):
    """Counters of a VM's disk: operations and bytes since its start."""

    vm_name: str | None = None
    path: str | None = None
    io_read: int = 0
    io_write: int = 0
    bytes_write: int = 0
    bytes_read: int = 0
    delta_io_read: int = 0
    delta_io_write: int = 0
    delta_bytes_write: int = 0
    delta_bytes_read: int = 0


@answer(AGENT_API)
class GetVmDiskStatsAnswer(Answer):
    """Disk counters by VM name."""

    host_name: str | None = None
    vm_disk_stats_map: dict[str, list[VmDiskStatsEntry]] | None = None


class VmNetworkStatsEntry(WireObject):
    """Bytes of a NIC since its start; the MAC address in lower case with colons."""

    vm_name: str | None = None
    mac_address: str | None = None
    bytes_sent: int = 0
    bytes_received: int = 0


@answer(AGENT_API)
class GetVmNetworkStatsAnswer(Answer):
    """Network counters by VM name."""

    host_name: str | None = None
    vm_network_stats_map: dict[str, list[VmNetworkStatsEntry]] | None = None


@answer(AGENT_API)
class GetStorageStatsAnswer(Answer):
    """Use of a pool in bytes, written under the names of 4.20.1 and of older releases."""

    used_bytes: int = 0
    capacity_bytes: int = 0
    capacity_iops: int | None = None
    used_iops: int | None = None


@answer(AGENT_API)
class GetVolumeStatsAnswer(Answer):
    """Sizes by the same names by which the request asked."""

    pool_uuid: str | None = None
    pool_type: str | None = None
    volume_stats: dict[str, VolumeStatsEntry] | None = None


@answer(AGENT_API)
class GetVolumeStatAnswer(Answer):
    """Sizes of one volume in bytes."""

    pool_uuid: str | None = None
    pool_type: str | None = None
    volume_path: str | None = None
    size: int = 0
    virtual_size: int = 0


@answer(AGENT_API)
class GetGPUStatsAnswer(Answer):
    """The GPUs that the host offers, by group and kind."""

    group_details: dict[str, dict[str, VgpuTypesInfo]] = msgspec.field(default_factory=dict)
    gpu_devices: list[VgpuTypesInfo] = msgspec.field(default_factory=list)


@answer(AGENT_API)
class PerformanceMonitorAnswer(Answer):
    """Counters for automatic scaling (older)."""
