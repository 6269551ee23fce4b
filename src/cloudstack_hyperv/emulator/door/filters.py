"""Reading the body of an Enumerate request: mode, batch sizes, polymorphism, filter.

Every element is known or refused; what WinRM does not support is refused by its own fault.

Sources: DSP0226 8.2 (Enumerate, OptimizeEnumeration, EnumerationMode), DSP0227 8.3 (association
filter) and 9.3 (PolymorphismMode), [MS-WSMV] for the WQL dialect.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.wql_tree import AssociationFilter
from cloudstack_hyperv.emulator.door import fault_table as table
from cloudstack_hyperv.emulator.door import uris
from cloudstack_hyperv.emulator.door.faults import WsmanFault
from cloudstack_hyperv.emulator.door.leniencies import Leniencies
from cloudstack_hyperv.emulator.door.references import read_reference
from cloudstack_hyperv.emulator.door.soap import duration_seconds, read_selectors

_N: Final = "{" + uris.ENUMERATION + "}"
_W: Final = "{" + uris.WSMAN + "}"
_B: Final = "{" + uris.CIM_BINDING + "}"
_P: Final = "{" + uris.MS_WSMAN + "}"


class Mode(enum.Enum):
    """What an item holds."""

    OBJECT = ""
    EPR = "EnumerateEPR"
    OBJECT_AND_EPR = "EnumerateObjectAndEPR"


class Polymorphism(enum.Enum):
    """How instances of subclasses are shown."""

    INCLUDE = "IncludeSubClassProperties"
    EXCLUDE = "ExcludeSubClassProperties"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class WqlFilter:
    """A query as text."""

    text: str


@dataclass(frozen=True, slots=True)
class SelectorFilter:
    """Equality of properties, all of them."""

    wanted: dict[str, str]


@dataclass(frozen=True, slots=True)
class AssociationWalk:
    """DSP0227's association filter: from where, which way, through what."""

    source: ObjectPath
    references: bool
    """True: the association rows themselves; False: the objects at their other ends."""
    where: AssociationFilter


Filter = WqlFilter | SelectorFilter | AssociationWalk


@dataclass(frozen=True, slots=True)
class EnumerateBody:
    """What an Enumerate request asks."""

    mode: Mode = Mode.OBJECT
    optimize: bool = False
    max_elements: int | None = None
    polymorphism: Polymorphism | None = None
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class PullBody:
    """What a Pull request asks."""

    context: str
    max_elements: int = 1
    max_characters: int | None = None


def read_enumerate(body: Element | None, leniencies: Leniencies, batch_limit: int) -> EnumerateBody:
    """Read n:Enumerate; raises WsmanFault."""
    children = _children(body, "Enumerate")
    refused = {
        _N + "EndTo": table.UNSUPPORTED_FEATURE,
        _N + "Expires": table.EXPIRATION_UNSUPPORTED,
        _N + "Filter": table.FILTERING_NOT_SUPPORTED,
    }
    for tag, kind in refused.items():
        if tag in children:
            raise WsmanFault(kind)
    known = {_W + "OptimizeEnumeration", _W + "MaxElements", _W + "EnumerationMode", _W + "Filter"}
    known.update(space + "PolymorphismMode" for space in (_W, _B, _P))
    if not children.keys() <= known:
        raise WsmanFault(table.SCHEMA_VALIDATION)
    mode_element = children.get(_W + "EnumerationMode")
    filter_element = children.get(_W + "Filter")
    return EnumerateBody(
        _mode(mode_element),
        _W + "OptimizeEnumeration" in children,
        _max_elements(children.get(_W + "MaxElements"), batch_limit),
        _polymorphism(children),
        _filter(filter_element, leniencies) if filter_element is not None else None,
    )


def read_pull(body: Element | None, leniencies: Leniencies, batch_limit: int) -> PullBody:
    """Read n:Pull; raises WsmanFault."""
    children = _children(body, "Pull")
    if leniencies.grants("pull-foreign-elements"):
        children = {tag: each for tag, each in children.items() if tag.startswith(_N)}
    known = {
        _N + name for name in ("EnumerationContext", "MaxTime", "MaxElements", "MaxCharacters")
    }
    if not children.keys() <= known:
        raise WsmanFault(table.SCHEMA_VALIDATION)
    max_time = children.get(_N + "MaxTime")
    if max_time is not None and not duration_seconds((max_time.text or "").strip()):
        raise WsmanFault(table.INVALID_TIMEOUT)
    return PullBody(
        _context(children),
        _max_elements(children.get(_N + "MaxElements"), batch_limit) or 1,
        _positive(children.get(_N + "MaxCharacters")),
    )


def read_release(body: Element | None) -> str:
    """Read n:Release and return the context; raises WsmanFault."""
    return _context(_children(body, "Release"))


def _children(body: Element | None, name: str) -> dict[str, Element]:
    if body is None or body.tag != _N + name:
        raise WsmanFault(table.INVALID_BODY)
    children = {child.tag: child for child in body}
    if len(children) != len(body):
        raise WsmanFault(table.SCHEMA_VALIDATION)
    return children


def _context(children: dict[str, Element]) -> str:
    element = children.get(_N + "EnumerationContext")
    if element is None or len(element):
        raise WsmanFault(table.INVALID_CONTEXT)
    return (element.text or "").strip()


def _mode(element: Element | None) -> Mode:
    if element is None:
        return Mode.OBJECT
    text = (element.text or "").strip()
    for mode in (Mode.EPR, Mode.OBJECT_AND_EPR):
        if text == mode.value:
            return mode
    raise WsmanFault(table.ENUMERATION_MODE)


def _positive(element: Element | None) -> int | None:
    if element is None:
        return None
    text = (element.text or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text)):
        raise WsmanFault(table.SCHEMA_VALIDATION)
    return int(text)


def _max_elements(element: Element | None, limit: int) -> int | None:
    wanted = _positive(element)
    if wanted is not None and wanted > limit:
        raise WsmanFault(table.MAX_ELEMENTS)
    return wanted


def _polymorphism(children: dict[str, Element]) -> Polymorphism | None:
    named = [children[tag] for tag in children if tag.endswith("}PolymorphismMode")]
    if not named:
        return None
    text = (named[0].text or "").strip()
    if len(named) > 1:
        raise WsmanFault(table.SCHEMA_VALIDATION)
    for mode in Polymorphism:
        if text == mode.value:
            return mode
    raise WsmanFault(table.POLYMORPHISM_MODE)


def _filter(element: Element, leniencies: Leniencies) -> Filter:
    dialect = element.get("Dialect", "").strip()
    if dialect == uris.DIALECT_WQL:
        if len(element) or not (element.text or "").strip():
            raise WsmanFault(table.CANNOT_PROCESS_FILTER)
        return WqlFilter(element.text or "")
    if dialect == uris.DIALECT_SELECTOR:
        if len(element) != 1 or element[0].tag != _W + "SelectorSet":
            raise WsmanFault(table.CANNOT_PROCESS_FILTER)
        selectors = read_selectors(element[0])
        wanted = {name: value for name, value in selectors.items() if isinstance(value, str)}
        if len(wanted) != len(selectors) or not wanted:
            raise WsmanFault(table.CANNOT_PROCESS_FILTER)
        return SelectorFilter(wanted)
    if dialect == uris.DIALECT_ASSOCIATION:
        return _association(element, leniencies)
    raise WsmanFault(table.DIALECT_UNAVAILABLE)


def _association(element: Element, leniencies: Leniencies) -> AssociationWalk:
    if len(element) != 1:
        raise WsmanFault(table.CANNOT_PROCESS_FILTER)
    kinds = {_B + "AssociatedInstances": False, _B + "AssociationInstances": True}
    references = kinds.get(element[0].tag)
    children = {child.tag: child for child in element[0]}
    known = {_B + name for name in ("Object", "ResultClassName", "Role")}
    if not references:
        known |= {_B + "AssociationClassName", _B + "ResultRole"}
    if references is None or len(children) != len(element[0]) or not children.keys() <= known:
        raise WsmanFault(table.CANNOT_PROCESS_FILTER)
    source = children.get(_B + "Object")
    if source is None:
        raise WsmanFault(table.CANNOT_PROCESS_FILTER)

    def text(name: str) -> str | None:
        found = children.get(_B + name)
        return ((found.text or "").strip() or None) if found is not None else None

    return AssociationWalk(
        read_reference(source, leniencies),
        references,
        AssociationFilter(
            text("AssociationClassName"),
            text("ResultClassName"),
            text("Role"),
            text("ResultRole"),
        ),
    )
