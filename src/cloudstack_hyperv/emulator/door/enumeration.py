"""Enumerate, Pull and Release: result sets that are fetched piece by piece.

A context is a frozen list of rows and the place in it.  Windows hands out one item per Pull unless
the client says MaxElements, cuts a batch where the envelope would grow too large, and puts
EndOfSequence into the answer that holds the last item; an empty result is an empty Items element.
libvirt depends on each of these.

Sources: DSP0226 chapter 8; the recorded enumerations in r4sd/go-wsman; libvirt's reading of
answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.errors import ProviderBug, SelectorFault
from cloudstack_hyperv.emulator.cim.provider import Caller, CimFault, Row
from cloudstack_hyperv.emulator.cim.schema import ClassDef
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door.faults import WsmanFault, from_wmi
from cloudstack_hyperv.emulator.door.filters import (
    AssociationWalk,
    EnumerateBody,
    Mode,
    Polymorphism,
    PullBody,
    SelectorFilter,
    WqlFilter,
    read_enumerate,
    read_pull,
    read_release,
)
from cloudstack_hyperv.emulator.door.instances import endpoint_reference, writer_for
from cloudstack_hyperv.emulator.door.leniencies import Leniencies
from cloudstack_hyperv.emulator.door.references import split_namespace
from cloudstack_hyperv.emulator.door.settings import DoorSettings
from cloudstack_hyperv.emulator.door.soap import Request
from cloudstack_hyperv.emulator.door.transfer import find_class

_ENVELOPE_RESERVE: Final = 1536
"""Octets of an enumeration answer around its items."""


@dataclass(slots=True)
class _Results:
    """Rows of one enumeration and how to show them."""

    namespace: str
    rows: Sequence[Row]
    mode: Mode
    shown_as: ClassDef | None = None
    """Superclass whose properties alone are shown; None: each row as its own class."""
    only: frozenset[str] | None = None


@dataclass(slots=True)
class _Context:
    results: _Results
    user: str
    position: int
    last_used: float
    resource: str = field(default="")


@dataclass(frozen=True, slots=True)
class Batch:
    """Items of one answer."""

    items: str
    finished: bool


class Enumerations:
    """All enumeration contexts of one host."""

    def __init__(
        self,
        engine: CimEngine,
        settings: DoorSettings,
        leniencies: Leniencies,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._leniencies = leniencies
        self._clock = clock
        self._contexts: dict[str, _Context] = {}
        self._writer = writer_for(engine.schema)

    def __len__(self) -> int:
        self._forget_idle()
        return len(self._contexts)

    async def enumerate(self, request: Request, caller: Caller, size: Sizing) -> tuple[str, int]:
        """Answer Enumerate: the body and how many items there are in all."""
        self._forget_idle()
        body = read_enumerate(request.body, self._leniencies, self._settings.max_batch_items)
        results = await self._results(request, body)
        context = _Context(results, caller.user, 0, self._clock(), request.resource.uri.lower())
        if not body.optimize:
            name = self._keep(context)
            inner = f"<n:EnumerationContext>{name}</n:EnumerationContext>"
        else:
            batch = self._batch(context, body.max_elements or 1, None, size)
            if batch.finished:
                inner = f"<n:EnumerationContext/><w:Items>{batch.items}</w:Items><w:EndOfSequence/>"
            else:
                name = self._keep(context)
                inner = (
                    f"<n:EnumerationContext>{name}</n:EnumerationContext>"
                    f"<w:Items>{batch.items}</w:Items>"
                )
        return f"<n:EnumerateResponse>{inner}</n:EnumerateResponse>", len(results.rows)

    def pull(self, request: Request, caller: Caller, size: Sizing) -> str:
        """Answer Pull."""
        self._forget_idle()
        body: PullBody = read_pull(request.body, self._leniencies, self._settings.max_batch_items)
        context = self._context(body.context, request, caller)
        batch = self._batch(context, body.max_elements, body.max_characters, size)
        if batch.finished:
            del self._contexts[body.context]
            inner = f"<n:Items>{batch.items}</n:Items><n:EndOfSequence/>"
        else:
            inner = (
                f"<n:EnumerationContext>{body.context}</n:EnumerationContext>"
                f"<n:Items>{batch.items}</n:Items>"
            )
        return f"<n:PullResponse>{inner}</n:PullResponse>"

    def release(self, request: Request, caller: Caller) -> str:
        """Answer Release: an empty body."""
        self._forget_idle()
        name = read_release(request.body)
        self._context(name, request, caller)
        del self._contexts[name]
        return ""

    def _keep(self, context: _Context) -> str:
        name = f"uuid:{str(uuid.uuid4()).upper()}"
        self._contexts[name] = context
        return name

    def _context(self, name: str, request: Request, caller: Caller) -> _Context:
        context = self._contexts.get(name)
        if context is None or context.user != caller.user:
            raise WsmanFault(table.INVALID_CONTEXT)
        if request.resource.uri.lower() != context.resource and not self._leniencies.grants(
            "pull-names-other-resource"
        ):
            raise WsmanFault(table.INVALID_CONTEXT)
        context.last_used = self._clock()
        return context

    def _forget_idle(self) -> None:
        oldest = self._clock() - self._settings.enumeration_timeout_ms / 1000
        for name in [key for key, each in self._contexts.items() if each.last_used < oldest]:
            del self._contexts[name]

    def _batch(self, context: _Context, most: int, characters: int | None, size: Sizing) -> Batch:
        rows = context.results.rows
        budget = size.limit - _ENVELOPE_RESERVE - size.of(size.message_id)
        if characters is not None:
            budget = min(budget, characters * size.width)
        items: list[str] = []
        while context.position < len(rows) and len(items) < most:
            item = self._item(context.results, rows[context.position])
            budget -= size.of(item)
            if budget < 0:
                if not items:
                    raise WsmanFault(size.too_large)
                break
            items.append(item)
            context.position += 1
        return Batch("".join(items), context.position >= len(rows))

    def _item(self, results: _Results, row: Row) -> str:
        own = self._class_of(results.namespace, row)
        if results.mode is Mode.EPR:
            return endpoint_reference(own, row)
        item = self._writer.instance(results.shown_as or own, row, only=results.only)
        if results.mode is Mode.OBJECT_AND_EPR:
            return f"<w:Item>{item}{endpoint_reference(own, row)}</w:Item>"
        return item

    def _class_of(self, namespace: str, row: Row) -> ClassDef:
        """Associations may lead into another namespace than the one that was asked."""
        schema = self._engine.schema
        for each in (namespace, *sorted(schema.namespaces)):
            definition = schema.find(each, row.class_name)
            if definition is not None:
                return definition
        raise ProviderBug(f"a row of unknown class {row.class_name}")

    async def _results(self, request: Request, body: EnumerateBody) -> _Results:
        namespace, keys = split_namespace(
            request.resource, request.selectors, self._leniencies, must_agree=True
        )
        wildcard = request.resource.is_wildcard
        if isinstance(body.filter, WqlFilter):
            if not wildcard or keys:
                raise WsmanFault(table.WQL_NEEDS_WILDCARD)
            return await self._query(body, body.filter, namespace)
        if keys:
            raise WsmanFault(table.ENUMERATE_WITH_KEYS)
        if isinstance(body.filter, AssociationWalk) is not wildcard:
            raise WsmanFault(table.CANNOT_PROCESS_FILTER)
        if isinstance(body.filter, AssociationWalk):
            return await self._associated(body, body.filter, namespace)
        return await self._class_rows(request, body, namespace)

    async def _query(self, body: EnumerateBody, wql: WqlFilter, namespace: str) -> _Results:
        if body.polymorphism is not None:
            raise WsmanFault(table.POLYMORPHISM_MODE)
        if namespace in self._settings.wql_refused_in:
            raise WsmanFault(table.CANNOT_PROCESS_FILTER)
        try:
            found = await self._engine.query(namespace, wql.text)
        except CimFault as fault:
            raise from_wmi(fault, "ExecQuery", wql.text) from fault
        only = None if found.columns is None else frozenset(found.columns)
        return _Results(namespace, found.rows, body.mode, only=only)

    async def _associated(
        self, body: EnumerateBody, walk: AssociationWalk, namespace: str
    ) -> _Results:
        engine = self._engine
        step = engine.references if walk.references else engine.associated
        try:
            rows = await step(namespace, walk.source, walk.where)
        except CimFault as fault:
            raise from_wmi(fault, "ExecQuery", str(walk.source)) from fault
        return _Results(namespace, rows, body.mode)

    async def _class_rows(self, request: Request, body: EnumerateBody, namespace: str) -> _Results:
        definition = find_class(
            self._engine, self._leniencies, request, namespace, "CreateInstanceEnum"
        )
        try:
            if isinstance(body.filter, SelectorFilter):
                rows = await self._engine.select_by(namespace, definition.name, body.filter.wanted)
            else:
                rows = await self._engine.instances(namespace, definition.name)
        except SelectorFault as fault:
            raise WsmanFault(table.CANNOT_PROCESS_FILTER) from fault
        except CimFault as fault:
            raise from_wmi(fault, "CreateInstanceEnum", definition.name) from fault
        if body.polymorphism is Polymorphism.NONE:
            rows = [row for row in rows if row.class_name == definition.name]
        shown_as = definition if body.polymorphism is Polymorphism.EXCLUDE else None
        return _Results(namespace, rows, body.mode, shown_as)


@dataclass(frozen=True, slots=True)
class Sizing:
    """How large an answer may become."""

    limit: int
    """Octets of the whole envelope."""
    width: int
    """Octets of an ASCII character: 1 in UTF-8, 2 in UTF-16."""
    message_id: str
    too_large: table.FaultKind

    def of(self, text: str) -> int:
        """Octets of a piece of the answer."""
        if self.width == 2:
            return len(text.encode("utf-16-le"))
        return len(text) if text.isascii() else len(text.encode())
