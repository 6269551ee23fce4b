"""CIM instances as Windows writes them into SOAP answers.

The rules, all seen in recorded answers: every property of the class, inherited ones too, in ordinal
alphabetical order and in the namespace of the instance's own class; a NULL scalar as an element
with xsi:nil, a NULL or empty array not at all, an empty string as an empty element; booleans in
lower case; datetimes wrapped in cim:Datetime or cim:Interval; a reference as the children of an
EndpointReference without that element around them; octet strings as one base64 text.

A row of many properties is the hot path of the emulated host, so each class is turned once into a
list of (name, writer) pairs; classes are immutable and shared by all hosts.

Sources: the answers recorded in r4sd/go-wsman; DSP0230 for the mapping; base64 for octet strings
after libvirt's reading of ImageData.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, TypeAlias
from xml.sax.saxutils import quoteattr

from cloudstack_hyperv.cim import CimType, ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.cim.schema import ClassDef, ParameterDef, PropertyDef, Schema
from cloudstack_hyperv.emulator.door import cimxml, uris
from cloudstack_hyperv.emulator.door.scalars import write_datetime, write_interval, xml_text

_Text: TypeAlias = Callable[[object], str]
_REFERENCE_DECLARATIONS: Final = f' xmlns:a="{uris.ADDRESSING}" xmlns:w="{uris.WSMAN}"'


class UnwritableValue(TypeError):
    """A provider returned a value that is not of the declared type: a fault of the host model."""


def _boolean(value: object) -> str:
    if not isinstance(value, bool):
        raise UnwritableValue(f"{value!r} is not a boolean")
    return "true" if value else "false"


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnwritableValue(f"{value!r} is not an integer")
    return int.__repr__(value)


def _real(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnwritableValue(f"{value!r} is not a real number")
    return repr(float(value))


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise UnwritableValue(f"{value!r} is not a string")
    return xml_text(value)


def _datetime(value: object) -> str:
    if isinstance(value, datetime):
        return f"<cim:Datetime>{write_datetime(value)}</cim:Datetime>"
    if isinstance(value, timedelta):
        return f"<cim:Interval>{write_interval(value)}</cim:Interval>"
    raise UnwritableValue(f"{value!r} is not a datetime")


def _octets(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = bytes(value)
    if not isinstance(value, bytes | bytearray | memoryview):
        raise UnwritableValue(f"{type(value).__name__} is not an octet string")
    return base64.b64encode(value).decode("ascii")


_SIMPLE: Final[Mapping[CimType, _Text]] = {
    CimType.BOOLEAN: _boolean,
    CimType.STRING: _string,
    CimType.CHAR16: _string,
    CimType.DATETIME: _datetime,
    CimType.REAL32: _real,
    CimType.REAL64: _real,
}


def reference_children(path: ObjectPath, default_namespace: str) -> str:
    """Return Address and ReferenceParameters of a reference; prefixes a and w must be declared."""
    uri = uris.class_uri(path.namespace or default_namespace, path.class_name)
    return (
        f"<a:Address>{uris.ANONYMOUS}</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{xml_text(uri)}</w:ResourceURI>"
        f"<w:SelectorSet>{''.join(_selector(*key) for key in path.keys)}"
        "</w:SelectorSet></a:ReferenceParameters>"
    )


def _selector(name: str, value: str) -> str:
    return f"<w:Selector Name={quoteattr(name)}>{xml_text(value)}</w:Selector>"


def endpoint_reference(definition: ClassDef, row: Row) -> str:
    """Return the a:EndpointReference of a row, as EnumerateEPR items have it."""
    selectors = []
    for name in definition.keys:
        value = row.values.get(name)
        if isinstance(value, ObjectPath):
            content = (
                f"<a:EndpointReference>{reference_children(value, definition.namespace)}"
                "</a:EndpointReference>"
            )
        else:
            content = xml_text(key_text(value))
        selectors.append(f'<w:Selector Name="{name}">{content}</w:Selector>')
    return (
        f"<a:EndpointReference><a:Address>{uris.ANONYMOUS}</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{uris.class_uri(definition.namespace, definition.name)}</w:ResourceURI>"
        f"<w:SelectorSet>{''.join(selectors)}</w:SelectorSet>"
        "</a:ReferenceParameters></a:EndpointReference>"
    )


def key_text(value: Value) -> str:
    """Return a key value as a selector shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, datetime):
        return write_datetime(value)
    return "" if value is None else str(value)


class InstanceWriter:
    """Writes rows and out parameters of one schema; get it from `writer_for`."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._plans: dict[tuple[ClassDef, str], list[tuple[str, Callable[[Value], str]]]] = {}

    def instance(
        self,
        definition: ClassDef,
        row: Row,
        *,
        only: frozenset[str] | None = None,
    ) -> str:
        """Return a row as an element of `definition`'s namespace.

        `definition` is the row's own class, or a superclass where the client asked for superclass
        properties only.  `only` are the properties of a SELECT list (None: everything).
        """
        name, uri = definition.name, uris.class_uri(definition.namespace, definition.name)
        return (
            f'<p:{name} xmlns:xsi="{uris.XSI}" xmlns:p="{uri}" xmlns:cim="{uris.CIM_COMMON}" '
            f'xsi:type="p:{name}_Type">{self._properties(definition, row, only)}</p:{name}>'
        )

    def _properties(self, definition: ClassDef, row: Row, only: frozenset[str] | None) -> str:
        plan = self._plan(definition, "p")
        get = row.values.get
        if only is None:
            return "".join([write(get(name)) for name, write in plan])
        return "".join([write(get(name)) for name, write in plan if name in only])

    def _plan(self, definition: ClassDef, prefix: str) -> list[tuple[str, Callable[[Value], str]]]:
        plan = self._plans.get((definition, prefix))
        if plan is None:
            plan = [
                (each.name, self._element(each, definition.namespace, prefix))
                for each in definition.properties
            ]
            self._plans[definition, prefix] = plan
        return plan

    def parameter(self, parameter: ParameterDef, namespace: str, value: Value) -> str:
        """Return the element(s) of one out parameter; "" for a NULL array."""
        return self._element(parameter, namespace, "p")(value)

    def _element(
        self, item: PropertyDef | ParameterDef, namespace: str, prefix: str
    ) -> Callable[[Value], str]:
        tag = f"{prefix}:{item.name}"
        close = f"</{tag}>"
        if item.cim_type is CimType.OBJECT:
            write = self._object_element(tag, namespace)
        elif item.cim_type is CimType.REFERENCE:
            write = _wrapped(f"<{tag}{_REFERENCE_DECLARATIONS}>", self._reference(namespace), close)
        elif item.embedded_class is not None:
            write = _wrapped(f"<{tag}>", self._embedded_text(namespace), close)
        else:
            text = _octets if item.octet_string else _SIMPLE.get(item.cim_type, _number)
            write = _wrapped(f"<{tag}>", text, close)
        if item.array and not item.octet_string:
            return _repeated(write)
        nil = "" if item.array else f'<{tag} xsi:nil="true"/>'
        return lambda value: nil if value is None else write(value)

    def _reference(self, namespace: str) -> _Text:
        def children(value: object) -> str:
            if not isinstance(value, ObjectPath):
                raise UnwritableValue(f"{value!r} is not a reference")
            return reference_children(value, namespace)

        return children

    def _embedded_text(self, namespace: str) -> _Text:
        def escaped(value: object) -> str:
            if isinstance(value, str):
                return xml_text(value)
            if not isinstance(value, Row):
                raise UnwritableValue(f"{value!r} is not an embedded instance")
            text = cimxml.write_instance(self._class_of(value, namespace), value, self._schema)
            return xml_text(text).replace('"', "&quot;")

        return escaped

    def _object_element(self, tag: str, namespace: str) -> _Text:
        def element(value: object) -> str:
            if not isinstance(value, Row):
                raise UnwritableValue(f"{value!r} is not an embedded object")
            definition = self._class_of(value, namespace)
            uri = uris.class_uri(definition.namespace, definition.name)
            children = self._nested(definition, value)
            return (
                f'<{tag} xmlns:si="{uri}" xsi:type="si:{definition.name}_Type">{children}</{tag}>'
            )

        return element

    def _nested(self, definition: ClassDef, row: Row) -> str:
        """Properties of an embedded object: only those with a value, under the prefix si.

        A class whose properties the schema does not list (a cluster's private properties) has
        whatever scalars the row has.
        """
        values = row.values
        plan = self._plan(definition, "si")
        written = [write(values[name]) for name, write in plan if values.get(name) is not None]
        if definition.open:
            listed = {name for name, _ in plan}
            written += [
                f"<si:{name}>{_scalar(value)}</si:{name}>"
                for name, value in values.items()
                if name not in listed and value is not None
            ]
        return "".join(written)

    def _class_of(self, row: Row, namespace: str) -> ClassDef:
        definition = self._schema.find(namespace, row.class_name)
        if definition is None:
            raise UnwritableValue(f"embedded instance of unknown class {row.class_name}")
        return definition


def _scalar(value: object) -> str:
    """Return a value of undeclared type as text."""
    if isinstance(value, bool):
        return _boolean(value)
    return _number(value) if isinstance(value, int) else _string(value)


def _wrapped(start: str, text: _Text, end: str) -> _Text:
    return lambda value: f"{start}{text(value)}{end}"


def _repeated(write: _Text) -> Callable[[Value], str]:
    def elements(value: Value) -> str:
        if value is None:
            return ""
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise UnwritableValue(f"{value!r} is not an array")
        return "".join([write(each) for each in value])

    return elements


@lru_cache(maxsize=64)
def writer_for(schema: Schema) -> InstanceWriter:
    """Return the shared writer of a schema view: all hosts of a release use one."""
    return InstanceWriter(schema)
