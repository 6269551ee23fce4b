"""Flip, read back and restore: Windows' files and processes, and the cluster's roles and nodes."""

from __future__ import annotations

import dataclasses

from tests.emulator_host.driver import CALLER
from tests.emulator_host.round_trip import CIMV2, Bench, Trip, writes

from cloudstack_hyperv.emulator.cim.provider import MethodReply, Value
from cloudstack_hyperv.emulator.host.cluster_properties import write_numbers
from cloudstack_hyperv.emulator.host.config import ShareLogin

CLUSTER_NAMESPACE = "root/mscluster"
CLUSTER, NODE = "MSCluster_Cluster", "MSCluster_Node"
GROUP, RESOURCE = "MSCluster_ResourceGroup", "MSCluster_Resource"
VOLUME = r"C:\ClusterStorage\Volume1"
LIVE = list(write_numbers({"Virtual Machine": 4, "Virtual Machine Configuration": 4}))
FILE, FOLDER = "CIM_DataFile", "Win32_Directory"
SMB, MAPPING = "root/microsoft/windows/smb", "MSFT_SmbGlobalMapping"
PENDING = 4


# Files and processes -----------------------------------------------------------------------


class Names:
    """A folder with one file and one folder in it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.folder = bench.host.file("C:\\data")
        self.make()

    def make(self) -> None:
        """Bring both (back)."""
        (self.folder / "sub").mkdir(parents=True, exist_ok=True)
        (self.folder / "file").write_text("content")

    async def remake(self) -> None:
        """Bring back what was deleted."""
        self.make()

    async def read(self) -> list[str]:
        """Return what is there."""
        return sorted(path.name for path in self.folder.iterdir())

    async def call(self, class_name: str, name: str, method: str, **args: Value) -> None:
        """Call a method of a file or folder."""
        keys = {"Name": f"c:\\data\\{name}"}
        reply = await self.bench.invoke(CIMV2, class_name, keys, method, **args)
        assert reply.return_value == 0


def file_scenes(class_name: str, name: str) -> None:
    async def copying(bench: Bench) -> Trip:
        names = Names(bench)
        return Trip(
            names.read,
            lambda: names.call(class_name, name, "Copy", FileName="c:\\data\\copy"),
            lambda: names.call(class_name, "copy", "Delete"),
        )

    async def renaming(bench: Bench) -> Trip:
        names = Names(bench)

        async def restore() -> None:
            (names.folder / "other").rename(names.folder / name)

        return Trip(
            names.read,
            lambda: names.call(class_name, name, "Rename", FileName="c:\\data\\other"),
            restore,
        )

    async def deleting(bench: Bench) -> Trip:
        names = Names(bench)
        return Trip(names.read, lambda: names.call(class_name, name, "Delete"), names.remake)

    writes(class_name, "Copy")(copying)
    writes(class_name, "Rename")(renaming)
    writes(class_name, "Delete")(deleting)


file_scenes(FILE, "file")
file_scenes(FOLDER, "sub")


class Commands:
    """Processes that a caller started."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.pids: list[Value] = []

    async def read(self) -> int:
        """Return how many shells run."""
        rows = await self.bench.host.rows("Win32_Process", CIMV2)
        return sum(row.values["Name"] == "cmd.exe" for row in rows)

    async def create(self) -> None:
        """Start one."""
        command = f"cmd /c mkdir C:\\made-{len(self.pids)}"
        reply = await self.bench.host.engine.invoke(
            CIMV2, "Win32_Process", {}, "Create", {"CommandLine": command}, CALLER
        )
        assert reply.return_value == 0
        self.pids.append(reply.out["ProcessId"])

    async def terminate(self) -> None:
        """End the newest."""
        await self.bench.invoke(
            CIMV2, "Win32_Process", {"Handle": str(self.pids[-1])}, "Terminate", Reason=0
        )


@writes("Win32_Process", "Create")
async def create_process(bench: Bench) -> Trip:
    commands = Commands(bench)
    return Trip(commands.read, commands.create, commands.terminate)


@writes("Win32_Process", "Terminate")
async def terminate_process(bench: Bench) -> Trip:
    commands = Commands(bench)
    await commands.create()
    return Trip(commands.read, commands.terminate, commands.create)


# Storage ----------------------------------------------------------------------------------


@writes("MSFT_Volume", "SetFileSystemLabel")
async def set_label(bench: Bench) -> Trip:
    namespace = "root/microsoft/windows/storage"

    async def first() -> dict[str, Value]:
        return (await bench.host.rows("MSFT_Volume", namespace))[0].values

    async def label(name: Value) -> None:
        keys = {"ObjectId": str((await first())["ObjectId"])}
        await bench.invoke(
            namespace, "MSFT_Volume", keys, "SetFileSystemLabel", FileSystemLabel=name
        )

    async def read() -> Value:
        (row, *_) = await bench.host.rows("Win32_Volume", CIMV2)
        return row.values["Label"]

    before = await read()
    return Trip(read, lambda: label("Data"), lambda: label(before))


class GlobalMapping:
    """The fleet's share, which a global mapping may open."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        (share,) = bench.host.host.site.files.shares
        self.keys = {"LocalPath": "", "RemotePath": f"\\\\{share.server}\\{share.name}"}
        self.login = ShareLogin(next(iter(share.accounts)), "a password")
        logins = (self.login,)
        bench.host.host.site.files.add_share(dataclasses.replace(share, logins=logins))

    async def read(self) -> int:
        """Return how many mappings there are."""
        return len(await self.bench.host.rows(MAPPING, SMB))

    async def create(self) -> None:
        """Log in."""
        args: dict[str, Value] = {
            "RemotePath": self.keys["RemotePath"],
            "UserName": self.login.user,
            "Password": self.login.password,
        }
        await self.bench.host.engine.invoke(SMB, MAPPING, {}, "Create", args, CALLER)

    async def remove(self) -> None:
        """Log out."""
        await self.bench.invoke(SMB, MAPPING, self.keys, "Remove", Force=True)


@writes(MAPPING, "Create")
async def create_mapping(bench: Bench) -> Trip:
    mapping = GlobalMapping(bench)
    return Trip(mapping.read, mapping.create, mapping.remove)


@writes(MAPPING, "Remove")
async def remove_mapping(bench: Bench) -> Trip:
    mapping = GlobalMapping(bench)
    await mapping.create()
    return Trip(mapping.read, mapping.remove, mapping.create)


# Cluster -----------------------------------------------------------------------------------


class ClusterRole:
    """A machine on the shared volume that may be a role."""

    def __init__(self, bench: Bench, guid: str) -> None:
        self.bench = bench
        self.guid = guid

    async def call(self, class_name: str, name: str, method: str, **args: Value) -> MethodReply:
        """Call a method of the cluster and let its effect come."""
        reply = await self.bench.invoke(
            CLUSTER_NAMESPACE, class_name, {"Name": name}, method, **args
        )
        for _ in range(200):
            rows = await self.bench.host.rows(GROUP, CLUSTER_NAMESPACE)
            if all(row.values["State"] != PENDING for row in rows):
                break
            self.bench.host.clock.advance(0.1)
        return reply

    async def add(self) -> None:
        """Make the machine a role."""
        await self.call(CLUSTER, "HYPERV-CLUSTER", "AddVirtualMachine", VirtualMachine=self.guid)

    async def group(self, name: str, **more: Value) -> None:
        """Call a method of the role's group."""
        await self.call(GROUP, "web", name, **more)

    async def resource(self, name: str, **more: Value) -> None:
        """Call a method of the role's machine resource."""
        await self.call(RESOURCE, "Virtual Machine web", name, **more)

    async def _rows(self, class_name: str, name: str) -> list[Value]:
        rows = await self.bench.host.rows(class_name, CLUSTER_NAMESPACE)
        return [row.values[name] for row in rows]

    async def names(self) -> list[Value]:
        """Return the groups' names."""
        return await self._rows(GROUP, "Name")

    async def states(self) -> list[Value]:
        """Return the groups' states."""
        return await self._rows(GROUP, "State")

    async def owners(self) -> list[Value]:
        """Return who owns the groups."""
        return await self._rows(GROUP, "OwnerNode")

    async def nodes(self) -> list[Value]:
        """Return the nodes' states."""
        return await self._rows(NODE, "State")

    async def preferred(self) -> Value:
        """Return the preferred owners, by their order."""
        reply = await self.bench.invoke(
            CLUSTER_NAMESPACE, GROUP, {"Name": "web"}, "GetPreferredOwners"
        )
        return reply.out["NodeNames"]


async def role_of(bench: Bench, *, added: bool = True) -> ClusterRole:
    role = ClusterRole(bench, await bench.host.build(folder=VOLUME))
    if added:
        await role.add()
    return role


@writes(CLUSTER, "AddVirtualMachine")
async def add_machine(bench: Bench) -> Trip:
    role = await role_of(bench, added=False)
    return Trip(role.names, role.add, lambda: role.group("DestroyGroup", Options=0))


@writes(GROUP, "DestroyGroup")
async def destroy_group(bench: Bench) -> Trip:
    role = await role_of(bench)
    return Trip(role.names, lambda: role.group("DestroyGroup", Options=0), role.add)


@writes(GROUP, "Rename")
async def rename_group(bench: Bench) -> Trip:
    role = await role_of(bench)
    return Trip(
        role.names,
        lambda: role.group("Rename", NewName="mail"),
        lambda: role.call(GROUP, "mail", "Rename", NewName="web"),
    )


@writes(GROUP, "SetPreferredOwners")
async def prefer_owners(bench: Bench) -> Trip:
    role = await role_of(bench)
    return Trip(
        role.preferred,
        lambda: role.group("SetPreferredOwners", NodeNames=["HYPERV2"]),
        lambda: role.group("SetPreferredOwners", NodeNames=[]),
    )


@writes(GROUP, "MoveToNewNode")
async def move_group(bench: Bench) -> Trip:
    role = await role_of(bench)
    return Trip(
        role.owners,
        lambda: role.group("MoveToNewNode", NodeName="HYPERV2", TimeOut=0),
        lambda: role.group("MoveToNewNode", NodeName="HYPERV1", TimeOut=0),
    )


@writes(GROUP, "MoveToNewNodeParams")
async def move_group_with(bench: Bench) -> Trip:
    role = await role_of(bench)
    return Trip(
        role.owners,
        lambda: role.group("MoveToNewNodeParams", NodeName="HYPERV2", Parameters=LIVE),
        lambda: role.group("MoveToNewNodeParams", NodeName="HYPERV1", Parameters=LIVE),
    )


def line_scenes(class_name: str) -> None:
    """Going offline and online, asked of the group or of its resource."""

    async def ask(role: ClusterRole, method: str) -> None:
        if class_name == GROUP:
            await role.group(method)
        else:
            await role.resource(method)

    async def bringing(bench: Bench) -> Trip:
        role = await role_of(bench)
        await ask(role, "TakeOffline")
        return Trip(role.states, lambda: ask(role, "BringOnline"), lambda: ask(role, "TakeOffline"))

    def taking(method: str) -> None:
        async def scene(bench: Bench) -> Trip:
            role = await role_of(bench)
            return Trip(role.states, lambda: ask(role, method), lambda: ask(role, "BringOnline"))

        writes(class_name, method)(scene)

    writes(class_name, "BringOnline")(bringing)
    taking("TakeOffline")
    taking("TakeOfflineParams")


line_scenes(GROUP)
line_scenes(RESOURCE)


@writes(NODE, "Pause")
async def pause_node(bench: Bench) -> Trip:
    role = await role_of(bench)
    return Trip(
        role.nodes,
        lambda: role.call(NODE, "HYPERV2", "Pause", DrainType=0, TargetNode=""),
        lambda: role.call(NODE, "HYPERV2", "Resume", FailbackType=0),
    )


@writes(NODE, "Resume")
async def resume_node(bench: Bench) -> Trip:
    role = await role_of(bench)
    await role.call(NODE, "HYPERV2", "Pause", DrainType=0, TargetNode="")
    return Trip(
        role.nodes,
        lambda: role.call(NODE, "HYPERV2", "Resume", FailbackType=0),
        lambda: role.call(NODE, "HYPERV2", "Pause", DrainType=0, TargetNode=""),
    )
