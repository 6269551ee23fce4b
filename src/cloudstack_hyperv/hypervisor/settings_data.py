r"""The setting data that Hyper-V's methods take, built from wishes.

Rules that hold for all of them (each was met the hard way by an existing client):

* only what is to be set is sent; what is absent keeps the host's default or its present value;
* integers carry the CIM type of the class, or the job fails;
* HostResource is an array even for one path;
* a device hangs on its parent by the parent's object path, as text (`parented`).

Source: Microsoft's class pages of the Hyper-V WMI provider (V2); libvirt `hyperv_wmi_classes` and
os-win `vmutils` for the minimal sets of properties that hosts accept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cloudstack_hyperv.cim import ObjectPath, Uint16, Uint32, Uint64
from cloudstack_hyperv.cim.constants import (
    GENERATION_1,
    GENERATION_2,
    EnabledState,
    ResourceSubType,
    ResourceType,
    VlanMode,
)
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.wish import (
    AdapterWish,
    DriveKind,
    MachineWish,
    MemoryWish,
    ProcessorWish,
)
from cloudstack_hyperv.network import NicWish, PortGuards, PortVlan, PrivateRole, PrivateVlan
from cloudstack_hyperv.wsman.api import EmbeddedInstance, Scalar

RASD = "Msvm_ResourceAllocationSettingData"
SASD = "Msvm_StorageAllocationSettingData"
NIC = "Msvm_SyntheticEthernetPortSettingData"
CONNECTION = "Msvm_EthernetPortAllocationSettingData"
VLAN = "Msvm_EthernetSwitchPortVlanSettingData"
BANDWIDTH = "Msvm_EthernetSwitchPortBandwidthSettingData"
RULE = "Msvm_EthernetSwitchPortExtendedAclSettingData"
SECURITY = "Msvm_EthernetSwitchPortSecuritySettingData"

START_NOTHING = 2
"""AutomaticStartupAction: CloudStack decides where a VM runs, not a host that comes up."""
SHUT_DOWN_GUEST = 4
"""AutomaticShutdownAction: a host that goes down shuts its guests down."""

_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

Properties = Mapping[str, Scalar | Sequence[Scalar] | None]


def system_settings(wish: MachineWish, release: Release) -> EmbeddedInstance:
    """Return the VM itself, for DefineSystem."""
    properties: dict[str, Scalar | Sequence[Scalar] | None] = {
        "ElementName": wish.name,
        "Notes": [wish.ownership.note],
        "AutomaticStartupAction": Uint16(START_NOTHING),
        "AutomaticShutdownAction": Uint16(SHUT_DOWN_GUEST),
    }
    if _GUID.fullmatch(wish.ownership.uuid):
        # The guest's system UUID stays the same although the VM is defined anew at each start.
        properties["BIOSGUID"] = f"{{{wish.ownership.uuid.upper()}}}"
    if release.has_generation_2:
        properties["VirtualSystemSubType"] = GENERATION_2 if wish.generation == 2 else GENERATION_1
    if release.has_automatic_checkpoints:
        properties["AutomaticSnapshotsEnabled"] = False
    if wish.configuration_root:
        for name in ("ConfigurationDataRoot", "SnapshotDataRoot", "SwapFileDataRoot"):
            properties[name] = wish.configuration_root
    if wish.secure_boot is not None:
        properties["SecureBootEnabled"] = wish.secure_boot.enabled
        if wish.secure_boot.template and release.has_secure_boot_templates:
            properties["SecureBootTemplateId"] = wish.secure_boot.template
    return EmbeddedInstance("Msvm_VirtualSystemSettingData", properties)


def processor_settings(wish: ProcessorWish, instance_id: str | None = None) -> EmbeddedInstance:
    """Return the processors; without InstanceID for DefineSystem's ResourceSettings."""
    properties: dict[str, Scalar | Sequence[Scalar] | None] = {
        **_identity(instance_id, ResourceType.PROCESSOR, ResourceSubType.PROCESSOR),
        "VirtualQuantity": Uint64(wish.count),
        "Limit": Uint64(wish.limit),
        "Weight": Uint32(wish.weight),
    }
    # An existing VM is told "no" as well, a new one has it by default.
    if wish.compatible or instance_id is not None:
        properties["LimitProcessorFeatures"] = wish.compatible
    if wish.nested:
        properties["ExposeVirtualizationExtensions"] = True
    return EmbeddedInstance("Msvm_ProcessorSettingData", properties)


def memory_settings(wish: MemoryWish, instance_id: str | None = None) -> EmbeddedInstance:
    """Return the memory; without InstanceID for DefineSystem's ResourceSettings."""
    return EmbeddedInstance(
        "Msvm_MemorySettingData",
        {
            **_identity(instance_id, ResourceType.MEMORY, ResourceSubType.MEMORY),
            "DynamicMemoryEnabled": wish.dynamic,
            "VirtualQuantity": Uint64(wish.startup),
            "Reservation": Uint64(wish.minimum),
            "Limit": Uint64(wish.maximum),
        },
    )


def scsi_controller(identifier: str) -> EmbeddedInstance:
    """Return a SCSI controller with a VMBus identifier of our choice."""
    return _resource(
        RASD,
        ResourceType.SCSI_CONTROLLER,
        ResourceSubType.SCSI_CONTROLLER,
        {"VirtualSystemIdentifiers": [f"{{{identifier.lower()}}}"]},
    )


def drive(kind: DriveKind, slot: int) -> EmbeddedInstance:
    """Return an empty drive; to be `parented` by its controller."""
    dvd = kind is DriveKind.DVD
    return _resource(
        RASD,
        ResourceType.DVD_DRIVE if dvd else ResourceType.DISK_DRIVE,
        ResourceSubType.DVD_DRIVE if dvd else ResourceSubType.DISK_DRIVE,
        {"AddressOnParent": str(slot)},
    )


def medium(kind: DriveKind, file: str, iops_limit: int | None = None) -> EmbeddedInstance:
    """Return a disk image or ISO; to be `parented` by its drive."""
    dvd = kind is DriveKind.DVD
    properties: dict[str, Scalar | Sequence[Scalar] | None] = {"HostResource": [file]}
    if iops_limit is not None:
        properties["IOPSLimit"] = Uint64(iops_limit)
    return _resource(
        SASD,
        ResourceType.LOGICAL_DISK,
        ResourceSubType.VIRTUAL_DVD_DISK if dvd else ResourceSubType.VIRTUAL_HARD_DISK,
        properties,
    )


def changed_medium(instance_id: str, file: str) -> EmbeddedInstance:
    """Return the change of what lies in a drive, for ModifyResourceSettings."""
    return EmbeddedInstance(SASD, {"InstanceID": instance_id, "HostResource": [file]})


def changed_iops_limit(instance_id: str, limit: int | None) -> EmbeddedInstance:
    """Return the change of a disk's limit; None takes it away."""
    return EmbeddedInstance(SASD, {"InstanceID": instance_id, "IOPSLimit": Uint64(limit or 0)})


def adapter(nic: NicWish, identifier: str) -> EmbeddedInstance:
    """Return a NIC with a fixed MAC address and a VMBus identifier of our choice."""
    return _resource(
        NIC,
        ResourceType.ETHERNET_ADAPTER,
        ResourceSubType.SYNTHETIC_ETHERNET_PORT,
        {
            "ElementName": f"eth{nic.device_id}",
            "StaticMacAddress": True,
            "Address": nic.mac,
            "VirtualSystemIdentifiers": [f"{{{identifier.lower()}}}"],
        },
    )


def connection(wish: AdapterWish) -> EmbeddedInstance:
    """Return a NIC's connection to its switch; to be `parented` by the NIC.

    A NIC without a switch has a connection too, a disabled one: that is what a port feature or a
    later connection is attached to.
    """
    properties: dict[str, Scalar | Sequence[Scalar] | None] = {
        "EnabledState": _cable(connected=wish.nic.connected)
    }
    if wish.switch is not None:
        properties["HostResource"] = [str(wish.switch.path)]
    return _resource(
        CONNECTION,
        ResourceType.ETHERNET_CONNECTION,
        ResourceSubType.ETHERNET_CONNECTION,
        properties,
    )


def changed_connection(
    instance_id: str, *, connected: bool, switch: ObjectPath | None
) -> EmbeddedInstance:
    """Return the change of a connection; `switch` None keeps the present one."""
    properties: dict[str, Scalar | Sequence[Scalar] | None] = {
        "InstanceID": instance_id,
        "EnabledState": _cable(connected=connected),
    }
    if switch is not None:
        properties["HostResource"] = [str(switch)]
    return EmbeddedInstance(CONNECTION, properties)


def port_vlan(vlan: PortVlan) -> EmbeddedInstance:
    """Return the port feature that puts a NIC into a VLAN or private VLAN."""
    if isinstance(vlan, PrivateVlan):
        properties: dict[str, Scalar | Sequence[Scalar] | None] = {
            "OperationMode": Uint32(VlanMode.PRIVATE),
            "PvlanMode": Uint32(vlan.role),
            "PrimaryVlanId": Uint16(vlan.primary),
        }
        if vlan.role is PrivateRole.PROMISCUOUS:
            properties["SecondaryVlanIdArray"] = [Uint16(v) for v in sorted(vlan.secondaries)]
        else:
            properties["SecondaryVlanId"] = Uint16(min(vlan.secondaries))
        return EmbeddedInstance(VLAN, properties)
    return EmbeddedInstance(
        VLAN, {"OperationMode": Uint32(VlanMode.ACCESS), "AccessVlanId": Uint16(vlan)}
    )


def bandwidth(limit: int) -> EmbeddedInstance:
    """Return the port feature that limits what a VM sends, in bits a second."""
    return EmbeddedInstance(BANDWIDTH, {"Limit": Uint64(limit)})


def security(guards: PortGuards) -> EmbeddedInstance:
    """Return the port feature with MAC spoofing, DHCP guard and router guard."""
    return EmbeddedInstance(
        SECURITY,
        {
            "AllowMacSpoofing": guards.allow_mac_spoofing,
            "EnableDhcpGuard": guards.dhcp_guard,
            "EnableRouterGuard": guards.router_guard,
        },
    )


def guest_data_item(key: str, value: str) -> EmbeddedInstance:
    """Return a key-value pair from host to guest."""
    return EmbeddedInstance(
        "Msvm_KvpExchangeDataItem", {"Name": key, "Data": value, "Source": Uint16(0)}
    )


def boot_order(instance_id: str, sources: Sequence[str]) -> EmbeddedInstance:
    """Return the boot order of a generation 2 VM: all its boot sources, reordered."""
    return EmbeddedInstance(
        "Msvm_VirtualSystemSettingData",
        {"InstanceID": instance_id, "BootSourceOrder": list(sources)},
    )


def changed_system(instance_id: str, properties: Properties) -> EmbeddedInstance:
    """Return the change of a VM or checkpoint as a whole, for ModifySystemSettings."""
    return EmbeddedInstance(
        "Msvm_VirtualSystemSettingData", {"InstanceID": instance_id, **properties}
    )


def kept_system(wish: MachineWish, notes: str, release: Release) -> Properties:
    """Return what is set anew on a VM whose definition was kept: all but what cannot change."""
    properties: dict[str, Scalar | Sequence[Scalar] | None] = {
        "ElementName": wish.name,
        "Notes": [notes],
        "AutomaticStartupAction": Uint16(START_NOTHING),
        "AutomaticShutdownAction": Uint16(SHUT_DOWN_GUEST),
    }
    if wish.secure_boot is not None:
        properties["SecureBootEnabled"] = wish.secure_boot.enabled
        if wish.secure_boot.template and release.has_secure_boot_templates:
            properties["SecureBootTemplateId"] = wish.secure_boot.template
    return properties


def parented(settings: EmbeddedInstance, parent: ObjectPath) -> EmbeddedInstance:
    """Return the device hung on its parent."""
    return EmbeddedInstance(settings.class_name, {**settings.properties, "Parent": str(parent)})


def _cable(*, connected: bool) -> Uint16:
    return Uint16(EnabledState.ENABLED if connected else EnabledState.DISABLED)


def _identity(
    instance_id: str | None, resource_type: ResourceType, sub_type: ResourceSubType
) -> dict[str, Scalar | Sequence[Scalar] | None]:
    """A device that exists is named by its id, one that is defined with its VM by its kind."""
    if instance_id is not None:
        return {"InstanceID": instance_id}
    return {"ResourceType": Uint16(resource_type), "ResourceSubType": str(sub_type)}


def _resource(
    class_name: str,
    resource_type: ResourceType,
    sub_type: ResourceSubType,
    properties: Properties,
) -> EmbeddedInstance:
    return EmbeddedInstance(
        class_name,
        {
            "ResourceType": Uint16(resource_type),
            "ResourceSubType": str(sub_type),
            **properties,
        },
    )
