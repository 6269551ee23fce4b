"""StopCommand: the VM is off and its definition gone; its disks are never touched.

CloudStack defines a VM anew at each start, perhaps on another host, so a definition that is left
behind would be a duplicate.  Only a VM with checkpoints keeps its definition, which holds them; it
is marked in its Notes and left out of the state report.  When it is expunged it goes too.  A VM
that a failover cluster looks after is first taken out of the cluster's care.

What callers rely on: a VM that is not there is stopped (success);
`checkBeforeCleanup` means "only if it does not run".

A guest is asked first unless `forceStop`; when it does not answer, or is not off in time, the VM
is turned off.  Asking may take `shutdown_timeout` of the configuration, but never more than half
of the command's own patience: the rest must be able to finish.

Sources: CloudStack's `VirtualMachineManagerImpl` (sendStop, cleanup after a PowerOff report) and
`LibvirtStopCommandWrapper`.
"""

from __future__ import annotations

import structlog

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor.checkpoints import change_system, list_checkpoints
from cloudstack_hyperv.hypervisor.cluster import remove_role
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import is_kept, with_kept
from cloudstack_hyperv.messages.answers.vm import StopAnswer
from cloudstack_hyperv.messages.commands.vm import StopCommand
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_cluster import role_of
from cloudstack_hyperv.resource.known_machines import find_ours, machine_directory
from cloudstack_hyperv.resource.registry import handles

log = structlog.get_logger(__name__)

_CLEANABLE = (EnabledState.DISABLED, EnabledState.SAVED)
"""States from which a definition can be removed; a saved VM does not run."""


@handles(
    StopCommand,
    ordered_by=lambda command: (f"vm:{command.vm_name}",),
    page="Phase 1: VM stop, destruction",
)
async def stop(command: StopCommand, context: HostContext) -> StopAnswer:
    """Stop a VM and remove its definition."""
    name = command.vm_name
    machine = await find_ours(context, name)
    if machine is None:
        return StopAnswer(result=True, details=f"VM {name} is not on this host")
    how = "was off"
    if machine.state not in _CLEANABLE and command.check_before_cleanup:
        raise CommandRefused(
            f"VM {name} is still running on the host ({power.state_name(machine.state)}); "
            "not cleaned up"
        )
    role = await role_of(context, machine)
    if role is not None:
        # The cluster would start it again.
        await remove_role(context.cim, role)
    if machine.state not in _CLEANABLE:
        how = await _turn_off(command, context, machine)
    if not command.expunge_vm and await _has_checkpoints(context, machine):
        await keep_definition(context, machine)
        return StopAnswer(
            result=True, details=f"VM {name} {how}, its definition is kept for its VM snapshots"
        )
    await power.destroy(context.cim, machine.guid, name)
    machine_directory(context).index.forget(name)
    return StopAnswer(result=True, details=f"VM {name} {how}, its definition is removed")


async def _has_checkpoints(context: HostContext, machine: Machine) -> bool:
    if machine.checkpoints is not None:
        return machine.checkpoints > 0
    return bool(await list_checkpoints(context.cim, machine.guid, machine.cloudstack_name))


async def keep_definition(context: HostContext, machine: Machine) -> None:
    """Mark a VM that is stopped for CloudStack but stays; a saved one loses its saved memory."""
    name = machine.cloudstack_name
    if machine.state == EnabledState.SAVED:
        await power.turn_off(context.cim, machine.guid, name)
    if not is_kept(machine.notes):
        await change_system(
            context.cim,
            machine.guid,
            {"Notes": [with_kept(machine.notes)]},
            f"mark VM {name} as kept",
        )


async def _turn_off(command: StopCommand, context: HostContext, machine: Machine) -> str:
    name = command.vm_name
    if not command.force_stop and machine.state == EnabledState.ENABLED:
        wait = command.wait or context.settings.direct.default_wait
        patience = min(context.host.shutdown_timeout, wait / 2)
        refusal = await power.shut_down(context.cim, machine.guid, name, patience=patience)
        if refusal is None:
            return "shut down"
        log.warning("VM turned off, its guest did not shut down", vm=name, reason=refusal)
    await power.turn_off(context.cim, machine.guid, name)
    return "was turned off"
