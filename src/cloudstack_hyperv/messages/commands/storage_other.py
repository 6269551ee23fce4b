"""Commands about pools and volumes of older storage subsystems and of other hypervisors."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.storage import (
    AttachPrimaryDataStoreAnswer,
    CheckAndRepairVolumeAnswer,
    CheckVolumeAnswer,
    CopyRemoteVolumeAnswer,
    CopyVolumeAnswer,
    GetStoragePoolCapabilitiesAnswer,
    GetVolumesOnStorageAnswer,
    HandleConfigDriveIsoAnswer,
    IntroduceObjectAnswer,
    ListDataStoreObjectsAnswer,
    ModifyTargetsAnswer,
    PrepareStorageClientAnswer,
    ResignatureAnswer,
    SyncVolumePathAnswer,
    UnprepareStorageClientAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import (
    AGENT_API,
    STORAGE,
    STORAGE_BROWSER,
    STORAGE_COMMAND,
)
from cloudstack_hyperv.messages.objects.storage import (
    DataStoreTO,
    DataTO,
    StorageFilerTO,
)
from cloudstack_hyperv.messages.objects.vm import DiskTO


@command(AGENT_API, answer=GetStoragePoolCapabilitiesAnswer)
class GetStoragePoolCapabilitiesCommand(Command):
    """Say what a pool can do."""

    pool: StorageFilerTO | None = None


@command(AGENT_API, answer=PrepareStorageClientAnswer)
class PrepareStorageClientCommand(Command):
    """Start the host's storage client (PowerFlex)."""

    pool_type: str | None = None
    pool_uuid: str | None = None
    details: dict[str, str] | None = None


@command(AGENT_API, answer=UnprepareStorageClientAnswer)
class UnprepareStorageClientCommand(Command):
    """Stop the host's storage client."""

    pool_type: str | None = None
    pool_uuid: str | None = None
    details: dict[str, str] | None = None


@command(AGENT_API, answer=ModifyTargetsAnswer)
class ModifyTargetsCommand(Command):
    """Add or remove iSCSI targets."""

    add: bool = False
    apply_to_all_hosts_in_cluster: bool = False
    target_type_to_remove: str | None = None
    remove_async: bool = False
    targets: list[dict[str, str]] | None = None


@command(STORAGE, answer=Answer)
class CheckStorageAvailabilityCommand(Command):
    """Check that pools can be reached (older)."""

    pools_map: dict[str, str] | None = None


@command(STORAGE_COMMAND, answer=Answer)
class CheckDataStoreStoragePolicyComplianceCommand(Command):
    """Check a datastore against a storage policy (VMware)."""

    storage_policy_id: str | None = None
    storage_pool: StorageFilerTO | None = None


@command(STORAGE_COMMAND, answer=AttachPrimaryDataStoreAnswer)
class AttachPrimaryDataStoreCmd(Command):
    """Attach a primary store, by URI."""

    data_store: str | None = None


@command(STORAGE_COMMAND, answer=Answer)
class CreatePrimaryDataStoreCmd(Command):
    """Make a primary store, by URI."""

    data_store: str | None = None


@command(AGENT_API, answer=GetVolumesOnStorageAnswer)
class GetVolumesOnStorageCommand(Command):
    """List the disk images of a pool."""

    pool: StorageFilerTO | None = None
    volume_path: str | None = None
    keyword: str | None = None


@command(STORAGE_BROWSER, answer=ListDataStoreObjectsAnswer)
class ListDataStoreObjectsCommand(Command):
    """List a folder of a store, a page a time."""

    store: DataStoreTO | None = None
    path: str | None = None
    start_index: int = 0
    page_size: int = 0
    nfs_version: str | None = None


@command(AGENT_API, answer=CheckVolumeAnswer)
class CheckVolumeCommand(Command):
    """Say what a disk image is."""

    src_file: str | None = None
    storage_filer: StorageFilerTO | None = msgspec.field(default=None, name="storageFilerTO")


@command(STORAGE, answer=CheckAndRepairVolumeAnswer)
class CheckAndRepairVolumeCommand(Command):
    """Check a disk image and repair it."""

    path: str | None = None
    pool: StorageFilerTO | None = None
    repair: str | None = None
    passphrase: bytes | None = None
    encrypt_format: str | None = None


@command(AGENT_API, answer=CopyRemoteVolumeAnswer)
class CopyRemoteVolumeCommand(Command):
    """Copy a disk from another KVM host."""

    remote_ip: str | None = None
    username: str | None = None
    password: str | None = None
    src_file: str | None = None
    tmp_path: str | None = None
    storage_filer: StorageFilerTO | None = msgspec.field(default=None, name="storageFilerTO")


@command(STORAGE, answer=CopyVolumeAnswer)
class CopyVolumeCommand(Command):
    """Copy a volume to or from secondary storage (older)."""

    volume_id: int = 0
    volume_path: str | None = None
    pool: StorageFilerTO | None = None
    secondary_storage_url: str | None = msgspec.field(default=None, name="secondaryStorageURL")
    to_secondary_storage: bool = False
    vm_name: str | None = None
    src_data: DataTO | None = None
    src_details: dict[str, str] | None = None
    execute_in_sequence: bool = False
    nfs_version: str | None = None


@command(STORAGE_COMMAND, answer=Answer)
class MoveVolumeCommand(Command):
    """Move a volume's file within a datastore."""

    src_path: str | None = None
    dest_path: str | None = None
    volume_name: str | None = None
    volume_uuid: str | None = None
    datastore_uri: str | None = None


@command(STORAGE_COMMAND, answer=SyncVolumePathAnswer)
class SyncVolumePathCommand(Command):
    """Say where a volume's file is now (VMware)."""

    disk: DiskTO | None = None


@command(STORAGE_COMMAND, answer=ResignatureAnswer)
class ResignatureCommand(Command):
    """Give a cloned volume an identity of its own."""

    details: dict[str, str] | None = None
    execute_in_sequence: bool = False


@command(STORAGE_COMMAND, answer=IntroduceObjectAnswer)
class IntroduceObjectCmd(Command):
    """Make an object known that is already there."""

    data_to: DataTO | None = msgspec.field(default=None, name="dataTO")


@command(STORAGE_COMMAND, answer=Answer)
class ForgetObjectCmd(Command):
    """Forget an object without deleting it."""

    data_to: DataTO | None = msgspec.field(default=None, name="dataTO")


@command(AGENT_API, answer=HandleConfigDriveIsoAnswer)
class HandleConfigDriveIsoCommand(Command):
    """Make or delete a VM's config drive; the data is the ISO, base64."""

    iso_data: str | None = None
    iso_file: str | None = None
    create: bool = False
    dest_store: DataStoreTO | None = None
    use_host_cache_on_unsupported_pool: bool | None = None
    prefer_host_cache: bool | None = None
