"""Key, request, certificate: an exchange that breaks off leaves a working pair."""

import datetime as dt
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.doors_agent.signing import PrivateCa

from cloudstack_hyperv.config import AgentDoorSettings, ConfigurationError
from cloudstack_hyperv.doors.agent.certificates import (
    CertificateRefused,
    CertificateStore,
    names_address,
)
from cloudstack_hyperv.link import (
    LinkIdentity,
    PinnedCertificate,
    TrustAnything,
    TrustedAuthorities,
    client_context,
)

ADDRESSES = ("10.1.1.20", "10.1.1.9", "10.1.1.9", "hv1.example", "fe80::1%eth0")


def store(folder: Path, **door: Any) -> CertificateStore:
    return CertificateStore(folder, AgentDoorSettings(**door))


def test_the_request_names_the_host_s_and_our_addresses(tmp_path: Path) -> None:
    request = x509.load_pem_x509_csr(store(tmp_path).new_request("hv1", ADDRESSES).encode())
    assert request.is_signature_valid
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == [
        "10.1.1.20",
        "10.1.1.9",
        "fe80::1",
    ]
    assert names.get_values_for_type(x509.DNSName) == ["hv1"]
    key = request.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048


def test_a_signed_request_becomes_the_identity(tmp_path: Path) -> None:
    one = store(tmp_path, trust_any_server=True)
    assert one.identity() is None
    assert one.trust() == TrustAnything()
    ca = PrivateCa()
    issued = one.install(ca.sign(one.new_request("hv1", ADDRESSES)), "", ca.pem)
    assert names_address(issued, "10.1.1.9")
    assert not names_address(issued, "10.1.1.8")
    identity = one.identity()
    assert identity is not None
    assert identity.key.stat().st_mode & 0o777 == 0o600
    assert one.trust() == TrustedAuthorities(tmp_path / "cloud.ca.crt")
    client_context(one.trust(), identity)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cloud.ca.crt", "cloud.pem"]


def test_a_key_that_comes_with_the_certificate_is_used(tmp_path: Path) -> None:
    ca = PrivateCa()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    one = store(tmp_path)
    one.install(ca.issue(key.public_key(), ()), pem, ca.pem)
    identity = one.identity()
    assert identity is not None
    client_context(TrustAnything(), identity)


def test_an_exchange_that_breaks_off_leaves_the_old_pair(tmp_path: Path) -> None:
    one = store(tmp_path)
    ca = PrivateCa()
    one.install(ca.sign(one.new_request("hv1", ADDRESSES)), "", ca.pem)
    before = (tmp_path / "cloud.pem").read_bytes()
    one.new_request("hv1", ADDRESSES)
    assert (tmp_path / "cloud.pem").read_bytes() == before
    other = store(tmp_path / "elsewhere").new_request("hv2", ADDRESSES)
    with pytest.raises(CertificateRefused, match="none of this agent's keys"):
        one.install(ca.sign(other), "", ca.pem)
    assert (tmp_path / "cloud.pem").read_bytes() == before


def test_a_renewal_for_the_key_in_use(tmp_path: Path) -> None:
    one = store(tmp_path)
    ca = PrivateCa()
    request = one.new_request("hv1", ADDRESSES)
    one.install(ca.sign(request), "", ca.pem)
    one.install(ca.sign(request), "", "")
    assert one.trust() == TrustedAuthorities(tmp_path / "cloud.ca.crt")


@pytest.mark.parametrize(
    ("certificate", "key", "authorities"),
    [
        ("", "", ""),
        ("nonsense", "", ""),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "", ""),
        ("good", "nonsense", ""),
        ("good", "", "nonsense"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, certificate: str, key: str, authorities: str) -> None:
    one = store(tmp_path)
    request = one.new_request("hv1", ADDRESSES)
    if certificate == "good":
        certificate = PrivateCa().sign(request)
    with pytest.raises(CertificateRefused) as caught:
        one.install(certificate, key, authorities)
    assert "nonsense" not in str(caught.value)
    assert one.identity() is None


def test_whom_to_trust_in_which_order(tmp_path: Path) -> None:
    (tmp_path / "cloud.ca.crt").write_text("bundle")
    fingerprints = ("ab" * 32,)
    assert store(tmp_path, ca_file="/ca", server_fingerprints=fingerprints).trust() == (
        TrustedAuthorities(Path("/ca"))
    )
    assert store(tmp_path, server_fingerprints=fingerprints).trust() == (
        PinnedCertificate(fingerprints)
    )
    assert store(tmp_path, trust_any_server=True).trust() == (
        TrustedAuthorities(tmp_path / "cloud.ca.crt")
    )
    with pytest.raises(ConfigurationError, match="ca_file"):
        store(tmp_path / "empty").trust()


def test_whose_certificate_in_which_order(tmp_path: Path) -> None:
    one = store(tmp_path, certificate="/own.crt", key="/own.key")
    assert one.identity() == LinkIdentity(Path("/own.crt"), Path("/own.key"))
    (tmp_path / "cloud.crt").write_text("x")
    assert one.identity() == LinkIdentity(Path("/own.crt"), Path("/own.key"))
    (tmp_path / "cloud.key").write_text("x")
    assert one.identity() == LinkIdentity(tmp_path / "cloud.crt", tmp_path / "cloud.key")
    (tmp_path / "cloud.pem").write_text("x")
    assert one.identity() == LinkIdentity(tmp_path / "cloud.pem", tmp_path / "cloud.pem")


def test_signing_is_what_cloudstack_s_root_ca_does() -> None:
    """The test's CA copies the request's alternative names, as RootCAProvider does."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("10.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = PrivateCa().sign(request.public_bytes(serialization.Encoding.PEM).decode())
    issued = x509.load_pem_x509_certificate(pem.encode())
    assert names_address(issued, "10.0.0.1")
    assert issued.not_valid_after_utc > dt.datetime.now(dt.UTC)
