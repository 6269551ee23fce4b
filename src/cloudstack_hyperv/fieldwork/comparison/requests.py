"""What a recorded request asks for, as far as a replay has to know it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.wsman.protocol import names
from cloudstack_hyperv.wsman.protocol.masking import MASK
from cloudstack_hyperv.wsman.protocol.names import split_class_uri
from cloudstack_hyperv.wsman.protocol.xmltext import local_name, parse

_SOAP: Final = f"{{{names.SOAP}}}"
_ADDRESSING: Final = f"{{{names.ADDRESSING}}}"
_WSMAN: Final = f"{{{names.WSMAN}}}"
_ENUMERATION: Final = f"{{{names.ENUMERATION}}}"
_JOBS: Final = ("Msvm_ConcreteJob", "Msvm_StorageJob", "Msvm_MigrationJob")
_EACH_TIME = re.compile(
    r"<(\w+:)?(MessageID|OperationTimeout)>[^<]*</(?:\w+:)?(?:MessageID|OperationTimeout)>"
)
_QUERIED_CLASS = re.compile(r"\bFROM\s+(\w+)|\{\s*(\w+)\.", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """A recorded request."""

    text: str
    verb: str
    """Identify, Get, Enumerate, Pull, Release, Invoke, or another action's last word."""
    class_name: str
    method: str
    job: str
    """Id of the job that a Get asks for, "" for anything else."""
    context: str
    """Of Pull and Release."""
    limited: bool
    """Whether a Pull says how many items it wants."""
    bound: bool
    """Whether it is about certain objects: keys, a filter, parameters."""

    @property
    def operation(self) -> str:
        """The request in a few words."""
        name = f"{self.class_name}.{self.method}" if self.method else self.class_name
        return f"{self.verb} {name}".strip()

    @property
    def unplayable(self) -> bool:
        """Whether something in it was masked that would have an effect: a command line."""
        return self.class_name == "Win32_Process" and MASK in self.text

    @property
    def sense(self) -> str:
        """The request without what differs each time it is sent."""
        return _EACH_TIME.sub("", self.text)


def read_request(text: str) -> Request:
    """Read a request; raises ProtocolViolation for what is none."""
    root = parse(text)
    header, body = root.find(f"{_SOAP}Header"), root.find(f"{_SOAP}Body")
    inner = body[0] if body is not None and len(body) else None
    if header is None or header.find(f"{_ADDRESSING}Action") is None:
        verb = local_name(inner) if inner is not None else ""
        return Request(text, verb, "", "", "", "", limited=False, bound=False)
    uri = header.findtext(f"{_WSMAN}ResourceURI", "").strip()
    action = header.findtext(f"{_ADDRESSING}Action", "").strip()
    _, class_name = split_class_uri(uri)
    filter_text = (
        ""
        if inner is None
        else "".join("".join(found.itertext()) for found in inner.iter(f"{_WSMAN}Filter"))
    )
    if class_name == "*":
        class_name = _queried(filter_text)
    selectors = {selector.get("Name", ""): selector.text or "" for selector in _selectors(header)}
    word = action.rpartition("/")[2]
    invoked = split_class_uri(action.rpartition("/")[0]) != ("", "")
    return Request(
        text,
        "Invoke" if invoked else word,
        class_name,
        word if invoked else "",
        job=selectors.get("InstanceID", "") if word == "Get" and class_name in _JOBS else "",
        context=_context(inner),
        limited=inner is not None and inner.find(f"{_ENUMERATION}MaxElements") is not None,
        bound=bool(selectors or filter_text or invoked),
    )


def _selectors(header: ET.Element) -> list[ET.Element]:
    return header.findall(f"{_WSMAN}SelectorSet/{_WSMAN}Selector")


def _context(inner: ET.Element | None) -> str:
    return "" if inner is None else inner.findtext(f"{_ENUMERATION}EnumerationContext", "").strip()


def _queried(wql: str) -> str:
    found = _QUERIED_CLASS.search(wql)
    return (found[1] or f"of {found[2]}") if found else "*"
