"""Extended port ACLs: larger weights first, the first rule that fits ends, flows remember.

Only IP is looked at: ARP and the rest pass.  An IP packet that no rule fits passes too, one whose
header cannot be read does not, for no rule could be applied to it.  A stateful rule that lets a
TCP or UDP packet through opens a flow, and the packets of a flow pass in both directions until it
has been idle for longer than the rule's timeout.  A flow ends with the rule that opened it, so
what a removed rule let in does not stay [guess]; other protocols open no flow, as os-win assumes
when it gives ICMP a rule for each direction.  A later fragment has no ports, so a rule that names
ports does not fit it [guess].

Sources: Microsoft, Msvm_EthernetSwitchPortExtendedAclSettingData and
Add-VMNetworkAdapterExtendedAcl (weight, stateful, timeout, ANY); os-win networkutils.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloudstack_hyperv.emulator.switch.frames import TCP, UDP, Packet
from cloudstack_hyperv.emulator.switch.settings import (
    AclAction,
    Direction,
    ExtendedAcl,
    Network,
    PortRange,
)

_SWEEP_SECONDS = 60.0
_BITS = {4: 32, 6: 128}

FlowKey = tuple[int, int, int, int, int, int]
"""Version, protocol, local address and port, remote address and port."""


@dataclass(slots=True)
class _Flow:
    rule: ExtendedAcl
    last: float


class ExtendedAclTable:
    """The extended ACLs of one port, both directions, and the flows they opened."""

    def __init__(self, acls: Iterable[ExtendedAcl]) -> None:
        self._flows: dict[FlowKey, _Flow] = {}
        self._next_sweep = 0.0
        self._rules: dict[Direction, list[ExtendedAcl]] = {}
        self.replace(acls)

    def __bool__(self) -> bool:
        return any(self._rules.values())

    @property
    def open_flows(self) -> int:
        """How many flows are remembered, idle ones among them."""
        return len(self._flows)

    def replace(self, acls: Iterable[ExtendedAcl]) -> None:
        """Take new rules; the flows of rules that stayed go on."""
        rules = sorted(acls, key=lambda acl: -acl.weight)
        self._rules = {side: [acl for acl in rules if acl.direction is side] for side in Direction}
        kept = set(rules)
        self._flows = {key: flow for key, flow in self._flows.items() if flow.rule in kept}

    def allows(self, packet: Packet, direction: Direction, vlan: int, now: float) -> bool:
        """Judge a packet at a time in seconds; may open or refresh a flow."""
        if direction is Direction.OUTGOING:
            local, remote = packet.source, packet.destination
            local_port, remote_port = packet.source_port, packet.destination_port
        else:
            local, remote = packet.destination, packet.source
            local_port, remote_port = packet.destination_port, packet.source_port
        key: FlowKey | None = None
        if packet.protocol in (TCP, UDP) and local_port is not None and remote_port is not None:
            key = (packet.version, packet.protocol, local, local_port, remote, remote_port)
            if self._continues(key, now):
                return True
        for rule in self._rules[direction]:
            if (
                (rule.protocol is None or rule.protocol == packet.protocol)
                and (rule.local is None or _within(rule.local, packet.version, local))
                and (rule.remote is None or _within(rule.remote, packet.version, remote))
                and (rule.local_ports is None or _among(rule.local_ports, local_port))
                and (rule.remote_ports is None or _among(rule.remote_ports, remote_port))
                and (not rule.isolation_id or rule.isolation_id == vlan)
            ):
                if rule.action is not AclAction.ALLOW:
                    return False
                if rule.stateful and key is not None:
                    self._sweep(now)
                    self._flows[key] = _Flow(rule, now)
                return True
        return True

    def _continues(self, key: FlowKey, now: float) -> bool:
        flow = self._flows.get(key)
        if flow is None:
            return False
        if now - flow.last > flow.rule.idle_timeout:
            del self._flows[key]
            return False
        flow.last = now
        return True

    def _sweep(self, now: float) -> None:
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP_SECONDS
        self._flows = {
            key: flow
            for key, flow in self._flows.items()
            if now - flow.last <= flow.rule.idle_timeout
        }


def _within(network: Network, version: int, address: int) -> bool:
    return network.bits == _BITS[version] and network.contains(address)


def _among(ports: PortRange, port: int | None) -> bool:
    return port is not None and ports.first <= port <= ports.last
