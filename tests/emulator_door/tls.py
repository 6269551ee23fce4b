"""Certificates for one test's https listener and clients."""

from __future__ import annotations

import asyncio
import ssl
from hashlib import sha1
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.emulator_door.doors import Door
from tests.emulator_door.raw_client import RawClient

from cloudstack_hyperv.emulator.door.authentication import tls_server_end_point
from cloudstack_hyperv.emulator.door.settings import TlsFiles


class Tls:
    """A certificate authority, a server certificate, two client certificates."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        self.files = TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
        server.cert_chain_pems[0].write_to_path(self.files.certificate)
        server.private_key_pem.write_to_path(self.files.private_key)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        self.binding = tls_server_end_point(self.files.certificate.read_bytes())
        self.authority = authority
        self.known = authority.issue_cert("admin@example.com")
        self.stranger = authority.issue_cert("someone@example.com")

    def client(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context

    async def connect(self, door: Door, certificate: trustme.LeafCert | None = None) -> RawClient:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", door.port, ssl=self.client(certificate), server_hostname="127.0.0.1"
        )
        client = RawClient(reader, writer)
        RawClient.opened.append(client)
        return client

    @staticmethod
    def thumbprint(certificate: trustme.LeafCert) -> str:
        """SHA-1 of the certificate, as Windows's certificate mappings name it."""
        loaded = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
        return sha1(loaded.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest()
