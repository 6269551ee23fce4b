"""prepare, create, start, stop, reboot, delete, status, suspend, resume: a VM's life by extension.

CloudStack keeps no storage for these VMs, so the VM stays on its host while it is off, with its
definition and disks; only `delete` removes it, disks included.  What the management server relies
on (`ExternalPathPayloadProvisioner`): `create` also starts, `stop` and `delete` of a VM that is not
there succeed, `status` says nothing but what is certain.  All can be sent again.
"""

from __future__ import annotations

from typing import Final

import structlog

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.doors.extension import host_disks
from cloudstack_hyperv.doors.extension.machine_plans import new_machine, present_machine
from cloudstack_hyperv.doors.extension.outcome import (
    Outcome,
    failed,
    power_state,
    succeeded,
    unchanged,
)
from cloudstack_hyperv.doors.extension.work import Work
from cloudstack_hyperv.hypervisor import checkpoints, images, power
from cloudstack_hyperv.hypervisor.apply import SizesRefused, apply, apply_to_kept
from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound, WrongState
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import without_kept
from cloudstack_hyperv.hypervisor.plan import StartDecision, decide_start, plan_start
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.reuse import plan_reuse, present_keys
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.hypervisor.wish import MachineWish
from cloudstack_hyperv.messages.commands.vm import RebootCommand
from cloudstack_hyperv.messages.enums import PowerState
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import (
    machine_directory,
    remember_sizes_refused,
    takes_sizes_in_define,
)
from cloudstack_hyperv.resource.known_switches import forget_switches
from cloudstack_hyperv.resource.vm_reboot import reboot as reboot_vm
from cloudstack_hyperv.resource.vm_state import state_of

log = structlog.get_logger(__name__)

SETTLING: Final = 60.0
"""Seconds that a VM between two states gets to reach one."""
_WORDS: Final = {PowerState.ON: "poweron", PowerState.OFF: "poweroff"}
_OFF: Final = (EnabledState.DISABLED, EnabledState.SAVED)


async def prepare(work: Work) -> Outcome:
    """Check that the VM can be made on this host; leaves it as CloudStack describes it."""
    await _checked(work)
    return unchanged()


async def create(work: Work) -> Outcome:
    """Make the VM with its root disk, and start it; nothing is left when that fails."""
    machine, decision = await _look(work)
    if decision is StartDecision.DEFINE or machine is None:
        wish, release = await _checked(work)
        async with UndoStack() as undo:
            await _root_disk(work, undo)
            await _define(work, wish, release)
            undo.commit()
        return succeeded("Instance created")
    await _run(work, machine, decision)
    return succeeded("Instance created")


async def start(work: Work) -> Outcome:
    """Start the VM, with the size and the NICs that CloudStack has now."""
    machine, decision = await _look(work)
    if machine is None:
        raise VirtualMachineNotFound(
            f"the host has no VM {work.name}: it was removed there, or is on another host"
        )
    await _run(work, machine, decision)
    return succeeded("Instance started")


async def stop(work: Work) -> Outcome:
    """Shut the guest down, or cut its power when it does not; a VM that is gone is stopped."""
    machine = await work.find()
    if machine is None:
        return succeeded(f"Instance stopped: the host has no VM {work.name}")
    how = await _turn_off(work, machine)
    return succeeded(f"Instance stopped{how}")


async def reboot(work: Work) -> Outcome:
    """Let the guest reboot, or reset the VM when it cannot."""
    await work.require()
    answer = await reboot_vm(RebootCommand(vm_name=work.name), work.context)
    return succeeded(f"Instance rebooted: {answer.details}")


async def delete(work: Work) -> Outcome:
    """Remove the VM with its checkpoints and its own disks; what is gone is deleted."""
    machine = await work.find()
    if machine is None:
        return await _delete_left_over(work)
    name, guid = work.name, machine.guid
    if machine.state != EnabledState.DISABLED:
        await power.turn_off(work.cim, guid, name)
    for checkpoint in await checkpoints.list_checkpoints(work.cim, guid, name):
        await checkpoints.delete(work.cim, machine, checkpoint, work.seconds)
    mine, others = host_disks.own_disks(name, await read_devices(work.cim, guid, name))
    for path in mine:
        await host_disks.require_no_children(work.context, path, f"delete VM {name}")
    await power.destroy(work.cim, guid, name)
    machine_directory(work.context).index.forget(name)
    for path in mine:
        await images.delete_file(work.cim, path)
    log.info("deleted", vm=name, disks=mine, left=others)
    left = f"; not made for it and left: {', '.join(others)}" if others else ""
    return succeeded(f"Instance deleted{left}")


async def status(work: Work) -> Outcome:
    """Tell the power state: on and off only where that is certain; a VM that is gone is neither."""
    machine = await machine_directory(work.context).find(work.name)
    if machine is None:
        return failed(f"the host has no VM {work.name}")
    return power_state(_WORDS.get(state_of(machine), "unknown"))


async def suspend(work: Work) -> Outcome:
    """Stop the VM's processors and keep its memory."""
    machine = await work.require()
    if machine.state not in (EnabledState.ENABLED, EnabledState.PAUSED):
        raise WrongState(f"VM {work.name} is {power.state_name(machine.state)}, not running")
    await power.pause(work.cim, machine.guid, work.name)
    return succeeded("Instance suspended")


async def resume(work: Work) -> Outcome:
    """Let a paused or saved VM go on."""
    machine = await work.require()
    if machine.state == EnabledState.DISABLED:
        raise WrongState(f"VM {work.name} is off; start it")
    await power.turn_on(work.cim, machine.guid, work.name)
    return succeeded("Instance resumed")


async def _checked(work: Work) -> tuple[MachineWish, Release]:
    """Check all that `create` needs of the host and of the payload; changes nothing."""
    details = work.payload.details
    host_disks.require_own_drive(work.root_disk)
    wish, release = await new_machine(work)
    plan_start(wish, release)
    if details.template_type == "template":
        if details.template_path is None:
            raise CommandRefused("the detail template_path is missing: the file to make a disk of")
        await host_disks.require_file(work.context, details.template_path, "the template")
    elif details.disk_size is None:
        raise CommandRefused("the detail vhd_size_gb is missing: the size of the root disk")
    elif details.iso_path is None:
        raise CommandRefused("the detail iso_path is missing: what the VM is installed from")
    if details.iso_path is not None:
        await host_disks.require_file(work.context, details.iso_path, "the ISO")
    return wish, release


async def _root_disk(work: Work, undo: UndoStack) -> None:
    details, context = work.payload.details, work.context
    if details.template_type == "template" and details.template_path is not None:
        await host_disks.copy_template(
            context, details.template_path, work.root_disk, details.disk_size, undo
        )
    else:
        await host_disks.blank_disk(context, work.root_disk, details.disk_size or 0, undo)


async def _define(work: Work, wish: MachineWish, release: Release) -> None:
    """Define and start; once more in another way on a host that does not take the first."""
    context = work.context
    plan = plan_start(wish, release, sized_in_define=takes_sizes_in_define(context))
    try:
        await apply(plan, machine_directory(context))
    except SizesRefused as error:
        log.warning("processors and memory are set apart from now on", reason=str(error))
        remember_sizes_refused(context)
        await apply(plan_start(wish, release, sized_in_define=False), machine_directory(context))
    except Exception:
        forget_switches(context)
        raise


async def _run(work: Work, machine: Machine, decision: StartDecision) -> None:
    """Make a VM that is there run."""
    if decision is StartDecision.RESUME:
        await power.turn_on(work.cim, machine.guid, work.name)
    elif decision is StartDecision.REDEFINE:
        devices = await read_devices(work.cim, machine.guid, work.name)
        wish, release = await present_machine(work, devices)
        plan = plan_reuse(wish, release, devices, without_kept(machine.notes))
        await apply_to_kept(
            plan, machine_directory(work.context), machine.guid, present_keys(devices)
        )


async def _look(work: Work) -> tuple[Machine | None, StartDecision]:
    """Find the VM and decide what makes it run; waits for one that is between two states."""
    directory = machine_directory(work.context)
    machine = await directory.find(work.name, search=True)
    decision = decide_start(machine, work.ownership)
    if decision is not StartDecision.WAIT or machine is None:
        return machine, decision
    await power.wait_until(
        work.cim,
        machine.guid,
        lambda state: state in (None, EnabledState.ENABLED, EnabledState.DISABLED),
        min(SETTLING, work.seconds / 2),
    )
    machine = await directory.find(work.name)
    decision = decide_start(machine, work.ownership)
    if decision is StartDecision.WAIT:
        raise WrongState(f"VM {work.name} stays between two states; it cannot be started now")
    return machine, decision


async def _turn_off(work: Work, machine: Machine) -> str:
    """Turn a VM off, and say in which other way than by its guest."""
    if machine.state == EnabledState.DISABLED:
        return ""
    if machine.state == EnabledState.ENABLED:
        patience = min(work.context.host.shutdown_timeout, work.seconds / 2)
        refusal = await power.shut_down(work.cim, machine.guid, work.name, patience=patience)
        if refusal is None:
            return ""
        log.warning("VM turned off, its guest did not shut down", vm=work.name, reason=refusal)
        how = f", its power was cut: {refusal}"
    else:
        how = f", its power was cut: it was {power.state_name(machine.state)}"
    await power.turn_off(work.cim, machine.guid, work.name)
    return how


async def _delete_left_over(work: Work) -> Outcome:
    """Delete the root disk of a VM whose definition is gone, if nobody has it."""
    gone = f"the host has no VM {work.name}"
    if work.payload.host.disk_folder is None or work.root_disk[1:2] != ":":
        return succeeded(f"Instance deleted: {gone}")
    path = work.root_disk
    if await images.has_file(work.cim, path):
        await host_disks.require_unattached(work.context, path, f"delete VM {work.name}")
        await host_disks.require_no_children(work.context, path, f"delete VM {work.name}")
        await images.delete_file(work.cim, path)
        return succeeded(f"Instance deleted: {gone}, its disk is removed")
    return succeeded(f"Instance deleted: {gone}")
