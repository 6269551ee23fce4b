"""An agent whose Hyper-V hosts answer from memory: what is left to measure is the door.

Everything else is real: the resource's scope, its clock and its log line for every command (JSON,
to a file), the door, the messages.
"""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

from cloudstack_hyperv.config import (
    AgentDoorSettings,
    DirectDoorSettings,
    HostAgentSettings,
    HostSettings,
    Settings,
    WinrmSettings,
)
from cloudstack_hyperv.doors.agent.door import AgentDoor
from cloudstack_hyperv.messages import (
    Answer,
    Command,
    copy_with,
    decode_commands,
    encode_commands,
    failure_answer,
)
from cloudstack_hyperv.messages.answers.host import ReadyAnswer
from cloudstack_hyperv.messages.answers.monitoring import GetVmStatsAnswer, VmStatsEntry
from cloudstack_hyperv.messages.commands.host import ReadyCommand
from cloudstack_hyperv.messages.commands.monitoring import GetVmStatsCommand
from cloudstack_hyperv.messages.commands.startup import (
    StartupRoutingCommand,
    StartupStorageCommand,
)
from cloudstack_hyperv.observe import configure_logs
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.registry import HandlerRow
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient


@dataclass(slots=True)
class MemoryResource(Resource):
    """Answers GetVmStats and Ready without asking a host."""

    async def startup(self, body: bytes) -> bytes:
        """Complete the command with invented capacities."""
        first = decode_commands(body)[0]
        assert isinstance(first, StartupRoutingCommand)
        routing = copy_with(first, cpus=16, speed=2600, memory=2**36, caps="hvm")
        return encode_commands([routing, StartupStorageCommand(guid="none")])

    async def vm_state_report(self) -> dict[str, str]:
        """Two VMs run."""
        return {"i-2-17-VM": "PowerOn", "i-2-18-VM": "PowerOn"}

    async def _answer(self, row: HandlerRow, command: Command) -> Answer:
        del row
        match command:
            case GetVmStatsCommand():
                entries = {name: vm_stats() for name in command.vm_names}
                return GetVmStatsAnswer(result=True, vm_stats_map=entries)
            case ReadyCommand():
                return ReadyAnswer(result=True)
        return failure_answer(command, "not part of the benchmark")


def vm_stats() -> VmStatsEntry:
    """Return the load of one VM, made anew each time."""
    return VmStatsEntry(
        cpu_utilization=2.5,
        network_read_kbs=120.0,
        network_write_kbs=80.0,
        disk_read_ios=400.0,
        disk_write_ios=200.0,
        disk_read_kbs=10.0,
        disk_write_kbs=5.0,
        memory_kbs=1048576.0,
        num_cpus=2,
        entity_type="vm",
    )


async def run_door(door: str, port: int, hosts: int, folder: Path) -> None:
    """Open a door for `hosts` hosts until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with (folder / f"{door}.log").open("w", encoding="utf-8") as log:
        configure_logs("info", "json", log)
        settings = Settings(
            hosts=tuple(_host(number) for number in range(hosts)),
            direct=DirectDoorSettings(port=port, allow=("127.0.0.1",)),
            agent=AgentDoorSettings(
                servers=("127.0.0.1",), port=port, ca_file=str(folder / "ca.crt")
            ),
            state_folder=str(folder / "state"),
        )
        resources = [_resource(settings, host) for host in settings.hosts]
        if door == "connected":
            agents = AgentDoor(resources, settings)
            agents.start()
            await stop.wait()
            await agents.stop(drain=1)
        else:
            from cloudstack_hyperv.doors.direct.server import DirectDoor

            direct = DirectDoor(resources, settings.direct, settings.state_path())
            await direct.start()
            await stop.wait()
            await direct.stop(drain=1)


def _host(number: int) -> HostSettings:
    return HostSettings(
        name=f"hv{number}",
        winrm=WinrmSettings(address="127.0.0.1", transport="http", user="u"),
        agent=HostAgentSettings(guid=f"guid-{number}"),
    )


def _resource(settings: Settings, host: HostSettings) -> MemoryResource:
    client = WsmanClient(
        Endpoint("127.0.0.1", 1, https=False), Credentials(AuthScheme.NTLM, "u", "p")
    )
    return MemoryResource(HostContext(settings, host, client, FolderFiles(())))
