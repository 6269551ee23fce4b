"""Taking back what a half-done operation made: newest first, each within its own deadline.

WMI has no transactions.  An operation pushes the opposite of a step *before* it takes the step
(whether a call that broke down had an effect is unknown), and commits at the end.  Cancellation,
as by a command's deadline, is a failure like any other, and what is taken back then is not
cancelled with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

from cloudstack_hyperv.hypervisor.errors import HypervisorError

log = structlog.get_logger(__name__)

UNDO_TIMEOUT = 120.0
"""Seconds for one step back."""


class UndoIncomplete(HypervisorError):
    """The operation failed and so did taking it back: something is left on the host."""


class UndoStack:
    """`async with UndoStack() as undo`: what was pushed is undone unless `commit` was called."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], Awaitable[None]]]] = []

    def push(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        """Add a step back; `what` says in the log what it does ("remove VM i-2-3-VM")."""
        self._steps.append((what, step))

    def commit(self) -> None:
        """Keep everything: nothing will be undone."""
        self._steps.clear()

    async def unwind(self) -> list[str]:
        """Undo everything now, success or not; returns what could not be undone, with reasons.

        Goes to its end even if the current task is cancelled meanwhile.
        """
        return await _uncancelled(self._undo())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or not self._steps:
            return
        failures = await _uncancelled(self._undo())
        if failures and isinstance(error, HypervisorError):
            raise UndoIncomplete(f"{error}; could not be undone: {'; '.join(failures)}") from error

    async def _undo(self) -> list[str]:
        failures = []
        while self._steps:
            what, step = self._steps.pop()
            try:
                async with asyncio.timeout(UNDO_TIMEOUT):
                    await step()
                log.info("undone", step=what)
            except (HypervisorError, TimeoutError) as failure:
                log.error("could not be undone", step=what, reason=str(failure) or "timed out")  # noqa: TRY400  (the reason says all; no trace)
                failures.append(f"{what} ({failure or 'timed out'})")
        return failures


async def _uncancelled(work: Awaitable[list[str]]) -> list[str]:
    """Await `work` to its end even if the current task is cancelled (again) meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.result()
