"""What the Hyper-V operations need of a CIM client, and the values that pass.

`hypervisor` is written against `CimClient`; `wsman.client.WsmanClient` is the one implementation.
An answer's property types are not on the wire (an array of one looks like a scalar), so an
`Instance` keeps texts and the reader says what it expects: `vm.uint("EnabledState")`,
`drive.strings("HostResource")`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from cloudstack_hyperv.cim import ObjectPath, SizedInt
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.wsman.protocol.datetimes import read_datetime, read_interval
from cloudstack_hyperv.wsman.protocol.wql import Statement

WINDOWS_EPOCH_YEAR = 1601
"""The year in which Windows starts to count time; as a value it means "never"."""

Scalar = bool | SizedInt | float | str | datetime | timedelta | ObjectPath


@dataclass(frozen=True, slots=True)
class EmbeddedInstance:
    """An instance to be sent as CIM-XML text inside a string parameter.

    Only what is to be set; an absent property is left to the host.  Integers must carry their CIM
    type (`Uint16(2)`); a list becomes PROPERTY.ARRAY even with one entry.
    """

    class_name: str
    properties: Mapping[str, Scalar | Sequence[Scalar] | None]


Argument = Scalar | EmbeddedInstance | Sequence[Scalar] | Sequence[EmbeddedInstance] | bytes
"""A method argument: ObjectPath travels as an endpoint reference, EmbeddedInstance as CIM-XML.

`bytes` is an octet string (base64 text); a plain uint8 array is a list of `Uint8`.
"""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance read from the host: property name -> texts in order (NULL: not there)."""

    class_name: str
    values: Mapping[str, tuple[str | ObjectPath | Instance, ...]]
    namespace: str = NAMESPACE_VIRTUALIZATION

    def string(self, name: str) -> str | None:
        """Return a string property, None for NULL."""
        values = self.values.get(name)
        return str(values[0]) if values else None

    def require(self, name: str) -> str:
        """Return a string property that must be there; raises MissingProperty."""
        text = self.string(name)
        if text is None:
            raise MissingProperty(f"{self.class_name} has no {name}")
        return text

    def strings(self, name: str) -> tuple[str, ...]:
        """Return a string array, () for NULL."""
        return tuple(str(value) for value in self.values.get(name, ()))

    def uint(self, name: str) -> int | None:
        """Return an integer property, None for NULL; raises ValueError for other text."""
        text = self.string(name)
        return None if text is None or text == "" else int(text)

    def uints(self, name: str) -> tuple[int, ...]:
        """Return an integer array."""
        return tuple(int(text) for text in self.strings(name))

    def boolean(self, name: str) -> bool | None:
        """Return a boolean property in any letter case, None for NULL."""
        text = self.string(name)
        return None if text is None else text.strip().lower() == "true"

    def timestamp(self, name: str) -> datetime | None:
        """Return a point in time with its offset; NULL and "never" (year 1601) are None.

        Reads the ISO form of WS-Man answers and the CIM form of CIM-XML; ValueError for others.
        """
        text = self.string(name)
        if not text:
            return None
        moment = read_datetime(text)
        return None if moment.year == WINDOWS_EPOCH_YEAR else moment

    def interval(self, name: str) -> timedelta | None:
        """Return a length of time, None for NULL; reads ISO and CIM form."""
        text = self.string(name)
        return read_interval(text) if text else None

    def octets(self, name: str) -> bytes | None:
        """Return a uint8 array in either form a host sends: base64 text or repeated numbers.

        One text that is a number below 256 is read as an array of one; raises ValueError for
        what is neither.
        """
        texts = self.strings(name)
        if not texts:
            return None
        if len(texts) == 1 and not (texts[0].isdecimal() and int(texts[0]) < 256):
            return base64.b64decode("".join(texts[0].split()), validate=True)
        return bytes(int(text) for text in texts)

    def path(self, name: str) -> ObjectPath | None:
        """Return a reference: a REF property, or a string property that holds a path."""
        values = self.values.get(name)
        if not values:
            return None
        value = values[0]
        return value if isinstance(value, ObjectPath) else ObjectPath.parse(str(value))

    def instances(self, name: str) -> tuple[Instance, ...]:
        """Return embedded objects that came as XML elements."""
        return tuple(v for v in self.values.get(name, ()) if isinstance(v, Instance))


class MissingProperty(LookupError):
    """The host's answer lacks a property that every release has."""


@dataclass(frozen=True, slots=True)
class MethodResult:
    """Answer of an Invoke: `return_value` (None for void methods) and the out parameters."""

    return_value: int | None
    out: Instance

    @property
    def job(self) -> ObjectPath | None:
        """The started job, if any."""
        return self.out.path("Job")

    def paths(self, name: str) -> tuple[ObjectPath, ...]:
        """Return a reference array out parameter such as ResultingResourceSettings."""
        return tuple(v for v in self.out.values.get(name, ()) if isinstance(v, ObjectPath))


@dataclass(frozen=True, slots=True)
class Identity:
    """Answer to wsmid:Identify."""

    vendor: str
    product_version: str
    protocol_version: str
    extra: Mapping[str, str] = field(default_factory=dict)


class CimClient(Protocol):
    """CIM operations on one host.  Every call has a deadline and raises `wsman.errors`.

    `timeout` is in seconds and bounds the call as a whole, all its pages and the one retry; None
    takes the client's default.  An argument that cannot be sent at all (a plain int, a text with
    characters that XML does not have, a name that is none) raises TypeError or ValueError before
    anything is sent.
    """

    async def identify(self, *, timeout: float | None = None) -> Identity:
        """Ask whether WinRM answers; does not touch WMI."""
        ...

    async def get(
        self, path: ObjectPath, *, job_poll: bool = False, timeout: float | None = None
    ) -> Instance:
        """Read one instance by its full key; raises NotFound."""
        ...

    async def enumerate(
        self,
        class_name: str,
        *,
        namespace: str = NAMESPACE_VIRTUALIZATION,
        timeout: float | None = None,
    ) -> list[Instance]:
        """Read all instances of a class and its subclasses."""
        ...

    async def query(
        self,
        wql: str | Statement,
        *,
        namespace: str = NAMESPACE_VIRTUALIZATION,
        timeout: float | None = None,
    ) -> list[Instance]:
        """Run a WQL query; give a `Select` rather than text wherever a value comes from outside.

        On hosts that refuse WQL in root/virtualization/v2 a `Select` is answered by enumerating
        its class and filtering here; text and associations raise QueryRefused there.
        """
        ...

    async def invoke(
        self,
        target: ObjectPath,
        method: str,
        arguments: Mapping[str, Argument | None] | None = None,
        *,
        timeout: float | None = None,
    ) -> MethodResult:
        """Call a method; a ReturnValue that tells of a failure is *not* an exception here.

        A singleton service may be named by its CreationClassName alone.  An argument that is None
        is left out (NULL).
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
