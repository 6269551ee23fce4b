"""Two agents serve one host; one is killed in the middle of commands, the other goes on.

All are processes of their own, and the host keeps time as a real one does, so that a kill hits
whatever the command was at.  What counts is what the host has in the end: no VM lost, none doubled,
no disk damaged or left over.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
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
from cloudstack_hyperv.hypervisor.machines import Machine, MachineDirectory
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient

START = f"{say.AGENT}StartCommand"
STOP = f"{say.AGENT}StopCommand"
COPY = f"{say.STORAGE}CopyCommand"
DELAYS = (0.05, 0.15, 0.3, 0.6, 1.0)


class Gateway:
    """One agent's process, and what a management server says to it."""

    number = 0

    def __init__(self, stage: Stage, winrm_port: int) -> None:
        Gateway.number += 1
        # The stage writes the configuration; this agent's own state and log are elsewhere.
        stage.start_agent(winrm_port).stop()
        text = (stage.folder / "cloudstack-hyperv.toml").read_text()
        config = stage.folder / f"gateway-{Gateway.number}.toml"
        config.write_text(text.replace("/agent'", f"/agent-{Gateway.number}'"))
        self.process = LoggedProcess(
            f"gateway {Gateway.number}",
            ["run", "--config", str(config), "--log-format", "json"],
            stage.folder / f"gateway-{Gateway.number}.log",
        )
        port = int(self.process.wait_for("direct door open")["port"])
        self.server = ManagementServer("127.0.0.1", port)
        reply = self.server.post(f"{say.AGENT}StartupCommand", say.startup(stage.zone))
        pool = reply.body[1][f"{say.AGENT}StartupStorageCommand"]["poolInfo"]
        stage.zone = stage.zone_with_pool(pool["uuid"], pool["localPath"])
        self.must(f"{say.AGENT}ModifyStoragePoolCommand", say.modify_pool(stage.zone))

    def must(self, name: str, command: Any) -> Reply:
        reply = self.server.post(name, command)
        assert reply.answer.get("result") is True, reply
        return reply

    def die_in_the_middle_of(self, name: str, command: Any, delay: float) -> None:
        """Post a command and kill the process that long after."""

        def post() -> None:
            try:
                self.server.post(name, command)
            except OSError:
                return  # what the kill is meant to do

        caller = threading.Thread(target=post)
        caller.start()
        time.sleep(delay)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.stop()
        caller.join(20)
        assert not caller.is_alive()

    def report(self) -> dict[str, str]:
        reply = self.server.post("org.apache.cloudstack.HostVmStateReportCommand", {})
        assert reply.status == 200, reply
        return {name: state for one in reply.body for name, state in one.items()}


@contextmanager
def running_host(folder: Path) -> Iterator[tuple[Stage, int]]:
    stage = Stage.build(folder, Console(file=sys.stderr))
    host = stage.start_emulated_host()
    try:
        yield stage, int(host.wait_for("emulated host listening")["port"])
    finally:
        host.stop()


def machines(stage: Stage, port: int) -> tuple[Machine, ...]:
    """All VMs of the host, read past the agents."""

    async def read() -> tuple[Machine, ...]:
        client = WsmanClient(
            Endpoint("127.0.0.1", port, https=False),
            Credentials(AuthScheme.NTLM, stage.user, stage.password),
        )
        try:
            return await MachineDirectory(client).list_all()
        finally:
            await client.close()

    return asyncio.run(read())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_vm_is_lost_and_none_doubled_when_an_agent_dies(tmp_path: Path) -> None:
    with running_host(tmp_path) as (stage, port):
        one, other = Gateway(stage, port), Gateway(stage, port)
        try:
            template = one.must(COPY, say.copy_template(stage.zone))
            path = next(iter(template.answer["newData"].values()))["path"]
            one.die_in_the_middle_of(COPY, say.copy_root(stage.zone, path), 0.2)
            one, other = other, Gateway(stage, port)
            one.must(COPY, say.copy_root(stage.zone, path))
            one.must(f"{say.STORAGE}CreateObjectCommand", say.create_data(stage.zone))
            for delay in DELAYS:
                # Killed while it starts the VM: the other starts it, once.
                one.die_in_the_middle_of(START, say.start(stage.zone), delay)
                one, other = other, Gateway(stage, port)
                one.must(START, say.start(stage.zone))
                assert one.report() == {say.VM_NAME: "PowerOn"}
                assert other.report() == {say.VM_NAME: "PowerOn"}
                assert [m.element_name for m in machines(stage, port)] == [say.VM_NAME]
                # Killed while it stops the VM: the other stops it, and its disks are still there.
                one.die_in_the_middle_of(STOP, say.stop(), delay)
                one, other = other, Gateway(stage, port)
                one.must(STOP, say.stop())
                assert machines(stage, port) == ()
            one.must(START, say.start(stage.zone))
            assert one.report() == other.report() == {say.VM_NAME: "PowerOn"}
            pool = stage.local_path(stage.zone.pool_path)
            disks = [file.name for file in pool.iterdir() if file.suffix == ".vhdx"]
            assert len([name for name in disks if ".partial" not in name]) == 3, disks
        finally:
            one.process.stop()
            other.process.stop()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_agents_that_get_one_command_make_one_vm(tmp_path: Path) -> None:
    """A management server that fails over sends the command to the other gateway at once."""
    with running_host(tmp_path) as (stage, port):
        one, other = Gateway(stage, port), Gateway(stage, port)
        try:
            template = one.must(COPY, say.copy_template(stage.zone))
            path = next(iter(template.answer["newData"].values()))["path"]
            one.must(COPY, say.copy_root(stage.zone, path))
            one.must(f"{say.STORAGE}CreateObjectCommand", say.create_data(stage.zone))
            replies: list[Reply] = []
            callers = [
                threading.Thread(
                    target=lambda gateway=gateway: replies.append(
                        gateway.server.post(START, say.start(stage.zone))
                    )
                )
                for gateway in (one, other)
            ]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join(60)
            assert any(reply.answer["result"] for reply in replies), replies
            assert one.must(START, say.start(stage.zone))
            assert [m.element_name for m in machines(stage, port)] == [say.VM_NAME]
        finally:
            one.process.stop()
            other.process.stop()
