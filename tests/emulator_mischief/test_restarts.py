"""The emulated host as a process that is killed, and started again on its folder.

What a client was told stays true: every change whose answer arrived is there afterwards, and no
file of the state is ever half written.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.emulation import running_emulation
from tests.emulator_mischief.outsider import (
    MANAGEMENT,
    SYSTEM,
    Answer,
    Outsider,
    embedded,
    machine_key,
)

from cloudstack_hyperv.demo.processes import LoggedProcess
from cloudstack_hyperv.emulator.host import JobMode
from cloudstack_hyperv.emulator.mischief import Mischief
from cloudstack_hyperv.emulator.mischief.actions import AttachDisk, CheckpointVm

PASSWORD = "Emulated-1"


@contextmanager
def emulating(tmp_path: Path) -> Iterator[tuple[LoggedProcess, int]]:
    """Run an emulated host in a process of its own; yield it and its port."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    arguments = ["emulate", str(tmp_path / "host"), "--port", "0", "--basic"]
    process = LoggedProcess(
        "emulate", [*arguments, "--password-file", str(secret)], tmp_path / "log"
    )
    try:
        yield process, int(process.wait_for("emulated host listening")["port"])
    finally:
        process.stop()


async def done(client: Outsider, answer: Answer) -> None:
    """See a call through, whether it was answered 0 or with a job."""
    assert answer["ReturnValue"] in ("0", "4096"), answer
    if answer["ReturnValue"] == "4096":
        job = await client.job_ended(answer, "Msvm_ConcreteJob")
        assert job["JobState"] == "7", job


class Writer:
    """Changes machines without a pause, and knows what it was told."""

    def __init__(self, seed: int) -> None:
        self.told: dict[str, str] = {}
        """Names of machines by GUID, as of the last answers."""
        self.doubtful: set[str] = set()
        """GUIDs whose change was under way when the host died."""
        self._dice = random.Random(seed)

    async def write(self, client: Outsider) -> None:
        """Define and rename machines until the connection breaks."""
        number = 0
        while True:
            number += 1
            if not self.told or self._dice.random() < 0.3:
                answer = await client.define(f"vm{number}")
                await done(client, answer)
                self.told[answer["ResultingSystem"] or ""] = f"vm{number}"
                continue
            guid = self._dice.choice(sorted(self.told))
            self.doubtful = {guid}
            values = {"InstanceID": f"Microsoft:{guid}", "ElementName": f"name{number}"}
            text = embedded("Msvm_VirtualSystemSettingData", values)
            await done(
                client,
                await client.invoke(MANAGEMENT, "ModifySystemSettings", SystemSettings=text),
            )
            self.told[guid] = f"name{number}"
            self.doubtful = set()


def state_files(folder: Path) -> list[Path]:
    return sorted((folder / "host" / "state").rglob("*.json"))


@pytest.mark.slow
async def test_killed_while_it_writes(tmp_path: Path) -> None:
    writer, dice = Writer(1), random.Random(2)
    for _ in range(3):
        with emulating(tmp_path) as (process, port):
            client = Outsider(port, PASSWORD)
            work = asyncio.create_task(writer.write(client))
            await asyncio.sleep(dice.uniform(0.3, 0.9))
            os.kill(process.pid, signal.SIGKILL)
            with pytest.raises(Exception, match=r"(?i)connection|remote"):
                await work
            await client.close()
        for file in state_files(tmp_path):
            assert json.loads(file.read_text())["format"] >= 1
        with emulating(tmp_path) as (_, port):
            client = Outsider(port, PASSWORD)
            for guid, name in writer.told.items():
                row = await client.machine(guid)
                if guid in writer.doubtful:
                    writer.told[guid] = row["ElementName"] or ""
                else:
                    assert row["ElementName"] == name
            await client.close()
    assert len(writer.told) > 4


async def test_a_half_written_file_is_no_state(tmp_path: Path) -> None:
    """What a kill leaves behind at every point of a write: a part of the scratch file."""
    async with running_emulation(tmp_path, job_mode=JobMode.ALWAYS_0) as emulation:
        client = Outsider(emulation.port)
        await client.define("kept")
        await client.close()
    files = state_files(tmp_path)
    assert len(files) == 2
    for part in (0, 1, 40, None):
        for file in files:
            whole = file.read_bytes()
            file.with_suffix(".new").write_bytes(whole[:part])
        async with running_emulation(tmp_path) as emulation:
            client = Outsider(emulation.port)
            assert await client.names() == ["kept"]
            await client.close()


async def test_a_host_is_stopped_and_started_on_its_folder(tmp_path: Path) -> None:
    """Switches with ports, checkpoints with their disks, and power states, seen from outside."""

    async def picture(client: Outsider) -> dict[str, list[str]]:
        shown: dict[str, list[str]] = {}
        for class_name, names in {
            "Msvm_VirtualSystemSettingData": ("InstanceID", "ElementName", "Parent", "Notes"),
            "Msvm_StorageAllocationSettingData": ("InstanceID", "HostResource"),
            "Msvm_VirtualEthernetSwitch": ("Name", "ElementName"),
            "Msvm_EthernetPortAllocationSettingData": ("InstanceID", "HostResource"),
        }.items():
            rows = await client.query(f"SELECT * FROM {class_name}")  # noqa: S608 - names above
            shown[class_name] = sorted(str([row.get(name) for name in names]) for row in rows)
        return shown

    async with running_emulation(tmp_path, job_mode=JobMode.ALWAYS_0) as emulation:
        client = Outsider(emulation.port)
        guid = (await client.define("vm"))["ResultingSystem"] or ""
        await client.create_disk(r"C:\pool\disk.vhdx")
        mischief = Mischief(emulation.host, emulation.server)
        await mischief.do(AttachDisk(vm=guid, path=r"C:\pool\disk.vhdx"))
        for _ in range(2):
            await mischief.do(CheckpointVm(vm=guid))
        await client.invoke(SYSTEM, "RequestStateChange", machine_key(guid), RequestedState=2)
        before = await picture(client)
        assert len(before["Msvm_VirtualSystemSettingData"]) >= 3
        await mischief.close()
        await client.close()
    chain = sorted(each.name for each in emulation.path(r"C:\pool").iterdir())
    assert len(chain) == 3
    async with running_emulation(tmp_path, job_mode=JobMode.ALWAYS_0) as emulation:
        client = Outsider(emulation.port)
        assert await picture(client) == before
        for _ in range(100):
            if (await client.machine(guid))["EnabledState"] == "2":
                break
            await asyncio.sleep(0.01)
        # A stop without more is a reboot of the host: what was running starts by itself.
        assert (await client.machine(guid))["EnabledState"] == "2"
        await client.close()
    assert sorted(each.name for each in emulation.path(r"C:\pool").iterdir()) == chain
