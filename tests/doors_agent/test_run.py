"""`cloudstack-hyperv run` as a process of its own: connects, serves, says goodbye at SIGTERM."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.emulation import HOST_ADDRESS, PASSWORD, USER, Emulation
from tests.link.management_server import Authority, ManagementServer, command

CONFIGURATION = """
state_folder = "{state}"
[log]
format = "json"
[direct]
enabled = false
[agent]
servers = ["127.0.0.1"]
port = {port}
zone = "1"
pod = "1"
cluster = "1"
ca_file = "{ca}"
drain_timeout = 2.0
[[hosts]]
name = "hv1"
private_address = "{address}"
local_pool = 'C:\\pool'
[hosts.winrm]
address = "127.0.0.1"
port = {winrm}
transport = "http"
authentication = "basic"
allow_unencrypted = true
user = "{user}"
password = {{ environment = "HV1_PASSWORD" }}
[[hosts.mounts]]
host_path = 'C:\\'
folder = "{drive}"
"""


async def test_run_opens_the_connected_door(
    emulated_host: Emulation, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        CONFIGURATION.format(
            state=tmp_path / "state",
            port=server.port,
            ca=authority.bundle,
            address=HOST_ADDRESS,
            winrm=emulated_host.port,
            user=USER,
            drive=emulated_host.folder / "c",
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cloudstack_hyperv", "run", "--config", str(file)),
        env={"HV1_PASSWORD": PASSWORD, "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        connection = await server.next(timeout=30)
        await connection.admit()
        stats = await connection.ask(command("GetHostStatsCommand", hostGuid="g", hostName="hv1"))
        assert stats.contents[0]["result"] is True
        process.send_signal(signal.SIGTERM)
        goodbye = await connection.receive()
        assert goodbye.names == ["ShutdownCommand"]
        assert await connection.closed()
        out, err = await asyncio.wait_for(process.communicate(), 15)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    assert out == b""
    assert PASSWORD.encode() not in err
    events = [json.loads(line)["event"] for line in err.decode().splitlines()]
    assert "connected" in events
    assert "host admitted" in events
    assert b"Traceback" not in err
