"""PvlanSetupCommand: the private VLAN of a NIC, once more after the VM was started with it.

The management server sends it after each start of a VM or router on a `pvlan://` network, and a
failure fails the start.  On Hyper-V the port got its private VLAN from the NIC's URI before its
cable went in (StartCommand, PlugNicCommand), so what is left is to look, and to set what is not
so.  The command names the VM's NIC by its MAC address alone.

`delete` takes nothing away: the port goes with its VM, and a port without its private VLAN would
be on the untagged network until then.

Source: CloudStack's `PvlanSetupCommand`, LibvirtPvlanSetupCommandWrapper, NetworkOrchestrator and
DhcpNetworkRules (who sends it).
"""

from __future__ import annotations

from cloudstack_hyperv.hypervisor.adapters import adapter_by_mac, read_adapters
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound, WrongState
from cloudstack_hyperv.hypervisor.machines import Machine, require_ours
from cloudstack_hyperv.hypervisor.nic_addresses import read_nic_addresses
from cloudstack_hyperv.hypervisor.port_features import change_vlan, verify_vlans
from cloudstack_hyperv.messages import Answer
from cloudstack_hyperv.messages.commands.network import PvlanSetupCommand
from cloudstack_hyperv.network import (
    PrivateRole,
    UnusableNetwork,
    normal_mac,
    private_vlan,
    spelled_mac,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import machine_directory
from cloudstack_hyperv.resource.registry import handles

_SERVES = "DHCP"
"""`PvlanSetupCommand$Type` of a router's NIC; guests' are `VM`."""


def _keys(command: PvlanSetupCommand) -> tuple[str, ...]:
    # The VM's name is not known yet.  What another command does to the NIC meanwhile shows when the
    # VLAN is read back.
    return (f"nic:{command.vm_mac or command.dhcp_mac}",)


@handles(PvlanSetupCommand, ordered_by=_keys)
async def pvlan_setup(command: PvlanSetupCommand, context: HostContext) -> Answer:
    """Set a NIC's private VLAN; the same command again changes nothing."""
    serves = (command.type or "").upper() == _SERVES
    text = command.dhcp_mac if serves else command.vm_mac
    what = f"set the private VLAN of NIC {text}"
    if command.op == "delete":
        return Answer(result=True, details="the private VLAN goes with the VM's port")
    if command.op != "add":
        raise CommandRefused(f"{what}: op {(command.op or '')[:20]!r} is neither add nor delete")
    try:
        mac = normal_mac(text)
        role = PrivateRole.named(command.pvlan_type)
        vlan = private_vlan(command.primary, command.isolated, role, serves=serves)
    except UnusableNetwork as error:
        raise CommandRefused(f"{what}: {error}") from None
    machine = await _machine_with(mac, context)
    state = adapter_by_mac(await read_adapters(context.cim, machine), mac)
    connection = state.adapter.connection
    if connection is None:
        raise WrongState(f"{what}: the NIC has no connection to a switch")
    if state.vlan == vlan:
        return Answer(result=True, details=f"is {vlan} already")
    await change_vlan(context.cim, connection.path, state.vlan_setting, vlan, what)
    await verify_vlans(context.cim, machine.guid, {connection.path: vlan}, machine.cloudstack_name)
    return Answer(result=True, details=f"is {vlan} now")


async def _machine_with(mac: str, context: HostContext) -> Machine:
    """Return the VM of ours that has a NIC with this address."""
    wanted = spelled_mac(mac)
    addresses = await read_nic_addresses(context.cim)
    guids = {guid for (guid, _), address in addresses.items() if address == wanted}
    machines = [
        machine
        for machine in await machine_directory(context).list_all()
        if machine.guid.upper() in guids
    ]
    ours = [machine for machine in machines if machine.ownership is not None]
    if len(ours) > 1:
        names = ", ".join(machine.cloudstack_name for machine in ours)
        raise WrongState(f"several VMs have the MAC address {wanted}: {names}")
    if ours:
        return ours[0]
    for machine in machines:
        require_ours(machine, machine.element_name)
    raise VirtualMachineNotFound(f"the host has no VM with the MAC address {wanted}")
