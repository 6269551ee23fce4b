"""The door's certificate: given by the operator, or made on first start.

A stock management server accepts any certificate and any host name on this door
(HypervDirectConnectResource trusts everything), so a self-signed one serves; it keeps the traffic
from being read in passing and nothing more.  Who may talk is decided by the allow-list.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

VALIDITY = dt.timedelta(days=3650)


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and 1.3 with this certificate (and key, if not in one file)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.load_cert_chain(certificate, key)
    return context


def require_client_certificates(context: ssl.SSLContext, authorities: Path) -> None:
    """Serve only callers with a certificate that chains to one of these authorities.

    Raises OSError when the file cannot be used.  A stock management server shows no certificate:
    this is for one behind a proxy that does.
    """
    context.load_verify_locations(authorities)
    context.verify_mode = ssl.CERT_REQUIRED


def own_certificate(folder: Path, addresses: list[str]) -> tuple[Path, Path]:
    """Return certificate and key files in `folder`, made now if they are not there yet.

    The key is readable by its owner only.  `addresses` become subject alternative names.
    """
    certificate, key = folder / "direct.crt", folder / "direct.key"
    if certificate.exists() and key.exists():
        return certificate, key
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloudstack-hyperv")])
    now = dt.datetime.now(dt.UTC)
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(address)) for address in sorted(set(addresses))
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    signed = builder.sign(private, hashes.SHA256())
    _write_private(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _write_private(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
