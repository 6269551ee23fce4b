"""What a switch port has carried and refused, seen from the machine at its end."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Drop(enum.StrEnum):
    """Why a frame went no further."""

    MALFORMED = "malformed"
    MAC_SPOOFING = "source MAC is not the adapter's"
    VLAN = "VLAN not allowed on the port"
    DHCP_GUARD = "DHCP guard"
    ROUTER_GUARD = "router guard"
    ACL = "port ACL"
    EXTENDED_ACL = "extended port ACL"
    BANDWIDTH = "bandwidth limit"
    STORM = "storm limit"


@dataclass(slots=True)
class PortCounters:
    """Running totals of one port; `sent` is what the machine sent."""

    bytes_sent: int = 0
    packets_sent: int = 0
    bytes_received: int = 0
    packets_received: int = 0
    dropped_outgoing: dict[Drop, int] = field(default_factory=dict)
    """Frames from the machine that were refused, by reason."""
    dropped_incoming: dict[Drop, int] = field(default_factory=dict)
    """Frames for the machine that were refused, by reason."""
    metered: dict[str, int] = field(default_factory=dict)
    """Bytes counted by each meter ACL, by the rule's key."""

    def refuse(self, reason: Drop, *, outgoing: bool) -> None:
        """Count a refused frame."""
        dropped = self.dropped_outgoing if outgoing else self.dropped_incoming
        dropped[reason] = dropped.get(reason, 0) + 1
