"""Simple port ACLs: the longest prefix decides, and meters count.

Each kind of address is judged by itself, and a frame passes when none of the kinds says deny.
Among rules of one kind and direction the one with the longest prefixes decides, at a tie the
denying one; nothing that matches is allowed through.  Meters are looked up the same way, apart
from the verdict: a frame counts once a kind, for the meter that fits it best.

Sources: Microsoft, Msvm_EthernetSwitchPortAclSettingData; Add-VMNetworkAdapterAcl ("the longest
prefix match").  That a denying rule wins a tie, and that kinds are judged apart, is [guess].
"""

from __future__ import annotations

from collections.abc import Iterable

from cloudstack_hyperv.emulator.switch.frames import Packet
from cloudstack_hyperv.emulator.switch.settings import (
    AclAction,
    AclKind,
    Direction,
    PortAcl,
)

Ends = tuple[int, int]
"""Local and remote address."""


class AclTable:
    """The simple ACLs of one port and direction, the first that fits decides."""

    def __init__(self, acls: Iterable[PortAcl], direction: Direction) -> None:
        mine = sorted((acl for acl in acls if acl.direction is direction), key=_rank)
        self._direction = direction
        self._verdicts = _by_kind(acl for acl in mine if acl.action is not AclAction.METER)
        self._meters = _by_kind(acl for acl in mine if acl.action is AclAction.METER)

    def __bool__(self) -> bool:
        return bool(self._verdicts or self._meters)

    def allows(self, frame: bytes, packet: Packet | None) -> bool:
        """Whether no kind of rule denies the frame."""
        for kind, acls in self._verdicts.items():
            fitting = _first(acls, self._ends(kind, frame, packet))
            if fitting is not None and fitting.action is AclAction.DENY:
                return False
        return True

    def meters(self, frame: bytes, packet: Packet | None) -> Iterable[str]:
        """Yield the keys of the meters that count the frame."""
        for kind, acls in self._meters.items():
            fitting = _first(acls, self._ends(kind, frame, packet))
            if fitting is not None:
                yield fitting.key

    def _ends(self, kind: AclKind, frame: bytes, packet: Packet | None) -> Ends | None:
        if kind is AclKind.MAC:
            source = int.from_bytes(frame[6:12], "big")
            destination = int.from_bytes(frame[:6], "big")
        elif packet is not None and packet.version == (4 if kind is AclKind.IPV4 else 6):
            source, destination = packet.source, packet.destination
        else:
            return None
        if self._direction is Direction.OUTGOING:
            return source, destination
        return destination, source


def _rank(acl: PortAcl) -> tuple[int, bool]:
    length = sum(network.prefix for network in (acl.local, acl.remote) if network is not None)
    return -length, acl.action is not AclAction.DENY


def _by_kind(acls: Iterable[PortAcl]) -> dict[AclKind, list[PortAcl]]:
    found: dict[AclKind, list[PortAcl]] = {}
    for acl in acls:
        found.setdefault(acl.kind, []).append(acl)
    return found


def _first(acls: list[PortAcl], ends: Ends | None) -> PortAcl | None:
    if ends is None:
        return None
    local, remote = ends
    for acl in acls:
        if (acl.local is None or acl.local.contains(local)) and (
            acl.remote is None or acl.remote.contains(remote)
        ):
            return acl
    return None
