r"""Made-up names in place of a site's real ones: the same one for the same thing, everywhere.

What a name stands for decides what takes its place, and what takes its place can stand where the
name stood: a host name for a host name, an address that is nobody's for an address (RFC 2544,
RFC 3849), a locally administered MAC for a MAC, a path for a path.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable
from typing import Final

_MAC_DIGITS = 12


class Role(enum.StrEnum):
    """What a name stands for."""

    HOST = "host"
    DOMAIN = "domain"
    USER = "user"
    THING = "name"
    """A machine, a switch, a network card, a volume."""
    TEXT = "text"
    """Free text: notes, descriptions, serial numbers."""
    GUID = "GUID"
    MAC = "MAC"
    ADDRESS = "address"
    FOLDER = "folder"
    IDENTIFIER = "SID"


class Pseudonyms:
    """All names of one recording and what stands for them."""

    def __init__(self) -> None:
        self._given: dict[Role, dict[str, str]] = {role: {} for role in Role}

    def name_for(self, role: Role, real: str) -> str:
        """Return what stands for a name, the same one for any letter case of it."""
        given = self._given[role]
        key = _key(role, real)
        if key not in given:
            given[key] = _MAKERS[role](len(given) + 1, real)
        made = given[key]
        return _spelled_as(real, made) if role in (Role.MAC, Role.GUID) else made

    def is_one(self, role: Role, text: str) -> bool:
        """Whether a text is a made-up name already."""
        return text.casefold() in {made.casefold() for made in self._given[role].values()}

    def known(self, role: Role) -> dict[str, str]:
        """Return the names of a role (folded) and what stands for them."""
        return dict(self._given[role])


def _key(role: Role, real: str) -> str:
    if role is Role.MAC:
        return re.sub(r"[^0-9A-Fa-f]", "", real).upper()
    if role is Role.ADDRESS:
        return str(ipaddress.ip_address(real.partition("%")[0]))
    return real.casefold()


def _host(number: int, _: str) -> str:
    return f"HOST{number}"


def _domain(number: int, real: str) -> str:
    return f"domain{number}.example" if "." in real else f"DOMAIN{number}"


def _address(number: int, real: str) -> str:
    if ipaddress.ip_address(real.partition("%")[0]).version == 6:
        return str(ipaddress.IPv6Address("2001:db8::") + number)
    return str(ipaddress.IPv4Address("198.18.0.0") + number)


def _mac(number: int, _: str) -> str:
    return f"0200AA{number:06X}"


def _guid(number: int, _: str) -> str:
    return f"00000000-0000-4000-8000-{number:012X}"


_MAKERS: Final[dict[Role, Callable[[int, str], str]]] = {
    Role.HOST: _host,
    Role.DOMAIN: _domain,
    Role.USER: lambda number, _: f"user{number}",
    Role.THING: lambda number, _: f"name{number}",
    Role.TEXT: lambda number, _: f"text{number}",
    Role.GUID: _guid,
    Role.MAC: _mac,
    Role.ADDRESS: _address,
    Role.FOLDER: lambda number, _: f"C:\\folder{number}",
    Role.IDENTIFIER: lambda number, _: f"S-1-5-21-1-1-1-{1000 + number}",
}


def _spelled_as(real: str, made: str) -> str:
    """Give a MAC the separators, and any hex text the letter case, of the one it stands for."""
    separator = next((mark for mark in ":-." if mark in real), "")
    if separator and len(made) == _MAC_DIGITS:
        made = separator.join(made[i : i + 2] for i in range(0, _MAC_DIGITS, 2))
    return made.lower() if real == real.lower() else made
