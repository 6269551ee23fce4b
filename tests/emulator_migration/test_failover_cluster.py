"""A cluster of two nodes: roles, moves, repairs, and a node that dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.emulator_host.driver import CALLER, VSMS
from tests.emulator_migration.fleet_driver import (
    CLUSTER_NAMESPACE,
    NTLM,
    VM,
    FleetDriver,
    HostDriver,
)

from cloudstack_hyperv.emulator.cim.provider import CimFault, MethodReply, Row, Value, WmiCode
from cloudstack_hyperv.emulator.host.cluster_properties import (
    BadPropertyList,
    read_numbers,
    write_numbers,
)
from cloudstack_hyperv.emulator.host.fleet import Fleet

VOLUME = r"C:\ClusterStorage\Volume1"
CLUSTER, GROUP, RESOURCE = "MSCluster_Cluster", "MSCluster_ResourceGroup", "MSCluster_Resource"
ONLINE, OFFLINE, FAILED, PENDING = 0, 1, 2, 4
LIVE = write_numbers({"Virtual Machine": 4, "Virtual Machine Configuration": 4})
QUICK = write_numbers({"Virtual Machine": 1, "Virtual Machine Configuration": 1})


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[FleetDriver]:
    driver = FleetDriver(tmp_path, 3, cluster=True, delegate=False)
    yield driver
    driver.fleet.close()


async def call(
    host: HostDriver, class_name: str, name: str, method: str, **args: Value
) -> MethodReply:
    return await host.engine.invoke(
        CLUSTER_NAMESPACE, class_name, {"Name": name}, method, args, CALLER
    )


async def group(host: HostDriver, name: str = "web") -> dict[str, Value]:
    row = await host.engine.get(CLUSTER_NAMESPACE, GROUP, {"Name": name})
    return row.values


async def clustered(host: HostDriver, name: str = "web") -> str:
    guid = await host.build(name, folder=VOLUME)
    reply = await call(host, CLUSTER, "HYPERV-CLUSTER", "AddVirtualMachine", VirtualMachine=guid)
    assert reply.return_value is None
    return guid


async def settled(host: HostDriver, name: str = "web") -> dict[str, Value]:
    """Let time pass until a group is not pending any more."""
    for _ in range(200):
        values = await group(host, name)
        if values["State"] != PENDING:
            return values
        host.clock.advance(0.1)
    raise AssertionError("the group stays pending")


async def test_only_nodes_have_the_namespace(nodes: FleetDriver) -> None:
    for host in (nodes[0], nodes[1]):
        rows = await host.rows("MSCluster_Node", CLUSTER_NAMESPACE)
        assert [row.values["Name"] for row in rows] == ["HYPERV1", "HYPERV2"]
        (cluster,) = await host.rows(CLUSTER, CLUSTER_NAMESPACE)
        assert cluster.values["Name"] == "HYPERV-CLUSTER"
        assert cluster.values["ClusterFunctionalLevel"] == 10
    with pytest.raises(CimFault) as refused:
        await nodes[2].rows(CLUSTER, CLUSTER_NAMESPACE)
    assert refused.value.code == WmiCode.INVALID_NAMESPACE


async def test_the_shared_volume_is_one_folder_on_both_nodes(nodes: FleetDriver) -> None:
    assert await nodes[0].create_disk(VOLUME + r"\shared.vhdx", 2**20) == 0
    assert nodes[1].file(VOLUME + r"\shared.vhdx").is_file()
    assert nodes[0].file(VOLUME) == nodes[1].file(VOLUME)
    with pytest.raises(FileNotFoundError):
        nodes[2].file(VOLUME + r"\shared.vhdx").stat()
    (volume,) = await nodes[1].rows("MSCluster_ClusterSharedVolume", CLUSTER_NAMESPACE)
    assert volume.values["Name"] == VOLUME
    mounted = [
        row.values["Name"]
        for row in await nodes[0].rows("Win32_Volume", "root/cimv2")
        if row.values["FileSystem"] == "CSVFS"
    ]
    assert mounted == [VOLUME + "\\"]


async def test_a_machine_becomes_a_role(nodes: FleetDriver) -> None:
    host = nodes[0]
    guid = await clustered(host)
    for node in (nodes[0], nodes[1]):
        values = await group(node)
        assert (values["State"], values["OwnerNode"]) == (ONLINE, "HYPERV1")
        assert values["GroupType"] == 111
        resources = await node.query(
            "SELECT * FROM MSCluster_Resource WHERE Type = 'Virtual Machine'", CLUSTER_NAMESPACE
        )
        (private,) = [row.values["PrivateProperties"] for row in resources]
        assert isinstance(private, Row)
        assert str(private.values["VmID"]).upper() == guid
    parts = await host.query(
        f'ASSOCIATORS OF {{{GROUP}.Name="web"}} WHERE ResultClass={RESOURCE}', CLUSTER_NAMESPACE
    )
    assert {row.values["Name"] for row in parts} == {
        "Virtual Machine web",
        "Virtual Machine Configuration web",
    }
    change = Row(
        "Msvm_VirtualSystemSettingData",
        {"InstanceID": f"Microsoft:{guid}", "AutomaticStartupAction": 4},
    )
    reply = await host.call(VSMS, "ModifySystemSettings", SystemSettings=change)
    assert reply.return_value == 32775
    with pytest.raises(CimFault):
        await call(host, CLUSTER, "HYPERV-CLUSTER", "AddVirtualMachine", VirtualMachine=guid)


async def test_local_machines_cannot_be_roles(nodes: FleetDriver) -> None:
    guid = await nodes[0].build(folder=r"C:\vms")
    with pytest.raises(CimFault, match="0x800713d3"):
        await call(nodes[0], CLUSTER, "HYPERV-CLUSTER", "AddVirtualMachine", VirtualMachine=guid)
    with pytest.raises(CimFault, match="0x80071394"):
        await call(nodes[0], CLUSTER, "HYPERV-CLUSTER", "AddVirtualMachine", VirtualMachine="none")


@pytest.mark.parametrize(
    "octets", [None, list(LIVE), list(QUICK)], ids=["default", "live", "quick"]
)
async def test_a_role_moves_alive_and_without_delegation(
    nodes: FleetDriver, octets: list[int] | None
) -> None:
    first, second = nodes[0], nodes[1]
    guid = await clustered(first)
    job = await first.migrate(guid, VM, "HYPERV2", caller=NTLM)
    assert job.return_value == 32775  # the cluster moves its machines itself
    if octets is None:
        await call(second, GROUP, "web", "MoveToNewNode", NodeName="HYPERV2", TimeOut=0)
    else:
        await call(
            second, GROUP, "web", "MoveToNewNodeParams", NodeName="hyperv2", Parameters=octets
        )
    assert (await group(first))["State"] == PENDING
    assert (await group(first))["OwnerNode"] == "HYPERV1"
    values = await settled(first)
    values = await settled(second)
    assert (values["State"], values["OwnerNode"]) == (ONLINE, "HYPERV2")
    assert await first.names() == set()
    assert await second.enabled_state(guid) == 2
    assert second.file(f"{VOLUME}\\Virtual Machines\\{guid}.vmcx").is_file()
    await call(first, GROUP, "web", "MoveToNewNode", NodeName="")
    assert (await settled(first))["OwnerNode"] == "HYPERV1"


async def test_roles_start_and_stop_through_the_cluster(nodes: FleetDriver) -> None:
    first, second = nodes[0], nodes[1]
    guid = await clustered(first)
    await call(second, GROUP, "web", "TakeOffline", TimeOut=0, Flags=0)
    assert (await settled(second))["State"] == OFFLINE
    assert await first.enabled_state(guid) == 6
    await call(second, GROUP, "web", "MoveToNewNode", NodeName="HYPERV2")
    assert (await settled(first))["OwnerNode"] == "HYPERV2"
    assert await second.enabled_state(guid) == 6
    await call(first, RESOURCE, "Virtual Machine web", "BringOnline", TimeOut=0)
    assert (await settled(first))["State"] == ONLINE
    assert await second.enabled_state(guid) == 2


async def test_what_is_turned_off_behind_its_back_is_started_again(nodes: FleetDriver) -> None:
    host = nodes[0]
    guid = await clustered(host)
    assert await host.state(guid, 3) == 0
    assert await host.enabled_state(guid) == 3
    host.clock.advance(5)
    assert await host.enabled_state(guid) == 2
    host.clock.advance(20)
    assert await host.state(guid, 4) == 0  # its guest shuts down
    host.clock.advance(10)
    assert await host.enabled_state(guid) == 3


async def test_a_destroyed_role_leaves_its_machine(nodes: FleetDriver) -> None:
    host = nodes[0]
    guid = await clustered(host)
    with pytest.raises(CimFault, match="0x80071397"):
        await call(host, GROUP, "web", "DeleteGroup")
    await call(host, GROUP, "web", "DestroyGroup", Options=0)
    assert [r.values["Name"] for r in await host.rows(GROUP, CLUSTER_NAMESPACE)] == [
        "Available Storage"
    ]
    assert await host.enabled_state(guid) == 2
    assert await host.state(guid, 3) == 0
    host.clock.advance(10)
    assert await host.enabled_state(guid) == 3


async def test_a_lost_node_s_roles_start_on_the_other(nodes: FleetDriver) -> None:
    first, second = nodes[0], nodes[1]
    guid = await clustered(first)
    content = first.content(await first.disk_path(guid))
    cluster = nodes.fleet.cluster
    assert cluster is not None
    cluster.lose_node("HYPERV1")
    second.clock.advance(5)
    values = await settled(second)
    assert (values["State"], values["OwnerNode"]) == (ONLINE, "HYPERV2")
    assert await second.enabled_state(guid) == 2
    assert await first.names() == set()
    assert second.content(await second.disk_path(guid)) == content
    (lost, _) = await second.rows("MSCluster_Node", CLUSTER_NAMESPACE)
    assert lost.values["State"] == 1
    with pytest.raises(CimFault, match="0x800713ba"):
        await call(second, GROUP, "web", "MoveToNewNode", NodeName="HYPERV1")
    cluster.recover_node("HYPERV1")
    await call(second, GROUP, "web", "MoveToNewNode", NodeName="HYPERV1")
    assert (await settled(second))["OwnerNode"] == "HYPERV1"


async def test_a_paused_node_is_drained(nodes: FleetDriver) -> None:
    first, second = nodes[0], nodes[1]
    await clustered(first)
    await call(second, "MSCluster_Node", "HYPERV1", "Pause", DrainType=1, TargetNode="")
    assert (await settled(second))["OwnerNode"] == "HYPERV2"
    (paused, _) = await second.rows("MSCluster_Node", CLUSTER_NAMESPACE)
    assert paused.values["State"] == 2
    with pytest.raises(CimFault):
        await call(second, GROUP, "web", "MoveToNewNode", NodeName="HYPERV1")
    await call(second, "MSCluster_Node", "HYPERV1", "Resume", FailbackType=0)
    await call(second, GROUP, "web", "MoveToNewNode", NodeName="HYPERV1")
    assert (await settled(second))["OwnerNode"] == "HYPERV1"


async def test_a_move_that_fails_leaves_the_role_where_it_is(nodes: FleetDriver) -> None:
    first, second = nodes[0], nodes[1]
    guid = await clustered(first)
    (switch,) = [s for s in second.host.switches if s.name == "External"]
    second.host.switches.remove(switch)
    await call(first, GROUP, "web", "MoveToNewNode", NodeName="HYPERV2")
    values = await settled(first)
    assert (values["State"], values["OwnerNode"]) == (ONLINE, "HYPERV1")
    assert await first.enabled_state(guid) == 2


async def test_roles_survive_the_end_of_the_emulation(tmp_path: Path) -> None:
    driver = FleetDriver(tmp_path, 2, cluster=True)
    guid = await clustered(driver[0])
    await call(driver[0], GROUP, "web", "MoveToNewNode", NodeName="HYPERV2")
    await settled(driver[0])
    await settled(driver[1])
    driver.fleet.close(keep_running=True)
    again = Fleet(driver.fleet.plan, driver.clock)
    host = HostDriver(again["hyperv2"], driver.clock)
    values = await settled(host)
    assert (values["State"], values["OwnerNode"]) == (ONLINE, "HYPERV2")
    assert await host.enabled_state(guid) == 2
    again.close()


def test_property_lists_are_read_as_they_are_written() -> None:
    assert read_numbers(LIVE) == {"Virtual Machine": 4, "Virtual Machine Configuration": 4}
    # One entry by hand: count, name syntax, length, "A\0", padding, DWORD syntax, 4, 9, end mark.
    raw = bytes.fromhex("01000000 03000400 04000000 41000000 02000100 04000000 09000000 00000000")
    assert read_numbers(raw) == {"A": 9}
    assert write_numbers({"A": 9}) == raw


@pytest.mark.parametrize("cut", range(1, len(LIVE), 7))
def test_property_lists_that_end_too_early_are_refused(cut: int) -> None:
    with pytest.raises(BadPropertyList):
        read_numbers(LIVE[:cut])


async def test_unmodelled_methods_say_so(nodes: FleetDriver) -> None:
    await clustered(nodes[0])
    with pytest.raises(CimFault) as refused:
        await call(nodes[0], GROUP, "web", "CancelOperation", Flags=0)
    assert refused.value.code == WmiCode.NOT_SUPPORTED
