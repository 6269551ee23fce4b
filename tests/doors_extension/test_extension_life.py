"""A VM's life by the extension: real processes, through an agent and straight to the host."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.doors_extension.extension_stage import (
    DISKS,
    NAME,
    PAYLOADS,
    ROOT,
    TEMPLATE,
    Site,
    agent,
    recorded,
    site,
)
from tests.emulation import running_emulation

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor.adapters import read_adapters
from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.vhd import OsFile, open_disk

GIB = 2**30
RECORDED = {entry["call"]: entry for entry in json.loads((PAYLOADS / "index.json").read_text())}


@pytest.mark.parametrize("way", [pytest.param("straight", marks=pytest.mark.slow), "agent"])
async def test_a_whole_life_with_the_answers_that_were_recorded(
    straight_site: Site, way: str
) -> None:
    if way == "agent":
        async with agent(straight_site):
            await _life(straight_site)
    else:
        await _life(straight_site)


async def _life(place: Site) -> None:
    async def expect(call: str, action: str, payload: dict[str, Any]) -> None:
        ended = await place.run(action, payload)
        name, body = next(iter(RECORDED[call]["answer"].items()))
        made = ended.answer(action)[name]
        if body.get("details"):
            assert set(ended.json) == {"status", "message"}
            assert made | {"details": ""} == body | {"details": ""}, ended
        else:
            assert made == body, ended

    first = place.payload("create")
    later = place.payload("stop")
    await expect("prepare-empty-output", "prepare", place.payload("prepare"))
    await expect("create", "create", first)
    machine = await place.machine()
    assert machine is not None
    assert machine.state == EnabledState.ENABLED
    assert machine.ownership is not None
    assert machine.ownership.uuid == first["virtualmachineid"]
    assert (await place.run("status", later)).json["power_state"] == "poweron"
    await expect("reboot", "reboot", later)
    await expect("custom-createsnapshot", "createsnapshot", place.payload("custom-createsnapshot"))
    listed = (await place.run("listsnapshots", later)).json
    assert listed["printmessage"] == "true"
    assert [row["Name"] for row in listed["message"]] == ["before-upgrade"]
    assert listed["message"][0]["CreationTime"].startswith("20")
    await expect("stop", "stop", later)
    assert (await place.run("status", later)).json["power_state"] == "poweroff"
    assert place.emulation.path(ROOT).exists()
    await expect("start", "start", later)
    assert (await place.run("status", later)).json["power_state"] == "poweron"
    await expect("delete", "delete", later)
    assert await place.machine() is None
    assert list(place.emulation.path(DISKS).iterdir()) == []
    assert place.emulation.path(TEMPLATE).exists()
    await expect("delete", "delete", later)
    await expect("stop", "stop", later)
    ended = await place.run("status", later)
    assert ended.status == 1
    assert NAME in ended.json["error"]


async def test_create_makes_what_the_payload_says(agent_site: Site) -> None:
    place = agent_site
    await place.must("create", place.payload(machine={"vhd_size_gb": "1"}))
    machine = await place.machine()
    assert machine is not None
    client = place.emulation.client()
    devices = await read_devices(client, machine.guid, NAME)
    adapters = await read_adapters(client, machine)
    await client.close()
    assert devices.generation == 1
    assert [str(drive.address) for drive in devices.drives] == ["IDE 0:0", "IDE 1:0"]
    assert [(a.adapter.mac, a.vlan) for a in adapters] == [
        ("0200512C000E", 261),
        ("0200512C000F", 262),
    ]
    await place.must("stop", place.payload("stop"))
    with OsFile(place.emulation.path(ROOT)) as file, open_disk(file) as disk:
        assert disk.virtual_size == GIB


@pytest.mark.parametrize("generation", [2, "2"])
async def test_generation_2_is_made_from_a_number_and_from_a_text(
    agent_site: Site, generation: Any
) -> None:
    place = agent_site
    await place.must("create", place.payload(machine={"generation": generation}))
    machine = await place.machine()
    assert machine is not None
    client = place.emulation.client()
    devices = await read_devices(client, machine.guid, NAME)
    await client.close()
    assert devices.generation == 2


async def test_a_vm_from_an_iso_gets_an_empty_disk(agent_site: Site) -> None:
    place = agent_site
    iso = place.emulation.path(r"C:\isos\installer.iso")
    iso.parent.mkdir()
    iso.write_bytes(bytes(16 * 2048) + b"\x01CD001\x01" + bytes(2048 - 7))
    machine = {
        "template_type": "iso", "iso_path": r"C:\isos\installer.iso", "vhd_size_gb": "8",
    }  # fmt: skip
    await place.must("create", place.payload(machine=machine))
    found = await place.machine()
    assert found is not None
    client = place.emulation.client()
    devices = await read_devices(client, found.guid, NAME)
    await client.close()
    files = [drive.medium.file for drive in devices.drives if drive.medium]
    assert files == [ROOT, r"C:\isos\installer.iso"]
    await place.must("delete", place.payload("stop"))
    assert iso.exists()


async def test_vlan_untagged_and_several_switches(tmp_path: Path, agent_site: Site) -> None:
    place = agent_site
    nics = recorded("create")["cloudstack.vm.details"]["nics"]
    nics[0] |= {"broadcastUri": "vlan://untagged", "isolationUri": "vlan://untagged"}
    nics[1] |= {"name": "storage net"}
    payload = place.payload(
        vm={"nics": nics},
        host={"network_switch_Storage Net": "Absent", "network_switch": "External"},
    )
    refused = await place.run("create", payload)
    assert refused.status == 1
    assert "Absent" in refused.json["error"]
    assert not place.emulation.path(ROOT).exists()
    payload = place.payload(
        vm={"nics": nics},
        host={"network_switch_Storage Net": "External", "network_switch": "Other"},
    )
    payload["cloudstack.vm.details"]["nics"] = nics[1:]
    await place.must("create", payload)
    payload = place.payload(vm={"nics": nics})
    await place.must("stop", payload)
    await place.must("start", payload)
    machine = await place.machine()
    assert machine is not None
    client = place.emulation.client()
    adapters = await read_adapters(client, machine)
    await client.close()
    assert [a.vlan for a in adapters] == [None, 262], "the NICs of today, not those of create"


async def test_start_gives_the_size_that_cloudstack_has_now(agent_site: Site) -> None:
    place = agent_site
    await place.must("create", place.payload())
    await place.must("stop", place.payload("stop"))
    bigger = place.payload("stop", vm={"cpus": 4, "minRam": 2 * GIB, "maxRam": 2 * GIB})
    await place.must("start", bigger)
    machine = await place.machine()
    assert machine is not None
    client = place.emulation.client()
    rows = (await read_devices(client, machine.guid, NAME)).rows
    await client.close()
    sizes = {row.class_name: row.uint("VirtualQuantity") for row in rows}
    assert sizes["Msvm_ProcessorSettingData"] == 4
    assert sizes["Msvm_MemorySettingData"] == 2048


async def test_suspend_and_resume(agent_site: Site) -> None:
    place = agent_site
    payload = place.payload("stop")
    await place.must("create", place.payload())
    await place.must("suspend", payload)
    assert (await place.run("status", payload)).json["power_state"] == "unknown"
    await place.must("resume", payload)
    assert (await place.run("status", payload)).json["power_state"] == "poweron"


async def test_create_twice_makes_one_vm(agent_site: Site) -> None:
    place = agent_site
    await place.must("create", place.payload())
    before = await place.machine()
    await place.must("create", place.payload())
    after = await place.machine()
    assert before is not None
    assert after is not None
    assert after.guid == before.guid


async def test_a_create_that_fails_leaves_nothing(tmp_path: Path) -> None:
    async with running_emulation(tmp_path, memory_mib=4096) as emulation:
        with site(emulation, tmp_path) as place:
            size = {"minRam": 64 * GIB, "maxRam": 64 * GIB}
            ended = await place.run("create", place.payload(vm=size))
            assert ended.status == 1, ended
            assert "memory" in ended.json["error"]
            assert await place.machine() is None
            assert list(emulation.path(DISKS).iterdir()) == []


async def test_a_disk_of_that_name_is_never_overwritten(agent_site: Site) -> None:
    place = agent_site
    disk = place.emulation.path(place.emulation.make_disk(NAME, folder=DISKS))
    before = disk.read_bytes()
    ended = await place.run("create", place.payload())
    assert ended.status == 1
    assert "left alone" in ended.json["error"]
    assert disk.read_bytes() == before


async def test_a_vm_that_is_not_ours_is_left_alone(agent_site: Site) -> None:
    place = agent_site
    await place.must("create", place.payload())
    other = place.payload("stop", vm={"uuid": "11111111-0243-440a-8cc5-45d08815ca11"})
    for action in ("stop", "delete", "start", "reboot", "create"):
        ended = await place.run(action, other)
        assert ended.status == 1, action
        assert "left alone" in ended.json["error"]
    machine = await place.machine()
    assert machine is not None
    assert machine.state == EnabledState.ENABLED
