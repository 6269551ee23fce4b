"""The main job, played once: every step, what it changed on the host, what it cost.

Three processes talk over real sockets: this one (the management server's side), the agent, and an
emulated Hyper-V host.  What a step changed is read back from the host by `observer`, a client that
shares no code with the agent.  Any difference between what should be and what is makes the exit
status 1.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from cloudstack_hyperv.demo import conversation as say
from cloudstack_hyperv.demo.checks import (
    Check,
    answers,
    content_of_root,
    counts,
    host_has_load,
    is_now,
    lacks,
    new_data,
    plain_mac,
    pool_has_space,
    pool_is_used,
    pool_of,
    reports_power_on,
    shows,
    started_up,
    vm_has_statistics,
)
from cloudstack_hyperv.demo.management_server import ManagementServer, Reply
from cloudstack_hyperv.demo.observer import HostObserver, Snapshot, changes
from cloudstack_hyperv.demo.processes import LoggedProcess, ProcessFailed
from cloudstack_hyperv.demo.stage import Stage
from cloudstack_hyperv.observe import redact_text


@dataclass(slots=True)
class Play:
    """The running demonstration."""

    console: Console
    stage: Stage
    server: ManagementServer
    observer: HostObserver
    agent: LoggedProcess
    number: int = 0
    problems: list[str] = field(default_factory=list)
    seen: Snapshot = field(default_factory=dict)
    round_trips: int = 0

    def step(
        self, name: str, command_class: str, command: Any, *checks: Check, bar: bool = False
    ) -> Reply:
        """Send one command, show what it did, note what is wrong."""
        self.number += 1
        with ThreadPoolExecutor(1) as pool:
            started = time.perf_counter()
            future = pool.submit(self.server.post, command_class, command)
            lines: list[dict[str, Any]] = []
            with self._bar(shown=bar) as progress:
                task = progress.add_task(name, total=1.0)
                while wait((future,), timeout=0.05).not_done:
                    for line in self.agent.new_lines():
                        lines.append(line)
                        if line.get("event") == "copy progress":
                            progress.update(task, completed=float(line.get("fraction", 0)))
                milliseconds = (time.perf_counter() - started) * 1000
                progress.update(task, completed=1.0)
            reply = future.result()
        lines += self.agent.new_lines()
        cost = next(
            (line for line in reversed(lines) if "round_trips" in line), {"round_trips": "?"}
        )
        if isinstance(cost["round_trips"], int):
            self.round_trips += cost["round_trips"]
        after = self.observer.snapshot()
        wrong = [text for check in checks for text in check(reply, self.seen, after)]
        self._show(name, command_class, reply, cost, milliseconds, changes(self.seen, after), wrong)
        self.problems += [f"{name}: {text}" for text in wrong]
        self.seen = after
        return reply

    def _bar(self, *, shown: bool) -> Progress:
        return Progress(
            TextColumn("        [cyan]{task.description}"),
            BarColumn(30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=not shown,
        )

    def _show(
        self,
        name: str,
        command_class: str,
        reply: Reply,
        cost: dict[str, Any],
        milliseconds: float,
        changed: list[str],
        wrong: list[str],
    ) -> None:
        mark = "[red]✗[/red]" if wrong else "[green]✓[/green]"
        simple = command_class.rsplit(".", 1)[-1]
        polls = f" + {cost['job_polls']} polls" if cost.get("job_polls") else ""
        self.console.print(
            f"{mark} {self.number:2}  [bold]{simple:28}[/bold] {name:40} "
            f"[dim]{cost['round_trips']} round trips{polls}, {milliseconds:.0f} ms[/dim]",
            highlight=False,
            soft_wrap=True,
        )
        for line in changed:
            self.console.print(f"        {line}", highlight=False, markup=False, soft_wrap=True)
        for line in wrong:
            self.console.print(f"        WRONG: {line}", style="red", markup=False, soft_wrap=True)
        if wrong:
            answer = redact_text(str(reply.body))
            self.console.print(f"        answer: {answer}", markup=False, soft_wrap=True)


def play_demo(folder: Path | None, *, plain: bool = False) -> int:
    """Play it; returns the exit status: 0 as it should be, 1 anything differs."""
    console = Console(no_color=plain, force_terminal=False if plain else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return _play_in(folder.resolve(), console)
    with tempfile.TemporaryDirectory(prefix="cloudstack-hyperv-demo-") as temporary:
        return _play_in(Path(temporary), console)


def _play_in(folder: Path, console: Console) -> int:
    stage = Stage.build(folder, console)
    emulated: LoggedProcess | None = None
    agent: LoggedProcess | None = None
    observer: HostObserver | None = None
    try:
        emulated = stage.start_emulated_host()
        winrm_port = int(emulated.wait_for("emulated host listening")["port"])
        agent = stage.start_agent(winrm_port)
        door_port = int(agent.wait_for("direct door open")["port"])
        observer = HostObserver("127.0.0.1", winrm_port, stage.user, stage.password)
        console.print(
            f"emulated Hyper-V host: process {emulated.pid}, WS-Management on port {winrm_port}\n"
            f"agent:                 process {agent.pid}, direct door on port {door_port}\n"
            "management server:     this process; read-back by pypsrp\n",
            highlight=False,
        )
        play = Play(console, stage, ManagementServer("127.0.0.1", door_port), observer, agent)
        _life(play)
        problems = play.problems + _what_is_left(play)
        steps, trips = play.number, play.round_trips
    except ProcessFailed as error:
        console.print(str(error), style="red", markup=False)
        return 1
    finally:
        if observer is not None:
            observer.close()
        for process in (agent, emulated):
            if process is not None:
                process.stop()
    if problems:
        console.print(f"\n[red]{len(problems)} things are not as they should be:[/red]")
        for problem in problems:
            console.print(f"  {problem}", markup=False)
        return 1
    console.print(f"\n[green]All as it should be[/green]: {steps} steps, {trips} round trips.")
    return 0


def _life(play: Play) -> None:
    """Connect the host, make a VM, use it, take it down."""
    _connect(play)
    zone = play.stage.zone
    template = play.step(
        "template: secondary to primary", f"{say.STORAGE}CopyCommand", say.copy_template(zone),
        answers("CopyCmdAnswer"), bar=True,
    )  # fmt: skip
    install_path = new_data(template).get("path", "")
    play.observer.watch_file(f"{zone.pool_path}\\{install_path}.vhdx")
    for uuid in (say.ROOT_UUID, say.DATA_UUID):
        play.observer.watch_file(f"{zone.pool_path}\\{uuid}.vhdx")
    play.seen = play.observer.snapshot()
    play.step(
        "root volume from the template", f"{say.STORAGE}CopyCommand",
        say.copy_root(zone, install_path),
        answers("CopyCmdAnswer"), content_of_root(play.stage, install_path), bar=True,
    )  # fmt: skip
    play.step(
        "blank data volume", f"{say.STORAGE}CreateObjectCommand", say.create_data(zone),
        answers("CreateObjectAnswer"), shows(f"file {zone.pool_path}\\{say.DATA_UUID}.vhdx"),
    )  # fmt: skip
    play.step(
        "start", f"{say.AGENT}StartCommand", say.start(zone),
        answers("StartAnswer"), is_now(f"VM {say.VM_NAME}", "running"),
        is_now(f"VM {say.VM_NAME}: NIC {plain_mac(say.TAGGED_MAC)} VLAN", str(say.GUEST_VLAN)),
        lacks(f"VM {say.VM_NAME}: NIC {plain_mac(say.UNTAGGED_MAC)} VLAN"),
        counts(": medium ", 2), counts(": DVD drive ", 1), counts(" cable", 2),
    )  # fmt: skip
    play.step(
        "attach an ISO", f"{say.STORAGE}AttachCommand", say.attach_iso(),
        answers("AttachAnswer"), counts(": medium ", 3),
    )  # fmt: skip
    _watch(play)
    play.step(
        "reboot", f"{say.AGENT}RebootCommand",
        {"vmName": say.VM_NAME, "executeInSequence": False, **say.base()},
        answers("RebootAnswer"), is_now(f"VM {say.VM_NAME}", "running"),
    )  # fmt: skip
    play.step(
        "detach the ISO", f"{say.STORAGE}DettachCommand", say.detach_iso(),
        answers("DettachAnswer"), counts(": medium ", 2),
    )  # fmt: skip
    play.step(
        "stop", f"{say.AGENT}StopCommand", say.stop(),
        answers("StopAnswer"), lacks(f"VM {say.VM_NAME}"),
        shows(f"file {zone.pool_path}\\{say.ROOT_UUID}.vhdx"),
        shows(f"file {zone.pool_path}\\{say.DATA_UUID}.vhdx"),
    )  # fmt: skip
    for uuid, kind, size in (
        (say.ROOT_UUID, "ROOT", zone.root_size),
        (say.DATA_UUID, "DATADISK", zone.data_size),
    ):
        play.step(
            f"delete the {'root' if kind == 'ROOT' else 'data'} volume",
            f"{say.STORAGE}DeleteCommand", say.delete(zone, uuid, kind=kind, size=size),
            answers("Answer"), lacks(f"file {zone.pool_path}\\{uuid}.vhdx"),
        )  # fmt: skip


def _connect(play: Play) -> None:
    zone = play.stage.zone
    play.seen = play.observer.snapshot()
    play.step("discovery probe", f"{say.AGENT}ReadyCommand", say.base(), answers("ReadyAnswer"))
    startup = play.step(
        "host data", f"{say.AGENT}StartupCommand", say.startup(zone), started_up(play.stage)
    )
    pool = pool_of(startup)
    play.stage.zone = zone = play.stage.zone_with_pool(
        str(pool.get("uuid", "")), str(pool.get("localPath", ""))
    )
    play.step(
        "set up", f"{say.AGENT}SetupCommand", {"multipath": False, "needSetup": True, **say.base()},
        answers("SetupAnswer"),
    )  # fmt: skip
    play.step(
        "traffic labels", f"{say.AGENT}CheckNetworkCommand", say.check_network(zone),
        answers("CheckNetworkAnswer"),
    )  # fmt: skip
    play.step(
        "local pool", f"{say.AGENT}ModifyStoragePoolCommand", say.modify_pool(zone),
        answers("ModifyStoragePoolAnswer"), pool_has_space,
    )  # fmt: skip


def _watch(play: Play) -> None:
    """State report, ping and the statistics a server polls for."""
    zone = play.stage.zone
    report = play.step(
        "VM states", "org.apache.cloudstack.HostVmStateReportCommand", {}, reports_power_on
    )
    states = report.body if isinstance(report.body, list) else []
    play.step(
        "ping", f"{say.AGENT}PingRoutingCommand", say.ping(states, zone.host_address),
        answers("Answer"),
    )  # fmt: skip
    play.step(
        "host statistics", f"{say.AGENT}GetHostStatsCommand",
        {"hostGuid": "g", "hostName": zone.host_address, "hostId": 5, **say.base()},
        answers("GetHostStatsAnswer"), host_has_load,
    )  # fmt: skip
    play.step(
        "VM statistics", f"{say.AGENT}GetVmStatsCommand",
        {"vmNames": [say.VM_NAME], "hostGuid": "g", "hostName": zone.host_address, **say.base()},
        answers("GetVmStatsAnswer"), vm_has_statistics,
    )  # fmt: skip
    play.step(
        "pool statistics", f"{say.AGENT}GetStorageStatsCommand",
        {"id": zone.pool_uuid, "localPath": zone.pool_path, "pooltype": "Filesystem", **say.base()},
        answers("GetStorageStatsAnswer"), pool_is_used,
    )  # fmt: skip
    play.step(
        "is it running", f"{say.AGENT}CheckVirtualMachineCommand",
        {"vmName": say.VM_NAME, **say.base()},
        answers("CheckVirtualMachineAnswer", state="PowerOn"),
    )  # fmt: skip


def _what_is_left(play: Play) -> list[str]:
    """At the end the host holds the template and nothing else; say so, or say what is left."""
    left = play.observer.snapshot()
    files = sorted(path.name for path in play.stage.local_path(play.stage.zone.pool_path).iterdir())
    play.console.print("\nleft on the host:", highlight=False)
    for what, how in left.items():
        play.console.print(f"  {what}: {how}", markup=False, highlight=False, soft_wrap=True)
    expected = [thing for thing in left if thing.startswith("file ")]
    problems = [f"left on the host: {thing}" for thing in left if thing not in expected]
    if len(expected) != 1 or len(files) != 1:
        problems.append(f"the pool folder holds {files}, not the template alone")
    return problems
