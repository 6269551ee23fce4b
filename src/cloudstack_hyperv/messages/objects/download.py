"""What a downloaded OVA contains (VMware only; carried, never looked into)."""

import msgspec

from cloudstack_hyperv.messages.json_text import JsonObject
from cloudstack_hyperv.messages.objects.pairs import Pair
from cloudstack_hyperv.messages.objects.vm import OvfPropertyTO
from cloudstack_hyperv.messages.wire import WireObject


class DatadiskTO(WireObject):
    """A disk inside an OVA; sizes in bytes."""

    path: str | None = None
    virtual_size: int = 0
    file_size: int = 0
    bootable: bool = False
    disk_id: str | None = None
    is_iso: bool = False
    disk_controller: str | None = None
    disk_controller_sub_type: str | None = None
    disk_number: int = 0
    configuration: str | None = None


class OvfNetworkTO(WireObject):
    """A network that an OVA asks for."""

    name: str | None = None
    network_description: str | None = None
    address_on_parent: int = 0
    automatic_allocation: bool = False
    nic_description: str | None = None
    element_name: str | None = None
    instance_id: int = msgspec.field(default=0, name="InstanceID")
    resource_sub_type: str | None = None
    resource_type: str | None = None


class OvfVirtualHardwareSectionTO(WireObject):
    """The hardware that an OVA asks for (the first key is misspelt in Java)."""

    minimum_hardware_version: str | None = msgspec.field(
        default=None, name="minimiumHardwareVersion"
    )
    configurations: list[JsonObject] | None = None
    common_hardware_items: list[JsonObject] | None = None


class OvfEulaSectionTO(WireObject):
    """A licence text inside an OVA, gzipped."""

    info: str | None = None
    compressed_license: bytes | None = None
    index: int = 0


class OvfInformationTO(WireObject):
    """The description of an OVA."""

    properties: list[OvfPropertyTO] | None = None
    networks: list[OvfNetworkTO] | None = None
    disks: list[DatadiskTO] | None = None
    hardware_section: OvfVirtualHardwareSectionTO | None = None
    eula_sections: list[OvfEulaSectionTO] | None = None
    guest_os_info: Pair[str, str] | None = None
