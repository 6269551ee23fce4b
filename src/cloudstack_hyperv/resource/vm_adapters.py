"""GetVmConfigCommand and ModifyVmNicConfigCommand: CloudStack's own way to plug a NIC on Hyper-V.

The management server cannot add NICs to a Hyper-V VM; it fills a virtual router up to eight NICs
and connects one of them when a network is added: it looks for a NIC that is not connected, counts
its position, and has it changed.  So the list must be in the guest's order, `vlanid` is never
null ("-1" is untagged), and `state` says connected.

The form with a MAC address always comes with `enable` false (its constructor does not set the
field) and means "connect": the older agent ignores the field there, and so do we.

Source: CloudStack's HypervDirectConnectResource (`getVmNics`, `getVmFreeNicIndex`,
`modifyNicVlan`, PlugNicCommand, UnPlugNicCommand).
"""

from __future__ import annotations

from cloudstack_hyperv.hypervisor.adapters import (
    adapter_by_mac,
    adapter_by_position,
    read_adapters,
    reconnect_adapter,
)
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.messages.answers.vm import (
    GetVmConfigAnswer,
    ModifyVmNicConfigAnswer,
    NicDetails,
)
from cloudstack_hyperv.messages.commands.vm import GetVmConfigCommand, ModifyVmNicConfigCommand
from cloudstack_hyperv.network import UnusableNetwork, normal_mac, spelled_mac, vlan_from_text
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import find_ours
from cloudstack_hyperv.resource.known_switches import switch_for
from cloudstack_hyperv.resource.registry import handles

UNTAGGED = "-1"


@handles(
    GetVmConfigCommand,
    ordered_by=lambda command: (f"vm:{command.vm_name}",),
    page="Phase 1: VLAN support",
)
async def get_vm_config(command: GetVmConfigCommand, context: HostContext) -> GetVmConfigAnswer:
    """List the NICs of a VM in the guest's order."""
    machine = await _required(context, command.vm_name)
    states = await read_adapters(context.cim, machine)
    return GetVmConfigAnswer(
        result=True,
        vm_name=command.vm_name,
        nics=[
            NicDetails(
                mac_address=spelled_mac(state.adapter.mac),
                vlanid=UNTAGGED if state.vlan is None else str(state.vlan),
                state=state.connected,
            )
            for state in states
        ],
    )


@handles(
    ModifyVmNicConfigCommand,
    ordered_by=lambda command: (f"vm:{command.vm_name}",),
    page="Phase 1: VLAN support",
)
async def modify_vm_nic_config(
    command: ModifyVmNicConfigCommand, context: HostContext
) -> ModifyVmNicConfigAnswer:
    """Set VLAN, switch and cable of one NIC, found by MAC address or by position."""
    try:
        vlan = vlan_from_text(command.vlan)
        mac = normal_mac(command.mac_address) if command.mac_address else None
    except UnusableNetwork as error:
        raise CommandRefused(f"change a NIC of VM {command.vm_name}: {error}") from None
    machine = await _required(context, command.vm_name)
    label = command.switch_label_name
    switch = await switch_for(context, label) if label else None
    states = await read_adapters(context.cim, machine)
    if mac is not None:
        state, which = adapter_by_mac(states, mac), command.mac_address
    else:
        state, which = adapter_by_position(states, command.index), f"eth{command.index}"
    await reconnect_adapter(
        context.cim,
        state,
        connected=command.enable or mac is not None,
        vlan=vlan,
        switch=switch,
        what=f"change NIC {which} of VM {command.vm_name}",
    )
    return ModifyVmNicConfigAnswer(result=True, vm_name=command.vm_name)


async def _required(context: HostContext, name: str) -> Machine:
    machine = await find_ours(context, name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host has no VM {name}")
    return machine
