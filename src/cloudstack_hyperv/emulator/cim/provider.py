"""The line inside the emulated host between generic CIM and Hyper-V's behaviour.

`emulator.door` speaks WS-Management, `emulator.cim` knows classes, queries and associations, and
neither knows what a virtual machine is.  `emulator.host` knows, and offers itself as *providers*,
as Windows does: a provider yields the rows of the classes it serves and carries out their methods.
Everything a provider receives has been checked against the class schema (names, CIM types, arrays,
required keys); everything it returns is checked again before it is sent.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from cloudstack_hyperv.cim import ObjectPath, SizedInt

if TYPE_CHECKING:
    from typing import TypeAlias

    Scalar: TypeAlias = (
        bool
        | int
        | SizedInt
        | float
        | str
        | datetime
        | timedelta
        | ObjectPath
        | bytes
        | "Row"
        | "UnusableInstance"
    )
    Value: TypeAlias = Scalar | Sequence[Scalar] | None
else:
    Scalar = object
    Value = object
"""A property or parameter value: None is NULL, a list is an array, bytes an octet string.

Providers may use plain ints: the schema knows each property's width and checks it.
"""


class Row:
    """One instance: class name and values.  A property that is not in `values` is NULL."""

    __slots__ = ("class_name", "values")

    def __init__(self, class_name: str, values: dict[str, Value]) -> None:
        self.class_name = class_name
        self.values = values

    def __repr__(self) -> str:
        return f"Row({self.class_name}, {self.values!r})"


class BadEmbedded(enum.StrEnum):
    """Why an embedded instance that a client sent cannot be used.

    Windows does not answer these with a fault: the method returns a code (32773, on the switch
    service 32776) or starts a job that fails with 32768.  So the provider decides.
    """

    SYNTAX = "not a CIM-XML INSTANCE"
    UNKNOWN_CLASS = "unknown class"
    UNKNOWN_PROPERTY = "unknown property"
    SCALAR_FOR_ARRAY = "scalar where the class has an array, or the reverse"
    WRONG_TYPE = "TYPE differs from the declared type, or the text is not of that type"


@dataclass(frozen=True, slots=True)
class UnusableInstance:
    """Stands in `MethodCall.arguments` where an embedded instance could not be read."""

    problem: BadEmbedded
    text: str
    """What exactly, for logs and job error texts."""


class WmiCode:
    """HRESULTs that WMI providers answer with (wbemcli.h)."""

    FAILED = 0x80041001
    NOT_FOUND = 0x80041002
    ACCESS_DENIED = 0x80041003
    PROVIDER_FAILURE = 0x80041004
    INVALID_PARAMETER = 0x80041008
    NOT_SUPPORTED = 0x8004100C
    INVALID_NAMESPACE = 0x8004100E
    INVALID_OBJECT = 0x8004100F
    INVALID_CLASS = 0x80041010
    INVALID_QUERY = 0x80041017
    INVALID_METHOD = 0x8004102E
    INVALID_METHOD_PARAMETERS = 0x8004102F
    INVALID_OBJECT_PATH = 0x8004103A


class CimFault(Exception):
    """A provider or the CIM engine refuses: becomes a WS-Man fault with this HRESULT inside.

    For a method that runs and fails, return its ReturnValue instead.
    """

    def __init__(self, code: int, description: str = "") -> None:
        super().__init__(f"{code:#010x} {description}")
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, and with what kind of login (decides whether a second hop is possible)."""

    user: str
    administrator: bool = True
    mechanism: str = "negotiate"
    """basic | ntlm | negotiate | kerberos | credssp | certificate | local"""

    @property
    def can_delegate(self) -> bool:
        """Whether the host got credentials it can use towards a third machine."""
        return self.mechanism == "credssp"


@dataclass(frozen=True, slots=True)
class MethodCall:
    """A checked method call.

    `target` is the addressed instance's row (None for a static call by class), `arguments` holds
    only parameters that were sent: REF -> ObjectPath (namespace and host filled in as sent),
    embedded instance -> Row with only the properties sent, arrays -> list.
    """

    namespace: str
    class_name: str
    method: str
    target: Row | None
    arguments: Mapping[str, Value]
    caller: Caller


@dataclass(frozen=True, slots=True)
class MethodReply:
    """ReturnValue (None for void methods) and out parameters; absent ones are NULL."""

    return_value: int | None
    out: Mapping[str, Value] = field(default_factory=dict)


class Provider(Protocol):
    """Serves one or more concrete classes of one namespace."""

    def rows(self, class_name: str) -> Iterable[Row]:
        """Yield all instances of exactly this class, in the host's stable order."""
        ...

    def find(self, class_name: str, keys: Mapping[str, str]) -> Row | None:
        """Return the instance with these key values (compare without letter case), or None."""
        ...

    def invoke(self, call: MethodCall) -> MethodReply | Awaitable[MethodReply]:
        """Carry out a method; `call.method` is one the schema declares for the class."""
        ...

    def put(self, row: Row, changes: Mapping[str, Value], caller: Caller) -> Row:
        """Change an instance (WS-Transfer Put); CimFault(NOT_SUPPORTED) where Windows refuses."""
        ...

    def create(self, row: Row, caller: Caller) -> ObjectPath:
        """Create an instance (WS-Transfer Create); CimFault(NOT_SUPPORTED) as a rule."""
        ...

    def delete(self, row: Row, caller: Caller) -> None:
        """Delete an instance (WS-Transfer Delete); CimFault(NOT_SUPPORTED) as a rule."""
        ...

    def references(self, class_name: str, path: ObjectPath) -> Iterable[Row] | None:
        """Rows of association class `class_name` that refer to `path`; None: scan `rows`."""
        ...


class ProviderHost(Protocol):
    """A whole emulated host as the CIM engine and the door see it."""

    @property
    def name(self) -> str:
        """NetBIOS name, upper case: what `__SERVER` and SystemName show."""
        ...

    @property
    def release(self) -> str:
        """Profile: "2012", "2012r2", "2016", "2019", "2022", "2025" or "client-11"."""
        ...

    @property
    def namespaces(self) -> frozenset[str]:
        """Namespaces that exist on this host, lower case with forward slashes."""
        ...

    def provider(self, namespace: str, class_name: str) -> Provider | None:
        """The provider of a concrete class, None if this host has no instances of it."""
        ...

    def now(self) -> datetime:
        """The host's clock (may be virtual), UTC."""
        ...
