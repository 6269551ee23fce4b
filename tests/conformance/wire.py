"""Requests of clients, rebuilt as text, and one connection that posts them.

Every envelope here is our own reconstruction of what a client sends, written from its published
source and from recordings of its answers; none is copied.
"""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

from tests.emulation import PASSWORD, USER
from tests.emulator_door.raw_client import (
    CIMV2,
    SERVICE,
    SYSTEM,
    V2,
    A,
    HttpAnswer,
    N,
    RawClient,
    W,
    basic,
)

__all__ = ["CIMV2", "SERVICE", "SYSTEM", "V2", "A", "Libvirt", "N", "RawClient", "W", "connect"]

_ENUMERATE = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate"
_PULL = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull"
_ANONYMOUS = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
_WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"


async def connect(port: int) -> RawClient:
    """Open a connection with Basic credentials; a fixture closes it."""
    import asyncio

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer, basic(USER, PASSWORD))
    RawClient.opened.append(client)
    return client


class Libvirt:
    """What libvirt 9's hyperv driver sends through openwsman, and how it reads the answers.

    mustUnderstand on nearly every header, no OperationTimeout and no MaxEnvelopeSize; the wildcard
    URI in Enumerate and a class URI in Pull; the first item of each Pull only; XPath with the
    literal prefixes s, p, a and w in answers of methods.
    """

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.requests = 0

    async def post(self, action: str, uri: str, body: str, selectors: str = "") -> HttpAnswer:
        must = 's:mustUnderstand="true"'
        chosen = f"<wsman:SelectorSet>{selectors}</wsman:SelectorSet>" if selectors else ""
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
            'xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
            'xmlns:wsen="http://schemas.xmlsoap.org/ws/2004/09/enumeration" '
            f'xmlns:wsman="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:n1="{uri}">'
            f"<s:Header><wsa:Action {must}>{action}</wsa:Action>"
            f"<wsa:To {must}>http://127.0.0.1:5985/wsman</wsa:To>"
            f"<wsman:ResourceURI {must}>{uri}</wsman:ResourceURI>"
            f"<wsa:MessageID {must}>uuid:{uuid.uuid4()}</wsa:MessageID>"
            f"<wsa:ReplyTo><wsa:Address>{_ANONYMOUS}</wsa:Address></wsa:ReplyTo>"
            f"{chosen}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
        self.requests += 1
        return await self.client.post(
            text, headers="User-Agent: openwsman 2.2.0\r\nAccept: */*\r\n"
        )

    async def query(
        self, text: str, class_name: str, namespace: str = V2, mode: str = ""
    ) -> list[ET.Element]:
        """Enumerate with WQL, pull one by one; stops at a foreign element as the driver does."""
        mode = f"<wsman:EnumerationMode>{mode}</wsman:EnumerationMode>" if mode else ""
        answer = await self.post(
            _ENUMERATE,
            namespace + "*",
            f'<wsen:Enumerate>{mode}<wsman:Filter Dialect="{_WQL}">{escape(text)}</wsman:Filter>'
            "</wsen:Enumerate>",
        )
        assert answer.status == 200, answer.text
        context = answer.body_child.findtext(N + "EnumerationContext")
        assert context, "the driver takes an empty context for an empty result"
        rows: list[ET.Element] = []
        while context:
            answer = await self.post(
                _PULL,
                namespace + class_name,
                f"<wsen:Pull><wsen:EnumerationContext>{context}</wsen:EnumerationContext>"
                "</wsen:Pull>",
            )
            assert answer.status == 200, answer.text
            items = answer.body_child.find(N + "Items")
            assert items is not None, "Could not lookup pull response items"
            expected = (
                A + "EndpointReference" if mode else f"{{{namespace}{class_name}}}{class_name}"
            )
            for item in list(items)[:1]:
                assert item.tag == expected
                rows.append(item)
            context = answer.body_child.findtext(N + "EnumerationContext")
        return rows

    async def invoke(
        self, class_name: str, method: str, parameters: str, **selectors: str
    ) -> tuple[int, str | None, str]:
        """Call a method; its ReturnValue, its job's id and the whole answer."""
        uri = V2 + class_name
        keys = {"CreationClassName": class_name, **selectors}
        chosen = "".join(
            f'<wsman:Selector Name="{name}">{escape(value)}</wsman:Selector>'
            for name, value in keys.items()
        )
        body = f"<n1:{method}_INPUT>{parameters}</n1:{method}_INPUT>"
        answer = await self.post(f"{uri}/{method}", uri, body, chosen)
        assert answer.status == 200, answer.text
        declared = dict(re.findall(r' xmlns:(\w+)="([^"]+)"', answer.text.partition("<s:Body>")[0]))
        assert declared["s"] == "http://www.w3.org/2003/05/soap-envelope"
        assert declared["a"] == A[1:-1]
        assert declared["w"] == W[1:-1]
        output = re.search(rf"<s:Body><p:{method}_OUTPUT ([^>]*)>", answer.text)
        assert output is not None, answer.text
        assert f'xmlns:p="{uri}"' in output[1]
        found = re.search(r"<p:ReturnValue>(\d+)</p:ReturnValue>", answer.text)
        assert found is not None
        job = re.search(r'<p:Job.*?<w:Selector Name="InstanceID">([^<]*)</w:Selector>', answer.text)
        return int(found[1]), job[1] if job is not None else None, answer.text

    async def done(self, class_name: str, method: str, parameters: str, **selectors: str) -> str:
        """Call a method and poll its job by WQL on Msvm_ConcreteJob; returns the answer."""
        import asyncio

        code, job, text = await self.invoke(class_name, method, parameters, **selectors)
        if code == 4096:
            assert job is not None
            query = f"SELECT * FROM Msvm_ConcreteJob WHERE InstanceID = '{job}'"  # noqa: S608 - WQL
            async with asyncio.timeout(20):
                while True:
                    (row,) = await self.query(query, "Msvm_ConcreteJob")
                    state = int(value(row, "JobState") or 0)
                    if state == 7:
                        return text
                    assert state in (2, 3, 4), state
                    await asyncio.sleep(0.02)
        assert code == 0, text
        return text


def embedded(class_name: str, **values: tuple[str, str | list[str]]) -> str:
    """Write an embedded instance as the driver does: indented, with a declaration, escaped."""
    lines = ['<?xml version="1.0"?>', f'<INSTANCE CLASSNAME="{class_name}">']
    for name, (cim_type, content) in values.items():
        if isinstance(content, list):
            inner = "".join(f"\n      <VALUE>{escape(each)}</VALUE>" for each in content)
            lines.append(
                f'  <PROPERTY.ARRAY NAME="{name}" TYPE="{cim_type}">\n    <VALUE.ARRAY>{inner}'
                "\n    </VALUE.ARRAY>\n  </PROPERTY.ARRAY>"
            )
        else:
            lines.append(
                f'  <PROPERTY NAME="{name}" TYPE="{cim_type}">'
                f"\n    <VALUE>{escape(content)}</VALUE>"
                "\n  </PROPERTY>"
            )
    return escape("\n".join([*lines, "</INSTANCE>", ""]))


def copied(item: ET.Element) -> str:
    """Return the children of an EPR item, whole, as the driver puts them into a parameter."""
    return "".join(ET.tostring(child, encoding="unicode") for child in item)


def value(row: ET.Element, name: str) -> str | None:
    """Return a property of a row; None when it is nil.  It must be there exactly once."""
    uri = row.tag[1:].partition("}")[0]
    found = row.findall(f"{{{uri}}}{name}")
    assert len(found) == 1, f"not enough ({len(found)} < 1) instances of element {name}"
    return (
        None
        if found[0].get("{http://www.w3.org/2001/XMLSchema-instance}nil")
        else found[0].text or ""
    )
