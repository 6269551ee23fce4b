"""Where a host's WinRM listens, whom we trust there, and who we are.

Both are values that compare equal when nothing changed.  Secrets stay out of every repr.
"""

from __future__ import annotations

import enum
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HTTP_PORT: Final = 5985
HTTPS_PORT: Final = 5986
_HIGHEST_PORT: Final = 65535

_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
"""Names (international ones in their xn-- form), IPv4 and IPv6 addresses with a zone."""
_PATH = re.compile(r"/[!-~]*")
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{64}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A WinRM listener.

    Over https the certificate must be valid for `name` under `ca_file` (or the system's
    authorities); with `certificate_sha256` (hex, of the DER form) exactly that certificate is
    accepted instead, whoever signed it: WinRM listeners mostly have self-signed ones.
    """

    host: str
    """Name or address to connect to."""
    port: int = 0
    """0: the standard port, 5986 with https and 5985 without."""
    https: bool = True
    path: str = "/wsman"
    server_name: str = ""
    """Name in the certificate and in the Kerberos service principal, where it is not `host`."""
    ca_file: Path | None = None
    certificate_sha256: str = ""
    """64 hex digits, colons allowed."""
    any_certificate: bool = False
    """Believe whoever answers: an attacker on the way can then take the login's place."""

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot stand in a request line or header."""
        if not _HOST.fullmatch(self.host) or not _HOST.fullmatch(self.name):
            raise ValueError(f"not a host name or address: {self.host!r} {self.server_name!r}")
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"not the path of a URL: {self.path!r}")
        if not 0 <= self.port <= _HIGHEST_PORT:
            raise ValueError(f"not a port: {self.port}")
        pin = self.certificate_sha256.replace(":", "")
        if pin and not _FINGERPRINT.fullmatch(pin):
            raise ValueError(f"not a SHA-256 fingerprint: {self.certificate_sha256!r}")

    @property
    def name(self) -> str:
        """The name by which the host proves itself."""
        return self.server_name or self.host

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self.port or (HTTPS_PORT if self.https else HTTP_PORT)

    @property
    def authority(self) -> str:
        """`host:port` as the Host header and the URL have it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.effective_port}"

    @property
    def url(self) -> str:
        """The URL of the service."""
        return f"{'https' if self.https else 'http'}://{self.authority}{self.path}"


class AuthScheme(enum.StrEnum):
    """How to log in; what the host must allow is named after it in WinRM's Service/Auth."""

    BASIC = "basic"
    NTLM = "ntlm"
    """NTLM without negotiation: no Kerberos is tried."""
    NEGOTIATE = "negotiate"
    """SPNEGO: Kerberos where it is possible, else NTLM."""
    KERBEROS = "kerberos"
    CREDSSP = "credssp"
    """Gives the host the password, so that it can go on to a second host."""
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class Credentials:
    r"""Who logs in.  `username` is `user`, `DOMAIN\user` or `user@REALM`."""

    scheme: AuthScheme
    username: str = ""
    password: str = field(default="", repr=False)
    certificate: Path | None = None
    """PEM file with the client certificate (scheme CERTIFICATE)."""
    private_key: Path | None = None
    """PEM file with its key, None if it is in the same file."""
    private_key_password: str = field(default="", repr=False)
    delegate: bool = False
    """Kerberos: forward the ticket, for calls that make the host go on to another."""
    service: str = "HTTP"
    """Service part of the Kerberos principal; some domains register WSMAN instead."""
    allow_clear_text: bool = False
    """Basic over plain http sends password and data readable by everyone on the way."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must not show anywhere."""
        return tuple(text for text in (self.password, self.private_key_password) if text)


def check_combination(endpoint: Endpoint, credentials: Credentials) -> None:
    """Raise ValueError where the login is impossible or would give the password away."""
    scheme = credentials.scheme
    if scheme is AuthScheme.CERTIFICATE:
        if not endpoint.https:
            raise ValueError("a client certificate needs https")
        if credentials.certificate is None:
            raise ValueError("scheme certificate needs a certificate file")
        return
    if scheme is AuthScheme.BASIC and not endpoint.https and not credentials.allow_clear_text:
        raise ValueError(
            "Basic over plain http would send the password in clear text: use https or NTLM, or "
            "allow it explicitly"
        )
    # Kerberos may take its ticket from the system's cache.
    if not credentials.username and scheme not in (AuthScheme.KERBEROS, AuthScheme.NEGOTIATE):
        raise ValueError(f"scheme {scheme} needs a user name")


def tls_context(endpoint: Endpoint, credentials: Credentials) -> ssl.SSLContext | None:
    """Return the TLS settings of the endpoint, None for plain http.  Reads files: may block.

    With a pinned certificate the handshake itself checks nothing: the connection compares the
    fingerprint before it sends the first byte.
    """
    if not endpoint.https:
        return None
    context = ssl.create_default_context(
        cafile=str(endpoint.ca_file) if endpoint.ca_file is not None else None
    )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if endpoint.certificate_sha256 or endpoint.any_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credentials.scheme is AuthScheme.CERTIFICATE and credentials.certificate is not None:
        context.load_cert_chain(
            credentials.certificate,
            credentials.private_key,
            password=credentials.private_key_password or None,
        )
        # HTTP.SYS asks for the certificate only after it has seen the URL.
        context.post_handshake_auth = True
    return context
