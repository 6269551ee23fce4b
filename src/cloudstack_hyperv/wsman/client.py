"""The CIM client of one Hyper-V host: `api.CimClient` over WS-Management.

What it adds to one request and its answer: paging to the end, the deadline over all of it, the
one retry that is safe, and hosts that refuse WQL.

The rule for retries: a read is repeated once when a kept-alive connection turns out to be dead; a
method call only when the host certainly has not got it.  After anything else the caller looks at
the host's state before it calls again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

import structlog

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.observe import count_round_trip
from cloudstack_hyperv.wsman.api import Argument, Identity, Instance, MethodResult
from cloudstack_hyperv.wsman.connection import Connection
from cloudstack_hyperv.wsman.deadline import Deadline
from cloudstack_hyperv.wsman.endpoint import (
    Credentials,
    Endpoint,
    check_combination,
    tls_context,
)
from cloudstack_hyperv.wsman.errors import (
    AuthenticationFailed,
    ConnectionLost,
    DeadlineExceeded,
    EnumerationLost,
    HostUnreachable,
    NotFound,
    ProtocolViolation,
    QueryRefused,
    UnknownClass,
    WsmanError,
)
from cloudstack_hyperv.wsman.login_guard import LoginGuard
from cloudstack_hyperv.wsman.pool import ConnectionPool
from cloudstack_hyperv.wsman.protocol import envelope
from cloudstack_hyperv.wsman.protocol.envelope import Head, Page
from cloudstack_hyperv.wsman.protocol.evaluate import CannotEvaluate, evaluate
from cloudstack_hyperv.wsman.protocol.faults import WBEM_E_INVALID_QUERY
from cloudstack_hyperv.wsman.protocol.masking import mask
from cloudstack_hyperv.wsman.protocol.names import class_uri, query_uri
from cloudstack_hyperv.wsman.protocol.wql import Select, Statement
from cloudstack_hyperv.wsman.transport import HttpTransport

Trace = Callable[[str, str], None]
"""Receives (request envelope, answer envelope), both without secrets."""

_RELEASE_SECONDS: Final = 5.0
_HOST_SHARE: Final = 0.95
"""Part of the remaining time that is given to the host as OperationTimeout."""
_SEALING_ROOM: Final = 64 * 1024

_log = structlog.get_logger(__name__)


class WsmanClient:
    """CIM operations on one host; safe to use from many tasks of one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        default_timeout: float = 60.0,
        connect_timeout: float = 10.0,
        max_connections: int = 8,
        idle_seconds: float = 60.0,
        failed_login_pause: float = 60.0,
        max_envelope_size: int = envelope.MAX_ENVELOPE_SIZE,
        max_elements: int = envelope.MAX_ELEMENTS,
        trace: Trace | None = None,
    ) -> None:
        """Prepare; connects only when the first call comes.

        Times are in seconds, `max_envelope_size` is in bytes.  Raises ValueError for credentials
        that do not fit the endpoint, OSError for certificate files that cannot be read.
        """
        check_combination(endpoint, credentials)
        self._endpoint = endpoint
        self._credentials = credentials
        self._tls = tls_context(endpoint, credentials)
        self._default_timeout = default_timeout
        self._connect_timeout = connect_timeout
        self._max_envelope_size = max_envelope_size
        self._max_elements = max_elements
        self._failed_login_pause = failed_login_pause
        self._trace = trace
        self._guard = LoginGuard(failed_login_pause)
        self._pool = ConnectionPool(
            self._connect, maximum=max_connections, idle_seconds=idle_seconds
        )
        self._refuses_wql: set[str] = set()
        self._releases: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return (
            f"<WsmanClient {self._endpoint.url} {self._credentials.scheme}"
            f" as {self._credentials.username!r}: {self._pool}>"
        )

    def check_credentials(self, credentials: Credentials) -> None:
        """Raise ValueError if this login is impossible here or would give the password away."""
        check_combination(self._endpoint, credentials)

    def use_credentials(self, credentials: Credentials) -> None:
        """Log in differently from now on; calls under way end with the old login."""
        check_combination(self._endpoint, credentials)
        if credentials == self._credentials:
            return
        self._tls = tls_context(self._endpoint, credentials)
        self._credentials = credentials
        self._guard = LoginGuard(self._failed_login_pause)
        self._pool.discard_idle()

    async def identify(self, *, timeout: float | None = None) -> Identity:
        """Ask whether WinRM answers; does not touch WMI."""
        body = await self._call(
            lambda _: envelope.identify_request(),
            self._deadline(timeout),
            repeatable=True,
            has_header=False,
        )
        return envelope.read_identity(body)

    async def get(
        self, path: ObjectPath, *, job_poll: bool = False, timeout: float | None = None
    ) -> Instance:
        """Read one instance by its full key; raises NotFound."""
        body = await self._call(
            lambda head: envelope.get_request(head, path),
            self._deadline(timeout),
            repeatable=True,
            job_poll=job_poll,
        )
        return envelope.read_get(body)

    async def enumerate(
        self,
        class_name: str,
        *,
        namespace: str = NAMESPACE_VIRTUALIZATION,
        timeout: float | None = None,
    ) -> list[Instance]:
        """Read all instances of a class and its subclasses."""
        return await self._all_pages(
            class_uri(namespace, class_name), None, self._deadline(timeout)
        )

    async def query(
        self,
        wql: str | Statement,
        *,
        namespace: str = NAMESPACE_VIRTUALIZATION,
        timeout: float | None = None,
    ) -> list[Instance]:
        """Run a WQL query; see `api.CimClient.query`."""
        deadline = self._deadline(timeout)
        if isinstance(wql, Select) and namespace.lower() in self._refuses_wql:
            return await self._filtered_here(wql, namespace, deadline)
        try:
            return await self._all_pages(query_uri(namespace), str(wql), deadline)
        except QueryRefused as refused:
            if not isinstance(wql, Select) or namespace.lower() != NAMESPACE_VIRTUALIZATION:
                raise
            try:
                found = await self._filtered_here(wql, namespace, deadline)
            except CannotEvaluate:
                raise refused from None
            if refused.detail.code != WBEM_E_INVALID_QUERY:
                # It was not this query that WMI disliked: the host takes none in this namespace.
                self._refuses_wql.add(namespace.lower())
            return found

    async def invoke(
        self,
        target: ObjectPath,
        method: str,
        arguments: Mapping[str, Argument | None] | None = None,
        *,
        timeout: float | None = None,
    ) -> MethodResult:
        """Call a method; a ReturnValue that tells of a failure is *not* an exception here."""
        body = await self._call(
            lambda head: envelope.invoke_request(head, target, method, arguments or {}),
            self._deadline(timeout),
            repeatable=False,
        )
        return envelope.read_result(body, method)

    async def close(self) -> None:
        """Close all connections; calls under way fail."""
        for task in self._releases:
            task.cancel()
        await self._pool.close()

    async def _filtered_here(
        self, select: Select, namespace: str, deadline: Deadline
    ) -> list[Instance]:
        uri = class_uri(namespace, select.class_name)
        return evaluate(select, await self._all_pages(uri, None, deadline))

    async def _all_pages(self, uri: str, wql: str | None, deadline: Deadline) -> list[Instance]:
        """Enumerate to the end; once more from the start when the host loses the enumeration."""
        try:
            return await self._pages(uri, wql, deadline)
        except EnumerationLost:
            return await self._pages(uri, wql, deadline)
        except NotFound as error:
            if wql is not None:
                raise
            # No object was named: what is not there (DestinationUnreachable) is the class.
            raise UnknownClass(error.detail) from error

    async def _pages(self, uri: str, wql: str | None, deadline: Deadline) -> list[Instance]:
        size = self._max_elements
        body = await self._call(
            lambda head: envelope.enumerate_request(head, uri, wql=wql, max_elements=size),
            deadline,
            repeatable=True,
        )
        page = envelope.read_page(body)
        instances = list(page.instances)
        while page.context is not None:
            page = await self._next_page(uri, page.context, deadline)
            instances.extend(page.instances)
        return instances

    async def _next_page(self, uri: str, context: str, deadline: Deadline) -> Page:
        """Pull a page; tell the host when the rest is not wanted any more."""
        size = self._max_elements
        try:
            body = await self._call(
                lambda head: envelope.pull_request(head, uri, context, max_elements=size),
                deadline,
                repeatable=False,
            )
            return envelope.read_page(body)
        except (EnumerationLost, HostUnreachable, ConnectionLost):
            raise
        except BaseException:
            self._release_later(uri, context)
            raise

    def _release_later(self, uri: str, context: str) -> None:
        """Release an abandoned enumeration without making the caller wait for it."""
        task = asyncio.get_running_loop().create_task(self._release(uri, context))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _release(self, uri: str, context: str) -> None:
        try:
            await self._call(
                lambda head: envelope.release_request(head, uri, context),
                Deadline.after(_RELEASE_SECONDS),
                repeatable=False,
            )
        except WsmanError as error:
            # The host drops an idle enumeration by itself after EnumerationTimeoutms (a minute).
            _log.debug("release of an enumeration failed", error=str(error))

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline.after(self._default_timeout if timeout is None else timeout)

    async def _call(
        self,
        write: Callable[[Head], str],
        deadline: Deadline,
        *,
        repeatable: bool,
        job_poll: bool = False,
        has_header: bool = True,
    ) -> ET.Element:
        """Send one request, once more where that is safe, and return the answer's body."""
        attempt = _Attempt(write, job_poll, has_header)
        try:
            async with deadline.scope():
                try:
                    return await self._attempt(attempt, deadline)
                except (HostUnreachable, AuthenticationFailed):
                    # Without effect.  On a new connection it would be the same again.
                    if not attempt.on_used_connection:
                        raise
                except ConnectionLost:
                    if not (attempt.on_used_connection and repeatable):
                        raise
                # What ended this connection (a reboot, a firewall) has ended its neighbours too.
                self._pool.discard_idle()
                attempt = _Attempt(write, job_poll, has_header)
                return await self._attempt(attempt, deadline)
        except TimeoutError:
            what = "no answer" if attempt.sent else "no connection ready"
            raise DeadlineExceeded(
                f"{self._endpoint.authority}: {what} within the deadline", request_sent=attempt.sent
            ) from None

    async def _attempt(self, attempt: _Attempt, deadline: Deadline) -> ET.Element:
        async with self._pool.connection() as connection:
            return await self._exchange(connection, attempt, deadline)

    async def _exchange(
        self, connection: Connection, attempt: _Attempt, deadline: Deadline
    ) -> ET.Element:
        attempt.on_used_connection = connection.answers > 0
        message_id = f"uuid:{str(uuid.uuid4()).upper()}"
        head = Head(
            to=self._endpoint.url,
            message_id=message_id,
            # The host shall say TimedOut before we hang up.
            operation_timeout=deadline.remaining() * _HOST_SHARE,
            max_envelope_size=self._max_envelope_size,
        )
        request = attempt.write(head)
        # Without tokens the password goes along: the first answer is the login's, too.
        async with nullcontext() if connection.logged_in else self._guard.turn():
            attempt.sent = True
            count_round_trip(job_poll=attempt.job_poll)
            answer = await connection.post(request)
        if self._trace is not None:
            secrets = self._credentials.secrets
            self._trace(mask(request, secrets), mask(answer, secrets))
        try:
            return envelope.open_answer(
                answer,
                message_id=message_id if attempt.has_header else None,
                maximum_bytes=self._maximum_answer,
            )
        except ProtocolViolation:
            # Perhaps the answer to another request: the next one may be wrong, too.
            connection.abort()
            raise

    @property
    def _maximum_answer(self) -> int:
        """Bytes of an answer that are read: MaxEnvelopeSize in UTF-16 and its sealing."""
        return 2 * self._max_envelope_size + _SEALING_ROOM

    async def _connect(self) -> Connection:
        self._guard.check()
        try:
            async with asyncio.timeout(self._connect_timeout):
                transport = await HttpTransport.connect(
                    self._endpoint, self._tls, maximum_body=self._maximum_answer
                )
                connection = Connection(self._endpoint, self._credentials, transport)
                if connection.logs_in_with_tokens:
                    await self._log_in(connection)
                return connection
        except TimeoutError:
            raise HostUnreachable(
                f"{self._endpoint.authority}: no connection within {self._connect_timeout:g} s"
            ) from None

    async def _log_in(self, connection: Connection) -> None:
        try:
            async with self._guard.turn():
                await connection.log_in()
        except BaseException:
            connection.abort()
            raise


@dataclass(slots=True)
class _Attempt:
    """One try of a request, and how far it got."""

    write: Callable[[Head], str]
    job_poll: bool
    has_header: bool
    """Whether the request carries a MessageID that the answer must name (Identify does not)."""
    on_used_connection: bool = False
    sent: bool = False
