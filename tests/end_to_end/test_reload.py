"""A running agent and SIGHUP: hosts, logins, errors, while commands run; what systemd is told."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from cloudstack_hyperv.demo import conversation as say
from cloudstack_hyperv.demo.management_server import ManagementServer, Reply
from cloudstack_hyperv.demo.processes import LoggedProcess
from cloudstack_hyperv.demo.stage import Stage


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Systemd's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"cloudstack-hyperv-reload-{os.getpid()}"
        listening.bind("\0" + name)
        listening.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        yield listening


def reload(agent: LoggedProcess, manager: socket.socket) -> str:
    """Send SIGHUP and return what systemd is told when it is done."""
    os.kill(agent.pid, signal.SIGHUP)
    assert manager.recv(4096).startswith(b"RELOADING=1")
    told = manager.recv(4096).decode()
    assert told.startswith("READY=1")
    return told


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_sighup_takes_over_hosts_and_logins_and_keeps_what_works(
    tmp_path: Path, manager: socket.socket
) -> None:
    stage = Stage.build(tmp_path, Console(file=sys.stderr))
    os.environ.pop("NOTIFY_SOCKET")  # the emulated host is no service
    host = stage.start_emulated_host()
    winrm_port = int(host.wait_for("emulated host listening")["port"])
    os.environ["NOTIFY_SOCKET"] = "@" + manager.getsockname()[1:].decode()
    agent = stage.start_agent(winrm_port)
    config = tmp_path / "cloudstack-hyperv.toml"
    try:
        assert "serving 1 hosts" in manager.recv(4096).decode()
        port = int(agent.wait_for("direct door open")["port"])
        server = ManagementServer("127.0.0.1", port)
        command = {"hostGuid": "g", "hostName": "h", "hostId": 5}
        replies: list[Reply] = []
        # The first poll takes two samples a second apart: it runs while the configuration changes.
        caller = threading.Thread(
            target=lambda: replies.append(server.post(f"{say.AGENT}GetHostStatsCommand", command))
        )
        caller.start()
        time.sleep(0.4)
        first = config.read_text()
        second = first[first.index("[[hosts]]") :].replace('"hyperv1"', '"hyperv2"')
        config.write_text(first + second.replace('listen = "127.0.0.1"', 'listen = "127.0.0.2"'))
        assert "serving 2 hosts" in reload(agent, manager)
        opened = [agent.wait_for("direct door open") for _ in range(2)]
        assert opened[0]["port"] == port, "the listener that stays is not opened anew"
        new = ManagementServer("127.0.0.2", int(opened[1]["port"]))
        assert new.post(f"{say.AGENT}ReadyCommand", {}).answer["result"] is True
        caller.join(20)
        assert replies[0].answer["result"] is True

        config.write_text("[direct\nbroken")
        reload(agent, manager)
        assert "not TOML" in agent.wait_for("the old configuration stays in force")["reason"]
        assert server.post(f"{say.AGENT}ReadyCommand", {}).answer["result"] is True

        password = tmp_path / "administrator.password"
        right = password.read_text()
        config.write_text(first)
        password.write_text("wrong\n")
        assert "serving 1 hosts" in reload(agent, manager)
        agent.wait_for("another login from now on")
        report = "org.apache.cloudstack.HostVmStateReportCommand"
        assert server.post(report, {}).status == 500, "the wrong password is used"
        password.write_text(right)
        reload(agent, manager)
        assert server.post(report, {}).status == 200
        with pytest.raises(OSError):
            new.post(f"{say.AGENT}ReadyCommand", {})
        os.kill(agent.pid, signal.SIGTERM)
        assert manager.recv(4096).startswith(b"STOPPING=1")
    finally:
        assert agent.stop() == 0
        host.stop()
