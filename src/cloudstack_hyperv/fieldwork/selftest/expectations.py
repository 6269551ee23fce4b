"""What a self-test expects, why it does, and what it found.

Each expectation bears the mark of its source, the same four words as `docs/emulated-host.md`: a
real host that does otherwise than a [guess] corrects the guess, one that does otherwise than a
[recorded] answer shows that hosts differ.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Source(enum.StrEnum):
    """Why something is expected."""

    RECORDED = "recorded"
    """A public answer of a real host (r4sd/go-wsman's test data)."""
    DOCUMENTED = "documented"
    """Microsoft's or DMTF's documentation."""
    CLIENT_CODE = "client code"
    """Clients that run against real hosts depend on it."""
    GUESS = "guess"


class Outcome(enum.StrEnum):
    """How a scenario ended."""

    AS_EXPECTED = "as expected"
    DIFFERENT = "different"
    """It could be played to its end; something was not as expected."""
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that was looked at."""

    subject: str
    source: Source
    expected: str
    found: str
    met: bool


@dataclass(slots=True)
class Findings:
    """What one scenario has found so far."""

    expectations: list[Expectation] = field(default_factory=list)

    def expect(self, subject: str, source: Source, expected: object, found: object) -> bool:
        """Note whether the two are equal; returns it."""
        met = expected == found
        self.expectations.append(Expectation(subject, source, _shown(expected), _shown(found), met))
        return met

    def expect_true(self, subject: str, source: Source, found: bool | None) -> bool:
        """Note whether something is so."""
        return self.expect(subject, source, "yes", "yes" if found else "no")

    def expect_that(
        self, subject: str, source: Source, expected: str, found: object, *, holds: bool
    ) -> bool:
        """Note a condition that is no equality; `expected` says it in words."""
        self.expectations.append(Expectation(subject, source, expected, _shown(found), holds))
        return holds


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One line of the result table."""

    name: str
    title: str
    outcome: Outcome
    expectations: tuple[Expectation, ...]
    seconds: float
    problem: str = ""
    """Why it failed or was skipped."""

    @property
    def unmet(self) -> tuple[Expectation, ...]:
        """Where the host does otherwise."""
        return tuple(each for each in self.expectations if not each.met)


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "none"
        case frozenset() | set():
            return ", ".join(sorted(map(_shown, value))) or "nothing"
        case tuple() | list():
            return ", ".join(map(_shown, value)) or "nothing"
    return str(value)
