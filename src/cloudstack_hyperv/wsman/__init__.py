"""How CIM requests travel to a Windows host: WS-Management, sealed, over a pool of connections.

`WsmanClient` implements `CimClient` for one host; queries are built with the `wql` module.
"""

from cloudstack_hyperv.wsman.api import (
    Argument,
    CimClient,
    EmbeddedInstance,
    Identity,
    Instance,
    MethodResult,
    MissingProperty,
    Scalar,
)
from cloudstack_hyperv.wsman.client import Trace, WsmanClient
from cloudstack_hyperv.wsman.endpoint import AuthScheme, Credentials, Endpoint
from cloudstack_hyperv.wsman.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConnectionLost,
    DeadlineExceeded,
    EnumerationLost,
    FaultDetail,
    HostUnreachable,
    NotFound,
    ProtocolViolation,
    ProviderUnavailable,
    QueryRefused,
    QuotaExceeded,
    UnknownClass,
    WsmanError,
    WsmanFault,
)
from cloudstack_hyperv.wsman.protocol import wql
from cloudstack_hyperv.wsman.protocol.embedded import parse_embedded, write_embedded

__all__ = [
    "AccessDenied",
    "Argument",
    "AuthScheme",
    "AuthenticationFailed",
    "CimClient",
    "ConnectionLost",
    "Credentials",
    "DeadlineExceeded",
    "EmbeddedInstance",
    "Endpoint",
    "EnumerationLost",
    "FaultDetail",
    "HostUnreachable",
    "Identity",
    "Instance",
    "MethodResult",
    "MissingProperty",
    "NotFound",
    "ProtocolViolation",
    "ProviderUnavailable",
    "QueryRefused",
    "QuotaExceeded",
    "Scalar",
    "Trace",
    "UnknownClass",
    "WsmanClient",
    "WsmanError",
    "WsmanFault",
    "parse_embedded",
    "wql",
    "write_embedded",
]
