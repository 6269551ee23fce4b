"""One HTTP connection: requests in, answers out, in order, as HTTP.SYS and WinRM behave.

Only `POST /wsman` is served.  A login that spans requests lives and dies with the connection.  Head
and body of an answer leave in one write: a client that delays acknowledgements would otherwise wait
40 ms for each.  A sender gets a limited time for a whole request, and a limited number of octets.

Sources: [MS-WSMV] 2.1 for transport, statuses and content types; wsmerror.h for 413 and 404;
libvirt over libcurl as the client that shows what two small segments cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import h11

from cloudstack_hyperv.emulator.cim.provider import Caller
from cloudstack_hyperv.emulator.door import answers, sealing, soap
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door.authentication import (
    Challenged,
    ConnectionLogin,
    Forbidden,
    Granted,
)
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.service import Answer, NoAnswer, WsmanService
from cloudstack_hyperv.emulator.door.settings import DoorSettings

_logger = logging.getLogger(__name__)
_MAX_HEAD: Final = 64 * 1024
_READ: Final = 64 * 1024
_SEALING_OVERHEAD: Final = 4096
_SERVER: Final = b"Microsoft-HTTPAPI/2.0"
_SOAP: Final = "application/soap+xml"
_WRITE_TIMEOUT_S: Final = 60.0
_LINGER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _HttpRequest:
    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    """Names in lower case; of a repeated header the first."""
    body: bytes

    def header(self, name: bytes) -> str | None:
        """Return a header's value as text."""
        value = self.headers.get(name)
        return value.decode("latin-1") if value is not None else None


@dataclass(frozen=True, slots=True)
class _HttpAnswer:
    status: int
    body: bytes = b""
    content_type: str = ""
    challenges: tuple[str, ...] = ()
    allow: str = ""
    close: bool = False


class _Refused(Exception):
    """A request that is refused before it has arrived whole."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class HttpConnection:
    """Serves one client until it goes away."""

    def __init__(
        self,
        service: WsmanService,
        settings: DoorSettings,
        login: ConnectionLogin,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        encrypted: bool,
    ) -> None:
        self._service = service
        self._settings = settings
        self._login = login
        self._reader = reader
        self._writer = writer
        self._encrypted = encrypted
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self._largest_body = settings.max_envelope_kb * 1024 + _SEALING_OVERHEAD
        self._idle = False
        self._finishing = False

    async def serve(self) -> None:
        """Answer requests until either side closes; raises ConnectionError or TimeoutError."""
        try:
            while not self._finishing:
                request = await self._receive()
                if request is None:
                    break
                await self._send(await self._respond(request))
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    break
                self._http.start_next_cycle()
        except _Refused as refused:
            await self._send(_HttpAnswer(refused.status, close=True))
            await self._linger()
        except NoAnswer as none:
            if none.hang:
                await self._wait_for_end()
            self.abort()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                status = error.error_status_hint
                await self._send(_HttpAnswer(status, close=True))
                await self._linger()
        await self._close()

    async def turn_away(self) -> None:
        """Answer 503 to the first request: there are too many connections."""
        if await self._receive() is not None:
            await self._send(_HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, close=True))
        await self._close()

    def finish(self) -> None:
        """Close now if idle, else after the request under way."""
        self._finishing = True
        if self._idle:
            self._writer.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()

    async def _wait_for_end(self) -> None:
        self._idle = True
        while await self._reader.read(_READ):
            pass

    async def _linger(self) -> None:
        """Take what the client still sends: closing on unread data would reset the answer away."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                await self._wait_for_end()

    async def _close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def _receive(self) -> _HttpRequest | None:
        """Return the next request, None when the client has closed; raises _Refused."""
        head: h11.Request | None = None
        body = bytearray()
        loop = asyncio.get_running_loop()
        self._idle = self._http.trailing_data[0] == b""
        try:
            async with asyncio.timeout(self._settings.idle_timeout_s) as deadline:
                while True:
                    event = self._http.next_event()
                    if event is h11.NEED_DATA:
                        self._invite()
                        data = await self._reader.read(_READ)
                        if self._idle and data:
                            self._idle = False
                            deadline.reschedule(loop.time() + self._settings.max_packet_retrieval_s)
                        self._http.receive_data(data)
                    elif isinstance(event, h11.Request):
                        head = event
                        self._check_announced_length(event)
                    elif isinstance(event, h11.Data):
                        body += event.data
                        if len(body) > self._largest_body:
                            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                    elif isinstance(event, h11.EndOfMessage) and head is not None:
                        return _request(head, bytes(body))
                    else:
                        return None
        except TimeoutError:
            if head is None:
                return None
            raise _Refused(HTTPStatus.REQUEST_TIMEOUT) from None
        finally:
            self._idle = False

    def _check_announced_length(self, head: h11.Request) -> None:
        for name, value in head.headers:
            if name == b"content-length" and int(value) > self._largest_body:
                raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _invite(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[])
            self._writer.write(self._http.send(go_on) or b"")

    async def _send(self, answer: _HttpAnswer) -> None:
        headers: list[tuple[bytes, bytes]] = []
        if answer.content_type:
            headers.append((b"Content-Type", answer.content_type.encode("latin-1")))
        headers.append((b"Server", _SERVER))
        headers.extend(
            (b"WWW-Authenticate", value.encode("latin-1")) for value in answer.challenges
        )
        if answer.allow:
            headers.append((b"Allow", answer.allow.encode("latin-1")))
        headers.append((b"Date", formatdate(usegmt=True).encode("ascii")))
        if answer.close or self._finishing:
            headers.append((b"Connection", b"close"))
        headers.append((b"Content-Length", b"%d" % len(answer.body)))
        reason = HTTPStatus(answer.status).phrase.encode("ascii")
        events: list[h11.Response | h11.Data | h11.EndOfMessage] = [
            h11.Response(status_code=answer.status, headers=headers, reason=reason)
        ]
        if answer.body:
            events.append(h11.Data(data=answer.body))
        events.append(h11.EndOfMessage())
        self._writer.write(b"".join([self._http.send(event) or b"" for event in events]))
        async with asyncio.timeout(_WRITE_TIMEOUT_S):
            await self._writer.drain()

    async def _respond(self, request: _HttpRequest) -> _HttpAnswer:
        if request.path.partition(b"?")[0].lower() != b"/wsman":
            return _HttpAnswer(HTTPStatus.NOT_FOUND)
        if request.method != b"POST":
            return _HttpAnswer(HTTPStatus.METHOD_NOT_ALLOWED, allow="POST")
        if (request.header(b"wsmanidentify") or "").strip().lower() == "unauthenticated":
            return await self._identify_unauthenticated(request)
        outcome = self._login.authorize(request.header(b"authorization"))
        if isinstance(outcome, Challenged):
            return _HttpAnswer(HTTPStatus.UNAUTHORIZED, challenges=outcome.offers)
        if isinstance(outcome, Forbidden):
            return _HttpAnswer(HTTPStatus.FORBIDDEN)
        return await self._authorized(request, outcome)

    async def _identify_unauthenticated(self, request: _HttpRequest) -> _HttpAnswer:
        try:
            text, charset = soap.decode(request.body, request.header(b"content-type") or "")
            wanted = soap.read_request(text, server_limit=self._largest_body)
        except WsmanFault:
            wanted = None
        if not isinstance(wanted, soap.Identify):
            return _HttpAnswer(HTTPStatus.UNAUTHORIZED, challenges=self._login.offers())
        return _clear(await self._service.answer(text, None), charset)

    async def _authorized(self, request: _HttpRequest, granted: Granted) -> _HttpAnswer:
        challenges = (granted.token,) if granted.token else ()
        if not request.body and granted.fresh:
            return _HttpAnswer(HTTPStatus.OK, challenges=challenges)
        content_type = request.header(b"content-type") or ""
        if sealing.is_sealed(content_type):
            return await self._sealed(request.body, granted)
        if not content_type and self._service.leniencies.grants("content-type-absent"):
            content_type = _SOAP
        if content_type.partition(";")[0].strip().lower() != _SOAP:
            return _HttpAnswer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, challenges=challenges)
        if not self._encrypted and not self._settings.allow_unencrypted:
            return _clear(self._service.refusal(table.ACCESS_DENIED), "UTF-8", challenges)
        answer, charset = await self._answer(request.body, content_type, granted.caller)
        if not answer.text:
            return self._bare(answer.status)
        return _clear(answer, charset, challenges)

    async def _sealed(self, body: bytes, granted: Granted) -> _HttpAnswer:
        context = granted.context
        if context is None:
            return _HttpAnswer(HTTPStatus.BAD_REQUEST, close=True)
        try:
            message = sealing.unseal(context, body)
        except Exception:  # as for tokens: a damaged signature surfaces as any exception
            _logger.debug("a sealed message could not be opened", exc_info=True)
            return _HttpAnswer(HTTPStatus.BAD_REQUEST, close=True)
        answer, charset = await self._answer(message.data, message.content_type, granted.caller)
        if not answer.text:
            return self._bare(answer.status)
        data = answers.encode(answer.text, charset)
        content_type, sealed = sealing.seal(context, granted.sealing_protocol, data, charset)
        challenges = (granted.token,) if granted.token else ()
        return _HttpAnswer(answer.status, sealed, content_type, challenges)

    def _bare(self, status: int) -> _HttpAnswer:
        offers = self._login.offers() if status == HTTPStatus.UNAUTHORIZED else ()
        return _HttpAnswer(status, challenges=offers)

    async def _answer(self, body: bytes, content_type: str, caller: Caller) -> tuple[Answer, str]:
        try:
            text, charset = soap.decode(body, content_type)
        except WsmanFault as fault:
            return self._service.refusal(fault.kind), "UTF-8"
        return await self._service.answer(text, caller, charset), charset


def _clear(answer: Answer, charset: str, challenges: tuple[str, ...] = ()) -> _HttpAnswer:
    body = answers.encode(answer.text, charset)
    return _HttpAnswer(answer.status, body, f"{_SOAP};charset={charset}", challenges)


def _request(head: h11.Request, body: bytes) -> _HttpRequest:
    headers: dict[bytes, bytes] = {}
    for name, value in head.headers:
        headers.setdefault(name, value)
    return _HttpRequest(head.method, head.target, headers, body)
