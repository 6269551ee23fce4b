"""Providers made of functions: which class is served from where, and which methods it has.

One `ServedClass` stands for one concrete class of one namespace.  It settles the host's timeline
before anything is looked at, finds rows by key when nobody gave it something faster, and answers
"not supported" for every method that nobody modelled: 32770 in the Hyper-V namespace, a WMI
"provider is not capable" elsewhere.  Nothing answers 0 without having done something.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import (
    Caller,
    CimFault,
    MethodCall,
    MethodReply,
    Row,
    Value,
    WmiCode,
)
from cloudstack_hyperv.emulator.host.outcome import JobFailed, Refused

if TYPE_CHECKING:
    from cloudstack_hyperv.emulator.host.clock import Timeline
    from cloudstack_hyperv.emulator.host.release_schema import ReleaseSchema

RowSource = Callable[[], Iterable[Row]]
Finder = Callable[[Mapping[str, str]], Row | None]
Handler = Callable[[MethodCall], MethodReply | Awaitable[MethodReply]]
Referrer = Callable[[ObjectPath], Iterable[Row] | None]
Deleter = Callable[[Row, Caller], None]
Putter = Callable[[Row, Mapping[str, Value], Caller], Row]


class ServedClass:
    """The provider of one class; see `emulator.cim.provider.Provider`."""

    def __init__(
        self,
        timeline: Timeline,
        namespace: str,
        class_name: str,
        rows: RowSource,
        *,
        find: Finder | None = None,
        methods: Mapping[str, Handler] | None = None,
        references: Referrer | None = None,
        delete: Deleter | None = None,
        put: Putter | None = None,
        foreign: frozenset[str] = frozenset(),
    ) -> None:
        """`foreign` are properties that other releases' class has and this one's does not."""
        self._foreign = foreign
        self.namespace = namespace
        self.class_name = class_name
        self._timeline = timeline
        self._rows = rows
        self._find = find
        self._methods = {name.lower(): handler for name, handler in (methods or {}).items()}
        self._references = references
        self._delete = delete
        self._put = put

    @property
    def modelled_methods(self) -> frozenset[str]:
        """Names (lower case) of the methods that do something."""
        return frozenset(self._methods)

    def rows(self, class_name: str) -> Iterable[Row]:
        """Yield all instances."""
        del class_name
        self._timeline.settle()
        if self._foreign:
            return (self._native(row) for row in self._rows())
        return self._rows()

    def _native(self, row: Row) -> Row:
        """Leave out what this release's class does not have."""
        if self._foreign.isdisjoint(row.values):
            return row
        kept = {name: value for name, value in row.values.items() if name not in self._foreign}
        return Row(row.class_name, kept)

    def find(self, class_name: str, keys: Mapping[str, str]) -> Row | None:
        """Return the instance with these keys, or None."""
        del class_name
        self._timeline.settle()
        row = find_by_keys(self._rows(), keys) if self._find is None else self._find(keys)
        return row if row is None else self._native(row)

    def invoke(self, call: MethodCall) -> MethodReply | Awaitable[MethodReply]:
        """Carry out a method; a refusal becomes its code."""
        self._timeline.settle()
        handler = self._methods.get(call.method.lower())
        if handler is None:
            if self.namespace == NAMESPACE_VIRTUALIZATION:
                return MethodReply(ReturnCode.NOT_SUPPORTED)
            raise CimFault(
                WmiCode.NOT_SUPPORTED, f"{call.class_name}.{call.method} is not modelled"
            )
        try:
            return handler(call)
        except (Refused, JobFailed) as refusal:
            return MethodReply(refusal.code)

    def put(self, row: Row, changes: Mapping[str, Value], caller: Caller) -> Row:
        """Change an instance where the class allows it."""
        if self._put is None:
            raise CimFault(WmiCode.NOT_SUPPORTED, f"instances of {self.class_name} are read-only")
        self._timeline.settle()
        return self._put(row, changes, caller)

    def create(self, row: Row, caller: Caller) -> ObjectPath:
        """Refuse: no class served here can be created by WS-Transfer."""
        del row, caller
        raise CimFault(WmiCode.NOT_SUPPORTED, f"{self.class_name} cannot be created by Create")

    def delete(self, row: Row, caller: Caller) -> None:
        """Delete an instance where the class allows it."""
        if self._delete is None:
            raise CimFault(WmiCode.NOT_SUPPORTED, f"{self.class_name} cannot be deleted by Delete")
        self._timeline.settle()
        self._delete(row, caller)

    def references(self, class_name: str, path: ObjectPath) -> Iterable[Row] | None:
        """Return the association rows that refer to `path`; None means: scan `rows`."""
        del class_name
        self._timeline.settle()
        return None if self._references is None else self._references(path)


def find_by_keys(rows: Iterable[Row], keys: Mapping[str, str]) -> Row | None:
    """Return the first row whose values equal `keys`, without letter case."""
    wanted = {name.lower(): value.lower() for name, value in keys.items()}
    for row in rows:
        values = {name.lower(): value for name, value in row.values.items()}
        if all(_same(values.get(name), value) for name, value in wanted.items()):
            return row
    return None


def _same(value: Value, wanted: str) -> bool:
    if isinstance(value, ObjectPath):
        try:
            return value.same_object(ObjectPath.parse(wanted))
        except MalformedPath:
            return False
    if isinstance(value, bool):
        return wanted == ("true" if value else "false")
    return str(value).lower() == wanted


class ClassTable:
    """All classes that one host serves; what its release lacks is left out."""

    def __init__(self, timeline: Timeline, schema: ReleaseSchema) -> None:
        self._timeline = timeline
        self._schema = schema
        self._served: dict[tuple[str, str], ServedClass] = {}
        self.namespaces: frozenset[str] = frozenset()
        """Namespaces in which something is served; every call asks for them."""

    def serve(
        self,
        class_name: str,
        rows: RowSource,
        *,
        namespace: str = NAMESPACE_VIRTUALIZATION,
        find: Finder | None = None,
        methods: Mapping[str, Handler] | None = None,
        references: Referrer | None = None,
        delete: Deleter | None = None,
        put: Putter | None = None,
    ) -> None:
        """Register a class; a second registration of one class is a mistake (ValueError)."""
        key = (namespace, class_name.lower())
        if key in self._served:
            raise ValueError(f"{class_name} is served twice")
        if not self._schema.has_class(class_name, namespace):
            return
        self.namespaces |= {namespace}
        self._served[key] = ServedClass(
            self._timeline,
            namespace,
            class_name,
            rows,
            find=find,
            methods=methods,
            references=references,
            delete=delete,
            put=put,
            foreign=self._schema.foreign(class_name, namespace),
        )

    def get(self, namespace: str, class_name: str) -> ServedClass | None:
        """Return the provider of a class, None if nobody serves it."""
        return self._served.get((namespace.replace("\\", "/").lower(), class_name.lower()))

    def __iter__(self) -> Iterator[ServedClass]:
        return iter(self._served.values())


def no_rows() -> Iterable[Row]:
    """Serve a class that exists and has no instance on this host."""
    return ()
