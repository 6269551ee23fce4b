"""Start-up: what a host says of itself when it connects.

On the direct door the management server sends an array of one `StartupRoutingCommand` with
nothing but names in it and wants the same array back, completed, with a `StartupStorageCommand`
behind it (see `registry.decode_commands` and `registry.encode_commands`).
"""

import msgspec

from cloudstack_hyperv.messages.answers.host import StartupAnswer
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import AGENT_API
from cloudstack_hyperv.messages.objects.storage import StoragePoolInfo, TemplateProp
from cloudstack_hyperv.messages.objects.vm import VgpuTypesInfo


@command(AGENT_API, answer=StartupAnswer)
class StartupCommand(Command):
    """Who a host is.  The server checks that the first six fields come back unchanged."""

    data_center: str | None = None
    pod: str | None = None
    cluster: str | None = None
    guid: str | None = None
    name: str | None = None
    private_ip_address: str | None = None
    type: str | None = None
    id: int | None = None
    version: str | None = None
    iqn: str | None = None
    public_ip_address: str | None = None
    public_netmask: str | None = None
    public_mac_address: str | None = None
    private_mac_address: str | None = None
    private_netmask: str | None = None
    storage_ip_address: str | None = None
    storage_netmask: str | None = None
    storage_mac_address: str | None = None
    storage_ip_address_deux: str | None = None
    storage_mac_address_deux: str | None = None
    storage_netmask_deux: str | None = None
    agent_tag: str | None = None
    resource_name: str | None = None
    gateway_ip_address: str | None = None
    ms_host_list: str | None = None
    connection_transferred: bool = False
    arch: str | None = None


@command(AGENT_API, answer=StartupAnswer)
class StartupRoutingCommand(StartupCommand):
    """A hypervisor host: `speed` in MHz, memory in bytes.

    `hypervisor_version` and `host_details["product_version"]` must both read `6.2`, the only
    version for which CloudStack knows Hyper-V's limits.
    """

    cpu_sockets: int | None = None
    cpus: int = 0
    speed: int = 0
    cpu_arch: str | None = None
    memory: int = 0
    dom0_min_memory: int = 0
    pool_sync: bool = False
    supports_cloned_volumes: bool = False
    caps: str | None = None
    pool: str | None = None
    hypervisor_type: str | None = None
    host_details: dict[str, str] = msgspec.field(default_factory=dict)
    host_tags: list[str] = msgspec.field(default_factory=list)
    hypervisor_version: str | None = None
    group_details: dict[str, dict[str, VgpuTypesInfo]] = msgspec.field(default_factory=dict)
    gpu_devices: list[VgpuTypesInfo] = msgspec.field(default_factory=list)
    host_health_check_result: bool | None = None


@command(AGENT_API, answer=StartupAnswer)
class StartupStorageCommand(StartupCommand):
    """Local storage of a host; without `pool_info` the server makes no pool of it."""

    parent: str | None = None
    template_info: dict[str, TemplateProp] | None = None
    total_size: int = 0
    pool_info: StoragePoolInfo | None = None
    resource_type: str | None = None
    fs_type: str | None = None
    host_details: dict[str, str] = msgspec.field(default_factory=dict)
    nfs_share: str | None = None


@command(AGENT_API, answer=StartupAnswer)
class StartupProxyCommand(StartupCommand):
    """A console proxy VM."""

    proxy_port: int = 0
    proxy_vm_id: int = 0


@command(AGENT_API, answer=StartupAnswer)
class StartupSecondaryStorageCommand(StartupCommand):
    """A secondary storage VM."""


@command(AGENT_API, answer=StartupAnswer)
class StartupExternalDhcpCommand(StartupCommand):
    """An external DHCP server."""


@command(AGENT_API, answer=StartupAnswer)
class StartupExternalFirewallCommand(StartupCommand):
    """An external firewall."""


@command(AGENT_API, answer=StartupAnswer)
class StartupExternalLoadBalancerCommand(StartupCommand):
    """An external load balancer."""


@command(AGENT_API, answer=StartupAnswer)
class StartupPxeServerCommand(StartupCommand):
    """A PXE server for bare metal."""


@command(AGENT_API, answer=StartupAnswer)
class StartupTrafficMonitorCommand(StartupCommand):
    """An external traffic monitor."""
