"""Logging in: every scheme, TLS and channel binding, refusals, and not locking the account."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from spnego.channel_bindings import GssChannelBindings
from tests.wsman.scripted_host import PASSWORD, USER, Answer, Request, ScriptedHost, machine, whole
from tests.wsman.stage import VM, login, on_stage, plays

from cloudstack_hyperv.wsman import (
    AuthenticationFailed,
    AuthScheme,
    Credentials,
    Endpoint,
    HostUnreachable,
    WsmanClient,
    wql,
)
from cloudstack_hyperv.wsman.auth import TokenLogin

WRONG = "wrong-Passw0rd"


@pytest.mark.parametrize("scheme", [AuthScheme.NTLM, AuthScheme.BASIC, AuthScheme.NEGOTIATE])
async def test_a_wrong_password_is_tried_once_and_then_not_for_a_while(scheme: AuthScheme) -> None:
    async with on_stage(plays(Answer(machine("a"))), login(scheme, WRONG)) as (client, host):
        calls = [client.get(VM) for _ in range(6)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, AuthenticationFailed) for result in results)
        assert host.refused_logins == 1
        assert not any(WRONG in str(result) for result in results)
        assert "not tried again for" in str(results[-1])


async def test_changed_credentials_are_tried_at_once() -> None:
    async with on_stage(plays(Answer(machine("a"))), login(password=WRONG)) as (client, host):
        with pytest.raises(AuthenticationFailed):
            await client.get(VM)
        client.use_credentials(login(password=WRONG))
        with pytest.raises(AuthenticationFailed, match="not tried again"):
            await client.get(VM)
        client.use_credentials(login())
        assert (await client.get(VM)).string("ElementName") == "a"
        assert (host.refused_logins, host.logins) == (1, 1)


async def test_the_pause_after_a_failed_login_ends() -> None:
    script = plays(Answer(machine("a")))
    async with on_stage(script, failed_login_pause=0.1) as (client, host):
        host.accept_logins = False
        with pytest.raises(AuthenticationFailed):
            await client.get(VM)
        host.accept_logins = True
        await asyncio.sleep(0.15)
        await client.get(VM)


async def test_once_a_login_succeeded_connections_are_made_side_by_side() -> None:
    async def script(_: Request) -> Answer:
        await asyncio.sleep(0.05)
        return Answer(machine("a"))

    async with on_stage(script) as (client, host):
        await asyncio.gather(*(client.get(VM) for _ in range(20)))
        assert 2 <= host.most_connections <= 8


async def test_a_session_that_the_host_forgot_is_logged_in_again_once() -> None:
    def script(request: Request) -> Answer:
        if len(host.requests) == 2:
            return Answer(status=401, clear=True, headers=[("WWW-Authenticate", "Negotiate")])
        return Answer(machine("a"))

    async with on_stage(script) as (client, host):
        await client.get(VM)
        await client.get(VM)
        assert (host.connections, host.logins) == (2, 2)
        await client.get(VM)


async def test_a_scheme_that_is_not_offered_is_named_with_those_that_are() -> None:
    offers = ("Kerberos", 'Basic realm="WSMAN"')
    async with on_stage(plays(Answer("")), offers=offers) as (client, _):
        with pytest.raises(AuthenticationFailed, match="Negotiate, it offers Basic, Kerberos"):
            await client.get(VM)
    async with on_stage(plays(Answer("")), login(AuthScheme.BASIC), offers=("Negotiate",)) as (
        client,
        host,
    ):
        host.accept_logins = False
        with pytest.raises(AuthenticationFailed, match="does not offer Basic"):
            await client.get(VM)


def test_basic_over_plain_http_is_refused_unless_allowed() -> None:
    endpoint = Endpoint("hv1", https=False)
    with pytest.raises(ValueError, match="clear text"):
        WsmanClient(endpoint, Credentials(AuthScheme.BASIC, USER, PASSWORD))
    WsmanClient(endpoint, Credentials(AuthScheme.BASIC, USER, PASSWORD, allow_clear_text=True))
    WsmanClient(replace(endpoint, https=True), Credentials(AuthScheme.BASIC, USER, PASSWORD))


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        (Credentials(AuthScheme.NTLM), "needs a user name"),
        (Credentials(AuthScheme.CERTIFICATE), "needs https"),
    ],
)
def test_impossible_combinations_are_refused(credentials: Credentials, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WsmanClient(Endpoint("hv1", https=False), credentials)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": "a b"},
        {"host": "a/b"},
        {"host": "a\r\nX: y"},
        {"server_name": "a\n"},
        {"path": "wsman"},
        {"path": "/ws man"},
        {"path": "/w HTTP/1.1\r\nX: y"},
        {"port": 65536},
        {"port": -1},
        {"certificate_sha256": "ab:cd"},
        {"certificate_sha256": "g" * 64},
    ],
)
def test_endpoints_that_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not a|not the"):
        Endpoint(**{"host": "hv1", **wrong})


def test_the_forms_of_an_endpoint() -> None:
    assert Endpoint("hv1").url == "https://hv1:5986/wsman"
    assert Endpoint("fe80::1%eth0", https=False).url == "http://[fe80::1%eth0]:5985/wsman"
    assert Endpoint("10.1.1.1", 8000, server_name="hv1.example.org").name == "hv1.example.org"


def test_secrets_are_in_no_repr() -> None:
    credentials = Credentials(
        AuthScheme.CERTIFICATE, USER, PASSWORD, private_key_password="key-secret"
    )
    assert PASSWORD not in repr(credentials)
    assert "key-secret" not in repr(credentials)


def test_kerberos_without_its_extra_says_so() -> None:
    try:
        import gssapi  # type: ignore[import-not-found]  # noqa: F401 - optional
    except ImportError:
        pass
    else:
        pytest.skip("the kerberos extra is installed")
    with pytest.raises(AuthenticationFailed, match="`kerberos` extra"):
        TokenLogin(Credentials(AuthScheme.KERBEROS, "user@EXAMPLE.ORG", PASSWORD), "hv1").first()


@pytest.mark.parametrize("size", [10, 16 * 1024 + 1, 100_000])
async def test_credssp_seals_long_messages_in_several_parts(size: int) -> None:
    script = plays(Answer(whole(machine("x" * size))))
    async with on_stage(
        script, login(AuthScheme.CREDSSP), offers=("CredSSP",), protocol="credssp"
    ) as (client, host):
        for _ in range(2):
            select = wql.Select("Msvm_ComputerSystem", wql.equals("ElementName", "y" * size))
            (row,) = await client.query(select)
            assert row.string("ElementName") == "x" * size
            assert "y" * size in host.requests[-1].text
        assert host.logins == 1


class Authority:
    """A certificate authority and what it signed, as files."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.server = self.ca.issue_cert("127.0.0.1", "hv1.example.org")
        self.client = self.ca.issue_cert("agent@localhost")
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.client_file = folder / "client.pem"
        self.client.private_key_and_cert_chain_pem.write_to_path(self.client_file)
        pem = self.server.cert_chain_pems[0].bytes()
        self.server_der = load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        self.fingerprint = hashlib.sha256(self.server_der).hexdigest()

    def server_context(self, *, ask_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.configure_cert(context)
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def over_tls(
    authority: Authority, credentials: Credentials, *, ask_client: bool = False, **endpoint: Any
) -> AsyncIterator[tuple[WsmanClient, ScriptedHost]]:
    digest = hashlib.sha256(authority.server_der).digest()
    scripted = ScriptedHost(
        plays(Answer(machine("a"))),
        tls=authority.server_context(ask_client=ask_client),
        bindings=GssChannelBindings(application_data=b"tls-server-end-point:" + digest),
    )
    async with scripted.running() as host:
        where = Endpoint("127.0.0.1", host.port, **{"ca_file": authority.ca_file, **endpoint})
        client = WsmanClient(where, credentials, default_timeout=5)
        try:
            yield client, host
        finally:
            await client.close()


@pytest.mark.parametrize("scheme", [AuthScheme.NTLM, AuthScheme.BASIC, AuthScheme.NEGOTIATE])
async def test_over_https_messages_are_not_sealed_twice(
    authority: Authority, scheme: AuthScheme
) -> None:
    async with over_tls(authority, login(scheme)) as (client, host):
        for _ in range(2):
            assert (await client.get(VM)).string("ElementName") == "a"
        assert host.connections == 1


async def test_over_https_a_host_may_want_a_login_with_every_request(authority: Authority) -> None:
    async with over_tls(authority, login()) as (client, host):
        host.forgets_logins = True
        for number in range(3):
            assert (await client.get(VM)).string("ElementName") == "a"
            assert host.logins == number + 1
        assert host.connections == 1


async def test_a_login_is_bound_to_the_channel(authority: Authority) -> None:
    """A host that expects another binding (a man in the middle relayed the login) refuses it."""
    async with over_tls(authority, login()) as (client, host):
        host.bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + bytes(32))
        with pytest.raises(AuthenticationFailed):
            await client.get(VM)


async def test_a_certificate_logs_in(authority: Authority) -> None:
    credentials = Credentials(AuthScheme.CERTIFICATE, certificate=authority.client_file)
    async with over_tls(authority, credentials, ask_client=True) as (client, host):
        assert (await client.get(VM)).string("ElementName") == "a"
        assert host.authorizations[0].endswith("/secprofile/https/mutual")


async def test_a_certificate_that_the_host_does_not_want_is_no_login(authority: Authority) -> None:
    credentials = Credentials(AuthScheme.CERTIFICATE, certificate=authority.client_file)
    async with over_tls(authority, credentials) as (client, _):
        with pytest.raises(AuthenticationFailed, match="client certificate"):
            await client.get(VM)


async def test_an_unknown_authority_is_not_trusted(authority: Authority) -> None:
    async with over_tls(authority, login(AuthScheme.BASIC), ca_file=None) as (client, host):
        with pytest.raises(HostUnreachable, match="TLS failed"):
            await client.get(VM)
        assert host.authorizations == [], "no password was sent"


async def test_the_name_in_the_certificate_counts(authority: Authority) -> None:
    async with over_tls(authority, login(), server_name="hv1.example.org") as (client, _):
        await client.get(VM)
    async with over_tls(authority, login(), server_name="hv2.example.org") as (client, _):
        with pytest.raises(HostUnreachable, match="TLS failed"):
            await client.get(VM)


async def test_a_pinned_certificate_is_trusted_and_no_other(authority: Authority) -> None:
    shown = ":".join(authority.fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
    basic = login(AuthScheme.BASIC)
    async with over_tls(authority, basic, ca_file=None, certificate_sha256=shown) as (client, _):
        await client.get(VM)
    async with over_tls(authority, basic, certificate_sha256="00" * 32) as (client, host):
        with pytest.raises(HostUnreachable, match=authority.fingerprint):
            await client.get(VM)
        assert host.authorizations == []
