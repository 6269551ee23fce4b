"""GetVmIpAddressCommand: the address that a guest got from a DHCP server that is not CloudStack's.

The answer's `details` is the address.  With a MAC address (4.20.1 and later) only that NIC counts,
with a network's CIDR only an address in it.  A guest that says nothing is a failure: the server
asks again later.

Sources: CloudStack's `UserVmManagerImpl` (VmIpAddrFetchThread),
`LibvirtGetVmIpAddressCommandWrapper`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound
from cloudstack_hyperv.hypervisor.guest_addresses import (
    read_exchanged_addresses,
    read_guest_addresses,
)
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.commands.vm import GetVmIpAddressCommand
from cloudstack_hyperv.network import UnusableNetwork, normal_mac
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import find_ours
from cloudstack_hyperv.resource.registry import handles

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@handles(
    GetVmIpAddressCommand,
    ordered_by=lambda command: (f"vm:{command.vm_name}",),
    page="Phase 1: network",
)
async def get_vm_ip_address(command: GetVmIpAddressCommand, context: HostContext) -> Answer:
    """Tell the guest's IPv4 address."""
    network = _network(command.vm_network_cidr)
    machine = await find_ours(context, command.vm_name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host has no VM {command.vm_name}")
    mac = None
    if command.mac_address:
        try:
            mac = normal_mac(command.mac_address)
        except UnusableNetwork as error:
            raise CommandRefused(f"address of VM {command.vm_name}: {error}") from None
    address = chosen_address(await _addresses(context, machine, mac), network)
    if address is None:
        raise CommandRefused(f"the guest of VM {command.vm_name} tells no address")
    return Answer(result=True, details=address)


def chosen_address(addresses: Iterable[str], network: _Network | None) -> str | None:
    """Return the first IPv4 address that is not link-local and lies in the network.  Pure."""
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        if address.version != 4 or address.is_link_local or address.is_loopback:
            continue
        if network is None or address in network:
            return str(address)
    return None


async def _addresses(context: HostContext, machine: Machine, mac: str | None) -> tuple[str, ...]:
    by_nic = await read_guest_addresses(context.cim, machine.guid)
    if mac is None:
        found = tuple(address for each in by_nic.values() for address in each)
        return found or await read_exchanged_addresses(context.cim, machine.guid)
    devices = await read_devices(context.cim, machine.guid, machine.cloudstack_name)
    adapters = [adapter for adapter in devices.adapters if adapter.mac == mac]
    ids = [(a.path.key("InstanceID") or "").rpartition("\\")[2].strip("{}") for a in adapters]
    return tuple(address for each in ids for address in by_nic.get(each.upper(), ()))


def _network(cidr: str | None) -> _Network | None:
    if not cidr:
        return None
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        raise CommandRefused(f"{cidr[:60]!r} is not a network") from None
