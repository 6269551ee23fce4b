"""One connection to WinRM and its login: one security context, one request at a time.

NTLM, Kerberos and CredSSP contexts belong to a connection and number its messages, so requests
never share one, and a connection of which an answer is missing is never used again.  Over plain
http the context seals every message; an answer in clear text is then refused, a fault too: anyone
on the way could have written it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Final, NoReturn, TypeVar

from cloudstack_hyperv.wsman.auth import (
    TokenLogin,
    channel_binding,
    refusal,
    standing_authorization,
)
from cloudstack_hyperv.wsman.endpoint import AuthScheme, Credentials, Endpoint
from cloudstack_hyperv.wsman.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConnectionLost,
    FaultDetail,
    HostUnreachable,
    ProtocolViolation,
)
from cloudstack_hyperv.wsman.protocol.sealing import is_sealed, seal, unseal
from cloudstack_hyperv.wsman.protocol.xmltext import decode
from cloudstack_hyperv.wsman.transport import HttpAnswer, HttpTransport

_CLEAR_TYPE: Final = "application/soap+xml;charset=UTF-8"
_CHARSET = re.compile(r"""charset\s*=\s*"?([A-Za-z0-9_-]+)""", re.IGNORECASE)
_MOST_LOGIN_STEPS: Final = 12
"""CredSSP, the longest, takes about six."""
_WITH_ENVELOPE: Final = (
    HTTPStatus.OK,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)

T = TypeVar("T")


class Connection:
    """A connection with a login.

    A token scheme must `log_in` before the first request; with Basic and certificates the login
    goes along with every request.
    """

    def __init__(
        self, endpoint: Endpoint, credentials: Credentials, transport: HttpTransport
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._transport = transport
        self._standing = standing_authorization(credentials)
        self._login: TokenLogin | None = None
        self.answers = 0
        """Answers to WS-Man requests so far; 0 means that it cannot be a stale connection."""

    async def log_in(self) -> None:
        """Hold the login conversation of a token scheme; the caller bounds the time.

        Raises HostUnreachable, AuthenticationFailed, ProtocolViolation; after any exception the
        connection is closed.
        """
        try:
            await self._log_in(b"", "")
        except ConnectionLost as error:
            self._transport.abort()
            # Only the login was under way: the host has seen no request of ours yet.
            raise HostUnreachable(str(error)) from error
        except BaseException:
            self._transport.abort()
            raise

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport.usable

    @property
    def logs_in_with_tokens(self) -> bool:
        """Whether `log_in` is wanted."""
        return self._standing is None

    @property
    def logged_in(self) -> bool:
        """Whether the host has accepted the login."""
        return self._login is not None or self.answers > 0

    async def post(self, envelope: str) -> str:
        """Send an envelope and return the answer's, a fault too.

        Raises HostUnreachable, ConnectionLost, AuthenticationFailed, AccessDenied,
        ProtocolViolation; after any exception, a cancellation too, the connection is closed.
        """
        try:
            answer = await self._post(envelope.encode("utf-8"))
            text = self._envelope_in(answer)
        except BaseException:
            self._transport.abort()
            raise
        self.answers += 1
        return text

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    async def close(self) -> None:
        """Close an idle connection; never raises, waits at most a second."""
        await self._transport.close()

    async def _post(self, message: bytes) -> HttpAnswer:
        sealer = self._sealer
        if sealer is not None:
            content_type, body = seal(sealer, sealer.sealing, message)
            return await self._transport.exchange(body, content_type)
        answer = await self._transport.exchange(message, _CLEAR_TYPE, self._standing)
        if answer.status == HTTPStatus.UNAUTHORIZED and self._standing is None and self.usable:
            # Over https a host may want each request, not each connection, to be logged in.
            return await self._log_in(message, _CLEAR_TYPE)
        return answer

    @property
    def _sealer(self) -> TokenLogin | None:
        return None if self._endpoint.https else self._login

    async def _log_in(self, body: bytes, content_type: str) -> HttpAnswer:
        """Hold the login conversation, with a request's body or without; return its last answer."""
        certificate = self._transport.peer_certificate()
        binding = None if certificate is None else channel_binding(certificate)
        login = await self._in_thread(
            partial(TokenLogin, self._credentials, self._endpoint.name, binding)
        )
        header: str | None = await self._in_thread(login.first)
        for _ in range(_MOST_LOGIN_STEPS):
            answer = await self._transport.exchange(body, content_type, header)
            challenges = answer.challenges
            if not body and not challenges and answer.status != HTTPStatus.OK:
                self._refuse_status(answer)
            header = await self._in_thread(partial(login.answered, answer.status, challenges))
            if header is None:
                self._login = login
                return answer
            if not self.usable:
                raise AuthenticationFailed("the host closed the connection during the login")
        raise AuthenticationFailed("the login does not come to an end")

    async def _in_thread(self, step: Callable[[], T]) -> T:
        """Run a step of the login; beside the event loop where it may ask a key centre."""
        if self._credentials.scheme is AuthScheme.NTLM:
            return step()
        return await asyncio.to_thread(step)

    def _envelope_in(self, answer: HttpAnswer) -> str:
        if answer.status not in _WITH_ENVELOPE:
            self._refuse_status(answer)
        content_type = answer.header("content-type")
        sealer = self._sealer
        if sealer is None:
            named = _CHARSET.search(content_type)
            message, charset = answer.body, named[1] if named is not None else "utf-8"
        elif is_sealed(content_type):
            message, charset = unseal(sealer, answer.body)
        else:
            raise ProtocolViolation(
                f"an unencrypted answer (HTTP {answer.status}) on an encrypted connection"
            )
        if not message:
            raise ProtocolViolation(f"HTTP {answer.status} without an envelope")
        return decode(message, charset)

    def _refuse_status(self, answer: HttpAnswer) -> NoReturn:
        """Raise what a status without an envelope means."""
        where = self._endpoint.authority
        match answer.status:
            case HTTPStatus.UNAUTHORIZED:
                raise AuthenticationFailed(
                    f"{where}: {refusal(self._credentials.scheme, answer.challenges)}"
                )
            case HTTPStatus.FORBIDDEN:
                reason = "HTTP 403: the host knows the login but lets it do nothing"
                raise AccessDenied(FaultDetail("w:AccessDenied", int(answer.status), reason))
            case HTTPStatus.NOT_FOUND:
                raise ProtocolViolation(f"{where}: no WS-Management at {self._endpoint.path}")
            case HTTPStatus.SERVICE_UNAVAILABLE:
                raise HostUnreachable(f"{where}: WinRM is stopped or overloaded (HTTP 503)")
        raise ProtocolViolation(f"{where}: HTTP {answer.status}")
