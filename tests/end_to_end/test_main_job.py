"""The main job as a user runs it: `cloudstack-hyperv demo`, three processes, exit status 0."""

import subprocess
import sys
from pathlib import Path

import pytest

from cloudstack_hyperv.demo.observer import changes
from cloudstack_hyperv.demo.stage import make_template, same_content
from cloudstack_hyperv.vhd import OsFile, open_disk

MIB = 2**20


@pytest.mark.timeout(180)
def test_the_demo_plays_a_vm_s_whole_life(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "cloudstack_hyperv", "demo", "--plain", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for command in (
        "ReadyCommand",
        "StartupCommand",
        "SetupCommand",
        "CheckNetworkCommand",
        "ModifyStoragePoolCommand",
        "CopyCommand",
        "CreateObjectCommand",
        "StartCommand",
        "AttachCommand",
        "HostVmStateReportCommand",
        "PingRoutingCommand",
        "GetHostStatsCommand",
        "GetVmStatsCommand",
        "GetStorageStatsCommand",
        "CheckVirtualMachineCommand",
        "RebootCommand",
        "DettachCommand",
        "StopCommand",
        "DeleteCommand",
    ):
        assert command in ended.stdout
    assert "VM i-2-17-VM: NIC 0200512C000E VLAN: 261" in ended.stdout
    for log in tmp_path.glob("*.log"):
        text = log.read_text()
        assert "s3cr3t" not in text, log.name
        assert "31f82f29aff646eb" not in text, log.name
        assert (tmp_path / "administrator.password").read_text().strip() not in text, log.name
        assert "Traceback" not in text, log.name


def test_a_volume_that_differs_is_noticed(tmp_path: Path) -> None:
    template, volume = tmp_path / "t.vhdx", tmp_path / "v.vhdx"
    make_template(template, virtual_size=64 * MIB, data=4 * MIB)
    volume.write_bytes(template.read_bytes())
    assert same_content(template, volume, 64 * MIB) == []
    assert same_content(template, volume, 32 * MIB) != []
    assert same_content(template, tmp_path / "absent.vhdx", 64 * MIB) != []
    with OsFile(volume, writable=True) as file, open_disk(file, writable=True) as disk:
        disk.write(63 * MIB - 1, b"x")
    assert "differs" in same_content(template, volume, 64 * MIB)[0]


def test_changes_are_told_in_words() -> None:
    before = {"VM a": "off", "VM a: memory": "1024 MiB", "VM b": "off", "VM b: memory": "1 MiB"}
    after = {"VM a": "running", "VM a: memory": "1024 MiB", "file x": "7 bytes"}
    assert changes(before, after) == ["+ file x: 7 bytes", "~ VM a: off -> running", "- VM b"]
