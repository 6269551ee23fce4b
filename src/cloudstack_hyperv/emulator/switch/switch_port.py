"""One port while it is plugged in: its settings made ready to judge frames, and its counters."""

from __future__ import annotations

from cloudstack_hyperv.emulator.switch.acls import AclTable
from cloudstack_hyperv.emulator.switch.counters import Drop, PortCounters
from cloudstack_hyperv.emulator.switch.extended_acls import ExtendedAclTable
from cloudstack_hyperv.emulator.switch.frames import MalformedPacket, Packet, read_packet
from cloudstack_hyperv.emulator.switch.limits import TokenBucket, is_dhcp_server, is_router
from cloudstack_hyperv.emulator.switch.settings import Direction, PortKind, PortSettings
from cloudstack_hyperv.emulator.switch.vlans import Vlan


class SwitchPort:
    """A port of one switch."""

    __slots__ = (
        "_bucket",
        "_extended",
        "_incoming",
        "_outgoing",
        "_storm",
        "counters",
        "is_uplink",
        "judges_incoming",
        "judges_outgoing",
        "learns",
        "name",
        "settings",
        "vlan",
    )

    def __init__(self, name: str, settings: PortSettings, counters: PortCounters) -> None:
        self.name = name
        self.counters = counters
        self._extended = ExtendedAclTable(())
        self._bucket: TokenBucket | None = None
        self._storm: TokenBucket | None = None
        self.configure(settings)

    def configure(self, settings: PortSettings) -> None:
        """Take new settings; flows and what is left of a limit stay where they still apply."""
        self.settings = settings
        self.is_uplink = settings.kind is PortKind.UPLINK
        self.vlan: Vlan | None = None if self.is_uplink else settings.vlan
        security = settings.security
        self.learns = self.is_uplink or security.allow_mac_spoofing
        """Whether other source addresses than its own are heard, and unknown ones sent there."""
        self._incoming = AclTable(settings.acls, Direction.INCOMING)
        self._outgoing = AclTable(settings.acls, Direction.OUTGOING)
        self._extended.replace(settings.extended_acls)
        bandwidth = settings.bandwidth
        bucket = TokenBucket.for_bandwidth(bandwidth) if bandwidth and bandwidth.limit else None
        self._bucket = _kept(self._bucket, bucket)
        limit = security.storm_limit
        self._storm = _kept(self._storm, TokenBucket(limit, limit) if limit else None)
        self.judges_incoming = not self.is_uplink and bool(self._incoming or self._extended)
        self.judges_outgoing = not self.is_uplink and bool(
            self._outgoing
            or self._extended
            or self._bucket
            or self._storm
            or security.dhcp_guard
            or security.router_guard
        )

    def refusal_of_outgoing(self, frame: bytes, vlan: int, now: float) -> Drop | None:
        """Judge an untagged frame of the machine; meters count it when it passes."""
        try:
            packet = read_packet(frame)
        except MalformedPacket:
            return Drop.MALFORMED
        security = self.settings.security
        if packet is not None:
            if security.dhcp_guard and is_dhcp_server(packet):
                return Drop.DHCP_GUARD
            if security.router_guard and is_router(packet):
                return Drop.ROUTER_GUARD
        refusal = self._refusal_of_rules(frame, packet, Direction.OUTGOING, vlan, now)
        if refusal is not None:
            return refusal
        if self._storm is not None and frame[0] & 1 and not self._storm.take(1, now):
            return Drop.STORM
        if self._bucket is not None and not self._bucket.take(len(frame), now):
            return Drop.BANDWIDTH
        self._meter(self._outgoing, frame, packet)
        return None

    def refusal_of_incoming(self, frame: bytes, vlan: int, now: float) -> Drop | None:
        """Judge an untagged frame for the machine; meters count it when it passes."""
        try:
            packet = read_packet(frame)
        except MalformedPacket:
            return Drop.MALFORMED
        refusal = self._refusal_of_rules(frame, packet, Direction.INCOMING, vlan, now)
        if refusal is None:
            self._meter(self._incoming, frame, packet)
        return refusal

    def _refusal_of_rules(
        self, frame: bytes, packet: Packet | None, direction: Direction, vlan: int, now: float
    ) -> Drop | None:
        acls = self._outgoing if direction is Direction.OUTGOING else self._incoming
        if not acls.allows(frame, packet):
            return Drop.ACL
        if packet is not None and not self._extended.allows(packet, direction, vlan, now):
            return Drop.EXTENDED_ACL
        return None

    def _meter(self, acls: AclTable, frame: bytes, packet: Packet | None) -> None:
        metered = self.counters.metered
        for key in acls.meters(frame, packet):
            metered[key] = metered.get(key, 0) + len(frame)


def _kept(old: TokenBucket | None, new: TokenBucket | None) -> TokenBucket | None:
    if old is not None and new is not None and (old.rate, old.burst) == (new.rate, new.burst):
        return old
    return new
