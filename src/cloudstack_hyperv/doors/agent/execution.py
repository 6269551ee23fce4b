"""One request: its commands one after the other, one answer each, whatever happens.

    stop on error   the commands after a failed one are not run; each gets a plain Answer with the
                    words that CloudStack's own agent uses
    cancelled       the command under way fails in its own answer class, the rest as above
    unreadable      answered with what `wire.conversation` made of it; counts as failed

Source: com.cloud.agent.Agent.processRequest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from cloudstack_hyperv.messages import Answer, Command, failure_answer
from cloudstack_hyperv.wire import ServerRequest, UnreadableCommand

log = structlog.get_logger(__name__)

STOPPED: Final = "Stopped by previous failure"

Execute = Callable[[Command], Awaitable[Answer]]


@dataclass(slots=True, eq=False)
class RunningRequest:
    """A request under way."""

    request: ServerRequest
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    _cancelled: str | None = None

    def cancel(self, reason: str) -> None:
        """Break off the command under way and run none after it; all are answered."""
        if self._cancelled is None:
            self._cancelled = reason
            if self.task is not None:
                self.task.cancel()

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled is not None

    async def answers(self, execute: Execute, workers: asyncio.Semaphore | None) -> list[Answer]:
        """Run the commands once there is a place among the `workers` (None: at once).

        Raises nothing but a cancellation that is not of `cancel`.
        """
        if workers is None or not await self._place(workers):
            return await self._run(execute)
        try:
            return await self._run(execute)
        finally:
            workers.release()

    async def _place(self, workers: asyncio.Semaphore) -> bool:
        try:
            await workers.acquire()
        except asyncio.CancelledError:
            self._swallow_own_cancellation()
            return False
        return True

    async def _run(self, execute: Execute) -> list[Answer]:
        made: list[Answer] = []
        stopped = False
        for command in self.request.commands:
            if stopped:
                made.append(Answer(result=False, details=STOPPED))
                continue
            answer = await self._one(command, execute)
            made.append(answer)
            failed = not answer.result and self.request.stops_on_error
            stopped = failed or self.is_cancelled
        return made

    async def _one(self, command: Command | UnreadableCommand, execute: Execute) -> Answer:
        if isinstance(command, UnreadableCommand):
            return command.answer
        if self.is_cancelled:
            return failure_answer(command, f"cancelled before it began: {self._cancelled}")
        try:
            return await execute(command)
        except asyncio.CancelledError:
            self._swallow_own_cancellation()
            return failure_answer(command, f"cancelled: {self._cancelled}")
        except Exception as error:
            log.exception("a command failed in a way that nothing declares")
            return failure_answer(
                command,
                f"internal error in {type(command).__name__} ({type(error).__name__}); "
                "the agent's log has the details",
            )

    def _swallow_own_cancellation(self) -> None:
        """Go on after `cancel`; any other cancellation ends the task as usual."""
        if not self.is_cancelled or self.task is None:
            raise asyncio.CancelledError
        self.task.uncancel()
