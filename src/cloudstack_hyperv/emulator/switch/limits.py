"""Token buckets, and the guards that keep a machine from playing the network's part.

A real switch delays what is above a bandwidth limit; this one drops it, which for whoever measures
a second's worth of traffic is the same.

Sources: Microsoft, Msvm_EthernetSwitchPortSecuritySettingData (what the guards block, StormLimit),
Msvm_EthernetSwitchPortBandwidthSettingData; RFC 2131 and RFC 8415 (server ports), RFC 4861 (router
advertisement 134, redirect 137), RFC 1256 and RFC 792 (9 and 5).
"""

from __future__ import annotations

from cloudstack_hyperv.emulator.switch.frames import ICMP, ICMPV6, UDP, Packet
from cloudstack_hyperv.emulator.switch.settings import Bandwidth

_SHORTEST_BURST = 16 * 1024
_BURST_SECONDS = 0.1
_DHCP_SERVER_TO_CLIENT = {4: (67, 68), 6: (547, 546)}
_ROUTER_MESSAGES = {(4, ICMP): (5, 9), (6, ICMPV6): (134, 137)}


class TokenBucket:
    """Lets `rate` a second through, and `burst` at once after a pause."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self._tokens = burst
        self._last: float | None = None

    @classmethod
    def for_bandwidth(cls, bandwidth: Bandwidth) -> TokenBucket:
        """Return a bucket of bytes."""
        rate = bandwidth.limit / 8
        return cls(rate, bandwidth.burst or max(_SHORTEST_BURST, rate * _BURST_SECONDS))

    def take(self, amount: float, now: float) -> bool:
        """Take tokens out; False, and nothing is taken, when there are too few."""
        if self._last is not None and now > self._last:
            self._tokens = min(self.burst, self._tokens + (now - self._last) * self.rate)
        if self._last is None or now > self._last:
            self._last = now
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True


def is_dhcp_server(packet: Packet) -> bool:
    """Whether a DHCP server says this to a client."""
    ports = (packet.source_port, packet.destination_port)
    return packet.protocol == UDP and ports == _DHCP_SERVER_TO_CLIENT[packet.version]


def is_router(packet: Packet) -> bool:
    """Whether a router advertises itself or redirects."""
    types = _ROUTER_MESSAGES.get((packet.version, packet.protocol), ())
    return packet.icmp_type in types
