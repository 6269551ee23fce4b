"""How a connection ends, and what that means for the next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lost:
    """It broke, or was closed: connect again after a pause."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The management server does not want the host: try again much later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Moved:
    """Connect at once: to another server, or to the same one with a new certificate."""

    server: str
    transferred: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Retired:
    """The management server deleted the host: never connect again."""

    reason: str
    removed: bool


Outcome = Lost | Refused | Moved | Retired
