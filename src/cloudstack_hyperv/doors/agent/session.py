"""One connection from Startup to its end: reads, runs, answers, pings.

Everything that takes time is a task of its own, so a ping never waits for a command and an answer
never for another one.  When the connection ends its timers die with it; running commands go on, and
their answers are dropped: the server has told its callers already that the host is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from cloudstack_hyperv.doors.agent.core import CoreCommands, Handled
from cloudstack_hyperv.doors.agent.cron import CRON_COMMANDS, cron_interval
from cloudstack_hyperv.doors.agent.execution import RunningRequest
from cloudstack_hyperv.doors.agent.moving import Moving
from cloudstack_hyperv.doors.agent.outcome import Lost, Outcome, Refused, Retired
from cloudstack_hyperv.doors.agent.parts import AgentParts
from cloudstack_hyperv.doors.agent.pinging import Pinging
from cloudstack_hyperv.doors.agent.startup import HostNotReady, startup_commands
from cloudstack_hyperv.link import Link, LinkLost
from cloudstack_hyperv.messages import Answer, Command, UnsupportedAnswer, failure_answer
from cloudstack_hyperv.messages.commands.host import (
    CheckHealthCommand,
    ReadyCommand,
    ShutdownCommand,
)
from cloudstack_hyperv.wire import (
    Admitted,
    Answered,
    Conversation,
    Event,
    FrameDropped,
    Header,
    PingAnswered,
    Requested,
    ServerList,
    ServerRequest,
    StartupAccepted,
    conversation,
)

log = structlog.get_logger(__name__)

GOODBYE: Final = 1.0
"""Seconds between the farewell and the end of the connection, as the Java agent waits."""
_NEVER_QUEUED: Final = (ReadyCommand, CheckHealthCommand)
"""Run at once even when all workers are busy: the answer decides whether the host is alive."""


class Session:
    """Speaks with one management server over one link; made for one `run`."""

    def __init__(self, parts: AgentParts, link: Link, server: str) -> None:
        self._parts = parts
        self._link = link
        self.server = server
        self._conversation = Conversation(
            parts.sequences,
            agent_id=parts.memory.agent_id,
            most_body_bytes=parts.configuration.limits.most_frame_bytes,
        )
        self._core = CoreCommands(
            self,
            parts.memory,
            parts.certificates,
            parts.configuration.name,
            parts.configuration.private_address,
        )
        self._moving = Moving(parts, server, self._finish)
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._controls: dict[int, asyncio.Future[Answer]] = {}
        self._pinging: Pinging | None = None
        self._starting_again = False
        self.was_accepted = False
        self.was_admitted = False

    async def run(self, startup: list[Command], *, patience: float) -> Outcome:
        """Send the Startup request and serve until the connection ends.

        `patience` is the time in seconds for the StartupAnswer.
        """
        try:
            await self._link.send(self._conversation.startup(startup).data)
            self._spawn(self._read())
            timer = asyncio.get_running_loop().call_later(
                patience, self._startup_unanswered, patience
            )
            try:
                return await self._outcome
            finally:
                timer.cancel()
        except LinkLost as error:
            return Lost(str(error))
        finally:
            await self._end()

    async def control(self, command: Command, timeout: float) -> Answer:
        """Send an AgentControlCommand and return its answer; raises TimeoutError, LinkLost."""
        own = self._conversation.request(command)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._controls[own.sequence] = future
        try:
            async with asyncio.timeout(timeout):
                await self._link.send(own.data)
                return await future
        finally:
            self._controls.pop(own.sequence, None)
            self._conversation.forget(own.sequence)

    async def say_goodbye(self, detail: str) -> None:
        """Tell the server that the agent stops on purpose: no investigation, no restarts."""
        command = ShutdownCommand(reason="sig.kill", detail=detail)
        try:
            await self._link.send(self._conversation.farewell(command))
        except LinkLost:
            return
        await asyncio.sleep(GOODBYE)

    def close(self, reason: str) -> None:
        """End the connection."""
        self._finish(Lost(reason))

    def __repr__(self) -> str:
        return f"Session({self.server}, {self._conversation!r}, {self._link!r})"

    # What commands to the agent may do (core.Connection)

    @property
    def local_address(self) -> str:
        """Our address on this connection."""
        return self._link.local_address

    def take_servers(
        self,
        listed: list[str] | None,
        algorithm: str | None,
        avoid: list[str] | None,
        check_interval: int | None,
    ) -> None:
        """Use a list of management servers from now on, and remember it."""
        parts = self._parts
        parts.choice.avoid(avoid)
        if check_interval is not None:
            parts.check_interval = float(check_interval)
        servers = tuple(one for one in listed or () if one)
        if not servers:
            return
        new = ServerList(servers, algorithm or parts.choice.listed.algorithm)
        if parts.choice.take(new):
            parts.preferred_checked = False
            parts.memory.servers(new)
            log.info("list of management servers received", servers=str(new))

    def check_preferred_now(self) -> None:
        """Look for the preferred server once."""
        self._spawn(self._moving.to_preferred())

    def migrate(self) -> None:
        """Go to the first reachable server of the list, soon."""
        self._spawn(self._moving.migrate())

    def renew(self) -> None:
        """Connect anew as soon as no command runs."""
        self._spawn(self._moving.renew(self.say_goodbye))

    def retire(self, reason: str, *, removed: bool) -> None:
        """End for good."""
        self._finish(Retired(reason, removed))

    def cancel_request(self, sequence: int, reason: str) -> bool:
        """Break off a running request."""
        for running in self._parts.running:
            if running.request.sequence == sequence:
                running.cancel(reason)
                return True
        return False

    # Reading

    async def _read(self) -> None:
        while True:
            while self._parts.is_full:
                tasks = [one.task for one in self._parts.running if one.task is not None]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            frame = await self._link.receive()
            for event in self._conversation.receive(frame):
                self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Requested(request):
                self._run(request)
            case PingAnswered():
                self._ping_answered(event)
            case StartupAccepted():
                self._accepted(event)
            case Admitted(ready):
                self._admitted(ready)
            case conversation.Refused(reason):
                self._finish(Refused(reason))
            case Answered(sequence, answers):
                future = self._controls.get(sequence)
                if future is not None and not future.done():
                    future.set_result(answers[0])
            case FrameDropped(reason):
                log.warning("frame dropped", reason=reason)

    def _accepted(self, event: StartupAccepted) -> None:
        self.was_accepted = True
        if self._pinging is None:
            log.info(
                "startup accepted",
                ping_interval=event.ping_interval,
                admitted=event.host_id is not None,
            )
            self._pinging = Pinging(self._parts, self._conversation, self._link)
            self._spawn(self._ping(self._pinging, event.ping_interval))
            self._spawn(self._moving.watch_preferred(lambda: self.was_admitted))

    def _admitted(self, ready: ReadyCommand) -> None:
        if not self.was_admitted:
            log.info("host admitted", host_id=ready.host_id, uuid=ready.host_uuid)
        self.was_admitted = True
        self._parts.memory.admitted(ready)
        self.take_servers(
            ready.ms_host_list,
            ready.lb_algorithm,
            ready.avoid_ms_host_list,
            ready.lb_check_interval,
        )

    def _ping_answered(self, event: PingAnswered) -> None:
        if self._pinging is not None:
            self._pinging.answered(event.sequence)
        self._parts.choice.avoid(event.avoid_servers)
        if event.send_startup and not self._starting_again:
            self._starting_again = True
            self._spawn(self._start_again())

    # Running

    def _run(self, request: ServerRequest) -> None:
        running = RunningRequest(request)
        self._parts.running.add(running)
        running.task = asyncio.create_task(self._answer_request(running))
        running.task.add_done_callback(lambda _: self._parts.running.discard(running))

    async def _answer_request(self, running: RunningRequest) -> None:
        request = running.request
        afterwards: list[Handled] = []

        async def execute(command: Command) -> Answer:
            if self._parts.stopping:
                return failure_answer(command, "the agent is stopping")
            if isinstance(command, CRON_COMMANDS):
                self._spawn(self._repeat(command, request.header))
                return Answer(result=True)
            handled = await self._core.handle(command)
            if handled is not None:
                afterwards.append(handled)
                return handled.answer
            return await self._parts.resource.execute(command)

        at_once = all(isinstance(command, _NEVER_QUEUED) for command in request.commands)
        answers = await running.answers(execute, None if at_once else self._parts.workers)
        await self._send_answers(request.header, answers)
        for handled in afterwards:
            if handled.then is not None:
                handled.then()

    async def _send_answers(self, header: Header, answers: list[Answer]) -> None:
        if self._outcome.done():
            log.warning("answers dropped: their connection is gone", count=len(answers))
            return
        delay = self._parts.pacing.delay(asyncio.get_running_loop().time())
        if delay > 0:
            await asyncio.sleep(delay)
        try:
            await self._link.send(self._conversation.answer(header, answers))
        except LinkLost:
            log.warning("answers dropped: their connection is gone", count=len(answers))

    async def _repeat(self, command: Command, header: Header) -> None:
        """Run a cron command every interval; each result has the first request's sequence."""
        interval = cron_interval(command)
        while True:
            await asyncio.sleep(interval)
            async with self._parts.workers:
                answer = await self._parts.resource.execute(command)
            await self._send_answers(header, [answer])
            if isinstance(answer, UnsupportedAnswer):
                return

    # Pings

    async def _ping(self, pinging: Pinging, interval: int) -> None:
        self._finish(Lost(await pinging.run(interval)))

    async def _start_again(self) -> None:
        try:
            commands = await startup_commands(
                self._parts.resource,
                self._parts.configuration,
                agent_id=self._parts.memory.agent_id,
                servers=self._parts.choice.listed,
                transferred=False,
            )
        except HostNotReady as error:  # the answer to the next ping asks again
            log.warning("the host is not ready to be started up again", reason=str(error))
        else:
            await self._link.send(self._conversation.startup(commands).data)
            log.info("startup sent again, as the management server asked")
        finally:
            self._starting_again = False

    # The end

    def _startup_unanswered(self, patience: float) -> None:
        if not self.was_accepted:
            self._finish(Lost(f"no StartupAnswer within {patience:g} s"))

    def _finish(self, outcome: Outcome) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._outcome.done():
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, LinkLost):
            self._finish(Lost(str(error)))
        elif error is not None:
            log.error("the connection's own task failed", exc_info=error)
            self._finish(Lost(f"internal error: {type(error).__name__}"))

    async def _end(self) -> None:
        self._finish(Lost("closed by us"))
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        for future in self._controls.values():
            if not future.done():
                future.set_exception(LinkLost("the connection ended"))
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._link.close()
