r"""Windows' own view of disks, partitions, volumes, shares and NUMA nodes.

The same things as in `Win32_DiskDrive`, `Win32_Volume` and `Win32_Share` (modules `host_disks`,
`inventory`), in the classes of the storage and SMB namespaces.  Disk 0 carries the drives, one
partition each after a reserved one; disks of the configuration are offline, without partitions; a
VHD that is mounted in the host is a disk of its own, whose Location is the file.

Sources: Microsoft's pages MSFT_Disk, MSFT_Partition, MSFT_Volume (Windows Storage Management
API), MSFT_SmbShare, Msvm_NumaNode.  The form of ObjectId and NodeID is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cloudstack_hyperv.cim.constants import NAMESPACE_SMB, NAMESPACE_STORAGE
from cloudstack_hyperv.emulator.cim.provider import (
    CimFault,
    MethodCall,
    MethodReply,
    Row,
    Value,
    WmiCode,
)
from cloudstack_hyperv.emulator.host.host_disks import HostDiskRows
from cloudstack_hyperv.emulator.host.inventory import Inventory
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site, number, text

DISK, PARTITION, VOLUME = "MSFT_Disk", "MSFT_Partition", "MSFT_Volume"
_BASIC_DATA = "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c7}"
_ONLINE, _OFFLINE = 0xD010, 0xD013
_BUS_SAS, _BUS_FILE = 10, 15
_RESERVED = 16 * 2**20
_FILE_SYSTEM_TYPES = {"NTFS": 14, "CSVFS": 0x8000}
_BY_POLICY, _FILE_BACKED = 1, 2


class StorageRows:
    """Rows of one host's storage."""

    def __init__(
        self,
        site: Site,
        inventory: Inventory,
        mounted: Callable[[], Iterator[Row]],
        windows: HostDiskRows,
    ) -> None:
        """`mounted` yields Msvm_MountedStorageImage."""
        self._site = site
        self._inventory = inventory
        self._mounted = mounted
        self._windows = windows

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        table.serve(DISK, self.disks, namespace=NAMESPACE_STORAGE)
        table.serve(PARTITION, self.partitions, namespace=NAMESPACE_STORAGE)
        table.serve(
            VOLUME,
            self.volumes,
            namespace=NAMESPACE_STORAGE,
            methods={"SetFileSystemLabel": self.set_label},
        )
        table.serve("MSFT_SmbShare", self.shares, namespace=NAMESPACE_SMB)
        table.serve("Msvm_NumaNode", self.numa_nodes)

    def _object_id(self, kind: str, name: str) -> str:
        provider = f"\\\\{self._site.name}\\root/Microsoft/Windows/Storage/Providers_v2"
        return f'{{1}}{provider}\\WSP_{kind}.ObjectId="{name}"'

    # Disks ---------------------------------------------------------------------------------

    def disks(self) -> Iterator[Row]:
        """Yield MSFT_Disk."""
        last = 0
        for windows in self._windows.windows_disks():
            index, size = number(windows.values, "Index"), number(windows.values, "Size")
            last = max(last, index)
            model = text(windows.values, "Model")
            yield self._disk(index, size, model, _BUS_SAS, offline=index > 0)
        for image in self._mounted():
            last += 1
            path = text(image.values, "Name")
            yield self._disk(last, 0, "Virtual Disk", _BUS_FILE, offline=False, location=path)

    def _disk(
        self, index: int, size: int, model: str, bus: int, *, offline: bool, location: str = ""
    ) -> Row:
        name = f"\\\\?\\scsi#disk&ven_msft#{index:06d}#{{53f56307-b6bf-11d0-94f2-00a0c91efb8b}}"
        own = index == 0
        values: dict[str, Value] = {
            "ObjectId": self._object_id("Disk", name),
            "Path": name,
            "UniqueId": f"EMU{index:08d}",
            "UniqueIdFormat": 0,
            "FriendlyName": f"Msft {model}" if bus == _BUS_FILE else model,
            "Manufacturer": "Msft    ",
            "Model": model,
            "SerialNumber": f"EMU{index:08d}",
            "Number": index,
            "Location": location or f"Integrated : Adapter 0 : Port 0 : Target 0 : LUN {index}",
            "BusType": bus,
            "Size": size or None,
            "AllocatedSize": size if own else None,
            "LargestFreeExtent": 0 if own else None,
            "LogicalSectorSize": 512,
            "PhysicalSectorSize": 4096,
            "PartitionStyle": 2 if own else 0,
            "NumberOfPartitions": len(self._site.files.drives) if own else 0,
            "HealthStatus": 0,
            "OperationalStatus": [_OFFLINE if offline else _ONLINE],
            "OfflineReason": _BY_POLICY if offline else None,
            "ProvisioningType": _FILE_BACKED,
            "IsOffline": offline,
            "IsReadOnly": False,
            "IsBoot": own,
            "IsSystem": own,
            "BootFromDisk": own,
            "IsClustered": False,
            "IsHighlyAvailable": False,
            "IsScaleOut": False,
        }
        return Row(DISK, values)

    def partitions(self) -> Iterator[Row]:
        """Yield MSFT_Partition, one for each drive of disk 0."""
        offset = _RESERVED
        disk = text(next(iter(self.disks())).values, "ObjectId")
        for index, volume in enumerate(self._lettered(), start=1):
            size = number(volume.values, "Capacity")
            letter = text(volume.values, "DriveLetter")[:1]
            device = text(volume.values, "DeviceID")
            guid = device.removeprefix("\\\\?\\Volume").rstrip("\\")
            yield Row(
                PARTITION,
                {
                    "ObjectId": self._object_id("Partition", f"0:{offset}"),
                    "UniqueId": guid,
                    "Guid": guid,
                    "DiskId": disk,
                    "DiskNumber": 0,
                    "PartitionNumber": index,
                    "Offset": offset,
                    "Size": size,
                    "DriveLetter": letter,
                    "AccessPaths": [f"{letter}:\\", device],
                    "GptType": _BASIC_DATA,
                    "OperationalStatus": 1,
                    "TransitionState": 1,
                    "IsActive": False,
                    "IsBoot": letter == "C",
                    "IsSystem": letter == "C",
                    "IsHidden": False,
                    "IsOffline": False,
                    "IsReadOnly": False,
                    "IsShadowCopy": False,
                    "IsDAX": False,
                    "NoDefaultDriveLetter": False,
                },
            )
            offset += size

    def _lettered(self) -> Iterator[Row]:
        return (row for row in self._inventory.volumes() if row.values.get("DriveLetter"))

    # Volumes -------------------------------------------------------------------------------

    def volumes(self) -> Iterator[Row]:
        """Yield MSFT_Volume."""
        return (self._volume(row) for row in self._inventory.volumes())

    def _volume(self, windows: Row) -> Row:
        values = windows.values
        device, system = text(values, "DeviceID"), text(values, "FileSystem")
        return Row(
            VOLUME,
            {
                "ObjectId": self._object_id("Volume", device),
                "UniqueId": device,
                "Path": device,
                "DriveLetter": text(values, "DriveLetter")[:1] or None,
                "DriveType": 3,
                "FileSystem": system,
                "FileSystemType": _FILE_SYSTEM_TYPES[system],
                "FileSystemLabel": values.get("Label"),
                "AllocationUnitSize": values.get("BlockSize"),
                "Size": values.get("Capacity"),
                "SizeRemaining": values.get("FreeSpace"),
                "HealthStatus": 0,
                "OperationalStatus": [2],
                "DedupMode": 4,
            },
        )

    def set_label(self, call: MethodCall) -> MethodReply:
        """Carry out SetFileSystemLabel; the other classes show the new label too."""
        wanted = call.target.values.get("Path") if call.target is not None else None
        for row in self._inventory.volumes():
            if row.values["DeviceID"] == wanted:
                label = call.arguments.get("FileSystemLabel")
                self._inventory.put_volume(row, {"Label": label if label is not None else ""})
                return MethodReply(0)
        raise CimFault(WmiCode.NOT_FOUND, "no such volume")

    # Shares and nodes ----------------------------------------------------------------------

    def shares(self) -> Iterator[Row]:
        """Yield MSFT_SmbShare: the administrative shares."""
        for row in self._windows.shares():
            name = text(row.values, "Name")
            yield Row(
                "MSFT_SmbShare",
                {
                    "Name": name,
                    "ScopeName": "*",
                    "Description": row.values["Description"],
                    "Path": row.values["Path"],
                    "ShareType": 2 if name == "IPC$" else 0,
                    "ShareState": 1,
                    "SmbInstance": 0,
                    "Special": True,
                    "Temporary": False,
                    "Scoped": False,
                    "ShadowCopy": False,
                    "ContinuouslyAvailable": False,
                    "EncryptData": False,
                    "CachingMode": 0,
                    "CATimeout": 0,
                    "ConcurrentUserLimit": 0,
                    "CurrentUsers": 0,
                    "FolderEnumerationMode": 1,
                    "AvailabilityType": 0,
                },
            )

    def numa_nodes(self) -> Iterator[Row]:
        """Yield Msvm_NumaNode, one a socket."""
        config = self._site.config
        free = self._inventory.free_memory_kib() // 1024
        for socket in range(config.sockets):
            yield Row(
                "Msvm_NumaNode",
                {
                    "NodeID": f"Microsoft:PhysicalNode\\{socket}",
                    "Name": f"Numa Node {socket}",
                    "ElementName": f"Numa Node {socket}",
                    "Caption": "Numa Node",
                    "Description": "Microsoft Numa Node",
                    "CreationClassName": "Msvm_NumaNode",
                    "SystemCreationClassName": "Msvm_ComputerSystem",
                    "SystemName": self._site.name,
                    "EnabledState": 2,
                    "RequestedState": 12,
                    "EnabledDefault": 2,
                    "HealthState": 5,
                    "OperationalStatus": [2],
                    "NumberOfLogicalProcessors": config.cores * config.threads,
                    "NumberOfProcessorCores": config.cores,
                    "CurrentlyConsumableMemoryBlocks": free // config.sockets,
                },
            )
