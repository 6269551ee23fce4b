"""Who is at the other end of a connection: Basic, Negotiate (NTLM), CredSSP, client certificates.

The rules are WinRM's.  Every enabled scheme is offered in a `WWW-Authenticate` line of its own.
Basic is checked anew for each request and knows local accounts only.  A Negotiate login belongs to
the TCP connection on which its tokens travelled: a request on another connection starts with 401.
Over https the login is bound to the TLS channel as far as `CbtHardeningLevel` says.

The cryptography is pyspnego's.  It takes secrets of acceptors only from a file named by an
environment variable, so each step gets an anonymous in-memory file that is gone before the step
returns (`_secrets`).

Sources: [MS-WSMV] 2.2.9.1 and 3.1.4.1.30, Microsoft's "Authentication for Remote Connections";
RFC 4559 for the HTTP side of Negotiate, RFC 5929 for tls-server-end-point.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import logging
import os
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5, sha1
from typing import Final

import spnego
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from spnego._ntlm_raw.crypto import ntowfv1  # the store wants hashes; there is no public way
from spnego.channel_bindings import GssChannelBindings

from cloudstack_hyperv.emulator.cim.provider import Caller
from cloudstack_hyperv.emulator.door import sealing
from cloudstack_hyperv.emulator.door.ntlm_tokens import NtlmLogin, read_authenticate
from cloudstack_hyperv.emulator.door.settings import Account, Accounts, DoorSettings
from cloudstack_hyperv.emulator.door.uris import MUTUAL_TLS

_logger = logging.getLogger(__name__)
_STORE_VARIABLE: Final = "NTLM_USER_FILE"
_store_lock = threading.Lock()
_MAX_TOKEN: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Granted:
    """The request may go on."""

    caller: Caller
    context: spnego.ContextProxy | None = None
    """Security context with which bodies are sealed; None for Basic and certificates."""
    sealing_protocol: str = sealing.SPNEGO
    fresh: bool = False
    """Whether this very request completed a handshake (it may then come without a body)."""
    token: str | None = None
    """Last token of the handshake, to be sent with the answer as `WWW-Authenticate`."""


@dataclass(frozen=True, slots=True)
class Challenged:
    """401: with these `WWW-Authenticate` values."""

    offers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forbidden:
    """403: the client certificate is nobody's."""


Outcome = Granted | Challenged | Forbidden


@dataclass(frozen=True, slots=True)
class TlsPeer:
    """What a login needs to know of the TLS connection below it."""

    channel_binding: bytes
    """tls-server-end-point application data (RFC 5929) of the server's certificate."""
    client_certificate: bytes | None
    """DER, verified by the TLS handshake; None if the client showed none."""


def tls_server_end_point(certificate_pem: bytes) -> bytes:
    """Return the channel binding of a server certificate (RFC 5929, 4.1)."""
    certificate = x509.load_pem_x509_certificates(certificate_pem)[0]
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or algorithm.name in ("md5", "sha1"):
        algorithm = hashes.SHA256()
    return b"tls-server-end-point:" + certificate.fingerprint(algorithm)


def tls_peer(transport_ssl: ssl.SSLObject, channel_binding: bytes) -> TlsPeer:
    """Describe the TLS connection of a request."""
    return TlsPeer(channel_binding, transport_ssl.getpeercert(binary_form=True))


class ConnectionLogin:
    """The login state of one TCP connection."""

    def __init__(self, settings: DoorSettings, accounts: Accounts, tls: TlsPeer | None) -> None:
        self._settings = settings
        self._accounts = accounts
        self._tls = tls
        self._handshake: _Handshake | None = None
        self._session: Granted | None = None

    def offers(self) -> tuple[str, ...]:
        """Return the `WWW-Authenticate` values of a plain 401, in Windows's order."""
        settings = self._settings
        offered = []
        if settings.negotiate:
            offered.append("Negotiate")
        if settings.credssp:
            offered.append("CredSSP")
        if settings.basic:
            offered.append('Basic realm="WSMAN"')
        return tuple(offered)

    def authorize(self, header: str | None) -> Outcome:
        """Judge a request by its Authorization header (None: it has none)."""
        if header is None:
            return self._session or Challenged(self.offers())
        scheme, _, rest = header.strip().partition(" ")
        scheme = scheme.lower()
        if scheme == "basic" and self._settings.basic:
            return self._basic(rest.strip())
        if scheme == "negotiate" and self._settings.negotiate:
            return self._negotiate("Negotiate", "negotiate", rest.strip())
        if scheme == "credssp" and self._settings.credssp:
            return self._negotiate("CredSSP", "credssp", rest.strip())
        if header.strip() == MUTUAL_TLS and self._settings.certificate and self._tls is not None:
            return self._certificate(self._tls)
        return self._refuse()

    def _refuse(self) -> Challenged:
        self._handshake = self._session = None
        return Challenged(self.offers())

    def _basic(self, credentials: str) -> Outcome:
        try:
            name, colon, password = (
                base64.b64decode(credentials, validate=True).decode().partition(":")
            )
        except (binascii.Error, UnicodeDecodeError):
            return self._refuse()
        account = self._accounts.check(name, password) if colon else None
        if account is None:
            return self._refuse()
        return Granted(_caller(account, "basic"))

    def _certificate(self, tls: TlsPeer) -> Outcome:
        if tls.client_certificate is None:
            return self._refuse()
        thumbprint = sha1(tls.client_certificate, usedforsecurity=False).hexdigest()
        account = self._accounts.by_certificate(thumbprint)
        return Granted(_caller(account, "certificate")) if account is not None else Forbidden()

    def _negotiate(self, scheme: str, protocol: str, encoded: str) -> Outcome:
        if len(encoded) > _MAX_TOKEN:
            return self._refuse()
        try:
            token = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            return self._refuse()
        if not token:
            return self._refuse()
        self._session = None
        if self._handshake is None or self._handshake.protocol != protocol:
            self._handshake = _Handshake(protocol, self._accounts, self._settings, self._tls)
        try:
            answer = self._handshake.step(token)
        except Exception:  # the library's token parser raises anything on foreign bytes
            _logger.debug("a %s login failed", scheme, exc_info=True)
            return self._refuse()
        header = f"{scheme} {base64.b64encode(answer).decode('ascii')}" if answer else None
        if not self._handshake.complete:
            return Challenged((header,)) if header is not None else self._refuse()
        account = self._handshake.account
        if account is None:
            return self._refuse()
        mechanism = "credssp" if protocol == "credssp" else self._handshake.mechanism
        sealed_as = sealing.CREDSSP if protocol == "credssp" else sealing.SPNEGO
        self._session = Granted(_caller(account, mechanism), self._handshake.context, sealed_as)
        self._handshake = None
        return dataclasses.replace(self._session, fresh=True, token=header)


def _caller(account: Account, mechanism: str) -> Caller:
    user = f"{account.domain}\\{account.name}" if account.domain else account.name
    return Caller(user, account.administrator, mechanism)


class _Handshake:
    """Token exchange of one login, and the account that it turns out to be."""

    def __init__(
        self, protocol: str, accounts: Accounts, settings: DoorSettings, tls: TlsPeer | None
    ) -> None:
        self.protocol = protocol
        self.account: Account | None = None
        self._accounts = accounts
        self._strictness = settings.cbt_hardening if tls is not None else "none"
        self._bindings = (
            GssChannelBindings(application_data=tls.channel_binding) if tls is not None else None
        )
        with _secrets(()):
            self.context = spnego.server(protocol=protocol)

    @property
    def complete(self) -> bool:
        """Whether the client has proved who it is."""
        return self.context.complete

    @property
    def mechanism(self) -> str:
        """What the client used inside Negotiate: "ntlm" (or "kerberos")."""
        return self.context.negotiated_protocol or "negotiate"

    def step(self, token: bytes) -> bytes | None:
        """Take the client's token, return ours; raises SpnegoError when the login fails."""
        if self.protocol == "credssp":
            return self._credssp_step(token)
        login = read_authenticate(token)
        if login is None:
            with _secrets(()):
                return self.context.step(token)
        self.account = self._accounts.find(login.user, login.domain)
        if self.account is None or not self._binding_is_right(login):
            raise ValueError("unknown account or wrong channel binding")
        with _secrets(((login.domain, login.user, self.account.password),)):
            return self.context.step(token)

    def _credssp_step(self, token: bytes) -> bytes | None:
        """CredSSP keeps the inner NTLM login inside TLS, so every account must be in the store."""
        entries = [
            (domain, account.name, account.password)
            for account in self._accounts
            for domain in ({account.domain} if account.domain else {"", "."})
        ]
        with _secrets(entries):
            answer = self.context.step(token)
        if self.context.complete:
            principal = self.context.client_principal or ""
            domain, _, user = principal.rpartition("\\")
            self.account = self._accounts.find(user, domain)
        return answer

    def _binding_is_right(self, login: NtlmLogin) -> bool:
        if self._strictness == "none" or self._bindings is None:
            return True
        if login.channel_binding is None:
            return self._strictness == "relaxed"
        expected = md5(self._bindings.pack(), usedforsecurity=False).digest()
        return login.channel_binding == expected


@contextmanager
def _secrets(entries: Iterable[tuple[str, str, str]]) -> Iterator[None]:
    """Let pyspnego find these (domain, user, password) for the duration of the block.

    The lock keeps emulated hosts in several threads from seeing each other's accounts.
    """
    lines = []
    for domain, user, password in entries:
        if any(mark in domain + user for mark in ":\\\r\n"):
            raise ValueError("a user or domain name with a colon, backslash or line break")
        name = f"{domain}\\{user}" if domain else user
        lines.append(f"{name}:0:{'0' * 32}:{ntowfv1(password).hex().upper()}:[U]:LCT-0")
    store = os.memfd_create("accounts")
    try:
        os.write(store, "\n".join(lines).encode())
        with _store_lock:
            before = os.environ.get(_STORE_VARIABLE)
            os.environ[_STORE_VARIABLE] = f"/proc/self/fd/{store}"
            try:
                yield
            finally:
                if before is None:
                    del os.environ[_STORE_VARIABLE]
                else:
                    os.environ[_STORE_VARIABLE] = before
    finally:
        os.close(store)
