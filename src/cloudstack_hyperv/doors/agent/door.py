"""The connected door: an agent a host, each with a connection of its own, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from cloudstack_hyperv.config import AgentDoorSettings, Settings
from cloudstack_hyperv.doors.agent.agent import HostAgent
from cloudstack_hyperv.doors.agent.certificates import CertificateStore
from cloudstack_hyperv.doors.agent.configuration import (
    ELSEWHERE,
    AgentConfiguration,
    HostWasRemoved,
    agent_configuration,
)
from cloudstack_hyperv.doors.agent.memory import AgentMemory
from cloudstack_hyperv.doors.agent.parts import AgentParts
from cloudstack_hyperv.doors.agent.properties import Properties
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.wire import ServerChoice

log = structlog.get_logger(__name__)


class AgentDoor:
    """Connects any number of Hyper-V hosts to their management servers."""

    def __init__(self, resources: Sequence[Resource], settings: Settings) -> None:
        self._resources = tuple(resources)
        self._settings = settings
        self._door = settings.agent or AgentDoorSettings()
        self.agents: tuple[HostAgent, ...] = ()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> tuple[HostAgent, ...]:
        """Start an agent a host; raises ConfigurationError before any is started.

        A host that a management server removed for good is left out, with a word in the log.
        """
        made: list[HostAgent] = []
        for position, resource in enumerate(self._resources):
            try:
                made.append(host_agent(resource, self._settings, position))
            except HostWasRemoved as error:
                log.warning("host left out", host=resource.context.host.name, reason=str(error))
        self.agents = tuple(made)
        for agent in made:
            self._tasks.append(asyncio.create_task(agent.run(), name=f"agent {agent.name}"))
        return self.agents

    async def stop(self, drain: float | None = None) -> None:
        """Stop all agents at the same time, running commands within `drain` seconds."""
        limit = self._door.drain_timeout if drain is None else drain
        await asyncio.gather(*(agent.stop(limit) for agent in self.agents))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def __repr__(self) -> str:
        admitted = sum(agent.is_admitted for agent in self.agents)
        return f"AgentDoor({admitted} of {len(self.agents)} hosts admitted)"


def host_agent(resource: Resource, settings: Settings, position: int) -> HostAgent:
    """Assemble one host's agent; raises ConfigurationError, HostWasRemoved."""
    host = resource.context.host
    configuration, properties = agent_configuration(settings, host, position)
    certificates = CertificateStore(
        configuration.certificates, configuration.door, configuration.certificate_prefix
    )
    certificates.trust()  # nobody to believe is said at start, not at the first connection
    _tell_ignored(configuration, properties)
    return HostAgent(
        AgentParts(
            configuration=configuration,
            resource=resource,
            memory=AgentMemory.begin(configuration.properties, properties),
            certificates=certificates,
            choice=ServerChoice(configuration.servers),
            workers=asyncio.Semaphore(configuration.workers),
        )
    )


def _tell_ignored(configuration: AgentConfiguration, properties: Properties) -> None:
    for key in properties.names():
        if key in ELSEWHERE and properties.get(key) is not None:
            log.info(
                "agent.properties: key without meaning here",
                host=configuration.name,
                key=key,
                instead=ELSEWHERE[key],
            )
