"""Which address of ours stands for which host, and what to do when one cannot.

The management server takes the agent's address for the host's own, so each host has an address
(or, behind a redirect, a port) of its own here.  What can be wrong with one is told apart, because
each needs another remedy: this machine does not have it, somebody listens there already (often the
management server itself), or it is the management server's own.

Source: CloudStack's `HypervServerDiscoverer` (agentIp).
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from cloudstack_hyperv.config import DirectDoorSettings, HostSettings

EVERYWHERE = "0.0.0.0"  # noqa: S104 - one host, no address asked: all of ours; the allow-list decides

Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


class DoorCannotOpen(Exception):
    """The door cannot listen as configured; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the door answers for one host."""

    address: str
    port: int


def place_of(host: HostSettings, settings: DirectDoorSettings, hosts: int) -> Place:
    """Return where to listen for a host, one of `hosts`; raises DoorCannotOpen."""
    port = settings.port if host.listen_port is None else host.listen_port
    if host.listen is not None:
        return Place(host.listen, port)
    if hosts == 1:
        return Place(EVERYWHERE, port)
    raise DoorCannotOpen(
        f"host {host.name!r} has no listen address: with several hosts each needs its own, "
        "because the management server tells hosts apart by address alone"
    )


def check_places(
    places: Sequence[tuple[HostSettings, Place]], management_servers: Sequence[str]
) -> None:
    """Raise DoorCannotOpen for an address that stands for something else already."""
    own = {host.winrm.address: host.name for host, _ in places}
    own |= {host.private_address: host.name for host, _ in places if host.private_address}
    taken: dict[Place, str] = {}
    for host, place in places:
        address = ipaddress.ip_address(place.address)
        if place.port and place in taken:
            raise DoorCannotOpen(
                f"hosts {taken[place]!r} and {host.name!r} both have {place.address} port "
                f"{place.port}: each needs an address of its own"
            )
        taken[place] = host.name
        if address.is_loopback:
            continue
        if place.address in management_servers:
            raise DoorCannotOpen(
                f"host {host.name!r}: listen = {place.address} is the management server's own "
                "address; give this machine another address for the host"
            )
        if place.address in own:
            raise DoorCannotOpen(
                f"host {host.name!r}: listen = {place.address} is the address of the Hyper-V host "
                f"{own[place.address]!r} itself; give this machine another address for the host"
            )


def why_not(error: OSError, host: str, place: Place) -> DoorCannotOpen:
    """Say what to do about an address at which one cannot listen."""
    at = f"host {host!r}: cannot listen on {place.address} port {place.port}"
    if error.errno == errno.EADDRNOTAVAIL:
        return DoorCannotOpen(
            f"{at}: this machine does not have the address; add it (ip address add "
            f"{place.address}/<prefix> dev <card>), or correct hosts.listen"
        )
    if error.errno == errno.EADDRINUSE:
        return DoorCannotOpen(
            f"{at}: somebody listens there already. A management server on this machine takes 8250 "
            "on all addresses: then set hosts.listen_port and lead the address's 8250 there by a "
            "redirect; see docs/scaling.md"
        )
    if error.errno == errno.EACCES:
        return DoorCannotOpen(f"{at}: ports below 1024 need CAP_NET_BIND_SERVICE")
    return DoorCannotOpen(f"{at}: {error.strerror or error}")


def networks(entries: Sequence[str]) -> Networks:
    """Return an allow-list, parsed."""
    return tuple(ipaddress.ip_network(entry, strict=False) for entry in entries)


def is_in(peer: str, allowed: Networks) -> bool:
    """Whether a peer's address is in an allow-list; an IPv4 one may be written as IPv6."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in allowed)
