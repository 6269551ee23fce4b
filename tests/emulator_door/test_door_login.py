"""Logins: who is offered what, which connection a login belongs to, TLS binding, certificates."""

from __future__ import annotations

import asyncio
import base64
import ssl
from dataclasses import replace

import pytest
import spnego
import trustme
from spnego.channel_bindings import GssChannelBindings
from tests.emulator_door.doors import PASSWORD, OpenDoor
from tests.emulator_door.raw_client import (
    SYSTEM,
    HttpAnswer,
    RawClient,
    basic,
    get,
    machine_key,
)
from tests.emulator_door.small_host import SCHEMA, SmallHost
from tests.emulator_door.tls import Tls

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.door import sealing
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import (
    Account,
    Accounts,
    CbtLevel,
    DoorSettings,
)
from cloudstack_hyperv.emulator.door.uris import MUTUAL_TLS

GOOD = get(SYSTEM, machine_key(1))
IDENTIFY = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd">'
    "<s:Header/><s:Body><i:Identify/></s:Body></s:Envelope>"
)


@pytest.mark.parametrize(
    ("settings", "offers"),
    [
        (DoorSettings(), ["Negotiate"]),
        (DoorSettings(basic=True), ["Negotiate", 'Basic realm="WSMAN"']),
        (
            DoorSettings(basic=True, credssp=True),
            ["Negotiate", "CredSSP", 'Basic realm="WSMAN"'],
        ),
        (DoorSettings(basic=True, negotiate=False), ['Basic realm="WSMAN"']),
    ],
)
async def test_each_enabled_scheme_has_a_line_of_its_own(
    open_door: OpenDoor, settings: DoorSettings, offers: list[str]
) -> None:
    client = await RawClient.connect(await open_door(settings))
    client.authorization = None
    answer = await client.post(GOOD)
    assert (answer.status, answer.body) == (401, b"")
    assert answer.all("WWW-Authenticate") == offers


@pytest.mark.parametrize(
    "authorization",
    [
        basic("Administrator", "wrong"),
        basic("", ""),
        basic("Administrator", ""),
        basic(r"OTHER\Administrator", PASSWORD),
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xff:x").decode(),
        "Negotiate",
        "Negotiate !!!",
        "Negotiate " + base64.b64encode(b"NTLMSSP\0\x09\0\0\0garbage").decode(),
        "Negotiate " + base64.b64encode(b"NTLMSSP\0\x03\0\0\0" + b"\xff" * 80).decode(),
        "Negotiate " + base64.b64encode(b"\x60\x84\xff\xff\xff\xff").decode(),
        "Negotiate " + "A" * 100_000,
        "CredSSP " + base64.b64encode(b"x").decode(),
        "Digest username=x",
        MUTUAL_TLS,
        "\t",
    ],
)
async def test_bad_credentials_get_401_with_every_offer(
    open_door: OpenDoor, authorization: str
) -> None:
    client = await RawClient.connect(await open_door())
    client.authorization = authorization
    answer = await client.post(GOOD)
    assert (answer.status, answer.body) in ((401, b""), (431, b""))
    if answer.status == 401:
        assert answer.all("WWW-Authenticate") == ["Negotiate", 'Basic realm="WSMAN"']
        client.authorization = basic("administrator", PASSWORD)
        assert (await client.post(GOOD)).status == 200


async def test_basic_is_wanted_with_each_request(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    assert (await client.post(GOOD)).status == 200
    client.authorization = None
    assert (await client.post(GOOD)).status == 401


async def ntlm_login(
    client: RawClient,
    *,
    last_body: str = "",
    binding: bytes | None = None,
    password: str = PASSWORD,
) -> tuple[spnego.ContextProxy, HttpAnswer]:
    """Go through the handshake; returns the context and the last answer."""
    bindings = GssChannelBindings(application_data=binding) if binding is not None else None
    context = spnego.client("administrator", password, protocol="ntlm", channel_bindings=bindings)
    token = context.step()
    client.authorization = "Negotiate " + base64.b64encode(token or b"").decode()
    answer = await client.post("")
    assert answer.status == 401
    (challenge,) = answer.all("WWW-Authenticate")
    token = context.step(base64.b64decode(challenge.partition(" ")[2]))
    client.authorization = "Negotiate " + base64.b64encode(token or b"").decode()
    answer = await client.post(last_body)
    client.authorization = None
    return context, answer


async def post_sealed(client: RawClient, context: spnego.ContextProxy, text: str) -> HttpAnswer:
    kind, body = sealing.seal(context, sealing.SPNEGO, text.encode(), "UTF-8")
    answer = await client.post(body, content_type=kind)
    if answer.status in (200, 500):
        assert sealing.is_sealed(answer.header("Content-Type") or "")
        message = sealing.unseal(context, answer.body)
        assert message.content_type == "application/soap+xml;charset=UTF-8"
        return replace(answer, body=message.data)
    return answer


async def test_a_login_belongs_to_its_connection(open_door: OpenDoor) -> None:
    door = await open_door(DoorSettings())
    client = await RawClient.connect(door)
    context, answer = await ntlm_login(client)
    assert (answer.status, answer.body) == (200, b"")
    for _ in range(3):
        assert "vm1" in (await post_sealed(client, context, GOOD)).text
    other = await RawClient.connect(door)
    other.authorization = None
    kind, body = sealing.seal(context, sealing.SPNEGO, GOOD.encode(), "UTF-8")
    assert (await other.post(body, content_type=kind)).status == 401


async def test_faults_are_sealed_too(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door(DoorSettings()))
    context, _ = await ntlm_login(client)
    answer = await post_sealed(client, context, get(SYSTEM, machine_key(99)))
    assert answer.fault == ("a:DestinationUnreachable", 2150858752)


async def test_a_forged_or_replayed_message_ends_the_connection(open_door: OpenDoor) -> None:
    door = await open_door(DoorSettings())
    for damage in ("flip", "replay", "length", "shape"):
        client = await RawClient.connect(door)
        context, _ = await ntlm_login(client)
        kind, body = sealing.seal(context, sealing.SPNEGO, GOOD.encode(), "UTF-8")
        if damage == "replay":
            assert (await client.post(body, content_type=kind)).status == 200
        elif damage == "flip":
            body = body[:-40] + bytes([body[-40] ^ 1]) + body[-39:]
        elif damage == "length":
            body = body.replace(b";Length=", b";Length=1")
        else:
            body = body.replace(b"octet-stream", b"x-unknown")
        assert (await client.post(body, content_type=kind)).status == 400
        assert await client.ended()


async def test_a_second_login_on_the_same_connection_replaces_the_first(
    open_door: OpenDoor,
) -> None:
    client = await RawClient.connect(await open_door(DoorSettings()))
    await ntlm_login(client)
    context, answer = await ntlm_login(client)
    assert answer.status == 200
    assert "vm1" in (await post_sealed(client, context, GOOD)).text
    _, answer = await ntlm_login(client, password="wrong")
    assert answer.status == 401
    assert (await client.post(GOOD)).status == 401


async def test_go_style_login_with_the_body_in_the_last_leg(open_door: OpenDoor) -> None:
    """go-ntlmssp sends the clear request together with the AUTHENTICATE message."""
    client = await RawClient.connect(await open_door())
    _, answer = await ntlm_login(client, last_body=GOOD)
    assert answer.status == 200
    assert "vm1" in answer.text
    assert (await client.post(GOOD)).status == 200


async def test_clear_requests_after_ntlm_are_refused_unless_allowed(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door(DoorSettings()))
    await ntlm_login(client)
    answer = await client.post(GOOD)
    assert answer.fault == ("w:AccessDenied", 5)


async def test_identify_without_a_login_hides_the_version(open_door: OpenDoor) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    answer = await client.post(IDENTIFY)
    assert "<wsmid:ProductVersion>OS: 10.0.17763 SP: 0.0 Stack: 3.0<" in answer.text
    assert "secprofile/http/basic</wsmid:SecurityProfileName>" in answer.text
    client.authorization = None
    quiet = "WSMANIDENTIFY: unauthenticated\r\n"
    answer = await client.post(IDENTIFY, headers=quiet)
    assert answer.status == 200
    assert "<wsmid:ProductVersion>OS: 0.0.0 SP: 0.0 Stack: 3.0<" in answer.text
    assert "SecurityProfile" not in answer.text
    assert (await client.post(IDENTIFY)).status == 401
    assert (await client.post(GOOD, headers=quiet)).status == 401


async def test_a_user_without_rights_may_identify(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    client.authorization = basic("operator", PASSWORD)
    assert (await client.post(IDENTIFY)).status == 200
    assert (await client.post(GOOD)).fault == ("w:AccessDenied", 5)


HTTPS = DoorSettings(http_port=None, https_port=0, basic=True)


async def test_basic_over_https_needs_no_permission(open_door: OpenDoor, tls: Tls) -> None:
    door = await open_door(replace(HTTPS, tls=tls.files))
    assert door.url.startswith("https://127.0.0.1:")
    client = await tls.connect(door)
    assert (await client.post(GOOD)).status == 200


@pytest.mark.parametrize(
    ("level", "binding", "status"),
    [
        ("strict", "right", 200),
        ("strict", "wrong", 401),
        ("strict", "none", 401),
        ("relaxed", "right", 200),
        ("relaxed", "wrong", 401),
        ("relaxed", "none", 200),
        ("none", "wrong", 200),
        ("none", "none", 200),
    ],
)
async def test_channel_binding_levels(
    open_door: OpenDoor, tls: Tls, level: CbtLevel, binding: str, status: int
) -> None:
    settings = replace(HTTPS, tls=tls.files, cbt_hardening=level)
    client = await tls.connect(await open_door(settings))
    sent = {
        "right": tls.binding,
        "wrong": b"tls-server-end-point:" + bytes(32),
        "none": None,
    }[binding]
    _, answer = await ntlm_login(client, binding=sent)
    assert answer.status == status


async def test_client_certificates(open_door: OpenDoor, tls: Tls) -> None:
    account = Account(
        "certified",
        PASSWORD,
        certificate_thumbprints=(tls.thumbprint(tls.known).upper(),),
    )
    settings = replace(HTTPS, tls=tls.files, certificate=True)
    door = await open_door(settings, accounts=(account,))
    client = await tls.connect(door, tls.known)
    client.authorization = MUTUAL_TLS
    assert (await client.post(GOOD)).status == 200
    assert door.server.calls.records[-1].call.caller.mechanism == "certificate"
    client = await tls.connect(door, tls.stranger)
    client.authorization = MUTUAL_TLS
    assert (await client.post(GOOD)).status == 403
    client = await tls.connect(door)
    client.authorization = MUTUAL_TLS
    assert (await client.post(GOOD)).status == 401


async def test_a_certificate_of_another_authority_is_refused(open_door: OpenDoor, tls: Tls) -> None:
    door = await open_door(replace(HTTPS, tls=tls.files, certificate=True))
    foreign = trustme.CA().issue_cert("admin@example.com")
    client = await tls.connect(door, foreign)
    client.authorization = MUTUAL_TLS
    with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
        await client.post(GOOD)


async def test_credssp(open_door: OpenDoor) -> None:
    """Delegated credentials: the only login that reaches a third machine."""
    door = await open_door(DoorSettings(credssp=True))
    client = await RawClient.connect(door)
    context = spnego.client("administrator", PASSWORD, protocol="credssp")
    token = context.step()
    answer = None
    for _ in range(10):
        client.authorization = "CredSSP " + base64.b64encode(token or b"").decode()
        answer = await client.post("")
        if answer.status == 200:
            break
        challenges = answer.all("WWW-Authenticate")
        assert challenges[0].startswith("CredSSP ")
        token = context.step(base64.b64decode(challenges[0].partition(" ")[2]))
    assert answer is not None
    assert answer.status == 200
    client.authorization = None
    kind, body = sealing.seal(context, sealing.CREDSSP, GOOD.encode() + b" " * 40_000, "UTF-8")
    assert kind.startswith("multipart/x-multi-encrypted")
    answer = await client.post(body, content_type=kind)
    assert b"vm1" in sealing.unseal(context, answer.body).data
    caller = door.server.calls.records[-1].call.caller
    assert (caller.mechanism, caller.can_delegate) == ("credssp", True)


def test_an_https_listener_needs_a_certificate() -> None:
    engine = CimEngine(SmallHost(), SCHEMA)
    with pytest.raises(ValueError, match="TLS files"):
        WsmanServer(engine, DoorSettings(https_port=0), Accounts([]))


def test_passwords_stay_out_of_texts() -> None:
    assert PASSWORD not in repr(Account("Administrator", PASSWORD))
