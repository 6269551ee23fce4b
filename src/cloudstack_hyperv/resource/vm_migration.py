"""PrepareForMigration, Migrate, MigrateWithStorage, MigrateVolume: VMs and volumes on the move.

The destination is asked first (PrepareForMigration): is there a switch for every NIC, does it see
every disk, has it no VM of that name, does it take part in live migration.  It makes nothing, so
`rollback` has nothing to remove.  The source then does the work (Migrate), by the host's own
migration service; a failure leaves the VM running there.

CloudStack names the destination by address, Hyper-V needs its name, and Kerberos no other.  So the
destination has to be one of the hosts that this agent serves (`HostContext.peers`); of another only
the address is known, which works where the hosts' live migration uses CredSSP.

A VM that a failover cluster looks after is moved by the cluster, whose nodes trust each other.

After a failed Migrate the management server stops the VM *on the destination*, and there it is not.
A repeated command finds the VM gone here and running there: success.

MigrateVolume of a volume that no running VM has is a copy and a deletion (`volume_moves`).

Sources: CloudStack's `VirtualMachineManagerImpl` (orchestrateMigrate),
`HypervStorageMotionStrategy`, `StorageSystemDataMotionStrategy`; the C# agent's `MigrateVm`,
`MigrateVmWithVolume`, `MigrateVolume`.
"""

from __future__ import annotations

import structlog

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import migration
from cloudstack_hyperv.hypervisor.cluster import move_role
from cloudstack_hyperv.hypervisor.devices import Devices, read_devices
from cloudstack_hyperv.hypervisor.errors import (
    HypervisorError,
    VirtualMachineNotFound,
    WrongState,
)
from cloudstack_hyperv.hypervisor.inventory import read_migration_settings
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.migration import Kind
from cloudstack_hyperv.hypervisor.wish import DriveKind
from cloudstack_hyperv.messages.answers.migration import MigrateWithStorageAnswer
from cloudstack_hyperv.messages.answers.storage import MigrateVolumeAnswer
from cloudstack_hyperv.messages.answers.vm import MigrateAnswer, PrepareForMigrationAnswer
from cloudstack_hyperv.messages.commands.migration import (
    MigrateCommand,
    MigrateVolumeCommand,
    MigrateWithStorageCommand,
    PrepareForMigrationCommand,
)
from cloudstack_hyperv.messages.objects.storage import (
    PrimaryDataStoreTO,
    VolumeObjectTO,
)
from cloudstack_hyperv.messages.objects.vm import VirtualMachineTO
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.disk_files import disk_file, require_file
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_cluster import role_of
from cloudstack_hyperv.resource.known_machines import find_ours, machine_directory
from cloudstack_hyperv.resource.known_switches import switch_for
from cloudstack_hyperv.resource.registry import handles
from cloudstack_hyperv.resource.storage_access import storage_access
from cloudstack_hyperv.resource.vm_wish import ownership_of, wanted_nics
from cloudstack_hyperv.resource.volume_moves import move_at_rest
from cloudstack_hyperv.storage.windows_paths import (
    checked_stem,
    file_name,
    join_path,
    same_path,
)
from cloudstack_hyperv.wsman.api import EmbeddedInstance

log = structlog.get_logger(__name__)

_PAGE = "Phase 2: migration"


@handles(
    PrepareForMigrationCommand, ordered_by=lambda command: (f"vm:{command.vm.name}",), page=_PAGE
)
async def prepare_for_migration(
    command: PrepareForMigrationCommand, context: HostContext
) -> PrepareForMigrationAnswer:
    """Say whether this host, the destination, can receive a VM; changes nothing."""
    vm = command.vm
    if command.rollback:
        return PrepareForMigrationAnswer(result=True, details="nothing was made, nothing to undo")
    settings = await read_migration_settings(context.cim)
    if settings is None or not settings.enabled:
        raise WrongState(
            f"live migration is not enabled on {context.host.name} (Enable-VMMigration)"
        )
    ownership = ownership_of(vm)
    machine = await machine_directory(context).find(vm.name, search=True)
    if machine is not None:
        whose = "this" if ownership.same_machine(machine.ownership) else "another"
        raise WrongState(
            f"{context.host.name} has a VM {vm.name} already ({machine.guid}), {whose} one; it "
            "cannot arrive"
        )
    for nic in wanted_nics(vm):
        if nic.needs_switch:
            await switch_for(context, nic.switch_label)
    for disk in vm.disks or ():
        file = await disk_file(disk, context)
        if file is not None:
            await require_file(context, file)
    return PrepareForMigrationAnswer(result=True)


@handles(MigrateCommand, ordered_by=lambda command: (f"vm:{command.vm_name}",), page=_PAGE)
async def migrate(command: MigrateCommand, context: HostContext) -> MigrateAnswer:
    """Move a running VM to another host; the VM that is there already is a success."""
    name = command.vm_name
    what = f"migrate VM {name}"
    peer = context.peers.get(command.destination_ip)
    machine = await find_ours(context, name)
    if machine is None:
        return await _arrived_before(name, peer)
    migration.require_running(machine, what)
    destination = await _destination(command.destination_ip, peer)
    role = await role_of(context, machine)
    if role is not None:
        node = destination.partition(".")[0] if peer is not None else destination
        await move_role(context.cim, role, node, _patience(command.wait, context))
        await _hand_over(name, machine, context, peer)
        return MigrateAnswer(result=True, details=f"the cluster moved VM {name} to {node}")
    devices = await read_devices(context.cim, machine.guid, name)
    switches = await _switches_there(command.virtual_machine, peer)
    await migration.migrate(
        context.cim,
        machine,
        destination,
        migration.moved_connections(devices.adapters, switches),
        kind=Kind.VIRTUAL_MACHINE,
        timeout=_patience(command.wait, context),
    )
    await _hand_over(name, machine, context, peer)
    return MigrateAnswer(result=True, details=f"VM {name} runs on {command.destination_ip}")


@handles(
    MigrateWithStorageCommand, ordered_by=lambda command: (f"vm:{command.vm.name}",), page=_PAGE
)
async def migrate_with_storage(
    command: MigrateWithStorageCommand, context: HostContext
) -> MigrateWithStorageAnswer:
    """Move a running VM and its disks to another host and its pools."""
    name = command.vm.name
    what = f"migrate VM {name} with its volumes"
    address = command.tgt_host or ""
    pairs = command.volume_to_filer_as_list or []
    volumes = []
    peer = context.peers.get(address)
    machine = await find_ours(context, name)
    devices: Devices | None = None
    if machine is not None:
        migration.require_running(machine, what)
        devices = await read_devices(context.cim, machine.guid, name)
        migration.require_whole_disks(devices, what)
    resources = []
    for pair in pairs:
        volume, pool = pair.t, pair.u
        if volume is None or pool is None or not volume.path:
            raise CommandRefused(f"{what}: a volume without path or pool is named")
        volumes.append(VolumeObjectTO(id=volume.id, path=volume.path, name=volume.name))
        if devices is not None:
            folder = storage_access(context).folder_of_pool(pool)
            resources.append(_to_folder(devices, volume.path, folder, what))
    if machine is None or devices is None:
        answer = await _arrived_before(name, peer)
        return MigrateWithStorageAnswer(result=True, details=answer.details, volume_tos=volumes)
    switches = await _switches_there(command.vm, peer)
    await migration.migrate(
        context.cim,
        machine,
        await _destination(address, peer),
        [*resources, *migration.moved_connections(devices.adapters, switches)],
        kind=Kind.VIRTUAL_MACHINE_AND_STORAGE,
        timeout=_patience(command.wait, context),
    )
    await _hand_over(name, machine, context, peer)
    return MigrateWithStorageAnswer(result=True, volume_tos=volumes)


def _volume_keys(command: MigrateVolumeCommand) -> tuple[str, ...]:
    keys = [f"file:{command.volume_path}"] if command.volume_path else []
    return (*keys, f"vm:{command.attached_vm_name}") if command.attached_vm_name else tuple(keys)


@handles(MigrateVolumeCommand, ordered_by=_volume_keys, page="Phase 2: volume service")
async def migrate_volume(
    command: MigrateVolumeCommand, context: HostContext
) -> MigrateVolumeAnswer:
    """Move a volume to another pool, under a VM that runs or at rest."""
    if not command.volume_path or command.pool is None:
        raise CommandRefused("the command names no volume or no pool")
    stem = checked_stem(command.volume_path)
    what = f"move volume {stem}"
    name = command.attached_vm_name
    machine = await find_ours(context, name) if name else None
    folder = storage_access(context).folder_of_pool(command.pool)
    if machine is None or machine.state == EnabledState.DISABLED:
        await move_at_rest(context, stem, _source_folder(command, stem, context), folder)
        return MigrateVolumeAnswer(result=True, volume_path=stem)
    devices = await read_devices(context.cim, machine.guid, machine.cloudstack_name)
    migration.require_whole_disks(devices, what)
    for drive in devices.drives:
        if drive.kind is not DriveKind.DISK or drive.medium is None:
            continue
        own = file_name(drive.medium.file)
        if own.rpartition(".")[0].casefold() != stem.casefold():
            continue
        target = join_path(folder, own)
        if not same_path(drive.medium.file, target):
            patience = _patience(command.wait, context)
            await migration.move_storage(context.cim, machine, drive, target, patience)
        return MigrateVolumeAnswer(result=True, volume_path=stem)
    raise CommandRefused(f"{what}: VM {name} does not have it")


def _source_folder(command: MigrateVolumeCommand, stem: str, context: HostContext) -> str:
    """Return the folder of the pool that a volume lies in now."""
    data = command.src_data
    store = data.data_store if isinstance(data, VolumeObjectTO) else None
    pool = store if isinstance(store, PrimaryDataStoreTO) else command.source_pool
    if pool is None:
        raise CommandRefused(f"move volume {stem}: the command does not say from which pool")
    return storage_access(context).folder_of_pool(pool)


async def _arrived_before(name: str, peer: HostContext | None) -> MigrateAnswer:
    """Answer for a VM that is not here: an earlier command may have moved it."""
    machine = await find_ours(peer, name) if peer is not None else None
    if machine is None or machine.state != EnabledState.ENABLED:
        raise VirtualMachineNotFound(f"the host has no VM {name}, and it has not arrived elsewhere")
    return MigrateAnswer(result=True, details=f"VM {name} is there already")


async def _destination(address: str, peer: HostContext | None) -> str:
    if peer is not None:
        return await migration.read_dns_name(peer.cim)
    if not address:
        raise CommandRefused("the command names no destination")
    log.warning("the destination is no host of this agent: its address is used", address=address)
    return address


async def _switches_there(
    vm: VirtualMachineTO | None, peer: HostContext | None
) -> dict[str, ObjectPath]:
    """Return the destination's switch of each NIC by MAC address, as far as it can be known."""
    if vm is None or peer is None:
        return {}
    return {
        nic.mac: (await switch_for(peer, nic.switch_label)).path
        for nic in wanted_nics(vm)
        if nic.needs_switch
    }


async def _hand_over(
    name: str, machine: Machine, context: HostContext, peer: HostContext | None
) -> None:
    """Forget the VM here; where the destination can be asked, make sure that it runs there."""
    machine_directory(context).index.forget(name)
    if peer is None:
        return
    arrived = await machine_directory(peer).find(name, search=True)
    if arrived is None:
        raise HypervisorError(
            f"VM {name} ({machine.guid}) left {context.host.name} and is not on {peer.host.name}"
        )
    log.info("VM migrated", vm=name, guid=machine.guid, to=peer.host.name)


def _to_folder(devices: Devices, stem: str, folder: str, what: str) -> EmbeddedInstance:
    for extension in (".vhdx", ".vhd"):
        for drive in devices.drives:
            if drive.kind is DriveKind.DISK and drive.medium is not None:
                own = file_name(drive.medium.file)
                if own.casefold() == f"{checked_stem(stem)}{extension}".casefold():
                    return migration.moved_disk(drive, join_path(folder, own))
    raise CommandRefused(f"{what}: the VM does not have the volume {stem}")


def _patience(wait: int, context: HostContext) -> float:
    """Return the seconds that the host may take: what is left must do to end its job."""
    return (wait or context.settings.direct.default_wait) * 0.9
