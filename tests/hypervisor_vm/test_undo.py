"""Undo: newest first, complete, and not stopped by cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.undo import UndoIncomplete, UndoStack

Step = Callable[[], Awaitable[None]]


async def fail(undo: UndoStack, error: Exception, *steps: tuple[str, Step]) -> None:
    async with undo:
        for what, step in steps:
            undo.push(what, step)
        raise error


def noting(log: list[str], what: str, pause: float = 0.0) -> Step:
    async def step() -> None:
        await asyncio.sleep(pause)
        log.append(what)

    return step


async def test_a_failure_undoes_newest_first() -> None:
    log: list[str] = []
    steps = [("first", noting(log, "first")), ("second", noting(log, "second"))]
    with pytest.raises(ValueError, match="broken"):
        await fail(UndoStack(), ValueError("broken"), *steps)
    assert log == ["second", "first"]


async def test_what_is_committed_stays() -> None:
    log: list[str] = []
    async with UndoStack() as undo:
        undo.push("first", noting(log, "first"))
        undo.commit()
    undo = UndoStack()
    undo.push("first", noting(log, "first"))
    undo.commit()
    with pytest.raises(HypervisorError):
        await fail(undo, HypervisorError("later"))
    assert log == []


async def test_a_deadline_is_a_failure_and_does_not_stop_the_undo() -> None:
    log: list[str] = []

    async def work() -> None:
        async with UndoStack() as undo:
            undo.push("slow", noting(log, "slow", 0.05))
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work(), 0.01)
    assert log == ["slow"]


async def test_a_second_cancellation_does_not_stop_the_undo_either() -> None:
    log: list[str] = []
    started = asyncio.Event()

    async def work() -> None:
        async with UndoStack() as undo:
            undo.push("slow", noting(log, "slow", 0.05))
            started.set()
            await asyncio.sleep(10)

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["slow"]


async def test_what_could_not_be_undone_is_told_and_the_rest_is_undone() -> None:
    log: list[str] = []

    async def fails() -> None:
        raise HypervisorError("host is gone")

    steps = [("first", noting(log, "first")), ("remove the VM", fails)]
    with pytest.raises(UndoIncomplete, match="no memory; could not be undone: remove the VM"):
        await fail(UndoStack(), HypervisorError("no memory"), *steps)
    assert log == ["first"]
