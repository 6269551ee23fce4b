"""What a CloudStack NIC means for a Hyper-V switch port: VLAN, label, rate, MAC, guards.  Pure."""

from cloudstack_hyperv.network.nic_wish import (
    NicFields,
    NicWish,
    PortGuards,
    nic_wish,
    nic_wishes,
    normal_mac,
    rate_limit,
    spelled_mac,
)
from cloudstack_hyperv.network.vlan import UnusableNetwork, vlan_from_text, vlan_of

__all__ = [
    "NicFields",
    "NicWish",
    "PortGuards",
    "UnusableNetwork",
    "nic_wish",
    "nic_wishes",
    "normal_mac",
    "rate_limit",
    "spelled_mac",
    "vlan_from_text",
    "vlan_of",
]
