"""The record of every call, and the place where faults are made on purpose.

Each operation becomes a `Call` before it is carried out and a `CallRecord` afterwards.
Interceptors see the Call first and may answer with a verdict: let the connection die before or
after the effect, answer a fault, answer a return code without any effect, hang, slow down.  An
interceptor is any callable, so the host model can hook its own mischief (restart VMMS, fill the
disk) at the nth call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from cloudstack_hyperv.emulator.cim.provider import Caller, Value
from cloudstack_hyperv.emulator.door.faults import WsmanFault

KEPT_RECORDS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One operation that a client asks for."""

    number: int
    """1 for the first call of the host's life."""
    operation: str
    """Get, Put, Create, Delete, Enumerate, Pull, Release, Identify or Invoke."""
    namespace: str
    class_name: str
    """As the client spelled it; "*" for a query."""
    method: str
    """Method name for Invoke, else ""."""
    selectors: Mapping[str, str]
    caller: Caller
    filter: str = ""
    """Text of a WQL filter."""
    arguments: Mapping[str, Value] = field(default_factory=dict)
    """Checked arguments of an Invoke."""


@dataclass(frozen=True, slots=True)
class DropConnection:
    """The TCP connection is reset."""

    after_effect: bool = False
    """True: the operation is carried out, only its answer is lost."""


@dataclass(frozen=True, slots=True)
class AnswerFault:
    """A SOAP fault instead of the operation."""

    fault: WsmanFault


@dataclass(frozen=True, slots=True)
class AnswerCode:
    """A method's ReturnValue, with all out parameters NULL, instead of the operation."""

    code: int


@dataclass(frozen=True, slots=True)
class AnswerStatus:
    """A bare HTTP status (503 while the service restarts, 401 after a password change)."""

    status: int


@dataclass(frozen=True, slots=True)
class Slow:
    """The operation is carried out, and its answer delayed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer until the client or the host goes away; the operation is not carried out."""

    after_effect: bool = False
    """True: it is carried out before."""


Verdict: TypeAlias = DropConnection | AnswerFault | AnswerCode | AnswerStatus | Slow | Hang
Listener: TypeAlias = "Callable[[CallRecord], None]"
Interceptor: TypeAlias = Callable[[Call], Verdict | Awaitable[Verdict | None] | None]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call that is over."""

    call: Call
    when: datetime
    """The host's clock at its start."""
    result: str
    """`ok`, `ReturnValue 4096`, a fault's subcode and code, or what an interceptor did."""
    duration_s: float


class CallLog:
    """Calls of one host: counting, interceptors, and the last `KEPT_RECORDS` records."""

    def __init__(self) -> None:
        self.records: deque[CallRecord] = deque(maxlen=KEPT_RECORDS)
        self._count = 0
        self._interceptors: list[Interceptor] = []
        self._listeners: list[Listener] = []

    def next_number(self) -> int:
        """Return the number of the next call."""
        self._count += 1
        return self._count

    @property
    def count(self) -> int:
        """How many calls there have been."""
        return self._count

    def record(self, record: CallRecord) -> None:
        """Keep a call that is over, and tell who listens; its answer has not left yet."""
        self.records.append(record)
        for listener in tuple(self._listeners):
            listener(record)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Let `listener` see every call that is over; call the result to take it away."""
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove

    def intercept(self, interceptor: Interceptor) -> Callable[[], None]:
        """Let `interceptor` see every call from now on; call the result to take it away."""
        self._interceptors.append(interceptor)

        def remove() -> None:
            if interceptor in self._interceptors:
                self._interceptors.remove(interceptor)

        return remove

    async def verdict(self, call: Call) -> Verdict | None:
        """Show the call to all interceptors, in the order of their arrival.

        The first verdict counts; the others see the call all the same, so that each can count.
        """
        chosen: Verdict | None = None
        for interceptor in tuple(self._interceptors):
            answer = interceptor(call)
            if isinstance(answer, Awaitable):
                answer = await answer
            chosen = answer if chosen is None else chosen
        return chosen

    @property
    def watched(self) -> bool:
        """Whether there are interceptors at all."""
        return bool(self._interceptors)
