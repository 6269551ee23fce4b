"""What a switch port is told to do: the settings of Msvm_EthernetSwitchPort*SettingData as values.

Directions and "local" are the machine's view: incoming is to the machine, local is its address.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass

from cloudstack_hyperv.emulator.switch.vlans import UNTAGGED, Vlan

DEFAULT_IDLE_TIMEOUT = 255.0
"""Seconds: IdleSessionTimeout of a new rule (Msvm_EthernetSwitchPortExtendedAclSettingData)."""


class PortKind(enum.Enum):
    """What is at the other end of a port."""

    MACHINE = "machine"
    HOST = "host"
    """The host's own network adapter on the switch."""
    UPLINK = "uplink"
    """A physical card: frames carry 802.1Q tags, no feature applies."""


class Direction(enum.IntEnum):
    """Direction of an ACL."""

    INCOMING = 1
    OUTGOING = 2


class AclAction(enum.IntEnum):
    """Action of an ACL; only simple ones meter."""

    ALLOW = 1
    DENY = 2
    METER = 3


class AclKind(enum.IntEnum):
    """AclType of a simple ACL: what its addresses are."""

    MAC = 1
    IPV4 = 2
    IPV6 = 3


class MonitorMode(enum.IntEnum):
    """Port mirroring: whether a port's traffic is copied, and who gets the copies."""

    NONE = 0
    DESTINATION = 1
    SOURCE = 2


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses with a common prefix; `bits` is 32, 48 (MAC) or 128."""

    value: int
    prefix: int
    bits: int

    @classmethod
    def parse(cls, text: str) -> Network:
        """Read an IP address or network; host bits are ignored.  ValueError."""
        network = ipaddress.ip_network(text, strict=False)
        return cls(int(network.network_address), network.prefixlen, network.max_prefixlen)

    @classmethod
    def of_mac(cls, mac: bytes, prefix: int = 48) -> Network:
        """Return the MAC addresses that begin like `mac`."""
        return cls(int.from_bytes(mac, "big"), prefix, 48)

    def contains(self, address: int) -> bool:
        """Whether an address of the same family belongs to it."""
        shift = self.bits - self.prefix
        return address >> shift == self.value >> shift


@dataclass(frozen=True, slots=True)
class PortRange:
    """TCP or UDP ports, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PortAcl:
    """A simple ACL; an address of None matches any."""

    key: str
    direction: Direction
    action: AclAction
    kind: AclKind
    local: Network | None = None
    remote: Network | None = None


@dataclass(frozen=True, slots=True)
class ExtendedAcl:
    """An extended ACL; None stands for "ANY"."""

    key: str
    direction: Direction
    action: AclAction
    weight: int
    local: Network | None = None
    remote: Network | None = None
    local_ports: PortRange | None = None
    remote_ports: PortRange | None = None
    protocol: int | None = None
    stateful: bool = False
    idle_timeout: float = DEFAULT_IDLE_TIMEOUT
    isolation_id: int = 0
    """The VLAN the rule is for; 0 for all [guess]."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A limit on what the machine sends."""

    limit: int
    """Bits a second; 0 is no limit."""
    burst: int = 0
    """Bytes that may go at once; 0 leaves it to the switch."""


@dataclass(frozen=True, slots=True)
class Security:
    """Msvm_EthernetSwitchPortSecuritySettingData, as far as a frame can tell."""

    allow_mac_spoofing: bool = False
    dhcp_guard: bool = False
    router_guard: bool = False
    monitor: MonitorMode = MonitorMode.NONE
    monitor_session: int = 0
    allow_priority_tag: bool = False
    storm_limit: int = 0
    """Broadcast and multicast frames a second that the machine may send; 0 is no limit."""


@dataclass(frozen=True, slots=True)
class PortSettings:
    """Everything about one port."""

    mac: bytes
    kind: PortKind = PortKind.MACHINE
    vlan: Vlan = UNTAGGED
    acls: tuple[PortAcl, ...] = ()
    extended_acls: tuple[ExtendedAcl, ...] = ()
    bandwidth: Bandwidth | None = None
    security: Security = Security()
