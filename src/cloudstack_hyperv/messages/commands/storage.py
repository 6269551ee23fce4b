"""Commands about pools, templates, volumes and snapshots of volumes, as CloudStack uses them now.

Those of older subsystems and of other hypervisors are in `storage_other`, `volume_snapshots`
and `secondary_storage`.
"""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.storage import (
    AttachAnswer,
    CopyCmdAnswer,
    CreateAnswer,
    CreateObjectAnswer,
    DettachAnswer,
    ModifyStoragePoolAnswer,
    PrimaryStorageDownloadAnswer,
    ResizeVolumeAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import AGENT_API, STORAGE, STORAGE_COMMAND
from cloudstack_hyperv.messages.objects.storage import (
    DataTO,
    DiskProfile,
    SnapshotObjectTO,
    StorageFilerTO,
    VolumeTO,
)
from cloudstack_hyperv.messages.objects.vm import DiskTO


@command(AGENT_API, answer=Answer)
class CreateStoragePoolCommand(Command, kw_only=True):
    """Make a pool; a failure makes the server forget it."""

    add: bool = False
    pool: StorageFilerTO
    local_path: str | None = None
    create_datastore: bool = msgspec.field(default=False, name="_createDatastore")
    details: dict[str, str] | None = None


@command(AGENT_API, answer=ModifyStoragePoolAnswer)
class ModifyStoragePoolCommand(Command, kw_only=True):
    """Make a pool usable on this host (`add`), or give it up."""

    add: bool = False
    pool: StorageFilerTO
    local_path: str | None = None
    storage_path: str | None = None
    details: dict[str, str] | None = None


@command(AGENT_API, answer=Answer)
class DeleteStoragePoolCommand(Command, kw_only=True):
    """Give a pool up, never its data."""

    pool: StorageFilerTO = msgspec.field(name="_pool")
    local_path: str | None = msgspec.field(default=None, name="_localPath")
    remove_datastore: bool = msgspec.field(default=False, name="_removeDatastore")
    pool_details: dict[str, str] | None = msgspec.field(default=None, name="_details")


@command(STORAGE_COMMAND, answer=CopyCmdAnswer)
class CopyCommand(Command, kw_only=True):
    """Copy a template, volume or snapshot from one store to another."""

    src_to: DataTO = msgspec.field(name="srcTO")
    dest_to: DataTO = msgspec.field(name="destTO")
    cache_to: DataTO | None = msgspec.field(default=None, name="cacheTO")
    execute_in_sequence: bool = False
    options: dict[str, str] = msgspec.field(default_factory=dict)
    options2: dict[str, str] = msgspec.field(default_factory=dict)


@command(STORAGE_COMMAND, answer=CreateObjectAnswer)
class CreateObjectCommand(Command, kw_only=True):
    """Make a blank volume or a snapshot."""

    data: DataTO


@command(STORAGE_COMMAND, answer=Answer)
class DeleteCommand(Command, kw_only=True):
    """Delete a volume, snapshot or template; one that is gone is a success."""

    data: DataTO


@command(STORAGE, answer=Answer)
class DestroyCommand(Command, kw_only=True):
    """Delete a template from primary storage, or a volume (older)."""

    vm_name: str | None = None
    volume: VolumeTO


@command(STORAGE_COMMAND, answer=AttachAnswer)
class AttachCommand(Command, kw_only=True):
    """Attach a volume or ISO to a VM."""

    disk: DiskTO
    vm_name: str
    in_seq: bool = False
    controller_info: dict[str, str] | None = None
    forced: bool = False


@command(STORAGE_COMMAND, answer=DettachAnswer)
class DettachCommand(Command, kw_only=True):
    """Detach a volume or ISO from a VM; the wait is in milliseconds."""

    disk: DiskTO
    vm_name: str
    managed: bool = msgspec.field(default=False, name="_managed")
    iscsi_name: str | None = msgspec.field(default=None, name="_iScsiName")
    storage_host: str | None = msgspec.field(default=None, name="_storageHost")
    storage_port: int = msgspec.field(default=0, name="_storagePort")
    params: dict[str, str] | None = None
    forced: bool = False
    wait_detach_device: int = 0


@command(STORAGE, answer=ResizeVolumeAnswer)
class ResizeVolumeCommand(Command, kw_only=True):
    """Grow or shrink a volume; sizes in bytes, `vm_instance` is "none" when detached."""

    path: str
    pool: StorageFilerTO | None = None
    current_size: int | None = None
    new_size: int
    new_max_iops: int | None = None
    new_min_iops: int | None = None
    new_hypervisor_snapshot_reserve: int | None = None
    shrink_ok: bool = False
    vm_instance: str | None = None
    chain_info: str | None = None
    managed: bool = False
    iscsi_name: str | None = None
    passphrase: bytes | None = None
    encrypt_format: str | None = None
    context_param: dict[str, str] | None = None


@command(STORAGE_COMMAND, answer=Answer)
class RevertSnapshotCommand(Command):
    """Make a volume what it was at a snapshot; both members are declared as classes."""

    data: SnapshotObjectTO | None = None
    data_on_primary_storage: SnapshotObjectTO | None = None
    execute_in_sequence: bool = msgspec.field(default=False, name="_executeInSequence")


@command(STORAGE, answer=CreateAnswer)
class CreateCommand(Command):
    """Make a volume, blank or from a template (older)."""

    vol_id: int = 0
    pool: StorageFilerTO | None = None
    disk_characteristics: DiskProfile | None = None
    template_url: str | None = None
    execute_in_sequence: bool = False


@command(STORAGE, answer=PrimaryStorageDownloadAnswer)
class PrimaryStorageDownloadCommand(Command):
    """Fetch a template to primary storage (older, still used for system VM templates)."""

    local_path: str | None = None
    pool_uuid: str | None = None
    pool_id: int = 0
    primary_pool: StorageFilerTO | None = None
    secondary_storage_url: str | None = None
    primary_storage_url: str | None = None
    url: str | None = None
    format: str | None = None
    account_id: int = 0
    name: str | None = None
    nfs_version: str | None = None
