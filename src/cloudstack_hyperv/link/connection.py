"""One TCP connection to a management server: frames in, frames out, nothing waits for ever.

What a peer may do wrong and what becomes of it:

* no TCP, no handshake: `LinkFailed` after `connect` and `handshake` seconds;
* half a packet, or half a frame: dropped when the rest does not come within `unfinished` seconds;
* a frame larger than `most_frame_bytes`: dropped as soon as that is seen;
* it never reads: when our unsent bytes stay above the high-water mark for `unread` seconds the
  connection is dropped; until then nothing more is read from it, so it cannot fill our memory;
* it sends faster than frames are taken: reading stops until they are.

TCP_NODELAY is set and a frame is written in one call, header and record together; TCP_QUICKACK is
set after each receive, because the Java side writes header and record separately without NODELAY
and would wait 40 ms for our acknowledgement of the header.

Source: CloudStack's com.cloud.utils.nio.{NioClient,NioConnection,Link}.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from dataclasses import dataclass

from cloudstack_hyperv.link.tls import (
    LinkIdentity,
    ServerNotTrusted,
    ServerTrust,
    TlsEngine,
    client_context,
)
from cloudstack_hyperv.wire import LinkBroken, PacketReader

_FRAME_COST = 100
"""What a waiting frame takes beside its bytes: empty ones must not be free."""
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)


class LinkFailed(Exception):
    """No connection came about; the text says why and, where known, what to do."""


class LinkLost(Exception):
    """The connection is over; what was not sent is lost."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds, sizes in bytes."""

    connect: float = 10.0
    handshake: float = 30.0
    unfinished: float = 60.0
    unread: float = 60.0
    most_frame_bytes: int = 16 * 2**20
    most_waiting_bytes: int = 32 * 2**20
    """Frames that are received and not taken yet, before reading stops."""


async def connect_link(
    server: str,
    port: int,
    trust: ServerTrust,
    identity: LinkIdentity | None = None,
    limits: Limits | None = None,
) -> Link:
    """Connect and shake hands; raises LinkFailed."""
    limits = limits or Limits()
    where = f"{server} port {port}"
    loop = asyncio.get_running_loop()
    try:
        engine = TlsEngine(client_context(trust, identity), trust)
    except OSError as error:
        raise LinkFailed(f"own certificate or CA bundle cannot be used: {error}") from error
    link = Link(engine, limits)
    try:
        async with asyncio.timeout(limits.connect):
            await loop.create_connection(lambda: link, server, port)
    except TimeoutError as error:
        raise LinkFailed(f"{where} did not answer within {limits.connect:g} s") from error
    except OSError as error:
        raise LinkFailed(f"{where}: {error.strerror or error}") from error
    try:
        async with asyncio.timeout(limits.handshake):
            await link.handshake_done()
    except TimeoutError as error:
        link.abort("the handshake took too long")
        raise LinkFailed(
            f"{where}: no TLS handshake within {limits.handshake:g} s; is this the port for agents?"
        ) from error
    except LinkLost as error:
        raise LinkFailed(f"{where}: {error}") from error
    except BaseException:
        link.abort("given up")
        raise
    return link


async def is_reachable(server: str, port: int, *, timeout: float) -> bool:
    """Whether somebody accepts a TCP connection there within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(server, port)
    except OSError:  # also TimeoutError
        return False
    writer.transport.abort()
    return True


class Link(asyncio.Protocol):
    """An open connection; made by `connect_link`."""

    def __init__(self, engine: TlsEngine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._packets = PacketReader()
        self._frame = bytearray()
        self._frames: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._closed = asyncio.Event()
        self._lost: str | None = None
        self._unfinished: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self.local_address = ""
        self.peer_address = ""

    # What users call

    async def receive(self) -> bytes:
        """Return the next frame; raises LinkLost when there is none and none can come."""
        while not self._frames:
            if self._lost is not None:
                raise LinkLost(self._lost)
            self._arrived.clear()
            await self._arrived.wait()
        frame = self._frames.popleft()
        self._waiting_bytes -= len(frame) + _FRAME_COST
        self._choose_reading()
        return frame

    async def send(self, frame: bytes) -> None:
        """Send a frame and wait while the peer is behind with reading; raises LinkLost."""
        while not self._writable.is_set():
            await self._writable.wait()
        transport = self._transport
        if self._lost is not None or transport is None:
            raise LinkLost(self._lost or "never connected")
        transport.write(self._engine.encrypt(frame))

    async def close(self) -> None:
        """Let what was sent go out, for a second at most, and close.

        No close_notify is sent: no peer does, they just close the socket.
        """
        if self._transport is not None:
            self._transport.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), 1.0)
        self.abort("closed by us")

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._lost is not None

    @property
    def description(self) -> str:
        """TLS version and cipher."""
        return self._engine.description

    async def handshake_done(self) -> None:
        """Wait for the end of the TLS handshake; raises LinkLost."""
        await self._ready

    def __repr__(self) -> str:
        state = self._lost or ("open" if self._engine.is_ready else "shaking hands")
        return f"Link({self.local_address} -> {self.peer_address}, {state})"

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up and begin the handshake."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_connection makes
        self._transport = transport
        self.local_address = str(transport.get_extra_info("sockname", ("?",))[0])
        self.peer_address = str(transport.get_extra_info("peername", ("?",))[0])
        self._socket = transport.get_extra_info("socket")
        self._set_options()
        try:
            transport.write(self._engine.start())
        except (LinkBroken, ServerNotTrusted) as error:  # pragma: no cover - nothing received yet
            self.abort(str(error))

    def data_received(self, data: bytes) -> None:
        """Take bytes of the handshake or of packets."""
        self._acknowledge_at_once()
        if self._lost is not None:
            return
        try:
            if not self._engine.is_ready:
                data = self._shake_hands(data)
            if self._engine.is_ready:
                self._take_packets(data)
        except (LinkBroken, ServerNotTrusted) as error:
            if not self._engine.is_ready and self._transport is not None:
                self._transport.write(self._engine.alert())
                self._end(str(error))
                self._transport.close()
            else:
                self.abort(str(error))

    def eof_received(self) -> bool:
        """End: half-closed connections are of no use here."""
        self._end(self._end_reason())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody who waits."""
        known = exc is not None and self._engine.is_ready
        self._end(f"connection lost: {exc}" if known else self._end_reason())
        self._closed.set()

    def pause_writing(self) -> None:
        """The peer is behind with reading: stop reading from it, and give it `unread` seconds."""
        self._writable.clear()
        self._choose_reading()
        self._unread = self._loop.call_later(
            self._limits.unread,
            self.abort,
            f"the management server read nothing for {self._limits.unread:g} s",
        )

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._writable.set()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        self._choose_reading()

    # How

    def _shake_hands(self, data: bytes) -> bytes:
        answer = self._engine.handshake(data)
        if answer and self._transport is not None:
            self._transport.write(answer)
        if not self._engine.is_ready:
            return b""
        if not self._ready.done():
            self._ready.set_result(None)
        return self._engine.rest()

    def _take_packets(self, data: bytes) -> None:
        finished = False
        for one in self._packets.receive(data):
            plain = self._engine.decrypt(one.content)
            if plain is None:
                self.abort("closed by the management server (close_notify)")
                return
            self._frame += plain
            if len(self._frame) > self._limits.most_frame_bytes:
                raise LinkBroken(f"a frame of more than {self._limits.most_frame_bytes} bytes")
            if not one.more_follows:
                self._frames.append(bytes(self._frame))
                self._waiting_bytes += len(self._frame) + _FRAME_COST
                self._frame.clear()
                finished = True
        if finished:
            self._arrived.set()
            self._choose_reading()
        self._watch_unfinished(begun_now=finished)

    def _watch_unfinished(self, *, begun_now: bool) -> None:
        is_unfinished = bool(self._packets.pending or self._frame)
        if self._unfinished is not None and (begun_now or not is_unfinished):
            self._unfinished.cancel()
            self._unfinished = None
        if is_unfinished and self._unfinished is None:
            self._unfinished = self._loop.call_later(
                self._limits.unfinished,
                self.abort,
                f"half a frame, and nothing more for {self._limits.unfinished:g} s",
            )

    def _choose_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        behind = self._waiting_bytes > self._limits.most_waiting_bytes
        if behind or not self._writable.is_set():
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _end(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
        for timer in (self._unfinished, self._unread):
            if timer is not None:
                timer.cancel()
        self._unfinished = self._unread = None
        self._arrived.set()
        self._writable.set()
        if not self._ready.done():
            self._ready.set_exception(LinkLost(self._lost))
            self._ready.exception()  # seen: nobody may be waiting

    def _end_reason(self) -> str:
        if self._engine.is_ready:
            return "closed by the management server"
        return (
            "closed by the management server in the middle of the TLS handshake: it demands a "
            "client certificate, takes no new connections now, or is preparing for maintenance"
        )

    def _set_options(self) -> None:
        if self._socket is None:
            return
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if _USER_TIMEOUT is not None:
            milliseconds = int(self._limits.unread * 1000)
            self._socket.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, milliseconds)
        self._acknowledge_at_once()

    def _acknowledge_at_once(self) -> None:
        if _QUICKACK is not None and self._socket is not None:
            # Not lasting: the kernel goes back to delaying on its own.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
