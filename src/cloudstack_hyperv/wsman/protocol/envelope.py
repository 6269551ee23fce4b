"""SOAP envelopes: requests out of templates, answers into bodies.

Requests are strings with every foreign text escaped; they carry the header block that Windows
wants (To, ResourceURI, ReplyTo, Action, MessageID; MaxEnvelopeSize, OperationTimeout and Locale
besides).  Answers are parsed once, checked to answer *our* message, and are a body or a fault.

Sources: DMTF DSP0226 5-8, Microsoft [MS-WSMV] 2.2.4 and 3.1.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.wsman.api import Argument, Identity, Instance, MethodResult
from cloudstack_hyperv.wsman.errors import ProtocolViolation
from cloudstack_hyperv.wsman.protocol import names
from cloudstack_hyperv.wsman.protocol.arguments import (
    resource_uri,
    write_arguments,
    write_selectors,
)
from cloudstack_hyperv.wsman.protocol.datetimes import operation_timeout
from cloudstack_hyperv.wsman.protocol.faults import read_fault
from cloudstack_hyperv.wsman.protocol.instances import read_instance
from cloudstack_hyperv.wsman.protocol.xmltext import escape, local_name, parse

MAX_ENVELOPE_SIZE: Final = 512_000
"""Bytes; the WinRM service's default MaxEnvelopeSizekb (500) since Windows Server 2012."""
MAX_ELEMENTS: Final = 32_000
"""The WinRM service's default MaxBatchItems; more is refused, and the envelope ends before it."""

_SOAP = f"{{{names.SOAP}}}"
_ENUMERATION = f"{{{names.ENUMERATION}}}"
_WSMAN = f"{{{names.WSMAN}}}"
_IDENTITY = f"{{{names.IDENTITY}}}"
_RELATES_TO = f"{_SOAP}Header/{{{names.ADDRESSING}}}RelatesTo"


@dataclass(frozen=True, slots=True)
class Head:
    """What the header of every request says of the sender's wishes."""

    to: str
    """The endpoint's URL; Windows does not check it."""
    message_id: str
    """`uuid:` and a GUID in capitals, the form that every implementation echoes unchanged."""
    operation_timeout: float
    """Seconds that the host may take."""
    max_envelope_size: int = MAX_ENVELOPE_SIZE
    locale: str = "en-US"
    """Language of fault texts; class data stays in the host's own language."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to Enumerate or Pull; `context` is None after the last page."""

    instances: tuple[Instance, ...]
    context: str | None


def identify_request() -> str:
    """Write wsmid:Identify, which has no header."""
    return (
        f'<s:Envelope xmlns:s="{names.SOAP}" xmlns:wsmid="{names.IDENTITY}">'
        "<s:Header/><s:Body><wsmid:Identify/></s:Body></s:Envelope>"
    )


def get_request(head: Head, path: ObjectPath) -> str:
    """Write a Get; `path` must have the full key."""
    return _request(head, names.ACTION_GET, resource_uri(path), "", write_selectors(path))


def enumerate_request(
    head: Head, uri: str, *, wql: str | None = None, max_elements: int = MAX_ELEMENTS
) -> str:
    """Write an optimised Enumerate of a class URI, or of a WQL query on a `/*` URI."""
    query = (
        "" if wql is None else f'<w:Filter Dialect="{names.WQL_DIALECT}">{escape(wql)}</w:Filter>'
    )
    body = (
        f'<n:Enumerate xmlns:n="{names.ENUMERATION}"><w:OptimizeEnumeration/>'
        f"<w:MaxElements>{max_elements:d}</w:MaxElements>{query}</n:Enumerate>"
    )
    return _request(head, names.ACTION_ENUMERATE, uri, body)


def pull_request(head: Head, uri: str, context: str, *, max_elements: int = MAX_ELEMENTS) -> str:
    """Write a Pull of the next page."""
    body = (
        f'<n:Pull xmlns:n="{names.ENUMERATION}">'
        f"<n:EnumerationContext>{escape(context)}</n:EnumerationContext>"
        f"<n:MaxElements>{max_elements:d}</n:MaxElements></n:Pull>"
    )
    return _request(head, names.ACTION_PULL, uri, body)


def release_request(head: Head, uri: str, context: str) -> str:
    """Write a Release of an enumeration that nobody wants to finish."""
    body = (
        f'<n:Release xmlns:n="{names.ENUMERATION}">'
        f"<n:EnumerationContext>{escape(context)}</n:EnumerationContext></n:Release>"
    )
    return _request(head, names.ACTION_RELEASE, uri, body)


def invoke_request(
    head: Head, target: ObjectPath, method: str, arguments: Mapping[str, Argument | None]
) -> str:
    """Write a method call; raises TypeError or ValueError for what cannot be sent."""
    uri = resource_uri(target)
    name = names.identifier(method)
    body = (
        f'<p:{name}_INPUT xmlns:p="{uri}" xmlns:cim="{names.CIM}">'
        f"{write_arguments(arguments)}</p:{name}_INPUT>"
    )
    return _request(head, f"{uri}/{name}", uri, body, write_selectors(target))


def _request(head: Head, action: str, uri: str, body: str, selectors: str = "") -> str:
    locale = escape(head.locale)
    return (
        f'<s:Envelope xmlns:s="{names.SOAP}" xmlns:a="{names.ADDRESSING}"'
        f' xmlns:w="{names.WSMAN}" xmlns:m="{names.MS_WSMAN}"><s:Header>'
        f"<a:To>{escape(head.to)}</a:To>"
        f'<w:ResourceURI s:mustUnderstand="true">{uri}</w:ResourceURI>'
        f'<a:ReplyTo><a:Address s:mustUnderstand="true">{names.ANONYMOUS}</a:Address></a:ReplyTo>'
        f'<a:Action s:mustUnderstand="true">{action}</a:Action>'
        f'<w:MaxEnvelopeSize s:mustUnderstand="true">{head.max_envelope_size:d}'
        "</w:MaxEnvelopeSize>"
        f"<a:MessageID>{escape(head.message_id)}</a:MessageID>"
        f'<w:Locale xml:lang="{locale}" s:mustUnderstand="false"/>'
        f'<m:DataLocale xml:lang="{locale}" s:mustUnderstand="false"/>'
        f"<w:OperationTimeout>{operation_timeout(head.operation_timeout)}</w:OperationTimeout>"
        f"{selectors}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )


def open_answer(text: str, *, message_id: str | None, maximum_bytes: int) -> ET.Element:
    """Return the s:Body of an answer.

    Raises a `WsmanFault` (or DeadlineExceeded for the host's TimedOut) when it is a fault, and
    ProtocolViolation when it is no SOAP envelope or answers another message.  `message_id` None
    stands for Identify, whose answer has no header.  A fault may lack RelatesTo (the host may
    have failed to read the header), but may not name another message.
    """
    root = parse(text, maximum_bytes=maximum_bytes)
    body = root.find(f"{_SOAP}Body")
    if root.tag != f"{_SOAP}Envelope" or body is None:
        raise ProtocolViolation(f"the answer is <{local_name(root)[:60]}>, not a SOAP envelope")
    fault = body.find(f"{_SOAP}Fault")
    relates_to = root.findtext(_RELATES_TO)
    if (
        message_id is not None
        and relates_to != message_id
        and not (relates_to is None and fault is not None)
    ):
        raise ProtocolViolation("the answer belongs to another message")
    if fault is not None:
        raise read_fault(fault)
    return body


def read_identity(body: ET.Element) -> Identity:
    """Read the answer to Identify."""
    answer = _only_child(body, f"{_IDENTITY}IdentifyResponse")
    texts = {local_name(child): (child.text or "").strip() for child in answer}
    return Identity(
        vendor=texts.pop("ProductVendor", ""),
        product_version=texts.pop("ProductVersion", ""),
        protocol_version=texts.pop("ProtocolVersion", ""),
        extra={name: text for name, text in texts.items() if text},
    )


def read_get(body: ET.Element) -> Instance:
    """Read the answer to Get."""
    if len(body) != 1:
        raise ProtocolViolation(f"the answer to Get holds {len(body)} elements")
    return read_instance(body[0])


def read_page(body: ET.Element) -> Page:
    """Read the answer to Enumerate or Pull.

    Items and EndOfSequence are in the WS-Man namespace in the first answer and in the enumeration
    namespace in those to Pull.  An answer with neither context nor end would be a list cut short
    without a word, hence a ProtocolViolation.
    """
    if len(body) != 1 or body[0].tag not in (
        f"{_ENUMERATION}EnumerateResponse",
        f"{_ENUMERATION}PullResponse",
    ):
        raise ProtocolViolation("the answer is no EnumerateResponse or PullResponse")
    instances: list[Instance] = []
    context: str | None = None
    ended = False
    for element in body[0]:
        match local_name(element):
            case "Items":
                instances.extend(read_instance(item) for item in element)
            case "EnumerationContext":
                context = (element.text or "").strip() or None
            case "EndOfSequence":
                ended = True
    if not ended and context is None:
        raise ProtocolViolation("an enumeration without a context and without an end")
    return Page(tuple(instances), None if ended else context)


def read_result(body: ET.Element, method: str) -> MethodResult:
    """Read `Method_OUTPUT`; an empty body is a void method without out parameters."""
    if len(body) == 0:
        return MethodResult(None, Instance(f"{method}_OUTPUT", {}))
    output = body[0]
    if local_name(output).lower() != f"{method}_output".lower():
        raise ProtocolViolation(f"{method} was answered with <{local_name(output)[:60]}>")
    out = read_instance(output)
    code = out.string("ReturnValue")
    if code is None:
        return MethodResult(None, out)
    try:
        return MethodResult(int(code), out)
    except ValueError:
        raise ProtocolViolation(f"{method} returned {code[:60]!r}, not a number") from None


def _only_child(body: ET.Element, tag: str) -> ET.Element:
    child = body.find(tag)
    if child is None:
        raise ProtocolViolation(f"the answer holds no {tag.rpartition('}')[2]}")
    return child
