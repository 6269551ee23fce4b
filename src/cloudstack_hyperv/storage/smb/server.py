"""Which SMB server, with which login and which protection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.config import Secret

DIALECTS: Final = {"3.0": 0x0300, "3.0.2": 0x0302, "3.1.1": 0x0311}
"""SMB dialects that may be demanded, [MS-SMB2] 2.2.3.  Below 3.0 nothing is encrypted."""
DEFAULT_PORT: Final = 445


@dataclass(frozen=True, slots=True)
class SmbServer:
    """An SMB server as one login sees it; equal servers share connections."""

    address: str
    user: str
    password: Secret
    domain: str = ""
    port: int = DEFAULT_PORT
    authentication: str = "negotiate"
    """`negotiate`, `ntlm` or `kerberos`."""
    encryption: bool = True
    """Encrypt all that follows the login; without it every message is signed."""
    minimum_dialect: str = "3.0"
    """One of `DIALECTS`."""
    timeout: float = 30.0
    """Seconds to connect in, and for the answer to one request."""
    connections: int = 4
    """Connections for small requests; each running copy has one more."""
    sparse_files: bool = False
    """Mark new files as sparse.  Hyper-V opens no virtual disk that is marked so ("must not be
    sparse"), so this is only for servers whose disks no VM uses in place."""

    @property
    def login(self) -> str:
        r"""`DOMAIN\user`, or the user alone."""
        return f"{self.domain}\\{self.user}" if self.domain else self.user

    def __str__(self) -> str:
        return self.address if self.port == DEFAULT_PORT else f"{self.address}:{self.port}"
