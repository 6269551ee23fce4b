"""Commands about VMs that CloudStack does not manage, and about their conversion (KVM, VMware)."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.unmanaged import (
    CheckConvertInstanceAnswer,
    ClusterVMMetaDataSyncAnswer,
    ConvertInstanceAnswer,
    GetRemoteVmsAnswer,
    GetUnmanagedInstancesAnswer,
    ImportConvertedInstanceAnswer,
    PreparePxeServerAnswer,
    PrepareUnmanageVMInstanceAnswer,
    UnmanageInstanceAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import AGENT_API, BAREMETAL
from cloudstack_hyperv.messages.objects.storage import DataStoreTO
from cloudstack_hyperv.messages.objects.unmanaged import RemoteInstanceTO
from cloudstack_hyperv.messages.objects.vm import VirtualMachineTO


@command(AGENT_API, answer=GetUnmanagedInstancesAnswer)
class GetUnmanagedInstancesCommand(Command):
    """List VMs that CloudStack does not know, or one of them."""

    instance_name: str | None = None
    managed_instances_names: list[str] | None = None


@command(AGENT_API, answer=PrepareUnmanageVMInstanceAnswer)
class PrepareUnmanageVMInstanceCommand(Command):
    """Check that a VM can be let go."""

    instance_name: str | None = None


@command(AGENT_API, answer=UnmanageInstanceAnswer)
class UnmanageInstanceCommand(Command):
    """Let a VM go."""

    instance_name: str | None = None
    execute_in_sequence: bool = False
    vm: VirtualMachineTO | None = None
    is_config_drive_attached: bool = False


@command(AGENT_API, answer=GetRemoteVmsAnswer)
class GetRemoteVmsCommand(Command):
    """List the VMs of another KVM host."""

    remote_ip: str | None = None
    username: str | None = None
    password: str | None = None


@command(AGENT_API, answer=CheckConvertInstanceAnswer)
class CheckConvertInstanceCommand(Command):
    """Say whether the host can convert VMs of VMware."""

    check_windows_guest_conversion_support: bool = False


@command(AGENT_API, answer=ConvertInstanceAnswer)
class ConvertInstanceCommand(Command):
    """Convert a VM of VMware."""

    source_instance: RemoteInstanceTO | None = None
    original_vm_name: str | None = msgspec.field(default=None, name="originalVMName")
    destination_hypervisor_type: str | None = None
    conversion_temporary_location: DataStoreTO | None = None
    template_dir_on_conversion_location: str | None = None
    check_conversion_support: bool = False
    export_ovf_to_conversion_location: bool = False
    threads_count_to_export_ovf: int = 0
    extra_params: str | None = None


@command(AGENT_API, answer=ImportConvertedInstanceAnswer)
class ImportConvertedInstanceCommand(Command):
    """Put the disks of a converted VM in place."""

    source_instance: RemoteInstanceTO | None = None
    destination_storage_pools: list[str] | None = None
    conversion_temporary_location: DataStoreTO | None = None
    temporary_convert_uuid: str | None = None
    force_convert_to_pool: bool = False


@command(AGENT_API, answer=Answer)
class ValidateVcenterDetailsCommand(Command):
    """Check the address of a vCenter."""

    v_center_server_address: str | None = None


@command(AGENT_API, answer=ClusterVMMetaDataSyncAnswer)
class ClusterVMMetaDataSyncCommand(Command):
    """Collect platform data of a cluster's VMs (XenServer), every `interval` seconds."""

    interval: int = msgspec.field(default=0, name="_interval")
    cluster_id: int = msgspec.field(default=0, name="_clusterId")


@command(BAREMETAL, answer=Answer)
class IpmISetBootDevCommand(Command):
    """Choose from what a bare-metal machine boots."""

    boot_dev: str | None = None


@command(BAREMETAL, answer=Answer)
class IpmiBootorResetCommand(Command):
    """Switch a bare-metal machine on, or reset it."""


@command(BAREMETAL, answer=Answer)
class PrepareCreateTemplateCommand(Command):
    """Prepare to make a template of a bare-metal machine."""

    ip: str | None = None
    mac: str | None = None
    net_mask: str | None = None
    gateway: str | None = None
    dns: str | None = None
    template: str | None = None


@command(BAREMETAL, answer=PreparePxeServerAnswer)
class PreparePxeServerCommand(PrepareCreateTemplateCommand):
    """Prepare a PXE server for a bare-metal machine."""

    vm_name: str | None = None
    host_name: str | None = None
