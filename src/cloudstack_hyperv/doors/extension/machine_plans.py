"""From a payload to a VM in Hyper-V's terms: made anew, or brought to shape before a start.

The VM is what `resource.vm_wish` makes of CloudStack's description, with what only this door has:
the generation from the template's details, switches from the host's, one root disk and a DVD drive.
A VM stays defined while it is off, so a start gives it the size and the NICs that CloudStack has
now and leaves its disks as they are.
"""

from __future__ import annotations

from dataclasses import replace

from cloudstack_hyperv.doors.extension.work import Work
from cloudstack_hyperv.hypervisor.devices import Devices
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.wish import AdapterWish, DriveWish, MachineWish
from cloudstack_hyperv.messages import copy_with
from cloudstack_hyperv.messages.enums import VolumeType
from cloudstack_hyperv.messages.objects.vm import DiskTO, VirtualMachineTO
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import known_processor_speed, known_release
from cloudstack_hyperv.resource.known_switches import switch_for
from cloudstack_hyperv.resource.vm_wish import machine_wish, wanted_nics
from cloudstack_hyperv.storage.windows_paths import checked_path


async def new_machine(work: Work) -> tuple[MachineWish, Release]:
    """Return the VM that `create` makes; asks the host for switches, changes nothing."""
    details = work.payload.details
    iso = checked_path(details.iso_path) if details.iso_path is not None else None
    files: list[tuple[DiskTO, str | None]] = [
        (DiskTO(type=VolumeType.ROOT, disk_seq=0), work.root_disk),
        # A generation 1 VM gets no DVD drive later, so an empty one is there from the start.
        (DiskTO(type=VolumeType.ISO, disk_seq=3), iso),
    ]
    return await _wish(work, described(work), files), await known_release(work.context)


async def present_machine(work: Work, devices: Devices) -> tuple[MachineWish, Release]:
    """Return the VM that `start` brings to shape: CloudStack's size and NICs, its own disks."""
    vm = described(work)
    vm = copy_with(vm, boot_type="UEFI" if devices.generation == 2 else "BIOS")
    wish = await _wish(work, vm, [])
    drives = tuple(
        DriveWish(
            drive.address,
            drive.kind,
            drive.medium.file if drive.medium is not None else None,
            drive.medium.iops_limit if drive.medium is not None else None,
        )
        for drive in devices.drives
    )
    return replace(wish, drives=drives), await known_release(work.context)


def described(work: Work) -> VirtualMachineTO:
    """Return CloudStack's VM with the generation of the template's details and the right labels."""
    vm, host = work.vm, work.payload.host
    if vm.disks:
        raise CommandRefused(
            f"VM {vm.name} has CloudStack volumes, which the extension cannot attach: hosts of "
            "type External have no storage pools"
        )
    generation = work.payload.details.generation
    boot_type = vm.boot_type if generation is None else {1: "BIOS", 2: "UEFI"}[generation]
    nics = [copy_with(nic, name=host.switch_label(nic)) for nic in vm.nics or ()]
    return copy_with(vm, boot_type=boot_type, nics=nics)


async def _wish(
    work: Work, vm: VirtualMachineTO, files: list[tuple[DiskTO, str | None]]
) -> MachineWish:
    context = work.context
    adapters = [
        AdapterWish(nic, await switch_for(context, nic.switch_label) if nic.needs_switch else None)
        for nic in wanted_nics(vm)
    ]
    folder = work.payload.host.configuration_folder or context.host.configuration_root
    speed = None
    if vm.limit_cpu_use and not vm.cpu_quota_percentage:
        speed = await known_processor_speed(context)
    return machine_wish(
        vm,
        files=files,
        adapters=adapters,
        configuration_root=checked_path(folder) if folder is not None else None,
        host_mhz=speed,
    )
