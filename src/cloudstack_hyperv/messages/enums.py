"""The words of CloudStack's enumerations that a Hyper-V host deals with.

Members compare equal to the plain text, so `disk.type == VolumeType.ROOT` works on a field that
is declared as `str` (see the module `wire` for why fields that are read are).  Names and
spelling are those of the Java constants; an answer with another spelling reads as null there.
"""

from enum import StrEnum


class PowerState(StrEnum):
    """`com.cloud.vm.VirtualMachine$PowerState`."""

    ON = "PowerOn"
    OFF = "PowerOff"
    UNKNOWN = "PowerUnknown"
    REPORT_MISSING = "PowerReportMissing"


class HostType(StrEnum):
    """`com.cloud.host.Host$Type`, of which these two concern a hypervisor host."""

    ROUTING = "Routing"
    STORAGE = "Storage"


class VirtualMachineType(StrEnum):
    """`com.cloud.vm.VirtualMachine$Type`."""

    DOMAIN_ROUTER = "DomainRouter"
    CONSOLE_PROXY = "ConsoleProxy"
    SECONDARY_STORAGE_VM = "SecondaryStorageVm"
    ELASTIC_IP_VM = "ElasticIpVm"
    ELASTIC_LOAD_BALANCER_VM = "ElasticLoadBalancerVm"
    INTERNAL_LOAD_BALANCER_VM = "InternalLoadBalancerVm"
    USER = "User"
    USER_BARE_METAL = "UserBareMetal"
    NETSCALER_VM = "NetScalerVm"


class VolumeType(StrEnum):
    """`com.cloud.storage.Volume$Type`."""

    UNKNOWN = "UNKNOWN"
    ROOT = "ROOT"
    SWAP = "SWAP"
    DATADISK = "DATADISK"
    ISO = "ISO"


class ImageFormat(StrEnum):
    """`com.cloud.storage.Storage$ImageFormat`, the formats that can reach a Hyper-V host."""

    VHD = "VHD"
    VHDX = "VHDX"
    ISO = "ISO"
    RAW = "RAW"
    ZIP = "ZIP"
    TAR = "TAR"


class ProvisioningType(StrEnum):
    """`com.cloud.storage.Storage$ProvisioningType`; `FAT` is what others call fixed."""

    THIN = "THIN"
    SPARSE = "SPARSE"
    FAT = "FAT"


class StoragePoolType(StrEnum):
    """`com.cloud.storage.Storage$StoragePoolType`, of which stock Hyper-V uses the first two."""

    SMB = "SMB"
    FILESYSTEM = "Filesystem"
    NETWORK_FILESYSTEM = "NetworkFilesystem"
    CLVM = "CLVM"
    ISCSI = "Iscsi"
    ISCSI_LUN = "IscsiLUN"
    SHARED_MOUNT_POINT = "SharedMountPoint"


class DataStoreRole(StrEnum):
    """`com.cloud.storage.DataStoreRole`."""

    PRIMARY = "Primary"
    IMAGE = "Image"
    IMAGE_CACHE = "ImageCache"
    BACKUP = "Backup"
    OBJECT = "Object"


class StorageResourceType(StrEnum):
    """`com.cloud.storage.Storage$StorageResourceType`."""

    STORAGE_POOL = "STORAGE_POOL"
    STORAGE_HOST = "STORAGE_HOST"
    SECONDARY_STORAGE = "SECONDARY_STORAGE"
    LOCAL_SECONDARY_STORAGE = "LOCAL_SECONDARY_STORAGE"


class VmSnapshotType(StrEnum):
    """`com.cloud.vm.snapshot.VMSnapshot$Type`."""

    DISK = "Disk"
    DISK_AND_MEMORY = "DiskAndMemory"


class SecurityGroupFailure(StrEnum):
    """`com.cloud.agent.api.SecurityGroupRuleAnswer$FailureReason`."""

    NONE = "NONE"
    UNKNOWN = "UNKNOWN"
    PROGRAMMING_FAILED = "PROGRAMMING_FAILED"
    CANNOT_BRIDGE_FIREWALL = "CANNOT_BRIDGE_FIREWALL"
