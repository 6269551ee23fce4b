"""A management server as the agent's peer: its own framing, written apart from the code under test.

TLS runs in memory here as well, server side.  How bytes are written is a choice, because the real
one (Java) writes header and record separately, and networks cut where they like.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

HEAD = struct.Struct(">BBhqiqqq")
MS_ID = 52241218371489
PING_INTERVAL = 60

REQUEST, STOP_ON_ERROR, IN_SEQUENCE, FROM_SERVER, CONTROL, GZIP = 1, 2, 4, 0x20, 0x40, 0x80

API = "com.cloud.agent.api."
LB = "org.apache.cloudstack.agent.lb."
CA = "org.apache.cloudstack.ca."
TAIL = {"contextMap": {}, "wait": 0, "bypassHostMaintenance": False}

Json = Any


def command(name: str, package: str = API, **members: Json) -> dict[str, Json]:
    return {package + name: {**members, **TAIL, **{k: members[k] for k in TAIL if k in members}}}


def answer(name: str, *, result: bool = True, **members: Json) -> dict[str, Json]:
    return {API + name: {**members, "result": result, **TAIL}}


@dataclass(frozen=True)
class Message:
    """A frame as the server reads it."""

    flags: int
    sequence: int
    ms: int
    agent: int
    via: int
    body: Json
    compressed: bool

    @property
    def is_request(self) -> bool:
        return bool(self.flags & REQUEST)

    @property
    def names(self) -> list[str]:
        return [key.rsplit(".", 1)[-1] for element in self.body for key in element]

    @property
    def contents(self) -> list[Json]:
        return [value for element in self.body for value in element.values()]


def pack(
    flags: int,
    sequence: int,
    body: Json,
    *,
    agent: int = 5,
    ms: int = MS_ID,
    squeeze: bool | None = None,
) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    travelling = text
    if squeeze or (squeeze is None and len(text) >= 8192):
        flags |= GZIP
        travelling = gzip.compress(text)
    return HEAD.pack(0, 0, flags, sequence, len(text), ms, agent, agent) + travelling


def unpack(frame: bytes) -> Message:
    _, _, flags, sequence, _, ms, agent, via = HEAD.unpack(frame[: HEAD.size])
    body = frame[HEAD.size :]
    if flags & GZIP:
        body = gzip.decompress(body)
    return Message(flags & ~GZIP, sequence, ms, agent, via, json.loads(body), bool(flags & GZIP))


class Gone(Exception):
    """The agent closed the connection."""


@dataclass
class AgentConnection:
    """The server's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    tls: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    style: str
    next_sequence: int = 1356990862722072577
    packets_read: list[tuple[int, bool]] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def handshake(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush_bare()
                data = await self.reader.read(65536)
                if not data:
                    raise Gone from None
                self.incoming.write(data)
                continue
            except ssl.SSLError:
                await self._flush_bare()  # the alert
                raise
            await self._flush_bare()
            return

    async def _flush_bare(self) -> None:
        self.writer.write(self.outgoing.read())
        await self.writer.drain()

    def packets(self, frame: bytes, record: int = 16384) -> list[tuple[bytes, bytes]]:
        cut = [frame[at : at + record] for at in range(0, len(frame), record)] or [b""]
        made = []
        for index, piece in enumerate(cut):
            if piece:
                self.tls.write(piece)
            content = self.outgoing.read()
            more = 0x10000 if index < len(cut) - 1 else 0
            made.append((struct.pack(">I", len(content) | more), content))
        return made

    async def send_frame(self, frame: bytes, *, record: int = 16384) -> None:
        async with self.lock:
            for header, content in self.packets(frame, record):
                match self.style:
                    case "java":
                        self.writer.write(header)
                        self.writer.write(content)
                    case "bytes":
                        whole = header + content
                        for at in range(min(300, len(whole))):
                            self.writer.write(whole[at : at + 1])
                            await asyncio.sleep(0)
                        for at in range(300, len(whole), 997):
                            self.writer.write(whole[at : at + 997])
                            await asyncio.sleep(0)
                    case _:
                        self.writer.write(header + content)
            await self.writer.drain()

    async def send_raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive_frame(self, timeout: float = 10) -> bytes:
        async with asyncio.timeout(timeout):
            frame = b""
            while True:
                try:
                    header = int.from_bytes(await self.reader.readexactly(4), "big")
                    content = await self.reader.readexactly(header & 0xFFFF)
                except (asyncio.IncompleteReadError, ConnectionError):
                    raise Gone from None
                assert header >> 17 == 0
                assert len(content) <= 18000
                self.packets_read.append((len(content), bool(header & 0x10000)))
                self.incoming.write(content)
                while self.incoming.pending:
                    frame += self.tls.read(65536)
                assert not self.tls.pending()
                if not header & 0x10000:
                    return frame

    async def receive(self, timeout: float = 10) -> Message:
        return unpack(await self.receive_frame(timeout))

    async def request(
        self, *commands: Json, flags: int = STOP_ON_ERROR, squeeze: bool | None = None
    ) -> int:
        sequence = self.next_sequence
        self.next_sequence += 1
        await self.send_frame(
            pack(REQUEST | FROM_SERVER | flags, sequence, list(commands), squeeze=squeeze)
        )
        return sequence

    async def respond(self, message: Message, *answers: Json) -> None:
        flags = FROM_SERVER | (message.flags & (IN_SEQUENCE | STOP_ON_ERROR))
        await self.send_frame(pack(flags, message.sequence, list(answers), agent=message.agent))

    async def ask(
        self, *commands: Json, flags: int = STOP_ON_ERROR, timeout: float = 20
    ) -> Message:
        """Send a request and return its answer; pings that come in between are answered."""
        sequence = await self.request(*commands, flags=flags)
        while True:
            message = await self.receive(timeout)
            if message.is_request:
                await self.answer_ping(message)
            elif message.sequence == sequence:
                return message

    async def answer_ping(self, message: Message, **members: Json) -> None:
        assert message.names == ["PingRoutingCommand"], message.names
        shown = {"_command": message.contents[0], "sendStartup": False, "avoidMsList": []}
        await self.respond(
            message, answer("PingAnswer", **{**shown, "reconcileCommands": [], **members})
        )

    async def take_startup(self, ping_interval: int = PING_INTERVAL) -> Message:
        startup = await self.receive()
        await self.respond(
            startup,
            answer("StartupAnswer", hostId=0, hostName="", hostUuid="", pingInterval=ping_interval),
        )
        return startup

    async def admit(self, ping_interval: int = PING_INTERVAL, **second: Json) -> Message:
        """Play 4.22: StartupAnswer with id 0, then both ReadyCommands; returns the Startup."""
        startup = await self.take_startup(ping_interval)
        ready = {"dcId": 1, "hostId": 5, "hostUuid": "d3f0a1c2", "hostName": "10.1.1.20"}
        for members in (ready, {**ready, **second}):
            got = await self.ask(
                command("ReadyCommand", **members), flags=STOP_ON_ERROR | IN_SEQUENCE
            )
            assert got.names == ["ReadyAnswer"]
            assert got.flags == STOP_ON_ERROR | IN_SEQUENCE
            assert (got.ms, got.agent, got.via) == (MS_ID, 5, 5)
        return startup

    async def closed(self, timeout: float = 10) -> bool:
        """Whether the agent closes the connection in time; what it still sends is thrown away."""
        async with asyncio.timeout(timeout):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
            return True

    def drop(self) -> None:
        self.writer.transport.abort()


Play = Callable[[AgentConnection], Awaitable[None]]


@dataclass
class ManagementServer:
    """Listens; hands each connection that has shaken hands to whoever waits for it."""

    context: ssl.SSLContext
    style: str = "java"
    address: str = "127.0.0.1"
    port: int = 0
    connections: asyncio.Queue[AgentConnection] = field(default_factory=asyncio.Queue)
    failures: list[str] = field(default_factory=list)
    accepted: int = 0
    _open: list[asyncio.StreamWriter] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ManagementServer]:
        server = await asyncio.start_server(self._accept, self.address, self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._open:
                writer.transport.abort()
            await server.wait_closed()
            if self._tasks:
                await asyncio.wait(tuple(self._tasks), timeout=2)
            await asyncio.sleep(0.01)  # the transports' last step

    async def next(self, timeout: float = 10) -> AgentConnection:
        return await asyncio.wait_for(self.connections.get(), timeout)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        self._open.append(writer)
        if self.style == "java":
            # asyncio sets it; Java does not.
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_side=True)
        connection = AgentConnection(reader, writer, tls, incoming, outgoing, self.style)
        try:
            await asyncio.wait_for(connection.handshake(), 10)
        except (ssl.SSLError, Gone, ConnectionError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            writer.close()
            return
        self.connections.put_nowait(connection)


@dataclass(frozen=True)
class Authority:
    """A private CA as CloudStack makes one, with files for the agent."""

    ca: trustme.CA
    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "ca.crt"

    def server_context(
        self, *, demand_certificate: bool = False, tls13: bool = False
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if not tls13:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.ca.issue_cert("management.example").configure_cert(context)
        self.ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED if demand_certificate else ssl.CERT_OPTIONAL
        return context

    def client_files(self, name: str = "agent") -> tuple[Path, Path]:
        issued = self.ca.issue_cert("127.0.0.1")
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return certificate, key


def new_authority(folder: Path) -> Authority:
    authority = Authority(trustme.CA(organization_name="cloudstack.example"), folder)
    authority.ca.cert_pem.write_to_path(str(authority.bundle))
    return authority
