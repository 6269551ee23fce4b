"""RebootCommand: the guest reboots itself; only when it cannot the VM is reset.

A VM that is not there or does not run is a failure, which CloudStack shows to the user.
Sources: CloudStack's `LibvirtRebootCommandWrapper`; Microsoft, "InitiateReboot method of the
Msvm_ShutdownComponent class" (Windows Server 2016 and later).
"""

from __future__ import annotations

import structlog

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound, WrongState
from cloudstack_hyperv.messages.answers.vm import RebootAnswer
from cloudstack_hyperv.messages.commands.vm import RebootCommand
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.known_machines import find_ours, known_release
from cloudstack_hyperv.resource.registry import handles

log = structlog.get_logger(__name__)


@handles(
    RebootCommand,
    ordered_by=lambda command: (f"vm:{command.vm_name}",),
    page="Phase 1: VM reboot",
)
async def reboot(command: RebootCommand, context: HostContext) -> RebootAnswer:
    """Reboot a running VM."""
    name = command.vm_name
    machine = await find_ours(context, name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host has no VM {name}")
    if machine.state != EnabledState.ENABLED:
        raise WrongState(f"VM {name} is {power.state_name(machine.state)}, it cannot be rebooted")
    refusal: str | None = "this release of Windows cannot ask a guest to reboot"
    if (await known_release(context)).has_guest_reboot:
        refusal = await power.reboot(context.cim, machine.guid, name)
    if refusal is None:
        return RebootAnswer(result=True, details=f"the guest of VM {name} reboots")
    log.warning("VM reset, its guest did not reboot", vm=name, reason=refusal)
    await power.reset(context.cim, machine.guid, name)
    return RebootAnswer(result=True, details=f"VM {name} was reset: {refusal}")
