"""The connected door between a management server that tests play and an emulated Hyper-V host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from tests.link.management_server import AgentConnection, Authority, ManagementServer

from cloudstack_hyperv.config import AgentDoorSettings, HostAgentSettings
from cloudstack_hyperv.doors.agent.agent import HostAgent
from cloudstack_hyperv.doors.agent.door import AgentDoor
from cloudstack_hyperv.messages import Answer, Command
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource

GUID = "0a8d2c4e-6f10-3b52-9d74-8c6e4a2b0f13"

Play = Callable[[Command], Awaitable[Answer]]


async def until(condition: Callable[[], bool], timeout: float = 10) -> None:
    """Wait until something is so that no event announces (a line in the log, a file)."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


@dataclass(slots=True)
class PlayedResource(Resource):
    """The real resource, but for the commands that a test plays itself (slow or failing ones)."""

    plays: dict[str, Play] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    states: dict[str, str] | None = None
    """What the host reports, if not what the emulated host says."""

    startup_error: Exception | None = None

    async def startup(self, body: bytes) -> bytes:
        if self.startup_error is not None:
            raise self.startup_error
        return await Resource.startup(self, body)

    async def vm_state_report(self) -> dict[str, str]:
        return self.states if self.states is not None else await Resource.vm_state_report(self)

    async def execute(self, command: Command) -> Answer:
        name = type(command).__name__
        self.executed.append(name)
        play = self.plays.get(name)
        return await play(command) if play is not None else await Resource.execute(self, command)


@dataclass
class Stage:
    """Everything a test touches."""

    server: ManagementServer
    door: AgentDoor
    resource: PlayedResource
    folder: Path

    @property
    def agent(self) -> HostAgent:
        return self.door.agents[0]

    async def connection(self) -> AgentConnection:
        return await self.server.next()

    async def admitted(self, ping_interval: int = 60, **second: Any) -> AgentConnection:
        connection = await self.connection()
        await connection.admit(ping_interval, **second)
        return connection


@asynccontextmanager
async def staged(
    context: HostContext,
    authority: Authority,
    server: ManagementServer,
    folder: Path,
    *,
    hosts: tuple[HostAgentSettings, ...] = (HostAgentSettings(guid=GUID),),
    **agent: Any,
) -> AsyncIterator[Stage]:
    """Open the door towards `server` for the block."""
    options: dict[str, Any] = {
        "servers": () if "properties" in agent else ("127.0.0.1",),
        "port": server.port,
        "ca_file": str(authority.bundle),
        "backoff": 0.05,
        "backoff_limit": 0.2,
        "refused_retry": 0.2,
        "zone": "1",
        "pod": "1",
        "cluster": "1",
        **agent,
    }
    named = tuple(
        msgspec.structs.replace(context.host, name=f"hv{number}", agent=host)
        for number, host in enumerate(hosts, 1)
    )
    settings = msgspec.structs.replace(
        context.settings,
        hosts=named,
        agent=AgentDoorSettings(**options),
        state_folder=str(folder / "state"),
    )
    resources = [
        PlayedResource(HostContext(settings, host, context.cim, context.files)) for host in named
    ]
    door = AgentDoor(resources, settings)
    door.start()
    try:
        yield Stage(server, door, resources[0], folder)
    finally:
        await door.stop(drain=0)
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("agent ")]
