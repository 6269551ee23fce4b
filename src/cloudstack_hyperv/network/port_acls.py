"""Rules of a switch port as values, their weights, and what changes one set into another.  Pure.

On a port the rule with the largest weight that fits decides, and weight and direction together
are a rule's identity: two rules with the same pair cannot stand beside each other.  Within a
*band* of weights all rules have the same action, so their order means nothing and a rule may take
any weight of its band that is free.  That is what makes a change a plain difference of sets: what
stays keeps its weight and is not touched.

    65535 - 65500   guards: denied whatever a rule says (acting as DHCP server)
    65499 - 30000   allowed: TCP, UDP and other protocols by name
    29999 - 29900   TCP and UDP that nothing above allowed
    29899 -   100   allowed: whatever protocol else ("ANY" fits TCP and UDP too, hence the place)
       99 -    50   the marker: fits like the last rule, carries in its name whose rules these are
       49 -     1   everything that nothing above allowed

os-win's scheme (`networkutils.py`: 16 denying rules at the bottom, allowing ones from 65499
downwards), with eight of the sixteen moved up: where they are all at the bottom, allowing any
protocol in one direction, as the answer to the other, would open TCP there.

Sources: Microsoft, Msvm_EthernetSwitchPortExtendedAclSettingData and
Add-VMNetworkAdapterExtendedAcl.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

ANY: Final = "ANY"
MARK: Final = "CloudStack sg"
"""How the names of our rules begin; rules of others are never touched."""
MOST_RULES: Final = 600
"""Rules of ours on one port.  Microsoft documents no limit; each is looked at for each new flow."""


class Direction(enum.IntEnum):
    """Seen from the VM."""

    INCOMING = 1
    OUTGOING = 2

    @property
    def reverse(self) -> Direction:
        """The other one."""
        return Direction.OUTGOING if self is Direction.INCOMING else Direction.INCOMING


class Action(enum.IntEnum):
    """What becomes of a packet that a rule fits."""

    ALLOW = 1
    DENY = 2


class Band(enum.Enum):
    """Lowest and highest weight of rules of one purpose."""

    GUARD = (65500, 65535)
    ALLOW = (30000, 65499)
    DENY_FLOWS = (29900, 29999)
    ALLOW_REST = (100, 29899)
    MARKER = (50, 99)
    DENY_REST = (1, 49)

    def weights(self) -> Iterator[int]:
        """Yield the band's weights from the top."""
        lowest, highest = self.value
        return iter(range(highest, lowest - 1, -1))

    @classmethod
    def of(cls, weight: int) -> Band | None:
        """Return the band of a weight; 0 is in none."""
        return next((b for b in cls if b.value[0] <= weight <= b.value[1]), None)


@dataclass(frozen=True, slots=True, order=True)
class PortRule:
    """One extended port ACL but for its weight; addresses, ports and protocol as Hyper-V writes."""

    direction: Direction
    action: Action
    local: str = ANY
    remote: str = ANY
    protocol: str = ANY
    local_ports: str = ANY
    remote_ports: str = ANY
    stateful: bool = False
    name: str = MARK

    @property
    def band(self) -> Band:
        """Where the rule's weight lies; follows from what it says."""
        if self.action is Action.ALLOW:
            return Band.ALLOW_REST if self.protocol == ANY else Band.ALLOW
        if self.name != MARK:
            return Band.MARKER
        if self.local_ports != ANY:
            return Band.GUARD
        return Band.DENY_FLOWS if self.protocol in ("TCP", "UDP") else Band.DENY_REST


@dataclass(frozen=True, slots=True)
class WeighedRule:
    """A rule and its place."""

    weight: int
    rule: PortRule


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """What turns the rules of a port into the wanted ones; `remove` are indices of `present`."""

    add: tuple[WeighedRule, ...]
    remove: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


class NoWeightLeft(ValueError):
    """A band is full."""


def changes(present: Iterable[WeighedRule], wanted: Iterable[PortRule]) -> RuleChanges:
    """Return the difference between what a port has and what it should have.

    Rules of others only occupy their weights.  Added are denying rules first, so that a port that
    had none is never more open than before; raises NoWeightLeft.
    """
    rows = list(present)
    missing = set(wanted)
    taken = {(row.rule.direction, row.weight) for row in rows}
    remove: list[int] = []
    for index, row in enumerate(rows):
        if not is_ours(row.rule):
            continue
        if row.rule in missing and row.rule.band is Band.of(row.weight):
            missing.discard(row.rule)
        else:
            remove.append(index)
    free = {
        (direction, band): _free(band, {w for side, w in taken if side is direction})
        for direction in Direction
        for band in Band
    }
    add: list[WeighedRule] = []
    for rule in sorted(missing, key=_first_denied):
        weight = next(free[rule.direction, rule.band], None)
        if weight is None:
            raise NoWeightLeft(f"no weight is left for {rule.direction.name.lower()} rules")
        add.append(WeighedRule(weight, rule))
    return RuleChanges(tuple(add), tuple(remove))


def is_ours(rule: PortRule) -> bool:
    """Whether we made the rule."""
    return rule.name.startswith(MARK)


def _free(band: Band, taken: set[int]) -> Iterator[int]:
    return (weight for weight in band.weights() if weight not in taken)


def _first_denied(rule: PortRule) -> tuple[bool, PortRule]:
    return rule.action is Action.ALLOW, rule
