"""The kinds of resource a virtual machine is made of, with what Hyper-V fills in for each.

A client sends only what it cares about; VMMS completes the rest from the kind's defaults, the
same ones that the `Microsoft:Definition\\...\\Default` rows show.  `changes` says which
properties ModifyResourceSettings may change, and when.

Sources: Microsoft's "Hyper-V resource types" and class pages; ResourceSubTypes as os-win and
libvirt use them; GUIDs of the IDE controller, keyboard and guest service interface as seen in
recordings, the others from memory (clients read them).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudstack_hyperv.cim.constants import (
    DISKETTE_CONTROLLER_GUID,
    IDE_CONTROLLER_GUID,
    PHYSICAL_DISK_GUID,
    ResourceSubType,
    ResourceType,
)
from cloudstack_hyperv.emulator.cim.provider import Row, Value

RASD = "Msvm_ResourceAllocationSettingData"
STORAGE = "Msvm_StorageAllocationSettingData"
PROCESSOR = "Msvm_ProcessorSettingData"
MEMORY = "Msvm_MemorySettingData"
NIC = "Msvm_SyntheticEthernetPortSettingData"
LEGACY_NIC = "Msvm_EmulatedEthernetPortSettingData"
CONNECTION = "Msvm_EthernetPortAllocationSettingData"
SERIAL = "Msvm_SerialPortSettingData"
DISPLAY = "Msvm_SyntheticDisplayControllerSettingData"


class When(enum.Enum):
    """In which state of the machine a property may change."""

    ALWAYS = "always"
    OFF = "off"


ALWAYS, OFF = When.ALWAYS, When.OFF


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """One row of the catalogue."""

    class_name: str
    resource_type: int
    sub_type: str
    definition: str
    """GUID in the InstanceID of the kind's Definition rows."""
    caption: str
    values: Mapping[str, Value] = field(default_factory=dict)
    changes: Mapping[str, When] = field(default_factory=dict)
    has_identifiers: bool = False
    other_type: str = ""
    addable: bool = True

    def template(self, instance_id: str) -> Row:
        """Return a new row with the kind's defaults."""
        values: dict[str, Value] = {
            "InstanceID": instance_id,
            "Caption": self.caption,
            "Description": f"Settings for the Microsoft {self.caption}.",
            "ElementName": self.caption,
            "ResourceType": self.resource_type,
            "ResourceSubType": self.sub_type,
            "PoolID": "",
            "ConsumerVisibility": 3,
            "AllocationUnits": "count",
            "VirtualQuantity": 1,
            "Reservation": 1,
            "Limit": 1,
            "Weight": 0,
            "AutomaticAllocation": True,
            "AutomaticDeallocation": True,
            "VirtualQuantityUnits": "count",
        }
        if self.other_type:
            values["OtherResourceType"] = self.other_type
        values.update(self.values)
        return Row(self.class_name, values)


_CONTROLLER_CHANGES = {"ElementName": ALWAYS, "VirtualSystemIdentifiers": OFF}
_DRIVE_CHANGES = {"ElementName": ALWAYS, "Parent": OFF, "AddressOnParent": OFF}
_MEDIUM_CHANGES = {
    "ElementName": ALWAYS,
    "HostResource": ALWAYS,
    "PoolID": ALWAYS,
    "Parent": OFF,
    "IOPSLimit": ALWAYS,
    "IOPSReservation": ALWAYS,
    "StorageQoSPolicyID": ALWAYS,
    "PersistentReservationsSupported": OFF,
    "CachingMode": OFF,
    "WriteHardeningMethod": OFF,
    "IgnoreFlushes": OFF,
    "SnapshotId": OFF,
}
_NIC_CHANGES = {
    "ElementName": ALWAYS,
    "Address": OFF,
    "StaticMacAddress": OFF,
    "VirtualSystemIdentifiers": OFF,
    "ClusterMonitored": ALWAYS,
    "PoolID": OFF,
    "DeviceNamingEnabled": OFF,
    "AllowPacketDirect": OFF,
    "InterruptModeration": ALWAYS,
    "MediaType": OFF,
    "NumaAwarePlacement": OFF,
}
_PROCESSOR_CHANGES = {
    "VirtualQuantity": OFF,
    "Reservation": ALWAYS,
    "Limit": ALWAYS,
    "Weight": ALWAYS,
    "LimitCPUID": OFF,
    "LimitProcessorFeatures": OFF,
    "LimitProcessorFeaturesMode": OFF,
    "ExposeVirtualizationExtensions": OFF,
    "HwThreadsPerCore": OFF,
    "MaxProcessorsPerNumaNode": OFF,
    "MaxNumaNodesPerSocket": OFF,
    "EnableHostResourceProtection": ALWAYS,
    "HideHypervisorPresent": OFF,
    "CpuGroupId": ALWAYS,
    "EnablePerfmonPmu": OFF,
    "EnablePerfmonLbr": OFF,
    "EnablePerfmonPebs": OFF,
    "EnablePerfmonIpt": OFF,
    "AllowACountMCount": OFF,
    "PoolID": OFF,
}
_MEMORY_CHANGES = {
    "VirtualQuantity": OFF,
    "Reservation": ALWAYS,
    "Limit": ALWAYS,
    "Weight": ALWAYS,
    "TargetMemoryBuffer": ALWAYS,
    "DynamicMemoryEnabled": OFF,
    "MaxMemoryBlocksPerNumaNode": OFF,
    "HugePagesEnabled": OFF,
    "SgxEnabled": OFF,
    "SgxSize": OFF,
    "PoolID": OFF,
}
_STORAGE_VALUES: dict[str, Value] = {
    "Access": 3,
    "VirtualQuantityUnits": "count(fixed size block)",
    "VirtualResourceBlockSize": 512,
    "HostResourceBlockSize": 512,
    "Reservation": 0,
}


def _component(class_name: str, guid: str, caption: str, kind: str, state: int) -> ResourceKind:
    return ResourceKind(
        class_name,
        ResourceType.OTHER,
        "",
        guid,
        caption,
        {"EnabledState": state},
        {"EnabledState": ALWAYS},
        other_type=f"Microsoft:Hyper-V:{kind}",
        addable=False,
    )


COMPONENTS = (
    _component(
        "Msvm_ShutdownComponentSettingData",
        "9F8233AC-BE49-4C79-8EE3-E7E1985B2077",
        "Shutdown",
        "Shutdown Component",
        2,
    ),
    _component(
        "Msvm_TimeSyncComponentSettingData",
        "2497F4DE-E9FA-4204-80E4-4B75C46419C0",
        "Time Synchronization",
        "Time Synchronization Component",
        2,
    ),
    _component(
        "Msvm_KvpExchangeComponentSettingData",
        "2A34B1C2-FD73-4043-8A5B-DD2159BC743F",
        "Key-Value Pair Exchange",
        "Key-Value Pair Exchange Component",
        2,
    ),
    _component(
        "Msvm_HeartbeatComponentSettingData",
        "84EAAE65-2F2E-45F5-9BB5-0E857DC8EB47",
        "Heartbeat",
        "Heartbeat Component",
        2,
    ),
    _component(
        "Msvm_VssComponentSettingData",
        "5CED1297-4598-4915-A5FC-AD21BB4D02A4",
        "VSS",
        "VSS Component",
        2,
    ),
    _component(
        "Msvm_GuestServiceInterfaceComponentSettingData",
        "6C09BB55-D683-4DA0-8931-C9BF705F6480",
        "Guest Service Interface",
        "Guest Service Interface Component",
        3,
    ),
)
"""Integration components: every machine has all of them."""

KINDS: tuple[ResourceKind, ...] = (
    ResourceKind(
        PROCESSOR,
        ResourceType.PROCESSOR,
        ResourceSubType.PROCESSOR,
        "B637F346-6A0E-4DEC-AF52-BD70CB80A21D",
        "Processor",
        {
            "AllocationUnits": "percent / 1000",
            "Reservation": 0,
            "Limit": 100000,
            "Weight": 100,
            "LimitCPUID": False,
            "LimitProcessorFeatures": False,
            "MaxProcessorsPerNumaNode": 16,
            "MaxNumaNodesPerSocket": 1,
        },
        _PROCESSOR_CHANGES,
        addable=False,
    ),
    ResourceKind(
        MEMORY,
        ResourceType.MEMORY,
        ResourceSubType.MEMORY,
        "4764334D-E001-4176-82EE-5594EC9B530E",
        "Memory",
        {
            "AllocationUnits": "byte * 2^20",
            "VirtualQuantityUnits": "byte * 2^20",
            "VirtualQuantity": 512,
            "Reservation": 512,
            "Limit": 1048576,
            "Weight": 5000,
            "DynamicMemoryEnabled": False,
            "TargetMemoryBuffer": 20,
            "IsVirtualized": True,
            "SwapFilesInUse": False,
            "MaxMemoryBlocksPerNumaNode": 32768,
        },
        _MEMORY_CHANGES,
        addable=False,
    ),
    ResourceKind(
        RASD,
        ResourceType.IDE_CONTROLLER,
        ResourceSubType.IDE_CONTROLLER,
        IDE_CONTROLLER_GUID,
        "IDE Controller",
        changes={"ElementName": ALWAYS},
        addable=False,
    ),
    ResourceKind(
        RASD,
        ResourceType.SCSI_CONTROLLER,
        ResourceSubType.SCSI_CONTROLLER,
        "D422512D-2BF2-4752-809D-7B82B5FCB1B4",
        "SCSI Controller",
        changes=_CONTROLLER_CHANGES,
        has_identifiers=True,
    ),
    ResourceKind(
        RASD,
        ResourceType.OTHER,
        "Microsoft:Hyper-V:Diskette Controller",
        DISKETTE_CONTROLLER_GUID,
        "Diskette Controller",
        addable=False,
    ),
    ResourceKind(
        RASD,
        ResourceType.DISKETTE_DRIVE,
        ResourceSubType.DISKETTE_DRIVE,
        "C1F4E8A2-2A47-4D1B-90F7-3D3EDF0E8CB4",
        "Diskette Drive",
        addable=False,
    ),
    ResourceKind(
        RASD,
        ResourceType.DISK_DRIVE,
        ResourceSubType.DISK_DRIVE,
        "92D4A8F1-6C6B-4F1D-B1FA-6B7E1E4F8D0E",
        "Hard Drive",
        changes=_DRIVE_CHANGES,
    ),
    ResourceKind(
        RASD,
        ResourceType.DISK_DRIVE,
        ResourceSubType.PHYSICAL_DISK_DRIVE,
        PHYSICAL_DISK_GUID,
        "Physical Hard Drive",
        changes={**_DRIVE_CHANGES, "HostResource": OFF},
    ),
    ResourceKind(
        RASD,
        ResourceType.DVD_DRIVE,
        ResourceSubType.DVD_DRIVE,
        "C12F9D3A-0C63-4F77-9B8F-6E5A1C2B4D5E",
        "DVD Drive",
        changes=_DRIVE_CHANGES,
    ),
    ResourceKind(
        STORAGE,
        ResourceType.LOGICAL_DISK,
        ResourceSubType.VIRTUAL_HARD_DISK,
        "70BB60D2-A9D3-46AA-B654-3DE53004B4F8",
        "Hard Disk Image",
        _STORAGE_VALUES,
        _MEDIUM_CHANGES,
    ),
    ResourceKind(
        STORAGE,
        ResourceType.LOGICAL_DISK,
        ResourceSubType.VIRTUAL_DVD_DISK,
        "E6A3C1D0-4B5F-4E2A-8C7D-9F0A1B2C3D4E",
        "ISO Disk Image",
        {**_STORAGE_VALUES, "Access": 1},
        _MEDIUM_CHANGES,
    ),
    ResourceKind(
        STORAGE,
        ResourceType.LOGICAL_DISK,
        ResourceSubType.VIRTUAL_FLOPPY_DISK,
        "3A1B5C7D-9E0F-4A2B-8C4D-6E8F0A1B2C3D",
        "Floppy Disk Image",
        _STORAGE_VALUES,
        _MEDIUM_CHANGES,
    ),
    ResourceKind(
        NIC,
        ResourceType.ETHERNET_ADAPTER,
        ResourceSubType.SYNTHETIC_ETHERNET_PORT,
        "6A45335D-4C3A-44B7-B61F-C9808BBDF8ED",
        "Network Adapter",
        {"Address": "", "StaticMacAddress": False, "ClusterMonitored": True},
        _NIC_CHANGES,
        has_identifiers=True,
    ),
    ResourceKind(
        LEGACY_NIC,
        ResourceType.ETHERNET_ADAPTER,
        ResourceSubType.EMULATED_ETHERNET_PORT,
        "4F6F4A2C-8F0B-4D3E-9A51-2B7C6D8E9F10",
        "Legacy Network Adapter",
        {"Address": "", "StaticMacAddress": False},
        _NIC_CHANGES,
    ),
    ResourceKind(
        CONNECTION,
        ResourceType.ETHERNET_CONNECTION,
        ResourceSubType.ETHERNET_CONNECTION,
        "72027ECE-E44A-446E-AF2B-8D8C4B8A2279",
        "Ethernet Switch Port Settings",
        {"EnabledState": 2, "Address": "", "LastKnownSwitchName": ""},
        {
            "ElementName": ALWAYS,
            "HostResource": ALWAYS,
            "EnabledState": ALWAYS,
            "PoolID": ALWAYS,
            "LastKnownSwitchName": ALWAYS,
            "RequiredFeatures": ALWAYS,
            "RequiredFeatureHints": ALWAYS,
            "TestReplicaPoolID": ALWAYS,
            "TestReplicaSwitchName": ALWAYS,
            "CompartmentGuid": ALWAYS,
            "Address": ALWAYS,
        },
    ),
    ResourceKind(
        SERIAL,
        ResourceType.SERIAL_PORT,
        ResourceSubType.SERIAL_PORT,
        "8E3A359F-559A-4B6A-98A9-1690A6100ED7",
        "Serial Port",
        {"Connection": [""]},
        {"Connection": ALWAYS, "DebuggerMode": OFF},
        addable=False,
    ),
    ResourceKind(
        DISPLAY,
        ResourceType.DISPLAY_CONTROLLER,
        ResourceSubType.SYNTHETIC_DISPLAY,
        "6B6B7C4A-2D3E-4F50-8A9B-0C1D2E3F4A5B",
        "Display Controller",
        {"ResolutionType": 2, "HorizontalResolution": 1920, "VerticalResolution": 1080},
        {"ResolutionType": OFF, "HorizontalResolution": OFF, "VerticalResolution": OFF},
        addable=False,
    ),
    ResourceKind(
        RASD,
        ResourceType.DISPLAY_CONTROLLER,
        ResourceSubType.S3_DISPLAY,
        "2B9FBD0B-D0E3-4C4F-A2D6-5E6F7A8B9C0D",
        "S3 Display Controller",
        addable=False,
    ),
    ResourceKind(
        RASD,
        ResourceType.INPUT_DEVICE,
        ResourceSubType.SYNTHETIC_MOUSE,
        "CD3E7F9A-1B2C-4D5E-8F60-718293A4B5C6",
        "Mouse",
        addable=False,
    ),
    ResourceKind(
        RASD,
        ResourceType.INPUT_DEVICE,
        ResourceSubType.SYNTHETIC_KEYBOARD,
        "58F75A6D-D949-4320-99E1-A2A2576D581C",
        "Keyboard",
        addable=False,
    ),
    *COMPONENTS,
)

_BY_TYPE = {(kind.resource_type, kind.sub_type.lower()): kind for kind in KINDS if kind.sub_type}
_BY_CLASS: dict[str, list[ResourceKind]] = {}
for _kind in KINDS:
    _BY_CLASS.setdefault(_kind.class_name, []).append(_kind)


def kind_by_sub_type(sub_type: str) -> ResourceKind:
    """Return the kind with this ResourceSubType; KeyError if there is none."""
    return next(kind for kind in KINDS if kind.sub_type == sub_type)


def kind_of_row(row: Row) -> ResourceKind | None:
    """Return the kind that a row the host holds is of."""
    candidates = _BY_CLASS.get(row.class_name, [])
    if len(candidates) == 1:
        return candidates[0]
    resource_type = row.values.get("ResourceType")
    sub_type = str(row.values.get("ResourceSubType") or "").lower()
    if isinstance(resource_type, int):
        return _BY_TYPE.get((resource_type, sub_type))
    return None


def kind_of_request(row: Row) -> ResourceKind | None:
    """Return the kind that a client's embedded instance asks for, None if it is none.

    A class that has one kind needs no ResourceType.  The superclass
    Msvm_ResourceAllocationSettingData is taken for every kind, as libvirt's driver (media) and
    old clients (serial ports) rely on.
    """
    resource_type = row.values.get("ResourceType")
    sub_type = row.values.get("ResourceSubType")
    candidates = _BY_CLASS.get(row.class_name, [])
    if len(candidates) == 1 and resource_type is None and sub_type is None:
        return candidates[0]
    kind: ResourceKind | None = None
    if isinstance(resource_type, int) and isinstance(sub_type, str) and sub_type:
        kind = _BY_TYPE.get((resource_type, sub_type.lower()))
    elif isinstance(sub_type, str) and sub_type:
        kind = next((k for k in KINDS if k.sub_type.lower() == sub_type.lower()), None)
    elif len(candidates) == 1 and resource_type == candidates[0].resource_type:
        kind = candidates[0]
    if kind is None or row.class_name not in (kind.class_name, RASD):
        return None
    return kind
