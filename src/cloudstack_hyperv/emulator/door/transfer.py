"""Get, Put, Create and Delete of single instances.

Windows wants the complete key as selectors: an unknown selector name is InvalidSelectors, a key
that names nothing, or only a part of a key, is DestinationUnreachable.  Hyper-V's own classes
refuse Put, Create and Delete; the providers say so themselves.

Sources: DSP0226 chapter 7; r4sd/go-wsman's notes (Get of Msvm_ComputerSystem by Name alone is
DestinationUnreachable); Windows answers in the tests of Microsoft's OMI.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from xml.etree.ElementTree import Element

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.errors import (
    ArgumentFault,
    SelectorFault,
    SelectorProblem,
)
from cloudstack_hyperv.emulator.cim.provider import (
    Caller,
    CimFault,
    Row,
    UnusableInstance,
    Value,
    WmiCode,
)
from cloudstack_hyperv.emulator.cim.schema import ClassDef
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door import uris
from cloudstack_hyperv.emulator.door.faults import WsmanFault, from_selectors, from_wmi
from cloudstack_hyperv.emulator.door.instances import key_text, reference_children, writer_for
from cloudstack_hyperv.emulator.door.leniencies import Leniencies
from cloudstack_hyperv.emulator.door.parameters import ElementReader, group_children
from cloudstack_hyperv.emulator.door.references import split_namespace
from cloudstack_hyperv.emulator.door.soap import Request

_DMTF_PREFIXES: Final = ("cim_", "prs_", "dmtf_")


def find_class(
    engine: CimEngine,
    leniencies: Leniencies,
    request: Request,
    namespace: str,
    operation: str,
) -> ClassDef:
    """Return the class that a request names; raises WsmanFault if there is none."""
    name = request.resource.class_name
    if request.resource.is_wildcard:
        raise WsmanFault(table.INVALID_RESOURCE_URI)
    if request.resource.dmtf and not name.lower().startswith(_DMTF_PREFIXES):
        raise WsmanFault(table.NOT_A_DMTF_CLASS)
    try:
        definition = engine.class_def(namespace, name)
    except CimFault as fault:
        raise from_wmi(fault, operation, name) from fault
    if definition.name != name and not leniencies.grants("uri-letter-case"):
        raise from_wmi(CimFault(WmiCode.INVALID_CLASS), operation, name)
    return definition


def relative_path(definition: ClassDef, keys: Mapping[str, str]) -> str:
    """Return `Class.Key="value"` as WMI's error details show it."""
    shown = ",".join(f'{name}="{value}"' for name, value in keys.items())
    return f"{definition.name}.{shown}" if shown else definition.name


class Transfers:
    """The four WS-Transfer operations of one host."""

    def __init__(self, engine: CimEngine, leniencies: Leniencies) -> None:
        self._engine = engine
        self._leniencies = leniencies
        self._writer = writer_for(engine.schema)
        self._reader = ElementReader(engine.schema, leniencies)

    async def get(self, request: Request) -> str:
        """Answer Get: the instance."""
        _must_be_empty(request.body)
        definition, keys = self._address(request)
        with _refusals("GetObject", definition, keys):
            row = await self._engine.get(definition.namespace, definition.name, keys)
        return self._show(definition, row)

    async def put(self, request: Request, caller: Caller) -> str:
        """Answer Put: the instance as it is after the change."""
        definition, keys = self._address(request)
        changes = self._read_body(request, definition)
        given = {name.lower(): text for name, text in keys.items()}
        for name in definition.keys:
            new = changes.pop(name, None)
            old = given.get(name.lower())
            if new is not None and old is not None and key_text(new).lower() != old.lower():
                raise WsmanFault(table.CANNOT_CHANGE_KEYS)
        with _refusals("PutInstance", definition, keys):
            row = await self._engine.put(
                definition.namespace, definition.name, keys, changes, caller
            )
        return self._show(definition, row)

    async def create(self, request: Request, caller: Caller) -> str:
        """Answer Create: a reference to the new instance."""
        definition, keys = self._address(request)
        if keys:
            raise WsmanFault(table.UNEXPECTED_SELECTORS)
        row = Row(definition.name, self._read_body(request, definition))
        with _refusals("PutInstance", definition, keys):
            path = await self._engine.create(definition.namespace, row, caller)
        children = reference_children(path, definition.namespace)
        return f"<x:ResourceCreated>{children}</x:ResourceCreated>"

    async def delete(self, request: Request, caller: Caller) -> str:
        """Answer Delete: nothing."""
        _must_be_empty(request.body)
        definition, keys = self._address(request)
        with _refusals("DeleteInstance", definition, keys):
            await self._engine.delete(definition.namespace, definition.name, keys, caller)
        return ""

    def _show(self, definition: ClassDef, row: Row) -> str:
        own = self._engine.class_def(definition.namespace, row.class_name)
        return self._writer.instance(own, row)

    def _address(self, request: Request) -> tuple[ClassDef, dict[str, str]]:
        namespace, keys = split_namespace(
            request.resource, request.selectors, self._leniencies, must_agree=True
        )
        definition = find_class(self._engine, self._leniencies, request, namespace, "GetObject")
        without_key = not keys and request.action != uris.ACTION_CREATE
        if without_key and not self._leniencies.grants("singleton-without-key"):
            raise WsmanFault(table.NOT_A_SINGLETON)
        return definition, keys

    def _read_body(self, request: Request, definition: ClassDef) -> dict[str, Value]:
        body = request.body
        if body is None or body.tag.rpartition("}")[2] != definition.name:
            raise WsmanFault(table.INVALID_REPRESENTATION)
        uri = body.tag.rpartition("}")[0][1:]
        own = uris.class_uri(definition.namespace, definition.name)
        if uri.lower() not in (own.lower(), request.resource.uri.lower()):
            raise WsmanFault(table.INVALID_REPRESENTATION)
        values: dict[str, Value] = {}
        for name, elements in group_children(body, uri).items():
            declared = definition.exact_property(name)
            if declared is None:
                raise WsmanFault(table.INVALID_REPRESENTATION)
            value = self._reader.value(
                declared, elements, definition.namespace, in_cdata=request.used_cdata
            )
            if isinstance(value, UnusableInstance):
                raise WsmanFault(table.INVALID_REPRESENTATION)
            values[declared.name] = value
        return values


@contextmanager
def _refusals(operation: str, definition: ClassDef, keys: Mapping[str, str]) -> Iterator[None]:
    """Turn the engine's refusals into faults."""
    try:
        yield
    except SelectorFault as fault:
        if fault.problem is SelectorProblem.INCOMPLETE:
            unknown = CimFault(WmiCode.INVALID_OBJECT_PATH)
            raise from_wmi(unknown, operation, relative_path(definition, keys)) from fault
        raise from_selectors(fault) from fault
    except ArgumentFault as fault:
        raise WsmanFault(table.INVALID_REPRESENTATION) from fault
    except CimFault as fault:
        raise from_wmi(fault, operation, relative_path(definition, keys)) from fault


def _must_be_empty(body: Element | None) -> None:
    if body is not None:
        raise WsmanFault(table.INVALID_BODY)
