"""Boot sources of generation 2: one a disk, DVD drive and adapter, in an order clients may set.

Source: Microsoft's pages Msvm_BootSourceSettingData and Msvm_VirtualSystemSettingData
(BootSourceOrder: only a reordering of what exists is accepted).
"""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import ResourceSubType
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.site import Site, strings

_BOOTABLE = (
    ResourceSubType.DISK_DRIVE,
    ResourceSubType.PHYSICAL_DISK_DRIVE,
    ResourceSubType.DVD_DRIVE,
)


def order_boot_sources(site: Site, settings: Configuration) -> None:
    """Keep BootSourceOrder in step with the devices: old order first, new ones behind."""
    existing = [boot_source_path(site, row) for row in boot_devices(settings)]
    kept = [p for p in strings(settings.system.values, "BootSourceOrder") if p in existing]
    order = kept + [path for path in existing if path not in kept]
    if order != strings(settings.system.values, "BootSourceOrder"):
        settings.set_system(BootSourceOrder=order)


def boot_devices(settings: Configuration) -> list[Row]:
    """Return the devices that a generation 2 machine can boot from."""
    return [
        row
        for row in settings.resources.values()
        if row.values.get("ResourceSubType") in _BOOTABLE or row.class_name == catalogue.NIC
    ]


def boot_source_path(site: Site, device: Row) -> str:
    """Return the path of a device's boot source."""
    return site.path_text(
        "Msvm_BootSourceSettingData", InstanceID=f"{device.values['InstanceID']}\\B"
    )
