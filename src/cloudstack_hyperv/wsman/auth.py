"""Logging in to WinRM: tokens in Authorization headers, and the security context they leave.

Token schemes (NTLM, Negotiate, Kerberos, CredSSP) are a conversation of 401 answers on *one*
connection; the context that it ends in belongs to that connection, counts its messages, and
seals them over plain http.  `TokenLogin` holds the conversation without a socket.  The
cryptography is pyspnego's.

Sources: RFC 4559 (Negotiate over HTTP), RFC 5929 (tls-server-end-point), [MS-WSMV] 2.2.9.1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final

import spnego
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import FeatureMissingError, SpnegoError

from cloudstack_hyperv.wsman.endpoint import AuthScheme, Credentials
from cloudstack_hyperv.wsman.errors import AuthenticationFailed, ProtocolViolation
from cloudstack_hyperv.wsman.protocol.sealing import SealingProtocol

CERTIFICATE_LOGIN: Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
"""The Authorization header that goes with a client certificate (DSP0226 annex, profiles)."""

_SCHEMES: Final = {
    AuthScheme.NTLM: ("ntlm", "Negotiate", SealingProtocol.SPNEGO),
    AuthScheme.NEGOTIATE: ("negotiate", "Negotiate", SealingProtocol.SPNEGO),
    AuthScheme.KERBEROS: ("kerberos", "Kerberos", SealingProtocol.KERBEROS),
    AuthScheme.CREDSSP: ("credssp", "CredSSP", SealingProtocol.CREDSSP),
}
"""pyspnego's protocol, the HTTP scheme that carries it, and how its context seals."""


def standing_authorization(credentials: Credentials) -> str | None:
    """Return the header that goes with every request; None for token schemes."""
    if credentials.scheme is AuthScheme.CERTIFICATE:
        return CERTIFICATE_LOGIN
    if credentials.scheme is AuthScheme.BASIC:
        pair = f"{credentials.username}:{credentials.password}"
        return "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")
    return None


def channel_binding(certificate_der: bytes) -> GssChannelBindings:
    """Bind a login to the TLS channel by the server's certificate (tls-server-end-point).

    The hash is that of the certificate's signature, SHA-256 where that is MD5, SHA-1 or none.
    """
    algorithm = "sha256"
    try:
        signed_with = x509.load_der_x509_certificate(certificate_der).signature_hash_algorithm
    except UnsupportedAlgorithm:
        signed_with = None
    if isinstance(signed_with, hashes.SHA384 | hashes.SHA512):
        algorithm = signed_with.name
    digest = hashlib.new(algorithm, certificate_der).digest()
    return GssChannelBindings(application_data=b"tls-server-end-point:" + digest)


class TokenLogin:
    """The login conversation of one connection, and afterwards its sealer.

    `first()` gives the Authorization header to send; each answer goes to `answered`, which gives
    the next header or None when the login is complete.  Both, and the constructor, may take long
    with Kerberos, where a ticket is fetched.
    """

    def __init__(
        self, credentials: Credentials, name: str, binding: GssChannelBindings | None = None
    ) -> None:
        """Prepare a login to host `name`; raises AuthenticationFailed where it is impossible."""
        protocol, self._label, self.sealing = _SCHEMES[credentials.scheme]
        self._scheme = credentials.scheme
        flags = spnego.ContextReq.default
        if credentials.delegate:
            flags |= spnego.ContextReq.delegate
        try:
            self._context = spnego.client(
                credentials.username or None,
                credentials.password or None,
                hostname=name,
                service=credentials.service,
                channel_bindings=binding,
                context_req=flags,
                protocol=protocol,
                options=spnego.NegotiateOptions.wrapping_winrm,
            )
        except (SpnegoError, FeatureMissingError, ValueError, ImportError) as error:
            raise AuthenticationFailed(_impossible(credentials.scheme, error)) from error

    def first(self) -> str:
        """Return the first Authorization header."""
        return self._header(self._step(None))

    def answered(self, status: int, challenges: Iterable[str]) -> str | None:
        """Take the status and the WWW-Authenticate lines of an answer.

        Raises AuthenticationFailed when the host refuses, naming what it offers instead.
        """
        offered = list(challenges)
        token = self._token_in(offered)
        if token is None:
            if status == 401:
                raise AuthenticationFailed(refusal(self._scheme, offered))
            if not self._context.complete:
                raise AuthenticationFailed("the host ended the login before it was complete")
            return None
        answer = self._step(token)
        if answer is not None:
            return self._header(answer)
        if status == 401 or not self._context.complete:
            raise AuthenticationFailed(refusal(self._scheme, offered))
        return None

    def wrap(self, data: bytes) -> tuple[bytes, bytes, int]:
        """Seal a message (see `sealing.Sealer`)."""
        result = self._context.wrap_winrm(data)
        return result.header, result.data, result.padding_length

    def unwrap(self, signature: bytes, data: bytes) -> bytes:
        """Open a sealed message; raises ProtocolViolation when it is not the host's next one."""
        try:
            return bytes(self._context.unwrap_winrm(signature, data))
        except SpnegoError as error:
            raise ProtocolViolation("an answer that the security context cannot open") from error

    def _step(self, token: bytes | None) -> bytes | None:
        try:
            return self._context.step(token)
        except SpnegoError as error:
            raise AuthenticationFailed(f"the login failed: {error.message}") from error

    def _header(self, token: bytes | None) -> str:
        if token is None:
            raise AuthenticationFailed("the login has nothing to say to the host")
        return f"{self._label} {base64.b64encode(token).decode('ascii')}"

    def _token_in(self, challenges: list[str]) -> bytes | None:
        for challenge in challenges:
            label, _, token = challenge.strip().partition(" ")
            if label.lower() != self._label.lower() or not token:
                continue
            try:
                return base64.b64decode(token, validate=True)
            except binascii.Error:
                raise ProtocolViolation("a login token that is not base64") from None
        return None


def refusal(scheme: AuthScheme, challenges: Iterable[str]) -> str:
    """Say why a 401 came, from its WWW-Authenticate lines."""
    if scheme is AuthScheme.CERTIFICATE:
        return "the host accepts no client certificate, or not this one"
    label = "Basic" if scheme is AuthScheme.BASIC else _SCHEMES[scheme][1]
    offered = sorted({challenge.strip().partition(" ")[0] for challenge in challenges})
    if label.lower() in (name.lower() for name in offered):
        return "the host refused the user name or the password"
    return f"the host does not offer {label}, it offers {', '.join(offered) or 'nothing'}"


def _impossible(scheme: AuthScheme, error: Exception) -> str:
    if scheme is AuthScheme.KERBEROS:
        return f"Kerberos is not possible here (is the `kerberos` extra installed?): {error}"
    return f"{scheme} is not possible here: {error}"
