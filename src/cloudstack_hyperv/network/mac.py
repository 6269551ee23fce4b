"""MAC addresses as CloudStack and Hyper-V write them.  Pure."""

from __future__ import annotations

import re

from cloudstack_hyperv.network.vlan import UnusableNetwork

_MAC_SEPARATORS = re.compile(r"[:.\-]")
_MULTICAST = 0x01


def normal_mac(mac: str | None) -> str:
    """Return a MAC address as twelve hex digits; raises UnusableNetwork for what is none."""
    digits = _MAC_SEPARATORS.sub("", mac or "").upper()
    if not re.fullmatch(r"[0-9A-F]{12}", digits):
        raise UnusableNetwork(f"{(mac or '')[:40]!r} is not a MAC address")
    if int(digits[:2], 16) & _MULTICAST or digits == "0" * 12:
        raise UnusableNetwork(f"{mac!r} cannot be the MAC address of one NIC")
    return digits


def spelled_mac(digits: str) -> str:
    """Return twelve hex digits as CloudStack writes a MAC address: lower case with colons."""
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2)).lower()
