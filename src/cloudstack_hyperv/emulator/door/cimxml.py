"""Embedded instances as CIM-XML text, both ways, as strict and as odd as Hyper-V.

Clients send settings as `<INSTANCE CLASSNAME="...">` documents inside a string parameter.  Hyper-V
reads them with the letter case of names significant and the TYPE attribute obligatory; what it
cannot use never becomes a SOAP fault, but a return code or a failed job.  So reading never raises:
it returns an UnusableInstance that names the problem and leaves the verdict to the provider.

One oddity is kept: inside a CDATA section Hyper-V decodes the named entities once more than XML
says, so that `&amp;` and `&lt;` break the document while `&#38;` and `&#60;` do not.

Sources: DSP0201 2.0 for the elements; recorded answers in r4sd/go-wsman for what goes out; its
notes on 2x2 experiments against a Windows 11 host for entities, TYPE and scalars in place of
arrays.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

from cloudstack_hyperv.cim import CimType, MalformedPath, ObjectPath
from cloudstack_hyperv.emulator.cim.provider import (
    BadEmbedded,
    Row,
    Scalar,
    UnusableInstance,
    Value,
)
from cloudstack_hyperv.emulator.cim.schema import ClassDef, PropertyDef, Schema
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.leniencies import Leniencies
from cloudstack_hyperv.emulator.door.scalars import (
    BadScalar,
    read_cim_datetime,
    read_scalar,
    write_cim_datetime,
    write_cim_interval,
    xml_text,
)
from cloudstack_hyperv.emulator.door.soap import parse_xml

_NAMED_ENTITIES: Final = (
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", '"'),
    ("&apos;", "'"),
    ("&amp;", "&"),
)
_MAX_NESTING: Final = 8


class _Unusable(Exception):
    def __init__(self, problem: BadEmbedded, text: str) -> None:
        super().__init__(text)
        self.result = UnusableInstance(problem, text)


def decode_named_entities(text: str) -> str:
    """Decode the named entities once, as Hyper-V does with the content of a CDATA section."""
    for entity, character in _NAMED_ENTITIES:
        text = text.replace(entity, character)
    return text


class EmbeddedReader:
    """Reads the INSTANCE documents that a client sends to one host."""

    def __init__(self, schema: Schema, leniencies: Leniencies) -> None:
        self._schema = schema
        self._leniencies = leniencies

    def read(self, text: str, namespace: str, expected: str) -> Row | UnusableInstance:
        """Read one document.

        `expected` is the class that the parameter declares: the instance must be of it, of a class
        below it, or (a leniency) of one above it.
        """
        try:
            return self._read(text, namespace, expected, 0)
        except _Unusable as unusable:
            return unusable.result

    def _read(self, text: str, namespace: str, expected: str, depth: int) -> Row:
        if depth > _MAX_NESTING:
            raise _Unusable(BadEmbedded.SYNTAX, "instances nested too deeply")
        if not text.startswith("<INSTANCE") and not self._leniencies.grants("embedded-declaration"):
            raise _Unusable(BadEmbedded.SYNTAX, "something before the INSTANCE element")
        try:
            root = parse_xml(text.strip())
        except WsmanFault as fault:
            raise _Unusable(BadEmbedded.SYNTAX, "not well-formed XML") from fault
        class_name = root.get("CLASSNAME")
        if root.tag != "INSTANCE" or not class_name:
            raise _Unusable(BadEmbedded.SYNTAX, "not an INSTANCE element with a CLASSNAME")
        definition = self._schema.find(namespace, class_name)
        if definition is None or definition.name != class_name:
            raise _Unusable(BadEmbedded.UNKNOWN_CLASS, f"unknown class {class_name[:80]}")
        if not self._fits(namespace, class_name, expected):
            raise _Unusable(BadEmbedded.UNKNOWN_CLASS, f"{class_name} where {expected} is declared")
        values: dict[str, Value] = {}
        for child in root:
            if child.tag == "QUALIFIER":
                continue
            name, value = self._property(child, definition, depth)
            if name in values:
                raise _Unusable(BadEmbedded.SYNTAX, f"property {name} twice")
            values[name] = value
        return Row(definition.name, values)

    def _fits(self, namespace: str, class_name: str, expected: str) -> bool:
        schema = self._schema
        if schema.find(namespace, expected) is None:
            return True
        if schema.is_a(namespace, class_name, expected):
            return True
        above = schema.is_a(namespace, expected, class_name)
        return above and self._leniencies.grants("embedded-superclass-name")

    def _property(self, element: Element, definition: ClassDef, depth: int) -> tuple[str, Value]:
        declared = _declared_property(element, definition)
        texts = _value_texts(element, declared)
        if texts is None:
            return declared.name, None
        try:
            values = [self._scalar(text, declared, definition.namespace, depth) for text in texts]
        except BadScalar as error:
            raise _Unusable(BadEmbedded.WRONG_TYPE, f"{declared.name}: {error}") from error
        if not declared.array:
            return declared.name, values[0]
        if declared.octet_string:
            return declared.name, bytes(each for each in values if isinstance(each, int))
        return declared.name, values

    def _scalar(self, text: str, declared: PropertyDef, namespace: str, depth: int) -> Scalar:
        if declared.cim_type is CimType.DATETIME:
            return read_cim_datetime(text, interval=declared.interval)
        if declared.cim_type is CimType.REFERENCE:
            return _read_path(text)
        if declared.embedded_class is not None:
            return self._read(text, namespace, declared.embedded_class, depth + 1)
        any_case = self._leniencies.grants("boolean-letter-case")
        return read_scalar(text, declared.cim_type, any_case=any_case)


def _declared_property(element: Element, definition: ClassDef) -> PropertyDef:
    name = element.get("NAME")
    if element.tag not in ("PROPERTY", "PROPERTY.ARRAY", "PROPERTY.REFERENCE") or not name:
        raise _Unusable(BadEmbedded.SYNTAX, f"unexpected element {element.tag[:80]}")
    declared = definition.exact_property(name)
    if declared is None:
        raise _Unusable(BadEmbedded.UNKNOWN_PROPERTY, f"{definition.name} has no {name[:80]}")
    if (element.tag == "PROPERTY.ARRAY") != declared.array:
        kind = "an array" if declared.array else "a scalar"
        raise _Unusable(BadEmbedded.SCALAR_FOR_ARRAY, f"{name} is {kind}")
    is_reference = declared.cim_type is CimType.REFERENCE
    if (element.tag == "PROPERTY.REFERENCE") != is_reference:
        raise _Unusable(BadEmbedded.WRONG_TYPE, f"{name} is a {declared.cim_type.value}")
    wanted = CimType.STRING if declared.cim_type is CimType.OBJECT else declared.cim_type
    if not is_reference and element.get("TYPE") != wanted.value:
        raise _Unusable(
            BadEmbedded.WRONG_TYPE, f"{name} is a {wanted.value}, not {element.get('TYPE')!r}"
        )
    return declared


def _value_texts(element: Element, declared: PropertyDef) -> list[str] | None:
    """Return the texts of the VALUE elements; None for NULL."""
    content = [child for child in element if child.tag != "QUALIFIER"]
    if not content:
        if (element.text or "").strip():
            raise _Unusable(BadEmbedded.SYNTAX, f"text outside VALUE in {declared.name}")
        return None
    if declared.array:
        if len(content) != 1 or content[0].tag != "VALUE.ARRAY":
            raise _Unusable(BadEmbedded.SYNTAX, f"{declared.name} wants one VALUE.ARRAY")
        content = list(content[0])
    elif len(content) != 1:
        raise _Unusable(BadEmbedded.SYNTAX, f"{declared.name} wants one VALUE")
    wanted = "VALUE.REFERENCE" if declared.cim_type is CimType.REFERENCE else "VALUE"
    for value in content:
        if value.tag != wanted or len(value):
            raise _Unusable(BadEmbedded.SYNTAX, f"{declared.name} holds {value.tag[:80]}")
    return [value.text or "" for value in content]


def _read_path(text: str) -> ObjectPath:
    try:
        return ObjectPath.parse(text.strip())
    except MalformedPath as error:
        raise BadScalar(str(error)) from error


def write_instance(definition: ClassDef, row: Row, schema: Schema) -> str:
    """Return a row as an INSTANCE document.

    Every property is there; one without a value carries PROPAGATED (its NULL comes from the class).
    """
    properties = "".join(
        _write_property(each, row.values.get(each.name), definition.namespace, schema)
        for each in definition.properties
    )
    return f"<INSTANCE CLASSNAME={quoteattr(definition.name)}>{properties}</INSTANCE>"


def _write_property(declared: PropertyDef, value: Value, namespace: str, schema: Schema) -> str:
    if declared.cim_type is CimType.REFERENCE:
        tag, type_attribute, inner = "PROPERTY.REFERENCE", "", "VALUE.REFERENCE"
    else:
        shown = CimType.STRING if declared.cim_type is CimType.OBJECT else declared.cim_type
        tag = "PROPERTY.ARRAY" if declared.array else "PROPERTY"
        type_attribute, inner = f' TYPE="{shown.value}"', "VALUE"
    if value is None:
        return f'<{tag} NAME="{declared.name}" PROPAGATED="true"{type_attribute}></{tag}>'
    if declared.array and isinstance(value, list | tuple | bytes):
        texts = [_write_scalar(each, namespace, schema) for each in value]
        content = "".join(f"<{inner}>{text}</{inner}>" for text in texts)
        content = f"<VALUE.ARRAY>{content}</VALUE.ARRAY>"
    else:
        content = f"<{inner}>{_write_scalar(value, namespace, schema)}</{inner}>"
    return f'<{tag} NAME="{declared.name}"{type_attribute}>{content}</{tag}>'


def _write_scalar(value: object, namespace: str, schema: Schema) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, datetime):
        return write_cim_datetime(value)
    if isinstance(value, timedelta):
        return write_cim_interval(value)
    if isinstance(value, Row):
        definition = schema.find(namespace, value.class_name)
        if definition is None:
            raise TypeError(f"embedded instance of unknown class {value.class_name}")
        return xml_text(write_instance(definition, value, schema))
    return xml_text(str(value))
