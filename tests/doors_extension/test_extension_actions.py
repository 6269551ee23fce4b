"""Custom actions: checkpoints, sizes, disks, statistics; and what is refused."""

from typing import Any

import pytest
from tests.doors_extension.extension_stage import DISKS, NAME, ROOT, Site

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor.devices import Devices, read_devices
from cloudstack_hyperv.vhd import OsFile, open_disk

GIB = 2**30


@pytest.fixture
async def made(agent_site: Site) -> Site:
    """A site with the VM running, generation 2 so that all its disks are on SCSI."""
    await agent_site.must("create", agent_site.payload(machine={"generation": "2"}))
    return agent_site


async def devices_of(place: Site) -> Devices:
    machine = await place.machine()
    assert machine is not None
    client = place.emulation.client()
    try:
        return await read_devices(client, machine.guid, NAME)
    finally:
        await client.close()


def asking(place: Site, **parameters: Any) -> dict[str, Any]:
    return place.payload("custom-createsnapshot", parameters=parameters)


async def test_snapshots_are_taken_gone_back_to_and_deleted(made: Site) -> None:
    hostile = "a'b\"; Remove-VM * #`$(x)\u00e9"
    await made.must("createsnapshot", asking(made, snapshot_name=hostile))
    await made.must("createsnapshot", asking(made, snapshot_name=hostile))
    off = asking(made, snapshot_name="second", snapshot_save_memory=False)
    await made.must("createsnapshot", off)
    rows = (await made.must("listsnapshots", asking(made))).json["message"]
    assert [row["Name"] for row in rows] == [hostile, "second"]
    assert [row["Parent"] for row in rows] == ["", hostile]
    await made.must("restoresnapshot", asking(made, snapshot_name=hostile))
    machine = await made.machine()
    assert machine is not None
    assert machine.state == EnabledState.ENABLED
    assert not machine.is_kept
    for name in (hostile, "second", "second"):
        await made.must("deletesnapshot", asking(made, snapshot_name=name))
    assert (await made.must("listsnapshots", asking(made))).json["message"] == []
    missing = await made.run("restoresnapshot", asking(made, snapshot_name="second"))
    assert missing.status == 1


async def test_a_vm_with_snapshots_is_deleted_with_all_its_files(made: Site) -> None:
    await made.must("createsnapshot", asking(made, snapshot_name="one"))
    await made.must("createsnapshot", asking(made, snapshot_name="two"))
    await made.must("delete", made.payload("stop"))
    assert await made.machine() is None
    assert list(made.emulation.path(DISKS).iterdir()) == []


async def test_disks_are_attached_detached_and_deleted_with_the_vm(made: Site) -> None:
    foreign = made.emulation.make_disk("archive", folder=r"C:\Archive")
    await made.must("attach", asking(made, size_gb=1))
    await made.must("attach", asking(made, path=foreign))
    again = await made.must("attach", asking(made, path=foreign.lower()))
    assert "is attached" in again.json["message"]
    files = {d.medium.file for d in (await devices_of(made)).drives if d.medium}
    assert files == {ROOT, rf"{DISKS}\{NAME}-1.vhdx", foreign}
    refused = await made.run("detach", asking(made, path=ROOT))
    assert refused.status == 1
    await made.must("detach", asking(made, path=foreign))
    await made.must("attach", asking(made, path=foreign))
    deleted = await made.must("delete", made.payload("stop"))
    assert foreign in deleted.json["message"]
    assert made.emulation.path(foreign).exists()
    assert list(made.emulation.path(DISKS).iterdir()) == []


async def test_an_iso_goes_in_and_out(made: Site) -> None:
    iso = made.emulation.path(r"C:\isos\tools.iso")
    iso.parent.mkdir()
    iso.write_bytes(bytes(16 * 2048) + b"\x01CD001\x01" + bytes(2048 - 7))
    await made.must("attach", asking(made, iso_path=r"C:\isos\tools.iso"))
    assert any(d.medium and d.medium.file.endswith("tools.iso")
               for d in (await devices_of(made)).drives)  # fmt: skip
    await made.must("detach", asking(made, iso_path=""))
    assert not any(d.medium and d.medium.file.endswith("tools.iso")
                   for d in (await devices_of(made)).drives)  # fmt: skip


async def test_a_disk_grows_while_the_vm_runs_and_never_shrinks(made: Site) -> None:
    await made.must("resize", asking(made, size_gb="2"))
    assert (await made.run("resize", asking(made, size_gb=1))).status == 1
    assert (await made.run("resize", asking(made, size_gb="much"))).status == 1
    await made.must("stop", made.payload("stop"))
    with OsFile(made.emulation.path(ROOT)) as file, open_disk(file) as disk:
        assert disk.virtual_size == 2 * GIB
    unknown = await made.run("resize", asking(made, size_gb=3, disk="other.vhdx"))
    assert unknown.status == 1
    assert ROOT.rpartition("\\")[2] in unknown.json["error"]


async def test_memory_is_scaled_and_processors_only_while_off(made: Site) -> None:
    await made.must("scale", asking(made, memory_mb=2048))
    refused = await made.run("scale", asking(made, cpus=4))
    assert refused.status == 1
    assert "stop" in refused.json["error"]
    await made.must("stop", made.payload("stop"))
    await made.must("scale", asking(made, cpus=4, memory_mb="4096"))
    rows = {row.class_name: row for row in (await devices_of(made)).rows}
    assert rows["Msvm_ProcessorSettingData"].uint("VirtualQuantity") == 4
    assert rows["Msvm_MemorySettingData"].uint("VirtualQuantity") == 4096


async def test_statistics_are_a_table(made: Site) -> None:
    shown = (await made.must("stats", asking(made))).json
    assert shown["printmessage"] == "true"
    assert {"CPU %", "memory KiB"} <= {row["Value"] for row in shown["message"]}


@pytest.mark.parametrize(
    ("action", "parameters", "words"),
    [
        ("getconsole", {}, "not configured"),
        ("migrate", {}, "destination"),
        ("createsnapshot", {}, "snapshot_name"),
        ("createsnapshot", {"snapshot_name": "x" * 101}, "100"),
        ("createsnapshot", {"snapshot_name": "a\nb"}, "printable"),
        ("createsnapshot", {"snapshot_name": {"a": 1}}, "snapshot_name"),
        ("createsnapshot", {"snapshot_name": "s", "snapshot_save_memory": "maybe"}, "true nor"),
        ("scale", {}, "cpus"),
        ("scale", {"cpus": "-1"}, "whole number"),
        ("attach", {}, "size_gb"),
        ("attach", {"path": r"C:\absent.vhdx"}, "does not exist"),
        ("attach", {"path": r"..\..\x.vhdx"}, "absolute"),
        ("detach", {}, "path"),
        ("com.cloud.agent.api.GetVmStatsCommand", {}, "no action"),
        ("install'; rm -rf / #", {}, "no action"),
    ],
)
async def test_what_cannot_be_done_is_said(
    agent_site: Site, action: str, parameters: dict[str, Any], words: str
) -> None:
    ended = await agent_site.run(action, asking(agent_site, **parameters))
    assert ended.status == 1
    assert set(ended.json) == {"status", "error"}
    if action != "getconsole" and words not in ended.json["error"]:
        assert "has no VM" in ended.json["error"]
    else:
        assert words in ended.json["error"]


async def test_migrate_needs_a_destination_that_takes_part(made: Site) -> None:
    ended = await made.run("migrate", asking(made, destination="192.0.2.99"))
    assert ended.status == 1
    machine = await made.machine()
    assert machine is not None
    assert machine.state == EnabledState.ENABLED


@pytest.mark.parametrize(
    "name",
    ['x"; Remove-VM * ; "', "$(calc)", "i-2-17-VM'", "i 2", "..\\..\\x", "a`n", "", "*", "Ä"],
)
async def test_no_name_gets_past_the_check(agent_site: Site, name: str) -> None:
    for action in ("create", "status", "stop", "delete", "start"):
        ended = await agent_site.run(action, agent_site.payload(vm={"name": name}))
        assert ended.status == 1, (action, ended)
    assert list(agent_site.emulation.path(DISKS).iterdir()) == []


async def test_paths_with_shell_characters_are_just_paths(tmp_path: Any, agent_site: Site) -> None:
    place = agent_site
    folder = r"C:\a & b; $(x) 'q' `n"
    place.emulation.path(folder).mkdir()
    template = place.emulation.make_disk("t%PATH%", folder=folder)
    payload = place.payload(host={"vhd_path": folder}, machine={"template_path": template})
    await place.must("create", payload)
    assert place.emulation.path(rf"{folder}\{NAME}.vhdx").exists()
    await place.must("delete", payload)
    assert not place.emulation.path(rf"{folder}\{NAME}.vhdx").exists()
    for bad in (r"C:\x\..\y", r"\\.\PhysicalDrive0", "C:relative", r"\\server\share\disks"):
        refused = await place.run("create", place.payload(host={"vhd_path": bad}))
        assert refused.status == 1, bad
        assert await place.machine() is None


async def test_a_long_list_stays_below_the_pipe(tmp_path: Any) -> None:
    from cloudstack_hyperv.doors.extension.outcome import MOST_OUTPUT, failed, table

    shown = table([{"Name": f"snapshot {number} " + "x" * 80} for number in range(5000)])
    assert len(shown.text) <= MOST_OUTPUT
    assert "more" in shown.text
    assert len(failed("\u00e4" * 10**6).text) <= MOST_OUTPUT
