r"""A failover cluster of emulated hosts: roles, where they are, and who may move them.

A machine becomes a role when it is added; from then on the cluster starts, stops and moves it, and
repairs what is done behind its back: a machine that was turned off outside the cluster is started
again, one whose guest shut itself down stays off.  Nodes trust each other, so a move needs no
delegation.  When a node is lost its roles start on another one.

Sources: Microsoft's pages MSCluster_ResourceGroup and MSCluster_Cluster.  That a role's machine
loses its automatic start action when it is added, and what a second role of one name is called,
are guesses.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from cloudstack_hyperv.cim.constants import RequestedState
from cloudstack_hyperv.emulator.cim.provider import Caller, CimFault, MethodCall
from cloudstack_hyperv.emulator.host.checkpoints import disk_paths
from cloudstack_hyperv.emulator.host.cluster_members import (
    ClusterError,
    ClusterNode,
    GroupState,
    MoveType,
    NodeState,
    Role,
    cluster_fault,
)
from cloudstack_hyperv.emulator.host.machine import Machine, PowerState
from cloudstack_hyperv.emulator.host.migration_wish import VIRTUAL_SYSTEM, MigrationWish
from cloudstack_hyperv.emulator.host.outcome import JobFailed, Refused
from cloudstack_hyperv.emulator.host.relocation import on_host, plugged_in
from cloudstack_hyperv.emulator.host.system_rows import SYSTEM

_NO_START = 2
_ACCOUNT = Caller("NT AUTHORITY\\SYSTEM", mechanism="local")
_SETTLE_SECONDS = 0.05
_WAIT_ROUNDS = 2000


class Cluster:
    """One failover cluster; its database is a file that all nodes would have."""

    def __init__(self, name: str, nodes: list[ClusterNode], database: Path) -> None:
        self.name = name
        self.nodes = nodes
        self._database = database
        self._roles: dict[str, Role] = {}
        for node in nodes:
            node.peer.cluster = name
            node.peer.settings.in_workgroup_cluster = True
            node.peer.machines.changed.append(self._look_after(node))
        self._load()

    @property
    def roles(self) -> list[Role]:
        """All roles."""
        return list(self._roles.values())

    def node(self, name: str) -> ClusterNode:
        """Return a node; raises CimFault."""
        for node in self.nodes:
            if node.name == name.upper():
                return node
        raise cluster_fault(ClusterError.NODE_NOT_FOUND, f"no node {name}")

    def role(self, name: str) -> Role:
        """Return a role; raises CimFault."""
        for role in self._roles.values():
            if role.name.casefold() == name.casefold():
                return role
        raise cluster_fault(ClusterError.GROUP_NOT_FOUND, f"no group {name}")

    def machine(self, role: Role) -> Machine | None:
        """Return a role's machine on its owner, None when it is not there."""
        return self.node(role.owner).peer.machines.get(role.machine_id)

    def state(self, role: Role) -> GroupState:
        """Return the state of a role."""
        machine = self.machine(role)
        if machine is None or not self.node(role.owner).peer.reachable:
            return GroupState.FAILED
        if role.moving or not machine.state.is_stable:
            return GroupState.PENDING
        if machine.state in (PowerState.RUNNING, PowerState.PAUSED):
            return GroupState.ONLINE
        return GroupState.FAILED if role.failed else GroupState.OFFLINE

    # Roles come and go ---------------------------------------------------------------------

    def add_machine(self, wanted: str) -> Role:
        """Make a role of a machine, named by GUID or display name; raises CimFault."""
        node, machine = self._find(wanted)
        if machine.role:
            raise cluster_fault(ClusterError.ALREADY_EXISTS, f"{machine.name} is a role already")
        self._require_shared(node, machine)
        running = machine.state in (PowerState.RUNNING, PowerState.PAUSED)
        role = Role(self._free_name(machine.name), machine.machine_id, node.name, running)
        self._roles[machine.machine_id] = role
        machine.role = role.name
        machine.settings.set_system(AutomaticStartupAction=_NO_START)
        node.peer.machines.announce(machine)
        self._save()
        return role

    def _find(self, wanted: str) -> tuple[ClusterNode, Machine]:
        for node in self.nodes:
            machine = node.peer.machines.get(wanted.strip().strip("{}"))
            if machine is not None:
                return node, machine
        for node in self.nodes:
            named = node.peer.machines.by_name(wanted)
            if len(named) == 1:
                return node, named[0]
        raise cluster_fault(ClusterError.OBJECT_NOT_FOUND, f"no virtual machine {wanted}")

    def _require_shared(self, node: ClusterNode, machine: Machine) -> None:
        others = [other for other in self.nodes if other is not node]
        paths = [*node.peer.definition.configuration_files(machine.settings)]
        for settings in machine.all_settings():
            paths.extend(disk_paths(settings))
        for path in paths:
            for other in others:
                try:
                    here, there = node.peer.disks.place(path), other.peer.disks.place(path)
                except JobFailed as problem:
                    raise cluster_fault(ClusterError.NOT_SHARED, problem.text) from problem
                if here.local != there.local:
                    raise cluster_fault(ClusterError.NOT_SHARED, f"{path} is not on shared storage")

    def _free_name(self, name: str) -> str:
        taken = {role.name.casefold() for role in self._roles.values()}
        candidate, count = name, 1
        while candidate.casefold() in taken:
            count += 1
            candidate = f"{name} ({count})"
        return candidate

    def destroy(self, role: Role) -> None:
        """Take a role away; its machine stays as it is, and nobody looks after it."""
        if role.moving:
            raise cluster_fault(ClusterError.INVALID_STATE, f"{role.name} is moving")
        machine = self.machine(role)
        if machine is not None:
            machine.role = ""
        del self._roles[role.machine_id]
        self._save()

    def rename(self, role: Role, name: str) -> None:
        """Give a role another name; raises CimFault."""
        if not name.strip():
            raise cluster_fault(ClusterError.INVALID_PARAMETER, "a group has a name")
        if any(o.name.casefold() == name.casefold() for o in self.roles if o is not role):
            raise cluster_fault(ClusterError.ALREADY_EXISTS, f"there is a group {name}")
        role.name = name
        machine = self.machine(role)
        if machine is not None:
            machine.role = name
        self._save()

    def prefer(self, role: Role, names: list[str]) -> None:
        """Set the preferred owners; raises CimFault for an unknown node."""
        role.preferred = [self.node(name).name for name in names]
        self._save()

    # Power ---------------------------------------------------------------------------------

    def bring_online(self, role: Role) -> None:
        """Start a role's machine; raises CimFault."""
        machine = self._present(role)
        role.online_wanted, role.failed = True, False
        if machine.state not in (PowerState.RUNNING, PowerState.STARTING):
            self._request(role, machine, RequestedState.START)
        self._save()

    def take_offline(self, role: Role) -> None:
        """Save a role's machine, which is what "offline" does by default; raises CimFault."""
        machine = self._present(role)
        role.online_wanted = False
        if machine.state in (PowerState.RUNNING, PowerState.PAUSED):
            self._request(role, machine, RequestedState.SAVE)
        self._save()

    def _present(self, role: Role) -> Machine:
        node, machine = self.node(role.owner), self.machine(role)
        if not node.peer.reachable:
            raise cluster_fault(ClusterError.NODE_DOWN, f"{node.name} is down")
        if machine is None:
            raise cluster_fault(ClusterError.OBJECT_NOT_FOUND, f"{role.name} has lost its machine")
        if role.moving:
            raise cluster_fault(ClusterError.INVALID_STATE, f"{role.name} is moving")
        return machine

    def _request(self, role: Role, machine: Machine, state: int) -> None:
        call = _call(SYSTEM, "RequestStateChange", RequestedState=int(state))
        try:
            self.node(role.owner).peer.power.request(call, machine)
        except (Refused, JobFailed) as problem:
            raise cluster_fault(ClusterError.INVALID_STATE, problem.text) from problem

    def _look_after(self, node: ClusterNode) -> Callable[[Machine], None]:
        """Return a listener that starts what somebody else turned off."""

        def look(machine: Machine) -> None:
            role = self._roles.get(machine.machine_id)
            if role is None or role.moving or role.owner != node.name:
                return
            if machine.state is PowerState.RUNNING:
                role.online_wanted, role.failed = True, False
            elif machine.state is PowerState.SAVED:
                role.online_wanted = False
            elif machine.state is PowerState.OFF and role.online_wanted:
                guest = machine.guest
                if guest is not None and guest.shutting_down:
                    role.online_wanted = False
                else:
                    self._repair_later(node, role)

        return look

    def _repair_later(self, node: ClusterNode, role: Role) -> None:
        def repair() -> None:
            machine = self.machine(role)
            if machine is None or not role.online_wanted or role.moving:
                return
            if machine.state is not PowerState.OFF or role.owner != node.name:
                return
            try:
                node.peer.power.start_now(machine)
            except JobFailed:
                role.failed = True  # shown as the group's state, as the real cluster does

        node.peer.site.timeline.after(node.peer.site.config.timings.start, repair)

    # Moving --------------------------------------------------------------------------------

    def move(self, role: Role, node_name: str, how: MoveType | None = None) -> None:
        """Begin moving a role, by default live; "" leaves the choice of the node to the cluster.

        Poll OwnerNode and State for the end; raises CimFault for what cannot even begin.
        """
        machine = self._present(role)
        target = self.node(node_name) if node_name else self._best_node(role)
        if target.state is not NodeState.UP:
            raise cluster_fault(ClusterError.NODE_DOWN, f"{target.name} takes no roles")
        if target.name == role.owner:
            return
        if not machine.state.is_stable or machine.state is PowerState.PAUSED:
            raise cluster_fault(ClusterError.INVALID_STATE, f"{role.name} is {machine.state.value}")
        role.moving = True
        running = machine.state is PowerState.RUNNING
        if running and how is MoveType.QUICK:
            self._first(role, machine, RequestedState.SAVE, target)
        elif running and how is MoveType.TURN_OFF:
            self._first(role, machine, RequestedState.TURN_OFF, target)
        else:
            self._migrate(role, machine, target, restart=False)

    def _first(self, role: Role, machine: Machine, state: int, target: ClusterNode) -> None:
        """Bring the machine to rest, then move it and start it there."""
        try:
            self._request(role, machine, state)
        except CimFault:
            role.moving = False
            raise
        timeline, rounds = self.node(role.owner).peer.site.timeline, 0

        def look() -> None:
            nonlocal rounds
            rounds += 1
            if machine.state in (PowerState.SAVED, PowerState.OFF) and not machine.occupied:
                self._migrate(role, machine, target, restart=True)
            elif machine.destroyed or rounds > _WAIT_ROUNDS:
                role.moving = False
            else:
                timeline.after(_SETTLE_SECONDS, look)

        timeline.after(_SETTLE_SECONDS, look)

    def _migrate(self, role: Role, machine: Machine, target: ClusterNode, *, restart: bool) -> None:
        def arrived() -> None:
            role.owner, role.moving = target.name, False
            self._save()
            moved = self.machine(role)
            if restart and moved is not None:
                self._request(role, moved, RequestedState.START)

        def failed() -> None:
            role.moving = False

        wish = MigrationWish(VIRTUAL_SYSTEM, target.name)
        call = _call("Msvm_VirtualSystemMigrationService", "MigrateVirtualSystemToHost")
        migration = self.node(role.owner).migration
        try:
            migration.start(call, machine, wish, arrived=arrived, failed=failed)
        except (Refused, JobFailed) as problem:
            role.moving = False
            raise cluster_fault(ClusterError.INVALID_STATE, problem.text) from problem

    def _best_node(self, role: Role) -> ClusterNode:
        able = [n for n in self.nodes if n.state is NodeState.UP and n.name != role.owner]
        if not able:
            raise cluster_fault(ClusterError.NODE_DOWN, "no other node takes roles")
        preferred = [node for node in able if node.name in role.preferred]
        return min(preferred or able, key=lambda node: len(node.peer.machines))

    # Nodes ---------------------------------------------------------------------------------

    def pause(self, node: ClusterNode, *, drain: bool, target: str = "") -> None:
        """Let a node take no more roles, and with `drain` move its own ones away."""
        node.paused = True
        if drain:
            for role in [role for role in self.roles if role.owner == node.name]:
                self.move(role, target)

    def resume(self, node: ClusterNode) -> None:
        """Let a node take roles again."""
        node.paused = False

    def lose_node(self, name: str) -> None:
        """A node dies: its machines lose power, its roles start elsewhere."""
        lost = self.node(name)
        lost.peer.reachable = False
        mine = [role for role in self.roles if role.owner == lost.name]
        for role in mine:
            role.moving = True  # the cluster itself is at work: nothing to repair meanwhile
        for machine in list(lost.peer.machines):
            if machine.state is not PowerState.SAVED:
                lost.peer.power.power_off(machine)
        for role in mine:
            self._fail_over(role, lost)
        self._save()

    def _fail_over(self, role: Role, lost: ClusterNode) -> None:
        machine = lost.peer.machines.get(role.machine_id)
        able = [node for node in self.nodes if node.state is NodeState.UP]
        role.moving = False
        if machine is None or not able:
            role.failed = True
            return
        target = min(able, key=lambda node: len(node.peer.machines))
        settings, missing = plugged_in(
            on_host(machine.settings, target.name), target.peer.switches, {}
        )
        checkpoints = {
            guid: dataclasses.replace(each, settings=on_host(each.settings, target.name))
            for guid, each in machine.checkpoints.items()
        }
        registered = dataclasses.replace(
            machine, settings=settings, checkpoints=checkpoints, occupied=False, activity=None
        )
        lost.peer.machines.remove(machine)
        target.peer.machines.add(registered)
        role.owner, role.failed = target.name, bool(missing)
        if role.online_wanted:
            self._repair_later(target, role)

    def recover_node(self, name: str) -> None:
        """A lost node is back."""
        self.node(name).peer.reachable = True

    # The database --------------------------------------------------------------------------

    def _save(self) -> None:
        rows = [
            {
                "name": role.name,
                "machine": role.machine_id,
                "owner": role.owner,
                "online": role.online_wanted,
                "preferred": role.preferred,
            }
            for role in self.roles
        ]
        scratch = self._database.with_suffix(".new")
        scratch.write_text(json.dumps({"roles": rows}), encoding="utf-8")
        scratch.replace(self._database)

    def _load(self) -> None:
        if not self._database.exists():
            return
        document = json.loads(self._database.read_text(encoding="utf-8"))
        for row in document["roles"]:
            role = Role(
                row["name"], row["machine"], row["owner"], row["online"], preferred=row["preferred"]
            )
            self._roles[role.machine_id] = role
            machine = self.machine(role)
            if machine is None:
                role.failed = True
                continue
            machine.role = role.name
            if role.online_wanted and machine.state is PowerState.OFF:
                self._repair_later(self.node(role.owner), role)


def _call(class_name: str, method: str, **arguments: int) -> MethodCall:
    return MethodCall("root/virtualization/v2", class_name, method, None, arguments, _ACCOUNT)
