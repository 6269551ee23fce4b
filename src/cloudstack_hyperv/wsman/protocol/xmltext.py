"""Reading and writing XML: one guarded `parse`, one `escape`.

The rule: every text that comes from a host passes `parse`, which refuses a document type (SOAP 1.2
part 1, 5 forbids one, and expat would expand its entities), too many bytes, and deep nesting, so
that a walk over the tree may recurse.  Every text that goes into an envelope passes `escape`.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.wsman.errors import ProtocolViolation

MAXIMUM_BYTES: Final = 4 * 1024 * 1024
MAXIMUM_DEPTH: Final = 48
"""A job's __ExtendedStatus inside a provider fault, the deepest known answer, needs 14."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _RefuseDoctype(ET.TreeBuilder):
    """Builds the tree and refuses a document type; slower than the plain builder."""

    def doctype(self, *_declaration: str | None) -> None:
        """Be called by expat for a document type."""
        raise ProtocolViolation("the host's XML has a document type, which SOAP forbids")


def parse(text: str, *, maximum_bytes: int = MAXIMUM_BYTES) -> ET.Element:
    """Parse one XML document; raises ProtocolViolation.

    It takes text, not bytes, so that no declaration inside can choose another encoding than the
    one by which the document type was looked for.
    """
    if len(text) > maximum_bytes:
        raise ProtocolViolation(f"an XML answer of {len(text)} characters is too long")
    target = _RefuseDoctype() if "<!DOCTYPE" in text else ET.TreeBuilder()
    parser = ET.XMLParser(target=target)
    try:
        parser.feed(text)
        root: ET.Element = parser.close()
    except ET.ParseError as error:
        raise ProtocolViolation(f"the host's answer is not XML: {error}") from error
    level = list(root)
    depth = 1
    while level:
        depth += 1
        if depth > MAXIMUM_DEPTH:
            raise ProtocolViolation("the host's XML is nested too deeply")
        level = [child for element in level for child in element]
    return root


def decode(data: bytes, charset: str) -> str:
    """Decode a body by the charset of its Content-Type; raises ProtocolViolation.

    Windows answers in the charset of the request (UTF-8 here); UTF-16 comes with a byte order
    mark.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        charset = "utf-16"
    elif data[:3] == b"\xef\xbb\xbf":
        charset = "utf-8-sig"
    if charset.lower() not in ("utf-8", "utf-8-sig", "utf-16", "utf-16le", "utf-16be"):
        raise ProtocolViolation(f"an answer in charset {charset[:40]!r}")
    try:
        return data.decode(charset)
    except UnicodeDecodeError as error:
        raise ProtocolViolation(f"the answer is not {charset}: {error.reason}") from None


def escape(text: str) -> str:
    """Escape text for an element or a double-quoted attribute; what is read back is the same.

    Raises ValueError for characters that XML cannot carry (control characters, lone surrogates).
    """
    if text.isascii() and text.isalnum():
        return text
    bad = _NOT_XML.search(text)
    if bad is not None:
        raise ValueError(f"a text holds a character XML does not allow: U+{ord(bad[0]):04X}")
    return (
        text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace('"', "&quot;")
        # A literal CR would be read back as LF (XML 1.0, 2.11), LF and TAB in attributes as blank.
        .replace("\r", "&#13;")
    )


def local_name(element: ET.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def namespace_of(element: ET.Element) -> str:
    """Return an element's namespace, "" for none."""
    return element.tag[1:].rpartition("}")[0] if element.tag.startswith("{") else ""
