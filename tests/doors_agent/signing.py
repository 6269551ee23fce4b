"""A private CA that signs requests as CloudStack's RootCAProvider does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
)
from cryptography.x509.oid import NameOID

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca.cloudstack.apache.org")])


class PrivateCa:
    """Signs with a key of its own, or with one that is handed in."""

    def __init__(
        self,
        key: CertificateIssuerPrivateKeyTypes | None = None,
        certificate: x509.Certificate | None = None,
    ) -> None:
        self._key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._own = certificate

    @cached_property
    def pem(self) -> str:
        """The CA's certificate."""
        own = self._own or self._make(
            _NAME, self._key.public_key(), (), x509.BasicConstraints(ca=True, path_length=None)
        )
        return own.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, request: str) -> str:
        """Return the certificate for a request, with the alternative names it asks for."""
        asked = x509.load_pem_x509_csr(request.encode())
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return self.issue(asked.public_key(), names)

    def issue(self, key: CertificatePublicKeyTypes, names: Iterable[x509.GeneralName]) -> str:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hv1")])
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        made = self._make(subject, key, names, constraints)
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def _make(
        self,
        subject: x509.Name,
        key: CertificatePublicKeyTypes,
        names: Iterable[x509.GeneralName],
        constraints: x509.BasicConstraints,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._own.subject if self._own is not None else _NAME)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=365))
            .add_extension(constraints, critical=True)
        )
        listed = list(names)
        if listed:
            builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=False)
        return builder.sign(self._key, hashes.SHA256())
