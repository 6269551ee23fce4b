"""The connected agent's carrier: TCP, TLS 1.2 in memory, packets with a clear header around it.

`wire` knows the bytes' shape, this package moves them: `tls` is the engine and whom to trust,
`connection` the asyncio transport with its deadlines.
"""

from cloudstack_hyperv.link.connection import (
    Limits,
    Link,
    LinkFailed,
    LinkLost,
    connect_link,
    is_reachable,
)
from cloudstack_hyperv.link.tls import (
    LinkIdentity,
    PinnedCertificate,
    ServerNotTrusted,
    ServerTrust,
    TlsEngine,
    TrustAnything,
    TrustedAuthorities,
    client_context,
)

__all__ = [
    "Limits",
    "Link",
    "LinkFailed",
    "LinkIdentity",
    "LinkLost",
    "PinnedCertificate",
    "ServerNotTrusted",
    "ServerTrust",
    "TlsEngine",
    "TrustAnything",
    "TrustedAuthorities",
    "client_context",
    "connect_link",
    "is_reachable",
]
