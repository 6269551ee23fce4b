"""When to ping, when to stop waiting, when to try again: decisions over a clock that is handed in.

Times are seconds of any monotonic clock.  Source: CloudStack's com.cloud.agent.Agent, with two
differences that it lacks: pings that nobody answers end the connection, and the pause between
tries grows and is never the same for two hosts, so that a fleet does not return in one instant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

STARTUP_PATIENCE: Final = 180.0
"""Seconds for the answer to a Startup; the next time twice as long, after a success this again."""


@dataclass(slots=True)
class PingSchedule:
    """The pings of one connection, from the StartupAnswer on."""

    interval: float
    """Seconds, as the StartupAnswer says."""
    most_unanswered: int
    """So many pings without answer in a row, and the connection is given up."""
    silent_after: int = 0
    """So many times in a row without word from the host, and no ping is sent; 0: always ping."""
    _due: float = field(default=0.0, repr=False)
    _waiting: set[int] = field(default_factory=set, repr=False)
    _without_report: int = field(default=0, repr=False)

    def begin(self, now: float) -> None:
        """Start the clock; the first ping is due after one interval."""
        self._due = now + self.interval

    def pause(self, now: float) -> float:
        """Return the seconds until the next ping is due."""
        return max(0.0, self._due - now)

    def host_reported(self, *, answered: bool) -> None:
        """Note whether the host could be asked for its VMs' states this time."""
        self._without_report = 0 if answered else self._without_report + 1

    @property
    def is_silent(self) -> bool:
        """Whether no ping may be sent: a ping is a sign of life of the *host*, which shows none.

        The management server then investigates (CheckHealthCommand, then the neighbours) instead
        of believing for ever in a host that a living gateway speaks for.
        """
        return 0 < self.silent_after <= self._without_report

    def sent(self, sequence: int, now: float) -> None:
        """Note a ping; after a late one (a suspended machine) no burst follows."""
        self._waiting.add(sequence)
        self.skipped(now)

    def skipped(self, now: float) -> None:
        """Note that a ping was due and none is sent."""
        self._due = max(self._due + self.interval, now)

    def answered(self, sequence: int) -> None:
        """Note an answer: it also vouches for earlier pings, whose answers may be lost."""
        self._waiting = {one for one in self._waiting if one > sequence}

    @property
    def is_lost(self) -> bool:
        """Whether the other side must be taken for gone; asked when the next ping is due."""
        return len(self._waiting) >= self.most_unanswered


@dataclass(slots=True)
class StartupPatience:
    """How long to wait for a StartupAnswer: twice as long after one failure, then anew."""

    first: float = STARTUP_PATIENCE
    _doubled: bool = field(default=False, repr=False)

    @property
    def seconds(self) -> float:
        """The wait that holds now."""
        return self.first * 2 if self._doubled else self.first

    def ran_out(self) -> None:
        """Note that no answer came."""
        self._doubled = not self._doubled

    def succeeded(self) -> None:
        """Note that an answer came."""
        self._doubled = False


@dataclass(slots=True)
class Backoff:
    """The pause between tries: doubles up to a limit, with jitter."""

    first: float
    most: float
    jitter: float = 0.25
    """Part of the pause by which it varies in either direction."""
    _pause: float = field(default=0.0, repr=False)

    def pause(self, fraction: Callable[[], float]) -> float:
        """Return the seconds to wait now; `fraction` gives numbers in [0, 1)."""
        self._pause = min(self.most, self._pause * 2 or self.first)
        return self._pause * (1 + self.jitter * (2 * fraction() - 1))

    def same_pause(self, fraction: Callable[[], float]) -> float:
        """Return a pause that does not grow: there are other servers in the list to try."""
        return (self._pause or self.first) * (1 + self.jitter * (2 * fraction() - 1))

    def reset(self) -> None:
        """Begin with the first pause again: a connection worked."""
        self._pause = 0.0


@dataclass(slots=True)
class Pacing:
    """Spreads answers, because a Java management server drops what floods it.

    It hands frames to 15 threads, growing to 75, with a queue of 75, and *drops* a frame with only
    a log line when both are full (com.cloud.utils.nio.NioConnection): at most `burst` answers go
    out in one instant, and `per_second` in the long run.
    """

    burst: int = 64
    per_second: float = 6000.0
    _free_at: float = field(default=-math.inf, repr=False)

    def delay(self, now: float) -> float:
        """Take one place and return the seconds to wait for it."""
        step = 1 / self.per_second
        self._free_at = max(self._free_at, now - self.burst * step) + step
        return max(0.0, self._free_at - now)
