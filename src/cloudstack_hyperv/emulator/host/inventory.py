"""The host as a Windows machine: system, processors, memory, volumes, firmware.

Sources: Microsoft's Win32_* class pages; version and caption by release profile; Win32 times carry
the local offset, and an emulated host lives in UTC.
"""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cloudstack_hyperv.emulator.cim.provider import CimFault, Row, Value, WmiCode
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.site import Site

MIB = 2**20
_NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


class Inventory:
    """Rows about the host itself."""

    def __init__(self, site: Site, machines: Machines) -> None:
        self._site = site
        self._machines = machines
        self._installed = site.started - timedelta(days=30)
        self._labels: dict[str, str] = {}

    @property
    def booted(self) -> datetime:
        """When the host booted."""
        return self._site.started

    def free_memory_kib(self) -> int:
        """Return what the parent partition sees as free; machines' memory is taken out."""
        config, now = self._site.config, self._site.timeline.now()
        used = sum(machine.memory_usage(now) for machine in self._machines)
        root = config.root_memory_mib * 0.8
        return max(0, int((config.memory_mib - root - used) * 1024))

    def operating_system(self) -> Iterator[Row]:
        """Yield Win32_OperatingSystem."""
        config, profile, now = self._site.config, self._site.profile, self._site.timeline.now()
        total = config.memory_mib * 1024
        free = self.free_memory_kib()
        yield Row(
            "Win32_OperatingSystem",
            {
                "BootDevice": "\\Device\\HarddiskVolume1",
                "BuildNumber": profile.build,
                "BuildType": "Multiprocessor Free",
                "Caption": profile.caption,
                "CodeSet": "1252",
                "CountryCode": "1",
                "CreationClassName": "Win32_OperatingSystem",
                "CSCreationClassName": "Win32_ComputerSystem",
                "CSName": self._site.name,
                "CurrentTimeZone": 0,
                "DataExecutionPrevention_Available": True,
                "Debug": False,
                "Description": "",
                "Distributed": False,
                "FreePhysicalMemory": free,
                "FreeVirtualMemory": free + 2**20,
                "FreeSpaceInPagingFiles": 2**20,
                "InstallDate": self._installed,
                "LastBootUpTime": self.booted,
                "LocalDateTime": now,
                "Locale": "0411" if profile.language == "ja-JP" else "0409",
                "Manufacturer": "Microsoft Corporation",
                "MaxNumberOfProcesses": 4294967295,
                "MaxProcessMemorySize": 137438953344,
                "MUILanguages": [profile.language],
                "Name": f"{profile.caption}|C:\\Windows|\\Device\\Harddisk0\\Partition2",
                "NumberOfProcesses": 60 + 2 * len(self._machines),
                "NumberOfUsers": 1,
                "OperatingSystemSKU": 8 if profile.server else 48,
                "OSArchitecture": "64-bit",
                "OSLanguage": 1041 if profile.language == "ja-JP" else 1033,
                "OSProductSuite": 400,
                "OSType": 18,
                "PortableOperatingSystem": False,
                "Primary": True,
                "ProductType": 3 if profile.server else 1,
                "RegisteredUser": "Windows User",
                "SerialNumber": "00430-00000-00000-AA000",
                "ServicePackMajorVersion": 0,
                "ServicePackMinorVersion": 0,
                "SizeStoredInPagingFiles": 2**20,
                "Status": "OK",
                "SuiteMask": 400,
                "SystemDevice": "\\Device\\HarddiskVolume2",
                "SystemDirectory": "C:\\Windows\\system32",
                "SystemDrive": "C:",
                "TotalVirtualMemorySize": total + 2**20,
                "TotalVisibleMemorySize": total,
                "Version": profile.version,
                "WindowsDirectory": "C:\\Windows",
            },
        )

    def computer_system(self) -> Iterator[Row]:
        """Yield Win32_ComputerSystem."""
        config = self._site.config
        domain = config.domain
        yield Row(
            "Win32_ComputerSystem",
            {
                "AdminPasswordStatus": 3,
                "AutomaticManagedPagefile": True,
                "BootupState": "Normal boot",
                "Caption": self._site.name,
                "CreationClassName": "Win32_ComputerSystem",
                "CurrentTimeZone": 0,
                "DaylightInEffect": False,
                "Description": "AT/AT COMPATIBLE",
                "DNSHostName": self._site.name,
                "Domain": domain or "WORKGROUP",
                "DomainRole": (3 if domain else 2)
                if self._site.profile.server
                else (1 if domain else 0),
                "EnableDaylightSavingsTime": True,
                "HypervisorPresent": True,
                "Manufacturer": "Supermicro",
                "Model": "Super Server",
                "Name": self._site.name,
                "NetworkServerModeEnabled": True,
                "NumberOfLogicalProcessors": config.logical_processors,
                "NumberOfProcessors": config.sockets,
                "PartOfDomain": bool(domain),
                "PCSystemType": 4,
                "PowerState": 0,
                "PrimaryOwnerName": "Windows User",
                "Roles": ["LM_Workstation", "LM_Server", "NT", "Server_NT"],
                "Status": "OK",
                "SystemType": "x64-based PC",
                "TotalPhysicalMemory": config.memory_mib * MIB,
                "WakeUpType": 6,
                "Workgroup": None if domain else "WORKGROUP",
            },
        )

    @property
    def system_uuid(self) -> str:
        """UUID of the host's firmware, the same at every start."""
        return str(uuid.uuid5(_NAMESPACE, f"emulated-host/{self._site.name}")).upper()

    def product(self) -> Iterator[Row]:
        """Yield Win32_ComputerSystemProduct."""
        yield Row(
            "Win32_ComputerSystemProduct",
            {
                "Caption": "Computer System Product",
                "Description": "Computer System Product",
                "IdentifyingNumber": self._serial,
                "Name": "Super Server",
                "UUID": self.system_uuid,
                "Vendor": "Supermicro",
                "Version": "0123456789",
            },
        )

    @property
    def _serial(self) -> str:
        return f"A{zlib.crc32(self._site.name.encode()):010d}"

    def bios(self) -> Iterator[Row]:
        """Yield Win32_BIOS."""
        yield Row(
            "Win32_BIOS",
            {
                "BIOSVersion": ["SUPERM - 1072009", "3.4"],
                "Caption": "3.4",
                "Description": "3.4",
                "Manufacturer": "American Megatrends Inc.",
                "Name": "3.4",
                "PrimaryBIOS": True,
                "SerialNumber": self._serial,
                "SMBIOSBIOSVersion": "3.4",
                "SMBIOSPresent": True,
                "SoftwareElementID": "3.4",
                "SoftwareElementState": 3,
                "Status": "OK",
                "TargetOperatingSystem": 0,
                "Version": "SUPERM - 1072009",
            },
        )

    def processors(self) -> Iterator[Row]:
        """Yield Win32_Processor, one row a socket."""
        config = self._site.config
        for socket in range(config.sockets):
            yield Row(
                "Win32_Processor",
                {
                    "AddressWidth": 64,
                    "Architecture": 9,
                    "Availability": 3,
                    "Caption": "Intel64 Family 6 Model 85 Stepping 7",
                    "CpuStatus": 1,
                    "CreationClassName": "Win32_Processor",
                    "CurrentClockSpeed": config.mhz,
                    "DataWidth": 64,
                    "Description": "Intel64 Family 6 Model 85 Stepping 7",
                    "DeviceID": f"CPU{socket}",
                    "Family": 179,
                    "L2CacheSize": 1024 * config.cores,
                    "L3CacheSize": 36608,
                    "Level": 6,
                    "LoadPercentage": 2,
                    "Manufacturer": config.processor_manufacturer,
                    "MaxClockSpeed": config.mhz,
                    "Name": config.processor_name,
                    "NumberOfCores": config.cores,
                    "NumberOfLogicalProcessors": config.cores * config.threads,
                    "ProcessorId": "BFEBFBFF00050657",
                    "ProcessorType": 3,
                    "Revision": 21767,
                    "Role": "CPU",
                    "SecondLevelAddressTranslationExtensions": False,
                    "SocketDesignation": f"CPU{socket + 1}",
                    "Status": "OK",
                    "StatusInfo": 3,
                    "SystemCreationClassName": "Win32_ComputerSystem",
                    "SystemName": self._site.name,
                    "VirtualizationFirmwareEnabled": False,
                    "VMMonitorModeExtensions": False,
                },
            )

    def physical_memory(self) -> Iterator[Row]:
        """Yield Win32_PhysicalMemory, one module a socket."""
        config = self._site.config
        for index in range(config.sockets):
            yield Row(
                "Win32_PhysicalMemory",
                {
                    "Tag": f"Physical Memory {index}",
                    "Name": "Physical Memory",
                    "Caption": "Physical Memory",
                    "Description": "Physical Memory",
                    "CreationClassName": "Win32_PhysicalMemory",
                    "BankLabel": f"P{index}_Node{index}_Channel0_Dimm0",
                    "DeviceLocator": f"P{index + 1}-DIMMA1",
                    "Capacity": config.memory_mib * MIB // config.sockets,
                    "Speed": 2933,
                    "FormFactor": 8,
                    "DataWidth": 64,
                    "TotalWidth": 72,
                    "Manufacturer": "Samsung",
                },
            )

    # Volumes -------------------------------------------------------------------------------

    def _space(self, root: Path, capacity: int) -> tuple[int, int]:
        """Return (capacity, free) in bytes: what the emulating machine has, cut to `capacity`."""
        state = os.statvfs(root)
        free = self._site.files.space.free(root, min(capacity, state.f_bavail * state.f_frsize))
        return capacity, free - free % 4096

    def volumes(self) -> Iterator[Row]:
        """Yield Win32_Volume."""
        for drive, root in self._site.files.drives:
            capacity, free = self._space(root, drive.capacity)
            letter = drive.letter.upper()
            guid = uuid.uuid5(_NAMESPACE, f"{self._site.name}/{letter}")
            yield Row(
                "Win32_Volume",
                {
                    "Access": 3,
                    "Automount": True,
                    "BlockSize": 4096,
                    "BootVolume": letter == "C",
                    "Capacity": capacity,
                    "Caption": f"{letter}:\\",
                    "Compressed": False,
                    "CreationClassName": "Win32_Volume",
                    "DeviceID": f"\\\\?\\Volume{{{guid}}}\\",
                    "DirtyBitSet": False,
                    "DriveLetter": f"{letter}:",
                    "DriveType": 3,
                    "FileSystem": "NTFS",
                    "FreeSpace": free,
                    "IndexingEnabled": True,
                    "Label": self._labels.get(letter, drive.label),
                    "MaximumFileNameLength": 255,
                    "Name": f"{letter}:\\",
                    "PageFilePresent": letter == "C",
                    "SerialNumber": zlib.crc32(guid.bytes),
                    "SupportsDiskQuotas": True,
                    "SystemCreationClassName": "Win32_ComputerSystem",
                    "SystemName": self._site.name,
                    "SystemVolume": letter == "C",
                },
            )
        yield from self._shared_volumes()

    def _shared_volumes(self) -> Iterator[Row]:
        """Yield cluster shared volumes: no letter, the mount point as name, CSVFS."""
        for volume in self._site.files.volumes:
            capacity, free = self._space(volume.folder, volume.capacity)
            guid = uuid.uuid5(_NAMESPACE, f"{volume.path.lower()}/{volume.label}")
            yield Row(
                "Win32_Volume",
                {
                    "Automount": True,
                    "BlockSize": 4096,
                    "BootVolume": False,
                    "Capacity": capacity,
                    "Caption": f"{volume.path}\\",
                    "CreationClassName": "Win32_Volume",
                    "DeviceID": f"\\\\?\\Volume{{{guid}}}\\",
                    "DriveType": 3,
                    "FileSystem": "CSVFS",
                    "FreeSpace": free,
                    "Label": volume.label,
                    "MaximumFileNameLength": 255,
                    "Name": f"{volume.path}\\",
                    "PageFilePresent": False,
                    "SerialNumber": zlib.crc32(guid.bytes),
                    "SystemCreationClassName": "Win32_ComputerSystem",
                    "SystemName": self._site.name,
                    "SystemVolume": False,
                },
            )

    def put_volume(self, row: Row, changes: dict[str, Value]) -> Row:
        """Change a volume's label; all else is read-only."""
        changed = {k: v for k, v in changes.items() if v != row.values.get(k)}
        if set(changed) - {"Label"}:
            raise CimFault(WmiCode.INVALID_PARAMETER, "only Label of a volume can be changed")
        if "Label" in changed and row.values.get("DriveLetter") is None:
            raise CimFault(WmiCode.NOT_SUPPORTED, "labels of shared volumes are not modelled")
        if "Label" in changed:
            self._labels[str(row.values["DriveLetter"])[:1]] = str(changed["Label"])
        return Row(row.class_name, {**row.values, **changed})

    def logical_disks(self) -> Iterator[Row]:
        """Yield Win32_LogicalDisk."""
        for drive, root in self._site.files.drives:
            capacity, free = self._space(root, drive.capacity)
            letter = drive.letter.upper()
            yield Row(
                "Win32_LogicalDisk",
                {
                    "Access": 0,
                    "Caption": f"{letter}:",
                    "Compressed": False,
                    "CreationClassName": "Win32_LogicalDisk",
                    "Description": "Local Fixed Disk",
                    "DeviceID": f"{letter}:",
                    "DriveType": 3,
                    "FileSystem": "NTFS",
                    "FreeSpace": free,
                    "MaximumComponentLength": 255,
                    "MediaType": 12,
                    "Name": f"{letter}:",
                    "Size": capacity,
                    "SupportsFileBasedCompression": True,
                    "SystemCreationClassName": "Win32_ComputerSystem",
                    "SystemName": self._site.name,
                    "VolumeName": self._labels.get(letter, drive.label),
                    "VolumeSerialNumber": f"{zlib.crc32(letter.encode()):08X}",
                },
            )
