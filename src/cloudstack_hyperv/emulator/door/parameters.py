"""Typed reading of what a client sends as XML elements: method parameters and Put/Create bodies.

The schema decides how an element is read.  What does not fit the schema is a SOAP fault, except
embedded instances: those become an UnusableInstance, and the method says what it thinks of it.

Sources: DSP0230 (WS-CIM) for the mapping; libvirt, virt-who and go-wsman for what real clients
send; go-wsman's notes for embedded instances as child elements (SchemaValidationError).
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timedelta
from typing import Final
from xml.etree.ElementTree import Element

from cloudstack_hyperv.cim import CimType
from cloudstack_hyperv.emulator.cim.provider import Row, Scalar, UnusableInstance, Value
from cloudstack_hyperv.emulator.cim.schema import ParameterDef, PropertyDef, Schema
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door import uris
from cloudstack_hyperv.emulator.door.cimxml import EmbeddedReader, decode_named_entities
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.leniencies import Leniencies
from cloudstack_hyperv.emulator.door.references import read_reference
from cloudstack_hyperv.emulator.door.scalars import (
    BadScalar,
    read_cim_datetime,
    read_scalar,
    read_xsd_datetime,
)

_XSI_NIL: Final = "{" + uris.XSI + "}nil"
_XSI_TYPE: Final = "{" + uris.XSI + "}type"
_CIM: Final = "{" + uris.CIM_COMMON + "}"
_DATETIME_CHILDREN: Final = frozenset(
    _CIM + name for name in ("Datetime", "Interval", "CIM_DateTime", "Date", "Time")
)


class ElementReader:
    """Reads values for one host."""

    def __init__(self, schema: Schema, leniencies: Leniencies) -> None:
        self._schema = schema
        self._leniencies = leniencies
        self._embedded = EmbeddedReader(schema, leniencies)

    def value(
        self,
        declared: ParameterDef | PropertyDef,
        elements: list[Element],
        namespace: str,
        *,
        in_cdata: bool,
    ) -> Value:
        """Return the value of all elements of one name; raises WsmanFault.

        `in_cdata` says that embedded instances stand in CDATA sections.
        """
        if all(_is_nil(each) for each in elements):
            if len(elements) > 1:
                raise WsmanFault(table.SCHEMA_VALIDATION)
            return None
        if declared.octet_string:
            return self._octets(elements)
        if not declared.array:
            if len(elements) > 1:
                raise WsmanFault(table.SCHEMA_VALIDATION)
            return self._scalar(declared, elements[0], namespace, in_cdata=in_cdata)
        return [self._scalar(declared, each, namespace, in_cdata=in_cdata) for each in elements]

    def _scalar(
        self,
        declared: ParameterDef | PropertyDef,
        element: Element,
        namespace: str,
        *,
        in_cdata: bool,
    ) -> Scalar:
        if declared.cim_type is CimType.REFERENCE:
            return read_reference(element, self._leniencies)
        if declared.cim_type is CimType.OBJECT:
            return self._object(declared, element, namespace)
        if declared.cim_type is CimType.DATETIME:
            return self._datetime(declared, element)
        if len(element):
            raise WsmanFault(table.SCHEMA_VALIDATION)
        text = element.text or ""
        if declared.embedded_class is not None:
            return self._embedded_instance(text, namespace, declared.embedded_class, in_cdata)
        any_case = self._leniencies.grants("boolean-letter-case")
        try:
            return read_scalar(text, declared.cim_type, any_case=any_case)
        except BadScalar as error:
            raise WsmanFault(table.PARAMETER_TYPE_MISMATCH) from error

    def _embedded_instance(
        self,
        text: str,
        namespace: str,
        embedded_class: str,
        in_cdata: bool,
    ) -> Row | UnusableInstance:
        if in_cdata:
            text = decode_named_entities(text)
        return self._embedded.read(text, namespace, embedded_class)

    def _octets(self, elements: list[Element]) -> bytes:
        if any(len(each) for each in elements):
            raise WsmanFault(table.SCHEMA_VALIDATION)
        texts = [(each.text or "").strip() for each in elements]
        as_numbers = all(text.isascii() and text.isdigit() and len(text) <= 3 for text in texts)
        try:
            if as_numbers and self._leniencies.grants("octet-string-as-numbers"):
                return bytes(int(text) for text in texts)
            if len(texts) != 1:
                raise WsmanFault(table.SCHEMA_VALIDATION)
            return base64.b64decode(texts[0], validate=True)
        except (ValueError, binascii.Error) as error:
            raise WsmanFault(table.PARAMETER_TYPE_MISMATCH) from error

    def _datetime(
        self, declared: ParameterDef | PropertyDef, element: Element
    ) -> datetime | timedelta:
        text = element.text or ""
        if len(element) == 1 and element[0].tag in _DATETIME_CHILDREN and not text.strip():
            text = element[0].text or ""
        elif len(element) or not self._leniencies.grants("datetime-forms"):
            raise WsmanFault(table.SCHEMA_VALIDATION)
        try:
            return read_xsd_datetime(text, interval=declared.interval)
        except BadScalar:
            pass
        try:
            return read_cim_datetime(text, interval=declared.interval)
        except BadScalar as error:
            raise WsmanFault(table.PARAMETER_TYPE_MISMATCH) from error

    def _object(
        self, declared: ParameterDef | PropertyDef, element: Element, namespace: str
    ) -> Row:
        """Read an embedded object that travels as XML elements in its own class's namespace."""
        named = element.get(_XSI_TYPE, "").rpartition(":")[2].removesuffix("_Type")
        class_name = named or declared.embedded_class or ""
        definition = self._schema.find(namespace, class_name)
        if definition is None:
            raise WsmanFault(table.SCHEMA_VALIDATION)
        grouped = group_children(element, uris.class_uri(definition.namespace, definition.name))
        values: dict[str, Value] = {}
        for name, elements in grouped.items():
            property_def = definition.exact_property(name)
            if property_def is None:
                raise WsmanFault(table.SCHEMA_VALIDATION)
            values[name] = self.value(property_def, elements, namespace, in_cdata=False)
        return Row(definition.name, values)


def group_children(parent: Element, namespace_uri: str) -> dict[str, list[Element]]:
    """Collect children by local name; one in another namespace is a SchemaValidationError.

    Namespaces that are resource URIs are compared without letter case, as Windows does.
    """
    grouped: dict[str, list[Element]] = {}
    wanted = namespace_uri.lower()
    for child in parent:
        uri, _, name = child.tag.rpartition("}")
        if uri[1:].lower() != wanted:
            raise WsmanFault(table.SCHEMA_VALIDATION)
        grouped.setdefault(name, []).append(child)
    if any(text and text.strip() for text in (parent.text, *(child.tail for child in parent))):
        raise WsmanFault(table.SCHEMA_VALIDATION)
    return grouped


def _is_nil(element: Element) -> bool:
    return element.get(_XSI_NIL, "false").strip() in ("true", "1") and not len(element)
