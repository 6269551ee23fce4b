"""A WinRM listener that plays what a test tells it: real sockets, real NTLM, h11 on both ends.

It shares no code with the client: sealing, SOAP and login are written here once more, so that a
misreading of the client's does not answer itself.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

import h11
import spnego
from spnego.channel_bindings import GssChannelBindings

USER = r"HV\admin"
PASSWORD = "Passw0rd!"
REALM = "WSMAN"

A = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
N = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
S = "http://www.w3.org/2003/05/soap-envelope"
W = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
F = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
WMI = "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
V2 = WMI + "root/virtualization/v2/"


@dataclass
class Request:
    """A WS-Man request as it reached the host, decrypted."""

    text: str
    connection: int
    """Counts from 1 in the order in which connections came."""

    @property
    def root(self) -> ET.Element:
        return ET.fromstring(self.text)

    def header(self, name: str) -> str:
        found = self.root.find(f"{{{S}}}Header/{name}")
        return "" if found is None else found.text or ""

    @property
    def action(self) -> str:
        return self.header(f"{{{A}}}Action")

    @property
    def verb(self) -> str:
        """The last part of the action: Get, Pull, a method's name; "" for Identify."""
        return self.action.rpartition("/")[2]

    @property
    def message_id(self) -> str:
        return self.header(f"{{{A}}}MessageID")


@dataclass
class Answer:
    """What the host does with a request."""

    envelope: str = ""
    status: int = 200
    relates_to: str | None = None
    """None: the request's MessageID."""
    raw: bytes | None = None
    """These bytes instead of an HTTP answer."""
    drop: bool = False
    """Close the connection instead of answering."""
    close_after: bool = False
    """Close the connection without having said so, after the answer."""
    delay: float = 0.0
    byte_by_byte: bool = False
    clear: bool = False
    """Do not encrypt although the session is encrypted."""
    tamper: bool = False
    """Change a byte of the sealed answer."""
    content_type: str = "application/soap+xml;charset=UTF-8"
    headers: list[tuple[str, str]] = field(default_factory=list)
    utf16: bool = False


Script = Callable[[Request], Answer | Awaitable[Answer]]


def soap(body: str, relates_to: str, action: str = "") -> str:
    """Wrap a body as Windows does."""
    return (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{S}" xmlns:a="{A}" xmlns:n="{N}" xmlns:w="{W}">'
        f"<s:Header><a:Action>{action}Response</a:Action>"
        "<a:MessageID>uuid:0E7E9F63-4B3C-4C4A-9C0E-0F51A1C2D3E4</a:MessageID>"
        f"<a:To>{A}/role/anonymous</a:To><a:RelatesTo>{relates_to}</a:RelatesTo></s:Header>"
        f"<s:Body>{body}</s:Body></s:Envelope>"
    )


def fault_body(subcode: str, code: int, *, provider_code: int = 0, reason: str = "no") -> str:
    """Write an s:Fault as WinRM does, with a provider fault inside when it has a code."""
    inner = (
        f'<f:ProviderFault provider="WMI Provider" path="%systemroot%\\system32\\WsmWmiPl.dll">'
        f'<f:WSManFault Code="{provider_code}" Machine="hv1"><f:Message>provider: {reason}'
        "</f:Message></f:WSManFault></f:ProviderFault>"
        if provider_code
        else reason
    )
    return (
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode>"
        f"<s:Value>{subcode}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en-US">{reason}</s:Text></s:Reason>'
        f'<s:Detail><f:WSManFault xmlns:f="{F}" Code="{code}" Machine="hv1">'
        f"<f:Message>{inner}</f:Message></f:WSManFault></s:Detail></s:Fault>"
    )


def machine(name: str, state: int = 2) -> str:
    """One Msvm_ComputerSystem row."""
    uri = V2 + "Msvm_ComputerSystem"
    return (
        f'<p:Msvm_ComputerSystem xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        f' xmlns:p="{uri}" xsi:type="p:Msvm_ComputerSystem_Type">'
        f'<p:Description xsi:nil="true"/><p:ElementName>{name}</p:ElementName>'
        f"<p:EnabledState>{state}</p:EnabledState></p:Msvm_ComputerSystem>"
    )


def whole(*rows: str) -> str:
    """An EnumerateResponse that holds everything."""
    return (
        f"<n:EnumerateResponse><n:EnumerationContext/><w:Items>{''.join(rows)}</w:Items>"
        "<w:EndOfSequence/></n:EnumerateResponse>"
    )


class ScriptedHost:
    """The listener; `script` decides every answer."""

    def __init__(
        self,
        script: Script,
        *,
        offers: tuple[str, ...] = ("Negotiate", 'Basic realm="WSMAN"'),
        protocol: str = "negotiate",
        tls: ssl.SSLContext | None = None,
        bindings: GssChannelBindings | None = None,
    ) -> None:
        self.script = script
        self.offers = offers
        self.protocol = protocol
        self.tls = tls
        self.bindings = bindings
        self.requests: list[Request] = []
        self.posts = 0
        """HTTP requests of any kind, logins included."""
        self.logins = 0
        """Complete logins that succeeded."""
        self.refused_logins = 0
        self.connections = 0
        self.open_connections = 0
        self.most_connections = 0
        self.accept_logins = True
        self.forgets_logins = False
        """Want every request to be logged in, not every connection."""
        self.authorizations: list[str] = []
        self.port = 0

    @property
    def verbs(self) -> list[str]:
        return [request.verb for request in self.requests]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ScriptedHost]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_connections += 1
        self.most_connections = max(self.most_connections, self.open_connections)
        try:
            await Session(self, reader, writer, self.connections).run()
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.transport.abort()


class Session:
    """One connection."""

    def __init__(
        self,
        host: ScriptedHost,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self.host = host
        self.reader = reader
        self.writer = writer
        self.number = number
        self.http = h11.Connection(our_role=h11.SERVER)
        self.context: Any = None
        self.known = False

    async def run(self) -> None:
        while True:
            received = await self.receive()
            if received is None:
                return
            headers, body = received
            self.host.posts += 1
            authorization = headers.get("authorization", "")
            self.host.authorizations.append(authorization)
            challenge = self.log_in(authorization)
            if not self.known:
                await self.send(401, [("WWW-Authenticate", line) for line in challenge], b"")
            elif not body:
                await self.send(200, [("WWW-Authenticate", line) for line in challenge], b"")
            elif not await self.answer(headers, body):
                return
            if self.http.our_state is h11.MUST_CLOSE:
                return
            if self.known and self.host.forgets_logins and body:
                self.known = False
                self.context = None
            self.http.start_next_cycle()

    def log_in(self, authorization: str) -> list[str]:
        """Take an Authorization header; return the WWW-Authenticate lines."""
        scheme, _, token = authorization.partition(" ")
        if scheme == "Basic":
            user, _, password = base64.b64decode(token).decode().partition(":")
            self.known = user == USER and password == PASSWORD and self.host.accept_logins
            self.host.refused_logins += not self.known
        elif scheme in ("Negotiate", "CredSSP") and scheme in self.host.offers:
            if self.context is None or self.context.complete:
                self.known = False
                options = spnego.NegotiateOptions.wrapping_winrm
                self.context = spnego.server(
                    protocol=self.host.protocol,
                    options=options,
                    channel_bindings=self.host.bindings,
                )
            try:
                reply = self.context.step(base64.b64decode(token))
            except spnego.exceptions.SpnegoError:
                self.host.refused_logins += 1
                self.context = None
                return list(self.host.offers)
            if self.context.complete:
                self.known = self.host.accept_logins
                self.host.logins += self.known
                self.host.refused_logins += not self.known
            if reply:
                return [f"{scheme} {base64.b64encode(reply).decode()}"]
            return [] if self.known else list(self.host.offers)
        elif scheme.startswith("http://"):
            tls = self.writer.get_extra_info("ssl_object")
            self.known = tls is not None and bool(tls.getpeercert())
        return [] if self.known else list(self.host.offers)

    async def answer(self, headers: dict[str, str], body: bytes) -> bool:
        """Play the script for one request; False ends the connection."""
        sealed = "encrypted" in headers["content-type"]
        request = Request(self.open(body) if sealed else body.decode(), self.number)
        self.host.requests.append(request)
        decided = self.host.script(request)
        answer = decided if isinstance(decided, Answer) else await decided
        await asyncio.sleep(answer.delay)
        if answer.drop:
            return False
        if answer.raw is not None:
            self.writer.write(answer.raw)
            await self.writer.drain()
            return False
        relates_to = request.message_id if answer.relates_to is None else answer.relates_to
        text = answer.envelope
        if text and not text.startswith("<?"):
            text = soap(text, relates_to, request.action)
        payload = text.encode("utf-16") if answer.utf16 else text.encode()
        content_type = answer.content_type
        if sealed and not answer.clear:
            content_type, payload = self.seal(payload, answer)
        await self.send(
            answer.status,
            [("Content-Type", content_type), *answer.headers],
            payload,
            byte_by_byte=answer.byte_by_byte,
        )
        if answer.close_after:
            # The client sees the end of the stream a little after the answer.
            self.writer.close()
            return False
        return True

    def open(self, body: bytes) -> str:
        clear = b""
        parts = re.split(rb"--Encrypted Boundary(?:--)?\r\n", body)
        assert parts[0] == b""
        assert parts[-1] == b""
        for head, data in zip(parts[1:-1:2], parts[2:-1:2], strict=True):
            length = int(head.rsplit(b"Length=", 1)[1])
            sealed = data.split(b"application/octet-stream\r\n", 1)[1]
            size = struct.unpack("<I", sealed[:4])[0]
            chunk = self.context.unwrap_winrm(sealed[4 : 4 + size], sealed[4 + size :])
            assert len(chunk) == length
            clear += chunk
        return clear.decode()

    def seal(self, payload: bytes, answer: Answer) -> tuple[str, bytes]:
        kind = "CredSSP" if self.host.protocol == "credssp" else "SPNEGO"
        step = 16384 if kind == "CredSSP" else max(1, len(payload))
        charset = "UTF-16" if answer.utf16 else "UTF-8"
        out = b""
        chunks = [payload[i : i + step] for i in range(0, len(payload), step)] or [b""]
        for chunk in chunks:
            header, data, padding = self.context.wrap_winrm(chunk)
            if answer.tamper:
                data = bytes([data[0] ^ 1]) + data[1:]
            out += (
                "--Encrypted Boundary\r\n"
                f"Content-Type: application/HTTP-{kind}-session-encrypted\r\n"
                f"OriginalContent: type=application/soap+xml;charset={charset};"
                f"Length={len(chunk) + padding}\r\n"
                "--Encrypted Boundary\r\nContent-Type: application/octet-stream\r\n"
            ).encode() + struct.pack("<I", len(header))
            out += header + data
        out += b"--Encrypted Boundary--\r\n"
        multi = "x-multi-encrypted" if len(chunks) > 1 else "encrypted"
        protocol = f"application/HTTP-{kind}-session-encrypted"
        return f'multipart/{multi};protocol="{protocol}";boundary="Encrypted Boundary"', out

    async def receive(self) -> tuple[dict[str, str], bytes] | None:
        headers: dict[str, str] = {}
        body = b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                data = await self.reader.read(65536)
                if not data and self.http.their_state is h11.IDLE:
                    return None
                self.http.receive_data(data)
            elif isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return headers, body
            else:
                return None

    async def send(
        self,
        status: int,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        byte_by_byte: bool = False,
    ) -> None:
        head = h11.Response(
            status_code=status, headers=[*headers, ("Content-Length", str(len(body)))]
        )
        data = (
            (self.http.send(head) or b"")
            + (self.http.send(h11.Data(data=body)) or b"")
            + (self.http.send(h11.EndOfMessage()) or b"")
        )
        if not byte_by_byte:
            self.writer.write(data)
            await self.writer.drain()
            return
        for index in range(0, len(data), 7):
            self.writer.write(data[index : index + 7])
            await self.writer.drain()
            await asyncio.sleep(0.001)
