"""SetupPersistentNetworkCommand and CleanupPersistentNetworkResourceCommand.

A network that exists although no VM uses it.  A Hyper-V switch carries every VLAN and makes the
port with the VM, so nothing is set up; but a network without a switch here, or of a kind that
cannot be made here, is said at once and not when the first VM starts.  Without an answer to the
first command the host does not connect (`NetworkOrchestrator.processConnect`).
"""

from __future__ import annotations

from cloudstack_hyperv.messages.answers.network import (
    CleanupPersistentNetworkResourceAnswer,
    SetupPersistentNetworkAnswer,
)
from cloudstack_hyperv.messages.commands.network import (
    CleanupPersistentNetworkResourceCommand,
    SetupPersistentNetworkCommand,
)
from cloudstack_hyperv.network import UnusableNetwork, port_vlan_of
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_switches import switch_for
from cloudstack_hyperv.resource.registry import handles


@handles(SetupPersistentNetworkCommand)
async def setup_persistent_network(
    command: SetupPersistentNetworkCommand, context: HostContext
) -> SetupPersistentNetworkAnswer:
    """Look whether a NIC of this network could be made here."""
    nic = command.nic
    if nic is None:
        raise CommandRefused("set up a persistent network: the command has no NIC")
    try:
        port_vlan_of(nic.broadcast_uri, nic.isolation_uri, serves=False)
    except UnusableNetwork as error:
        raise CommandRefused(f"set up a persistent network: {error}") from None
    switch = await switch_for(context, nic.name)
    return SetupPersistentNetworkAnswer(
        result=True, details=f"virtual switch {switch.name!r} carries every VLAN"
    )


@handles(CleanupPersistentNetworkResourceCommand)
async def cleanup_persistent_network_resource(
    command: CleanupPersistentNetworkResourceCommand, context: HostContext
) -> CleanupPersistentNetworkResourceAnswer:
    """Nothing was set up."""
    del command, context
    return CleanupPersistentNetworkResourceAnswer(
        result=True, details="a virtual switch carries every VLAN, nothing was set up"
    )
