"""Time of an emulated host: what the clock says, and what is due.

Nothing in the host model sleeps.  A transition that takes two seconds writes an appointment into
the `Timeline`, and whoever looks at the host next settles everything that has come due, in order,
each at *its* time.  So a virtual clock needs no special code, an idle host costs nothing, and the
up-time of a machine is right even when nobody asked for an hour.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

NEVER = datetime(1601, 1, 1, tzinfo=UTC)
"""Windows' zero timestamp, which WMI shows for "has not happened"."""


class Clock(Protocol):
    """Where the host takes its time from."""

    def now(self) -> datetime:
        """Return the current time, UTC."""
        ...


class SystemClock:
    """The clock of the machine that runs the emulator."""

    def now(self) -> datetime:
        """Return the current time, UTC."""
        return datetime.now(UTC)


class VirtualClock:
    """A clock that moves only when told to: hours of host life in a test's milliseconds."""

    def __init__(self, start: datetime = datetime(2026, 1, 5, 8, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the time the clock was last moved to."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward; raises ValueError for a negative step."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += timedelta(seconds=seconds)


class Appointment:
    """Something due at a time; `cancel` makes it not happen."""

    __slots__ = ("action", "cancelled")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.cancelled = False

    def cancel(self) -> None:
        """Call it off."""
        self.cancelled = True


class Timeline:
    """Appointments of one host, and threads' work that it waits for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moment: datetime | None = None
        self._due: list[tuple[datetime, int, Appointment]] = []
        self._order = itertools.count()
        self._working: list[tuple[Future[Any], Callable[[], None]]] = []

    def now(self) -> datetime:
        """Return the time; inside an action, the time at which that action was due."""
        return self._moment or self._clock.now()

    def after(self, seconds: float, action: Callable[[], None]) -> Appointment:
        """Run `action` once `seconds` have passed."""
        appointment = Appointment(action)
        when = self.now() + timedelta(seconds=seconds)
        heapq.heappush(self._due, (when, next(self._order), appointment))
        return appointment

    def when_done(self, work: Future[Any], action: Callable[[], None]) -> None:
        """Run `action` at the first look after a thread has finished `work`."""
        self._working.append((work, action))

    def settle(self) -> None:
        """Let everything happen that is due by now."""
        if self._moment is not None:
            return  # called from inside an action: the outer loop goes on
        self._collect_finished_work()
        now = self._clock.now()
        while self._due and self._due[0][0] <= now:
            when, _, appointment = heapq.heappop(self._due)
            if appointment.cancelled:
                continue
            self._moment = when
            try:
                appointment.action()
            finally:
                self._moment = None

    @property
    def waits_for_work(self) -> bool:
        """Whether something is due as soon as a thread has finished."""
        return bool(self._working)

    def _collect_finished_work(self) -> None:
        if not self._working:
            return
        still: list[tuple[Future[Any], Callable[[], None]]] = []
        finished: list[tuple[Future[Any], Callable[[], None]]] = []
        for entry in self._working:
            (finished if entry[0].done() else still).append(entry)
        self._working = still
        for _, action in finished:
            action()
