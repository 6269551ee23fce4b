"""Endpoint references in requests: REF parameters, association filters, REF keys in selectors.

A reference is Address and ReferenceParameters, standing directly inside the parameter element;
Windows refuses an EndpointReference element around them.

Sources: DSP0227 8.2 for references in WS-Man; r4sd/go-wsman (epr.go) for the refusal seen on a
Windows 11 host; libvirt for the `__cimnamespace` selector inside references.
"""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door import uris
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.leniencies import Leniencies
from cloudstack_hyperv.emulator.door.soap import read_selectors

_A: Final = "{" + uris.ADDRESSING + "}"
_W: Final = "{" + uris.WSMAN + "}"
CIM_NAMESPACE_SELECTOR: Final = "__cimnamespace"
_MAX_NESTING: Final = 4


def read_reference(holder: Element, leniencies: Leniencies, depth: int = 0) -> ObjectPath:
    """Read the reference that `holder` contains; raises WsmanFault (SchemaValidationError)."""
    if depth > _MAX_NESTING:
        raise WsmanFault(table.SCHEMA_VALIDATION)
    children = {child.tag: child for child in holder}
    if len(children) != len(holder) or children.keys() != {
        _A + "Address",
        _A + "ReferenceParameters",
    }:
        raise WsmanFault(table.SCHEMA_VALIDATION)
    address = (children[_A + "Address"].text or "").strip()
    if not address or (address != uris.ANONYMOUS and not leniencies.grants("reference-address")):
        raise WsmanFault(table.SCHEMA_VALIDATION)
    parameters = children[_A + "ReferenceParameters"]
    uri, selector_set = parameters.find(_W + "ResourceURI"), parameters.find(_W + "SelectorSet")
    if uri is None or len(parameters) != 1 + (selector_set is not None):
        raise WsmanFault(table.SCHEMA_VALIDATION)
    try:
        resource = uris.parse_resource_uri((uri.text or "").strip())
    except uris.BadResourceUri as error:
        raise WsmanFault(table.INVALID_RESOURCE_URI) from error
    if resource.is_wildcard:
        raise WsmanFault(table.INVALID_RESOURCE_URI)
    selectors = read_selectors(selector_set) if selector_set is not None else {}
    namespace, keys = split_namespace(resource, selectors, leniencies, depth)
    return ObjectPath(resource.class_name, tuple(keys.items()), namespace)


def split_namespace(
    resource: uris.Resource,
    selectors: dict[str, str | Element],
    leniencies: Leniencies,
    depth: int = 0,
    *,
    must_agree: bool = False,
) -> tuple[str, dict[str, str]]:
    """Return the namespace that is meant and the key selectors as text.

    Inside a reference a `__cimnamespace` selector wins over the URI; in the header of a request
    (`must_agree`) the two must name the same namespace.
    """
    namespace = resource.namespace
    if not resource.canonical and not leniencies.grants("uri-letter-case"):
        raise WsmanFault(table.INVALID_RESOURCE_URI)
    keys: dict[str, str] = {}
    for name, value in selectors.items():
        if not isinstance(value, str):
            keys[name] = str(read_reference(value, leniencies, depth + 1))
        elif name.lower() == CIM_NAMESPACE_SELECTOR:
            if not leniencies.grants("cimnamespace-selector"):
                raise WsmanFault(table.UNEXPECTED_SELECTORS)
            named = value.replace("\\", "/").strip("/").lower()
            if must_agree and namespace not in ("", named):
                raise WsmanFault(table.DIFFERENT_NAMESPACE)
            namespace = named
        else:
            keys[name] = value
    return namespace or uris.DEFAULT_NAMESPACE, keys
