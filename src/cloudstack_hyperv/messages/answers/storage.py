"""Answers about pools, templates, volumes and snapshots of volumes."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.java import (
    AGENT_API,
    STORAGE,
    STORAGE_BROWSER,
    STORAGE_COMMAND,
)
from cloudstack_hyperv.messages.objects.download import DatadiskTO, OvfInformationTO
from cloudstack_hyperv.messages.objects.storage import (
    DataTO,
    SnapshotObjectTO,
    StoragePoolInfo,
    TemplateObjectTO,
    TemplateProp,
    VolumeOnStorageTO,
    VolumeTO,
)
from cloudstack_hyperv.messages.objects.vm import DiskTO


@answer(STORAGE_COMMAND)
class CopyCmdAnswer(Answer):
    """The copy is there; `new_data` has the path, size and format that the server records."""

    new_data: DataTO | None = None


@answer(STORAGE_COMMAND)
class CreateObjectAnswer(Answer):
    """The volume or snapshot is there."""

    data: DataTO | None = None


@answer(STORAGE_COMMAND)
class AttachAnswer(Answer):
    """The disk is attached; `disk.disk_seq` must be there, it becomes the device id."""

    disk: DiskTO | None = None


@answer(STORAGE_COMMAND)
class DettachAnswer(Answer):
    """The disk is detached, or was not attached."""

    disk: DiskTO | None = None


@answer(STORAGE_COMMAND)
class SyncVolumePathAnswer(Answer):
    """Where a volume's file is now (VMware)."""

    disk: DiskTO | None = None


@answer(STORAGE_COMMAND)
class IntroduceObjectAnswer(Answer):
    """An object that was already there is known to the host."""

    data_to: DataTO | None = msgspec.field(default=None, name="dataTO")


@answer(STORAGE_COMMAND)
class ResignatureAnswer(Answer):
    """A cloned volume on managed storage has an identity of its own."""

    size: int = 0
    path: str | None = None
    format: str | None = None


@answer(STORAGE_COMMAND)
class SnapshotAndCopyAnswer(Answer):
    """A snapshot was taken and copied to managed storage (XenServer)."""

    path: str | None = msgspec.field(default=None, name="_path")


@answer(STORAGE_COMMAND)
class AttachPrimaryDataStoreAnswer(Answer):
    """A primary store is attached; sizes in bytes."""

    uuid: str | None = None
    capacity: int = 0
    avail: int = 0


@answer(STORAGE_COMMAND)
class QuerySnapshotZoneCopyAnswer(Answer):
    """The files that make up a snapshot."""

    files: list[str] | None = None


@answer(STORAGE_COMMAND)
class UploadStatusAnswer(Answer):
    """How far a user's upload is."""

    status: str | None = None
    virtual_size: int = 0
    physical_size: int = 0
    install_path: str | None = None
    download_percent: int = 0
    ovf_information: OvfInformationTO | None = msgspec.field(default=None, name="ovfInformationTO")


@answer(STORAGE_BROWSER)
class ListDataStoreObjectsAnswer(Answer):
    """A page of a store's folder; times in milliseconds since 1970."""

    path_exists: bool = False
    count: int = 0
    names: list[str] | None = None
    paths: list[str] | None = None
    abs_paths: list[str] | None = None
    is_dirs: list[bool] | None = None
    sizes: list[int] | None = None
    last_modified: list[int] | None = None


@answer(AGENT_API)
class ModifyStoragePoolAnswer(Answer):
    """The pool is usable; `pool_info.local_path` must not be null, the server edits it."""

    pool_info: StoragePoolInfo | None = None
    template_info: dict[str, TemplateProp] | None = None
    local_datastore_name: str | None = None
    pool_type: str | None = None
    datastore_cluster_children: "list[ModifyStoragePoolAnswer]" = msgspec.field(
        default_factory=list
    )


@answer(AGENT_API)
class GetStoragePoolCapabilitiesAnswer(Answer):
    """What a pool can do."""

    pool_details: dict[str, str] | None = None


@answer(AGENT_API)
class PrepareStorageClientAnswer(Answer):
    """The host's storage client (PowerFlex) is ready."""

    details_map: dict[str, str] | None = None


@answer(AGENT_API)
class UnprepareStorageClientAnswer(Answer):
    """The host's storage client is stopped."""


@answer(AGENT_API)
class ModifyTargetsAnswer(Answer):
    """iSCSI targets were added or removed."""

    connected_paths: list[str] | None = None


@answer(AGENT_API)
class CheckVolumeAnswer(Answer):
    """What a disk image is."""

    size: int = 0
    volume_details: dict[str, str] | None = None


@answer(AGENT_API)
class CopyRemoteVolumeAnswer(Answer):
    """A disk was copied from another KVM host."""

    remote_ip: str | None = None
    filename: str | None = None
    size: int = 0
    volume_details: dict[str, str] | None = None


@answer(AGENT_API)
class GetVolumesOnStorageAnswer(Answer):
    """Disk images that a pool holds."""

    volumes: list[VolumeOnStorageTO] | None = None


@answer(AGENT_API)
class ManageSnapshotAnswer(Answer):
    """A snapshot was taken or destroyed (older command)."""

    snapshot_path: str | None = msgspec.field(default=None, name="_snapshotPath")


@answer(AGENT_API)
class BackupSnapshotAnswer(Answer):
    """A snapshot was copied to secondary storage (older command)."""

    backup_snapshot_name: str | None = None
    full: bool = False


@answer(AGENT_API)
class ConvertSnapshotAnswer(Answer):
    """A snapshot is a volume image now."""

    snapshot_object: SnapshotObjectTO | None = msgspec.field(default=None, name="snapshotObjectTO")


@answer(AGENT_API)
class CreateVolumeFromSnapshotAnswer(Answer):
    """A volume was made of a snapshot (older command)."""

    vdi_uuid: str | None = msgspec.field(default=None, name="vdiUUID")


@answer(AGENT_API)
class CreateVolumeFromVMSnapshotAnswer(Answer):
    """A volume was made of a VM snapshot (older command)."""

    path: str | None = None
    volume_to: VolumeTO | None = None


@answer(AGENT_API)
class ValidateSnapshotAnswer(Answer):
    """Whether a snapshot is the one that the server thinks it is."""

    expected_snapshot_backup_uuid: str | None = None
    actual_snapshot_backup_uuid: str | None = None
    actual_snapshot_uuid: str | None = None


@answer(AGENT_API)
class HandleConfigDriveIsoAnswer(Answer):
    """Where a config drive lies now: `PRIMARY`, `SECONDARY` or `HOST`."""

    location: str | None = None


@answer(AGENT_API)
class SecStorageSetupAnswer(Answer):
    """A secondary store is mounted."""

    dir: str | None = msgspec.field(default=None, name="_dir")


@answer(STORAGE)
class PrimaryStorageDownloadAnswer(Answer):
    """A template is on primary storage (older command); size in bytes."""

    install_path: str | None = None
    template_size: int = 0


@answer(STORAGE)
class CreateAnswer(Answer):
    """A volume was made (older command)."""

    volume: VolumeTO | None = None
    request_template_reload: bool = False


@answer(STORAGE)
class ResizeVolumeAnswer(Answer):
    """The volume has its new size in bytes."""

    new_size: int = 0


@answer(STORAGE)
class MigrateVolumeAnswer(Answer):
    """The volume lies in another pool; its path and chain are recorded."""

    volume_path: str | None = None
    volume_chain: str | None = None


@answer(STORAGE)
class CopyVolumeAnswer(Answer):
    """A volume was copied (older command)."""

    volume_folder: str | None = None
    volume_path: str | None = None


@answer(STORAGE)
class CheckAndRepairVolumeAnswer(Answer):
    """What a check of a disk image found and repaired."""

    volume_check_execution_result: str | None = None
    volume_repair_execution_result: str | None = None


@answer(STORAGE)
class CreatePrivateTemplateAnswer(Answer):
    """A template was made of a volume or snapshot (older command)."""

    path: str | None = msgspec.field(default=None, name="_path")
    virtual_size: int = msgspec.field(default=0, name="_virtualSize")
    physical_size: int = msgspec.field(default=0, name="_physicalSize")
    unique_name: str | None = msgspec.field(default=None, name="_uniqueName")
    format: str | None = msgspec.field(default=None, name="_format")


@answer(STORAGE)
class CreateEntityDownloadURLAnswer(Answer):
    """A link under which a volume or template can be fetched was made."""


@answer(STORAGE)
class CreateDatadiskTemplateAnswer(Answer):
    """A data disk of an OVA is a template of its own."""

    data_disk_template: TemplateObjectTO | None = None


@answer(STORAGE)
class GetDatadisksAnswer(Answer):
    """The disks of an OVA."""

    data_disk_details: list[DatadiskTO] | None = None


@answer(STORAGE)
class ListTemplateAnswer(Answer):
    """Templates of a secondary store, by name."""

    sec_url: str | None = None
    template_infos: dict[str, TemplateProp] | None = None


@answer(STORAGE)
class ListVolumeAnswer(Answer):
    """Volumes of a secondary store, by id."""

    sec_url: str | None = None
    template_infos: dict[str, TemplateProp] | None = None


@answer(STORAGE)
class DownloadAnswer(Answer):
    """How far a download to secondary storage is."""

    job_id: str | None = None
    download_pct: int = 0
    error_string: str | None = None
    download_status: str | None = None
    download_path: str | None = None
    install_path: str | None = None
    template_size: int = 0
    template_physical_size: int = msgspec.field(default=0, name="templatePhySicalSize")
    check_sum: str | None = None
    ovf_information: OvfInformationTO | None = msgspec.field(default=None, name="ovfInformationTO")


@answer(STORAGE)
class UploadAnswer(Answer):
    """How far an upload from secondary storage is."""

    job_id: str | None = None
    upload_pct: int = 0
    error_string: str | None = None
    upload_status: str | None = None
    upload_path: str | None = None
    install_path: str | None = None
    template_size: int = 0
