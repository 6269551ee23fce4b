"""Older commands about snapshots of volumes, and those of other hypervisors."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.storage import (
    BackupSnapshotAnswer,
    ConvertSnapshotAnswer,
    CreatePrivateTemplateAnswer,
    CreateVolumeFromSnapshotAnswer,
    ManageSnapshotAnswer,
    QuerySnapshotZoneCopyAnswer,
    SnapshotAndCopyAnswer,
    ValidateSnapshotAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import (
    AGENT_API,
    STORAGE_COMMAND,
)
from cloudstack_hyperv.messages.objects.storage import (
    S3TO,
    DataStoreTO,
    SnapshotObjectTO,
    StorageFilerTO,
    SwiftTO,
)


@command(AGENT_API, answer=Answer)
class SnapshotCommand(Command):
    """What the older commands about snapshots carry."""

    primary_storage_pool_name_label: str | None = None
    primary_pool: StorageFilerTO | None = None
    snapshot_uuid: str | None = None
    snapshot_name: str | None = None
    secondary_storage_url: str | None = None
    dc_id: int | None = None
    account_id: int | None = None
    volume_id: int | None = None
    volume_path: str | None = None
    nfs_version: str | None = None


@command(AGENT_API, answer=BackupSnapshotAnswer)
class BackupSnapshotCommand(SnapshotCommand):
    """Copy a snapshot to secondary storage (older); both stores are declared as classes."""

    prev_snapshot_uuid: str | None = None
    prev_backup_uuid: str | None = None
    is_volume_inactive: bool = False
    vm_name: str | None = None
    snapshot_id: int | None = None
    swift: SwiftTO | None = None
    s3: S3TO | None = None
    pool: StorageFilerTO | None = None
    sec_host_id: int | None = None


@command(AGENT_API, answer=CreatePrivateTemplateAnswer)
class CreatePrivateTemplateFromSnapshotCommand(SnapshotCommand):
    """Make a template of a snapshot (older)."""

    orig_template_install_path: str | None = None
    new_template_id: int | None = None
    template_name: str | None = None


@command(AGENT_API, answer=CreatePrivateTemplateAnswer)
class CreatePrivateTemplateFromVolumeCommand(SnapshotCommand):
    """Make a template of a volume (older); some keys exist with and without underscore."""

    vm_name: str | None = msgspec.field(default=None, name="_vmName")
    own_volume_path: str | None = msgspec.field(default=None, name="_volumePath")
    user_specified_name: str | None = msgspec.field(default=None, name="_userSpecifiedName")
    unique_name: str | None = msgspec.field(default=None, name="_uniqueName")
    template_id: int = msgspec.field(default=0, name="_templateId")
    own_account_id: int = msgspec.field(default=0, name="_accountId")
    own_primary_pool: StorageFilerTO | None = msgspec.field(default=None, name="_primaryPool")
    own_secondary_storage_url: str | None = msgspec.field(default=None, name="_secondaryStorageUrl")


@command(AGENT_API, answer=CreateVolumeFromSnapshotAnswer)
class CreateVolumeFromSnapshotCommand(SnapshotCommand):
    """Make a volume of a snapshot (older)."""


@command(AGENT_API, answer=Answer)
class UpgradeSnapshotCommand(SnapshotCommand):
    """Bring a snapshot to a newer form (older)."""

    version: str | None = None
    template_id: int | None = None
    tmplt_account_id: int | None = None


@command(AGENT_API, answer=ManageSnapshotAnswer)
class ManageSnapshotCommand(Command):
    """Take or destroy a snapshot (older)."""

    command_switch: str | None = msgspec.field(default=None, name="_commandSwitch")
    volume_path: str | None = msgspec.field(default=None, name="_volumePath")
    pool: StorageFilerTO | None = msgspec.field(default=None, name="_pool")
    snapshot_path: str | None = msgspec.field(default=None, name="_snapshotPath")
    snapshot_name: str | None = msgspec.field(default=None, name="_snapshotName")
    snapshot_id: int = msgspec.field(default=0, name="_snapshotId")
    vm_name: str | None = msgspec.field(default=None, name="_vmName")


@command(AGENT_API, answer=ValidateSnapshotAnswer)
class ValidateSnapshotCommand(Command):
    """Check that a snapshot is the one that the server thinks it is (older)."""

    primary_storage_pool_name_label: str | None = None
    volume_uuid: str | None = None
    first_backup_uuid: str | None = None
    previous_snapshot_uuid: str | None = None
    template_uuid: str | None = None


@command(AGENT_API, answer=ConvertSnapshotAnswer)
class ConvertSnapshotCommand(Command):
    """Make a volume image of an incremental snapshot."""

    snapshot_object: SnapshotObjectTO | None = msgspec.field(default=None, name="snapshotObjectTO")


@command(AGENT_API, answer=Answer)
class DeleteSnapshotsDirCommand(Command):
    """Delete the folder of a volume's snapshots."""

    store: DataStoreTO | None = None
    directory: str | None = None


@command(STORAGE_COMMAND, answer=SnapshotAndCopyAnswer)
class SnapshotAndCopyCommand(Command):
    """Take a snapshot and copy it to managed storage (XenServer)."""

    uuid_of_source_vdi: str | None = msgspec.field(default=None, name="_uuidOfSourceVdi")
    source_details: dict[str, str] | None = msgspec.field(default=None, name="_sourceDetails")
    dest_details: dict[str, str] | None = msgspec.field(default=None, name="_destDetails")
    execute_in_sequence: bool = msgspec.field(default=False, name="_executeInSequence")


@command(STORAGE_COMMAND, answer=QuerySnapshotZoneCopyAnswer)
class QuerySnapshotZoneCopyCommand(Command):
    """List the files of a snapshot that another zone copies."""

    snapshot: SnapshotObjectTO | None = None
