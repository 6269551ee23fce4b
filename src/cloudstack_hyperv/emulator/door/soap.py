"""Reading a request: bytes to a checked SOAP envelope.

Windows checks the envelope before it looks at the resource: SOAP version, the addressing headers
that every request carries, headers marked mustUnderstand that it does not know, limits and selector
syntax.  Each check that fails is a fault of its own; this module raises them all as WsmanFault.

`MalformedRequest` carries the MessageID if it was read before the request turned out bad, so that
the fault can relate to it.

Sources: DSP0226 chapters 5 to 6 and 13; [MS-WSMV] 2.2.4 for Microsoft's headers; SOAP 1.2 part 1
for mustUnderstand and the ban on document type declarations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, ParseError, XMLParser

from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door import uris
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.sealing import charset_of

MINIMUM_ENVELOPE: Final = 8192
"""Smallest MaxEnvelopeSize that a service must accept (DSP0226 R13.1-3)."""
_MAX_HEADERS: Final = 64
_MAX_DEPTH: Final = 100

_S: Final = "{" + uris.SOAP + "}"
_A: Final = "{" + uris.ADDRESSING + "}"
_W: Final = "{" + uris.WSMAN + "}"
_P: Final = "{" + uris.MS_WSMAN + "}"
_MUST_UNDERSTAND: Final = _S + "mustUnderstand"

_KNOWN_HEADERS: Final = frozenset(
    {_A + name for name in ("To", "Action", "MessageID", "ReplyTo", "FaultTo", "From", "RelatesTo")}
    | {
        _W + name
        for name in (
            "ResourceURI",
            "SelectorSet",
            "OptionSet",
            "OperationTimeout",
            "MaxEnvelopeSize",
            "Locale",
            "FragmentTransfer",
            "RequestTotalItemsCountEstimate",
        )
    }
    | {_P + name for name in ("DataLocale", "SessionId", "OperationID", "SequenceId", "ActivityId")}
)

_PROLOG = re.compile(
    r"\ufeff?(?P<declaration><\?xml\s[^>]*\?>)?(?:\s|<!--.*?-->|<\?(?!xml\s).*?\?>)*", re.DOTALL
)
_DURATION = re.compile(
    r"P(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,9}(?:\.\d{1,9})?)S)?)?\Z"
)


@dataclass(frozen=True, slots=True)
class Request:
    """One envelope that passed every check which does not depend on the resource."""

    action: str
    message_id: str
    resource: uris.Resource
    selectors: dict[str, str | Element]
    """By name as written, in order; an Element is the EndpointReference of a key that is a REF."""
    options: dict[str, str]
    max_envelope: int | None
    """Octets, as the client asks; None if it does not."""
    operation_timeout_s: float | None
    wants_count: bool
    body: Element | None
    """First child of s:Body."""
    used_cdata: bool
    """Whether the envelope holds a CDATA section."""


@dataclass(frozen=True, slots=True)
class Identify:
    """The Identify request, which has no addressing headers."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed but not yet checked envelope."""

    root: Element
    text: str


class MalformedRequest(WsmanFault):
    """A fault found while reading, with the MessageID to which it relates (None: not known)."""

    def __init__(self, fault: WsmanFault, message_id: str | None) -> None:
        super().__init__(fault.kind, fault.wmi, not_understood=fault.not_understood)
        self.message_id = message_id


def decode(body: bytes, content_type: str) -> tuple[str, str]:
    """Return a body's text and its charset, "UTF-8" or "UTF-16"; raises WsmanFault.

    A byte order mark wins over the charset parameter, which wins over the default UTF-8.
    """
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        charset = "utf-16"
    elif body.startswith(b"\xef\xbb\xbf"):
        charset = "utf-8-sig"
    else:
        named = (charset_of(content_type) or "utf-8").lower().replace("_", "-")
        if named in ("utf-8", "utf8", "us-ascii"):
            charset = "utf-8"
        elif named in ("utf-16", "utf-16le", "utf16"):
            charset = "utf-16-le"
        elif named == "utf-16be":
            charset = "utf-16-be"
        else:
            raise WsmanFault(table.UNSUPPORTED_ENCODING)
    try:
        text = body.decode(charset)
    except UnicodeDecodeError as error:
        raise WsmanFault(table.INVALID_XML) from error
    return text, "UTF-16" if charset.startswith("utf-16") else "UTF-8"


def parse_xml(text: str) -> Element:
    """Parse XML, refusing document type declarations and absurd nesting; raises WsmanFault."""
    prolog = _PROLOG.match(text)
    start = prolog.end() if prolog is not None else 0
    if text.startswith("<!", start):
        raise WsmanFault(table.INVALID_XML)
    parser = XMLParser()
    try:
        parser.feed(text[start:])
        root = parser.close()
    except (ParseError, UnicodeEncodeError) as error:
        raise WsmanFault(table.INVALID_XML) from error
    if not isinstance(root, Element):
        raise WsmanFault(table.INVALID_XML)
    _limit_depth(root)
    return root


def _limit_depth(root: Element) -> None:
    level: Iterable[Element] = (root,)
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in parent]
        if not level:
            return
    raise WsmanFault(table.INVALID_XML)


def read_request(text: str, *, server_limit: int) -> Request | Identify:
    """Check an envelope; raises MalformedRequest.

    `server_limit` is the host's own MaxEnvelopeSize in octets, to which a larger one is cut.
    """
    message_id: str | None = None
    try:
        root = parse_xml(text)
        header, body = _envelope_parts(root)
        if header is not None:
            found = header.find(_A + "MessageID")
            message_id = found.text if found is not None else None
        content = _only_child(body)
        if content is not None and content.tag == "{" + uris.IDENTITY + "}Identify":
            return Identify()
        return _Headers(header).request(content, server_limit, used_cdata="<![CDATA[" in text)
    except WsmanFault as fault:
        raise MalformedRequest(fault, message_id) from fault


def _envelope_parts(root: Element) -> tuple[Element | None, Element]:
    if root.tag != _S + "Envelope":
        if root.tag.endswith("}Envelope"):
            raise WsmanFault(table.VERSION_MISMATCH)
        raise WsmanFault(table.INVALID_XML)
    children = list(root)
    header = children.pop(0) if children and children[0].tag == _S + "Header" else None
    if len(children) != 1 or children[0].tag != _S + "Body":
        raise WsmanFault(table.INVALID_BODY)
    return header, children[0]


def _only_child(body: Element) -> Element | None:
    if len(body) > 1 or (body.text and body.text.strip()):
        raise WsmanFault(table.INVALID_BODY)
    return body[0] if len(body) else None


class _Headers:
    """The header block of one request."""

    def __init__(self, header: Element | None) -> None:
        self._by_tag: dict[str, Element] = {}
        elements = list(header) if header is not None else []
        if len(elements) > _MAX_HEADERS:
            raise WsmanFault(table.INVALID_MESSAGE_HEADER)
        for each in elements:
            must = each.get(_MUST_UNDERSTAND, "false").strip()
            if must not in ("true", "false", "1", "0"):
                raise WsmanFault(table.INVALID_MESSAGE_HEADER)
            if each.tag not in _KNOWN_HEADERS:
                if must in ("true", "1"):
                    namespace, _, name = each.tag.rpartition("}")
                    raise WsmanFault(
                        table.NOT_UNDERSTOOD, not_understood=(namespace.lstrip("{"), name)
                    )
                continue
            if each.tag in self._by_tag:
                raise WsmanFault(table.INVALID_MESSAGE_HEADER)
            self._by_tag[each.tag] = each

    def request(self, body: Element | None, server_limit: int, *, used_cdata: bool) -> Request:
        """Check all headers and return the request."""
        action = self._required("Action")
        message_id = self._required("MessageID", strip=False)
        self._required("To")
        self._check_reply_to()
        self._check_refused_features()
        return Request(
            action,
            message_id,
            self._resource(),
            self._selectors(),
            self._options(),
            self._max_envelope(server_limit),
            self._operation_timeout(),
            _W + "RequestTotalItemsCountEstimate" in self._by_tag,
            body,
            used_cdata,
        )

    def _required(self, name: str, *, strip: bool = True) -> str:
        element = self._by_tag.get(_A + name)
        if element is None:
            raise WsmanFault(table.HEADER_REQUIRED)
        text = element.text or ""
        if not text.strip() or len(element):
            raise WsmanFault(table.INVALID_MESSAGE_HEADER)
        return text.strip() if strip else text

    def _check_reply_to(self) -> None:
        reply_to = self._by_tag.get(_A + "ReplyTo")
        if reply_to is None:
            raise WsmanFault(table.HEADER_REQUIRED)
        for name in ("ReplyTo", "FaultTo"):
            endpoint = self._by_tag.get(_A + name)
            if endpoint is None:
                continue
            address = (endpoint.findtext(_A + "Address") or "").strip()
            if not address:
                raise WsmanFault(table.INVALID_MESSAGE_HEADER)
            if address.lower() != uris.ANONYMOUS:
                raise WsmanFault(table.ADDRESSING_MODE)

    def _check_refused_features(self) -> None:
        locale = self._by_tag.get(_W + "Locale")
        if locale is not None and locale.get(_MUST_UNDERSTAND, "").strip() in ("true", "1"):
            raise WsmanFault(table.LOCALE_UNSUPPORTED)
        if _W + "FragmentTransfer" in self._by_tag:
            raise WsmanFault(table.FRAGMENT_TRANSFER)

    def _resource(self) -> uris.Resource:
        element = self._by_tag.get(_W + "ResourceURI")
        if element is None:
            raise WsmanFault(table.INVALID_RESOURCE_URI)
        try:
            return uris.parse_resource_uri((element.text or "").strip())
        except uris.BadResourceUri as error:
            raise WsmanFault(table.INVALID_RESOURCE_URI) from error

    def _selectors(self) -> dict[str, str | Element]:
        element = self._by_tag.get(_W + "SelectorSet")
        return read_selectors(element) if element is not None else {}

    def _options(self) -> dict[str, str]:
        element = self._by_tag.get(_W + "OptionSet")
        options: dict[str, str] = {}
        for option in element if element is not None else ():
            name = option.get("Name", "").strip()
            if option.tag != _W + "Option" or not name:
                raise WsmanFault(table.INVALID_MESSAGE_HEADER)
            if option.get("MustComply", "false").strip().lower() in ("true", "1"):
                raise WsmanFault(table.INVALID_OPTIONS)
            options[name] = option.text or ""
        return options

    def _max_envelope(self, server_limit: int) -> int | None:
        element = self._by_tag.get(_W + "MaxEnvelopeSize")
        if element is None:
            return None
        text = (element.text or "").strip()
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise WsmanFault(table.INVALID_MESSAGE_HEADER)
        size = int(text)
        if size < MINIMUM_ENVELOPE:
            raise WsmanFault(table.ENVELOPE_TOO_SMALL)
        return min(size, server_limit)

    def _operation_timeout(self) -> float | None:
        element = self._by_tag.get(_W + "OperationTimeout")
        if element is None:
            return None
        seconds = duration_seconds((element.text or "").strip())
        if not seconds:
            raise WsmanFault(table.INVALID_TIMEOUT)
        return seconds


def read_selectors(selector_set: Element) -> dict[str, str | Element]:
    """Read a w:SelectorSet; raises WsmanFault for duplicates and for what is not a Selector."""
    selectors: dict[str, str | Element] = {}
    seen: set[str] = set()
    for each in selector_set:
        name = each.get("Name", "").strip()
        if each.tag != _W + "Selector" or not name:
            raise WsmanFault(table.INVALID_SELECTORS)
        if name.lower() in seen:
            raise WsmanFault(table.DUPLICATE_SELECTORS)
        seen.add(name.lower())
        if not len(each):
            selectors[name] = each.text or ""
        elif len(each) == 1 and each[0].tag == _A + "EndpointReference":
            selectors[name] = each[0]
        else:
            raise WsmanFault(table.INVALID_SELECTORS)
    return selectors


def duration_seconds(text: str) -> float | None:
    """Return an xs:duration without years and months in seconds; None if it is not one."""
    found = _DURATION.match(text)
    if found is None or text.endswith(("P", "T")):
        return None
    days, hours, minutes = (int(found[part] or 0) for part in ("days", "hours", "minutes"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + float(found["seconds"] or 0)
