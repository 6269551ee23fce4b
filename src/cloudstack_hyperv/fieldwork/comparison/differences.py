"""Where two answers differ, as values that can be counted, printed and written as JSON."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What differs."""

    ELEMENT = "element"
    """An element or attribute is only in one of the answers."""
    ORDER = "order"
    """The same elements, or rows, in another order."""
    NIL = "nil"
    """One has a value, the other is xsi:nil."""
    TYPE = "type"
    """Values of different kinds: a reference and a text, true and a number."""
    CODE = "code"
    """A code with a meaning: ReturnValue, a state, a fault's number."""
    VALUE = "value"
    """A value that is the same on every host of the recorded kind."""
    ROWS = "rows"
    """Another number of rows about the same object."""
    PAGING = "paging"
    """Another number of items in one Pull."""
    FAULT = "fault"
    """One is a fault, the other an answer."""
    ENVELOPE = "envelope"
    """Prefixes or headers around the body."""
    UNANSWERED = "unanswered"
    """No WS-Man answer at all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference in the answer to one request."""

    kind: Kind
    operation: str
    """`Get Msvm_ComputerSystem`, `Invoke Msvm_X.Method`, ..."""
    where: str
    """Path of local names from the body, or a part of the envelope."""
    recorded: str
    replayed: str
    exchange: int = 0
    """Number of the exchange in the recording, from 1."""
    scenario: str = ""

    @property
    def what(self) -> tuple[str, str, str, str, str]:
        """What makes two differences the same finding."""
        return (self.kind.value, self.operation, self.where, self.recorded, self.replayed)


@dataclass(frozen=True, slots=True)
class Finding:
    """The same difference in the answers to any number of requests."""

    difference: Difference
    """The first."""
    times: int


def gathered(differences: Iterable[Difference]) -> tuple[Finding, ...]:
    """Count equal differences, in the order of their first occurrence."""
    found: dict[tuple[str, ...], list[Difference]] = {}
    for difference in differences:
        found.setdefault(difference.what, []).append(difference)
    return tuple(Finding(same[0], len(same)) for same in found.values())
