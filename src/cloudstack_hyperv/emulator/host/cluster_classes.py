"""root/mscluster of one node: which classes it has, and what their methods do.

A host outside a cluster does not have the namespace at all.  Methods are void: they begin
something, and OwnerNode and State tell how it ends.  Methods that are missing here answer
"provider is not capable".

Source: Microsoft's MSCluster_* pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from cloudstack_hyperv.cim.constants import NAMESPACE_CLUSTER
from cloudstack_hyperv.emulator.cim.provider import CimFault, MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host.cluster import Cluster
from cloudstack_hyperv.emulator.host.cluster_members import (
    ClusterError,
    ClusterNode,
    MoveType,
    Role,
    cluster_fault,
)
from cloudstack_hyperv.emulator.host.cluster_properties import read_numbers
from cloudstack_hyperv.emulator.host.cluster_rows import (
    AVAILABLE_STORAGE,
    CLUSTER,
    GROUP,
    NODE,
    RESOURCE,
    VM,
    VM_CONFIGURATION,
    VOLUME,
    ClusterRows,
)
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import text

_RUNNING_CLUSTER = 19
Reply = MethodReply | Awaitable[MethodReply]
_DONE = MethodReply(None)


class ClusterClasses:
    """The cluster as one node shows it."""

    def __init__(self, cluster: Cluster, here: Peer) -> None:
        self._cluster = cluster
        self._here = here
        self._files = here.site.files

    def register(self, table: ClassTable) -> None:
        """Put the classes into the node's table."""
        rows = ClusterRows(self._cluster, self._here)

        def serve(
            name: str,
            source: Callable[[], Iterator[Row]],
            methods: dict[str, Callable[[MethodCall], Reply]] | None = None,
        ) -> None:
            table.serve(name, self._settled(source), namespace=NAMESPACE_CLUSTER, methods=methods)

        serve(CLUSTER, rows.clusters, self._cluster_methods)
        serve(NODE, rows.nodes, self._node_methods)
        serve(GROUP, rows.groups, self._group_methods)
        serve(RESOURCE, rows.resources, self._resource_methods)
        serve(VOLUME, rows.volumes)
        serve("MSCluster_DiskPartition", rows.partitions)
        serve("MSCluster_Network", rows.networks)
        serve("MSCluster_ClusterToNode", rows.cluster_nodes)
        serve("MSCluster_NodeToActiveGroup", rows.node_groups)
        serve("MSCluster_ResourceGroupToResource", rows.group_resources)
        serve("MSCluster_ResourceToDependentResource", rows.dependencies)
        serve("MSCluster_ClusterSharedVolumeToResource", rows.volume_resources)

    def _settled(self, rows: Callable[[], Iterator[Row]]) -> Callable[[], Iterator[Row]]:
        """Let every node's time pass first: any of them may own what is asked for."""

        def settled() -> Iterator[Row]:
            self._settle()
            return rows()

        return settled

    def _settle(self) -> None:
        for node in self._cluster.nodes:
            node.peer.site.timeline.settle()

    # Methods -------------------------------------------------------------------------------

    @property
    def _cluster_methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        return {
            "AddVirtualMachine": self._add_machine,
            "GetNodeClusterState": lambda _: MethodReply(None, {"ClusterState": _RUNNING_CLUSTER}),
            "VerifyPath": self._verify_path,
        }

    @property
    def _node_methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        return {"Pause": self._pause, "Resume": self._resume}

    @property
    def _group_methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        return {
            "BringOnline": lambda call: self._do(call, self._cluster.bring_online),
            "TakeOffline": lambda call: self._do(call, self._cluster.take_offline),
            "TakeOfflineParams": lambda call: self._do(call, self._cluster.take_offline),
            "MoveToNewNode": self._move,
            "MoveToNewNodeParams": self._move_with_parameters,
            "DestroyGroup": lambda call: self._do(call, self._cluster.destroy),
            "DeleteGroup": self._delete,
            "Rename": self._rename,
            "SetPreferredOwners": self._set_preferred,
            "GetPreferredOwners": self._get_preferred,
            "GetGroupType": self._group_type,
        }

    @property
    def _resource_methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        return {
            "BringOnline": lambda call: self._do(call, self._cluster.bring_online),
            "TakeOffline": lambda call: self._do(call, self._cluster.take_offline),
            "TakeOfflineParams": lambda call: self._do(call, self._cluster.take_offline),
            "GetPossibleOwners": self._possible_owners,
        }

    def _role(self, call: MethodCall) -> Role:
        self._settle()
        values = call.target.values if call.target is not None else {}
        name = text(values, "OwnerGroup") or text(values, "Name")
        if name == AVAILABLE_STORAGE:
            raise cluster_fault(ClusterError.INVALID_STATE, "the cluster's own group stays")
        return self._cluster.role(name)

    def _do(self, call: MethodCall, action: Callable[[Role], None]) -> MethodReply:
        action(self._role(call))
        return _DONE

    def _add_machine(self, call: MethodCall) -> MethodReply:
        self._settle()
        self._cluster.add_machine(_text(call, "VirtualMachine"))
        return _DONE

    def _verify_path(self, call: MethodCall) -> MethodReply:
        path = _text(call, "Path").casefold()
        shared = any(path.startswith(v.path.casefold()) for v in self._files.volumes)
        return MethodReply(None, {"result": 0 if shared else 1})

    def _move(self, call: MethodCall) -> MethodReply:
        self._cluster.move(self._role(call), _optional_text(call, "NodeName"))
        return _DONE

    def _move_with_parameters(self, call: MethodCall) -> MethodReply:
        raw = call.arguments.get("Parameters")
        how: MoveType | None = None
        if raw:
            octets = raw if isinstance(raw, list | tuple | bytes) else b""
            try:
                numbers = read_numbers(bytes(int(str(octet)) for octet in octets))
                kinds = {value for name, value in numbers.items() if name in (VM, VM_CONFIGURATION)}
                how = MoveType(kinds.pop()) if len(kinds) == 1 else None
            except ValueError as problem:
                raise _bad(f"Parameters: {problem}") from problem
            if kinds:
                raise _bad("Parameters name two ways of moving")
        self._cluster.move(self._role(call), _optional_text(call, "NodeName"), how)
        return _DONE

    def _delete(self, call: MethodCall) -> MethodReply:
        role = self._role(call)
        raise cluster_fault(ClusterError.GROUP_NOT_EMPTY, f"{role.name} has resources")

    def _rename(self, call: MethodCall) -> MethodReply:
        self._cluster.rename(self._role(call), _text(call, "NewName"))
        return _DONE

    def _set_preferred(self, call: MethodCall) -> MethodReply:
        names = call.arguments.get("NodeNames")
        wanted = [str(name) for name in names] if isinstance(names, list | tuple) else []
        self._cluster.prefer(self._role(call), wanted)
        return _DONE

    def _get_preferred(self, call: MethodCall) -> MethodReply:
        return MethodReply(None, {"NodeNames": self._role(call).preferred or None})

    def _group_type(self, call: MethodCall) -> MethodReply:
        values = call.target.values if call.target is not None else {}
        kind = values.get("GroupType")
        return MethodReply(int(str(kind)) if kind is not None else None)

    def _possible_owners(self, call: MethodCall) -> MethodReply:
        del call
        return MethodReply(None, {"NodeNames": [node.name for node in self._cluster.nodes]})

    def _node(self, call: MethodCall) -> ClusterNode:
        self._settle()
        values = call.target.values if call.target is not None else {}
        return self._cluster.node(text(values, "Name"))

    def _pause(self, call: MethodCall) -> MethodReply:
        drain = call.arguments.get("DrainType")
        self._cluster.pause(
            self._node(call), drain=bool(drain), target=_optional_text(call, "TargetNode")
        )
        return _DONE

    def _resume(self, call: MethodCall) -> MethodReply:
        self._cluster.resume(self._node(call))
        return _DONE


def _text(call: MethodCall, name: str) -> str:
    value = call.arguments.get(name)
    if not isinstance(value, str) or not value:
        raise _bad(f"{name} is missing")
    return value


def _optional_text(call: MethodCall, name: str) -> str:
    value = call.arguments.get(name)
    return value if isinstance(value, str) else ""


def _bad(message: str) -> CimFault:
    return cluster_fault(ClusterError.INVALID_PARAMETER, message)
