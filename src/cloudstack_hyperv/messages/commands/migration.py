"""Commands about moving VMs and volumes, and about work whose answer was lost."""

import msgspec

from cloudstack_hyperv.messages.answers.migration import (
    MigrateVmToPoolAnswer,
    MigrateWithStorageAnswer,
    MigrateWithStorageCompleteAnswer,
    MigrateWithStorageReceiveAnswer,
    MigrateWithStorageSendAnswer,
    ReconcileAnswer,
    ReconcileCopyAnswer,
    ReconcileMigrateAnswer,
    ReconcileMigrateVolumeAnswer,
)
from cloudstack_hyperv.messages.answers.storage import MigrateVolumeAnswer
from cloudstack_hyperv.messages.answers.vm import MigrateAnswer, PrepareForMigrationAnswer
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import AGENT_API, RECONCILE, STORAGE
from cloudstack_hyperv.messages.json_text import Json
from cloudstack_hyperv.messages.objects.pairs import Pair
from cloudstack_hyperv.messages.objects.storage import DataTO, StorageFilerTO, VolumeTO
from cloudstack_hyperv.messages.objects.vm import DpdkTO, NicTO, VirtualMachineTO
from cloudstack_hyperv.messages.wire import WireObject


@command(AGENT_API, answer=PrepareForMigrationAnswer)
class PrepareForMigrationCommand(Command, kw_only=True):
    """Make this host, the destination, ready to receive a VM; or undo that (`rollback`)."""

    vm: VirtualMachineTO
    rollback: bool = False


class MigrateDiskInfo(WireObject):
    """`MigrateCommand$MigrateDiskInfo` (KVM)."""

    serial_number: str | None = None
    disk_type: str | None = None
    driver_type: str | None = None
    source: str | None = None
    source_text: str | None = None
    backing_store_text: str | None = None
    is_source_disk_on_storage_file_system: bool = False


@command(AGENT_API, answer=MigrateAnswer)
class MigrateCommand(Command, kw_only=True):
    """Move a running VM from this host, the source, to another."""

    vm_name: str
    destination_ip: str
    migrate_storage: dict[str, MigrateDiskInfo] | None = None
    migrate_storage_managed: bool = False
    migrate_non_shared_inc: bool = False
    auto_convergence: bool = False
    host_guid: str | None = None
    windows: bool = False
    virtual_machine: VirtualMachineTO | None = None
    execute_in_sequence: bool = False
    migrate_disk_info_list: list[MigrateDiskInfo] = msgspec.field(default_factory=list)
    dpdk_interface_mapping: dict[str, DpdkTO] = msgspec.field(default_factory=dict)
    new_vm_cpu_shares: int | None = None
    vlan_to_persistence_map: dict[str, bool] = msgspec.field(default_factory=dict)


@command(STORAGE, answer=MigrateVolumeAnswer)
class MigrateVolumeCommand(Command):
    """Move a volume to another pool, with the VM running if `attached_vm_name` is given."""

    volume_id: int = 0
    volume_path: str | None = None
    chain_info: str | None = None
    pool: StorageFilerTO | None = None
    source_pool: StorageFilerTO | None = None
    attached_vm_name: str | None = None
    volume_type: str | None = None
    host_guid_in_target_cluster: str | None = None
    src_data: DataTO | None = None
    dest_data: DataTO | None = None
    src_details: dict[str, str] | None = None
    dest_details: dict[str, str] | None = None


@command(AGENT_API, answer=MigrateWithStorageAnswer)
class MigrateWithStorageCommand(Command, kw_only=True):
    """Move a running VM and its disks to `tgt_host`, by address.

    Java writes the older map form with the volumes' `toString()` as keys, which nobody can
    read back; `volume_to_filer_as_list` is the usable form.
    """

    vm: VirtualMachineTO
    volume_to_filer: dict[str, StorageFilerTO] | None = None
    volume_to_filer_as_list: list[Pair[VolumeTO, StorageFilerTO]] | None = None
    tgt_host: str | None = None
    is_windows: bool | None = None


@command(AGENT_API, answer=MigrateVmToPoolAnswer)
class MigrateVmToPoolCommand(Command):
    """Move all volumes of a VM to other pools (VMware)."""

    vm_name: str | None = None
    execute_in_sequence: bool = False
    volume_to_filer_as_list: list[Pair[VolumeTO, StorageFilerTO]] | None = None
    host_guid_in_target_cluster: str | None = None


@command(AGENT_API, answer=MigrateWithStorageReceiveAnswer)
class MigrateWithStorageReceiveCommand(Command):
    """First step of a migration in three steps (XenServer)."""

    vm: VirtualMachineTO | None = None
    volume_to_storage_uuid: list[Pair[VolumeTO, str]] | None = None


@command(AGENT_API, answer=MigrateWithStorageSendAnswer)
class MigrateWithStorageSendCommand(Command):
    """Second step of a migration in three steps (XenServer)."""

    vm: VirtualMachineTO | None = None
    volume_to_sr: list[Pair[VolumeTO, Json]] | None = None
    nic_to_network: list[Pair[NicTO, Json]] | None = None
    token: dict[str, str] | None = None


@command(AGENT_API, answer=MigrateWithStorageCompleteAnswer)
class MigrateWithStorageCompleteCommand(Command):
    """Last step of a migration in three steps (XenServer)."""

    vm: VirtualMachineTO | None = None


@command(RECONCILE, answer=ReconcileAnswer)
class ReconcileCommand(Command):
    """Say what became of a command whose answer was lost."""


@command(RECONCILE, answer=ReconcileCopyAnswer)
class ReconcileCopyCommand(ReconcileCommand):
    """Say what became of a copy."""

    src_data: DataTO | None = None
    dest_data: DataTO | None = None
    option: dict[str, str] | None = None
    option2: dict[str, str] | None = None


@command(RECONCILE, answer=ReconcileMigrateAnswer)
class ReconcileMigrateCommand(ReconcileCommand):
    """Say what became of a migration."""

    vm_name: str | None = None


@command(RECONCILE, answer=ReconcileMigrateVolumeAnswer)
class ReconcileMigrateVolumeCommand(ReconcileCommand):
    """Say what became of the migration of a volume."""

    src_data: DataTO | None = None
    dest_data: DataTO | None = None
    vm_name: str | None = None
