"""CIM-XML `INSTANCE` texts: what string parameters and properties with EmbeddedInstance hold.

Written for Hyper-V's methods (SystemSettings, ResourceSettings ...): TYPE is the declared CIM
type, so it comes from the value's class; only what is to be set is written; references inside are
object path strings.  Read for what the host gives back (KVP items, Msvm_Error, disk settings).

Sources: DMTF DSP0201 (CIM-XML DTD 2.x); Microsoft's Hyper-V samples (texts of
`GetText(CimDtd20)`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.cim import CimType, ObjectPath, cim_type_of
from cloudstack_hyperv.wsman.api import EmbeddedInstance, Instance
from cloudstack_hyperv.wsman.errors import ProtocolViolation
from cloudstack_hyperv.wsman.protocol.datetimes import cim_datetime, cim_interval
from cloudstack_hyperv.wsman.protocol.names import identifier
from cloudstack_hyperv.wsman.protocol.xmltext import escape, parse

_READ_PROPERTIES: Final = ("PROPERTY", "PROPERTY.ARRAY", "PROPERTY.REFERENCE")


def write_embedded(instance: EmbeddedInstance) -> str:
    """Write the INSTANCE element, not yet escaped for the envelope around it.

    A property that is None is left out.  An empty list is written as an empty string array (to
    empty HostResource): no other array of Hyper-V is set to nothing.  Raises TypeError for a
    plain int or mixed arrays, ValueError for characters that XML does not allow.
    """
    properties = "".join(
        _property(identifier(name), value)
        for name, value in instance.properties.items()
        if value is not None
    )
    return f'<INSTANCE CLASSNAME="{identifier(instance.class_name)}">{properties}</INSTANCE>'


def parse_embedded(text: str, *, namespace: str = "") -> Instance:
    """Read an INSTANCE text with or without XML declaration; raises ProtocolViolation.

    NULL properties (written without VALUE) are left out of the values.
    """
    root = parse(text.strip("\ufeff \t\r\n"))
    if root.tag == "VALUE.NAMEDINSTANCE":
        root = next(iter(root.findall("INSTANCE")), root)
    if root.tag != "INSTANCE":
        raise ProtocolViolation(f"an embedded instance starts with <{root.tag[:60]}>")
    values: dict[str, tuple[str | ObjectPath | Instance, ...]] = {}
    for element in root:
        if element.tag not in _READ_PROPERTIES:
            continue
        found = tuple(_read_values(element))
        if found:
            values[element.get("NAME", "")] = found
    return Instance(root.get("CLASSNAME", ""), values, namespace)


def _property(name: str, value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return f'<PROPERTY NAME="{name}" TYPE="{_type_of(value)}">{_value(value)}</PROPERTY>'
    items = list(value)
    types = {_type_of(item) for item in items} or {CimType.STRING}
    if len(types) > 1:
        raise TypeError(f"{name} mixes {', '.join(sorted(types))}")
    texts = "".join(_value(item) for item in items)
    return (
        f'<PROPERTY.ARRAY NAME="{name}" TYPE="{types.pop()}">'
        f"<VALUE.ARRAY>{texts}</VALUE.ARRAY></PROPERTY.ARRAY>"
    )


def _type_of(value: object) -> CimType:
    return CimType.STRING if isinstance(value, ObjectPath) else cim_type_of(value)


def _value(value: object) -> str:
    return f"<VALUE>{escape(_text(value))}</VALUE>"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return cim_datetime(value)
    if isinstance(value, timedelta):
        return cim_interval(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no CIM number")
        return repr(value)
    return str(value)


def _read_values(element: ET.Element) -> Iterable[str | ObjectPath]:
    for child in element:
        if child.tag == "VALUE":
            yield child.text or ""
        elif child.tag in ("VALUE.ARRAY", "VALUE.REFARRAY"):
            yield from _read_values(child)
        elif child.tag == "VALUE.REFERENCE":
            yield _read_reference(child)


def _read_reference(element: ET.Element) -> ObjectPath:
    name = next(element.iter("INSTANCENAME"), None)
    if name is None:
        raise ProtocolViolation("a reference in an embedded instance names no instance")
    keys = tuple(
        (binding.get("NAME", ""), _key_value(binding)) for binding in name.findall("KEYBINDING")
    )
    host = next((found.text or "" for found in element.iter("HOST")), "")
    spaces = [found.get("NAME", "") for found in element.iter("NAMESPACE")]
    return ObjectPath(name.get("CLASSNAME", ""), keys, "/".join(spaces), host)


def _key_value(binding: ET.Element) -> str:
    reference = binding.find("VALUE.REFERENCE")
    if reference is not None:
        return str(_read_reference(reference))
    return binding.findtext("KEYVALUE", "")
