"""TLS 1.2 without a socket: records in, records out, and whom to believe.

Only TLS 1.2 is offered: with 1.3 the Java server sends a session ticket bare behind the handshake,
which would be taken for a packet header.  No tickets and no renegotiation either.  The server's
certificate is signed by CloudStack's private CA and its names are not checked by any agent; so it
is checked against that CA, or pinned by its fingerprint, or, only where somebody wrote so, not at
all.

Sources: CloudStack's com.cloud.utils.nio.Link, org.apache.cloudstack.utils.security.SSLUtils and
RootCACustomTrustManager.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from dataclasses import dataclass
from pathlib import Path

from cloudstack_hyperv.wire import MOST_PLAIN, LinkBroken, RecordReader, check_packet, packet

_READ_SIZE = 65536


class ServerNotTrusted(Exception):
    """The server's certificate is not the one that was agreed on."""


@dataclass(frozen=True, slots=True)
class TrustedAuthorities:
    """The server's certificate must chain to a CA in this PEM bundle; its names mean nothing."""

    bundle: Path


@dataclass(frozen=True, slots=True)
class PinnedCertificate:
    """The server's certificate must have one of these SHA-256 fingerprints, in hex."""

    fingerprints: tuple[str, ...]

    def accepts(self, certificate: bytes) -> bool:
        """Whether the DER certificate is a pinned one."""
        found = hashlib.sha256(certificate).hexdigest()
        return any(
            hmac.compare_digest(found, one.replace(":", "").strip().lower())
            for one in self.fingerprints
        )


@dataclass(frozen=True, slots=True)
class TrustAnything:
    """Any server is believed: whoever answers there may command the host."""


ServerTrust = TrustedAuthorities | PinnedCertificate | TrustAnything


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """The agent's own certificate and key, PEM files."""

    certificate: Path
    key: Path


def client_context(trust: ServerTrust, identity: LinkIdentity | None) -> ssl.SSLContext:
    """Return the context for one connection; raises OSError (ssl.SSLError) for unusable files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    match trust:
        case TrustedAuthorities(bundle):
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cafile=bundle)
        case PinnedCertificate() | TrustAnything():
            context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


class TlsEngine:
    """The client's half of a TLS session: first the bare handshake, then packets.

    Every method that takes bytes raises LinkBroken (or ServerNotTrusted) for what must close the
    connection.
    """

    def __init__(self, context: ssl.SSLContext, trust: ServerTrust) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=False)
        self._trust = trust
        self._records = RecordReader()
        self.is_ready = False
        """Whether the handshake is done: packets from here on."""

    def start(self) -> bytes:
        """Return the first bytes of the handshake."""
        self._step()
        return self._outgoing.read()

    def handshake(self, data: bytes) -> bytes:
        """Take handshake bytes and return those to send.

        One record is taken at a time: what the server sent behind its last one is no TLS record
        but the first packet, and is to be fetched with `rest`.
        """
        self._records.receive(data)
        while not self.is_ready:
            record = self._records.next_record()
            if record is None:
                break
            self._incoming.write(record)
            self._step()
        return self._outgoing.read()

    def alert(self) -> bytes:
        """Return what TLS still has to say after a failed handshake (an alert), maybe nothing."""
        return self._outgoing.read()

    def rest(self) -> bytes:
        """Return the bytes that came behind the handshake."""
        return self._records.rest()

    def encrypt(self, frame: bytes) -> bytes:
        """Return a frame as packets, one TLS record each, each with its clear header."""
        view = memoryview(frame)
        packets: list[bytes] = []
        for start in range(0, len(frame), MOST_PLAIN):
            self._tls.write(view[start : start + MOST_PLAIN])
            more = start + MOST_PLAIN < len(frame)
            packets.append(packet(self._outgoing.read(), more_follows=more))
        return packets[0] if len(packets) == 1 else b"".join(packets)

    def decrypt(self, content: bytes) -> bytes | None:
        """Return what a packet's TLS bytes say; None when the peer said goodbye (close_notify)."""
        check_packet(content)
        self._incoming.write(content)
        plain: list[bytes] = []
        try:
            while self._incoming.pending or self._tls.pending():
                got = self._tls.read(_READ_SIZE)
                if not got:
                    return None
                plain.append(got)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            return None
        except ssl.SSLError as error:
            raise LinkBroken(f"TLS: {error.reason or error}") from error
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def peer_certificate(self) -> bytes:
        """Return the server's certificate, DER."""
        return self._tls.getpeercert(binary_form=True) or b""

    @property
    def description(self) -> str:
        """Version and cipher, for the log."""
        cipher = self._tls.cipher()
        return f"{self._tls.version()} {cipher[0] if cipher else '?'}"

    def _step(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLCertVerificationError as error:
            raise ServerNotTrusted(
                f"the management server's certificate is not trusted: {error.verify_message}"
            ) from error
        except ssl.SSLError as error:
            raise LinkBroken(_handshake_failure(error)) from error
        if isinstance(self._trust, PinnedCertificate) and not self._trust.accepts(
            self.peer_certificate()
        ):
            found = hashlib.sha256(self.peer_certificate()).hexdigest()
            raise ServerNotTrusted(
                f"the management server's certificate has the fingerprint {found}, not a pinned one"
            )
        self.is_ready = True


_CERTIFICATE_ALERTS = ("BAD_CERTIFICATE", "CERTIFICATE_REQUIRED", "CERTIFICATE_UNKNOWN")


def _handshake_failure(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    if any(alert in reason for alert in _CERTIFICATE_ALERTS):
        return (
            f"TLS handshake: {reason}: the management server demands a client certificate, and one "
            "that names this agent's address (its setting ca.plugin.root.auth.strictness is true)"
        )
    if "HANDSHAKE_FAILURE" in reason:
        return (
            f"TLS handshake: {reason}: the management server demands a client certificate, or has "
            "no cipher in common with this agent"
        )
    if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return f"TLS handshake: {reason}: the management server does not accept TLS 1.2"
    return f"TLS handshake: {reason}"
