"""`cloudstack-hyperv emulate` with a control port, virtual time and a file of calls, and killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.emulator_mischief.outsider import MANAGEMENT, Outsider

from cloudstack_hyperv.demo.processes import LoggedProcess

PASSWORD = "Emulated-1"


@contextmanager
def emulating(tmp_path: Path, *options: str) -> Iterator[tuple[LoggedProcess, dict[str, Any]]]:
    """Run the command in a process of its own; yield it and what its log said."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    arguments = ["emulate", str(tmp_path / "host"), "--port", "0", "--basic"]
    arguments += ["--password-file", str(secret), *options]
    process = LoggedProcess("emulate", arguments, tmp_path / "log")
    try:
        yield process, process.wait_for("emulated host listening")
    finally:
        process.stop()


async def test_control_port_virtual_time_and_calls(tmp_path: Path) -> None:
    calls = tmp_path / "calls.jsonl"
    options = ("--control-port", "0", "--virtual-time", "--calls", str(calls))
    with emulating(tmp_path, *options) as (_, said):
        control = f"http://127.0.0.1:{said['control_port']}"
        client = Outsider(said["port"], PASSWORD)
        await ask("POST", f"{control}/rules", f"return-32768@{MANAGEMENT}.DefineSystem")
        assert (await client.define("vm"))["ReturnValue"] == "32768"
        later = (await ask("POST", f"{control}/clock", {"advance": 86400}))["now"]
        assert (await client.define("vm"))["ReturnValue"] in ("0", "4096")
        await client.close()
    lines = [json.loads(line) for line in calls.read_text().splitlines()]
    assert lines[0]["result"] == "answered 32768"
    assert lines[1]["when"] == later
    with emulating(tmp_path, *options) as (_, said):
        control = f"http://127.0.0.1:{said['control_port']}"
        assert (await ask("GET", f"{control}/clock"))["now"] >= later


def test_no_control_port_unless_asked_for(tmp_path: Path) -> None:
    with emulating(tmp_path) as (process, said):
        assert said["control_port"] is None
        assert len(listening(process.pid)) == 1


async def test_virtual_time_needs_a_control_port(tmp_path: Path) -> None:
    words = ("-m", "cloudstack_hyperv", "emulate", str(tmp_path / "h"), "--virtual-time")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"--control-port" in said


async def ask(method: str, url: str, body: object = None) -> dict[str, Any]:
    """Ask the control port."""
    async with aiohttp.request(method, url, json=body) as answer:
        document: dict[str, Any] = await answer.json()
        return document


def listening(pid: int) -> set[str]:
    """Return the local addresses of a process's TCP sockets in state LISTEN."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and row[9] in inodes}


@pytest.mark.slow
async def test_machines_run_on_over_a_stop_of_the_emulator_alone(tmp_path: Path) -> None:
    with emulating(tmp_path, "--keep-running", "--control-port", "0") as (_, said):
        client = Outsider(said["port"], PASSWORD)
        guid = (await client.define("vm"))["ResultingSystem"] or ""
        do = f"http://127.0.0.1:{said['control_port']}/do"
        for _ in range(100):
            if "error" not in await ask("POST", do, {"do": "start-vm", "vm": guid}):
                break
            await asyncio.sleep(0.05)  # the job that defines it is still running
        await client.close()
    with emulating(tmp_path) as (process, said):
        client = Outsider(said["port"], PASSWORD)
        assert (await client.machine(guid))["EnabledState"] == "2"
        await client.close()
        os.kill(process.pid, signal.SIGKILL)
    with emulating(tmp_path) as (_, said):
        client = Outsider(said["port"], PASSWORD)
        # As after a power failure: AutomaticStartupAction 3 starts it again.
        assert (await client.machine(guid))["ElementName"] == "vm"
        await client.close()
