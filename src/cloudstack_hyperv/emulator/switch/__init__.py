"""An Ethernet switch in plain Python: where the settings of a Hyper-V switch port take effect.

It forwards real frames and needs no privileges, no kernel modules and no clock: who calls it says
what time it is.  It knows nothing of WMI; the host model translates its rows into `settings`.
"""

from cloudstack_hyperv.emulator.switch.counters import Drop, PortCounters
from cloudstack_hyperv.emulator.switch.ethernet_switch import Delivery, EthernetSwitch
from cloudstack_hyperv.emulator.switch.settings import (
    AclAction,
    AclKind,
    Bandwidth,
    Direction,
    ExtendedAcl,
    MonitorMode,
    Network,
    PortAcl,
    PortKind,
    PortRange,
    PortSettings,
    Security,
)
from cloudstack_hyperv.emulator.switch.vlans import (
    AccessVlan,
    PrivateRole,
    PrivateVlan,
    TrunkVlan,
    Vlan,
)

__all__ = [
    "AccessVlan",
    "AclAction",
    "AclKind",
    "Bandwidth",
    "Delivery",
    "Direction",
    "Drop",
    "EthernetSwitch",
    "ExtendedAcl",
    "MonitorMode",
    "Network",
    "PortAcl",
    "PortCounters",
    "PortKind",
    "PortRange",
    "PortSettings",
    "PrivateRole",
    "PrivateVlan",
    "Security",
    "TrunkVlan",
    "Vlan",
]
