"""Namespaces, actions, dialects and resource URIs of WS-Management as Windows speaks it.

The emulated host keeps its own list: it must not share one with the client that it judges.

Sources: DMTF DSP0226 (WS-Management), DSP0227 (CIM binding), DSP0230 (WS-CIM mapping), and
[MS-WSMV] 2.2.1 for Microsoft's own namespaces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING: Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
TRANSFER: Final = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
ENUMERATION: Final = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
EVENTING: Final = "http://schemas.xmlsoap.org/ws/2004/08/eventing"
WSMAN: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
MS_WSMAN: Final = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
MS_FAULT: Final = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
MS_CONFIG: Final = "http://schemas.microsoft.com/wbem/wsman/1/config"
IDENTITY: Final = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
CIM_BINDING: Final = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"
CIM_COMMON: Final = "http://schemas.dmtf.org/wbem/wscim/1/common"
WMI_ERROR: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XML: Final = "http://www.w3.org/XML/1998/namespace"

ANONYMOUS: Final = ADDRESSING + "/role/anonymous"
FAULT_DETAIL: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"

ACTION_GET: Final = TRANSFER + "/Get"
ACTION_PUT: Final = TRANSFER + "/Put"
ACTION_CREATE: Final = TRANSFER + "/Create"
ACTION_DELETE: Final = TRANSFER + "/Delete"
ACTION_ENUMERATE: Final = ENUMERATION + "/Enumerate"
ACTION_PULL: Final = ENUMERATION + "/Pull"
ACTION_RELEASE: Final = ENUMERATION + "/Release"
ACTION_SUBSCRIBE: Final = EVENTING + "/Subscribe"

DIALECT_WQL: Final = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
DIALECT_SELECTOR: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter"
DIALECT_ASSOCIATION: Final = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter"

MUTUAL_TLS: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
"""Value of the Authorization header with which a client asks to be known by its certificate."""

_WMI: Final = "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
_DMTF_CLASS: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
_DMTF_ALL: Final = "http://schemas.dmtf.org/wbem/wscim/1/*"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
DEFAULT_NAMESPACE: Final = "root/cimv2"
"""Namespace of a DMTF resource URI that comes without a `__cimnamespace` selector."""


class BadResourceUri(ValueError):
    """The text is not a resource URI that names a WMI class or namespace."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What a ResourceURI names."""

    uri: str
    """As the client wrote it."""
    namespace: str
    """Lower case with forward slashes; "" when only a `__cimnamespace` selector can tell."""
    class_name: str
    """As the client wrote it; "*" for a whole namespace."""
    dmtf: bool = False
    canonical: bool = True
    """Whether scheme and namespace are spelled as Windows spells them."""

    @property
    def is_wildcard(self) -> bool:
        """Whether the URI ends in `/*`: the form that WQL and association filters need."""
        return self.class_name == "*"


def parse_resource_uri(uri: str) -> Resource:
    """Read a resource URI, letter case of scheme and namespace ignored; raises BadResourceUri."""
    lowered = uri.lower()
    if lowered.startswith(_WMI):
        namespace, _, class_name = uri[len(_WMI) :].rpartition("/")
        parts = namespace.split("/")
        if not all(_NAME.match(part) for part in parts) or not _is_class_or_star(class_name):
            raise BadResourceUri(uri)
        canonical = uri.startswith(_WMI + namespace.lower())
        return Resource(uri, namespace.lower(), class_name, canonical=canonical)
    if lowered == _DMTF_ALL:
        return Resource(uri, "", "*", dmtf=True)
    if lowered.startswith(_DMTF_CLASS):
        class_name = uri[len(_DMTF_CLASS) :]
        if not _NAME.match(class_name):
            raise BadResourceUri(uri)
        return Resource(uri, "", class_name, dmtf=True)
    raise BadResourceUri(uri)


def class_uri(namespace: str, class_name: str) -> str:
    """Return the resource URI under which Windows shows a class."""
    return f"{_WMI}{namespace}/{class_name}"


def _is_class_or_star(name: str) -> bool:
    return name == "*" or _NAME.match(name) is not None
