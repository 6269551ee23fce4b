"""StartupCommand: who the host is, completed in the array that the management server posted.

HypervDirectConnectResource.initialize compares six fields (dataCenter, pod, cluster, guid, name,
privateIpAddress) and drops the host unless they come back as they were sent, so the command is
copied with changes.  Two elements always: without the second a NullPointerException ends every
connect at the shipped log level, so where no local pool is offered the second carries none.

`hypervisorVersion` and `product_version` are `6.2` whatever Windows runs: hypervisor_capabilities
has one row for Hyper-V, and another version means 50 guests and a NullPointerException when a data
disk is attached (HypervisorCapabilitiesDaoImpl).  The true build stands under `Host.OS*`, the keys
of the KVM agent.

What cannot be read is an error, never a half-filled answer: the server stores it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.inventory import (
    HostInventory,
    HostVolume,
    PrivateInterface,
    interface_with,
    read_inventory,
    volume_of,
)
from cloudstack_hyperv.messages import copy_with
from cloudstack_hyperv.messages.commands.startup import (
    StartupRoutingCommand,
    StartupStorageCommand,
)
from cloudstack_hyperv.messages.enums import HostType, StoragePoolType, StorageResourceType
from cloudstack_hyperv.messages.objects.storage import StoragePoolInfo
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_cluster import known_cluster
from cloudstack_hyperv.resource.known_machines import remember_host
from cloudstack_hyperv.resource.storage_access import (
    StorageAccess,
    local_pool_uuid,
    storage_access,
)
from cloudstack_hyperv.storage.host_files import HostFileError, VolumeSpace
from cloudstack_hyperv.storage.windows_paths import checked_path

log = structlog.get_logger(__name__)

CAPABILITIES_VERSION: Final = "6.2"
"""The only version of Hyper-V in CloudStack's table of capabilities."""
RDP_PORT: Final = "2179"
"""Where VMMS serves the VMs' consoles; CloudStack looks it up by `rdp.server.port`."""
_MIB: Final = 1 << 20


async def startup(
    command: StartupRoutingCommand, context: HostContext
) -> tuple[StartupRoutingCommand, StartupStorageCommand]:
    """Complete the command and add the local pool; raises rather than guess.

    Seven round trips side by side.  Leftovers of crashed copies are removed from the pool's folder.
    """
    if not command.private_ip_address:
        raise CommandRefused("StartupRoutingCommand: privateIpAddress is missing")
    inventory, _ = await asyncio.gather(read_inventory(context.cim), known_cluster(context))
    remember_host(context, build=inventory.windows.build, mhz=inventory.processors.mhz)
    routing = _routing(command, context, inventory)
    return routing, await _storage(command, context, inventory)


def _routing(
    command: StartupRoutingCommand, context: HostContext, inventory: HostInventory
) -> StartupRoutingCommand:
    private_address = command.private_ip_address or ""
    private = _interface(private_address, context, inventory)
    storage = _interface(command.storage_ip_address or private_address, context, inventory)
    windows, processors = inventory.windows, inventory.processors
    details = dict(command.host_details) | {
        "product_version": CAPABILITIES_VERSION,
        "rdp.server.port": RDP_PORT,
        "Host.OS": windows.caption,
        "Host.OS.Version": windows.version,
        "Host.OS.Kernel.Version": windows.build,
    }
    if context.host.emulated:
        details["emulated"] = "true"
    reserved = context.host.reserved_memory_mb * _MIB
    if reserved >= inventory.memory:
        raise CommandRefused(
            f"reserved_memory_mb ({context.host.reserved_memory_mb}) is not less than the host's "
            f"memory ({inventory.memory // _MIB} MB)"
        )
    return copy_with(
        command,
        private_netmask=private.netmask,
        private_mac_address=private.mac,
        storage_ip_address=storage.address,
        storage_netmask=storage.netmask,
        storage_mac_address=storage.mac,
        gateway_ip_address=private.gateway,
        caps="hvm",
        cpu_sockets=processors.sockets,
        cpus=processors.logical,
        speed=processors.mhz,
        cpu_arch=processors.architecture,
        memory=inventory.memory,
        dom0_min_memory=reserved,
        hypervisor_version=CAPABILITIES_VERSION,
        host_details=details,
    )


def _interface(address: str, context: HostContext, inventory: HostInventory) -> PrivateInterface:
    """Return the host's interface with an address that CloudStack knows it by.

    On the direct door that is the agent's address for this host; the interface is then the one
    with the host's own address.
    """
    try:
        return interface_with(inventory.nics, address)
    except HypervisorError:
        own, host = context.private_address, context.host
        if address not in (host.listen, host.gateway_address) or own == address:
            raise
        return interface_with(inventory.nics, own)


async def _storage(
    command: StartupRoutingCommand, context: HostContext, inventory: HostInventory
) -> StartupStorageCommand:
    address = command.private_ip_address or ""
    if not context.host.offer_local_pool:
        return StartupStorageCommand(
            data_center=command.data_center,
            guid=f"{command.guid}-no-local-pool",
            resource_type=StorageResourceType.STORAGE_POOL.value,
        )
    folder = checked_path(context.host.local_pool or inventory.default_disk_folder)
    pool_uuid = local_pool_uuid(address, folder)
    access = storage_access(context)
    access.pools[pool_uuid] = folder
    await _prepare_folder(access, folder)
    space = await _space(context, folder, volume_of(inventory.volumes, folder))
    return StartupStorageCommand(
        type=HostType.STORAGE.value,
        data_center=command.data_center,
        pod=command.pod,
        guid=pool_uuid,
        name=command.name,
        version=command.version,
        parent=folder,
        total_size=space.capacity,
        resource_type=StorageResourceType.STORAGE_POOL.value,
        fs_type=StoragePoolType.FILESYSTEM.value,
        template_info={},
        pool_info=StoragePoolInfo(
            uuid=pool_uuid,
            host=address,
            local_path=folder,
            host_path=folder,
            pool_type=StoragePoolType.FILESYSTEM.value,
            capacity_bytes=space.capacity,
            available_bytes=space.available,
        ),
    )


async def _prepare_folder(access: StorageAccess, folder: str) -> None:
    """Make the pool's folder where a way leads to it, and remove what crashed copies left."""
    files = access.context.files
    try:
        await files.make_folder(folder)
        await access.temporary.remove_leftovers(files, folder, time.time())
    except HostFileError as error:
        # The pool is offered all the same: ModifyStoragePool will fail on it and say why.
        log.warning("the local pool's folder cannot be prepared", reason=str(error))


async def _space(context: HostContext, folder: str, volume: HostVolume | None) -> VolumeSpace:
    if volume is not None:
        return VolumeSpace(volume.capacity, volume.free)
    space = await context.files.space(folder)
    if space is None:
        raise CommandRefused(f"nothing tells the capacity of the local pool {folder}")
    return space
