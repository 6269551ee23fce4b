"""Connections to one host: handed out whole, a limited number, gone when idle for long.

A connection is a login, and NTLM numbers its messages: so the pool hands out connections, never
requests on shared ones.  A connection whose user failed or was cancelled comes back closed.  The
limit stays far under the host's 25 operations per user.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from cloudstack_hyperv.wsman.connection import Connection
from cloudstack_hyperv.wsman.errors import HostUnreachable


class ConnectionPool:
    """Up to `maximum` connections, made by `connect` when none is idle.

    An idle connection is closed after `idle_seconds`: HTTP.SYS drops them after two minutes, and
    a request should not find that out.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        *,
        maximum: int,
        idle_seconds: float,
    ) -> None:
        self._connect = connect
        self._maximum = maximum
        self._idle_seconds = idle_seconds
        self._slots = asyncio.Semaphore(maximum)
        self._idle: list[tuple[Connection, float]] = []
        self._active: set[Connection] = set()
        self._generation = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __str__(self) -> str:
        return f"{len(self._idle)} idle, {len(self._active)} active of {self._maximum}"

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for the block; waits for a free place, connects if none is idle.

        Raises what `connect` raises, and HostUnreachable after `close`.
        """
        async with self._slots:
            if self._closed:
                raise HostUnreachable("the client is closed")
            generation = self._generation
            connection = self._take_idle() or await self._connect()
            self._active.add(connection)
            try:
                yield connection
            finally:
                self._active.discard(connection)
                if connection.usable and generation == self._generation and not self._closed:
                    self._put_idle(connection)
                else:
                    connection.abort()

    def discard_idle(self) -> None:
        """Close the idle connections; those in use are not put back."""
        self._generation += 1
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.abort()

    async def close(self) -> None:
        """Close the idle connections in good order and every other one at once."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        idle, self._idle = self._idle, []
        for connection in self._active:
            connection.abort()
        await asyncio.gather(*(connection.close() for connection, _ in idle))

    def _take_idle(self) -> Connection | None:
        """Return the connection used last, so that the others may grow old."""
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        return None

    def _put_idle(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        self._idle.append((connection, loop.time()))
        if self._timer is None:
            self._timer = loop.call_later(self._idle_seconds, self._expire)

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        oldest_allowed = loop.time() - self._idle_seconds
        # Put back at the end and taken from the end: the list is sorted by time.
        while self._idle and self._idle[0][1] <= oldest_allowed:
            self._idle.pop(0)[0].abort()
        if self._idle:
            self._timer = loop.call_at(self._idle[0][1] + self._idle_seconds, self._expire)
