"""Rows of a failover cluster, the same on every node.

Sources: Microsoft's MSCluster_* pages; the names of a role's two resources and `VmID` from what
failover clustering itself creates; functional levels from Update-ClusterFunctionalLevel, those of
2012 and 2025 from memory.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_CLUSTER
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.cluster import Cluster
from cloudstack_hyperv.emulator.host.cluster_members import GroupState, Role
from cloudstack_hyperv.emulator.host.disk_transfer import free_bytes
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.site import text

CLUSTER, NODE, GROUP = "MSCluster_Cluster", "MSCluster_Node", "MSCluster_ResourceGroup"
RESOURCE, VOLUME = "MSCluster_Resource", "MSCluster_ClusterSharedVolume"
PROPERTY = "MSCluster_Property"
VM, VM_CONFIGURATION, DISK = "Virtual Machine", "Virtual Machine Configuration", "Physical Disk"
_VM_GROUP = 111
AVAILABLE_STORAGE = "Available Storage"
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


class ClusterRows:
    """The cluster's rows as one node shows them."""

    def __init__(self, cluster: Cluster, here: Peer) -> None:
        self._cluster = cluster
        self._here = here
        self._files = here.site.files

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
                "Caption": AVAILABLE_STORAGE,
                "Name": AVAILABLE_STORAGE,
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
                    "OwnerGroup": AVAILABLE_STORAGE,
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


def _path(class_name: str, name: str) -> ObjectPath:
    return ObjectPath(class_name, (("Name", name),), NAMESPACE_CLUSTER)


def _parts(class_name: str, group: tuple[str, str], part: tuple[str, str]) -> Row:
    return Row(class_name, {"GroupComponent": _path(*group), "PartComponent": _path(*part)})
