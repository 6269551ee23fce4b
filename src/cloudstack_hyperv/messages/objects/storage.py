"""Volumes, templates, snapshots and the stores they lie in.

Two generations of classes describe the same things.  The newer storage subsystem speaks of
`DataTO` (what: a volume, template or snapshot) in a `DataStoreTO` (where: primary or
secondary); both are interfaces in Java, so a member of such a type is wrapped into its class
name.  Older commands use the plain `VolumeTO` and `StorageFilerTO`.

`path` means different things: the stem of a file (no folder, no extension) on primary storage,
a relative path with extension on secondary storage, and a share or folder in a store.
"""

from typing import Annotated, TypeAlias

import msgspec

from cloudstack_hyperv.messages.java import AGENT_TO, STORAGE_TO, java_class
from cloudstack_hyperv.messages.wire import TAG, WireObject


@java_class(STORAGE_TO)
class PrimaryDataStoreTO(WireObject):
    """A storage pool.  `path` and `url` of an SMB pool carry its credentials in a query."""

    uuid: str | None = None
    name: str | None = None
    type: str | None = None
    id: int = 0
    pool_type: str | None = None
    host: str | None = None
    path: str | None = None
    port: int = 0
    url: str | None = None
    details: dict[str, str] | None = None
    full_clone_flag: bool | None = None
    disk_provisioning_strictness_flag: bool | None = None
    is_managed: bool = False
    parent_pool_type: str | None = None


@java_class(AGENT_TO)
class NfsTO(WireObject):
    """A secondary store by URL: `nfs://host/path`, or `cifs://host/share` despite the name."""

    url: str | None = msgspec.field(default=None, name="_url")
    role: str | None = msgspec.field(default=None, name="_role")
    uuid: str | None = None
    nfs_version: str | None = None


@java_class(AGENT_TO)
class S3TO(WireObject):
    """A secondary store in S3."""

    id: int | None = None
    uuid: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    end_point: str | None = None
    bucket_name: str | None = None
    signer: str | None = None
    https_flag: bool | None = None
    use_tcp_keep_alive: bool | None = msgspec.field(default=None, name="useTCPKeepAlive")
    connection_timeout: int | None = None
    max_error_retry: int | None = None
    socket_timeout: int | None = None
    connection_ttl: int | None = None
    created: str | None = None
    enable_rrs: bool | None = msgspec.field(default=None, name="enableRRS")
    max_single_upload_size_in_bytes: int | None = None


@java_class(AGENT_TO)
class SwiftTO(WireObject):
    """A secondary store in OpenStack Swift."""

    id: int | None = None
    url: str | None = None
    account: str | None = None
    user_name: str | None = None
    key: str | None = None
    storage_policy: str | None = None


DataStoreTO: TypeAlias = Annotated[PrimaryDataStoreTO | NfsTO | S3TO | SwiftTO, TAG]
"""`com.cloud.agent.api.to.DataStoreTO`: an interface, so wrapped on the wire."""


class MigrationOptions(WireObject):
    """How a volume is copied between pools (KVM)."""

    src_pool_uuid: str | None = None
    src_pool_type: str | None = None
    type: str | None = None
    scope_type: str | None = None
    copy_src_template: bool | None = None
    src_backing_file_path: str | None = None
    src_volume_uuid: str | None = None
    timeout: int | None = None


@java_class(STORAGE_TO)
class VolumeObjectTO(WireObject):
    """A volume.  `size` is the virtual size in bytes, rates are bytes or operations a second."""

    uuid: str | None = None
    volume_type: str | None = None
    data_store: DataStoreTO | None = None
    name: str | None = None
    size: int | None = None
    usable_size: int | None = None
    path: str | None = None
    volume_id: int | None = None
    vm_name: str | None = None
    account_id: int = 0
    chain_info: str | None = None
    format: str | None = None
    provisioning_type: str | None = None
    pool_id: int | None = None
    id: int = 0
    device_id: int | None = None
    bytes_read_rate: int | None = None
    bytes_read_rate_max: int | None = None
    bytes_read_rate_max_length: int | None = None
    bytes_write_rate: int | None = None
    bytes_write_rate_max: int | None = None
    bytes_write_rate_max_length: int | None = None
    iops_read_rate: int | None = None
    iops_read_rate_max: int | None = None
    iops_read_rate_max_length: int | None = None
    iops_write_rate: int | None = None
    iops_write_rate_max: int | None = None
    iops_write_rate_max_length: int | None = None
    cache_mode: str | None = None
    hypervisor_type: str | None = None
    migration_options: MigrationOptions | None = None
    direct_download: bool = False
    data_store_uuid: str | None = None
    deploy_as_is: bool = False
    updated_data_store_uuid: str | None = msgspec.field(default=None, name="updatedDataStoreUUID")
    v_sphere_storage_policy_id: str | None = None
    passphrase: bytes | None = None
    encrypt_format: str | None = None
    checkpoint_paths: list[str] | None = None
    checkpoint_image_store_urls: list[str] | None = None
    follow_redirects: bool = False


@java_class(STORAGE_TO)
class TemplateObjectTO(WireObject):
    """A template or ISO.  `size` is the virtual size, `physical_size` that of the file."""

    path: str | None = None
    orig_url: str | None = None
    uuid: str | None = None
    id: int = 0
    format: str | None = None
    account_id: int = 0
    checksum: str | None = None
    hvm: bool = False
    display_text: str | None = None
    image_data_store: DataStoreTO | None = None
    name: str | None = None
    guest_os_type: str | None = None
    size: int | None = None
    physical_size: int | None = None
    hypervisor_type: str | None = None
    bootable: bool = False
    unique_name: str | None = None
    direct_download: bool = False
    deploy_as_is: bool = False
    deploy_as_is_configuration: str | None = None
    follow_redirects: bool = False


@java_class(STORAGE_TO)
class SnapshotObjectTO(WireObject):
    """A snapshot of one volume; `parents` are the paths of its ancestors, oldest first."""

    path: str | None = None
    volume: VolumeObjectTO | None = None
    parent_snapshot_path: str | None = None
    data_store: DataStoreTO | None = None
    image_store: DataStoreTO | None = None
    parent_store: DataStoreTO | None = None
    kvm_incremental_snapshot: bool = False
    checkpoint_path: str | None = None
    vm_name: str | None = None
    name: str | None = None
    hypervisor_type: str | None = None
    id: int = 0
    quiescevm: bool = False
    parents: list[str] | None = None
    physical_size: int | None = None
    account_id: int = 0
    follow_redirects: bool = False


DataTO: TypeAlias = Annotated[VolumeObjectTO | TemplateObjectTO | SnapshotObjectTO, TAG]
"""`com.cloud.agent.api.to.DataTO`: an interface, so wrapped on the wire."""


class StorageFilerTO(WireObject):
    """A storage pool as the older commands name it; `path` as in `PrimaryDataStoreTO`."""

    id: int = 0
    uuid: str | None = None
    host: str | None = None
    path: str | None = None
    user_info: str | None = None
    port: int = 0
    type: str | None = None


class VolumeTO(WireObject):
    """A volume as the older commands name it."""

    id: int = 0
    name: str | None = None
    mount_point: str | None = None
    path: str | None = None
    size: int = 0
    type: str | None = None
    storage_pool_type: str | None = None
    storage_pool_uuid: str | None = None
    device_id: int = 0
    chain_info: str | None = None
    guest_os_type: str | None = None
    bytes_read_rate: int | None = None
    bytes_write_rate: int | None = None
    iops_read_rate: int | None = None
    iops_write_rate: int | None = None
    cache_mode: str | None = None
    chain_size: int | None = None
    data_store_uuid: str | None = None


class DiskProfile(WireObject):
    """The wanted properties of a new disk."""

    size: int = 0
    tags: list[str] | None = None
    type: str | None = None
    name: str | None = None
    use_local_storage: bool = False
    recreatable: bool = False
    disk_offering_id: int = 0
    template_id: int | None = None
    volume_id: int = 0
    path: str | None = None
    provisioning_type: str | None = None
    bytes_read_rate: int | None = None
    bytes_write_rate: int | None = None
    iops_read_rate: int | None = None
    iops_write_rate: int | None = None
    cache_mode: str | None = None
    min_iops: int | None = None
    max_iops: int | None = None
    requires_encryption: bool = False
    hyper_type: str | None = None


class StoragePoolInfo(WireObject):
    """What a host says of a pool; CloudStack takes capacity minus available as used, in bytes."""

    uuid: str | None = None
    host: str | None = None
    local_path: str | None = None
    host_path: str | None = None
    pool_type: str | None = None
    capacity_bytes: int = 0
    available_bytes: int = 0
    name: str | None = None
    details: dict[str, str] | None = None


class TemplateProp(WireObject):
    """A template that a store holds."""

    template_name: str | None = None
    install_path: str | None = None
    size: int = 0
    physical_size: int = 0
    id: int = 0
    is_public: bool = False
    is_corrupted: bool = False


class VolumeStatsEntry(WireObject):
    """Sizes of a volume in bytes (the first key is not camel-case in Java either)."""

    volume_uuid: str | None = None
    physical_size: int = msgspec.field(default=0, name="physicalsize")
    virtual_size: int = 0


class VolumeOnStorageTO(WireObject):
    """A disk image found in a pool."""

    hypervisor_type: str | None = None
    path: str | None = None
    full_path: str | None = None
    name: str | None = None
    format: str | None = None
    size: int = 0
    virtual_size: int = 0
    qemu_encrypt_format: str | None = None
    details: dict[str, str] | None = None


class SnapshotMergeTreeTO(WireObject):
    """A link of a chain of disk-only snapshots that is to be merged (KVM)."""

    parent: DataTO | None = None
    child: DataTO | None = None
    grand_children: list[DataTO] | None = None
