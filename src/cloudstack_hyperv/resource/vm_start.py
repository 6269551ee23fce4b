"""StartCommand: define the VM as CloudStack describes it, and start it.

Everything that can be wrong with the command is found before the host is changed: networks that
cannot be made, labels without a switch, disks that are not there.  Then, by what is there already:
nothing of that name (define), ours and off (define anew; the old definition is never newer than
the command), ours and running (success, nothing to do), ours and paused or saved (let it go on),
ours and off with checkpoints (bring what is there to shape), not ours (refuse, touch nothing).  A
failure on the way removes what was made, never a disk; the management server then tries another
host.  There the disks of a VM with checkpoints are refused: writing to a disk that a checkpoint
stands on would destroy it, so such a VM starts on the host that has its definition only.

The answer repeats the command's `vm`: the server reads the disks from it.  `secondaryStorage`,
sent for system VMs, points to the patch ISO that CloudStack stopped shipping with 4.17, and is
not used.

Sources: CloudStack's `VirtualMachineManagerImpl` (orchestrateStart, syncDiskChainChange),
`HypervDirectConnectResource`.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor.apply import SizesRefused, apply, apply_to_kept
from cloudstack_hyperv.hypervisor.checkpoints import list_checkpoints
from cloudstack_hyperv.hypervisor.cluster import add_role, find_role
from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import Ownership, without_kept
from cloudstack_hyperv.hypervisor.plan import (
    Plan,
    StartDecision,
    decide_start,
    plan_start,
    without_unknown_rules,
)
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.reuse import plan_reuse, present_keys
from cloudstack_hyperv.hypervisor.wish import AdapterWish, MachineWish
from cloudstack_hyperv.messages.answers.vm import StartAnswer
from cloudstack_hyperv.messages.commands.vm import StartCommand
from cloudstack_hyperv.messages.objects.vm import DiskTO, VirtualMachineTO
from cloudstack_hyperv.network import NicWish
from cloudstack_hyperv.resource.branches import require_no_branches
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_files import disk_file, disk_keys, require_file
from cloudstack_hyperv.resource.known_cluster import known_cluster
from cloudstack_hyperv.resource.known_machines import (
    known_processor_speed,
    known_release,
    machine_directory,
    remember_sizes_refused,
    takes_sizes_in_define,
)
from cloudstack_hyperv.resource.known_switches import forget_switches, switch_for
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.vm_details import read_details
from cloudstack_hyperv.resource.vm_wish import machine_wish, ownership_of, wanted_nics

log = structlog.get_logger(__name__)

SETTLING_TIME = 60.0
"""Seconds that a VM between two states gets to reach one."""


def _keys(command: StartCommand) -> tuple[str, ...]:
    disks = command.vm.disks or ()
    return (f"vm:{command.vm.name}", *(key for disk in disks for key in disk_keys(disk)))


@handles(StartCommand, ordered_by=_keys, page="Phase 1: VM creation, start")
async def start(command: StartCommand, context: HostContext) -> StartAnswer:
    """Start a VM; the same command twice makes one VM."""
    vm = command.vm
    ownership = ownership_of(vm)
    nics = wanted_nics(vm)
    machine, decision = await _look(context, ownership)
    if decision is StartDecision.RESUME and machine is not None:
        await power.turn_on(context.cim, machine.guid, vm.name)
    elif decision is StartDecision.REUSE and machine is not None:
        wish, release = await prepare(vm, nics, context)
        await _reuse(machine, wish, release, context)
    elif decision in (StartDecision.DEFINE, StartDecision.REDEFINE):
        wish, release = await prepare(vm, nics, context)
        plan = plan_start(wish, release, sized_in_define=takes_sizes_in_define(context))
        await require_no_branches(context, wish)
        if machine is not None:
            log.info("old definition removed", vm=vm.name, guid=machine.guid)
            await power.destroy(context.cim, machine.guid, vm.name)
            machine_directory(context).index.forget(vm.name)
        await _carry_out(plan, context)
    details = [] if decision is StartDecision.DEFINE else [decision.value]
    if read_details(vm).cluster_role:
        details += await _hand_to_cluster(vm.name, context)
    return StartAnswer(result=True, vm=vm, details="; ".join(details) or None)


async def _hand_to_cluster(name: str, context: HostContext) -> list[str]:
    """Make a running VM a cluster role; returns why it is none, in case.

    A VM that runs without the cluster's care is better than none, so this fails no start.
    """
    machine = await machine_directory(context).find(name)
    cluster = await known_cluster(context)
    if machine is None or not cluster:
        reason = "the host is in no failover cluster"
    else:
        try:
            if await find_role(context.cim, machine.guid) is None:
                await add_role(context.cim, cluster, machine.guid, name)
        except HypervisorError as error:
            reason = str(error)
        else:
            return []
    log.warning("VM runs but is no cluster role", vm=name, reason=reason)
    return [f"VM {name} runs but is no cluster role: {reason}"]


async def prepare(
    vm: VirtualMachineTO, nics: tuple[NicWish, ...], context: HostContext
) -> tuple[MachineWish, Release]:
    """Check all that the VM needs of the host and return what it should be; changes nothing."""
    release = await known_release(context)
    adapters = [
        AdapterWish(nic, await switch_for(context, nic.switch_label) if nic.needs_switch else None)
        for nic in nics
    ]
    files: list[tuple[DiskTO, str | None]] = []
    for disk in vm.disks or ():
        file = await disk_file(disk, context)
        if file is not None:
            await require_file(context, file)
        files.append((disk, file))
    wish = machine_wish(
        vm,
        files=files,
        adapters=adapters,
        configuration_root=context.host.configuration_root,
        host_mhz=await _host_mhz(vm, context),
    )
    return _guarded_as_possible(_limited_as_possible(wish, release), release), release


def _limited_as_possible(wish: MachineWish, release: Release) -> MachineWish:
    """Leave disks without limits where the release has none: better than no VM."""
    if release.has_disk_limits or not any(drive.iops_limit for drive in wish.drives):
        return wish
    log.warning("disk limits not set: Hyper-V has them since Windows Server 2012 R2", vm=wish.name)
    return replace(wish, drives=tuple(replace(drive, iops_limit=None) for drive in wish.drives))


def _guarded_as_possible(wish: MachineWish, release: Release) -> MachineWish:
    """Leave ports without rules on a release whose rules have no ports; its guards are set."""
    adapters = tuple(without_unknown_rules(adapter, release) for adapter in wish.adapters)
    if adapters != wish.adapters:
        log.warning("no port rules at start: Hyper-V has them since 2012 R2", vm=wish.name)
    return replace(wish, adapters=adapters)


async def _reuse(
    machine: Machine, wish: MachineWish, release: Release, context: HostContext
) -> None:
    """Start a VM whose definition was kept for its checkpoints."""
    devices = await read_devices(context.cim, machine.guid, wish.name)
    plan = plan_reuse(wish, release, devices, without_kept(machine.notes))
    log.debug("plan", plan=str(plan))
    await apply_to_kept(plan, machine_directory(context), machine.guid, present_keys(devices))


async def _carry_out(plan: Plan, context: HostContext) -> None:
    """Carry the plan out; once more in another way on a host that does not take the first."""
    log.debug("plan", plan=str(plan))
    try:
        await apply(plan, machine_directory(context))
    except SizesRefused as error:
        log.warning("processors and memory are set apart from now on", reason=str(error))
        remember_sizes_refused(context)
        again = plan_start(plan.wish, await known_release(context), sized_in_define=False)
        await apply(again, machine_directory(context))
    except HypervisorError:
        forget_switches(context)
        raise


async def _look(context: HostContext, ownership: Ownership) -> tuple[Machine | None, StartDecision]:
    """Find what is there and decide; waits once for a VM that is between two states."""
    directory = machine_directory(context)
    machine = await directory.find(ownership.name, search=True)
    decision = await _decide(machine, ownership, context)
    if decision is not StartDecision.WAIT or machine is None:
        return machine, decision
    settled = (EnabledState.ENABLED, EnabledState.DISABLED)
    await power.wait_until(
        context.cim, machine.guid, lambda state: state is None or state in settled, SETTLING_TIME
    )
    machine = await directory.find(ownership.name)
    decision = await _decide(machine, ownership, context)
    if decision is StartDecision.WAIT and machine is not None:
        raise WrongState(
            f"VM {ownership.name} has been {power.state_name(machine.state)} for "
            f"{SETTLING_TIME:g} s; it cannot be started from there"
        )
    return machine, decision


async def _decide(
    machine: Machine | None, ownership: Ownership, context: HostContext
) -> StartDecision:
    """Decide by what is there, and for a VM that is off by its checkpoints."""
    decision = decide_start(machine, ownership)
    if (
        decision is StartDecision.REDEFINE
        and machine is not None
        and await list_checkpoints(context.cim, machine.guid, ownership.name)
    ):
        return StartDecision.REUSE
    return decision


async def _host_mhz(vm: VirtualMachineTO, context: HostContext) -> int | None:
    """Return the host's processor speed where a CPU limit needs it."""
    if not vm.limit_cpu_use or vm.cpu_quota_percentage:
        return None
    return await known_processor_speed(context)
