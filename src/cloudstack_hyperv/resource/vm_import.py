"""VMs that come into CloudStack's care and leave it: import, unmanage, disks that are there.

GetUnmanagedInstances lists VMs that CloudStack does not name as its own, as the KVM agent does:
by the VM's name, memory in MB, disks by the file's stem (which is what CloudStack stores as a
volume's path), folder as the pool's path, NICs with MAC address, VLAN and switch.  Nothing of it
changes a VM.  A VM without our mark in its Notes stays a stranger, though: after an import an
operator writes the mark (docs/contract.md shows the line), and only then it is stopped or changed.

UnmanageInstance lets a VM go: the mark is taken out of its Notes.  A stopped VM has no definition
(CloudStack removed it), so it is defined anew first, as the KVM agent does since 4.20.

GetRemoteVms logs in to another Hyper-V host, named by address, with the command's own user and
password, in the way (port, TLS, CA) that is configured for this host, and lists its VMs that are
off, as KVM does.

The 4.22 management server offers import for VMware and KVM only, and sends none of these.
Sources: CloudStack's `UnmanagedVMsManagerImpl`, `LibvirtGetUnmanagedInstancesCommandWrapper`,
`LibvirtUnmanageInstanceCommandWrapper`, `LibvirtPrepareUnmanageVMInstanceCommandWrapper`,
`LibvirtGetRemoteVmsCommandWrapper`, `LibvirtCheckVolumeCommandWrapper`, `VolumeOnStorageTO`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import structlog

from cloudstack_hyperv.config import HostSettings
from cloudstack_hyperv.hypervisor import drives
from cloudstack_hyperv.hypervisor.apply import apply
from cloudstack_hyperv.hypervisor.checkpoints import change_system
from cloudstack_hyperv.hypervisor.errors import NotOurs, VirtualMachineNotFound
from cloudstack_hyperv.hypervisor.foreign_machines import (
    ForeignDisk,
    ForeignMachine,
    ForeignNic,
    describe_machines,
)
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import without_mark
from cloudstack_hyperv.hypervisor.plan import PowerOn, plan_start
from cloudstack_hyperv.messages.answers.storage import CheckVolumeAnswer
from cloudstack_hyperv.messages.answers.unmanaged import (
    GetRemoteVmsAnswer,
    GetUnmanagedInstancesAnswer,
    PrepareUnmanageVMInstanceAnswer,
    UnmanageInstanceAnswer,
)
from cloudstack_hyperv.messages.commands.storage_other import CheckVolumeCommand
from cloudstack_hyperv.messages.commands.unmanaged import (
    GetRemoteVmsCommand,
    GetUnmanagedInstancesCommand,
    PrepareUnmanageVMInstanceCommand,
    UnmanageInstanceCommand,
)
from cloudstack_hyperv.messages.enums import PowerState
from cloudstack_hyperv.messages.objects.unmanaged import (
    UnmanagedDisk,
    UnmanagedInstanceTO,
    UnmanagedNic,
)
from cloudstack_hyperv.network import spelled_mac
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_safety import users_of
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import (
    find_ours,
    machine_directory,
    takes_sizes_in_define,
)
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.resource.vm_start import prepare
from cloudstack_hyperv.resource.vm_state import state_of
from cloudstack_hyperv.resource.vm_wish import wanted_nics
from cloudstack_hyperv.storage.locations import find_disk
from cloudstack_hyperv.storage.windows_paths import (
    checked_stem,
    file_name,
    join_path,
    parent_folder,
    split_extension,
)
from cloudstack_hyperv.vhd import VhdError
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient
from cloudstack_hyperv.wsman.api import CimClient

log = structlog.get_logger(__name__)

_PAGE = "Phase 2: expand VM management"
_CONFIG_DRIVE = 1
"""Number of the DVD drive that holds a config drive."""


@handles(GetUnmanagedInstancesCommand, page=_PAGE)
async def get_unmanaged_instances(
    command: GetUnmanagedInstancesCommand, context: HostContext
) -> GetUnmanagedInstancesAnswer:
    """List VMs that CloudStack does not manage, or describe one of them."""
    managed = frozenset(command.managed_instances_names or ())
    name = command.instance_name or None
    if name is not None and name in managed:
        raise CommandRefused(f"VM {name} is managed by CloudStack already")

    def is_wanted(machine: Machine) -> bool:
        if machine.cloudstack_name in managed or machine.is_kept:
            return False
        return name is None or machine.element_name == name

    found = await describe_machines(context.cim, is_wanted)
    if name is not None and not found:
        raise VirtualMachineNotFound(f"the host has no VM {name}")
    return GetUnmanagedInstancesAnswer(
        result=True,
        details="OK",
        instance_name=command.instance_name,
        unmanaged_instances=_by_name(found, context.private_address),
    )


@handles(
    PrepareUnmanageVMInstanceCommand,
    ordered_by=lambda command: (f"vm:{command.instance_name}",),
    page=_PAGE,
)
async def prepare_unmanage_vm_instance(
    command: PrepareUnmanageVMInstanceCommand, context: HostContext
) -> PrepareUnmanageVMInstanceAnswer:
    """Say whether a VM is here and ours, so that it can be let go."""
    name = command.instance_name or ""
    if await find_ours(context, name) is None:
        raise VirtualMachineNotFound(f"the host has no VM {name}")
    return PrepareUnmanageVMInstanceAnswer(result=True)


@handles(
    UnmanageInstanceCommand,
    ordered_by=lambda command: (f"vm:{command.instance_name}",),
    page=_PAGE,
)
async def unmanage_instance(
    command: UnmanageInstanceCommand, context: HostContext
) -> UnmanageInstanceAnswer:
    """Take our mark off a VM, and a config drive out of it; the VM itself goes on."""
    name = command.instance_name or ""
    machine = await find_ours(context, name)
    if machine is None:
        machine = await _define_stopped(command, context)
    elif command.is_config_drive_attached:
        await drives.eject_iso(context.cim, machine, None, _CONFIG_DRIVE)
    await change_system(
        context.cim,
        machine.guid,
        {"Notes": [without_mark(machine.notes)]},
        f"let VM {name} go",
    )
    machine_directory(context).index.forget(name)
    log.info("VM let go", vm=name, guid=machine.guid)
    return UnmanageInstanceAnswer(result=True, details=f"VM {name} is CloudStack's no more")


@handles(GetRemoteVmsCommand, page=_PAGE)
async def get_remote_vms(command: GetRemoteVmsCommand, context: HostContext) -> GetRemoteVmsAnswer:
    """List the VMs of another Hyper-V host that are off."""
    address = command.remote_ip or ""
    client = _remote_client(context.host, address, command.username, command.password)
    try:
        found = await describe_machines(client, lambda m: state_of(m) is PowerState.OFF)
    finally:
        await client.close()
    return GetRemoteVmsAnswer(
        result=True, remote_ip=address, unmanaged_instances=_by_name(found, address)
    )


@handles(CheckVolumeCommand, page=_PAGE)
async def check_volume(command: CheckVolumeCommand, context: HostContext) -> CheckVolumeAnswer:
    """Say what a disk in a pool is; a file that is no disk is a failure with size 0."""
    if command.storage_filer is None or not command.src_file:
        raise CommandRefused("the command names no pool or no file")
    folder = storage_access(context).folder_of_pool(command.storage_filer)
    path = await _disk_in(context, folder, command.src_file)
    try:
        info = await context.files.disk_info(path)
    except VhdError as error:
        return CheckVolumeAnswer(result=False, details=f"{path}: {error}", size=0)
    locked = bool(await users_of(context, path))
    details = {"FILE_FORMAT": info.format.name, "IS_LOCKED": str(locked).lower()}
    if info.parent is not None:
        parents = info.parent.candidate_paths(path)
        details["BACKING_FILE"] = parents[0] if parents else "unknown"
    return CheckVolumeAnswer(result=True, size=info.virtual_size, volume_details=details)


async def _define_stopped(command: UnmanageInstanceCommand, context: HostContext) -> Machine:
    """Define a VM that CloudStack had stopped, without starting it."""
    name = command.instance_name or ""
    if command.vm is None:
        raise VirtualMachineNotFound(f"the host has no VM {name}")
    wish, release = await prepare(command.vm, wanted_nics(command.vm), context)
    plan = plan_start(wish, release, sized_in_define=takes_sizes_in_define(context))
    plan = replace(plan, steps=tuple(s for s in plan.steps if not isinstance(s, PowerOn)))
    await apply(plan, machine_directory(context))
    machine = await find_ours(context, name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host does not show VM {name}, which it just defined")
    return machine


async def _disk_in(context: HostContext, folder: str, name: str) -> str:
    """Return the path of a disk by its stem, or by its name with extension."""
    stem, extension = split_extension(name)
    if extension in (".vhdx", ".vhd"):
        return join_path(folder, f"{checked_stem(stem)}{extension}")
    found = await find_disk(folder, name, None, context.files)
    if found is None:
        raise CommandRefused(f"no disk {name[:100]!r} in {folder}")
    return found


def _remote_client(
    host: HostSettings, address: str, user: str | None, password: str | None
) -> CimClient:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise CommandRefused(f"{address[:60]!r} is not the address of a host") from None
    if not user or not password:
        raise CommandRefused("the command has no user or no password for the other host")
    winrm = host.winrm
    basic = winrm.allow_unencrypted and winrm.authentication.value == AuthScheme.BASIC.value
    try:
        return WsmanClient(
            Endpoint(
                address,
                winrm.port or 0,
                https=winrm.transport == "https",
                ca_file=Path(winrm.ca_file) if winrm.ca_file else None,
            ),
            Credentials(
                AuthScheme.BASIC if basic else AuthScheme.NEGOTIATE,
                user,
                password,
                allow_clear_text=basic,
            ),
            default_timeout=winrm.timeout,
        )
    except (ValueError, OSError) as error:
        raise CommandRefused(f"log in to {address}: {error}") from None


def _by_name(
    machines: Iterable[ForeignMachine], host_address: str
) -> dict[str, UnmanagedInstanceTO]:
    """Return the VMs by name; of several with one name none can be meant, so none is listed."""
    found: dict[str, UnmanagedInstanceTO] = {}
    twice: set[str] = set()
    for each in machines:
        name = each.machine.element_name
        if name in found:
            twice.add(name)
        found[name] = _instance(each, host_address)
    for name in sorted(twice):
        log.warning("several VMs have one name, none is listed", vm=name)
        del found[name]
    if twice and not found:
        raise NotOurs(f"several VMs of the host are called {', '.join(sorted(twice))}; rename them")
    return found


def _instance(each: ForeignMachine, host_address: str) -> UnmanagedInstanceTO:
    uefi = each.generation == 2
    mode = "SECURE" if each.secure_boot else "LEGACY"
    return UnmanagedInstanceTO(
        name=each.machine.element_name,
        power_state=str(state_of(each.machine)),
        cpu_cores=each.processors,
        memory=each.memory,
        disks=[_disk(number, disk, host_address) for number, disk in enumerate(each.disks)],
        nics=[_nic(number, nic) for number, nic in enumerate(each.nics)],
        boot_type="UEFI" if uefi else "BIOS",
        boot_mode=mode if uefi else "LEGACY",
    )


def _disk(number: int, disk: ForeignDisk, host_address: str) -> UnmanagedDisk:
    folder = parent_folder(disk.file)
    host, path = host_address, folder
    if folder.startswith("\\\\"):
        host, _, share = folder[2:].partition("\\")
        path = "/" + share.replace("\\", "/")
    return UnmanagedDisk(
        disk_id=str(number),
        label=str(disk.drive.address),
        capacity=disk.size,
        file_base_name=split_extension(file_name(disk.file))[0],
        image_path=disk.file,
        controller=disk.drive.address.bus.lower(),
        controller_unit=disk.drive.address.controller,
        position=number,
        datastore_name=path,
        datastore_host=host,
        datastore_path=path,
        datastore_type="file",
    )


def _nic(number: int, nic: ForeignNic) -> UnmanagedNic:
    return UnmanagedNic(
        nic_id=str(number),
        adapter_type="synthetic",
        mac_address=spelled_mac(nic.adapter.mac),
        network=nic.switch,
        vlan=nic.vlan,
    )
