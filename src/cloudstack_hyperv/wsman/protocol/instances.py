"""From the elements of an answer to `Instance` and `ObjectPath`.

What Windows sends (DSP0230 WS-CIM mapping, as recorded answers show it): a flat list of property
elements; NULL is xsi:nil, a NULL array no element at all; an array is the element repeated; times
in a cim:Datetime or cim:Interval child; a reference is the children of an endpoint reference
without the element around them; an embedded object is nested elements in its own namespace.
Everything is read by local name: the namespace of the properties differs with the class asked for.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.wsman.api import Instance
from cloudstack_hyperv.wsman.errors import ProtocolViolation
from cloudstack_hyperv.wsman.protocol.names import (
    ADDRESSING,
    CIM,
    SCHEMA_INSTANCE,
    WSMAN,
    split_class_uri,
)
from cloudstack_hyperv.wsman.protocol.xmltext import local_name, namespace_of

_NIL = f"{{{SCHEMA_INSTANCE}}}nil"
_TYPE = f"{{{SCHEMA_INSTANCE}}}type"
_ADDRESS = f"{{{ADDRESSING}}}Address"
_REFERENCE = f"{{{ADDRESSING}}}EndpointReference"
_PARAMETERS = f"{{{ADDRESSING}}}ReferenceParameters"
_RESOURCE_URI = f"{{{WSMAN}}}ResourceURI"
_SELECTOR_SET = f"{{{WSMAN}}}SelectorSet"
_SELECTOR = f"{{{WSMAN}}}Selector"
_CIM_PREFIX = f"{{{CIM}}}"
_CLASS_TYPE_SUFFIX = "_Type"

Value = str | ObjectPath | Instance


def read_instance(element: ET.Element) -> Instance:
    """Read an instance, an embedded object, or the out parameters of a method."""
    values: dict[str, list[Value]] = {}
    for child in element:
        value = _read_value(child)
        if value is not None:
            values.setdefault(child.tag.rpartition("}")[2], []).append(value)
    namespace, class_name = _class_of(element)
    return Instance(class_name, {name: tuple(found) for name, found in values.items()}, namespace)


def read_reference(element: ET.Element) -> ObjectPath:
    """Read the children of an endpoint reference; raises ProtocolViolation.

    The namespace is in the URI; a `__cimnamespace` selector overrides it and is no key.
    """
    parameters = element.find(_PARAMETERS)
    uri = None if parameters is None else parameters.findtext(_RESOURCE_URI)
    if parameters is None or uri is None:
        raise ProtocolViolation(f"the reference {local_name(element)} names no resource")
    namespace, class_name = split_class_uri(uri.strip())
    if not class_name:
        raise ProtocolViolation(f"a reference to {uri[:200]!r}, which is no WMI class")
    keys: list[tuple[str, str]] = []
    for selector in parameters.iterfind(f"{_SELECTOR_SET}/{_SELECTOR}"):
        name = selector.get("Name", "")
        inner = selector.find(_REFERENCE)
        value = (selector.text or "") if inner is None else str(read_reference(inner))
        if name == "__cimnamespace":
            namespace = value.replace("\\", "/")
        else:
            keys.append((name, value))
    return ObjectPath(class_name, tuple(keys), namespace)


def _read_value(element: ET.Element) -> Value | None:
    """Return a property's value, None for NULL."""
    if len(element) == 0:
        if element.attrib:
            if element.get(_NIL) in ("true", "1"):
                return None
            if element.get(_TYPE, "").endswith(_CLASS_TYPE_SUFFIX):
                return read_instance(element)
        return element.text or ""
    first = element[0]
    if first.tag.startswith(_CIM_PREFIX):
        return (first.text or "").strip()
    if first.tag in (_ADDRESS, _PARAMETERS):
        return read_reference(element)
    if first.tag == _REFERENCE:
        return read_reference(first)
    return read_instance(element)


def _class_of(element: ET.Element) -> tuple[str, str]:
    """Return (namespace, class): by xsi:type where there is one, else by the element's name."""
    type_name = element.get(_TYPE, "").rpartition(":")[2]
    # An embedded object's element is named and placed after the property that holds it; its own
    # namespace shows on its children.
    owner = element[0] if type_name and len(element) else element
    namespace, class_name = split_class_uri(namespace_of(owner))
    if type_name.endswith(_CLASS_TYPE_SUFFIX):
        class_name = type_name.removesuffix(_CLASS_TYPE_SUFFIX)
    return namespace, class_name or local_name(element)
