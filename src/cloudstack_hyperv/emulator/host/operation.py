"""Carrying out a method: at once with 0, or as a job with 4096.

A handler checks its arguments and describes what is to happen as an `Operation`; the `Conductor`
decides whether that becomes a job, keeps a machine to one operation at a time, runs work on files
in a thread and turns failures into codes or job errors.

Which of the two a method does is Windows' choice (load, state, release), so clients must take
both: `JobMode.SEEDED` mostly does what Windows usually does for that method and now and then the
other, repeatably.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Value
from cloudstack_hyperv.emulator.host import fates
from cloudstack_hyperv.emulator.host.config import JobMode
from cloudstack_hyperv.emulator.host.fates import JobEnding, JobFate
from cloudstack_hyperv.emulator.host.jobs import Job, JobBoard, JobKind, Progress
from cloudstack_hyperv.emulator.host.outcome import JobFailed, invalid_state

_THE_OTHER_WAY = 0.15
"""How often the seeded mode does not do what is usual."""


class Occupied(Protocol):
    """Something that carries out one operation at a time: a machine."""

    machine_id: str
    occupied: bool


def _no_effect(_: object) -> None:
    return None


@dataclass(slots=True)
class Operation:
    """What a method is going to do, its arguments being accepted.

    `work` runs in a thread and touches only files; `apply` runs in the event loop's thread with
    its result and changes the host.  `begin` makes the state that shows while a job runs,
    `fail` takes it back.  `out` are out parameters known in advance.
    """

    kind: JobKind
    apply: Callable[[Any], None] = _no_effect
    seconds: float = 0.0
    usually_job: bool = True
    always_job: bool = False
    """A seeded host never does this at once: clients are known to need the job."""
    machine: Occupied | None = None
    affected: tuple[ObjectPath, ...] = ()
    out: Mapping[str, Value] = field(default_factory=dict)
    work: Callable[[Progress], Any] | None = None
    awaits: Callable[[], Future[Any]] | None = None
    """Instead of `work`: something that takes its time elsewhere.  Always a job."""
    begin: Callable[[], None] = lambda: None
    fail: Callable[[], None] = lambda: None
    on_job: Callable[[Job], None] = lambda _: None


class Conductor:
    """Runs operations for one host."""

    def __init__(self, board: JobBoard, mode: JobMode, dice: random.Random) -> None:
        self._board = board
        self.mode = mode
        self._dice = dice
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Wait for work in threads and end them."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def in_thread(self, work: Callable[[], Any]) -> Future[Any]:
        """Start work on files; threads exist only once the first such work came."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="vmms-disk")
        return self._pool.submit(work)

    def as_job(self, *, usually: bool) -> bool:
        """Choose between 4096 and 0."""
        if fates.is_at_once():
            return False
        if self.mode is JobMode.SEEDED:
            return usually != (self._dice.random() < _THE_OTHER_WAY)
        return self.mode is JobMode.ALWAYS_4096

    def run(self, call: MethodCall, operation: Operation) -> MethodReply | Awaitable[MethodReply]:
        """Carry out an operation and answer the call; Refused when the machine is occupied."""
        machine = operation.machine
        if machine is not None and machine.occupied:
            raise invalid_state("another operation on this virtual machine is in progress")
        fate = fates.take()
        wanted = None if fate is None else self._bend(operation, fate)
        if wanted is None:
            seeded = self.mode is JobMode.SEEDED and not fates.is_at_once()
            wanted = (operation.always_job and seeded) or self.as_job(usually=operation.usually_job)
        if wanted or operation.awaits is not None:
            return self._start_job(call, operation)
        if operation.work is None:
            operation.begin()
            return self._finish_at_once(operation, None)
        return self._finish_after_work(operation, operation.work)

    def _bend(self, operation: Operation, fate: JobFate) -> bool | None:
        """Let an operation end as somebody decided; return whether it is to be a job."""
        if fate.seconds is not None:
            operation.seconds = fate.seconds
        if fate.ending is JobEnding.NATURAL:
            return fate.as_job
        failure = fate.failure or JobFailed(ReturnCode.FAILED, "The operation failed.")
        effect, watch = operation.apply, operation.on_job
        started: list[Job] = []
        if not fate.takes_effect:
            operation.work = None
            effect = lambda _: operation.fail()  # noqa: E731 - the same shape as `apply`

        def apply(result: object) -> None:
            if fate.ending is not JobEnding.EXCEPTION or fate.takes_effect:
                effect(result)
            if fate.ending is JobEnding.EXCEPTION:
                raise failure
            if fate.ending is JobEnding.COMPLETED_WITH_ERROR:
                for job in started:
                    job.error_code, job.error_text = failure.code, failure.text
                    job.error_hresult = failure.hresult

        def on_job(job: Job) -> None:
            started.append(job)
            watch(job)
            if fate.ending is JobEnding.VANISHED:
                self._board.forget_after(job, fate.vanishes_after)

        operation.apply, operation.on_job = apply, on_job
        return True if fate.as_job is None else fate.as_job

    def _start_job(self, call: MethodCall, operation: Operation) -> MethodReply:
        machine = operation.machine

        def release() -> None:
            if machine is not None:
                machine.occupied = False

        def finish(result: object) -> None:
            operation.apply(result)
            release()

        def fail() -> None:
            release()
            operation.fail()

        if machine is not None:
            machine.occupied = True
        operation.begin()
        job = self._board.start(
            operation.kind,
            operation.seconds,
            finish,
            owner=call.caller.user,
            fail=fail,
            machine_id=machine.machine_id if machine is not None else None,
            affected=operation.affected,
            work=self._awaited(operation.awaits) or self._threaded(operation.work),
        )
        operation.on_job(job)
        path = ObjectPath.of(job.kind.class_name, NAMESPACE_VIRTUALIZATION, InstanceID=job.job_id)
        return MethodReply(ReturnCode.JOB_STARTED, {**operation.out, "Job": path})

    @staticmethod
    def _awaited(
        awaits: Callable[[], Future[Any]] | None,
    ) -> Callable[[Progress], Future[Any]] | None:
        return None if awaits is None else lambda _: awaits()

    def _threaded(
        self, work: Callable[[Progress], Any] | None
    ) -> Callable[[Progress], Future[Any]] | None:
        if work is None:
            return None
        return lambda progress: self.in_thread(lambda: work(progress))

    def _finish_at_once(self, operation: Operation, result: object) -> MethodReply:
        try:
            operation.apply(result)
        except JobFailed as failure:
            operation.fail()
            return MethodReply(failure.code)
        return MethodReply(ReturnCode.COMPLETED, operation.out)

    async def _finish_after_work(
        self, operation: Operation, work: Callable[[Progress], Any]
    ) -> MethodReply:
        machine = operation.machine
        if machine is not None:
            machine.occupied = True
        operation.begin()
        try:
            result = await asyncio.wrap_future(self.in_thread(lambda: work(Progress())))
        except JobFailed as failure:
            operation.fail()
            return MethodReply(failure.code)
        finally:
            if machine is not None:
                machine.occupied = False
        return self._finish_at_once(operation, result)
