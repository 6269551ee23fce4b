"""What somebody outside decided about the next operation: how its job ends, whether it is one.

The conductor runs an operation as Windows would.  Whoever makes faults on purpose sits in front of
the door and sees only the call; between the two are the CIM engine and a method's own checks.  So
a `JobFate` travels in the context of the call (`contextvars`, one per request), and the first
operation that the call starts takes it.  A call that starts none leaves it untaken, which can be
read afterwards.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from cloudstack_hyperv.emulator.host.outcome import JobFailed


class JobEnding(enum.Enum):
    """How a job ends."""

    NATURAL = "natural"
    EXCEPTION = "exception"
    """JobState 10 with the failure's code, text and HRESULT."""
    COMPLETED_WITH_ERROR = "completed-with-error"
    """JobState 7 with an ErrorCode that is not 0."""
    VANISHED = "vanished"
    """Its row is gone; whoever polls finds nothing."""


@dataclass(slots=True)
class JobFate:
    """What is to become of one operation; `taken` once an operation has met it."""

    ending: JobEnding = JobEnding.NATURAL
    failure: JobFailed | None = None
    """Code, text and HRESULT for the endings that have some."""
    takes_effect: bool = False
    """Whether the operation does its work all the same (endings other than NATURAL)."""
    as_job: bool | None = None
    """True: answer 4096, False: answer 0, None: as it comes; a bad ending needs a job."""
    seconds: float | None = None
    """How long the job takes; None: as usual."""
    vanishes_after: float = 0.0
    """Seconds that the row of a job that vanishes is still there."""
    taken: bool = False


_arranged: ContextVar[JobFate | None] = ContextVar("arranged job fate", default=None)
_at_once: ContextVar[bool] = ContextVar("operations are carried out at once", default=False)


def arrange(fate: JobFate | None) -> None:
    """Decide about the next operation of this context; None withdraws an earlier decision."""
    _arranged.set(fate)


def take() -> JobFate | None:
    """Return what was decided about the operation that starts now, once."""
    fate = _arranged.get()
    if fate is None or fate.taken:
        return None
    fate.taken = True
    return fate


@contextmanager
def at_once() -> Iterator[None]:
    """Let the operations of the block finish before they answer, with 0 and never as a job."""
    token = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(token)


def is_at_once() -> bool:
    """Whether operations of this context are never jobs."""
    return _at_once.get()
