"""What a failover cluster consists of: nodes, roles, their states, and the errors of its methods.

Sources: clusapi.h (group and node states), winerror.h (errors), Move-ClusterVirtualMachineRole and
os-win's clusterapi.py (move types).
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field

from cloudstack_hyperv.emulator.cim.provider import CimFault
from cloudstack_hyperv.emulator.host.migration import Migration
from cloudstack_hyperv.emulator.host.peers import Peer

_ROLE_SPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


class ClusterError(enum.IntEnum):
    """HRESULTs of the cluster API (winerror.h)."""

    ALREADY_EXISTS = 0x80071392
    OBJECT_NOT_FOUND = 0x80071394
    GROUP_NOT_FOUND = 0x80071395
    GROUP_NOT_EMPTY = 0x80071397
    NODE_NOT_FOUND = 0x800713B2
    NODE_DOWN = 0x800713BA
    NOT_SHARED = 0x800713D3
    INVALID_STATE = 0x8007139F
    INVALID_PARAMETER = 0x80070057


class GroupState(enum.IntEnum):
    """MSCluster_ResourceGroup.State."""

    ONLINE = 0
    OFFLINE = 1
    FAILED = 2
    PARTIAL_ONLINE = 3
    PENDING = 4


class NodeState(enum.IntEnum):
    """MSCluster_Node.State."""

    UP = 0
    DOWN = 1
    PAUSED = 2


class MoveType(enum.IntEnum):
    """How a machine goes to another node."""

    TURN_OFF = 0
    QUICK = 1
    LIVE = 4


@dataclass(slots=True)
class ClusterNode:
    """One host as a member."""

    peer: Peer
    migration: Migration
    paused: bool = False

    @property
    def name(self) -> str:
        """NetBIOS name."""
        return self.peer.name

    @property
    def state(self) -> NodeState:
        """Whether it takes roles."""
        if not self.peer.reachable:
            return NodeState.DOWN
        return NodeState.PAUSED if self.paused else NodeState.UP


@dataclass(slots=True)
class Role:
    """A group that holds one machine."""

    name: str
    machine_id: str
    owner: str
    online_wanted: bool
    moving: bool = False
    failed: bool = False
    preferred: list[str] = field(default_factory=list)

    @property
    def group_id(self) -> str:
        """GUID of the group."""
        return str(uuid.uuid5(_ROLE_SPACE, self.machine_id))

    def resource_id(self, kind: str) -> str:
        """Return the GUID of one of its resources."""
        return str(uuid.uuid5(_ROLE_SPACE, f"{self.machine_id}/{kind}"))


def cluster_fault(code: ClusterError, text: str) -> CimFault:
    """Return the fault of a cluster method."""
    return CimFault(int(code), text)
