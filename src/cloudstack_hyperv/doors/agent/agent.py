"""One host's agent: connects, serves, connects again, until it is stopped or the host is deleted.

The host is asked before a connection is made: a Startup request is whole or not sent, and while the
host cannot be reached CloudStack sees its agent gone, which is the truth.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import structlog

from cloudstack_hyperv.config import ConfigurationError
from cloudstack_hyperv.doors.agent.outcome import Lost, Moved, Outcome, Refused, Retired
from cloudstack_hyperv.doors.agent.parts import AgentParts
from cloudstack_hyperv.doors.agent.refusal import meaning
from cloudstack_hyperv.doors.agent.session import Session
from cloudstack_hyperv.doors.agent.startup import HostNotReady, startup_commands
from cloudstack_hyperv.link import LinkFailed, LinkLost, connect_link
from cloudstack_hyperv.messages import Answer, Command
from cloudstack_hyperv.wire import Backoff, StartupPatience

log = structlog.get_logger(__name__)

_CANCEL_WAIT: Final = 5.0


class HostAgent:
    """Keeps one Hyper-V host connected to a management server."""

    def __init__(self, parts: AgentParts) -> None:
        self._parts = parts
        configuration = parts.configuration
        self._backoff = Backoff(configuration.backoff, configuration.door.backoff_limit)
        self._patience = StartupPatience(configuration.door.startup_timeout)
        self._stop = asyncio.Event()
        self._session: Session | None = None
        self._move: Moved | None = None

    @property
    def name(self) -> str:
        """The host's name."""
        return self._parts.configuration.name

    @property
    def is_admitted(self) -> bool:
        """Whether a management server commands the host now."""
        return self._session is not None and self._session.was_admitted

    async def run(self) -> None:
        """Serve until stopped, or until the management server deletes the host."""
        with structlog.contextvars.bound_contextvars(host=self.name):
            while not self._stop.is_set():
                outcome = await self._connection()
                if isinstance(outcome, Retired):
                    self._retired(outcome)
                    return
                await self._between(outcome)

    async def stop(self, drain: float) -> None:
        """Let running commands end within `drain` seconds, say goodbye, close."""
        self._stop.set()
        self._parts.stopping = True
        running = [one.task for one in self._parts.running if one.task is not None]
        if running and drain > 0:
            log.info("waiting for running commands", host=self.name, count=len(running))
            await asyncio.wait(running, timeout=drain)
        for one in tuple(self._parts.running):
            one.cancel("the agent stops")
        rest = [one.task for one in self._parts.running if one.task is not None]
        if rest:
            await asyncio.wait(rest, timeout=_CANCEL_WAIT)
        session = self._session
        if session is not None:
            await session.say_goodbye("the agent was stopped")
            session.close("stopped")

    async def control(self, command: Command, timeout: float = 30.0) -> Answer:
        """Send an AgentControlCommand to the management server and return its answer.

        Raises LinkLost when there is no connection, TimeoutError.
        """
        if self._session is None:
            raise LinkLost("not connected to a management server")
        return await self._session.control(command, timeout)

    def __repr__(self) -> str:
        state = repr(self._session) if self._session is not None else "not connected"
        return f"HostAgent({self.name}, {state}, {len(self._parts.running)} requests running)"

    async def _connection(self) -> Outcome:
        """Make one connection and serve it; returns how it ended, also when none came about."""
        parts, move = self._parts, self._move
        self._move = None
        configuration = parts.configuration
        try:
            startup = await startup_commands(
                parts.resource,
                configuration,
                agent_id=parts.memory.agent_id,
                servers=parts.choice.listed,
                transferred=move is not None and move.transferred,
            )
        except HostNotReady as error:
            return Lost(f"the Hyper-V host is not ready: {error}")
        except Exception as error:
            log.exception("Startup failed in a way that nothing declares")
            return Lost(f"internal error at Startup: {type(error).__name__}")
        server = move.server if move is not None else parts.choice.next()
        if self._stop.is_set():
            return Lost("stopped")
        try:
            link = await connect_link(
                server,
                configuration.port,
                parts.certificates.trust(),
                parts.certificates.identity(),
                configuration.limits,
            )
        except (LinkFailed, ConfigurationError) as error:
            return Lost(str(error))
        log.info("connected", server=server, tls=link.description, own_address=link.local_address)
        return await self._served(Session(parts, link, server), startup)

    async def _served(self, session: Session, startup: list[Command]) -> Outcome:
        self._session = session
        try:
            outcome = await session.run(startup, patience=self._patience.seconds)
        finally:
            self._session = None
        if session.was_accepted:
            self._patience.succeeded()
        else:
            self._patience.ran_out()
        if session.was_admitted:
            self._backoff.reset()
        return outcome

    async def _between(self, outcome: Outcome) -> None:
        """Say how a connection ended and wait as long as that asks for."""
        match outcome:
            case Moved():
                log.info("connecting anew", server=outcome.server, reason=outcome.reason)
                self._move = outcome
            case Refused(reason):
                pause = self._parts.configuration.door.refused_retry
                pause *= 1 + self._backoff.jitter * (2 * random.random() - 1)  # noqa: S311 - spread, no secret
                log.error(
                    "the management server refuses this host",
                    reason=reason,
                    meaning=meaning(reason),
                    next_try_in=round(pause),
                )
                await self._pause(pause)
            case Lost(reason):
                grow = self._parts.choice.is_new_round
                pause = (self._backoff.pause if grow else self._backoff.same_pause)(random.random)
                if not self._stop.is_set():
                    log.warning("not connected", reason=reason, next_try_in=round(pause, 1))
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    def _retired(self, outcome: Retired) -> None:
        log.warning(
            "the management server gave this host up: not connecting again; remove the host from "
            "the configuration, or restart to offer it again",
            reason=outcome.reason,
        )
        if outcome.removed:
            self._parts.memory.removed()
