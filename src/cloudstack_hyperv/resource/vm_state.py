"""Power states: the report that every ping carries, and the state of one VM.

CloudStack knows three words.  `PowerOn` keeps a VM running there, `PowerOff` makes the management
server stop and clean it up, `PowerUnknown` changes nothing.  A VM that is missing from the report
counts as stopped after two ping intervals: its addresses are given to others.  So the report is
complete or an error, never a part, and "off" is only said of what is certainly off:

    running, starting, resuming, saving, checkpoint under way    PowerOn
    shutting down                                                PowerOn, until it is off
    off                                                          PowerOff
    paused, saved, critical, other, any number not named         PowerUnknown

Numbers from 32768 on are those of Hyper-V's first WMI version, which some releases still show in
transitions.  All VMs are reported, also those without our mark: CloudStack ignores names that it
does not know, and a VM made by an older agent must not count as stopped because we do not own it.
Ours are reported by the name in their mark, and before others of that name.  A VM that CloudStack
stopped and whose definition is only kept for its checkpoints is for CloudStack not on this host, as
any other VM that it stopped, and is left out.

Sources: CloudStack's `VirtualMachinePowerStateSyncImpl` and `HypervDirectConnectResource`;
Microsoft, "Msvm_ComputerSystem class" (EnabledState, OtherEnabledState, HealthState).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.messages.answers.vm import CheckVirtualMachineAnswer
from cloudstack_hyperv.messages.commands.vm import CheckVirtualMachineCommand
from cloudstack_hyperv.messages.enums import PowerState
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.known_machines import machine_directory
from cloudstack_hyperv.resource.registry import handles

_POWER_STATES: Final = {
    2: PowerState.ON,
    3: PowerState.OFF,
    4: PowerState.ON,
    6: PowerState.UNKNOWN,
    9: PowerState.UNKNOWN,
    10: PowerState.ON,
    32768: PowerState.UNKNOWN,  # paused
    32769: PowerState.UNKNOWN,  # saved
    32770: PowerState.ON,  # starting
    32771: PowerState.ON,  # a checkpoint is taken
    32773: PowerState.ON,  # saving
    32774: PowerState.ON,  # shutting down
    32776: PowerState.UNKNOWN,  # pausing
    32777: PowerState.ON,  # resuming
}
_OTHER: Final = 1
_OTHER_STATES: Final = {
    "starting": PowerState.ON,
    "resuming": PowerState.ON,
    "saving": PowerState.ON,
    "snapshotting": PowerState.ON,
    "stopping": PowerState.ON,
}
"""What OtherEnabledState says while EnabledState is 1, on English hosts."""
_CRITICAL: Final = 25


def power_state(state: int, *, health: int | None = None, other: str | None = None) -> PowerState:
    """Return CloudStack's word for an EnabledState, with HealthState and OtherEnabledState."""
    if health == _CRITICAL:
        return PowerState.UNKNOWN
    if state == _OTHER:
        return _OTHER_STATES.get((other or "").strip().casefold(), PowerState.UNKNOWN)
    return _POWER_STATES.get(state, PowerState.UNKNOWN)


def state_of(machine: Machine) -> PowerState:
    """Return CloudStack's word for a VM's state."""
    return power_state(machine.state, health=machine.health, other=machine.other_state)


def state_report(machines: Iterable[Machine]) -> dict[str, str]:
    """Return instance name to power state.  Pure.

    Of several VMs of one name ours counts, of those the one that still has the name; when equals
    disagree the state is unknown.
    """
    chosen: dict[str, tuple[int, PowerState]] = {}
    for machine in machines:
        if machine.is_kept:
            continue
        state = state_of(machine)
        claim = _claim(machine)
        present = chosen.get(machine.cloudstack_name)
        if present is None or claim > present[0]:
            chosen[machine.cloudstack_name] = (claim, state)
        elif claim == present[0] and state is not present[1]:
            chosen[machine.cloudstack_name] = (claim, PowerState.UNKNOWN)
    return {name: str(state) for name, (_, state) in chosen.items()}


async def vm_state_report(context: HostContext) -> dict[str, str]:
    """Report all VMs of the host: one round trip.  Complete, or an exception of any kind."""
    return state_report(await machine_directory(context).list_all())


@handles(
    CheckVirtualMachineCommand,
    ordered_by=lambda command: (f"vm:{command.vm_name}",),
    page="Phase 2: migration",
)
async def check_virtual_machine(
    command: CheckVirtualMachineCommand, context: HostContext
) -> CheckVirtualMachineAnswer:
    """Tell the state of one VM; a VM that is not there is a failure."""
    machine = await machine_directory(context).find(command.vm_name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host has no VM {command.vm_name}")
    return CheckVirtualMachineAnswer(result=True, state=state_of(machine))


def _claim(machine: Machine) -> int:
    if machine.ownership is None:
        return 0
    return 2 if machine.element_name == machine.ownership.name else 1
