"""A WS-Man client of bare sockets and string templates, for what no library would send."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import ClassVar

from tests.emulator_door.doors import PASSWORD, Door

S = "{http://www.w3.org/2003/05/soap-envelope}"
A = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"
N = "{http://schemas.xmlsoap.org/ws/2004/09/enumeration}"
W = "{http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd}"
F = "{http://schemas.microsoft.com/wbem/wsman/1/wsmanfault}"
XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
WMI = "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
V2 = WMI + "root/virtualization/v2/"
CIMV2 = WMI + "root/cimv2/"
SYSTEM = V2 + "Msvm_ComputerSystem"
SERVICE = V2 + "Msvm_VirtualSystemManagementService"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer/"
ENUMERATION = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/"
ANONYMOUS = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
MESSAGE_ID = "uuid:7D7DA9C5-3D05-4E3B-9AC3-0E9B7A5E2B11"
SERVICE_KEY = {"CreationClassName": "Msvm_VirtualSystemManagementService"}


def machine_key(number: int) -> dict[str, str]:
    return {
        "CreationClassName": "Msvm_ComputerSystem",
        "Name": f"00000000-0000-0000-0000-{number:012d}",
    }


def header(name: str, text: str, attributes: str = "") -> str:
    return f"<{name}{' ' + attributes if attributes else ''}>{text}</{name}>"


def selector_set(selectors: dict[str, str]) -> str:
    inner = "".join(f'<w:Selector Name="{n}">{v}</w:Selector>' for n, v in selectors.items())
    return f"<w:SelectorSet>{inner}</w:SelectorSet>" if selectors else ""


def envelope(
    action: str,
    uri: str,
    body: str = "",
    selectors: dict[str, str] | None = None,
    *,
    without: str = "",
    extra: str = "",
    replaced: dict[str, str] | None = None,
) -> str:
    """Build a request; `without` leaves one header out, `replaced` swaps whole header elements."""
    must = 's:mustUnderstand="true"'
    headers = {
        "To": header("a:To", "http://host:5985/wsman"),
        "ResourceURI": header("w:ResourceURI", uri, must),
        "ReplyTo": header("a:ReplyTo", header("a:Address", ANONYMOUS)),
        "Action": header("a:Action", action, must),
        "MaxEnvelopeSize": header("w:MaxEnvelopeSize", "512000", must),
        "MessageID": header("a:MessageID", MESSAGE_ID),
        "OperationTimeout": header("w:OperationTimeout", "PT60S"),
        "SelectorSet": selector_set(selectors or {}),
    }
    headers.update(replaced or {})
    headers.pop(without, None)
    return (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" '
        'xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd" '
        'xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration">'
        f"<s:Header>{''.join(headers.values())}{extra}</s:Header><s:Body>{body}</s:Body>"
        "</s:Envelope>"
    )


def get(uri: str, selectors: dict[str, str] | None = None) -> str:
    return envelope(TRANSFER + "Get", uri, "", selectors)


def enumerate_(uri: str, inner: str = "", extra: str = "") -> str:
    body = f"<n:Enumerate>{inner}</n:Enumerate>"
    return envelope(ENUMERATION + "Enumerate", uri, body, extra=extra)


def wql(query: str, namespace: str = "root/virtualization/v2", inner: str = "") -> str:
    text = query.replace("&", "&amp;").replace("<", "&lt;")
    return enumerate_(f"{WMI}{namespace}/*", f'{inner}<w:Filter Dialect="{WQL}">{text}</w:Filter>')


def pull(uri: str, context: str, inner: str = "") -> str:
    body = f"<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext>{inner}</n:Pull>"
    return envelope(ENUMERATION + "Pull", uri, body)


def release(uri: str, context: str) -> str:
    body = f"<n:Release><n:EnumerationContext>{context}</n:EnumerationContext></n:Release>"
    return envelope(ENUMERATION + "Release", uri, body)


def invoke(
    uri: str, method: str, parameters: str = "", selectors: dict[str, str] | None = None
) -> str:
    body = f'<q:{method}_INPUT xmlns:q="{uri}">{parameters}</q:{method}_INPUT>'
    return envelope(f"{uri}/{method}", uri, body, selectors)


def reference(class_name: str, keys: dict[str, str]) -> str:
    return (
        f"<a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{V2}{class_name}</w:ResourceURI>{selector_set(keys)}"
        "</a:ReferenceParameters>"
    )


@dataclass
class HttpAnswer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def xml(self) -> ET.Element:
        return ET.fromstring(self.body)

    @property
    def body_child(self) -> ET.Element:
        body = self.xml.find(S + "Body")
        assert body is not None
        return body[0]

    @property
    def fault(self) -> tuple[str, int]:
        """Subcode (or SOAP code) and WSManFault code of a fault."""
        assert self.status == 500, self.body
        fault = self.body_child
        assert fault.tag == S + "Fault"
        subcode = fault.findtext(f"{S}Code/{S}Subcode/{S}Value")
        code = fault.findtext(f"{S}Code/{S}Value")
        found = fault.find(f"{S}Detail/{F}WSManFault")
        assert found is not None
        return subcode or code or "", int(found.get("Code", "0"))

    @property
    def innermost_code(self) -> int:
        codes = [int(each.get("Code", "0")) for each in self.xml.iter(F + "WSManFault")]
        return codes[-1]


@dataclass
class RawClient:
    """One connection; Basic unless `authorization` is given."""

    opened: ClassVar[list[RawClient]] = []
    """Connections of the running test, closed at its end by a fixture."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    authorization: str | None = field(default_factory=lambda: basic("Administrator", PASSWORD))

    @classmethod
    async def connect(cls, door: Door) -> RawClient:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        client = cls(reader, writer)
        cls.opened.append(client)
        return client

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def post(
        self,
        text: str | bytes,
        *,
        path: str = "/wsman",
        method: str = "POST",
        content_type: str = "application/soap+xml;charset=UTF-8",
        headers: str = "",
    ) -> HttpAnswer:
        body = text.encode() if isinstance(text, str) else text
        login = f"Authorization: {self.authorization}\r\n" if self.authorization else ""
        kind = f"Content-Type: {content_type}\r\n" if content_type else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: host:5985\r\n{login}{kind}{headers}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode("latin-1") + body)
        return await self.read()

    async def read(self) -> HttpAnswer:
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            headers = [(n, v.strip()) for n, _, v in (line.partition(":") for line in lines)]
            length = int(next((v for n, v in headers if n.lower() == "content-length"), "0"))
            body = await self.reader.readexactly(length)
        return HttpAnswer(int(first.split()[1]), headers, body)

    async def ended(self) -> bool:
        """Whether the server closes or resets the connection within five seconds."""
        try:
            async with asyncio.timeout(5):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    async def pull_all(self, uri: str, first: str, pull_uri: str | None = None) -> list[ET.Element]:
        """Enumerate and pull one by one, as libvirt does."""
        answer = await self.post(first)
        assert answer.status == 200, answer.body
        context = answer.body_child.findtext(N + "EnumerationContext")
        items: list[ET.Element] = []
        while context:
            answer = await self.post(pull(pull_uri or uri, context))
            assert answer.status == 200, answer.body
            found = answer.body_child.find(N + "Items")
            assert found is not None
            items.extend(found)
            context = answer.body_child.findtext(N + "EnumerationContext")
            assert (context is None) == (answer.body_child.find(N + "EndOfSequence") is not None)
        return items


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
