"""Peers that hold a connection without finishing a request are dropped.

aiohttp bounds idle keep-alive but not the time a request head may take, nor what a peer may send
ahead while its request runs, so a slow sender could hold connections for ever and a fast one
memory.  This protocol stands before aiohttp's and closes the connection when no complete head has
come within the limit, or when more has come than one request may have; it refuses connections
beyond the allowed number.  Requests are answered one after the other, so what is sent ahead waits.

A command may take hours without a byte on its connection: the kernel's own probes keep the way open
through firewalls, and find out when the peer is gone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast
from weakref import WeakKeyDictionary

import structlog

log = structlog.get_logger(__name__)


class ConnectionGuard:
    """Makes guarded protocols for one listener."""

    def __init__(
        self,
        factory: Callable[[], asyncio.Protocol],
        *,
        header_timeout: float,
        keepalive_timeout: float,
        most_connections: int,
        most_bytes: int,
    ) -> None:
        """Prepare; `most_bytes` may come between two answers, request heads included."""
        self._factory = factory
        self._header_timeout = header_timeout
        self._keepalive_timeout = keepalive_timeout
        self._most = most_connections
        self._most_bytes = most_bytes
        self._open: WeakKeyDictionary[asyncio.BaseTransport, GuardedProtocol] = WeakKeyDictionary()

    def __call__(self) -> asyncio.Protocol:
        """Return a protocol for one new connection."""
        return GuardedProtocol(
            self._factory(),
            self,
            header_timeout=self._header_timeout,
            keepalive_timeout=self._keepalive_timeout,
            most_bytes=self._most_bytes,
        )

    def request_started(self, transport: asyncio.BaseTransport | None) -> int:
        """Tell that a complete request head has arrived; returns which it is on its connection."""
        guarded = self._open.get(transport) if transport is not None else None
        return guarded.head_arrived() if guarded is not None else 1

    def request_ended(self, transport: asyncio.BaseTransport | None) -> None:
        """Tell that the request was answered: the next head is awaited under the limit again."""
        guarded = self._open.get(transport) if transport is not None else None
        if guarded is not None:
            guarded.answered()

    def admit(self, transport: asyncio.BaseTransport, protocol: GuardedProtocol) -> bool:
        """Register a connection; False when there are too many."""
        if len(self._open) >= self._most:
            return False
        self._open[transport] = protocol
        return True

    def forget(self, transport: asyncio.BaseTransport) -> None:
        """Forget a closed connection."""
        self._open.pop(transport, None)


class GuardedProtocol(asyncio.Protocol):
    """Hands everything on to aiohttp's protocol and watches the clock."""

    def __init__(
        self,
        inner: asyncio.Protocol,
        guard: ConnectionGuard,
        *,
        header_timeout: float,
        keepalive_timeout: float,
        most_bytes: int,
    ) -> None:
        self._inner = inner
        self._guard = guard
        self._header_timeout = header_timeout
        self._keepalive_timeout = keepalive_timeout
        self._most_bytes = most_bytes
        self._bytes = 0
        self._requests = 0
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._admitted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock, or turn the peer away."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._guard.admit(transport, self):
            log.warning("connection refused: too many", peer=_peer(transport))
            self._transport.abort()
            return
        self._admitted = True
        _keep_alive(transport)
        self._start_timer(self._header_timeout)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on, within what one request may have."""
        if not self._admitted or self._transport is None:
            return
        if self._bytes == 0 and self._requests and self._timer is not None:
            self._start_timer(self._header_timeout)  # the next request has begun
        self._bytes += len(data)
        if self._bytes > self._most_bytes:
            log.warning("connection closed: too much sent ahead", peer=_peer(self._transport))
            self._transport.abort()
            return
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on."""
        return self._inner.eof_received() if self._admitted else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock and pass on."""
        self._stop_timer()
        if self._transport is not None:
            self._guard.forget(self._transport)
        if self._admitted:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self._inner.resume_writing()

    def head_arrived(self) -> int:
        """Note that a request is being worked on; returns which it is on this connection."""
        self._stop_timer()
        self._requests += 1
        return self._requests

    def answered(self) -> None:
        """Await the next request."""
        self._bytes = 0
        self._start_timer(self._keepalive_timeout)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            log.debug("connection closed: no request within the limit", peer=_peer(self._transport))
            self._transport.abort()


def _keep_alive(transport: asyncio.BaseTransport) -> None:
    """Let the kernel probe a silent connection: after a minute, every 20 seconds, five times."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _peer(transport: asyncio.BaseTransport) -> str:
    name = transport.get_extra_info("peername")
    return str(name[0]) if name else "?"
