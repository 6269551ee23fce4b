"""A virtual machine as CloudStack wants it: processors, memory, disks and NICs."""

import msgspec

from cloudstack_hyperv.messages.objects.pairs import Pair
from cloudstack_hyperv.messages.objects.storage import DataTO, VolumeObjectTO
from cloudstack_hyperv.messages.wire import WireObject


class NetworkTO(WireObject):
    """Addresses and broadcast domain of a network interface.

    `broadcast_uri` names the VLAN: `vlan://261`, `vlan://untagged`, `ec2://untagged` or none.
    `name` is the traffic label, on Hyper-V the name of the virtual switch.
    """

    uuid: str | None = None
    ip: str | None = None
    netmask: str | None = None
    gateway: str | None = None
    mac: str | None = None
    dns1: str | None = None
    dns2: str | None = None
    broadcast_type: str | None = None
    type: str | None = None
    broadcast_uri: str | None = None
    isolation_uri: str | None = None
    security_group_enabled: bool = False
    name: str | None = None
    ip6address: str | None = None
    ip6gateway: str | None = None
    ip6cidr: str | None = None
    ip6_dns1: str | None = None
    ip6_dns2: str | None = None


class NicTO(NetworkTO):
    """A NIC of a VM; the order of `device_id` is the order of the guest's interfaces.

    `uuid` is the network's, `nic_uuid` the NIC's own.  Rates are megabits a second.
    """

    device_id: int = 0
    network_rate_mbps: int | None = None
    network_rate_multicast_mbps: int | None = None
    default_nic: bool = False
    pxe_disable: bool = False
    nic_uuid: str | None = None
    nic_sec_ips: list[str] | None = None
    details: dict[str, str] | None = None
    dpdk_enabled: bool = False
    mtu: int | None = None
    network_id: int | None = None
    network_segment_name: str | None = None


class DiskTO(WireObject):
    """A disk or DVD drive of a VM.  An `ISO` without `data` is an empty drive."""

    data: DataTO | None = None
    disk_seq: int | None = None
    path: str | None = None
    type: str | None = None
    details: dict[str, str] | None = None


class VgpuTypesInfo(WireObject):
    """A kind of virtual GPU, or one device of it, that a host offers."""

    device_id: str | None = None
    device_name: str | None = None
    bus_address: str | None = None
    group_name: str | None = None
    model_name: str | None = None
    parent_bus_address: str | None = None
    device_type: str | None = None
    vm_name: str | None = None
    vendor_id: str | None = None
    vendor_name: str | None = None
    numa_node: str | None = None
    pci_root: str | None = None
    max_heads: int | None = None
    video_ram: int | None = None
    max_resolution_x: int | None = None
    max_resolution_y: int | None = None
    max_vgpu_per_gpu: int | None = None
    remaining_capacity: int | None = None
    max_capacity: int | None = None
    display: bool = False
    passthrough_enabled: bool = True


class GPUDeviceTO(WireObject):
    """A GPU that is passed to a VM, and what the host has left of its kind."""

    gpu_group: str | None = None
    vgpu_type: str | None = None
    gpu_count: int = 0
    group_details: dict[str, dict[str, VgpuTypesInfo]] | None = None
    gpu_devices: list[VgpuTypesInfo] | None = None


class OvfPropertyTO(WireObject):
    """A property of a vApp template (VMware)."""

    key: str | None = None
    type: str | None = None
    value: str | None = None
    qualifiers: str | None = None
    user_configurable: bool | None = None
    label: str | None = None
    description: str | None = None
    password: bool | None = None
    index: int = 0
    category: str | None = None


class DeployAsIsInfoTO(WireObject):
    """How a template is deployed as it is (VMware)."""

    template_path: str | None = None
    dest_store_path: str | None = None
    properties: dict[str, str] | None = None
    nic_adapter_map: dict[str, str] | None = None


class VirtualMachineTO(WireObject, kw_only=True):
    """The whole of a VM.

    Memory is in bytes, speeds are in MHz a processor; with overcommitment `min_*` is what is
    guaranteed and `max_*` what the guest sees.  `boot_args` configures a system VM and holds
    passwords and keys, as does `vm_data` for a user VM's config drive.
    """

    id: int = 0
    name: str
    bootloader: str | None = None
    state: str | None = None
    type: str | None = None
    cpus: int = 0
    speed: int | None = None
    min_speed: int | None = None
    max_speed: int | None = None
    min_ram: int = 0
    max_ram: int = 0
    host_name: str | None = None
    arch: str | None = None
    os: str | None = None
    platform_emulator: str | None = None
    boot_args: str | None = None
    bootup_scripts: list[str] | None = None
    enable_ha: bool = msgspec.field(default=False, name="enableHA")
    limit_cpu_use: bool = False
    enable_dynamically_scale_vm: bool = False
    vnc_password: str | None = None
    vnc_addr: str | None = None
    details: dict[str, str] | None = None
    uuid: str | None = None
    boot_type: str | None = None
    boot_mode: str | None = None
    enter_hardware_setup: bool = False
    disks: list[DiskTO] | None = None
    nics: list[NicTO] | None = None
    gpu_device: GPUDeviceTO | None = None
    vcpu_max_limit: int | None = None
    vm_data: list[list[str]] | None = None
    config_drive_label: str | None = None
    config_drive_iso_root_folder: str | None = None
    config_drive_iso_file: str | None = None
    config_drive_location: str | None = None
    cpu_quota_percentage: float | None = None
    guest_os_details: dict[str, str] | None = None
    extra_config: dict[str, str] | None = None
    network_id_to_network_name_map: dict[str, str] | None = None
    deploy_as_is_info: DeployAsIsInfoTO | None = None
    metadata_manufacturer: str | None = None
    metadata_product_name: str | None = None
    ovf_properties: Pair[str, list[OvfPropertyTO]] | None = None


class VMSnapshotTO(WireObject):
    """A snapshot of a whole VM; `create_time` is in milliseconds since 1970."""

    id: int | None = None
    snapshot_name: str | None = None
    type: str | None = None
    create_time: int | None = None
    current: bool | None = None
    description: str | None = None
    parent: "VMSnapshotTO | None" = None
    volumes: list[VolumeObjectTO] | None = None
    quiescevm: bool = False


class DpdkTO(WireObject):
    """A vhost-user port (KVM with DPDK)."""

    ovs_path: str | None = None
    port: str | None = None
    mode: str | None = None
