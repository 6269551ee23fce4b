"""Numbers and names of Hyper-V's WMI v2 namespace that both sides of the wire must agree on.

Sources: Microsoft's "Hyper-V WMI provider (V2)" class pages (Msvm_ComputerSystem,
Msvm_ConcreteJob, Msvm_ResourceAllocationSettingData ...), the class GUIDs as recorded hosts show
them (r4sd/go-wsman test data) and os-win's constants for what the pages leave out.
"""

from __future__ import annotations

import enum
from typing import Final

NAMESPACE_VIRTUALIZATION: Final = "root/virtualization/v2"
NAMESPACE_CIMV2: Final = "root/cimv2"
NAMESPACE_STANDARDCIMV2: Final = "root/standardcimv2"
NAMESPACE_STORAGE: Final = "root/microsoft/windows/storage"
NAMESPACE_SMB: Final = "root/microsoft/windows/smb"
NAMESPACE_CLUSTER: Final = "root/mscluster"


class ReturnCode(enum.IntEnum):
    """ReturnValue of Hyper-V methods (Msvm_VirtualSystemManagementService pages)."""

    COMPLETED = 0
    JOB_STARTED = 4096
    FAILED = 32768
    ACCESS_DENIED = 32769
    NOT_SUPPORTED = 32770
    STATUS_UNKNOWN = 32771
    TIMEOUT = 32772
    INVALID_PARAMETER = 32773
    SYSTEM_IN_USE = 32774
    INVALID_STATE = 32775
    INCORRECT_DATA_TYPE = 32776
    SYSTEM_NOT_AVAILABLE = 32777
    OUT_OF_MEMORY = 32778
    FILE_NOT_FOUND = 32779
    # Msvm_ShutdownComponent only:
    NOT_READY = 32780
    MACHINE_LOCKED = 32781
    SHUTDOWN_IN_PROGRESS = 32782


class JobState(enum.IntEnum):
    """Msvm_ConcreteJob.JobState."""

    NEW = 2
    STARTING = 3
    RUNNING = 4
    SUSPENDED = 5
    SHUTTING_DOWN = 6
    COMPLETED = 7
    TERMINATED = 8
    KILLED = 9
    EXCEPTION = 10
    COMPLETED_WITH_WARNINGS = 32768


FINAL_JOB_STATES: Final = frozenset(
    {
        JobState.COMPLETED,
        JobState.TERMINATED,
        JobState.KILLED,
        JobState.EXCEPTION,
        JobState.COMPLETED_WITH_WARNINGS,
    }
)


class EnabledState(enum.IntEnum):
    """Msvm_ComputerSystem.EnabledState as a v2 host emits it."""

    OTHER = 1
    ENABLED = 2
    DISABLED = 3
    SHUTTING_DOWN = 4
    SAVED = 6
    PAUSED = 9
    STARTING = 10


class RequestedState(enum.IntEnum):
    """Argument of Msvm_ComputerSystem.RequestStateChange."""

    START = 2
    TURN_OFF = 3
    SHUT_DOWN = 4
    SAVE = 6
    PAUSE = 9
    REBOOT = 10
    RESET = 11


class ResourceType(enum.IntEnum):
    """CIM_ResourceAllocationSettingData.ResourceType."""

    OTHER = 1
    PROCESSOR = 3
    MEMORY = 4
    IDE_CONTROLLER = 5
    SCSI_CONTROLLER = 6
    ETHERNET_ADAPTER = 10
    INPUT_DEVICE = 13
    DISKETTE_DRIVE = 14
    DVD_DRIVE = 16
    DISK_DRIVE = 17
    SERIAL_PORT = 21
    DISPLAY_CONTROLLER = 24
    LOGICAL_DISK = 31
    ETHERNET_CONNECTION = 33


class ResourceSubType(enum.StrEnum):
    """CIM_ResourceAllocationSettingData.ResourceSubType."""

    PROCESSOR = "Microsoft:Hyper-V:Processor"
    MEMORY = "Microsoft:Hyper-V:Memory"
    IDE_CONTROLLER = "Microsoft:Hyper-V:Emulated IDE Controller"
    SCSI_CONTROLLER = "Microsoft:Hyper-V:Synthetic SCSI Controller"
    DISK_DRIVE = "Microsoft:Hyper-V:Synthetic Disk Drive"
    DVD_DRIVE = "Microsoft:Hyper-V:Synthetic DVD Drive"
    DISKETTE_DRIVE = "Microsoft:Hyper-V:Synthetic Diskette Drive"
    PHYSICAL_DISK_DRIVE = "Microsoft:Hyper-V:Physical Disk Drive"
    PHYSICAL_DVD_DRIVE = "Microsoft:Hyper-V:Physical DVD Drive"
    VIRTUAL_HARD_DISK = "Microsoft:Hyper-V:Virtual Hard Disk"
    VIRTUAL_DVD_DISK = "Microsoft:Hyper-V:Virtual CD/DVD Disk"
    VIRTUAL_FLOPPY_DISK = "Microsoft:Hyper-V:Virtual Floppy Disk"
    SYNTHETIC_ETHERNET_PORT = "Microsoft:Hyper-V:Synthetic Ethernet Port"
    EMULATED_ETHERNET_PORT = "Microsoft:Hyper-V:Emulated Ethernet Port"
    ETHERNET_CONNECTION = "Microsoft:Hyper-V:Ethernet Connection"
    SERIAL_PORT = "Microsoft:Hyper-V:Serial Port"
    SYNTHETIC_MOUSE = "Microsoft:Hyper-V:Synthetic Mouse"
    SYNTHETIC_KEYBOARD = "Microsoft:Hyper-V:Synthetic Keyboard"
    SYNTHETIC_DISPLAY = "Microsoft:Hyper-V:Synthetic Display Controller"
    S3_DISPLAY = "Microsoft:Hyper-V:S3 Display Controller"


SYSTEM_TYPE_REALIZED: Final = "Microsoft:Hyper-V:System:Realized"
SYSTEM_TYPE_PLANNED: Final = "Microsoft:Hyper-V:System:Planned"
SYSTEM_TYPE_DEFINITION: Final = "Microsoft:Hyper-V:System:Definition"
SNAPSHOT_TYPE_REALIZED: Final = "Microsoft:Hyper-V:Snapshot:Realized"
GENERATION_1: Final = "Microsoft:Hyper-V:SubType:1"
GENERATION_2: Final = "Microsoft:Hyper-V:SubType:2"

IDE_CONTROLLER_GUID: Final = "83F8638B-8DCA-4152-9EDA-2CA8B33039B4"
PHYSICAL_DISK_GUID: Final = "353B3BE8-310C-4CF4-839E-4E1B14616136"
"""Of the physical disk drive's template row and of the DeviceID of each Msvm_DiskDrive."""
DISKETTE_CONTROLLER_GUID: Final = "8F0D2762-0B00-4E04-AF4F-19010527CB93"


class VhdFormat(enum.IntEnum):
    """Msvm_VirtualHardDiskSettingData.Format."""

    VHD = 2
    VHDX = 3
    VHDS = 4


class VhdType(enum.IntEnum):
    """Msvm_VirtualHardDiskSettingData.Type."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


class VlanMode(enum.IntEnum):
    """Msvm_EthernetSwitchPortVlanSettingData.OperationMode."""

    ACCESS = 1
    TRUNK = 2
    PRIVATE = 3


class SummaryField(enum.IntEnum):
    """Ids of GetSummaryInformation's RequestedInformation."""

    NAME = 0
    ELEMENT_NAME = 1
    CREATION_TIME = 2
    NOTES = 3
    NUMBER_OF_PROCESSORS = 4
    SMALL_THUMBNAIL = 5
    MEDIUM_THUMBNAIL = 6
    LARGE_THUMBNAIL = 7
    VIRTUAL_SWITCH_NAMES = 9
    VERSION = 10
    SHIELDED = 11
    ENABLED_STATE = 100
    PROCESSOR_LOAD = 101
    PROCESSOR_LOAD_HISTORY = 102
    MEMORY_USAGE = 103
    HEARTBEAT = 104
    UPTIME = 105
    GUEST_OPERATING_SYSTEM = 106
    SNAPSHOTS = 107
    ASYNCHRONOUS_TASKS = 108
    HEALTH_STATE = 109
    OPERATIONAL_STATUS = 110
    STATUS_DESCRIPTIONS = 111
    MEMORY_AVAILABLE = 112
    AVAILABLE_MEMORY_BUFFER = 113


FEATURE_IDS: Final = {
    "Msvm_EthernetSwitchPortAclSettingData": "998BEF4A-5D55-492A-9C43-8B2F5EAE9F2B",
    "Msvm_EthernetSwitchPortBandwidthSettingData": "24AD3CE1-69BD-4978-B2AC-DAAD389D699C",
    "Msvm_EthernetSwitchPortExtendedAclSettingData": "CD168FF0-A16D-4514-B7B5-8BBBA791A928",
    "Msvm_EthernetSwitchPortIsolationSettingData": "83AF2CCB-72C9-4479-A285-94E58A98CAA6",
    "Msvm_EthernetSwitchPortOffloadSettingData": "C885BFD1-ABB7-418F-8163-9F379C9F7166",
    "Msvm_EthernetSwitchPortProfileSettingData": "9940CD46-8B06-43BB-B9D5-93D50381FD56",
    "Msvm_EthernetSwitchPortSecuritySettingData": "776E0BA7-94A1-41C8-8F28-951F524251B5",
    "Msvm_EthernetSwitchPortVlanSettingData": "952C5004-4465-451C-8CB8-FA9AB382B773",
}
"""UUID qualifier of a port feature class: the last but one part of its instances' InstanceID."""
