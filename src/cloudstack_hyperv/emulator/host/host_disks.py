"""Physical disks and shares of the host: what can be passed through, what Windows shows.

Disk 0 carries the drives; those of the configuration are offline in Windows, without partitions,
and offered to machines as Msvm_DiskDrive.

Sources: Microsoft's pages Msvm_DiskDrive, Win32_DiskDrive, Win32_Share (Type of admin shares).
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudstack_hyperv.cim.constants import NAMESPACE_CIMV2
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host.clock import NEVER
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site

_ADMIN_DISK, _ADMIN_IPC = 2147483648, 2147483651


class HostDiskRows:
    """Rows of one host's disks and shares."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        table.serve("Msvm_DiskDrive", self.pass_through)
        table.serve("Win32_DiskDrive", self.windows_disks, namespace=NAMESPACE_CIMV2)
        table.serve("Win32_Share", self.shares, namespace=NAMESPACE_CIMV2)

    def pass_through(self) -> Iterator[Row]:
        """Yield disks that a machine may be given."""
        for disk in self._site.config.physical_disks:
            yield Row(
                "Msvm_DiskDrive",
                {
                    "Caption": "Physical Disk Drive",
                    "Description": "Microsoft Physical Disk Drive",
                    "ElementName": f"Disk {disk.number} {disk.size / 2**30:.2f} GB Bus 0 Lun 0",
                    "Name": f"Disk {disk.number}",
                    "OperationalStatus": [2],
                    "StatusDescriptions": ["OK"],
                    "HealthState": 5,
                    "EnabledState": 2,
                    "RequestedState": 12,
                    "EnabledDefault": 2,
                    "TimeOfLastStateChange": NEVER,
                    "SystemCreationClassName": "Msvm_ComputerSystem",
                    "SystemName": self._site.name,
                    "CreationClassName": "Msvm_DiskDrive",
                    "DeviceID": disk.device_id,
                    "DefaultBlockSize": 512,
                    "MaxMediaSize": disk.size // 1024,
                    "DriveNumber": disk.number,
                    "NeedsCleaning": False,
                    "MediaIsLocked": False,
                },
            )

    def windows_disks(self) -> Iterator[Row]:
        """Yield all disks as Windows numbers them: 0 carries the drives."""
        own = sum(drive.capacity for drive, _ in self._site.files.drives)
        sizes = {0: own, **{d.number: d.size for d in self._site.config.physical_disks}}
        for number, size in sizes.items():
            yield Row(
                "Win32_DiskDrive",
                {
                    "DeviceID": f"\\\\.\\PHYSICALDRIVE{number}",
                    "Name": f"\\\\.\\PHYSICALDRIVE{number}",
                    "Caption": "Msft Virtual Disk",
                    "Description": "Disk drive",
                    "CreationClassName": "Win32_DiskDrive",
                    "Index": number,
                    "InterfaceType": "SCSI",
                    "MediaType": "Fixed hard disk media",
                    "Model": "Msft Virtual Disk",
                    "BytesPerSector": 512,
                    "Partitions": len(self._site.files.drives) if number == 0 else 0,
                    "SerialNumber": f"EMU{number:08d}",
                    "Size": size,
                    "Status": "OK",
                    "SystemCreationClassName": "Win32_ComputerSystem",
                    "SystemName": self._site.name,
                },
            )

    def shares(self) -> Iterator[Row]:
        """Yield the administrative shares."""
        for drive, _ in self._site.files.drives:
            letter = drive.letter.upper()
            yield _share(f"{letter}$", f"{letter}:\\", "Default share", _ADMIN_DISK)
        yield _share("ADMIN$", "C:\\Windows", "Remote Admin", _ADMIN_DISK)
        yield _share("IPC$", "", "Remote IPC", _ADMIN_IPC)


def _share(name: str, path: str, description: str, kind: int) -> Row:
    return Row(
        "Win32_Share",
        {
            "Name": name,
            "Caption": description,
            "Description": description,
            "Path": path,
            "Type": kind,
            "AllowMaximum": True,
            "Status": "OK",
        },
    )
