"""VMs on the nodes of a failover cluster: made roles, moved by it, stopped for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.resource_vm.commands import NAME, nic, start_command
from tests.resource_vm.test_migration_commands import (
    ADDRESSES,
    LOCAL_POOL,
    TEXT,
    Site,
    disk,
    machine_of,
    running_site,
    template,
)

from cloudstack_hyperv.emulator.host.cluster_properties import read_numbers
from cloudstack_hyperv.hypervisor.cluster import find_role, live_move
from cloudstack_hyperv.messages import Answer
from cloudstack_hyperv.messages.commands.migration import MigrateCommand
from cloudstack_hyperv.messages.commands.vm import StopCommand
from cloudstack_hyperv.messages.objects.storage import StorageFilerTO

VOLUME = r"C:\ClusterStorage\Volume1"
POOL = StorageFilerTO(uuid="csv", type="SharedMountPoint", host=ADDRESSES[0], path=VOLUME)
STOP = StopCommand(vm_name=NAME, force_stop=True)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(
        tmp_path,
        template=template(tmp_path),
        cluster=True,
        delegate=False,
        shared=VOLUME,
        configuration=VOLUME,
    ) as site:
        yield site


async def start(site: Site, pool: StorageFilerTO = POOL, **details: str) -> Answer:
    site.doors.make_disk(0, f"{pool.path}\\root.vhdx", TEXT)
    command = start_command(
        disks=[disk("root", pool)], nics=[nic(0, "vlan://261")], details=details
    )
    return await site.done(0, command)


async def role(site: Site, index: int = 0) -> str | None:
    machines = await site.machines(index)
    found = await find_role(site.agents[index].context.cim, machines[0].guid)
    return found.owner if found is not None else None


ROLE: dict[str, Any] = {"hyperv.cluster.role": "true"}


async def test_start_command_makes_a_cluster_role_when_asked(site: Site) -> None:
    answer = await start(site, **ROLE)
    assert answer.details is None
    assert await role(site) == "HYPERV1"


async def test_start_command_makes_no_cluster_role_unasked(site: Site) -> None:
    await start(site)
    assert await role(site) is None


async def test_start_command_says_why_a_vm_is_no_cluster_role(site: Site) -> None:
    answer = await start(site, LOCAL_POOL, **ROLE)
    assert "no cluster role" in (answer.details or "")
    assert [machine.state for machine in await site.machines(0)] == [2]


async def test_start_command_on_a_host_without_a_cluster_says_so(tmp_path: Path) -> None:
    async with running_site(tmp_path, template=template(tmp_path)) as site:
        answer = await start(site, LOCAL_POOL, **ROLE)
        assert "in no failover cluster" in (answer.details or "")


async def test_stop_command_of_a_cluster_role_is_not_undone_by_the_cluster(site: Site) -> None:
    await start(site, **ROLE)
    await site.done(0, STOP)
    assert await site.machines(0) == []
    await asyncio.sleep(0.5)
    assert await site.machines(0) == []
    assert await site.machines(1) == []
    assert site.text(0, f"{VOLUME}\\root.vhdx") == TEXT


async def test_migrate_command_moves_a_cluster_role_without_delegation(site: Site) -> None:
    await start(site, **ROLE)
    command = MigrateCommand(
        vm_name=NAME, destination_ip=ADDRESSES[1], virtual_machine=machine_of(POOL)
    )
    answer = await site.done(0, command)
    assert "the cluster moved" in (answer.details or "")
    assert await site.machines(0) == []
    assert [machine.state for machine in await site.machines(1)] == [2]
    assert await role(site, 1) == "HYPERV2"
    await site.done(1, STOP)
    assert await site.machines(1) == []


async def test_migrate_command_that_the_cluster_gives_up_leaves_the_vm_running(
    site: Site,
) -> None:
    await start(site, **ROLE)
    second = site.doors.fleet.hosts[1]
    (switch,) = [s for s in second.switches if s.name == "External"]
    second.switches.remove(switch)
    command = MigrateCommand(vm_name=NAME, destination_ip=ADDRESSES[1])
    assert "left it on HYPERV1" in await site.refused(0, command)
    await site.still_runs_on_the_source()


def test_live_move_is_a_property_list_that_says_live() -> None:
    assert read_numbers(live_move()) == {"Virtual Machine": 4, "Virtual Machine Configuration": 4}
