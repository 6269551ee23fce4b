"""Which VLAN a NIC belongs to, from CloudStack's two URIs.

A NIC carries a `broadcastUri` (the broadcast domain) and an `isolationUri` (how it is kept apart),
and not every kind of network fills both:

    network                     broadcastUri               isolationUri        VLAN
    guest, public               vlan://261                 vlan://261          261
    any of them, untagged       vlan://untagged            vlan://untagged     none
    Basic zone guest            vlan://untagged            ec2://untagged      none
    management (pod)            vlan://50, or null         null                50, none
    storage traffic             storage://60, or null      null                60, none
    link-local control          null                       null                none

`pvlan://` is read by the module `pvlan`.  Anything else (`vxlan://`, `vs://`, ...) is refused: a
NIC that is connected without the isolation it was meant to have is worse than a VM that does not
start.

Source: CloudStack's `Networks.BroadcastDomainType`, `Networks.IsolationType` and the gurus that
fill the fields (`GuestNetworkGuru`, `PodBasedNetworkGuru`, `StorageNetworkGuru`,
`ControlNetworkGuru`).
"""

from __future__ import annotations

import re
from typing import Final

LOWEST_VLAN: Final = 1
HIGHEST_VLAN: Final = 4094
"""IEEE 802.1Q reserves 0 (priority tag) and 4095."""

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):(?://)?(?P<value>.*)", re.DOTALL)
_TAGGED_BROADCAST = frozenset({"vlan", "storage"})
_PLAIN = frozenset({"ec2", "native", "linklocal"})
"""Schemes of networks without a tag of their own."""

_HINTS: Final = {
    "vxlan": "VXLAN needs Hyper-V network virtualisation, which this agent does not drive",
    "pvlan": "a private VLAN cannot be changed to by its number",
}


class UnusableNetwork(ValueError):
    """The NIC's network cannot be made on Hyper-V; the text says why."""


def vlan_of(broadcast_uri: str | None, isolation_uri: str | None) -> int | None:
    """Return the VLAN id of a NIC, None for untagged; raises UnusableNetwork."""
    scheme, value = _split(broadcast_uri)
    if scheme in _TAGGED_BROADCAST:
        return vlan_from_text(value)
    if scheme and scheme not in _PLAIN:
        raise _unusable("broadcast", broadcast_uri, scheme)
    scheme, value = _split(isolation_uri)
    if scheme == "vlan":
        return vlan_from_text(value)
    if scheme and scheme not in _PLAIN:
        raise _unusable("isolation", isolation_uri, scheme)
    return None


def vlan_from_text(text: str | None) -> int | None:
    """Read what stands behind `vlan://`: a number, or `untagged`; raises UnusableNetwork.

    "-1" and nothing mean untagged too: CloudStack's Hyper-V plug-in writes them so
    (`HypervDirectConnectResource.getVmNics`).
    """
    value = (text or "").strip()
    if value in {"", "-1"} or value.casefold() == "untagged":
        return None
    if not (value.isascii() and value.isdecimal()):
        raise UnusableNetwork(
            f"VLAN {value[:40]!r} is not a number from {LOWEST_VLAN} to {HIGHEST_VLAN}, "
            'nor "untagged"'
        )
    number = int(value) if len(value) <= 5 else HIGHEST_VLAN + 1
    if not LOWEST_VLAN <= number <= HIGHEST_VLAN:
        raise UnusableNetwork(f"VLAN {value[:40]} is outside of {LOWEST_VLAN} to {HIGHEST_VLAN}")
    return number


def _split(uri: str | None) -> tuple[str, str]:
    """Return scheme (lower case) and value; ("", "") for no URI."""
    text = (uri or "").strip()
    if not text:
        return "", ""
    match = _URI.fullmatch(text)
    if match is None:
        raise UnusableNetwork(f"{text[:80]!r} is not a network URI such as vlan://100")
    return match["scheme"].lower(), match["value"]


def _unusable(kind: str, uri: str | None, scheme: str) -> UnusableNetwork:
    hint = _HINTS.get(scheme, "only vlan://, storage://, ec2://untagged or none can be used")
    return UnusableNetwork(f"{kind} URI {(uri or '')[:80]!r} cannot be used on Hyper-V: {hint}")
