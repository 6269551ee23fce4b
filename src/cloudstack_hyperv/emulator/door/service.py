"""The WS-Management service of one host: an envelope in, an envelope out.

It knows no sockets and no logins: the caller says who asks.  Order of the checks as on Windows: the
envelope, the caller's rights, the operations quota, then the resource.  A call that outlives its
OperationTimeout is answered TimedOut while the work goes on.

Sources: [MS-WSMV] 3.1.4.1 for the order; Microsoft's "Quotas" page for the per-user limit.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import quoteattr

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.provider import Caller, CimFault, MethodReply, WmiCode
from cloudstack_hyperv.emulator.door import answers, soap, uris
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door.calls import (
    AnswerCode,
    AnswerFault,
    AnswerStatus,
    Call,
    CallLog,
    CallRecord,
    DropConnection,
    Hang,
    Slow,
)
from cloudstack_hyperv.emulator.door.enumeration import Enumerations, Sizing
from cloudstack_hyperv.emulator.door.faults import WsmanFault, fault_body, from_wmi
from cloudstack_hyperv.emulator.door.invoke import Invocations, Prepared
from cloudstack_hyperv.emulator.door.leniencies import Leniencies
from cloudstack_hyperv.emulator.door.settings import WINDOWS_VERSIONS, DoorSettings
from cloudstack_hyperv.emulator.door.transfer import Transfers

_logger = logging.getLogger(__name__)
_OPERATIONS: Final = {
    uris.ACTION_GET: "Get",
    uris.ACTION_PUT: "Put",
    uris.ACTION_CREATE: "Create",
    uris.ACTION_DELETE: "Delete",
    uris.ACTION_ENUMERATE: "Enumerate",
    uris.ACTION_PULL: "Pull",
    uris.ACTION_RELEASE: "Release",
}
_NAMESPACES: Final = {
    "Invoke": answers.NAMESPACES_INVOKE,
    "Enumerate": answers.NAMESPACES_ENUMERATION,
    "Pull": answers.NAMESPACES_ENUMERATION,
    "Release": answers.NAMESPACES_ENUMERATION,
}
_HTTP_OK: Final = 200
_HTTP_FAULT: Final = 500
_PROFILES: Final = {
    "basic": "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http{s}/basic",
    "negotiate": "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http{s}/spnego-kerberos",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status and envelope; an empty text is an empty HTTP body."""

    status: int
    text: str


class NoAnswer(Exception):
    """An interceptor took the answer away: `hang` keeps the connection open, else it is reset."""

    def __init__(self, *, hang: bool) -> None:
        super().__init__("hang" if hang else "drop")
        self.hang = hang


class _BareStatus(Exception):
    """An interceptor wants an HTTP status without an envelope."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one operation."""

    body: str
    extra_headers: str = ""
    note: str = "ok"


class WsmanService:
    """The operations of one host."""

    def __init__(
        self,
        engine: CimEngine,
        settings: DoorSettings,
        calls: CallLog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.calls = calls if calls is not None else CallLog()
        self._engine = engine
        self._settings = settings
        self._clock = clock
        leniencies = Leniencies(settings.enforced)
        self.leniencies = leniencies
        self._transfers = Transfers(engine, leniencies)
        self._invocations = Invocations(engine, leniencies)
        self._enumerations = Enumerations(engine, settings, leniencies, clock)
        self._running: Counter[str] = Counter()
        self._unfinished: set[asyncio.Task[_Outcome]] = set()

    @property
    def engine(self) -> CimEngine:
        """The CIM engine behind it."""
        return self._engine

    @property
    def open_enumerations(self) -> int:
        """How many enumeration contexts are alive."""
        return len(self._enumerations)

    async def answer(self, text: str, caller: Caller | None, charset: str = "UTF-8") -> Answer:
        """Answer one envelope; `caller` None is a client without a login, who may only Identify.

        Raises NoAnswer when an interceptor wants the client to get none.
        """
        limit = self._settings.max_envelope_kb * 1024
        try:
            request = soap.read_request(text, server_limit=limit)
        except soap.MalformedRequest as malformed:
            return self._fault(malformed, malformed.message_id, "")
        if isinstance(request, soap.Identify):
            return self._identify(caller)
        namespace = request.resource.namespace
        if caller is None or not caller.administrator:
            return self._fault(WsmanFault(table.ACCESS_DENIED), request.message_id, namespace)
        if self._running[caller.user] >= self._settings.max_concurrent_operations_per_user:
            return self._fault(WsmanFault(table.QUOTA_LIMIT), request.message_id, namespace)
        self._running[caller.user] += 1
        try:
            return await self._operate(request, caller, charset, limit)
        finally:
            self._running[caller.user] -= 1

    def _identify(self, caller: Caller | None) -> Answer:
        version = WINDOWS_VERSIONS.get(self._engine.host.release, "10.0.17763")
        profiles = None
        if caller is not None:
            enabled = [each for each in ("basic", "negotiate") if getattr(self._settings, each)]
            profiles = tuple(
                _PROFILES[each].format(s=suffix)
                for each in enabled
                for suffix, port in (
                    ("", self._settings.http_port),
                    ("s", self._settings.https_port),
                )
                if port is not None
            )
        text = answers.identify_response(version, self._settings.language, profiles)
        return Answer(_HTTP_OK, text)

    async def _operate(
        self, request: soap.Request, caller: Caller, charset: str, server_limit: int
    ) -> Answer:
        started, when = self._clock(), self._engine.host.now()
        asked = request.max_envelope
        sizing = Sizing(
            asked if asked is not None else server_limit,
            2 if charset == "UTF-16" else 1,
            request.message_id,
            table.RESPONSE_TOO_LARGE
            if asked is not None and asked < server_limit
            else table.SERVER_ENVELOPE_LIMIT,
        )
        operation = _OPERATIONS.get(request.action, "Invoke")
        call, note = self._call(request, operation, caller), "ok"
        try:
            prepared = self._invocations.prepare(request, caller) if operation == "Invoke" else None
            if prepared is not None:
                call = dataclasses.replace(
                    call, method=prepared.method.name, arguments=prepared.arguments
                )
            outcome = await self._carry_out(call, request, prepared, sizing)
            note = outcome.note
            return self._good(request, operation, outcome, sizing)
        except WsmanFault as fault:
            note = f"{fault.kind.subcode or fault.kind.soap_code} {fault.kind.code}"
            return self._fault(fault, request.message_id, request.resource.namespace)
        except _BareStatus as bare:
            note = f"HTTP {bare.status}"
            return Answer(bare.status, "")
        except NoAnswer as none:
            note = "hung" if none.hang else "connection dropped"
            raise
        except Exception:
            note = "provider raised"
            _logger.exception("%s on %s failed", operation, request.resource.uri)
            raised = from_wmi(CimFault(WmiCode.PROVIDER_FAILURE), "ExecMethod")
            return self._fault(raised, request.message_id, request.resource.namespace)
        finally:
            self.calls.record(CallRecord(call, when, note, self._clock() - started))

    def _call(self, request: soap.Request, operation: str, caller: Caller) -> Call:
        resource, body = request.resource, request.body
        query = ""
        if operation == "Enumerate" and body is not None:
            query = body.findtext("{" + uris.WSMAN + "}Filter") or ""
        return Call(
            self.calls.next_number(),
            operation,
            resource.namespace,
            resource.class_name,
            request.action.rpartition("/")[2] if operation == "Invoke" else "",
            {
                name: value if isinstance(value, str) else ""
                for name, value in request.selectors.items()
            },
            caller,
            query,
        )

    async def _carry_out(
        self, call: Call, request: soap.Request, prepared: Prepared | None, sizing: Sizing
    ) -> _Outcome:
        """Perform the operation, unless an interceptor wants something else to happen."""
        verdict = await self.calls.verdict(call) if self.calls.watched else None
        if isinstance(verdict, DropConnection | Hang):
            if verdict.after_effect:
                await self._perform(call, request, prepared, sizing)
            raise NoAnswer(hang=isinstance(verdict, Hang))
        if isinstance(verdict, AnswerFault):
            raise verdict.fault
        if isinstance(verdict, AnswerStatus):
            raise _BareStatus(verdict.status)
        if isinstance(verdict, AnswerCode) and prepared is not None:
            reply = MethodReply(verdict.code)
            return _Outcome(
                self._invocations.output(prepared, reply), note=f"answered {verdict.code}"
            )
        outcome = await self._perform(call, request, prepared, sizing)
        if isinstance(verdict, Slow):
            allowed = self._seconds_allowed(request)
            await asyncio.sleep(min(verdict.seconds, allowed))
            if verdict.seconds > allowed:
                raise WsmanFault(table.TIMED_OUT)
        return outcome

    async def _perform(
        self, call: Call, request: soap.Request, prepared: Prepared | None, sizing: Sizing
    ) -> _Outcome:
        caller = call.caller
        if call.operation == "Pull":
            return _Outcome(self._enumerations.pull(request, caller, sizing))
        if call.operation == "Release":
            return _Outcome(self._enumerations.release(request, caller))
        work: Coroutine[None, None, _Outcome]
        if prepared is not None:
            work = self._invoke(prepared)
        elif call.operation == "Enumerate":
            work = self._enumerate(request, caller, sizing)
        else:
            work = self._transfer(call.operation, request, caller)
        return await self._within(work, self._seconds_allowed(request))

    async def _invoke(self, prepared: Prepared) -> _Outcome:
        reply = await self._invocations.carry_out(prepared)
        note = f"ReturnValue {reply.return_value}"
        return _Outcome(self._invocations.output(prepared, reply), note=note)

    async def _enumerate(self, request: soap.Request, caller: Caller, sizing: Sizing) -> _Outcome:
        body, count = await self._enumerations.enumerate(request, caller, sizing)
        estimate = f"<w:TotalItemsCountEstimate>{count}</w:TotalItemsCountEstimate>"
        return _Outcome(body, estimate if request.wants_count else "", f"ok {count}")

    async def _transfer(self, operation: str, request: soap.Request, caller: Caller) -> _Outcome:
        if operation == "Get":
            return _Outcome(await self._transfers.get(request))
        if operation == "Put":
            return _Outcome(await self._transfers.put(request, caller))
        if operation == "Create":
            return _Outcome(await self._transfers.create(request, caller))
        return _Outcome(await self._transfers.delete(request, caller))

    def _seconds_allowed(self, request: soap.Request) -> float:
        most = self._settings.max_timeout_ms / 1000
        asked = request.operation_timeout_s
        return most if asked is None else min(asked, most)

    async def _within(self, work: Coroutine[None, None, _Outcome], seconds: float) -> _Outcome:
        """Await an operation; when time is up, answer TimedOut and let it go on."""
        task = asyncio.get_running_loop().create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise WsmanFault(table.TIMED_OUT)
        return task.result()

    def _finished(self, task: asyncio.Task[_Outcome]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.debug("an operation ended with %s", error)

    def _good(
        self, request: soap.Request, operation: str, outcome: _Outcome, sizing: Sizing
    ) -> Answer:
        text = answers.envelope(
            _NAMESPACES.get(operation, answers.NAMESPACES_TRANSFER),
            request.action + "Response",
            request.message_id,
            outcome.body,
            self._settings.language,
            outcome.extra_headers,
        )
        if sizing.of(text) > sizing.limit:
            raise WsmanFault(sizing.too_large)
        return Answer(_HTTP_OK, text)

    def refusal(self, kind: table.FaultKind, message_id: str | None = None) -> Answer:
        """Return the answer to a request that is refused before its envelope is looked at."""
        return self._fault(WsmanFault(kind), message_id, "")

    def _fault(self, fault: WsmanFault, message_id: str | None, namespace: str) -> Answer:
        language = self._settings.language
        body = fault_body(fault, self._engine.host.name, language, namespace)
        headers = ""
        if fault.not_understood is not None:
            uri, name = fault.not_understood
            headers = f"<s:NotUnderstood qname={quoteattr('q:' + name)} xmlns:q={quoteattr(uri)}/>"
        text = answers.envelope(
            answers.NAMESPACES_FAULT, fault.action, message_id, body, language, headers
        )
        return Answer(_HTTP_FAULT, text)

    async def close(self) -> None:
        """Give up the operations that outlived their calls."""
        for work in tuple(self._unfinished):
            work.cancel()
        await asyncio.gather(*self._unfinished, return_exceptions=True)
