"""ScaleVmCommand, PlugNicCommand, UnPlugNicCommand, ReplugNicCommand: changes of a VM that runs.

The 4.22 management server sends none of the four to a Hyper-V host: it scales others only, and its
Hyper-V plug-in answers PlugNic and UnPlugNic itself by ModifyVmNicConfig.  They are here as the KVM
agent has them, for a server that is told to use them.

ScaleVm takes the size from the command's VM; where that also has disks and NICs, their limits are
set to what it says.  Plugging what is there and unplugging what is gone succeeds.

Sources: CloudStack's `LibvirtScaleVmCommandWrapper`, `LibvirtPlugNicCommandWrapper`,
`LibvirtUnPlugNicCommandWrapper`, `LibvirtReplugNicCommandWrapper`; `VirtualMachineManagerImpl`.
"""

from __future__ import annotations

from cloudstack_hyperv.hypervisor import scaling
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.adapters import adapter_by_mac, read_adapters
from cloudstack_hyperv.hypervisor.devices import Devices, read_devices
from cloudstack_hyperv.hypervisor.drives import drive_with
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, Machine
from cloudstack_hyperv.hypervisor.plugging import plug_adapter, replug_adapter, unplug_adapter
from cloudstack_hyperv.hypervisor.port_features import change_limit
from cloudstack_hyperv.hypervisor.wish import AdapterWish, DriveKind
from cloudstack_hyperv.messages.answers.vm import (
    PlugNicAnswer,
    ReplugNicAnswer,
    ScaleVmAnswer,
    UnPlugNicAnswer,
)
from cloudstack_hyperv.messages.commands.vm import (
    PlugNicCommand,
    ReplugNicCommand,
    ScaleVmCommand,
    UnPlugNicCommand,
)
from cloudstack_hyperv.messages.enums import VirtualMachineType
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import NicTO, VirtualMachineTO
from cloudstack_hyperv.network import NicWish, UnusableNetwork, nic_wish, normal_mac, rate_limit
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_files import disk_file
from cloudstack_hyperv.resource.disk_limits import iops_limit
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import (
    find_ours,
    known_processor_speed,
    known_release,
)
from cloudstack_hyperv.resource.known_switches import switch_for
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.vm_wish import memory_wish, processor_wish

_USER_TYPES = frozenset({VirtualMachineType.USER, VirtualMachineType.USER_BARE_METAL})


@handles(
    ScaleVmCommand,
    ordered_by=lambda command: (f"vm:{command.vm_name or command.vm.name}",),
    page="Phase 2: expand VM management",
)
async def scale_vm(command: ScaleVmCommand, context: HostContext) -> ScaleVmAnswer:
    """Change memory, shares of processors, and limits of disks and NICs of a VM."""
    vm = command.vm
    machine = await _required(context, command.vm_name or vm.name)
    release = await known_release(context)
    speed = None
    if vm.limit_cpu_use and not vm.cpu_quota_percentage:
        speed = await known_processor_speed(context)
    processor, memory = processor_wish(vm, speed), memory_wish(vm)
    devices = await read_devices(context.cim, machine.guid, machine.cloudstack_name)
    changed = await scaling.scale(context.cim, machine, devices, processor, memory, release)
    if release.has_disk_limits:
        await _limit_disks(vm, devices, context)
    await _limit_nics(vm, devices, context)
    return ScaleVmAnswer(result=True, details=None if changed else "the VM has that size")


@handles(
    PlugNicCommand,
    ordered_by=lambda command: (f"vm:{command.instance_name}",),
    page="Phase 1: VLAN support",
)
async def plug_nic(command: PlugNicCommand, context: HostContext) -> PlugNicAnswer:
    """Give a VM a NIC."""
    nic = _wanted(command.nic, command.vm_type)
    machine = await _required(context, command.instance_name)
    await plug_adapter(
        context.cim, machine, await _on_switch(nic, context), await known_release(context)
    )
    return PlugNicAnswer(result=True)


@handles(
    UnPlugNicCommand,
    ordered_by=lambda command: (f"vm:{command.instance_name}",),
    page="Phase 1: VLAN support",
)
async def unplug_nic(command: UnPlugNicCommand, context: HostContext) -> UnPlugNicAnswer:
    """Take a NIC out of a VM; one that is not there is a success, as is a VM that is gone."""
    try:
        mac = normal_mac(command.nic.mac)
    except UnusableNetwork as error:
        raise CommandRefused(f"unplug a NIC of VM {command.instance_name}: {error}") from None
    machine = await find_ours(context, command.instance_name)
    if machine is None:
        return UnPlugNicAnswer(
            result=True, details=f"VM {command.instance_name} is not on this host"
        )
    was_there = await unplug_adapter(context.cim, machine, mac, await known_release(context))
    return UnPlugNicAnswer(result=True, details=None if was_there else "the VM has no such NIC")


@handles(
    ReplugNicCommand,
    ordered_by=lambda command: (f"vm:{command.instance_name}",),
    page="Phase 1: VLAN support",
)
async def replug_nic(command: ReplugNicCommand, context: HostContext) -> ReplugNicAnswer:
    """Put a NIC on another network."""
    if command.nic is None or not command.instance_name:
        raise CommandRefused("the command names no VM or no NIC")
    nic = _wanted(command.nic, command.vm_type)
    machine = await _required(context, command.instance_name)
    state = adapter_by_mac(await read_adapters(context.cim, machine), nic.mac)
    await replug_adapter(context.cim, machine, state, await _on_switch(nic, context))
    return ReplugNicAnswer(result=True)


def _wanted(nic: NicTO, vm_type: str | None) -> NicWish:
    try:
        return nic_wish(nic, system_vm=vm_type is not None and vm_type not in _USER_TYPES)
    except UnusableNetwork as error:
        raise CommandRefused(str(error)) from None


async def _on_switch(nic: NicWish, context: HostContext) -> AdapterWish:
    return AdapterWish(
        nic, await switch_for(context, nic.switch_label) if nic.needs_switch else None
    )


async def _limit_disks(vm: VirtualMachineTO, devices: Devices, context: HostContext) -> None:
    changes = []
    for disk in vm.disks or ():
        if not isinstance(disk.data, VolumeObjectTO):
            continue
        file = await disk_file(disk, context)
        drive = drive_with(devices, DriveKind.DISK, file) if file is not None else None
        if drive is None or drive.medium is None:
            continue
        limit = iops_limit(disk.data)
        if limit != drive.medium.iops_limit:
            identity = drive.medium.path.key("InstanceID") or ""
            changes.append(data.changed_iops_limit(identity, limit))
    if changes:
        await call(
            context.cim,
            MANAGEMENT_SERVICE,
            "ModifyResourceSettings",
            {"ResourceSettings": changes},
            what=f"limit the disks of VM {vm.name}",
        )


async def _limit_nics(vm: VirtualMachineTO, devices: Devices, context: HostContext) -> None:
    for nic in vm.nics or ():
        try:
            mac = normal_mac(nic.mac)
        except UnusableNetwork as error:
            raise CommandRefused(f"VM {vm.name}: {error}") from None
        adapter = next((adapter for adapter in devices.adapters if adapter.mac == mac), None)
        if adapter is not None and adapter.connection is not None:
            await change_limit(
                context.cim,
                adapter.connection.path,
                rate_limit(nic.network_rate_mbps),
                f"limit NIC {nic.mac} of VM {vm.name}",
            )


async def _required(context: HostContext, name: str) -> Machine:
    machine = await find_ours(context, name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host has no VM {name}")
    return machine
