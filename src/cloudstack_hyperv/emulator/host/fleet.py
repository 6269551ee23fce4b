r"""Several emulated hosts in one process that can reach each other.

They have folders, names and releases of their own, and share what hosts of one site share: a domain
with a delegation table, a network, a file server (`\\FILESERVER\vms`) whose access list knows their
computer accounts, and, when the first two form a failover cluster, `C:\ClusterStorage\Volume1`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloudstack_hyperv.emulator.host.clock import Clock, SystemClock
from cloudstack_hyperv.emulator.host.cluster import Cluster
from cloudstack_hyperv.emulator.host.cluster_classes import ClusterClasses
from cloudstack_hyperv.emulator.host.cluster_members import ClusterNode
from cloudstack_hyperv.emulator.host.config import HostConfig, PhysicalNic, Share, SharedVolume
from cloudstack_hyperv.emulator.host.host import EmulatedHost
from cloudstack_hyperv.emulator.host.migration_settings import KERBEROS
from cloudstack_hyperv.emulator.host.peers import Delegation, Delegations, Peers

FILE_SERVER, SHARE = "FILESERVER", "vms"
SHARED_VOLUME = r"C:\ClusterStorage\Volume1"


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Which hosts there are and what joins them."""

    folder: Path
    hosts: tuple[HostConfig, ...]
    delegate: bool = True
    """Whether every computer account may act on every other host, with any protocol."""
    cluster: str = ""
    """Name of the failover cluster that the first two hosts form, "" for none."""
    delegations: Delegations = field(default_factory=Delegations)

    def __post_init__(self) -> None:
        if self.cluster and len(self.hosts) < 2:
            raise ValueError("a failover cluster needs two hosts")


def plan_fleet(
    folder: Path,
    count: int,
    *,
    template: HostConfig | None = None,
    prefix: str = "HYPERV",
    domain: str = "hyperv.example",
    cluster: bool = False,
    delegate: bool = True,
    authentication: int = KERBEROS,
) -> FleetPlan:
    """Plan `count` hosts `HYPERV1`... that are alike; raises ValueError for too few or too many.

    `template` gives release, size and timings; what must differ between hosts is set here.
    """
    if not 1 <= count <= 200:
        raise ValueError("a fleet has 1 to 200 hosts")
    basis = template or HostConfig(folder)
    short = domain.split(".")[0].upper()
    names = [f"{prefix}{number}" for number in range(1, count + 1)]
    accounts = frozenset(f"{short}\\{name}$" for name in names) | {f"{short}\\Administrator"}
    share = Share(FILE_SERVER, SHARE, folder / "shares" / SHARE, accounts)
    share.folder.mkdir(parents=True, exist_ok=True)
    volume = SharedVolume(SHARED_VOLUME, folder / "shares" / "volume1")
    hosts = tuple(
        dataclasses.replace(
            basis,
            folder=folder / name.lower(),
            name=name,
            domain=domain,
            migration_authentication=authentication,
            seed=basis.seed + 7919 * number,
            nics=(_nic(basis, number), *basis.nics[1:]),
            shares=(*basis.shares, share),
            volumes=(*basis.volumes, volume) if cluster and number < 2 else basis.volumes,
        )
        for number, name in enumerate(names)
    )
    return FleetPlan(folder, hosts, delegate, f"{prefix}-CLUSTER" if cluster else "")


def _nic(basis: HostConfig, number: int) -> PhysicalNic:
    first = basis.nics[0] if basis.nics else PhysicalNic()
    network, last = first.address.rsplit(".", 1)
    return dataclasses.replace(
        first,
        address=f"{network}.{int(last) + number}",
        mac=f"{first.mac[:-5]}{number // 256:02X}:{(int(first.mac[-2:], 16) + number) % 256:02X}",
    )


class Fleet:
    """Emulated hosts that know each other.  `close` it when it is no longer needed."""

    def __init__(self, plan: FleetPlan, clock: Clock | None = None) -> None:
        """Build all hosts on their folders; raises KeyError for an unknown release."""
        self.plan = plan
        self.delegations = plan.delegations
        self.peers = Peers(self.delegations)
        moment = clock or SystemClock()
        self.hosts = [EmulatedHost(config, moment, self.peers) for config in plan.hosts]
        if plan.delegate:
            self._delegate()
        self.cluster: Cluster | None = None
        if plan.cluster:
            nodes = [ClusterNode(h.peer, h.migration) for h in self.hosts[:2]]
            self.cluster = Cluster(plan.cluster, nodes, plan.folder / "cluster.json")
            for host in self.hosts[:2]:
                ClusterClasses(self.cluster, host.peer).register(host.table)

    def _delegate(self) -> None:
        for source in self.hosts:
            for destination in self.hosts:
                if source is not destination:
                    self.delegations.allow(Delegation(source.name, destination.name))

    def __iter__(self) -> Iterator[EmulatedHost]:
        return iter(self.hosts)

    def __getitem__(self, name: str) -> EmulatedHost:
        """Return the host of a NetBIOS name; raises KeyError."""
        for host in self.hosts:
            if host.name == name.upper():
                return host
        raise KeyError(name)

    def close(self, *, keep_running: bool = False) -> None:
        """Write every host's state down and end its threads."""
        for host in self.hosts:
            host.close(keep_running=keep_running)
