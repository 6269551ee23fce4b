"""Two XML elements side by side: where their shapes differ, and which texts stand for each other.

A shape is names, order, nil or not, kinds of values; values themselves only count where they are
codes.  Arrays may be of any length.  Types are not on the wire, so a text's kind is told by its
form, and only kinds that cannot be mistaken are compared: a boolean and something else, a number
and words.

Source: DSP0230 (how values travel); what real answers look like is in recordings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.fieldwork.comparison.differences import Kind
from cloudstack_hyperv.wsman import WsmanError
from cloudstack_hyperv.wsman.protocol import names
from cloudstack_hyperv.wsman.protocol.masking import MASK
from cloudstack_hyperv.wsman.protocol.xmltext import local_name, parse

NIL: Final = f"{{{names.SCHEMA_INSTANCE}}}nil"
XSI_TYPE: Final = f"{{{names.SCHEMA_INSTANCE}}}type"
_ADDRESSING: Final = f"{{{names.ADDRESSING}}}"
_CIM: Final = f"{{{names.CIM}}}"
_NAME_ATTRIBUTES: Final = ("Name", "NAME")
_SPOKEN_ATTRIBUTES: Final = frozenset({"Code", "Machine", "Name", "NAME", "lang"})
"""Attributes whose values are not compared here."""
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
_WORDS = re.compile(r".*[G-Zg-z]")
_ANY_TEXT: Final = ("Name", "ID", "Id", "Address", "Number", "Label", "Version")
"""Endings of properties whose texts may be numbers or not."""
CODES: Final = frozenset(
    {
        "CreationClassName",
        "EnabledDefault",
        "EnabledState",
        "ErrorCode",
        "FailedOverReplicationType",
        "HealthState",
        "JobState",
        "LastReplicationType",
        "OperationMode",
        "OperationalStatus",
        "RequestedState",
        "ResetCapability",
        "ResourceSubType",
        "ResourceType",
        "ReturnValue",
        "SystemCreationClassName",
        "VirtualSystemSubType",
        "VirtualSystemType",
    }
)
"""Properties whose values mean something by themselves."""

Report = Callable[[Kind, str, str, str], None]
"""Receives kind, place, the recorded form and the other one."""
Pair = Callable[[str, str, str], None]
"""Receives a local name and two texts that stand for each other."""


def compare_elements(
    recorded: ET.Element, replayed: ET.Element, report: Report, pair: Pair, where: str = ""
) -> None:
    """Walk both; names and namespaces of the two have been seen to be equal."""
    place = f"{where}/{label(recorded)}" if where else label(recorded)
    _compare_attributes(recorded, replayed, report, place)
    forms = (form_of(recorded), form_of(replayed))
    if forms[0] != forms[1]:
        kind = Kind.NIL if "nil" in forms else Kind.TYPE
        report(kind, place, forms[0], forms[1])
        return
    if forms[0] == "INSTANCE":
        _compare_embedded(recorded, replayed, report, pair, place)
    elif len(recorded) or len(replayed):
        compare_children(list(recorded), list(replayed), report, pair, place)
    else:
        texts = (recorded.text or "", replayed.text or "")
        pair(label(recorded), *texts)
        _compare_texts(local_name(recorded), texts, report, place)


def compare_children(
    recorded: Sequence[ET.Element],
    replayed: Sequence[ET.Element],
    report: Report,
    pair: Pair,
    where: str,
) -> None:
    """Compare two lists of elements by their names, then those of one name with each other."""
    one, other = _by_name(recorded), _by_name(replayed)
    for name in one:
        if name not in other:
            report(Kind.ELEMENT, f"{where}/{label(one[name][0])}", "there", "absent")
    for name in other:
        if name not in one:
            report(Kind.ELEMENT, f"{where}/{label(other[name][0])}", "absent", "there")
    common = [name for name in one if name in other]
    order = [name for name in other if name in one]
    if common != order:
        report(
            Kind.ORDER,
            where,
            *out_of_order(
                [label(one[name][0]) for name in common], [label(other[name][0]) for name in order]
            ),
        )
    for name in common:
        for left, right in zip(one[name], other[name], strict=False):
            compare_elements(left, right, report, pair, where)
        _compare_codes(one[name], other[name], report, where)


def form_of(element: ET.Element) -> str:
    """Return what an element holds: nil, datetime, interval, reference, elements, text, ..."""
    if element.get(NIL) in ("true", "1"):
        return "nil"
    if len(element):
        first = element[0].tag
        if first.startswith(_CIM):
            return local_name(element[0]).lower()
        if first.startswith(_ADDRESSING) and not element.tag.startswith(_ADDRESSING):
            return "reference"
        return "elements"
    text = (element.text or "").lstrip("\ufeff \r\n\t")
    return "INSTANCE" if text.startswith(("<INSTANCE ", "<?xml")) else "text"


def label(element: ET.Element) -> str:
    """Return a local name; of a selector or CIM-XML property with what it is called."""
    called = next((element.get(name) for name in _NAME_ATTRIBUTES if element.get(name)), None)
    return f"{local_name(element)}[{called}]" if called else local_name(element)


def _compare_attributes(
    recorded: ET.Element, replayed: ET.Element, report: Report, place: str
) -> None:
    for name in {*recorded.attrib, *replayed.attrib} - {NIL}:
        short = name.rpartition("}")[2]
        one, other = recorded.get(name), replayed.get(name)
        if (one is None) != (other is None):
            # What is nil is compared as a value.
            if NIL not in (*recorded.attrib, *replayed.attrib):
                report(Kind.ELEMENT, f"{place}/@{short}", _shown(one), _shown(other))
        elif short not in _SPOKEN_ATTRIBUTES and one != other:
            report(Kind.TYPE, f"{place}/@{short}", _shown(one), _shown(other))


def _compare_embedded(
    recorded: ET.Element, replayed: ET.Element, report: Report, pair: Pair, place: str
) -> None:
    try:
        one, other = (
            parse((each.text or "").strip("\ufeff \r\n\t")) for each in (recorded, replayed)
        )
    except WsmanError:
        report(Kind.TYPE, place, "an INSTANCE text", "one of them is no XML")
        return
    if one.get("CLASSNAME") != other.get("CLASSNAME"):
        report(Kind.TYPE, place, _shown(one.get("CLASSNAME")), _shown(other.get("CLASSNAME")))
        return
    compare_children(list(one), list(other), report, pair, f"{place}/{one.get('CLASSNAME')}")


def _document(element: ET.Element) -> str:
    return (element.text or "").strip("\ufeff \r\n\t")


def _compare_texts(name: str, texts: tuple[str, str], report: Report, place: str) -> None:
    if name in CODES or "" in texts or MASK in texts:
        return
    kinds = tuple(map(_text_kind, texts))
    if kinds[0] == kinds[1]:
        return
    if "boolean" in kinds or ("other" not in kinds and not name.endswith(_ANY_TEXT)):
        report(Kind.TYPE, place, *kinds)


def _compare_codes(
    recorded: Sequence[ET.Element], replayed: Sequence[ET.Element], report: Report, where: str
) -> None:
    if local_name(recorded[0]) not in CODES:
        return
    one, other = (", ".join(_code(element) for element in each) for each in (recorded, replayed))
    if one.casefold() != other.casefold() and not {"nil", ""} & {one, other}:
        report(Kind.CODE, f"{where}/{label(recorded[0])}", one, other)


def _code(element: ET.Element) -> str:
    return "nil" if element.get(NIL) else (element.text or "")


def _text_kind(text: str) -> str:
    if text.lower() in ("true", "false"):
        return "boolean"
    if _NUMBER.fullmatch(text):
        return "number"
    return "words" if _WORDS.match(text) else "other"


def _by_name(elements: Sequence[ET.Element]) -> dict[tuple[str, str], list[ET.Element]]:
    found: dict[tuple[str, str], list[ET.Element]] = {}
    for element in elements:
        found.setdefault((element.tag, label(element)), []).append(element)
    return found


def out_of_order(one: Sequence[str], other: Sequence[str]) -> tuple[str, str]:
    """Return the parts of two orders of the same names in which they differ."""
    start = 0
    while start < len(one) and one[start : start + 1] == other[start : start + 1]:
        start += 1
    end = len(one)
    while end > start and one[end - 1 : end] == other[end - 1 : end]:
        end -= 1
    return " ".join(one[start:end]), " ".join(other[start:end])


def _shown(text: str | None) -> str:
    return "absent" if text is None else text
