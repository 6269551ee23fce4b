"""Answers about VMs that CloudStack does not manage (import, conversion) and about backups."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.java import AGENT_API, BACKUP, BAREMETAL, DIRECT_DOWNLOAD
from cloudstack_hyperv.messages.objects.unmanaged import UnmanagedInstanceTO


@answer(AGENT_API)
class GetUnmanagedInstancesAnswer(Answer):
    """VMs of the host that CloudStack does not know, by name."""

    instance_name: str | None = None
    unmanaged_instances: dict[str, UnmanagedInstanceTO] | None = None


@answer(AGENT_API)
class GetRemoteVmsAnswer(Answer):
    """VMs of another KVM host."""

    remote_ip: str | None = None
    unmanaged_instances: dict[str, UnmanagedInstanceTO] | None = None
    vm_names: list[str] | None = None


@answer(AGENT_API)
class PrepareUnmanageVMInstanceAnswer(Answer):
    """The VM can be let go."""


@answer(AGENT_API)
class UnmanageInstanceAnswer(Answer):
    """The VM was let go (KVM)."""


@answer(AGENT_API)
class CheckConvertInstanceAnswer(Answer):
    """Whether the host can convert VMs of VMware."""

    ovf_export_supported: bool = False


@answer(AGENT_API)
class ConvertInstanceAnswer(Answer):
    """A VM of VMware was converted."""

    temporary_convert_uuid: str | None = None


@answer(AGENT_API)
class ImportConvertedInstanceAnswer(Answer):
    """The converted VM's disks are in place."""

    converted_instance: UnmanagedInstanceTO | None = None


@answer(AGENT_API)
class ClusterVMMetaDataSyncAnswer(Answer):
    """Platform data of a cluster's VMs (XenServer)."""

    cluster_id: int = msgspec.field(default=0, name="_clusterId")
    vm_meta_datum: dict[str, str] | None = msgspec.field(default=None, name="_vmMetaDatum")
    is_executed: bool = msgspec.field(default=False, name="_isExecuted")


@answer(BACKUP)
class BackupAnswer(Answer):
    """A backup was taken or restored; sizes in bytes."""

    size: int | None = None
    virtual_size: int | None = None
    volumes: dict[str, str] | None = None
    needs_cleanup: bool | None = None


@answer(BACKUP)
class BackupStorageStatsAnswer(Answer):
    """Use of a backup repository in bytes."""

    total_size: int | None = None
    used_size: int | None = None


@answer(DIRECT_DOWNLOAD)
class CheckUrlAnswer(Answer):
    """Whether a template's URL can be reached from the host, and its size in bytes."""

    template_size: int | None = None


@answer(DIRECT_DOWNLOAD)
class DirectDownloadAnswer(Answer):
    """A template was fetched straight to primary storage."""

    template_size: int | None = None
    install_path: str | None = None
    retry_on_other_hosts: bool = False


@answer(BAREMETAL)
class PreparePxeServerAnswer(Answer):
    """A PXE server is ready for a bare-metal machine."""
