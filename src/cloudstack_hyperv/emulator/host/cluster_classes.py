"""root/mscluster of one node: cluster, nodes, roles, resources, the shared volume.

Every node shows the same rows.  A host outside a cluster does not have the namespace at all.
Methods are void: they begin something, and OwnerNode and State tell how it ends.

Sources: Microsoft's MSCluster_* pages; the names of a role's two resources and `VmID` from what
failover clustering itself creates; functional levels from Update-ClusterFunctionalLevel, those of
2012 and 2025 from memory.  Methods that are missing here answer "provider is not capable".
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterator

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_CLUSTER
from cloudstack_hyperv.emulator.cim.provider import CimFault, MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host.cluster import (
    Cluster,
    ClusterError,
    ClusterNode,
    GroupState,
    MoveType,
    Role,
)
from cloudstack_hyperv.emulator.host.cluster_properties import read_numbers
from cloudstack_hyperv.emulator.host.disk_transfer import free_bytes
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import text

CLUSTER, NODE, GROUP = "MSCluster_Cluster", "MSCluster_Node", "MSCluster_ResourceGroup"
RESOURCE, VOLUME = "MSCluster_Resource", "MSCluster_ClusterSharedVolume"
PROPERTY = "MSCluster_Property"
VM, VM_CONFIGURATION, DISK = "Virtual Machine", "Virtual Machine Configuration", "Physical Disk"
_VM_GROUP = 111
_AVAILABLE_STORAGE = "Available Storage"
_RUNNING_CLUSTER = 19
_LIVE_MIGRATING = 0x0000000000000800
_LEVELS = {"2012": 7, "2012r2": 8, "2016": 9, "2019": 10, "2022": 11, "2025": 12}
_RESOURCE_STATES = {
    GroupState.ONLINE: 2,
    GroupState.OFFLINE: 3,
    GroupState.FAILED: 4,
    GroupState.PENDING: 129,
}
_VOLUME_SPACE = uuid.UUID("6ba7b814-9dad-11d1-80b4-00c04fd430c8")
_MIB = 2**20

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

        def serve(
            name: str,
            rows: Callable[[], Iterator[Row]],
            methods: dict[str, Callable[[MethodCall], Reply]] | None = None,
        ) -> None:
            table.serve(name, self._settled(rows), namespace=NAMESPACE_CLUSTER, methods=methods)

        serve(CLUSTER, self.clusters, self._cluster_methods)
        serve(NODE, self.nodes, self._node_methods)
        serve(GROUP, self.groups, self._group_methods)
        serve(RESOURCE, self.resources, self._resource_methods)
        serve(VOLUME, self.volumes)
        serve("MSCluster_DiskPartition", self.partitions)
        serve("MSCluster_Network", self.networks)
        serve("MSCluster_ClusterToNode", self.cluster_nodes)
        serve("MSCluster_NodeToActiveGroup", self.node_groups)
        serve("MSCluster_ResourceGroupToResource", self.group_resources)
        serve("MSCluster_ResourceToDependentResource", self.dependencies)
        serve("MSCluster_ClusterSharedVolumeToResource", self.volume_resources)

    def _settled(self, rows: Callable[[], Iterator[Row]]) -> Callable[[], Iterator[Row]]:
        """Let every node's time pass first: any of them may own what is asked for."""

        def settled() -> Iterator[Row]:
            self._settle()
            return rows()

        return settled

    def _settle(self) -> None:
        for node in self._cluster.nodes:
            node.peer.site.timeline.settle()

    # Rows ----------------------------------------------------------------------------------

    def clusters(self) -> Iterator[Row]:
        """Yield the cluster."""
        site = self._here.site
        domain = site.config.domain
        level = min(_LEVELS.get(n.peer.site.profile.release, 8) for n in self._cluster.nodes)
        name = self._cluster.name
        yield Row(
            CLUSTER,
            {
                "Caption": name,
                "Name": name,
                "CreationClassName": CLUSTER,
                "Status": "OK",
                "ClusterFunctionalLevel": level,
                "ClusterUpgradeVersion": 1,
                "EnableSharedVolumes": 1 if self._files.volumes else 0,
                "Fqdn": f"{name}.{domain}" if domain else name,
                "SharedVolumesRoot": "C:\\ClusterStorage",
                "QuorumType": "Majority",
                "MaxNumberOfNodes": 64,
                "S2DEnabled": 0,
                "DrainOnShutdown": 1,
            },
        )

    def nodes(self) -> Iterator[Row]:
        """Yield the nodes."""
        for number, node in enumerate(self._cluster.nodes, start=1):
            profile = node.peer.site.profile
            major, minor = profile.version.split(".")[:2]
            yield Row(
                NODE,
                {
                    "Caption": node.name,
                    "Name": node.name,
                    "CreationClassName": NODE,
                    "Status": "OK",
                    "Id": str(number),
                    "State": int(node.state),
                    "NodeWeight": 1,
                    "DynamicWeight": 1,
                    "NodeDrainStatus": 2 if node.paused else 0,
                    "MajorVersion": int(major),
                    "MinorVersion": int(minor),
                    "BuildNumber": int(profile.build),
                },
            )

    def groups(self) -> Iterator[Row]:
        """Yield the cluster's own group and the roles."""
        first = self._cluster.nodes[0].name
        yield Row(
            GROUP,
            {
                "Caption": _AVAILABLE_STORAGE,
                "Name": _AVAILABLE_STORAGE,
                "Id": str(uuid.uuid5(_VOLUME_SPACE, self._cluster.name)),
                "GroupType": 2,
                "IsCore": True,
                "OwnerNode": first,
                "State": int(GroupState.ONLINE),
                "StatusInformation": 0,
                "Priority": 2000,
            },
        )
        for role in self._cluster.roles:
            yield Row(
                GROUP,
                {
                    "Caption": role.name,
                    "Name": role.name,
                    "Id": role.group_id,
                    "GroupType": _VM_GROUP,
                    "IsCore": False,
                    "OwnerNode": role.owner,
                    "PersistentState": role.online_wanted,
                    "State": int(self._cluster.state(role)),
                    "StatusInformation": _LIVE_MIGRATING if role.moving else 0,
                    "Priority": 2000,
                    "AutoFailbackType": 0,
                    "FailoverThreshold": 4294967295,
                    "FailoverPeriod": 6,
                },
            )

    def resources(self) -> Iterator[Row]:
        """Yield the resources of roles, and the disk of each shared volume."""
        for role in self._cluster.roles:
            yield self._resource(role, VM)
            yield self._resource(role, VM_CONFIGURATION)
        for volume in self._files.volumes:
            yield Row(
                RESOURCE,
                {
                    "Caption": f"Cluster Disk {volume.label}",
                    "Name": f"Cluster Disk {volume.label}",
                    "Id": str(uuid.uuid5(_VOLUME_SPACE, volume.path)),
                    "Type": DISK,
                    "OwnerGroup": _AVAILABLE_STORAGE,
                    "OwnerNode": self._cluster.nodes[0].name,
                    "State": 2,
                    "CoreResource": False,
                    "IsClusterSharedVolume": True,
                },
            )

    def _resource(self, role: Role, kind: str) -> Row:
        state = self._cluster.state(role)
        if kind == VM_CONFIGURATION and self._cluster.machine(role) is not None:
            state = GroupState.ONLINE
        private: dict[str, Value] = {"VmID": role.machine_id.lower()}
        if kind == VM:
            private.update(OfflineAction=1, ShutdownAction=0)
        return Row(
            RESOURCE,
            {
                "Caption": f"{kind} {role.name}",
                "Name": f"{kind} {role.name}",
                "Id": role.resource_id(kind),
                "Type": kind,
                "OwnerGroup": role.name,
                "OwnerNode": role.owner,
                "State": _RESOURCE_STATES[state],
                "CoreResource": False,
                "IsClusterSharedVolume": False,
                "RestartAction": 2,
                "PersistentState": role.online_wanted,
                "PrivateProperties": Row(PROPERTY, private),
            },
        )

    def volumes(self) -> Iterator[Row]:
        """Yield shared volumes, by mount point."""
        for volume in self._files.volumes:
            guid = uuid.uuid5(_VOLUME_SPACE, volume.path)
            yield Row(
                VOLUME,
                {
                    "Caption": volume.label,
                    "Name": volume.path,
                    "VolumeName": f"\\\\?\\Volume{{{guid}}}\\",
                    "VolumeOffset": _MIB,
                    "BackupState": 1,
                    "FaultState": 1,
                },
            )

    def partitions(self) -> Iterator[Row]:
        """Yield what is known of the volumes' room."""
        for volume in self._files.volumes:
            free = free_bytes(self._files, self._files.locate(volume.path))
            yield Row(
                "MSCluster_DiskPartition",
                {
                    "Path": volume.path,
                    "Name": volume.path,
                    "FileSystem": "CSVFS",
                    "FreeSpace": min(volume.capacity, free) // _MIB,
                    "TotalSize": volume.capacity // _MIB,
                    "PartitionNumber": 2,
                    "VolumeLabel": volume.label,
                    "VolumeGuid": str(uuid.uuid5(_VOLUME_SPACE, volume.path)),
                },
            )

    def networks(self) -> Iterator[Row]:
        """Yield the network that nodes and clients share."""
        nic = self._here.site.config.nics[0]
        yield Row(
            "MSCluster_Network",
            {
                "Caption": "Cluster Network 1",
                "Name": "Cluster Network 1",
                "Id": str(uuid.uuid5(_VOLUME_SPACE, nic.netmask)),
                "Address": nic.address.rsplit(".", 1)[0] + ".0",
                "AddressMask": nic.netmask,
                "Metric": 70240,
                "AutoMetric": True,
                "Role": 3,
                "State": 3,
            },
        )

    # Associations --------------------------------------------------------------------------

    def cluster_nodes(self) -> Iterator[Row]:
        """Yield the cluster with its nodes."""
        for node in self._cluster.nodes:
            yield Row(
                "MSCluster_ClusterToNode",
                {
                    "Antecedent": _path(CLUSTER, self._cluster.name),
                    "Dependent": _path(NODE, node.name),
                },
            )

    def node_groups(self) -> Iterator[Row]:
        """Yield nodes with the roles they run."""
        for role in self._cluster.roles:
            yield _parts("MSCluster_NodeToActiveGroup", (NODE, role.owner), (GROUP, role.name))

    def group_resources(self) -> Iterator[Row]:
        """Yield roles with their resources."""
        for row in self.resources():
            names = text(row.values, "OwnerGroup"), text(row.values, "Name")
            yield _parts(
                "MSCluster_ResourceGroupToResource", (GROUP, names[0]), (RESOURCE, names[1])
            )

    def dependencies(self) -> Iterator[Row]:
        """Yield machines with the configurations that they need."""
        for role in self._cluster.roles:
            yield Row(
                "MSCluster_ResourceToDependentResource",
                {
                    "Antecedent": _path(RESOURCE, f"{VM_CONFIGURATION} {role.name}"),
                    "Dependent": _path(RESOURCE, f"{VM} {role.name}"),
                },
            )

    def volume_resources(self) -> Iterator[Row]:
        """Yield shared volumes with their disks."""
        for volume in self._files.volumes:
            disk = (RESOURCE, f"Cluster Disk {volume.label}")
            yield _parts("MSCluster_ClusterSharedVolumeToResource", (VOLUME, volume.path), disk)

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
        if name == _AVAILABLE_STORAGE:
            raise CimFault(int(ClusterError.INVALID_STATE), "the cluster's own group stays")
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
        raise CimFault(int(ClusterError.GROUP_NOT_EMPTY), f"{role.name} has resources")

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
    return CimFault(int(ClusterError.INVALID_PARAMETER), message)


def _path(class_name: str, name: str) -> ObjectPath:
    return ObjectPath(class_name, (("Name", name),), NAMESPACE_CLUSTER)


def _parts(class_name: str, group: tuple[str, str], part: tuple[str, str]) -> Row:
    return Row(class_name, {"GroupComponent": _path(*group), "PartComponent": _path(*part)})
