"""Private VLANs: several groups of ports inside one VLAN that do not all reach each other.  Pure.

CloudStack writes `pvlan://<primary>-i<secondary>`, with `c` for a community and `p` for a
promiscuous network instead of `i` (`NetUtils.generateUriForPvlan`); `NicTO.details` may name the
kind as well (`pvlanType`).  On Hyper-V a VM's port is isolated or a member of a community; what
serves the network, its router with DHCP and DNS, is promiscuous and lists the secondary VLANs that
it reaches.

A promiscuous network has one number for both, so it does not say which secondary VLANs there are:
its ports list all of them.

Sources: CloudStack's `NetUtils`, `PvlanSetupCommand`, `Network.PVlanType`; Microsoft,
Msvm_EthernetSwitchPortVlanSettingData and Set-VMNetworkAdapterVlan; RFC 5517.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cloudstack_hyperv.network.vlan import (
    HIGHEST_VLAN,
    LOWEST_VLAN,
    UnusableNetwork,
    vlan_from_text,
    vlan_of,
)

_URI = re.compile(r"pvlan:(?://)?(\d{1,5})-([icp]?)(\d{1,5})", re.IGNORECASE)


class PrivateRole(enum.IntEnum):
    """PvlanMode of Msvm_EthernetSwitchPortVlanSettingData."""

    ISOLATED = 1
    COMMUNITY = 2
    PROMISCUOUS = 3

    @classmethod
    def named(cls, name: str | None) -> PrivateRole:
        """Read CloudStack's name or its first letter; nothing is isolated, as before 4.14."""
        for role in cls:
            if name and role.name.casefold() in (name.casefold(), _LONG.get(name.casefold())):
                return role
        if name:
            raise UnusableNetwork(f"{name[:40]!r} is no kind of private VLAN")
        return cls.ISOLATED


_LONG = {"i": "isolated", "c": "community", "p": "promiscuous"}


@dataclass(frozen=True, slots=True)
class PrivateVlan:
    """What a port is in a private VLAN."""

    role: PrivateRole
    primary: int
    secondaries: frozenset[int]
    """One for isolated and community ports."""

    def __str__(self) -> str:
        few = sorted(self.secondaries)
        listed = str(few[0]) if len(few) == 1 else f"{few[0]}-{few[-1]}"
        return f"{self.primary}-{self.role.name[0].lower()}{listed}"


PortVlan = int | PrivateVlan
"""The VLAN of a port that is not untagged."""


def private_vlan(
    primary: str | None, secondary: str | None, role: PrivateRole, *, serves: bool
) -> PrivateVlan:
    """Return what a port is; `serves` for routers, which everybody must reach."""
    first, second = vlan_from_text(primary), vlan_from_text(secondary)
    if first is None or second is None:
        raise UnusableNetwork("a private VLAN needs a primary and a secondary VLAN")
    if role is PrivateRole.PROMISCUOUS and first == second:
        return PrivateVlan(
            role, first, frozenset(range(LOWEST_VLAN, HIGHEST_VLAN + 1)) - frozenset({first})
        )
    if first == second:
        raise UnusableNetwork(f"primary and secondary VLAN are the same ({first})")
    return PrivateVlan(PrivateRole.PROMISCUOUS if serves else role, first, frozenset({second}))


def port_vlan_of(
    broadcast_uri: str | None,
    isolation_uri: str | None,
    *,
    serves: bool,
    details: Mapping[str, str] | None = None,
) -> PortVlan | None:
    """Return a NIC's VLAN of either kind, None for untagged; raises UnusableNetwork."""
    uri = (broadcast_uri or isolation_uri or "").strip()
    if not uri.casefold().startswith("pvlan:"):
        return vlan_of(broadcast_uri, isolation_uri)
    match = _URI.fullmatch(uri)
    if match is None:
        raise UnusableNetwork(f"{uri[:80]!r} is not a private VLAN such as pvlan://100-i200")
    role = PrivateRole.named((details or {}).get("pvlanType") or match[2])
    return private_vlan(match[1], match[3], role, serves=serves)
