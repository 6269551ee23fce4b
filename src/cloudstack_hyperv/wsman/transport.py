"""HTTP/1.1 over one TCP or TLS connection: one request, then its answer.

The rule of this file: tell "broke before the request was sent" (HostUnreachable: no effect) from
"after" (ConnectionLost: effect unknown).  Head and body leave in one write: two small segments
would wait 40 ms for each other (Nagle against delayed acknowledgement).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import ssl
from dataclasses import dataclass
from typing import Final

import h11

from cloudstack_hyperv import __version__
from cloudstack_hyperv.wsman.endpoint import Endpoint
from cloudstack_hyperv.wsman.errors import ConnectionLost, HostUnreachable, ProtocolViolation

_USER_AGENT: Final = f"cloudstack-hyperv/{__version__}"
_READ_SIZE: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer, its body as it came; header names are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Return the first header of that name, "" if it is not there."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def challenges(self) -> list[str]:
        """The WWW-Authenticate lines."""
        return [value for key, value in self.headers if key == "www-authenticate"]


class HttpTransport:
    """A connection without any login.  Make it with `HttpTransport.connect`."""

    def __init__(
        self,
        endpoint: Endpoint,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        maximum_body: int,
    ) -> None:
        self._endpoint = endpoint
        self._reader = reader
        self._writer = writer
        self._maximum_body = maximum_body
        self._http = h11.Connection(our_role=h11.CLIENT)

    @classmethod
    async def connect(
        cls, endpoint: Endpoint, tls: ssl.SSLContext | None, *, maximum_body: int
    ) -> HttpTransport:
        """Connect; raises HostUnreachable.  The caller bounds the time."""
        try:
            reader, writer = await asyncio.open_connection(
                endpoint.host,
                endpoint.effective_port,
                ssl=tls,
                server_hostname=endpoint.name if tls is not None else None,
                limit=_READ_SIZE,
            )
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
            raise HostUnreachable(f"{endpoint.authority}: TLS failed: {reason}") from error
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise HostUnreachable(f"{endpoint.authority}: {reason}") from error
        except UnicodeError as error:
            raise HostUnreachable(f"{endpoint.authority}: not a host name") from error
        transport = cls(endpoint, reader, writer, maximum_body)
        try:
            transport._prepare()
        except BaseException:
            transport.abort()
            raise
        return transport

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: idle, and the host has not closed it."""
        return (
            self._http.our_state is h11.IDLE
            and self._http.their_state is h11.IDLE
            and not self._reader.at_eof()
            and not self._writer.is_closing()
        )

    def peer_certificate(self) -> bytes | None:
        """Return the host's certificate in DER form, None without TLS."""
        tls = self._writer.get_extra_info("ssl_object")
        return tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLObject) else None

    async def exchange(
        self, body: bytes, content_type: str, authorization: str | None = None
    ) -> HttpAnswer:
        """POST `body` and return the answer, whatever its status.

        Raises HostUnreachable, ConnectionLost or ProtocolViolation; after these, and after a
        cancellation, the transport is not `usable`.
        """
        if not self.usable:
            raise HostUnreachable(f"{self._endpoint.authority}: the connection was closed")
        headers = [
            ("Host", self._endpoint.authority),
            ("Connection", "Keep-Alive"),
            ("User-Agent", _USER_AGENT),
            ("Accept-Encoding", "identity"),
            ("Content-Length", str(len(body))),
        ]
        if content_type:
            headers.append(("Content-Type", content_type))
        if authorization is not None:
            headers.append(("Authorization", authorization))
        request = h11.Request(method="POST", target=self._endpoint.path, headers=headers)
        await self._send(
            (self._http.send(request) or b"")
            + (self._http.send(h11.Data(data=body)) or b"")
            + (self._http.send(h11.EndOfMessage()) or b"")
        )
        answer = await self._receive()
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return answer

    def abort(self) -> None:
        """Close at once, without a word to the host."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close an idle connection; never raises, waits at most a second."""
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        except (TimeoutError, OSError):
            self.abort()

    def _prepare(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # `drain` shall wait until the kernel has everything; see _send.
        self._writer.transport.set_write_buffer_limits(high=0)
        pin = self._endpoint.certificate_sha256.replace(":", "").lower()
        if not pin:
            return
        certificate = self.peer_certificate()
        found = hashlib.sha256(certificate).hexdigest() if certificate is not None else ""
        if not hmac.compare_digest(found, pin):
            raise HostUnreachable(
                f"{self._endpoint.authority}: the host's certificate has the SHA-256 fingerprint "
                f"{found or 'of none'}, not the configured one"
            )

    async def _send(self, data: bytes) -> None:
        """Hand all of `data` to the kernel.

        Over plain TCP a failure in here means that the host cannot have the whole request.  What
        is left inside TLS is not known: there the effect counts as unknown.
        """
        transport = self._writer.transport
        self._writer.write(data)
        lost = transport.is_closing()
        if not lost and transport.get_write_buffer_size() > 0:
            try:
                await self._writer.drain()
            except OSError:
                lost = True
        if lost and self._endpoint.https:
            raise ConnectionLost(f"{self._endpoint.authority}: connection lost while sending")
        if lost:
            raise HostUnreachable(
                f"{self._endpoint.authority}: connection lost before the request was sent"
            )

    async def _receive(self) -> HttpAnswer:
        status = 0
        headers: tuple[tuple[str, str], ...] = ()
        chunks: list[bytes] = []
        size = 0
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                size += len(event.data)
                if size > self._maximum_body:
                    raise ProtocolViolation(f"an answer beyond {self._maximum_body} bytes")
                chunks.append(bytes(event.data))
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = tuple(
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in event.headers
                )
            elif isinstance(event, h11.EndOfMessage):
                return HttpAnswer(status, headers, b"".join(chunks))

    async def _next_event(self) -> object:
        ended = False
        try:
            while True:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                data = await self._reader.read(_READ_SIZE)
                ended = not data
                self._http.receive_data(data)
        except OSError as error:
            raise ConnectionLost(
                f"{self._endpoint.authority}: {error.strerror or 'connection lost'}"
            ) from error
        except h11.RemoteProtocolError as error:
            if ended:
                raise ConnectionLost(
                    f"{self._endpoint.authority}: closed by the host before its answer was complete"
                ) from error
            raise ProtocolViolation(f"the answer is not HTTP: {error}") from error
