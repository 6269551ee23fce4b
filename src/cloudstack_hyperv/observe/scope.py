"""What is known of the command that is being carried out, wherever in the process that happens.

A command passes doors, resource, hypervisor and WS-Man client; each would have to hand on the log
id and count its round trips.  A context variable does it instead: the door opens a scope, the
WS-Man client counts into it, the log reads from it.  Tasks that a command starts inherit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class CommandScope:
    """One command under way."""

    command: str
    """Simple class name, such as "StartCommand"."""
    host: str
    """The Hyper-V host's name in our configuration."""
    logid: str = ""
    """CloudStack's `logid` from contextMap, the thread that runs through all its logs."""
    round_trips: int = 0
    """WS-Man requests sent, without job polls."""
    job_polls: int = 0
    """WS-Man requests that only asked a job how far it is."""
    progress: list[tuple[str, float]] = field(default_factory=list)
    """(what, fraction 0..1) of long steps, newest last."""


_current: ContextVar[CommandScope | None] = ContextVar("command_scope", default=None)


@contextmanager
def command_scope(scope: CommandScope) -> Iterator[CommandScope]:
    """Make `scope` the current one for the block and for the tasks started in it."""
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def current_scope() -> CommandScope | None:
    """Return the scope of the running command, None outside of any."""
    return _current.get()


def count_round_trip(*, job_poll: bool = False) -> None:
    """Count one WS-Man request of the running command."""
    scope = _current.get()
    if scope is None:
        return
    if job_poll:
        scope.job_polls += 1
    else:
        scope.round_trips += 1
