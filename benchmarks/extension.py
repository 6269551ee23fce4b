"""Milliseconds of an extension's `status`, end to end: from starting the executable to its end.

The management server runs the executable once for each VM and ping, so its own start counts.  The
agent and the emulated host are processes of their own.  Limit: 150 ms by the agent; the stock
sample (pywinrm and PowerShell) needs more than a second on a real host, which is not measured here.

Run: make bench-extension
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from cloudstack_hyperv.cli.extension import install
from cloudstack_hyperv.demo.processes import LoggedProcess
from cloudstack_hyperv.demo.stage import Stage

CALLS = 40
LIMIT = 150.0
DISKS = r"C:\Disks"


def payload(stage: Stage, port: int, file: Path) -> Path:
    """Write what the management server writes."""
    nic = {"deviceId": 0, "mac": "02:00:51:2c:00:0e", "broadcastUri": "vlan://261", "name": "x"}
    document = {
        "externaldetails": {
            "host": {
                "url": f"http://127.0.0.1:{port}",
                "username": stage.user,
                "password": stage.password,
                "network_switch": "External",
                "vhd_path": DISKS,
            },
            "virtualmachine": {"template_path": r"C:\Templates\t.vhdx"},
        },
        "cloudstack.vm.details": {
            "id": 17,
            "name": "i-2-17-VM",
            "uuid": "8b030b6a-0243-440a-8cc5-45d08815ca11",
            "cpus": 2,
            "minRam": 2**30,
            "maxRam": 2**30,
            "nics": [nic],
        },
    }
    file.write_text(json.dumps(document))
    return file


def measure(executable: Path, action: str, file: Path, count: int) -> list[float]:
    """Call the executable one after the other and return milliseconds."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        ended = subprocess.run([executable, action, file, "60"], capture_output=True, check=False)
        taken.append((time.perf_counter() - began) * 1000)
        assert ended.returncode == 0, ended
    return sorted(taken)


def show(what: str, taken: list[float], limit: float | None = None) -> bool:
    """Print one line; False when the median is above the limit."""
    median, worst = statistics.median(taken), taken[int(len(taken) * 0.95)]
    against = f"  limit {limit:g}" if limit is not None else ""
    print(f"{what:<34} median {median:7.1f} ms   95 % {worst:7.1f} ms{against}")
    return limit is None or median <= limit


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="cshv-") as name:
        folder = Path(name)
        stage = Stage.build(folder, Console(file=sys.stderr))
        template = stage.local_path(r"C:\Templates\t.vhdx")
        template.parent.mkdir(parents=True)
        stage.local_path(DISKS).mkdir()
        template.write_bytes(stage.template.read_bytes())
        host = stage.start_emulated_host()
        agent: LoggedProcess | None = None
        try:
            port = int(host.wait_for("emulated host listening")["port"])
            program = Path(sys.executable).parent / "cloudstack-hyperv"
            install(folder / "HyperV", socket=str(folder / "agent.sock"), program=str(program))
            executable = folder / "HyperV" / "hyperv.py"
            file = payload(stage, port, folder / "payload.json")
            measure(executable, "create", file, 1)
            straight = measure(executable, "status", file, CALLS // 4)
            config = folder / "agent.toml"
            config.write_text(
                f'state_folder = "{folder}"\n[extension]\nsocket = "{folder / "agent.sock"}"\n'
            )
            agent = LoggedProcess(
                "the agent",
                ["run", "--config", str(config), "--log-format", "json"],
                folder / "extension-agent.log",
            )
            agent.wait_for("extension door open")
            measure(executable, "status", file, 3)  # logs in
            good = show("status by the agent", measure(executable, "status", file, CALLS), LIMIT)
            show("status straight to the host", straight)
            bare = [sys.executable, "-IS", "-c", "import socket, sys, os"]
            began = time.perf_counter()
            for _ in range(CALLS):
                subprocess.run(bare, check=True)
            each = (time.perf_counter() - began) * 1000 / CALLS
            print(f"{'of it, an interpreter that starts':<34} mean   {each:7.1f} ms")
            return 0 if good else 1
        finally:
            if agent is not None:
                agent.stop()
            host.stop()


if __name__ == "__main__":
    sys.exit(main())
