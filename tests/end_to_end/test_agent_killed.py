"""An agent that is killed, and a host that loses power, with a VM running: what both say after."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cloudstack_hyperv.demo import conversation as say
from cloudstack_hyperv.demo.management_server import ManagementServer, Reply
from cloudstack_hyperv.demo.processes import LoggedProcess
from cloudstack_hyperv.demo.stage import Stage


@contextmanager
def ended(process: LoggedProcess) -> Iterator[LoggedProcess]:
    try:
        yield process
    finally:
        process.stop()


def kill(process: LoggedProcess) -> None:
    """Let a process die without a chance to say anything."""
    os.kill(process.pid, signal.SIGKILL)
    process.stop()


def connect(stage: Stage, agent: LoggedProcess) -> ManagementServer:
    """Return a management server that has connected the agent's host."""
    server = ManagementServer("127.0.0.1", int(agent.wait_for("direct door open")["port"]))
    reply = server.post(f"{say.AGENT}StartupCommand", say.startup(stage.zone))
    pool = reply.body[1][f"{say.AGENT}StartupStorageCommand"]["poolInfo"]
    stage.zone = stage.zone_with_pool(pool["uuid"], pool["localPath"])
    must(server, f"{say.AGENT}ModifyStoragePoolCommand", say.modify_pool(stage.zone))
    return server


def must(server: ManagementServer, name: str, command: Any) -> Reply:
    reply = server.post(name, command)
    assert reply.answer.get("result") is True, reply
    return reply


def reported(server: ManagementServer) -> dict[str, str]:
    """Return the power states that the agent reports, by VM."""
    reply = server.post("org.apache.cloudstack.HostVmStateReportCommand", {})
    assert reply.status == 200, reply
    return {name: state for report in reply.body for name, state in report.items()}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_runs_is_told_by_an_agent_that_starts_anew(tmp_path: Path) -> None:
    stage = Stage.build(tmp_path, Console(file=sys.stderr))
    with ended(stage.start_emulated_host()) as host:
        port = int(host.wait_for("emulated host listening")["port"])
        agent = stage.start_agent(port)
        with ended(agent):
            server = connect(stage, agent)
            template = must(server, f"{say.STORAGE}CopyCommand", say.copy_template(stage.zone))
            path = next(iter(template.answer["newData"].values()))["path"]
            must(server, f"{say.STORAGE}CopyCommand", say.copy_root(stage.zone, path))
            must(server, f"{say.STORAGE}CreateObjectCommand", say.create_data(stage.zone))
            must(server, f"{say.AGENT}StartCommand", say.start(stage.zone))
            assert reported(server) == {say.VM_NAME: "PowerOn"}
            kill(agent)
        with ended(stage.start_agent(port)) as agent:
            server = connect(stage, agent)
            assert reported(server) == {say.VM_NAME: "PowerOn"}
        kill(host)
    with ended(stage.start_emulated_host()) as host:
        port = int(host.wait_for("emulated host listening")["port"])
        with ended(stage.start_agent(port)) as agent:
            server = connect(stage, agent)
            # AutomaticStartupAction is 2: CloudStack decides where a VM starts again, not the host.
            assert reported(server).get(say.VM_NAME) in (None, "PowerOff")
            must(server, f"{say.AGENT}StopCommand", say.stop())
            must(server, f"{say.AGENT}StartCommand", say.start(stage.zone))
            assert reported(server) == {say.VM_NAME: "PowerOn"}
