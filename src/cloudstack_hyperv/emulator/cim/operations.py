"""Operations on the CIM engine as an interceptor sees them.

Interceptors are how a call log and faults on purpose get between the door and the providers
without either knowing: each is asked before an operation is even looked at, and told how it ended.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cloudstack_hyperv.emulator.cim.provider import Caller, MethodReply, Value


class OperationKind(enum.StrEnum):
    """What is asked of the engine."""

    GET = "Get"
    PUT = "Put"
    CREATE = "Create"
    DELETE = "Delete"
    ENUMERATE = "Enumerate"
    QUERY = "Query"
    SELECT = "Select"
    ASSOCIATORS = "Associators"
    REFERENCES = "References"
    INVOKE = "Invoke"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, as interceptors see it."""

    kind: OperationKind
    namespace: str
    class_name: str
    """"" for a query, whose text is in `query`."""
    method: str = ""
    selectors: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Value] = field(default_factory=dict)
    query: str = ""
    caller: Caller | None = None


class Interceptor(Protocol):
    """Sees every operation before it is looked at and after it ended."""

    async def before(self, operation: Operation) -> MethodReply | None:
        """Wait, raise, or (for Invoke) answer in the provider's place."""
        ...

    async def after(
        self, operation: Operation, result: object, error: BaseException | None
    ) -> None:
        """See the result, or the exception that is about to be raised; may raise another."""
        ...
