"""StartupCommand: the array comes back complete, with what the host says of itself."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.emulation import HOST_ADDRESS, POOL, Emulation, agent_context, running_emulation

from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.resource.storage_access import local_pool_uuid, storage_access

ROUTING = "com.cloud.agent.api.StartupRoutingCommand"
STORAGE = "com.cloud.agent.api.StartupStorageCommand"
ECHOED = {
    "dataCenter": "1",
    "pod": "1",
    "cluster": "1",
    "guid": "0a8d2c4e-6f10-3b52-9d74-8c6e4a2b0f13-HypervResource",
    "name": HOST_ADDRESS,
    "privateIpAddress": HOST_ADDRESS,
}


def posted(**changes: Any) -> bytes:
    """What a stock management server posts."""
    command = {
        "cpus": 0,
        "speed": 0,
        "memory": 0,
        "dom0MinMemory": 0,
        "hypervisorType": "Hyperv",
        "hostDetails": {"com.cloud.network.Networks.RouterPrivateIpStrategy": "HostLocal"},
        "hostTags": [],
        "type": "Routing",
        "version": "4.22.0.0",
        "storageIpAddress": HOST_ADDRESS,
        "connectionTransferred": False,
        "contextMap": {},
        "wait": 0,
        "aFieldOfTomorrow": {"x": 1},
        **ECHOED,
        **changes,
    }
    return json.dumps([{ROUTING: command}]).encode()


async def started(resource: Resource, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    reply = json.loads(await resource.startup(posted(**changes)))
    assert [list(element) for element in reply] == [[ROUTING], [STORAGE]]
    return reply[0][ROUTING], reply[1][STORAGE]


async def test_startup_command_is_completed_and_echoed(
    resource: Resource, emulated_host: Emulation
) -> None:
    routing, storage = await started(resource)
    assert {key: routing[key] for key in ECHOED} == ECHOED
    assert routing["aFieldOfTomorrow"] == {"x": 1}
    config = emulated_host.host.config
    assert routing["cpus"] == config.logical_processors
    assert routing["cpuSockets"] == config.sockets
    assert routing["speed"] == config.mhz
    assert routing["memory"] == config.memory_mib << 20
    assert routing["dom0MinMemory"] == 2048 << 20
    assert routing["privateNetmask"] == "255.255.255.0"
    assert routing["gatewayIpAddress"] == "192.0.2.1"
    assert routing["privateMacAddress"].count(":") == 5
    assert routing["privateMacAddress"] == routing["storageMacAddress"]
    assert routing["hypervisorVersion"] == "6.2"
    details = routing["hostDetails"]
    assert details["product_version"] == "6.2"
    assert details["rdp.server.port"] == "2179"
    assert details["Host.OS.Version"] == "10.0.17763"
    assert details["Host.OS.Kernel.Version"] == "17763"
    assert "Windows Server 2019" in details["Host.OS"]
    assert details["emulated"] == "true"
    assert details["com.cloud.network.Networks.RouterPrivateIpStrategy"] == "HostLocal"
    pool = storage["poolInfo"]
    assert storage["resourceType"] == "STORAGE_POOL"
    assert storage["guid"] == pool["uuid"]
    assert storage["dataCenter"] == "1"
    assert (pool["host"], pool["localPath"], pool["poolType"]) == (HOST_ADDRESS, POOL, "Filesystem")
    assert 0 < pool["availableBytes"] <= pool["capacityBytes"]


async def test_startup_command_takes_few_round_trips(
    resource: Resource, capsys: pytest.CaptureFixture[str]
) -> None:
    await resource.startup(posted())
    line = next(line for line in capsys.readouterr().out.splitlines() if "host data" in line)
    assert int(line.partition("round_trips=")[2].split()[0]) <= 8


async def test_startup_command_names_the_same_pool_every_time(emulated_host: Emulation) -> None:
    uuids = set()
    for _ in range(2):
        async with agent_context(emulated_host) as context:
            _, storage = await started(Resource(context))
            uuids.add(storage["poolInfo"]["uuid"])
    assert uuids == {local_pool_uuid(HOST_ADDRESS, POOL.lower())}


async def test_startup_command_refuses_an_address_that_no_interface_holds(
    resource: Resource,
) -> None:
    with pytest.raises(HypervisorError, match=r"no network interface.*198\.51\.100\.9.*192\.0\.2"):
        await started(resource, privateIpAddress="198.51.100.9")
    with pytest.raises(CommandRefused, match="privateIpAddress"):
        await started(resource, privateIpAddress=None)


async def test_startup_command_without_local_pool_still_has_two_elements(
    emulated_host: Emulation,
) -> None:
    async with agent_context(emulated_host, offer_local_pool=False, emulated=False) as context:
        routing, storage = await started(Resource(context))
    assert "emulated" not in routing["hostDetails"]
    assert storage["resourceType"] == "STORAGE_POOL"
    assert "poolInfo" not in storage
    assert storage["guid"]


async def test_startup_command_offers_hyper_vs_default_folder(emulated_host: Emulation) -> None:
    async with agent_context(emulated_host, local_pool=None) as context:
        _, storage = await started(Resource(context))
    assert storage["poolInfo"]["localPath"] == emulated_host.host.config.disk_folder


async def test_startup_command_removes_what_a_crashed_copy_left(
    resource: Resource, emulated_host: Emulation
) -> None:
    pool = emulated_host.path(POOL)
    with storage_access(resource.context).temporary.beside(f"{POOL}\\a.vhdx") as path:
        leftover = pool / path.rpartition("\\")[2]
    for file in (leftover, pool / "volume.vhdx"):
        file.touch()
        os.utime(file, (time.time() - 3600,) * 2)
    await started(resource)
    assert [path.name for path in pool.iterdir()] == ["volume.vhdx"]


async def test_startup_command_refuses_to_keep_all_memory(emulated_host: Emulation) -> None:
    async with agent_context(emulated_host, reserved_memory_mb=1 << 20) as context:
        with pytest.raises(CommandRefused, match="reserved_memory_mb"):
            await started(Resource(context))


@pytest.mark.parametrize("release", ["2012r2", "2025"])
async def test_startup_command_says_6_2_on_every_release(tmp_path: Path, release: str) -> None:
    async with (
        running_emulation(tmp_path, release=release) as emulation,
        agent_context(emulation) as context,
    ):
        routing, _ = await started(Resource(context))
    assert routing["hypervisorVersion"] == routing["hostDetails"]["product_version"] == "6.2"
    assert routing["hostDetails"]["Host.OS.Version"] != "6.2"
