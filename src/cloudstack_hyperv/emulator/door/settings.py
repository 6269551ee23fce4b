"""What an administrator can set on a host's WinRM service, and the accounts it knows.

Names and defaults follow `winrm get winrm/config` (Microsoft, "Installation and configuration for
Windows Remote Management").  Two defaults are not Windows's, both about reaching the emulated host
at all: it listens on loopback, and ports default to 0 (any free one).
"""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

CbtLevel = Literal["none", "relaxed", "strict"]

WINDOWS_VERSIONS: Final = {
    "2012": "6.2.9200",
    "2012r2": "6.3.9600",
    "2016": "10.0.14393",
    "2019": "10.0.17763",
    "2022": "10.0.20348",
    "2025": "10.0.26100",
    "client-11": "10.0.26100",
}
"""Release -> operating system version in the answer to Identify."""


@dataclass(frozen=True, slots=True)
class Account:
    """A local account of the host.

    `administrator` False stands for a user whom WinRM's root security descriptor does not let in:
    the login works, every operation is refused.
    """

    name: str
    password: str = field(repr=False)
    administrator: bool = True
    domain: str = ""
    """NetBIOS domain for a domain account, which Basic refuses; "" for a local one."""
    certificate_thumbprints: tuple[str, ...] = ()
    """SHA-1 thumbprints (hex) of client certificates mapped to this account."""


class Accounts:
    """The accounts of one host; names are compared without letter case."""

    def __init__(self, accounts: Iterable[Account], machine_name: str = "") -> None:
        self._accounts = tuple(accounts)
        self._machine = machine_name.lower()

    def find(self, name: str, domain: str = "") -> Account | None:
        r"""Return the account that `domain\name` logs in as, None if there is none.

        A domain account answers to its own domain name only.  For any other domain name, its own
        machine name and "." among them, a machine looks among its local accounts.
        """
        name, domain = name.lower(), domain.lower()
        matching = [each for each in self._accounts if each.name.lower() == name]
        for each in matching:
            if each.domain and each.domain.lower() == domain:
                return each
        return next((each for each in matching if not each.domain), None)

    def set_password(self, name: str, password: str) -> None:
        """Change an account's password; KeyError for an unknown account.

        Connections that are logged in stay so, as on Windows.
        """
        account = self.find(name)
        if account is None:
            raise KeyError(name)
        changed = dataclasses.replace(account, password=password)
        self._accounts = tuple(changed if each is account else each for each in self._accounts)

    def check(self, name: str, password: str) -> Account | None:
        r"""Return the local account for a Basic login (`name`, `.\name`, `HOST\name`), or None."""
        domain, _, plain = name.rpartition("\\")
        if domain.lower() not in ("", ".", self._machine):
            return None
        account = self.find(plain)
        expected = account.password if account is not None else ""
        matches = hmac.compare_digest(password.encode(), expected.encode())
        return account if matches and account is not None and not account.domain else None

    def by_certificate(self, thumbprint: str) -> Account | None:
        """Return the account that a client certificate (SHA-1 hex) is mapped to, or None."""
        wanted = thumbprint.lower()
        for each in self._accounts:
            if wanted in (known.lower() for known in each.certificate_thumbprints):
                return each
        return None

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the https listener."""

    certificate: Path
    """The server's certificate, followed by its chain."""
    private_key: Path
    client_ca: Path | None = None
    """CAs of client certificates; needed for certificate logins."""


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Settings of the WS-Management service of one emulated host."""

    address: str = "127.0.0.1"
    http_port: int | None = 0
    """None: no http listener."""
    https_port: int | None = None
    tls: TlsFiles | None = None

    basic: bool = False
    negotiate: bool = True
    certificate: bool = False
    credssp: bool = False
    allow_unencrypted: bool = False
    cbt_hardening: CbtLevel = "relaxed"

    max_envelope_kb: int = 500
    max_timeout_ms: int = 60_000
    max_batch_items: int = 32_000
    enumeration_timeout_ms: int = 60_000
    max_concurrent_operations_per_user: int = 1500
    max_connections: int = 300
    max_packet_retrieval_s: float = 120.0
    """How long one request may take to arrive, from its first byte."""
    idle_timeout_s: float = 120.0
    """How long a connection may be silent between requests (HTTP.SYS's ConnectionTimeout)."""

    language: str = "en-US"
    """Language of the host: `xml:lang` of its answers."""
    wql_refused_in: frozenset[str] = frozenset()
    """Namespaces in which any WQL is answered CannotProcessFilter, as a Windows 11 host was seen to
    do in root/virtualization/v2 (notes of r4sd/go-wsman)."""
    enforced: frozenset[str] = frozenset()
    """Names of leniencies (see `leniencies`) that this host does not grant."""
