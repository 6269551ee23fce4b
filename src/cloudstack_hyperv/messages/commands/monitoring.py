"""Commands that ask for measurements."""

from cloudstack_hyperv.messages.answers.monitoring import (
    GetGPUStatsAnswer,
    GetHostStatsAnswer,
    GetStorageStatsAnswer,
    GetVmDiskStatsAnswer,
    GetVmNetworkStatsAnswer,
    GetVmStatsAnswer,
    GetVolumeStatAnswer,
    GetVolumeStatsAnswer,
    PerformanceMonitorAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import AGENT_API
from cloudstack_hyperv.messages.objects.storage import DataStoreTO


@command(AGENT_API, answer=GetHostStatsAnswer)
class GetHostStatsCommand(Command):
    """Measure the host's load."""

    host_guid: str | None = None
    host_name: str | None = None
    host_id: int = 0


@command(AGENT_API, answer=GetVmStatsAnswer)
class GetVmStatsCommand(Command, kw_only=True):
    """Measure the load of these VMs."""

    vm_names: list[str]
    host_guid: str | None = None
    host_name: str | None = None


@command(AGENT_API, answer=GetVmDiskStatsAnswer)
class GetVmDiskStatsCommand(Command, kw_only=True):
    """Read the disk counters of these VMs."""

    vm_names: list[str]
    host_guid: str | None = None
    host_name: str | None = None


@command(AGENT_API, answer=GetVmNetworkStatsAnswer)
class GetVmNetworkStatsCommand(Command, kw_only=True):
    """Read the network counters of these VMs."""

    vm_names: list[str]
    host_guid: str | None = None
    host_name: str | None = None


@command(AGENT_API, answer=GetStorageStatsAnswer)
class GetStorageStatsCommand(Command):
    """Measure a pool (`id` is its uuid) or, with `store`, a secondary store."""

    id: str | None = None
    local_path: str | None = None
    pooltype: str | None = None
    sec_url: str | None = None
    store: DataStoreTO | None = None
    nfs_version: str | None = None


@command(AGENT_API, answer=GetVolumeStatsAnswer)
class GetVolumeStatsCommand(Command, kw_only=True):
    """Measure volumes; despite the name the list holds paths (file stems)."""

    volume_uuids: list[str]
    pool_type: str | None = None
    pool_uuid: str | None = None


@command(AGENT_API, answer=GetVolumeStatAnswer)
class GetVolumeStatCommand(Command):
    """Measure one volume."""

    volume_path: str | None = None
    pool_type: str | None = None
    pool_uuid: str | None = None


@command(AGENT_API, answer=GetGPUStatsAnswer)
class GetGPUStatsCommand(Command):
    """List the host's GPUs."""

    host_guid: str | None = None
    host_name: str | None = None


@command(AGENT_API, answer=PerformanceMonitorAnswer)
class PerformanceMonitorCommand(Command):
    """Read counters for automatic scaling (older)."""

    params: dict[str, str] | None = None
