"""A recorded answer and the one to the same request, side by side.

What a host is free to do is no difference: 0 or 4096, how an enumeration is cut into pages, which
rows there are when a whole class of the host is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.fieldwork.comparison.answers import Answer, Fault, object_of
from cloudstack_hyperv.fieldwork.comparison.differences import Kind
from cloudstack_hyperv.fieldwork.comparison.identifiers import Identifiers
from cloudstack_hyperv.fieldwork.comparison.requests import Request
from cloudstack_hyperv.fieldwork.comparison.rows import paired
from cloudstack_hyperv.fieldwork.comparison.shapes import (
    compare_children,
    compare_elements,
    label,
    out_of_order,
)
from cloudstack_hyperv.wsman.protocol.instances import read_reference
from cloudstack_hyperv.wsman.protocol.xmltext import local_name

_JOB_STARTED: Final = str(int(ReturnCode.JOB_STARTED))

Reported = tuple[Kind, str, str, str]
"""Kind, place, the recorded form and the other one."""


@dataclass(slots=True)
class Enumerated:
    """An enumeration to its end."""

    first: Answer
    rows: list[ET.Element]
    largest_unlimited_pull: int | None
    """Most items that came with one Pull that did not say how many."""


@dataclass(slots=True)
class Sheet:
    """What comes out of one comparison, before it is decided to believe it."""

    reported: list[Reported] = field(default_factory=list)
    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    """What the two answers say of identifiers, see `Identifiers.pair`."""
    notes: list[str] = field(default_factory=list)

    def report(self, kind: Kind, place: str, recorded: str, replayed: str) -> None:
        """Note a difference."""
        self.reported.append((kind, place, recorded, replayed))

    def pair(self, name: str, recorded: str, replayed: str) -> None:
        """Note two texts that stand for each other."""
        self.pairs.append((name, recorded, replayed))


def compare_answers(request: Request, recorded: Answer, replayed: Answer) -> Sheet:
    """Compare answers that are no enumerations."""
    sheet = Sheet()
    _compare_envelopes(recorded, replayed, sheet)
    if _compare_faults(recorded.fault, replayed.fault, sheet):
        return sheet
    one, other = recorded.element, replayed.element
    if one is None or other is None:
        if one is not other:
            sheet.report(Kind.ELEMENT, "Body", _name(one), _name(other))
        return sheet
    if one.tag != other.tag:
        sheet.report(Kind.ELEMENT, "Body", one.tag, other.tag)
        return sheet
    compare_elements(one, other, sheet.report, sheet.pair)
    if request.method:
        _forgive_job_choice(one, other, sheet)
    return sheet


def compare_enumerations(
    request: Request, recorded: Enumerated, replayed: Enumerated, identifiers: Identifiers
) -> Sheet:
    """Compare enumerations, row by row."""
    sheet = Sheet()
    _compare_envelopes(recorded.first, replayed.first, sheet)
    if _compare_faults(recorded.first.fault, replayed.first.fault, sheet):
        return sheet
    if recorded.first.context is not None:
        sheet.pair("EnumerationContext", recorded.first.context, replayed.first.context or "")
    if not recorded.rows and not replayed.rows and recorded.first.frame != replayed.first.frame:
        sheet.report(
            Kind.ELEMENT, "Body", " ".join(recorded.first.frame), " ".join(replayed.first.frame)
        )
    limits = (recorded.largest_unlimited_pull, replayed.largest_unlimited_pull)
    if None not in limits and limits[0] != limits[1]:
        sheet.report(Kind.PAGING, "items of a Pull without MaxElements", *map(str, limits))
    if request.bound:
        _compare_bound_rows(recorded.rows, replayed.rows, identifiers, sheet)
    else:
        _compare_any_rows(recorded.rows, replayed.rows, identifiers, sheet)
    return sheet


def compare_rows(recorded: ET.Element, replayed: ET.Element, sheet: Sheet) -> None:
    """Compare two rows; one may hold its reference, too."""
    if recorded.tag != replayed.tag:
        sheet.report(Kind.ELEMENT, "Items", _name(recorded), _name(replayed))
    else:
        compare_elements(recorded, replayed, sheet.report, sheet.pair)


def _compare_bound_rows(
    recorded: Sequence[ET.Element],
    replayed: Sequence[ET.Element],
    identifiers: Identifiers,
    sheet: Sheet,
) -> None:
    """Compare rows about certain objects: their number and order count."""
    numbers, others = _classes(recorded), _classes(replayed)
    for name in sorted({*numbers, *others}):
        if numbers[name] != others[name]:
            sheet.report(Kind.ROWS, name, str(numbers[name]), str(others[name]))
    places: list[int] = []
    position = {id(row): place for place, row in enumerate(replayed)}
    for row, other in paired(recorded, replayed, identifiers):
        if other is not None:
            compare_rows(row, other, sheet)
            places.append(position[id(other)])
    if places != sorted(places) and numbers == others:
        names = [[_name(object_of(row)) for row in rows] for rows in (recorded, replayed)]
        sheet.report(Kind.ORDER, "rows", *out_of_order(*names))


def _compare_any_rows(
    recorded: Sequence[ET.Element],
    replayed: Sequence[ET.Element],
    identifiers: Identifiers,
    sheet: Sheet,
) -> None:
    """Compare rows of a whole class, each with the one that is most like it."""
    if len(recorded) != len(replayed):
        sheet.notes.append(f"{len(recorded)} rows recorded, {len(replayed)} replayed")
    for row, other in paired(recorded, replayed, identifiers, certain=True):
        if other is not None:
            compare_rows(row, other, sheet)
            continue
        alike = [each for each in replayed if object_of(each).tag == object_of(row).tag]
        if alike:
            sheet.reported += sorted((_differences(row, each) for each in alike), key=len)[0]
        else:
            sheet.notes.append(f"no row of {_name(object_of(row))} to compare with")


def _differences(row: ET.Element, other: ET.Element) -> list[Reported]:
    sheet = Sheet()
    compare_rows(row, other, sheet)
    return sheet.reported


def _compare_envelopes(recorded: Answer, replayed: Answer, sheet: Sheet) -> None:
    if recorded.header != replayed.header:
        sheet.report(Kind.ENVELOPE, "Header", " ".join(recorded.header), " ".join(replayed.header))
    for prefix in sorted({*recorded.prefixes, *replayed.prefixes}):
        one, other = (
            recorded.prefixes.get(prefix, "absent"),
            replayed.prefixes.get(prefix, "absent"),
        )
        if one != other:
            sheet.report(Kind.ENVELOPE, f"xmlns:{prefix}", one, other)


def _compare_faults(recorded: Fault | None, replayed: Fault | None, sheet: Sheet) -> bool:
    """Compare faults; True when at least one of the answers is a fault."""
    if recorded is None and replayed is None:
        return False
    if recorded is None or replayed is None:
        sheet.report(Kind.FAULT, "Body", _fault(recorded), _fault(replayed))
        return True
    if (recorded.subcode, recorded.code) != (replayed.subcode, replayed.code):
        sheet.report(Kind.CODE, "Fault", str(recorded), str(replayed))
    compare_children(
        list(recorded.detail) if recorded.detail is not None else [],
        list(replayed.detail) if replayed.detail is not None else [],
        sheet.report,
        lambda _name, _one, _other: None,
        "Fault/Detail",
    )
    return True


def _forgive_job_choice(one: ET.Element, other: ET.Element, sheet: Sheet) -> None:
    """Take it for no difference that only one host made a job; their ends are compared later."""
    codes = (return_value(one), return_value(other))
    if codes.count(_JOB_STARTED) != 1:
        return
    free = (f"{label(one)}/ReturnValue", f"{label(one)}/Job")
    sheet.reported = [each for each in sheet.reported if each[1] not in free]
    where = "recorded" if codes[0] == _JOB_STARTED else "replayed"
    sheet.notes.append(f"a job only in the {where} answer")


def job_of(output: ET.Element) -> ObjectPath | None:
    """Return the job that a method's answer names."""
    job = next((child for child in output if local_name(child) == "Job"), None)
    return read_reference(job) if job is not None and len(job) else None


def return_value(output: ET.Element) -> str:
    """Return a method's ReturnValue, "" if it has none."""
    return next((e.text or "" for e in output if local_name(e) == "ReturnValue"), "")


def _classes(rows: Sequence[ET.Element]) -> Counter[str]:
    return Counter(_name(object_of(row)) for row in rows)


def _name(element: ET.Element | None) -> str:
    return "empty" if element is None else local_name(element)


def _fault(fault: Fault | None) -> str:
    return "an answer" if fault is None else str(fault)
