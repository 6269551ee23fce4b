"""The link over real sockets, against a server that frames for itself."""

import asyncio
import hashlib
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.link.management_server import (
    AgentConnection,
    Authority,
    ManagementServer,
    new_authority,
)

from cloudstack_hyperv.link import (
    Limits,
    Link,
    LinkFailed,
    LinkIdentity,
    LinkLost,
    PinnedCertificate,
    ServerTrust,
    TrustAnything,
    TrustedAuthorities,
    connect_link,
)

SHORT = Limits(connect=5, handshake=5, unfinished=0.3, unread=0.5, most_frame_bytes=200_000)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("ca"))


@asynccontextmanager
async def linked(
    authority: Authority,
    style: str = "joined",
    *,
    trust: ServerTrust | None = None,
    limits: Limits = SHORT,
    tls13: bool = False,
) -> AsyncIterator[tuple[Link, AgentConnection]]:
    context = authority.server_context(tls13=tls13)
    async with ManagementServer(context, style).serving() as server:
        link = await connect_link(
            "127.0.0.1",
            server.port,
            trust or TrustedAuthorities(authority.bundle),
            limits=limits,
        )
        peer = await server.next()
        try:
            yield link, peer
        finally:
            link.abort("test over")


@pytest.mark.parametrize("style", ["java", "joined", "bytes"])
@pytest.mark.parametrize("size", [1, 40, 1920, 16384, 16385, 100_000])
async def test_frames_both_ways_however_the_peer_writes(
    authority: Authority, style: str, size: int
) -> None:
    frame = hashlib.shake_128(b"frame").digest(size)
    async with linked(authority, style, limits=Limits()) as (link, peer):
        await link.send(frame)
        assert await peer.receive_frame() == frame
        assert [more for _, more in peer.packets_read] == [True] * ((size - 1) // 16384) + [False]
        await peer.send_frame(frame)
        assert await asyncio.wait_for(link.receive(), 10) == frame


async def test_a_full_record_is_16413_bytes_as_java_s(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        await link.send(bytes(16384 * 2))
        await peer.receive_frame()
        assert peer.packets_read == [(16413, True), (16413, False)]


async def test_two_frames_in_one_segment(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        both = b"".join(
            header + content
            for frame in (b"first", b"second" * 5000)
            for header, content in peer.packets(frame)
        )
        await peer.send_raw(both)
        assert await link.receive() == b"first"
        assert await link.receive() == b"second" * 5000


async def test_several_records_under_one_header(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        (_, one), (_, two) = peer.packets(b"ab", record=1)
        await peer.send_raw(struct.pack(">I", len(one + two)) + one + two)
        assert await link.receive() == b"ab"


async def test_ignored_bits_of_the_header(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        [(_, content)] = peer.packets(b"frame")
        await peer.send_raw(struct.pack(">I", 0x7FFE0000 | len(content)) + content)
        assert await link.receive() == b"frame"


async def test_an_empty_packet_is_an_empty_frame_and_the_link_stays(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        await peer.send_raw(bytes(4))
        await peer.send_frame(b"after")
        assert await link.receive() == b""
        assert await link.receive() == b"after"


async def test_tls_13_is_not_offered_although_the_server_would(authority: Authority) -> None:
    async with linked(authority, tls13=True) as (link, peer):
        assert link.description.startswith("TLSv1.2 ")
        assert peer.tls.version() == "TLSv1.2"
        await link.send(b"x")
        assert await peer.receive_frame() == b"x"


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (struct.pack(">I", 18001), "18001"),
        (struct.pack(">I", 0x8000), "32768"),
        (struct.pack(">I", 10) + b"HTTP/1.1 4", "TLS"),
        (struct.pack(">I", 20) + b"\x17\x03\x03\x00\x0f" + bytes(15), "TLS"),
        (struct.pack(">I", 9) + b"\x16\x03\x03\x00\x04" + bytes(4), "after the handshake"),
        (b"\x17\x03\x03\x00\x20" + bytes(0x20), "half a frame"),
    ],
    ids=["too-large", "negative", "no-tls", "garbage-record", "renegotiation", "no-header"],
)
async def test_a_broken_link_is_closed(authority: Authority, raw: bytes, word: str) -> None:
    async with linked(authority) as (link, peer):
        await peer.send_raw(raw)
        with pytest.raises(LinkLost, match=word):
            await asyncio.wait_for(link.receive(), 5)
        assert await peer.closed()


async def test_a_record_cut_over_two_packets_closes(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        [(_, content)] = peer.packets(b"frame")
        head, rest = content[:10], content[10:]
        await peer.send_raw(struct.pack(">I", 0x10000 | len(head)) + head)
        await peer.send_raw(struct.pack(">I", len(rest)) + rest)
        with pytest.raises(LinkLost, match="part of a TLS record"):
            await asyncio.wait_for(link.receive(), 5)


async def test_a_frame_without_end_is_cut_at_the_limit(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        for _ in range(13):
            header, content = peer.packets(bytes(16384))[0]
            more = struct.pack(">I", int.from_bytes(header, "big") | 0x10000)
            await peer.send_raw(more + content)
        with pytest.raises(LinkLost, match="200000"):
            await asyncio.wait_for(link.receive(), 5)


@pytest.mark.parametrize("sent", ["header", "packet", "frame"])
async def test_half_a_frame_is_dropped_at_the_deadline(authority: Authority, sent: str) -> None:
    async with linked(authority) as (link, peer):
        await peer.send_frame(b"whole")
        [(header, content)] = peer.packets(b"frame")
        more = struct.pack(">I", 0x10000 | len(content))
        await peer.send_raw(
            {"header": header[:2], "packet": header + content[:9], "frame": more + content}[sent]
        )
        assert await link.receive() == b"whole"
        began = time.monotonic()
        with pytest.raises(LinkLost, match="half a frame"):
            await asyncio.wait_for(link.receive(), 5)
        assert time.monotonic() - began < 2


async def test_slow_but_whole_frames_are_no_half_frames(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        for _ in range(4):
            [(header, content)] = peer.packets(b"frame")
            await peer.send_raw(header + content[:20])
            await asyncio.sleep(0.15)
            await peer.send_raw(content[20:])
            assert await link.receive() == b"frame"


async def test_a_peer_that_never_reads_is_dropped(authority: Authority) -> None:
    async with linked(authority) as (link, _):
        began = time.monotonic()

        async def send_for_ever() -> None:
            while True:
                await link.send(bytes(100_000))

        with pytest.raises(LinkLost, match="read nothing"):
            await send_for_ever()
        assert time.monotonic() - began < 5


async def test_a_fast_peer_waits_for_a_slow_taker(authority: Authority) -> None:
    limits = Limits(most_frame_bytes=200_000, most_waiting_bytes=400_000)
    async with linked(authority, limits=limits) as (link, peer):
        count = 400

        async def flood() -> None:
            for number in range(count):
                await peer.send_frame(number.to_bytes(4, "big") * 10_000)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0.3)
        assert link._waiting_bytes < 400_000 + 300_000
        assert not flooding.done()
        for number in range(count):
            assert (await asyncio.wait_for(link.receive(), 5))[:4] == number.to_bytes(4, "big")
        await flooding


async def test_close_notify_and_close_end_the_link(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        await peer.send_frame(b"last")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.unwrap()
        content = peer.outgoing.read()
        await peer.send_raw(struct.pack(">I", len(content)) + content)
        assert await link.receive() == b"last"
        with pytest.raises(LinkLost, match="close_notify"):
            await asyncio.wait_for(link.receive(), 5)
        with pytest.raises(LinkLost):
            await link.send(b"x")


async def test_what_was_received_before_the_end_is_not_lost(authority: Authority) -> None:
    async with linked(authority) as (link, peer):
        for number in range(50):
            await peer.send_frame(str(number).encode())
        peer.writer.close()
        await asyncio.sleep(0.2)
        for number in range(50):
            assert await link.receive() == str(number).encode()
        with pytest.raises(LinkLost):
            await link.receive()


# Whom to trust, and being trusted


async def test_a_foreign_ca_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    other = new_authority(tmp_path)
    async with ManagementServer(other.server_context()).serving() as server:
        with pytest.raises(LinkFailed, match="not trusted"):
            await connect_link("127.0.0.1", server.port, TrustedAuthorities(authority.bundle))


async def test_pinning(authority: Authority) -> None:
    async with ManagementServer(authority.server_context()).serving() as server:
        first = await connect_link("127.0.0.1", server.port, TrustAnything())
        shown = hashlib.sha256(first._engine.peer_certificate()).hexdigest()
        first.abort("seen")
        colons = ":".join(shown[at : at + 2] for at in range(0, 64, 2)).upper()
        second = await connect_link("127.0.0.1", server.port, PinnedCertificate((colons,)))
        second.abort("seen")
        with pytest.raises(LinkFailed, match=f"{shown}, not a pinned one"):
            await connect_link("127.0.0.1", server.port, PinnedCertificate(("00" * 32,)))


async def test_a_strict_server_wants_a_certificate(authority: Authority) -> None:
    context = authority.server_context(demand_certificate=True)
    trust = TrustedAuthorities(authority.bundle)
    async with ManagementServer(context).serving() as server:
        with pytest.raises(LinkFailed, match="client certificate"):
            await connect_link("127.0.0.1", server.port, trust)
        link = await connect_link(
            "127.0.0.1", server.port, trust, LinkIdentity(*authority.client_files())
        )
        peer = await server.next()
        assert peer.tls.getpeercert()
        link.abort("seen")


async def test_an_unusable_certificate_file_is_told(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no PEM")
    identity = LinkIdentity(tmp_path / "x", tmp_path / "x")
    with pytest.raises(LinkFailed, match="own certificate"):
        await connect_link("127.0.0.1", 1, TrustAnything(), identity)


# Handshakes that do not come about


async def _fails(limits: Limits, first: bytes, *, close: bool) -> str:
    writers: list[asyncio.StreamWriter] = []
    done = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(first)
        try:
            while not close and await reader.read(1000):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LinkFailed) as caught:
            await connect_link("127.0.0.1", port, TrustAnything(), limits=limits)
        await asyncio.wait_for(done.wait(), 5)
        for writer in writers:
            writer.transport.abort()
    await asyncio.sleep(0.01)
    return str(caught.value)


@pytest.mark.parametrize(
    ("first", "close", "word"),
    [
        (b"", False, "within 0.3 s"),
        (b"", True, "in the middle of the TLS handshake"),
        (b"SSH-2.0-OpenSSH\r\n", False, "does not speak TLS"),
        (b"\x16\x03\x03", False, "within 0.3 s"),
        (b"\x16\x03\x03\xff\xff", False, "65535"),
        (b"\x15\x03\x03\x00\x02\x02\x2a", False, "client certificate"),
        (b"\x15\x03\x03\x00\x02\x02\x28", False, "client certificate"),
        (b"\x15\x03\x03\x00\x02\x02\x46", False, "does not accept TLS 1.2"),
    ],
)
async def test_no_handshake(first: bytes, close: bool, word: str) -> None:
    assert word in await _fails(Limits(handshake=0.3), first, close=close)


async def test_nobody_listens() -> None:
    with pytest.raises(LinkFailed, match="port 1"):
        await connect_link("127.0.0.1", 1, TrustAnything())
