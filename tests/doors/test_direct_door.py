"""The direct door over real TLS sockets: shapes, statuses, limits, bad input.

The Hyper-V host behind it is a port that nobody listens at, which is real too: what needs a host
is in tests/end_to_end.
"""

import asyncio
import json
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudstack_hyperv.config import DirectDoorSettings, HostSettings, Settings, WinrmSettings
from cloudstack_hyperv.doors.direct.server import DirectDoor, DoorCannotOpen
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient

STOP = "com.cloud.agent.api.StopCommand"
READY = "com.cloud.agent.api.ReadyCommand"


@dataclass
class OpenDoor:
    door: DirectDoor
    port: int

    async def exchange(self, raw: bytes, *, timeout: float = 20) -> bytes:
        """Send raw bytes over TLS and read until the door closes or says its whole answer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context)
        try:
            writer.write(raw)
            await writer.drain()
            return await asyncio.wait_for(_one_response(reader), timeout)
        finally:
            writer.close()

    async def post(self, name: str, body: bytes) -> tuple[int, Any]:
        head = (
            f"POST /api/HypervResource/{name} HTTP/1.1\r\nHost: h\r\n"
            f"content-type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        answer = await self.exchange(head.encode() + body)
        top, _, content = answer.partition(b"\r\n\r\n")
        status = int(top.split()[1])
        try:
            return status, json.loads(content)
        except ValueError:
            return status, content.decode()


async def _one_response(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    return head + await reader.readexactly(length)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resource(**host: Any) -> Resource:
    port = closed_port()
    winrm = WinrmSettings(address="127.0.0.1", port=port, transport="http", user="u")
    settings = Settings(hosts=(HostSettings(name="hv1", winrm=winrm, **host),))
    client = WsmanClient(
        Endpoint("127.0.0.1", port, https=False),
        Credentials(AuthScheme.NTLM, "u", "p"),
        connect_timeout=2,
    )
    return Resource(HostContext(settings, settings.hosts[0], client, FolderFiles(())))


def door_settings(**changes: Any) -> DirectDoorSettings:
    return DirectDoorSettings(**{"port": 0, "allow": ("127.0.0.1",), **changes})


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[OpenDoor]:
    one = resource(listen="127.0.0.1")
    opened = DirectDoor([one], door_settings(max_body_bytes=100_000), tmp_path)
    listening = await opened.start()
    yield OpenDoor(opened, listening[0].port)
    await opened.stop(drain=1)
    await one.context.cim.close()


async def test_a_failing_command_answers_its_own_class(door: OpenDoor) -> None:
    status, body = await door.post(READY, b'{"contextMap":{},"wait":0}')
    assert status == 200
    assert list(body[0]) == ["com.cloud.agent.api.ReadyAnswer"]
    answer = body[0]["com.cloud.agent.api.ReadyAnswer"]
    assert answer["result"] is False
    assert "cannot reach" in answer["details"]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("com.cloud.agent.api.NoSuchCommand", 404),
        ("StopCommand", 404),
        ("../../etc/passwd", 404),
        (STOP + "/x", 404),
        ("%00", 404),
    ],
)
async def test_a_wrong_class_in_the_url_is_404(door: OpenDoor, name: str, status: int) -> None:
    assert (await door.post(name, b"{}"))[0] == status


async def test_an_unsupported_command_says_so(door: OpenDoor) -> None:
    status, body = await door.post("com.cloud.agent.api.SetupMSListCommand", b"{}")
    assert status in (200, 404)
    if status == 200:
        assert "UnsupportedAnswer" in next(iter(body[0]))


@pytest.mark.parametrize("body", [b"", b"{", b"[1,2", b"\xff\xfe", b'"text"', b"[]", b"nul", b"7"])
async def test_what_is_no_json_object_is_400(door: OpenDoor, body: bytes) -> None:
    status, text = await door.post(STOP, body)
    assert status == 400
    assert text.strip()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"vmName":{"a":1}}', "vmName"),
        (b'{"vmName":"i-2-3-VM","forceStop":1}', "forceStop"),
        (b'{"vmName":"i-2-3-VM","wait":"soon"}', "wait"),
    ],
)
async def test_a_wrong_type_answers_the_command_s_class(
    door: OpenDoor, body: bytes, word: str
) -> None:
    status, answered = await door.post(STOP, body)
    assert status == 200
    answer = answered[0]["com.cloud.agent.api.StopAnswer"]
    assert answer["result"] is False
    assert word in answer["details"]


async def test_latin_1_bodies_are_read(door: OpenDoor) -> None:
    body = '{"vmName":"i-2-3-VM","controlIp":"é"}'.encode("iso-8859-1")
    status, answered = await door.post(STOP, body)
    assert status == 200
    assert answered[0]["com.cloud.agent.api.StopAnswer"]["result"] is False


async def test_a_state_report_that_fails_is_500_never_a_list(door: OpenDoor) -> None:
    status, body = await door.post("org.apache.cloudstack.HostVmStateReportCommand", b"{}")
    assert status == 500
    assert not isinstance(body, list)


async def test_a_startup_that_fails_is_an_error_never_half_filled(door: OpenDoor) -> None:
    startup = [
        {
            "com.cloud.agent.api.StartupRoutingCommand": {
                "dataCenter": "1",
                "pod": "1",
                "cluster": "1",
                "guid": "g",
                "name": "10.1.1.20",
                "privateIpAddress": "10.1.1.20",
                "hypervisorType": "Hyperv",
                "type": "Routing",
            }
        }
    ]
    url = "com.cloud.agent.api.StartupCommand"
    assert (await door.post(url, json.dumps(startup).encode()))[0] == 500
    assert (await door.post(url, b"{}"))[0] == 400
    assert (await door.post(url, b'[{"com.cloud.agent.api.StopCommand":{}}]'))[0] == 400


async def test_a_200_mb_body_is_refused_before_it_is_read(door: OpenDoor) -> None:
    head = (
        f"POST /api/HypervResource/{STOP} HTTP/1.1\r\nHost: h\r\nContent-Length: {200 * 2**20}"
        "\r\n\r\n"
    )
    answer = await door.exchange(head.encode())
    assert b" 413 " in answer.split(b"\r\n")[0]
    chunked = (
        f"POST /api/HypervResource/{STOP} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode() + b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(10))
    answer = await door.exchange(chunked)
    assert b" 413 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"GET /api/HypervResource/{STOP}", b"405"),
        ("POST /", b"404"),
        ("POST /api/other/x", b"404"),
    ],
)
async def test_other_methods_and_paths(door: OpenDoor, line: str, status: bytes) -> None:
    answer = await door.exchange(
        f"{line} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert answer.split()[1] == status


async def test_slow_senders_are_dropped(tmp_path: Path) -> None:
    one = resource(listen="127.0.0.1")
    settings = door_settings(header_timeout=0.3, body_timeout=0.3)
    opened = DirectDoor([one], settings, tmp_path)
    listening = await opened.start()
    slow = OpenDoor(opened, listening[0].port)
    try:
        with pytest.raises(asyncio.IncompleteReadError):
            await slow.exchange(b"POST /api/Hyper", timeout=5)
        head = f"POST /api/HypervResource/{STOP} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
        answer = await slow.exchange(head.encode() + b"{", timeout=5)
        assert answer.split()[1] == b"408"
        # A peer that does not even shake hands holds nothing for long, and others are served.
        _, silent = await asyncio.open_connection("127.0.0.1", slow.port)
        assert (await slow.post(STOP, b"{}"))[0] == 200
        silent.close()
    finally:
        await opened.stop(drain=0)
        await one.context.cim.close()


async def test_strangers_are_refused(tmp_path: Path) -> None:
    one = resource(listen="127.0.0.1")
    opened = DirectDoor([one], door_settings(allow=("10.1.1.2", "10.2.0.0/16")), tmp_path)
    listening = await opened.start()
    try:
        status, text = await OpenDoor(opened, listening[0].port).post(READY, b"{}")
        assert status == 403
        assert "allow-list" in text
    finally:
        await opened.stop(drain=0)
        await one.context.cim.close()


async def test_the_door_does_not_open_without_an_allow_list_or_address(tmp_path: Path) -> None:
    one, two = resource(listen="127.0.0.1"), resource()
    try:
        with pytest.raises(DoorCannotOpen, match="allow"):
            await DirectDoor([one], door_settings(allow=()), tmp_path).start()
        with pytest.raises(DoorCannotOpen, match="listen"):
            await DirectDoor([one, two], door_settings(), tmp_path).start()
        with pytest.raises(DoorCannotOpen, match=r"192\.0\.2\.77"):
            await DirectDoor([resource(listen="192.0.2.77")], door_settings(), tmp_path).start()
        missing = door_settings(certificate=str(tmp_path / "absent.pem"))
        with pytest.raises(DoorCannotOpen, match="certificate"):
            await DirectDoor([one], missing, tmp_path).start()
    finally:
        await one.context.cim.close()
        await two.context.cim.close()


async def test_the_certificate_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    one = resource(listen="127.0.0.1")
    for _ in range(2):
        opened = DirectDoor([one], door_settings(), tmp_path)
        await opened.start()
        await opened.stop(drain=0)
    key = tmp_path / "direct.key"
    assert key.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["direct.crt", "direct.key"]
    await one.context.cim.close()


async def test_only_tls_12_and_newer(door: OpenDoor) -> None:
    async def connect(highest: ssl.TLSVersion) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it is the old ones we want
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = highest
        _, writer = await asyncio.open_connection("127.0.0.1", door.port, ssl=context)
        version: str = writer.get_extra_info("ssl_object").version()
        writer.close()
        return version

    assert await connect(ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert await connect(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await connect(ssl.TLSVersion.TLSv1_1)
