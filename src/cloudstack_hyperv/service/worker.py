"""The agent in a thread of its own, for a service manager that calls instead of sending signals.

The Windows service manager starts a service in one thread and tells it to stop from another.  What
it is told itself goes through `report`, so that all of this runs and is tested without Windows.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from typing import Final

START_PATIENCE: Final = 120.0
STOP_PATIENCE: Final = 180.0


class Phase(enum.Enum):
    """What the service manager is told."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


Main = Callable[[Callable[[], None], Callable[[Callable[[], None]], None]], int]
"""Runs the agent: called with what to call when all doors are open, and with what takes the
function that makes it stop.  Returns an exit status."""

Report = Callable[[Phase, int], None]
"""Told each phase, with the exit status at the end (0 before)."""


class Worker:
    """Runs the agent once."""

    def __init__(self, main: Main, report: Report) -> None:
        self._main = main
        self._report = report
        self._stop: Callable[[], None] | None = None
        self._stop_asked = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> int:
        """Run until `stop` is called or the agent ends by itself; returns the exit status."""
        self._report(Phase.STARTING, 0)
        status = 1
        try:
            status = self._main(lambda: self._report(Phase.RUNNING, 0), self._take_stop)
        finally:
            self._report(Phase.STOPPED, status)
        return status

    def stop(self) -> None:
        """Make the agent end; may come from any thread, before it runs too."""
        self._report(Phase.STOPPING, 0)
        with self._lock:
            self._stop_asked.set()
            stop = self._stop
        if stop is not None:
            stop()

    def _take_stop(self, stop: Callable[[], None]) -> None:
        with self._lock:
            self._stop = stop
            asked = self._stop_asked.is_set()
        if asked:
            stop()
