"""Custom actions that change a VM or tell of it: resize, scale, attach, detach, stats, migrate.

    resize    size_gb; disk: file name or path, the root disk when absent; grows only
    scale     cpus, memory_mb; what a running VM cannot change waits for its stop
    attach    path of a disk that is there, or size_gb for a new one; or iso_path
    detach    path of a disk, or iso_path (empty for whatever lies in the drive)
    stats     load of the VM, as CloudStack's statistics have it
    migrate   destination: address of another host, which must see the VM's disks (a shared folder)

CloudStack does not learn what these did: the next start gives the VM the processors and memory of
its offering again, disks stay as they are, and a migrated VM is still asked for on its old host
until an administrator changes the record.
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.cim.constants import EnabledState, VhdFormat
from cloudstack_hyperv.doors.extension import host_disks
from cloudstack_hyperv.doors.extension.machine_plans import described
from cloudstack_hyperv.doors.extension.outcome import Outcome, Row, failed, succeeded, table
from cloudstack_hyperv.doors.extension.payload import size_parameter, text_parameter
from cloudstack_hyperv.doors.extension.work import Work
from cloudstack_hyperv.hypervisor import drives, images, scaling
from cloudstack_hyperv.hypervisor.devices import Devices, Drive, read_devices
from cloudstack_hyperv.hypervisor.drive_layout import sequence_of
from cloudstack_hyperv.hypervisor.drives import same_disk
from cloudstack_hyperv.hypervisor.errors import WrongState
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.hypervisor.wish import Bus, DriveKind
from cloudstack_hyperv.messages import copy_with
from cloudstack_hyperv.messages.answers.monitoring import GetVmStatsAnswer
from cloudstack_hyperv.messages.commands.migration import MigrateCommand
from cloudstack_hyperv.messages.commands.monitoring import GetVmStatsCommand
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.host_copies import rounded_up
from cloudstack_hyperv.resource.known_machines import known_processor_speed, known_release
from cloudstack_hyperv.resource.statistics import get_vm_stats
from cloudstack_hyperv.resource.vm_migration import migrate as migrate_vm
from cloudstack_hyperv.resource.vm_wish import memory_wish, processor_wish
from cloudstack_hyperv.storage.windows_paths import (
    checked_path,
    file_name,
    folded,
    join_path,
    split_extension,
)

_MOST_DISKS: Final = 256


async def resize(work: Work) -> Outcome:
    """Grow a disk of the VM."""
    size = size_parameter(work.payload.parameters, "size_gb", "size")
    if size is None:
        raise CommandRefused("the parameter size_gb is missing")
    machine = await work.require()
    devices = await read_devices(work.cim, machine.guid, work.name)
    drive = _wanted_disk(work, devices)
    path = drive.medium.file if drive.medium is not None else ""
    if split_extension(file_name(path))[1] in (".avhdx", ".avhd"):
        raise WrongState(f"resize {path}: the VM has snapshots; delete them first")
    disk = await images.read_disk(work.cim, path)
    wanted = rounded_up(size, disk.sector)
    if wanted == disk.virtual_size:
        return succeeded(f"{path} has that size")
    if wanted < disk.virtual_size:
        raise CommandRefused(
            f"{path} has {disk.virtual_size} bytes; a disk is not shrunk by this action"
        )
    if machine.state != EnabledState.DISABLED and (
        drive.address.bus is not Bus.SCSI or disk.disk_format is not VhdFormat.VHDX
    ):
        raise WrongState(
            f"VM {work.name} is not off, and {path} is at {drive.address}: Hyper-V grows a VHDX on "
            "a SCSI controller only while the VM runs; stop the VM first"
        )
    await host_disks.require_no_children(work.context, path, f"resize {path}")
    await images.resize_disk(work.cim, path, wanted)
    return succeeded(f"{path} has {wanted} bytes now")


async def scale(work: Work) -> Outcome:
    """Change processors and memory."""
    parameters = work.payload.parameters
    cpus = _number(text_parameter(parameters, "cpus"), "cpus")
    memory = _number(text_parameter(parameters, "memory_mb", "memory"), "memory_mb")
    if cpus is None and memory is None:
        raise CommandRefused("scale needs the parameter cpus or memory_mb")
    vm = described(work)
    if cpus is not None:
        vm = copy_with(vm, cpus=cpus)
    if memory is not None:
        vm = copy_with(vm, min_ram=memory * images.MIB, max_ram=memory * images.MIB)
    speed = None
    if vm.limit_cpu_use and not vm.cpu_quota_percentage:
        speed = await known_processor_speed(work.context)
    machine = await work.require()
    changed = await scaling.scale(
        work.cim,
        machine,
        await read_devices(work.cim, machine.guid, work.name),
        processor_wish(vm, speed),
        memory_wish(vm),
        await known_release(work.context),
    )
    return succeeded("Instance scaled" if changed else "Instance has that size")


async def attach(work: Work) -> Outcome:
    """Attach a disk that is there, or a new one; or put an ISO into the DVD drive."""
    parameters = work.payload.parameters
    machine = await work.require()
    iso = text_parameter(parameters, "iso_path")
    if iso is not None:
        file = await host_disks.require_file(work.context, iso, "the ISO")
        await drives.insert_iso(work.cim, machine, file, 0)
        return succeeded(f"{file} is in the DVD drive")
    path, size = text_parameter(parameters, "path"), size_parameter(parameters, "size_gb", "size")
    if (path is None) == (size is None):
        raise CommandRefused("attach needs path, size_gb or iso_path, one of them")
    async with UndoStack() as undo:
        if path is not None:
            file = await host_disks.require_file(work.context, path, "the disk")
            devices = await read_devices(work.cim, machine.guid, work.name)
            if any(d.medium and same_disk(d.medium.file, file) for d in devices.drives):
                return succeeded(f"{file} is attached")
            await host_disks.require_unattached(work.context, file, f"attach to VM {work.name}")
        else:
            file = await _free_disk_name(work)
            await host_disks.blank_disk(work.context, file, size or 0, undo)
        sequence = await drives.attach_disk(work.cim, machine, file, None)
        undo.commit()
    return succeeded(f"{file} is attached as disk {sequence}")


async def detach(work: Work) -> Outcome:
    """Detach a disk, whose file stays; or take an ISO out of the DVD drive."""
    parameters = work.payload.parameters
    machine = await work.require()
    path = text_parameter(parameters, "path")
    if path is not None:
        file = checked_path(path)
        devices = await read_devices(work.cim, machine.guid, work.name)
        if any(d.medium and same_disk(d.medium.file, file) and _is_root(d) for d in devices.drives):
            raise CommandRefused(f"{file} is the root disk of VM {work.name}; it is not detached")
        was_there = await drives.detach_disk(work.cim, machine, file, None)
        return succeeded(f"{file} is detached" if was_there else f"{file} was not attached")
    if "iso_path" not in parameters:
        raise CommandRefused("detach needs path or iso_path")
    iso = text_parameter(parameters, "iso_path")
    was_in = await drives.eject_iso(
        work.cim, machine, checked_path(iso) if iso is not None else None, 0
    )
    return succeeded("the ISO is out of the DVD drive" if was_in else "the ISO was not in")


async def stats(work: Work) -> Outcome:
    """Show the load of the VM."""
    await work.require()
    answer = await get_vm_stats(GetVmStatsCommand(vm_names=[work.name]), work.context)
    found = answer.vm_stats_map if isinstance(answer, GetVmStatsAnswer) else None
    entry = (found or {}).get(work.name)
    if entry is None:
        return failed(f"VM {work.name} does not run")
    rows: list[Row] = [
        {"Value": name, "Now": round(number, 2)}
        for name, number in (
            ("CPU %", entry.cpu_utilization),
            ("memory KiB", entry.memory_kbs),
            ("network received KiB", entry.network_read_kbs),
            ("network sent KiB", entry.network_write_kbs),
            ("disk read KiB", entry.disk_read_kbs),
            ("disk written KiB", entry.disk_write_kbs),
        )
    ]
    return table(rows)


async def migrate(work: Work) -> Outcome:
    """Move the running VM to another host that sees its disks."""
    destination = text_parameter(work.payload.parameters, "destination")
    if destination is None:
        raise CommandRefused("the parameter destination (a host's address) is missing")
    await work.require()
    command = MigrateCommand(
        vm_name=work.name,
        destination_ip=destination,
        virtual_machine=described(work),
        wait=int(work.seconds),
    )
    answer = await migrate_vm(command, work.context)
    return succeeded(f"Instance migrated: {answer.details}")


async def get_console(work: Work) -> Outcome:
    """Refuse: there is no console on this door yet."""
    return failed(
        f"console of VM {work.name}: not configured; use the host's own (vmconnect) until then"
    )


def _wanted_disk(work: Work, devices: Devices) -> Drive:
    """Return the disk that the parameter `disk` names, the root disk when it names none."""
    wanted = text_parameter(work.payload.parameters, "disk")
    disks = [d for d in devices.drives if d.kind is DriveKind.DISK and d.medium is not None]
    for drive in disks:
        file = drive.medium.file if drive.medium is not None else ""
        if wanted is None:
            if _is_root(drive):
                return drive
        elif same_disk(file, wanted) or folded(file_name(file)) == folded(wanted):
            return drive
    names = ", ".join(drive.medium.file for drive in disks if drive.medium is not None)
    raise CommandRefused(
        f"VM {work.name} has no disk {wanted or 'to boot from'}; it has {names or 'none'}"
    )


def _is_root(drive: Drive) -> bool:
    return drive.kind is DriveKind.DISK and sequence_of(drive.address) == 0


async def _free_disk_name(work: Work) -> str:
    for number in range(1, _MOST_DISKS):
        path = join_path(work.disk_folder, f"{work.name}-{number}.vhdx")
        host_disks.require_own_drive(path)
        if not await images.has_file(work.cim, path):
            return path
    raise CommandRefused(f"VM {work.name} has {_MOST_DISKS - 1} disks in {work.disk_folder}")


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**31):
        raise CommandRefused(f"{name} is a whole number, not {text[:40]!r}")
    return int(text)
