"""The deadline of a call, handed down through pool, connection and pages.

One number, in the event loop's time, is made when the call starts; everything below asks what is
left of it, so that paging and a retry cannot stretch it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in the running event loop's time."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    def remaining(self) -> float:
        """Return the seconds left, negative when it has passed."""
        return self.at - asyncio.get_running_loop().time()

    def scope(self) -> asyncio.Timeout:
        """Return a context manager that raises TimeoutError at the deadline."""
        return asyncio.timeout_at(self.at)
