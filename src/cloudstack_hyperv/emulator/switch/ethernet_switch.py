"""The switch: takes a frame at a port, says at which ports it comes out.

A machine's adapter has a known address, so frames for it go there and nowhere else, and what it
sends under another address is dropped, unless its port allows MAC spoofing: then other source
addresses are learned on it (and forgotten after five minutes), and frames for nobody known are
sent there too, as they are to the uplink.  Broadcast and multicast frames go to every port of the
VLAN.  A frame never goes back to where it came from.

Everything is decided from the arguments: the same calls give the same answers, in the same order.

Sources: Microsoft, Msvm_EthernetSwitchPortSecuritySettingData (spoofing, mirroring) and
Msvm_VirtualEthernetSwitchSettingData (MaxNumMACAddress); "New in Hyper-V Windows Server 2008 R2
Part 2 - MacSpoofing" (Microsoft's virtualization blog) for flooding and learning.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudstack_hyperv.emulator.switch.counters import Drop, PortCounters
from cloudstack_hyperv.emulator.switch.frames import (
    SHORTEST,
    TAG,
    TAG_TYPES,
    with_tag,
    without_tag,
)
from cloudstack_hyperv.emulator.switch.settings import MonitorMode, PortSettings
from cloudstack_hyperv.emulator.switch.switch_port import SwitchPort
from cloudstack_hyperv.emulator.switch.vlans import (
    PrivateVlan,
    admitted_vlan,
    leaves_as,
)

Delivery = tuple[str, bytes]
"""A port's name and the frame as it comes out there."""

_AGEING_SECONDS = 300.0


class EthernetSwitch:
    """One switch.  Ports are known by name; times are seconds from any beginning."""

    def __init__(self, max_learned: int = 1024) -> None:
        self._ports: dict[str, SwitchPort] = {}
        self._owners: dict[bytes, tuple[SwitchPort, ...]] = {}
        self._learned: dict[tuple[int, bytes], tuple[SwitchPort, float]] = {}
        self._domains: dict[tuple[str, int], dict[str, tuple[SwitchPort, int]]] = {}
        self._primary_of: dict[int, int] = {}
        self._mirrors: tuple[SwitchPort, ...] = ()
        self._max_learned = max_learned

    # Ports ---------------------------------------------------------------------------------

    def plug(self, name: str, settings: PortSettings, counters: PortCounters | None = None) -> None:
        """Add a port, which goes on counting in `counters`; ValueError when there is one."""
        if name in self._ports:
            raise ValueError(f"there is a port {name} already")
        self._ports[name] = SwitchPort(name, settings, counters or PortCounters())
        self._rebuild()

    def configure(self, name: str, settings: PortSettings) -> None:
        """Change a port's settings: they apply to the next frame.  KeyError."""
        self._ports[name].configure(settings)
        self._rebuild()

    def unplug(self, name: str) -> None:
        """Take a port away.  KeyError."""
        gone = self._ports.pop(name)
        self._learned = {k: entry for k, entry in self._learned.items() if entry[0] is not gone}
        self._rebuild()

    def settings(self, name: str) -> PortSettings:
        """Return a port's settings.  KeyError."""
        return self._ports[name].settings

    def counters(self, name: str) -> PortCounters:
        """Return a port's counters.  KeyError."""
        return self._ports[name].counters

    @property
    def ports(self) -> Iterable[str]:
        """Names of the ports, in the order in which they were plugged in."""
        return tuple(self._ports)

    def _rebuild(self) -> None:
        self._domains.clear()
        owners: dict[bytes, tuple[SwitchPort, ...]] = {}
        for port in self._ports.values():
            if not port.is_uplink:
                mac = port.settings.mac
                owners[mac] = (*owners.get(mac, ()), port)
        self._owners = owners
        self._primary_of = {
            secondary: port.vlan.primary
            for port in self._ports.values()
            if isinstance(port.vlan, PrivateVlan)
            for secondary in port.vlan.secondaries
        }
        self._mirrors = tuple(
            port
            for port in self._ports.values()
            if port.settings.security.monitor is MonitorMode.DESTINATION
        )

    # Frames --------------------------------------------------------------------------------

    def forward(self, frame: bytes, port: str, now: float) -> list[Delivery]:
        """Take a frame that arrives at `port`; KeyError for a port that is not plugged in."""
        sender = self._ports[port]
        tag: int | None = None
        priority = 0
        size = len(frame)
        if frame[12:14] == TAG and size >= SHORTEST + 4:
            information = int.from_bytes(frame[14:16], "big")
            tag, priority = information & 0xFFF, information >> 13
            frame = without_tag(frame)
        vlan = admitted_vlan(sender.vlan, tag)
        refusal = self._refusal(sender, frame, vlan, now)
        if refusal is not None or vlan is None:
            sender.counters.refuse(refusal or Drop.VLAN, outgoing=True)
            return []
        sender.counters.bytes_sent += size
        sender.counters.packets_sent += 1
        if not (sender.is_uplink or sender.settings.security.allow_priority_tag):
            priority = 0
        out: list[Delivery] = []
        for receiver, egress in self._receivers(sender, frame, vlan, now):
            self._deliver(receiver, frame, vlan, egress, priority, now, out)
        if self._mirrors:
            self._mirror(sender, frame, vlan, priority, out)
        return out

    def _refusal(
        self, sender: SwitchPort, frame: bytes, vlan: int | None, now: float
    ) -> Drop | None:
        if len(frame) < SHORTEST or frame[6] & 1:
            return Drop.MALFORMED
        if vlan is None:
            return Drop.VLAN
        if not sender.learns and frame[6:12] != sender.settings.mac:
            return Drop.MAC_SPOOFING
        return sender.refusal_of_outgoing(frame, vlan, now) if sender.judges_outgoing else None

    def _receivers(
        self, sender: SwitchPort, frame: bytes, vlan: int, now: float
    ) -> Iterable[tuple[SwitchPort, int]]:
        domain = self._domains.get((sender.name, vlan))
        if domain is None:
            domain = self._domains[sender.name, vlan] = self._reached(sender, vlan)
        group = self._primary_of.get(vlan, vlan)
        if sender.learns:
            self._learn(sender, frame[6:12], group, now)
        if frame[0] & 1:
            return domain.values()
        destination = frame[:6]
        owners = self._owners.get(destination)
        if owners is not None:
            if sender in owners and len(owners) == 1:
                return ()
            known = [domain[port.name] for port in owners if port.name in domain]
            if known:
                return known
        learned = self._learned.get((group, destination))
        if learned is not None:
            port, until = learned
            if now <= until:
                return (domain[port.name],) if port.name in domain else ()
            del self._learned[group, destination]
        return [reached for reached in domain.values() if reached[0].learns]

    def _reached(self, sender: SwitchPort, vlan: int) -> dict[str, tuple[SwitchPort, int]]:
        found: dict[str, tuple[SwitchPort, int]] = {}
        for port in self._ports.values():
            if port is not sender:
                egress = leaves_as(sender.vlan, port.vlan, vlan)
                if egress is not None:
                    found[port.name] = (port, egress)
        return found

    def _learn(self, sender: SwitchPort, source: bytes, group: int, now: float) -> None:
        key = (group, source)
        if key not in self._learned and len(self._learned) >= self._max_learned:
            self._learned = {k: entry for k, entry in self._learned.items() if now <= entry[1]}
            if len(self._learned) >= self._max_learned:
                return
        self._learned[key] = (sender, now + _AGEING_SECONDS)

    def _deliver(
        self,
        receiver: SwitchPort,
        frame: bytes,
        vlan: int,
        egress: int,
        priority: int,
        now: float,
        out: list[Delivery],
    ) -> None:
        counters = receiver.counters
        if not egress and frame[12:14] in TAG_TYPES:
            # Without its own tag an inner one would speak: hopping into another VLAN.
            counters.refuse(Drop.VLAN, outgoing=False)
            return
        if receiver.judges_incoming:
            refusal = receiver.refusal_of_incoming(frame, vlan, now)
            if refusal is not None:
                counters.refuse(refusal, outgoing=False)
                return
        delivered = with_tag(frame, egress, priority) if egress else frame
        counters.bytes_received += len(delivered)
        counters.packets_received += 1
        out.append((receiver.name, delivered))

    def _mirror(
        self, sender: SwitchPort, frame: bytes, vlan: int, priority: int, out: list[Delivery]
    ) -> None:
        """Copy what a source port sent or got to the destinations that may see its VLAN."""
        got = {name for name, _ in out}
        watched = {
            port.settings.security.monitor_session
            for port in self._ports.values()
            if (port is sender or port.name in got)
            and port.settings.security.monitor is MonitorMode.SOURCE
        }
        for port in self._mirrors:
            if port.settings.security.monitor_session not in watched:
                continue
            if port is sender or port.name in got:
                continue
            egress = leaves_as(sender.vlan, port.vlan, vlan)
            if egress is None or (not egress and frame[12:14] in TAG_TYPES):
                continue
            copy = with_tag(frame, egress, priority) if egress else frame
            port.counters.bytes_received += len(copy)
            port.counters.packets_received += 1
            out.append((port.name, copy))
