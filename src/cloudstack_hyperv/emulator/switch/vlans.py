"""Which ports of a switch are one network: access, trunk and private VLANs.

A frame has a VLAN from the moment it enters, whatever the tag on it: 0 stands for "untagged".  The
uplink carries every VLAN, with a tag, and VLAN 0 without.

Private VLANs: a promiscuous port sends in the primary VLAN, isolated and community ports send in
their secondary one; on this switch they meet only each other, as the class's page says, and never
an ordinary port that happens to have the same number [guess: Microsoft documents no mixture].

Sources: Microsoft, Msvm_EthernetSwitchPortVlanSettingData and Set-VMNetworkAdapterVlan (modes,
who may talk to whom in a private VLAN, the native VLAN of a trunk); RFC 5517 for private VLANs.
That a port drops a tag that it was not given is [guess], and the safe one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class PrivateRole(enum.IntEnum):
    """PvlanMode."""

    ISOLATED = 1
    COMMUNITY = 2
    PROMISCUOUS = 3


@dataclass(frozen=True, slots=True)
class AccessVlan:
    """The machine sees no tags; 0 is the untagged network."""

    vlan_id: int = 0


@dataclass(frozen=True, slots=True)
class TrunkVlan:
    """The machine tags its frames; untagged ones belong to the native VLAN."""

    native: int
    allowed: frozenset[int]


@dataclass(frozen=True, slots=True)
class PrivateVlan:
    """A member of a private VLAN; only a promiscuous port has more than one secondary."""

    role: PrivateRole
    primary: int
    secondaries: frozenset[int]

    @property
    def sends_in(self) -> int:
        """The VLAN of its frames."""
        if self.role is PrivateRole.PROMISCUOUS:
            return self.primary
        return min(self.secondaries)


Vlan = AccessVlan | TrunkVlan | PrivateVlan

UNTAGGED = AccessVlan()


def admitted_vlan(vlan: Vlan | None, tag: int | None) -> int | None:
    """Return the VLAN of a frame that came in with `tag` (None without), None to drop it.

    `vlan` None is the uplink.  A tag of VLAN 0 is a priority tag: the frame counts as untagged.
    """
    tag = tag or 0
    if vlan is None:
        return tag
    if isinstance(vlan, TrunkVlan):
        if tag == 0:
            return vlan.native
        return tag if tag == vlan.native or tag in vlan.allowed else None
    if tag:
        return None
    return vlan.vlan_id if isinstance(vlan, AccessVlan) else vlan.sends_in


def leaves_as(sender: Vlan | None, receiver: Vlan | None, vlan: int) -> int | None:
    """Return the tag (0 for none) with which a frame in `vlan` leaves, None when it does not.

    `sender` and `receiver` None are the uplink.
    """
    if receiver is None:
        return vlan
    if isinstance(receiver, PrivateVlan):
        return 0 if _private_reaches(sender, receiver, vlan) else None
    if isinstance(sender, PrivateVlan):
        return None
    if isinstance(receiver, AccessVlan):
        return 0 if receiver.vlan_id == vlan else None
    if vlan == receiver.native:
        return 0
    return vlan if vlan and vlan in receiver.allowed else None


def _private_reaches(sender: Vlan | None, receiver: PrivateVlan, vlan: int) -> bool:
    if sender is None:
        wanted = {receiver.primary}
        if receiver.role is not PrivateRole.ISOLATED:
            wanted |= receiver.secondaries
        return vlan in wanted
    if not isinstance(sender, PrivateVlan) or sender.primary != receiver.primary:
        return False
    both = {sender.role, receiver.role}
    if both == {PrivateRole.PROMISCUOUS}:
        return True
    if PrivateRole.PROMISCUOUS in both:
        return bool(sender.secondaries & receiver.secondaries)
    return both == {PrivateRole.COMMUNITY} and sender.secondaries == receiver.secondaries
