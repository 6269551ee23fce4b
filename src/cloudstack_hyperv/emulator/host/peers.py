"""Hosts that can reach each other, and who may act there in whose name.

A host knows nothing of another one but what a `Peer` offers; `Peers` is the network between them
and the part of Active Directory that live migration needs: the delegation table.

Source: Microsoft, "Set up hosts for live migration without failover clustering" (the two services
of constrained delegation, and "use any authentication protocol" from Server 2016 on).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloudstack_hyperv.emulator.host.definition import Definition
from cloudstack_hyperv.emulator.host.disks import HostDisks
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.migration_settings import MigrationSettings
from cloudstack_hyperv.emulator.host.power import Power
from cloudstack_hyperv.emulator.host.site import Site
from cloudstack_hyperv.emulator.host.switches import Switches

MIGRATION_SERVICE = "Microsoft Virtual System Migration Service"
CIFS = "cifs"


@dataclass(frozen=True, slots=True)
class Delegation:
    """What the computer account of one host may do on another one in a user's name."""

    source: str
    destination: str
    services: frozenset[str] = frozenset({MIGRATION_SERVICE, CIFS})
    any_protocol: bool = True
    """ "Use any authentication protocol", against "Use Kerberos only"."""


class Delegations:
    """Constrained delegation between the hosts of a domain, by computer account."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Delegation] = {}

    def allow(self, delegation: Delegation) -> None:
        """Enter a delegation; it replaces the one between the same two hosts."""
        key = (delegation.source.upper(), delegation.destination.upper())
        self._entries[key] = delegation

    def revoke(self, source: str, destination: str) -> None:
        """Take a delegation back; one that is not there is fine."""
        self._entries.pop((source.upper(), destination.upper()), None)

    def find(self, source: str, destination: str) -> Delegation | None:
        """Return the delegation between two hosts, None if there is none."""
        return self._entries.get((source.upper(), destination.upper()))


@dataclass(slots=True)
class Peer:
    """One host as another one's migration service meets it."""

    site: Site
    machines: Machines
    switches: Switches
    disks: HostDisks
    power: Power
    definition: Definition
    settings: MigrationSettings
    cluster: str = ""
    """Name of the failover cluster it is a node of, "" for none."""
    reachable: bool = True
    """False: switched off, or the cable is out."""

    @property
    def name(self) -> str:
        """NetBIOS name."""
        return self.site.name

    def same_domain(self, other: Peer) -> bool:
        """Whether both are members of one domain."""
        mine, theirs = self.site.config.domain, other.site.config.domain
        return bool(mine) and mine.lower() == theirs.lower()

    def same_cluster(self, other: Peer) -> bool:
        """Whether both are nodes of one failover cluster."""
        return bool(self.cluster) and self.cluster == other.cluster


class Peers:
    """The hosts of one network."""

    def __init__(self, delegations: Delegations | None = None) -> None:
        self.delegations = delegations or Delegations()
        self.held: dict[Path, dict[str, bool]] = {}
        """Files that are open anywhere, by file and holder: shared storage has one lock."""
        self._peers: dict[str, Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def join(self, peer: Peer) -> None:
        """Take a host in; raises ValueError for a name that is taken."""
        if peer.name in self._peers:
            raise ValueError(f"two hosts are called {peer.name}")
        self._peers[peer.name] = peer

    def find(self, name: str) -> Peer | None:
        """Return the host of a NetBIOS name, a DNS name or an address; None if nobody is it."""
        wanted = name.strip().rstrip(".").upper()
        for peer in self:
            addresses = {nic.address for nic in peer.site.config.nics if nic.address}
            if wanted in (peer.name, peer.site.dns_name.upper()) or wanted in addresses:
                return peer
        return None


def is_address(name: str) -> bool:
    """Whether a host is named by an IP address, for which there is no Kerberos ticket."""
    try:
        ipaddress.ip_address(name.strip())
    except ValueError:
        return False
    return True
