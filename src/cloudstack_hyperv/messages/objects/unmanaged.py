"""A VM that CloudStack does not manage yet, as its host describes it."""

import msgspec

from cloudstack_hyperv.messages.wire import WireObject


class UnmanagedDisk(WireObject):
    """`UnmanagedInstanceTO$Disk`; capacity in bytes."""

    disk_id: str | None = None
    label: str | None = None
    capacity: int | None = None
    file_base_name: str | None = None
    image_path: str | None = None
    controller: str | None = None
    controller_unit: int | None = None
    position: int | None = None
    chain_info: str | None = None
    datastore_name: str | None = None
    datastore_host: str | None = None
    datastore_path: str | None = None
    datastore_port: int = 0
    datastore_type: str | None = None


class UnmanagedNic(WireObject):
    """`UnmanagedInstanceTO$Nic`."""

    nic_id: str | None = None
    adapter_type: str | None = None
    mac_address: str | None = None
    network: str | None = None
    vlan: int | None = None
    pvlan: int | None = None
    pvlan_type: str | None = None
    ip_address: list[str] | None = None
    pci_slot: str | None = None


class UnmanagedInstanceTO(WireObject):
    """The whole VM; memory in megabytes, speed in MHz."""

    name: str | None = None
    internal_cs_name: str | None = msgspec.field(default=None, name="internalCSName")
    path: str | None = None
    power_state: str | None = None
    clone_source_power_state: str | None = None
    cpu_cores: int | None = None
    cpu_cores_per_socket: int | None = None
    memory: int | None = None
    cpu_speed: int | None = None
    operating_system_id: str | None = None
    operating_system: str | None = None
    cluster_name: str | None = None
    host_name: str | None = None
    disks: list[UnmanagedDisk] | None = None
    nics: list[UnmanagedNic] | None = None
    vnc_password: str | None = None
    boot_type: str | None = None
    boot_mode: str | None = None


class RemoteInstanceTO(WireObject):
    """A VM of another hypervisor that is to be converted."""

    hypervisor_type: str | None = None
    instance_name: str | None = None
    instance_path: str | None = None
    vcenter_username: str | None = None
    vcenter_password: str | None = None
    vcenter_host: str | None = None
    datacenter_name: str | None = None
