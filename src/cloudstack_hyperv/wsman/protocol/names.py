"""Namespaces, actions and resource URIs of WS-Management, and the names that may stand in them.

Class, method and property names go into URIs, XML element names and WQL without any quoting, so
they are checked here once; nothing else may build such a URI.

Sources: DMTF DSP0226 (WS-Management), DSP0227 (WS-CIM binding), Microsoft [MS-WSMV] 2.2.
"""

from __future__ import annotations

import re
from typing import Final

SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING: Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
ENUMERATION: Final = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
TRANSFER: Final = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSMAN: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
MS_WSMAN: Final = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
MS_FAULT: Final = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
IDENTITY: Final = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
CIM: Final = "http://schemas.dmtf.org/wbem/wscim/1/common"
SCHEMA_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"

ANONYMOUS: Final = ADDRESSING + "/role/anonymous"
WQL_DIALECT: Final = "http://schemas.microsoft.com/wbem/wsman/1/WQL"

ACTION_GET: Final = TRANSFER + "/Get"
ACTION_ENUMERATE: Final = ENUMERATION + "/Enumerate"
ACTION_PULL: Final = ENUMERATION + "/Pull"
ACTION_RELEASE: Final = ENUMERATION + "/Release"

_WMI: Final = "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMESPACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z0-9_]+)*")


def identifier(name: str) -> str:
    """Return a class, method, property or parameter name unchanged; ValueError if it is none."""
    if _IDENTIFIER.fullmatch(name) is None:
        raise ValueError(f"not a CIM name: {name[:100]!r}")
    return name


def query_uri(namespace: str) -> str:
    """Return the resource URI that WQL queries go to."""
    return f"{_WMI}{_namespace(namespace)}/*"


def class_uri(namespace: str, class_name: str) -> str:
    """Return the resource URI of a class, which is also the XML namespace of its instances."""
    return f"{_WMI}{_namespace(namespace)}/{identifier(class_name)}"


def split_class_uri(uri: str) -> tuple[str, str]:
    """Return (namespace, class) of a class URI in any letter case; ("", "") if it is none."""
    if uri[: len(_WMI)].lower() != _WMI:
        return "", ""
    namespace, _, class_name = uri[len(_WMI) :].rpartition("/")
    return namespace, class_name


def _namespace(namespace: str) -> str:
    slashed = namespace.replace("\\", "/")
    if _NAMESPACE.fullmatch(slashed) is None:
        raise ValueError(f"not a WMI namespace: {namespace[:100]!r}")
    return slashed
