"""Hosts that are nodes of a failover cluster, and VMs that the cluster looks after.

A VM that is a role of the cluster belongs to the cluster: what turns it off behind the cluster's
back, the cluster "repairs" by starting it again, and the hosts' own live migration refuses it.  So
its role is removed before it is stopped, which leaves the VM itself alone, and it moves by its
role.  CloudStack never restarts VMs of Hyper-V hosts by itself (`HighAvailabilityManagerImpl`), so
the two do not both do it.

The move is asked for with a property list that says "live"; its end is where the role is.  What is
known of clusters through WMI comes from documents; nobody ran this on a real cluster.

Source: Microsoft, "MSCluster_ResourceGroup", "MSCluster_Resource", "MSCluster_Cluster" (failover
cluster WMI provider), "Creating property lists".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.cim import ObjectPath, Uint8, Uint32
from cloudstack_hyperv.cim.constants import NAMESPACE_CLUSTER
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor.errors import HypervisorError, OperationTimedOut, translated
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import Argument, CimClient, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, equals

_MACHINE: Final = "Virtual Machine"
_LIVE: Final = 4
_ONLINE: Final = 0
_PENDING: Final = 4
_NAME_ENTRY, _NUMBER_ENTRY, _END = 0x00040003, 0x00010002, 0


@dataclass(frozen=True, slots=True)
class ClusterRole:
    """The role (resource group) of a VM."""

    name: str
    owner: str
    """Name of the node that it is on."""

    @property
    def path(self) -> ObjectPath:
        """The MSCluster_ResourceGroup."""
        return ObjectPath.of("MSCluster_ResourceGroup", namespace=NAMESPACE_CLUSTER, Name=self.name)


async def read_cluster_name(client: CimClient) -> str:
    """Return the name of the host's cluster, "" for a host that is in none: one round trip."""
    with translated("see whether the host is in a failover cluster"):
        try:
            rows = await client.enumerate("MSCluster_Cluster", namespace=NAMESPACE_CLUSTER)
        except (wsman.NotFound, wsman.UnknownClass):
            return ""
    return next((name for row in rows if (name := row.string("Name"))), "")


async def find_role(client: CimClient, guid: str) -> ClusterRole | None:
    """Return the role of a VM, None if the cluster does not look after it: one round trip."""
    with translated("find the VM's cluster role"):
        rows = await client.query(
            Select("MSCluster_Resource", where=equals("Type", _MACHINE)),
            namespace=NAMESPACE_CLUSTER,
        )
    for row in rows:
        if _machine_of(row).casefold() == guid.casefold():
            return ClusterRole(row.require("OwnerGroup"), row.string("OwnerNode") or "")
    return None


async def add_role(client: CimClient, cluster: str, guid: str, name: str) -> None:
    """Let the cluster look after a VM, all of whose files must be on shared storage."""
    target = ObjectPath.of("MSCluster_Cluster", namespace=NAMESPACE_CLUSTER, Name=cluster)
    await _invoke(
        client,
        target,
        "AddVirtualMachine",
        {"VirtualMachine": guid},
        f"make VM {name} a role of cluster {cluster}",
    )


async def remove_role(client: CimClient, role: ClusterRole) -> None:
    """Take a VM out of the cluster's care; the VM itself goes on."""
    await _invoke(
        client, role.path, "DestroyGroup", {"Options": Uint32(0)}, f"remove role {role.name}"
    )


async def move_role(client: CimClient, role: ClusterRole, node: str, timeout: float) -> None:
    """Move a VM live to another node and wait until it is there; raises HypervisorError."""
    what = f"move role {role.name} to node {node}"
    await _invoke(
        client,
        role.path,
        "MoveToNewNodeParams",
        {
            "NodeName": node,
            "Parameters": [Uint8(octet) for octet in live_move()],
            "Flags": Uint32(0),
        },
        what,
    )
    pace = power.Pace.for_seconds(timeout)
    while True:
        with translated(what):
            row = await client.get(role.path, job_poll=True)
        state, owner = row.uint("State"), (row.string("OwnerNode") or "").casefold()
        if state == _ONLINE and owner == node.casefold():
            return
        if state != _PENDING and owner != node.casefold() and pace.pause > power.FIRST_LOOK * 2:
            raise HypervisorError(f"{what}: the cluster left it on {row.string('OwnerNode')}")
        if not await pace.next():
            raise OperationTimedOut(f"{what}: the cluster was not done in {timeout:g} s")


def live_move() -> bytes:
    """Return the property list that asks for a live migration of VM and configuration."""
    names = (_MACHINE, f"{_MACHINE} Configuration")
    parts = [struct.pack("<I", len(names))]
    for name in names:
        text = f"{name}\0".encode("utf-16-le")
        parts.append(struct.pack("<II", _NAME_ENTRY, len(text)) + text + bytes(-len(text) % 4))
        parts.append(struct.pack("<IIII", _NUMBER_ENTRY, 4, _LIVE, _END))
    return b"".join(parts)


def _machine_of(row: Instance) -> str:
    """Return the GUID of a resource's VM, "" if it does not say."""
    return next(
        (part.string("VmID") or "" for part in row.instances("PrivateProperties")), ""
    ).strip("{}")


async def _invoke(
    client: CimClient, target: ObjectPath, method: str, arguments: dict[str, Argument], what: str
) -> None:
    """Call a method of the cluster; these return nothing, failures are faults."""
    with translated(what):
        await client.invoke(target, method, arguments)
