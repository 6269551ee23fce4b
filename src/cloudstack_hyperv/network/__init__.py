"""What a CloudStack NIC means for a Hyper-V switch port: VLAN, label, rate, MAC, guards.  Pure."""

from cloudstack_hyperv.network.mac import normal_mac, spelled_mac
from cloudstack_hyperv.network.nic_wish import (
    NicFields,
    NicWish,
    PortGuards,
    nic_wish,
    nic_wishes,
    rate_limit,
)
from cloudstack_hyperv.network.pvlan import (
    PortVlan,
    PrivateRole,
    PrivateVlan,
    port_vlan_of,
    private_vlan,
)
from cloudstack_hyperv.network.vlan import UnusableNetwork, vlan_from_text, vlan_of

__all__ = [
    "NicFields",
    "NicWish",
    "PortGuards",
    "PortVlan",
    "PrivateRole",
    "PrivateVlan",
    "UnusableNetwork",
    "nic_wish",
    "nic_wishes",
    "normal_mac",
    "port_vlan_of",
    "private_vlan",
    "rate_limit",
    "spelled_mac",
    "vlan_from_text",
    "vlan_of",
]
