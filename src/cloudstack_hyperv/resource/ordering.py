"""One command at a time per VM and per file; everything else side by side.

CloudStack sends commands for one VM in parallel after a management server fails over, and the
same file may be named by a copy, an attach and a delete.  A command names its keys; they are
taken in sorted order, so two commands can never wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class Ordering:
    """Keyed locks that exist only while somebody holds or awaits them."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Hold all `keys` (letter case has no meaning) for the block."""
        held: list[str] = []
        try:
            for key in sorted({key.casefold() for key in keys}):
                await self._acquire(key)
                held.append(key)
            yield
        finally:
            for key in reversed(held):
                self._release(key)

    async def _acquire(self, key: str) -> None:
        lock, users = self._locks.get(key, (None, 0))
        if lock is None:
            lock = asyncio.Lock()
        self._locks[key] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._forget(key)
            raise

    def _release(self, key: str) -> None:
        self._locks[key][0].release()
        self._forget(key)

    def _forget(self, key: str) -> None:
        lock, users = self._locks[key]
        if users == 1:
            del self._locks[key]
        else:
            self._locks[key] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._locks)

    def __repr__(self) -> str:
        return f"Ordering({len(self._locks)} keys held or awaited)"
