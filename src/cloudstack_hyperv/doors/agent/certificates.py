"""The agent's key and certificate: made here, signed by the management server, then used.

SetupKeyStoreCommand asks for a key and a request to sign it, SetupCertificateCommand brings the
certificate and the CA's.  The key waits beside the one in use until a certificate comes that
belongs to it, so that an exchange which breaks off halfway leaves a working pair.

The request names the host's addresses and *ours* on this connection: a strict management server
compares the certificate's addresses with the peer's (RootCACustomTrustManager), which is the
gateway's, and RootCAProvider copies what a request names into the certificate.

Key and certificate are one file, cloud.pem, so that they change at one instant; the CA's bundle is
cloud.ca.crt.  A pair that CloudStack's own scripts made for the KVM agent (KeyStoreUtils:
cloud.crt, cloud.key) is used as long as there is no cloud.pem.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from cloudstack_hyperv.config import AgentDoorSettings, ConfigurationError
from cloudstack_hyperv.link import (
    LinkIdentity,
    PinnedCertificate,
    ServerTrust,
    TrustAnything,
    TrustedAuthorities,
)

_KEY_BITS = 2048
_PEM = serialization.Encoding.PEM


class CertificateRefused(Exception):
    """The certificate that came cannot be used; the text says why."""


class CertificateStore:
    """One agent's files."""

    def __init__(self, folder: Path, door: AgentDoorSettings, prefix: str = "cloud") -> None:
        self._folder = folder
        self._door = door
        self._pair = folder / f"{prefix}.pem"
        self._key = folder / f"{prefix}.key"
        self._certificate = folder / f"{prefix}.crt"
        self._authorities = folder / f"{prefix}.ca.crt"
        self._waiting_key = folder / f"{prefix}.key.waiting"

    def trust(self) -> ServerTrust:
        """Return whom to believe now; raises ConfigurationError where nobody said."""
        if self._door.ca_file is not None:
            return TrustedAuthorities(Path(self._door.ca_file))
        if self._door.server_fingerprints:
            return PinnedCertificate(self._door.server_fingerprints)
        if self._authorities.exists():
            return TrustedAuthorities(self._authorities)
        if self._door.trust_any_server:
            return TrustAnything()
        raise ConfigurationError(
            "nothing says which management server to believe: set agent.ca_file (its CA "
            "certificate: API command listCaCertificate), agent.server_fingerprints, or, on a "
            "network that you trust, agent.trust_any_server = true"
        )

    def identity(self) -> LinkIdentity | None:
        """Return the certificate to show: the server's own issue before the configured one."""
        if self._pair.exists():
            return LinkIdentity(self._pair, self._pair)
        if self._certificate.exists() and self._key.exists():
            return LinkIdentity(self._certificate, self._key)
        if self._door.certificate is not None and self._door.key is not None:
            return LinkIdentity(Path(self._door.certificate), Path(self._door.key))
        return None

    def new_request(self, name: str, addresses: Iterable[str]) -> str:
        """Make a key, keep it waiting, and return the PEM request to sign it.  Raises OSError."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        _write_private(self._waiting_key, _key_pem(key))
        alternatives: list[x509.GeneralName] = [x509.DNSName(name)] if name.isascii() else []
        alternatives += [x509.IPAddress(one) for one in _addresses(addresses)]
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])]))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(key, hashes.SHA256())
        )
        return request.public_bytes(_PEM).decode()

    def install(self, certificate: str, private_key: str, authorities: str) -> x509.Certificate:
        """Take a certificate into use, with the key it came with or the one that waits for it.

        Raises CertificateRefused, OSError; then the pair in use is still the old one.
        """
        try:
            issued = x509.load_pem_x509_certificates(certificate.encode())[0]
            if authorities.strip():
                x509.load_pem_x509_certificates(authorities.encode())
        except ValueError as error:
            raise CertificateRefused("what came is no PEM certificate") from error
        key = self._key_for(issued, private_key)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        if authorities.strip():
            _write(self._authorities, authorities.encode())
        _write_private(self._pair, key + certificate.encode())
        self._waiting_key.unlink(missing_ok=True)
        return issued

    def __repr__(self) -> str:
        return f"CertificateStore({self._folder})"

    def _key_for(self, issued: x509.Certificate, private_key: str) -> bytes:
        candidates = [private_key.encode()] if private_key.strip() else []
        if not candidates:
            candidates = [
                path.read_bytes()
                for path in (self._waiting_key, self._pair, self._key)
                if path.exists()
            ]
        for candidate in candidates:
            try:
                key = serialization.load_pem_private_key(candidate, password=None)
            except (ValueError, TypeError) as error:
                raise CertificateRefused("the private key is no readable PEM key") from error
            if key.public_key() == issued.public_key():
                return _key_pem(key)
        raise CertificateRefused(
            "the certificate belongs to none of this agent's keys: was it made for another request?"
        )


def names_address(certificate: x509.Certificate, address: str) -> bool:
    """Whether a strict management server accepts the certificate from this address."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    named = extension.value.get_values_for_type(x509.IPAddress)
    return any(one in named for one in _addresses([address]))


def _addresses(
    texts: Iterable[str],
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for text in texts:
        try:
            address = ipaddress.ip_address(text.split("%", maxsplit=1)[0])
        except ValueError:
            continue  # a name: the certificate's addresses are what counts
        if address not in found:
            found.append(address)
    return found


def _key_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write_private(path: Path, content: bytes) -> None:
    _write(path, content, mode=0o600)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
