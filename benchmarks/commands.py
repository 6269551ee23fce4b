"""Round trips and the agent's own milliseconds a command; start-up time and memory of the agent.

Every command runs over the direct door (TLS), the real WS-Man client (NTLM, sealed) and the
emulated host in another process.  One line a figure: name, value, anchor, ratio.  The anchor of
round trips is the budget of the command.  "own time" is the processor time that the agent's
process took (from the kernel), its anchor the whole time as the management server sees it, which
includes the emulated host, its jobs and the polls.

Run: make bench-commands
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from cloudstack_hyperv.demo import conversation as say
from cloudstack_hyperv.demo.management_server import ManagementServer, Reply
from cloudstack_hyperv.demo.processes import LoggedProcess
from cloudstack_hyperv.demo.stage import Stage

ROUNDS = 5
BUDGETS = {
    "ReadyCommand": 1,
    "StartupCommand": 8,
    "HostVmStateReportCommand": 1,
    "GetVmStatsCommand": 3,
    "GetHostStatsCommand": 3,
    "CreateObjectCommand": 3,
    "StartCommand": 12,
    "StopCommand hard": 4,
    "AttachCommand ISO": 3,
    "AttachCommand volume": 5,
}


class Bench:
    """Posts commands and collects what the agent's log says they cost."""

    def __init__(self, server: ManagementServer, agent: LoggedProcess) -> None:
        self.server = server
        self.agent = agent
        self.costs: dict[str, list[tuple[int, int, float, float]]] = {}

    def post(self, name: str, class_name: str, command: Any) -> Reply:
        """Post and note round trips, polls and milliseconds under `name`."""
        busy = processor_milliseconds(self.agent.pid)
        started = time.perf_counter()
        reply = self.server.post(class_name, command)
        milliseconds = (time.perf_counter() - started) * 1000
        own = processor_milliseconds(self.agent.pid) - busy
        for _ in range(50):
            for line in self.agent.new_lines():
                if "round_trips" in line:
                    cost = (int(line["round_trips"]), int(line["job_polls"]), milliseconds, own)
                    self.costs.setdefault(name, []).append(cost)
                    return reply
            time.sleep(0.01)
        raise SystemExit(f"{name}: the agent's log does not tell the cost: {reply}")

    def must(self, name: str, class_name: str, command: Any) -> Reply:
        """As `post`, and the answer must be good."""
        reply = self.post(name, class_name, command)
        if reply.status != 200 or reply.answer.get("result") is not True:
            raise SystemExit(f"{name} failed: {reply.status} {reply.answer}")
        return reply


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="cloudstack-hyperv-bench-") as folder:
        stage = Stage.build(Path(folder), Console(file=sys.stderr))
        emulated = stage.start_emulated_host()
        agent: LoggedProcess | None = None
        try:
            winrm_port = int(emulated.wait_for("emulated host listening")["port"])
            started = time.perf_counter()
            agent = stage.start_agent(winrm_port)
            door_port = int(agent.wait_for("direct door open")["port"])
            up_after = time.perf_counter() - started
            idle = resident_mib(agent.pid)
            bench = Bench(ManagementServer("127.0.0.1", door_port), agent)
            run(bench, stage)
            print_costs(bench)
            figure("agent start-up", f"{up_after:.2f} s", "Java agent 2.3 s", 2.3 / up_after)
            figure("agent memory, idle", f"{idle:.0f} MiB", "Java agent 116 MiB", 116 / idle)
            busy = resident_mib(agent.pid)
            figure("agent memory, after all", f"{busy:.0f} MiB", "Java agent 144 MiB", 144 / busy)
        finally:
            for process in (agent, emulated):
                if process is not None:
                    process.stop()


def run(bench: Bench, stage: Stage) -> None:
    """Run every command several times."""
    startup = bench.post("StartupCommand", f"{say.AGENT}StartupCommand", say.startup(stage.zone))
    pool = startup.body[1][f"{say.AGENT}StartupStorageCommand"]["poolInfo"]
    stage.zone = zone = stage.zone_with_pool(pool["uuid"], pool["localPath"])
    bench.must(
        "ModifyStoragePoolCommand", f"{say.AGENT}ModifyStoragePoolCommand", say.modify_pool(zone)
    )
    template = bench.must(
        "CopyCommand template", f"{say.STORAGE}CopyCommand", say.copy_template(zone)
    )
    install_path = next(iter(template.answer["newData"].values()))["path"]
    for _ in range(ROUNDS):
        bench.must("ReadyCommand", f"{say.AGENT}ReadyCommand", say.base())
        bench.must(
            "CopyCommand root", f"{say.STORAGE}CopyCommand", say.copy_root(zone, install_path)
        )
        bench.must(
            "CreateObjectCommand", f"{say.STORAGE}CreateObjectCommand", say.create_data(zone)
        )
        bench.must("StartCommand", f"{say.AGENT}StartCommand", say.start(zone))
        statistics_commands(bench, stage)
        bench.must("AttachCommand ISO", f"{say.STORAGE}AttachCommand", say.attach_iso())
        bench.must("DettachCommand ISO", f"{say.STORAGE}DettachCommand", say.detach_iso())
        data = say.disk(zone, say.DATA_UUID, kind="DATADISK", size=zone.data_size, sequence=1)
        volume = {"disk": data, "vmName": say.VM_NAME, **say.base()}
        bench.must("DettachCommand volume", f"{say.STORAGE}DettachCommand", volume)
        bench.must("AttachCommand volume", f"{say.STORAGE}AttachCommand", volume)
        bench.must("StopCommand hard", f"{say.AGENT}StopCommand", {**say.stop(), "forceStop": True})
        for uuid, kind, size in (
            (say.ROOT_UUID, "ROOT", zone.root_size),
            (say.DATA_UUID, "DATADISK", zone.data_size),
        ):
            command = say.delete(zone, uuid, kind=kind, size=size)
            bench.must("DeleteCommand volume", f"{say.STORAGE}DeleteCommand", command)


def statistics_commands(bench: Bench, stage: Stage) -> None:
    """What a management server polls for."""
    host = {"hostGuid": "g", "hostName": stage.zone.host_address, "hostId": 5, **say.base()}
    bench.post("HostVmStateReportCommand", "org.apache.cloudstack.HostVmStateReportCommand", {})
    bench.must("PingRoutingCommand", f"{say.AGENT}PingRoutingCommand", say.ping([], "hv1"))
    bench.must("GetHostStatsCommand", f"{say.AGENT}GetHostStatsCommand", host)
    names = {"vmNames": [say.VM_NAME], **host}
    bench.must("GetVmStatsCommand", f"{say.AGENT}GetVmStatsCommand", names)
    check = {"vmName": say.VM_NAME, **say.base()}
    bench.must("CheckVirtualMachineCommand", f"{say.AGENT}CheckVirtualMachineCommand", check)
    pool = {
        "id": stage.zone.pool_uuid,
        "localPath": stage.zone.pool_path,
        "pooltype": "Filesystem",
        **say.base(),
    }
    bench.must("GetStorageStatsCommand", f"{say.AGENT}GetStorageStatsCommand", pool)


def print_costs(bench: Bench) -> None:
    """One line a command: median round trips against the budget, median milliseconds."""
    for name, costs in sorted(bench.costs.items()):
        trips = statistics.median(cost[0] for cost in costs)
        polls = statistics.median(cost[1] for cost in costs)
        milliseconds = statistics.median(cost[2] for cost in costs)
        budget = BUDGETS.get(name)
        anchor = f"budget {budget}" if budget else "no budget"
        figure(f"{name} round trips", f"{trips:g} (+{polls:g} polls)", anchor,
               trips / budget if budget else None)  # fmt: skip
        own = statistics.median(cost[3] for cost in costs)
        figure(f"{name} own time", f"{own:.1f} ms", f"of {milliseconds:.1f} ms in all",
               own / milliseconds)  # fmt: skip


def figure(name: str, value: str, anchor: str, ratio: float | None) -> None:
    """Print one line."""
    print(f"{name:44} {value:>20}   {anchor:24} {'' if ratio is None else f'{ratio:.2f}'}")


def processor_milliseconds(pid: int) -> float:
    """Processor time of all threads of a process so far, from the kernel."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e6


def resident_mib(pid: int) -> float:
    """Resident memory of a process, from the kernel."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
