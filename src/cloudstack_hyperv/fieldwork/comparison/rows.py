"""Which row of one enumeration stands for which of another.

By identity first (what is known to be the same object), then by name, then by how the identity is
built, then in their order; always within one class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.fieldwork.comparison.answers import object_of
from cloudstack_hyperv.fieldwork.comparison.identifiers import Identifiers
from cloudstack_hyperv.fieldwork.recording.policy import GUID
from cloudstack_hyperv.wsman.protocol.xmltext import local_name

_IDENTITIES: Final = ("InstanceID", "DeviceID", "Name", "Handle")
_NAMES: Final = ("ElementName", "Weight")

Match = Callable[[ET.Element, ET.Element], bool]


def paired(
    recorded: Sequence[ET.Element],
    replayed: Sequence[ET.Element],
    identifiers: Identifiers,
    *,
    certain: bool = False,
) -> list[tuple[ET.Element, ET.Element | None]]:
    """Return each recorded row with the one that stands for it, None if there is none.

    `certain` takes identity and name for it, nothing weaker.
    """
    chosen: dict[int, int] = {}
    matches = tuple(_matches(identifiers))
    for match in matches[:2] if certain else matches:
        for left, row in enumerate(recorded):
            if left in chosen:
                continue
            taken = set(chosen.values())
            found = [
                right
                for right, other in enumerate(replayed)
                if right not in taken and _same_class(row, other) and match(row, other)
            ]
            if found:
                chosen[left] = found[0]
    return [
        (row, replayed[chosen[left]] if left in chosen else None)
        for left, row in enumerate(recorded)
    ]


def _matches(identifiers: Identifiers) -> Iterator[Match]:
    yield lambda one, other: any(
        identifiers.same(left, right) for left, right in _both(one, other, _IDENTITIES)
    )
    yield lambda one, other: any(
        left == right
        for left, right in _both(one, other, ("ElementName", "AccessVlanId", "Weight"))
    )
    yield lambda one, other: any(
        GUID.sub("G", left).casefold() == GUID.sub("G", right).casefold()
        for left, right in _both(one, other, ("InstanceID", "DeviceID"))
    )
    yield lambda _one, _other: True


def _both(one: ET.Element, other: ET.Element, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    left, right = _texts(one), _texts(other)
    for name in names:
        if left.get(name) and right.get(name):
            yield left[name], right[name]


def _texts(row: ET.Element) -> dict[str, str]:
    return {local_name(child): child.text or "" for child in object_of(row)}


def _same_class(one: ET.Element, other: ET.Element) -> bool:
    return object_of(one).tag == object_of(other).tag
