"""An answer taken apart: a fault, rows of an enumeration, or one element; and its envelope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.wsman import DeadlineExceeded, ProtocolViolation, WsmanFault
from cloudstack_hyperv.wsman.protocol import names
from cloudstack_hyperv.wsman.protocol.faults import read_fault
from cloudstack_hyperv.wsman.protocol.xmltext import local_name, parse

_SOAP: Final = f"{{{names.SOAP}}}"
_ENUMERATION: Final = f"{{{names.ENUMERATION}}}"
_REFERENCE: Final = f"{{{names.ADDRESSING}}}EndpointReference"
_ITEM: Final = f"{{{names.WSMAN}}}Item"
_ROOT = re.compile(r"<(?:\w+:)?Envelope\s([^>]*)>")
_PREFIX = re.compile(r'xmlns:(\w+)="([^"]*)"')
TIMED_OUT: Final = 2150858793


@dataclass(frozen=True, slots=True)
class Fault:
    """A SOAP fault, its innermost code."""

    subcode: str
    code: int
    detail: ET.Element | None

    def __str__(self) -> str:
        return f"fault {self.subcode.rpartition(':')[2]} {self.code:#x}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    prefixes: dict[str, str]
    """Declared on the envelope."""
    header: tuple[str, ...]
    """Local names."""
    fault: Fault | None
    element: ET.Element | None
    """The body's only child; None for an empty body."""

    @property
    def rows(self) -> list[ET.Element]:
        """The items of an enumeration."""
        return [] if self.element is None else list(_rows(self.element))

    @property
    def frame(self) -> tuple[str, ...]:
        """What stands around the items of an enumeration, by name, the context left out.

        Whether there is an end is told by the paging, and a context only means that there is not.
        """
        if self.element is None:
            return ()
        around = (child.tag.rpartition("}")[2] for child in self.element)
        return tuple(name for name in around if name not in ("EnumerationContext", "EndOfSequence"))

    @property
    def context(self) -> str | None:
        """The enumeration's context for the next Pull, None at its end."""
        if self.element is None:
            return None
        ended = any(local_name(child) == "EndOfSequence" for child in self.element)
        found = self.element.findtext(f"{_ENUMERATION}EnumerationContext")
        return None if ended or not found or not found.strip() else found.strip()


def read_answer(envelope: str) -> Answer:
    """Take an envelope apart; raises ProtocolViolation for what is none."""
    root = parse(envelope)
    body = root.find(f"{_SOAP}Body")
    if body is None:
        raise ProtocolViolation("an answer without a body")
    header = root.find(f"{_SOAP}Header")
    fault = body.find(f"{_SOAP}Fault")
    head = _ROOT.search(envelope)
    return Answer(
        prefixes=dict(_PREFIX.findall(head[1])) if head is not None else {},
        header=tuple(local_name(child) for child in header) if header is not None else (),
        fault=None if fault is None else _fault(fault),
        element=body[0] if fault is None and len(body) else None,
    )


def object_of(row: ET.Element) -> ET.Element:
    """Return the instance in a row that may also hold its reference."""
    return row[0] if row.tag == _ITEM and len(row) else row


def _rows(element: ET.Element) -> Iterator[ET.Element]:
    for child in element:
        if local_name(child) == "Items":
            yield from child


def _fault(element: ET.Element) -> Fault:
    detail = element.find(f"{_SOAP}Detail")
    read = read_fault(element)
    match read:
        case WsmanFault():
            return Fault(read.detail.subcode, read.detail.code, detail)
        case DeadlineExceeded():
            return Fault("w:TimedOut", TIMED_OUT, detail)
    return Fault(type(read).__name__, 0, detail)
