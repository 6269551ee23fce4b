"""Simple port ACLs, the only ones of Windows Server 2012: addresses, no ports, no flows.  Pure.

Without flows an answer needs its own rule, and without ports nobody can tell an answer from
something new, so of all security groups one kind can be kept: everything may come in and
everything may go out.  Then what is left to enforce is that the VM sends under its own addresses.
IPv6 is either open as well or wholly closed.  Every other group is refused.

The longest prefix decides (Microsoft, Msvm_EthernetSwitchPortAclSettingData).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloudstack_hyperv.network.port_acls import MARK, Action, Direction
from cloudstack_hyperv.network.security_groups import (
    GroupRule,
    GuestAddresses,
    UnusableRules,
)

_EVERYTHING = ("all", "any", "-1")


@dataclass(frozen=True, slots=True, order=True)
class AddressAcl:
    """One simple ACL about the VM's own address."""

    direction: Direction
    action: Action
    local: str
    """A network, such as 10.1.1.5/32."""
    name: str = MARK

    @property
    def version(self) -> int:
        """4 or 6."""
        return ipaddress.ip_network(self.local).version


class NeedsPorts(UnusableRules):
    """The group cannot be kept by rules without ports."""


def address_acls_of_group(
    guest: GuestAddresses, ingress: Sequence[GroupRule], egress: Sequence[GroupRule]
) -> frozenset[AddressAcl]:
    """Return everything that a port should have; raises UnusableRules, NeedsPorts."""
    opened = set(_opened(ingress))
    if 4 not in opened or egress:
        raise NeedsPorts(
            "Windows Server 2012 has port ACLs without ports and flows: of security groups only "
            "one that lets in everything (protocol all, 0.0.0.0/0) and limits no egress can be "
            "kept there; use Windows Server 2012 R2 or later"
        )
    acls = {
        AddressAcl(Direction.OUTGOING, Action.DENY, "0.0.0.0/0"),
        AddressAcl(Direction.OUTGOING, Action.DENY, "::/0"),
        # What a guest sends before it has an address: DHCP.
        AddressAcl(Direction.OUTGOING, Action.ALLOW, "0.0.0.0/32"),
    }
    if 6 in opened:
        acls.add(AddressAcl(Direction.OUTGOING, Action.ALLOW, "::/128"))
    else:
        acls.add(AddressAcl(Direction.INCOMING, Action.DENY, "::/0"))
    for address in guest.own():
        if address.version in opened:
            network = str(ipaddress.ip_network(address))
            acls.add(AddressAcl(Direction.OUTGOING, Action.ALLOW, network))
    return frozenset(acls)


def _opened(group: Iterable[GroupRule]) -> Iterable[int]:
    """Yield the versions of IP of which everything is allowed."""
    for rule in group:
        if rule.protocol.strip().casefold() in _EVERYTHING:
            for cidr in rule.cidrs:
                if cidr.strip() == "0.0.0.0/0":
                    yield 4
                elif cidr.strip() == "::/0":
                    yield 6
