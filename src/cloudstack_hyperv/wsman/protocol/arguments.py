"""Method arguments as the child elements of `Method_INPUT`.

A reference is written as the children of an endpoint reference, without `a:EndpointReference`
around them (Windows answers that with SchemaValidationError); an array is the element repeated;
an embedded instance is CIM-XML as escaped text, once more escaped than its own values are.

Sources: DMTF DSP0227 9 (extrinsic methods); what r4sd/go-wsman recorded of Windows' strictness.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from cloudstack_hyperv.cim import ObjectPath, SizedInt
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.wsman.api import Argument, EmbeddedInstance
from cloudstack_hyperv.wsman.protocol.datetimes import iso_datetime, iso_duration
from cloudstack_hyperv.wsman.protocol.embedded import write_embedded
from cloudstack_hyperv.wsman.protocol.names import ANONYMOUS, class_uri, identifier
from cloudstack_hyperv.wsman.protocol.xmltext import escape


def write_arguments(arguments: Mapping[str, Argument | None]) -> str:
    """Write all arguments, prefixes p, a, w and cim being bound by the element around them.

    None is left out, and so is an empty array (it cannot be told from NULL on this wire).  Raises
    TypeError for a plain int, ValueError for a text that XML cannot carry.
    """
    return "".join(
        f"<p:{name}>{content}</p:{name}>"
        for name, value in arguments.items()
        if value is not None
        for content in _contents(identifier(name), value)
    )


def write_selectors(path: ObjectPath) -> str:
    """Write an object's keys as w:SelectorSet, "" for an object without keys."""
    selectors = "".join(
        f'<w:Selector Name="{identifier(name)}">{escape(value)}</w:Selector>'
        for name, value in path.keys
    )
    return f"<w:SelectorSet>{selectors}</w:SelectorSet>" if selectors else ""


def resource_uri(path: ObjectPath) -> str:
    """Return the class URI of a path; one without a namespace is in root/virtualization/v2."""
    return class_uri(path.namespace or NAMESPACE_VIRTUALIZATION, path.class_name)


def _contents(name: str, value: Argument) -> Iterator[str]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        yield _content(name, value)
        return
    for item in value:
        yield _content(name, item)


def _content(name: str, value: object) -> str:
    match value:
        case ObjectPath():
            return (
                f"<a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>"
                f"<w:ResourceURI>{resource_uri(value)}</w:ResourceURI>"
                f"{write_selectors(value)}</a:ReferenceParameters>"
            )
        case EmbeddedInstance():
            return escape(write_embedded(value))
        case bool():
            return "true" if value else "false"
        case SizedInt():
            return str(value)
        case str():
            return escape(value)
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case datetime():
            return f"<cim:Datetime>{iso_datetime(value)}</cim:Datetime>"
        case timedelta():
            return f"<cim:Interval>{iso_duration(value)}</cim:Interval>"
        case float() if math.isfinite(value):
            return repr(value)
    raise TypeError(f"argument {name}: {type(value).__name__} has no CIM type")
