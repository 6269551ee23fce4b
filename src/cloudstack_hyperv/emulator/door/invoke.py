"""Invoke: a method call in, its out parameters back.

Action is the resource URI, a slash and the method's name.  The body is one Method_INPUT element
whose children are the parameters; everything is checked against the schema before the provider sees
it.  A method that runs and fails is not a fault: its ReturnValue says so.

The answer holds out parameters in declaration order and ReturnValue last, as recorded; a NULL
reference or scalar is an element with xsi:nil, a NULL array is left out.

Sources: DSP0227 chapter 11; libvirt, virt-who and go-wsman for what hosts accept as address of a
service; r4sd/go-wsman's notes for calls without selectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloudstack_hyperv.cim import CimType
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.errors import ArgumentFault, SelectorFault
from cloudstack_hyperv.emulator.cim.provider import (
    Caller,
    CimFault,
    MethodReply,
    Value,
    WmiCode,
)
from cloudstack_hyperv.emulator.cim.schema import ClassDef, MethodDef
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door import uris
from cloudstack_hyperv.emulator.door.faults import WsmanFault, from_selectors, from_wmi
from cloudstack_hyperv.emulator.door.instances import writer_for
from cloudstack_hyperv.emulator.door.leniencies import Leniencies
from cloudstack_hyperv.emulator.door.parameters import ElementReader, group_children
from cloudstack_hyperv.emulator.door.references import split_namespace
from cloudstack_hyperv.emulator.door.soap import Request
from cloudstack_hyperv.emulator.door.transfer import find_class, relative_path


@dataclass(frozen=True, slots=True)
class Prepared:
    """A method call whose form is right, ready to be carried out."""

    definition: ClassDef
    method: MethodDef
    keys: Mapping[str, str]
    arguments: Mapping[str, Value]
    caller: Caller


class Invocations:
    """The method calls of one host."""

    def __init__(self, engine: CimEngine, leniencies: Leniencies) -> None:
        self._engine = engine
        self._leniencies = leniencies
        self._writer = writer_for(engine.schema)
        self._reader = ElementReader(engine.schema, leniencies)

    def prepare(self, request: Request, caller: Caller) -> Prepared:
        """Check everything that the schema can tell about a call; raises WsmanFault."""
        name = method_name(request)
        namespace, keys = split_namespace(
            request.resource, request.selectors, self._leniencies, must_agree=True
        )
        definition = find_class(self._engine, self._leniencies, request, namespace, "ExecMethod")
        method = definition.method(name)
        if method is None:
            raise from_wmi(CimFault(WmiCode.INVALID_METHOD), "ExecMethod", name)
        partial = 0 < len(keys) < len(definition.keys)
        if partial and not self._leniencies.grants("partial-service-key"):
            raise WsmanFault(table.INSUFFICIENT_SELECTORS)
        return Prepared(
            definition, method, keys, self._arguments(request, method, namespace), caller
        )

    async def carry_out(self, prepared: Prepared) -> MethodReply:
        """Let the engine do it; raises WsmanFault."""
        definition, method = prepared.definition, prepared.method
        try:
            return await self._engine.invoke(
                definition.namespace,
                definition.name,
                prepared.keys,
                method.name,
                prepared.arguments,
                prepared.caller,
            )
        except SelectorFault as fault:
            raise from_selectors(fault) from fault
        except ArgumentFault as fault:
            raise WsmanFault(table.PARAMETER_TYPE_MISMATCH) from fault
        except CimFault as fault:
            where = f"{relative_path(definition, prepared.keys)}::{method.name}"
            raise from_wmi(fault, "ExecMethod", where) from fault

    def output(self, prepared: Prepared, reply: MethodReply) -> str:
        """Return the Method_OUTPUT element."""
        definition, method = prepared.definition, prepared.method
        uri = uris.class_uri(definition.namespace, definition.name)
        parts = [
            self._writer.parameter(each, definition.namespace, reply.out.get(each.name))
            for each in method.outputs
        ]
        if method.returns is not None:
            parts.append(_return_value(method.returns, reply.return_value))
        return (
            f'<p:{method.name}_OUTPUT xmlns:xsi="{uris.XSI}" xmlns:p="{uri}" '
            f'xmlns:cim="{uris.CIM_COMMON}">{"".join(parts)}</p:{method.name}_OUTPUT>'
        )

    def _arguments(self, request: Request, method: MethodDef, namespace: str) -> dict[str, Value]:
        body = request.body
        if body is None:
            grouped = {}
            if not self._leniencies.grants("input-body-absent"):
                raise WsmanFault(table.INVALID_BODY)
        else:
            uri, _, local = body.tag.rpartition("}")
            if local != f"{method.name}_INPUT":
                raise WsmanFault(table.SCHEMA_VALIDATION)
            same = uri[1:].lower() == request.resource.uri.lower()
            if not same and not self._leniencies.grants("input-element-namespace"):
                raise WsmanFault(table.SCHEMA_VALIDATION)
            grouped = group_children(body, request.resource.uri)
        arguments: dict[str, Value] = {}
        for name, elements in grouped.items():
            parameter = method.parameter(name)
            if parameter is None or parameter.name != name or not parameter.goes_in:
                raise WsmanFault(table.INVALID_PARAMETER_NAME)
            value = self._reader.value(parameter, elements, namespace, in_cdata=request.used_cdata)
            if value is not None:
                arguments[parameter.name] = value
        return arguments


def method_name(request: Request) -> str:
    """Return the method that Action names; raises WsmanFault unless it fits the resource URI."""
    prefix, slash, name = request.action.rpartition("/")
    if not slash or not name.isidentifier():
        raise WsmanFault(table.ACTION_NOT_SUPPORTED)
    if prefix.lower() != request.resource.uri.lower():
        known = prefix.lower().startswith(("http://schemas.microsoft.com/wbem/wsman/1/wmi/",))
        raise WsmanFault(table.ACTION_MISMATCH if known else table.ACTION_NOT_SUPPORTED)
    return name


def _return_value(cim_type: CimType, value: object) -> str:
    if value is None:
        return '<p:ReturnValue xsi:nil="true"/>'
    if cim_type is CimType.BOOLEAN:
        return f"<p:ReturnValue>{'true' if value else 'false'}</p:ReturnValue>"
    return f"<p:ReturnValue>{value}</p:ReturnValue>"
