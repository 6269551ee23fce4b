"""`cloudstack-hyperv emulate --guests qemu`, as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from tests.emulator_mischief.outsider import Outsider, machine_key

from cloudstack_hyperv.cli.emulate import (
    EmulateOptions,
    EmulateRefused,
    Guests,
    check_options,
)
from cloudstack_hyperv.demo.processes import LoggedProcess
from cloudstack_hyperv.emulator.guests import Qemu

PASSWORD = "Emulated-1"
SYSTEM = "Msvm_ComputerSystem"


def qemu_processes(machine_id: str) -> list[int]:
    """Return the processes that run a machine."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it ended meanwhile
            if machine_id.lower().encode() in command and b"qemu" in command:
                found.append(int(entry.name))
    return found


def until_gone(machine_id: str) -> None:
    end = time.monotonic() + 10
    while qemu_processes(machine_id):
        assert time.monotonic() < end, "the guest outlives its host"
        time.sleep(0.05)


async def named(client: Outsider, name: str) -> str:
    """Return the GUID of a machine once it is there."""
    for _ in range(200):
        for row in await client.query(f"SELECT * FROM {SYSTEM}"):  # noqa: S608 - a test's WQL
            if row["ElementName"] == name:
                return row["Name"] or ""
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} is not there")


async def until_running(client: Outsider, guid: str) -> None:
    for _ in range(200):
        if (await client.machine(guid))["EnabledState"] == "2":
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it does not start")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_guest_runs_and_ends_with_the_command(
    tmp_path: Path, qemu: Qemu, how: signal.Signals
) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    arguments = ["emulate", str(tmp_path / "host"), "--port", "0", "--basic"]
    arguments += ["--password-file", str(secret), "--guests", "qemu"]
    process = LoggedProcess("emulate", arguments, tmp_path / "log")
    try:
        assert process.wait_for("guests run under QEMU")["accelerator"] == qemu.accelerator
        port = process.wait_for("emulated host listening")["port"]
        client = Outsider(port, PASSWORD)
        await client.define("vm")
        guid = await named(client, "vm")
        await client.invoke(SYSTEM, "RequestStateChange", machine_key(guid), RequestedState="2")
        await until_running(client, guid)
        assert len(qemu_processes(guid)) == 1
        await client.close()
        os.kill(process.pid, how)
        until_gone(guid)
    finally:
        process.stop()


@pytest.mark.parametrize(
    "options",
    [{"keep_running": True}, {"virtual_time": True, "control_port": 0}],
)
def test_what_real_guests_do_not_go_with(tmp_path: Path, options: dict[str, bool]) -> None:
    wanted = EmulateOptions(tmp_path, guests=Guests.QEMU, **options)  # type: ignore[arg-type]  # a row of test data
    with pytest.raises(EmulateRefused, match="real guests live in real time"):
        check_options(wanted)
