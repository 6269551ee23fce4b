"""The direct door for many hosts: joined commands, limits, addresses, reload, consoles.

The Hyper-V hosts are emulated ones, reached over real sockets, slow where a command must be caught
in the middle.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from tests.emulation import HOST_ADDRESS, Emulation, agent_context, running_emulation
from tests.resource_vm.commands import NAME, ROOT, start_command, virtual_machine, volume

from cloudstack_hyperv.config import DirectDoorSettings, HostSettings, WinrmSettings
from cloudstack_hyperv.doors.direct.addresses import Place, check_places
from cloudstack_hyperv.doors.direct.runs import digest
from cloudstack_hyperv.doors.direct.server import DirectDoor, DoorCannotOpen
from cloudstack_hyperv.emulator.host import Timings
from cloudstack_hyperv.hypervisor.machines import MachineDirectory
from cloudstack_hyperv.messages import copy_with, encode_command
from cloudstack_hyperv.resource.resource import Resource

API = "com.cloud.agent.api."
READY = f"{API}ReadyCommand"
START = f"{API}StartCommand"


def door_settings(**changes: Any) -> DirectDoorSettings:
    return DirectDoorSettings(**{"port": 0, "allow": ("127.0.0.0/8",), **changes})


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def open_door(
    resources: list[Resource], folder: Path, **settings: Any
) -> AsyncIterator[tuple[DirectDoor, dict[str, str]]]:
    """Open a door and yield it with the URL of each host."""
    door = DirectDoor(resources, door_settings(**settings), folder)
    listening = await door.start()
    try:
        yield (
            door,
            {
                one.host: f"https://{one.address}:{one.port}/api/HypervResource/"
                for one in listening
            },
        )
    finally:
        await door.stop(drain=0)


async def post(url: str, name: str, body: bytes, tls: ssl.SSLContext | None = None) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + name, data=body, ssl=tls or trusting()) as response,
    ):
        assert response.status == 200, await response.text()
        return next(iter((await response.json(content_type=None))[0].values()))


def starting(emulation: Emulation, wait: int, logid: str = "a") -> bytes:
    emulation.make_disk(ROOT) if not emulation.path(rf"C:\pool\{ROOT}.vhdx").exists() else None
    vm = virtual_machine(disks=[volume(ROOT, "ROOT", 0)])
    command = copy_with(start_command(), vm=vm, wait=wait, context_map={"logid": logid})
    return encode_command(command)


async def machines(emulation: Emulation) -> list[str]:
    client = emulation.client()
    try:
        found = await MachineDirectory(client).list_all()
        return [machine.element_name for machine in found]
    finally:
        await client.close()


async def test_the_same_command_again_joins_the_one_that_runs(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path, timings=Timings(start=1.0)) as emulation,
        agent_context(emulation, listen="127.0.0.1") as context,
        open_door([Resource(context)], tmp_path) as (door, urls),
    ):
        first = asyncio.create_task(post(urls["hv1"], START, starting(emulation, 60, "a")))
        await asyncio.sleep(0.4)
        again = asyncio.create_task(post(urls["hv1"], START, starting(emulation, 60, "b")))
        await asyncio.sleep(0.2)
        assert "1 commands running" in repr(door)
        assert await first == await again
        assert (await first)["result"] is True
        assert await machines(emulation) == [NAME]
        assert "0 commands running" in repr(door)


async def test_a_caller_that_is_gone_does_not_end_its_command(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path, timings=Timings(start=1.0)) as emulation,
        agent_context(emulation, listen="127.0.0.1") as context,
        open_door([Resource(context)], tmp_path) as (door, urls),
    ):
        first = asyncio.create_task(post(urls["hv1"], START, starting(emulation, 60, "a")))
        await asyncio.sleep(0.4)
        first.cancel()
        await asyncio.sleep(0.1)
        assert "1 commands running" in repr(door)
        assert (await post(urls["hv1"], START, starting(emulation, 60, "b")))["result"] is True
        assert await machines(emulation) == [NAME]


@pytest.mark.slow
async def test_at_its_wait_a_command_is_answered_and_undone(tmp_path: Path) -> None:
    """The host goes on for a while after the cancellation; the caller does not wait for that."""
    async with (
        running_emulation(tmp_path, timings=Timings(start=3.5)) as emulation,
        agent_context(emulation, listen="127.0.0.1") as context,
        open_door([Resource(context)], tmp_path) as (door, urls),
    ):
        began = time.monotonic()
        answer = await post(urls["hv1"], START, starting(emulation, 2))
        assert time.monotonic() - began < 2.5
        assert answer["result"] is False
        assert "sent again" in answer["details"]
        assert "1 commands running" in repr(door)
        joined = await post(urls["hv1"], START, starting(emulation, 2, "again"))
        assert joined["result"] is False
        for _ in range(100):
            if not await machines(emulation):
                break
            await asyncio.sleep(0.1)
        assert await machines(emulation) == []


@pytest.mark.slow
async def test_a_command_that_waits_for_nothing_uses_the_default(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path, timings=Timings(start=2)) as emulation,
        agent_context(emulation, listen="127.0.0.1") as context,
        open_door([Resource(context)], tmp_path, default_wait=1.0) as (_, urls),
    ):
        answer = await post(urls["hv1"], START, starting(emulation, 0))
        assert answer["result"] is False
        assert "1 s" in answer["details"]


def test_what_makes_two_commands_the_same() -> None:
    one = digest(b'{"vmName":"a","contextMap":{"logid":"1"},"wait":0}')
    assert one == digest(b'{"wait":0,"contextMap":{"logid":"2"},"vmName":"a"}')
    assert one != digest(b'{"wait":0,"contextMap":{"logid":"2"},"vmName":"b"}')
    assert one != digest(b'{"wait":1,"contextMap":{"logid":"1"},"vmName":"a"}')
    assert digest(b"\xff") != digest(b"\xfe")


async def test_only_callers_with_a_certificate_of_the_ca(tmp_path: Path) -> None:
    ca, other = trustme.CA(), trustme.CA()
    bundle = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    async with (
        running_emulation(tmp_path) as emulation,
        agent_context(emulation, listen="127.0.0.1") as context,
        open_door([Resource(context)], tmp_path, client_ca=str(bundle)) as (_, urls),
    ):
        with_certificate = trusting()
        ca.issue_cert("ms1.example").configure_cert(with_certificate)
        assert (await post(urls["hv1"], READY, b"{}", with_certificate))["result"] is True
        stranger = trusting()
        other.issue_cert("ms1.example").configure_cert(stranger)
        for tls in (trusting(), stranger):
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await post(urls["hv1"], READY, b"{}", tls)
    missing = DirectDoor([], door_settings(client_ca=str(tmp_path / "no")), tmp_path)
    with pytest.raises(DoorCannotOpen, match="certificate"):
        await missing.start()


async def test_a_connection_serves_so_many_requests_and_takes_so_much_ahead(
    tmp_path: Path, resource: Resource
) -> None:
    request = (
        f"POST /api/HypervResource/{READY} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{{}}"
    ).encode()
    door = DirectDoor(
        [resource], door_settings(requests_per_connection=3, max_body_bytes=1024), tmp_path
    )
    listening = await door.start()
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", listening[0].port, ssl=trusting()
        )
        writer.write(request * 5)  # pipelined: answered in order, the rest after the third not
        answers = await asyncio.wait_for(reader.read(), 20)
        assert answers.count(b"HTTP/1.1 200") == 3
        assert answers.count(b"Connection: close") == 1
        writer.close()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", listening[0].port, ssl=trusting()
        )
        head = f"POST /api/HypervResource/{API}GetHostStatsCommand HTTP/1.1\r\nHost: h\r\n"
        writer.write(f"{head}Content-Length: 2\r\n\r\n{{}}".encode() + request * 10_000)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(10_000_000), 20)
        writer.close()
    finally:
        await door.stop(drain=0)


@pytest.mark.parametrize("known", ["127.0.0.1", "198.51.100.7"])
async def test_startup_answers_for_the_right_host_at_the_agents_address(
    tmp_path: Path, emulated_host: Emulation, known: str
) -> None:
    posted = {
        "dataCenter": "1", "pod": "1", "cluster": "1", "guid": "g", "name": known,
        "privateIpAddress": known, "storageIpAddress": known,
        "hypervisorType": "Hyperv", "type": "Routing",
    }  # fmt: skip
    body = json.dumps([{f"{API}StartupRoutingCommand": posted}]).encode()
    names = {"gateway_address": known} if known != "127.0.0.1" else {}
    async with (
        agent_context(emulated_host, listen="127.0.0.1", **names) as context,
        open_door([Resource(context)], tmp_path) as (_, urls),
    ):
        routing = await post(urls["hv1"], f"{API}StartupCommand", body)
        assert routing["privateIpAddress"] == known
        assert routing["name"] == known
        assert routing["storageIpAddress"] == HOST_ADDRESS
        assert routing["privateNetmask"] == "255.255.255.0"
        assert routing["privateMacAddress"]


async def test_hosts_come_and_go_without_breaking_what_runs(tmp_path: Path) -> None:
    async with (
        running_emulation(tmp_path / "a", name="HOSTA", timings=Timings(start=1.5)) as one,
        running_emulation(tmp_path / "b", name="HOSTB") as other,
        agent_context(one, name="a", listen="127.0.0.1") as first,
        agent_context(other, name="b", listen="127.0.0.2") as second,
    ):
        a, b = Resource(first), Resource(second)
        async with open_door([a], tmp_path) as (door, urls):
            running = asyncio.create_task(post(urls["a"], START, starting(one, 60)))
            await asyncio.sleep(0.3)
            now = {each.host: each for each in await door.reload([a, b], door_settings())}
            assert set(now) == {"a", "b"}
            assert str(now["a"].port) in urls["a"], "the listener that stays is not opened anew"
            url = f"https://127.0.0.2:{now['b'].port}/api/HypervResource/"
            assert (await post(url, READY, b"{}"))["result"] is True
            assert [each.host for each in await door.reload([b], door_settings())] == ["b"]
            with pytest.raises(aiohttp.ClientConnectionError):
                await post(urls["a"], READY, b"{}")
            assert (await running)["result"] is True, "the removed host's command has ended well"
            await door.reload([b], door_settings(allow=("192.0.2.1",)))
            with pytest.raises(AssertionError, match="allow-list"):
                await post(url, READY, b"{}")
            with pytest.raises(DoorCannotOpen, match="allow"):
                await door.reload([b], door_settings(allow=()))


async def test_a_renewed_certificate_is_shown_to_the_next_caller(
    tmp_path: Path, resource: Resource
) -> None:
    certificate, key = tmp_path / "door.crt", tmp_path / "door.key"

    def write(name: str) -> None:
        made = trustme.CA().issue_cert(name)
        certificate.write_bytes(made.cert_chain_pems[0].bytes())
        key.write_bytes(made.private_key_pem.bytes())

    def shown(port: int) -> str:
        return ssl.get_server_certificate(("127.0.0.1", port), timeout=10)

    write("one.example")
    settings = door_settings(certificate=str(certificate), key=str(key))
    door = DirectDoor([resource], settings, tmp_path)
    port = (await door.start())[0].port
    try:
        before = await asyncio.to_thread(shown, port)
        write("two.example")
        await door.reload([resource], settings)
        after = await asyncio.to_thread(shown, port)
        assert after != before
        assert after.strip() == certificate.read_text().strip()
        certificate.write_text("broken")
        with pytest.raises(DoorCannotOpen, match="certificate"):
            await door.reload([resource], settings)
        assert await asyncio.to_thread(shown, port) == after
    finally:
        await door.stop(drain=0)


async def test_the_console_port_leads_to_the_host(tmp_path: Path, emulated_host: Emulation) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        await writer.drain()
        writer.close()

    vmms = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = vmms.sockets[0].getsockname()[1]
    consoles = {"forward_console": True, "console_port": port, "console_connections": 1}
    async with agent_context(emulated_host, listen="127.0.0.3") as context:
        one = Resource(context)
        async with open_door([one], tmp_path, console_allow=("127.0.0.0/8",), **consoles) as (
            door, _,
        ):  # fmt: skip
            reader, writer = await asyncio.open_connection("127.0.0.3", port)
            second, second_writer = await asyncio.open_connection("127.0.0.3", port)
            assert await asyncio.wait_for(second.read(), 10) == b"", "one console at a time"
            writer.write(b"hello")
            assert await asyncio.wait_for(reader.read(), 10) == b"HELLO"
            refusing = door_settings(console_allow=("192.0.2.1",), **consoles)
            await door.reload([one], refusing)
            reader, third_writer = await asyncio.open_connection("127.0.0.3", port)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            for each in (writer, second_writer, third_writer):
                each.close()
    vmms.close()
    await vmms.wait_closed()


def host(name: str, **fields: Any) -> HostSettings:
    winrm = WinrmSettings(address=fields.pop("address", "192.0.2.50"), user="u")
    return HostSettings(name=name, winrm=winrm, **fields)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([(host("a"), Place("192.0.2.7", 8250)), (host("b"), Place("192.0.2.7", 8250))], "both"),
        ([(host("a"), Place("192.0.2.50", 8250))], "Hyper-V host"),
        ([(host("a", private_address="192.0.2.8"), Place("192.0.2.8", 8250))], "Hyper-V host"),
        ([(host("a"), Place("192.0.2.99", 8250))], "management server's own"),
    ],
)
def test_an_address_that_stands_for_something_else_is_refused(
    places: list[tuple[HostSettings, Place]], words: str
) -> None:
    with pytest.raises(DoorCannotOpen, match=words):
        check_places(places, ["192.0.2.99"])


def test_hosts_behind_a_redirect_have_ports_of_their_own() -> None:
    check_places([(host("a"), Place("192.0.2.7", 8251)), (host("b"), Place("192.0.2.7", 8252))], [])


async def test_what_to_do_about_an_address_is_said(tmp_path: Path, resource: Resource) -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    with pytest.raises(DoorCannotOpen, match=r"somebody listens.*listen_port"):
        await DirectDoor([resource], door_settings(port=port), tmp_path).start()
    listener.close()
    await listener.wait_closed()
