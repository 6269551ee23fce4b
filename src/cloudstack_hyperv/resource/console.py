"""GetVncPortCommand: where a VM's console is.

Hyper-V has no VNC; its console is RDP on the host's own port, and the VM is chosen by its GUID in
a pre-connection message.  Port -9 is CloudStack's sign for that; the management server takes the
TCP port from the host's detail `rdp.server.port` and hands all to the console proxy.
Sources: CloudStack's `ConsoleAccessManagerImpl` and `ConsoleProxyRdpClient`.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound
from cloudstack_hyperv.messages.answers.vm import GetVncPortAnswer
from cloudstack_hyperv.messages.commands.vm import GetVncPortCommand
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.known_machines import find_ours
from cloudstack_hyperv.resource.registry import handles

RDP_BY_INSTANCE: Final = -9


@handles(
    GetVncPortCommand,
    ordered_by=lambda command: (f"vm:{command.name}",),
    page="Phase 2: console access, RDP",
)
async def get_vnc_port(command: GetVncPortCommand, context: HostContext) -> GetVncPortAnswer:
    """Tell the GUID by which the host's RDP console knows the VM."""
    machine = await find_ours(context, command.name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host has no VM {command.name}")
    return GetVncPortAnswer(result=True, address=f"instanceId={machine.guid}", port=RDP_BY_INSTANCE)
