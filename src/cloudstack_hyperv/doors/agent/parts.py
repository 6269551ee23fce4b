"""What one host's agent keeps over its connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from cloudstack_hyperv.doors.agent.certificates import CertificateStore
from cloudstack_hyperv.doors.agent.configuration import AgentConfiguration
from cloudstack_hyperv.doors.agent.execution import RunningRequest
from cloudstack_hyperv.doors.agent.memory import AgentMemory
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.wire import Pacing, Sequences, ServerChoice

MOST_REQUESTS = 4096
"""Requests of one host under way or queued, before reading stops: a server that floods waits."""


@dataclass(slots=True)
class AgentParts:
    """Shared by a host's agent and its connection of the moment."""

    configuration: AgentConfiguration
    resource: Resource
    memory: AgentMemory
    certificates: CertificateStore
    choice: ServerChoice
    workers: asyncio.Semaphore
    sequences: Sequences = field(default_factory=Sequences)
    pacing: Pacing = field(default_factory=Pacing)
    running: set[RunningRequest] = field(default_factory=set)
    """Requests under way, also those whose connection is gone: they are not broken off."""
    check_interval: float | None = None
    """The server's wish for the interval between checks for the preferred server, seconds."""
    preferred_checked: bool = False
    """With a shuffled list it is looked for once only."""
    stopping: bool = False

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be read before a request ends."""
        return len(self.running) >= MOST_REQUESTS

    def preferred_check_interval(self) -> float:
        """Return the interval that holds, 0 for never: ours wins over the server's."""
        own = self.configuration.preferred_check_interval
        return own if own is not None else self.check_interval or 0.0
