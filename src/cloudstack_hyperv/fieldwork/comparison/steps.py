"""A recording's exchanges as steps that can be replayed.

Two things a host is free to do otherwise are taken together, so that they are not differences:

* an enumeration and its pages, however it was cut, are one step;
* a look that is repeated until something has happened (a job, a state) is one step with its last
  answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloudstack_hyperv.fieldwork.comparison.answers import Answer, read_answer
from cloudstack_hyperv.fieldwork.comparison.requests import Request, read_request
from cloudstack_hyperv.fieldwork.recording.file import Entry, Exchange, FolderMade, IsoMade


@dataclass(slots=True)
class Asked:
    """A request, its last answer, and the pages that belong to it."""

    number: int
    """Of the exchange in the recording, from 1."""
    scenario: str
    request: Request
    answer: Answer
    pages: list[tuple[Request, Answer]] = field(default_factory=list)
    times: int = 1
    """How often it was asked in a row."""


Step = Asked | FolderMade | IsoMade


def steps_of(entries: Iterable[Entry]) -> tuple[Step, ...]:
    """Return the steps; raises ProtocolViolation for an envelope that is none."""
    steps: list[Step] = []
    open_enumerations: dict[str, Asked] = {}
    number = 0
    for entry in entries:
        if isinstance(entry, FolderMade | IsoMade):
            steps.append(entry)
        if not isinstance(entry, Exchange):
            continue
        number += 1
        request, answer = read_request(entry.request), read_answer(entry.answer)
        if request.verb == "Release":
            continue
        begun = open_enumerations.pop(request.context, None) if request.context else None
        if begun is not None:
            begun.pages.append((request, answer))
            if answer.context is not None:
                open_enumerations[answer.context] = begun
            continue
        step = Asked(number, entry.scenario, request, answer)
        last = steps[-1] if steps else None
        if _repeats(step, last):
            step.times = last.times + 1 if isinstance(last, Asked) else 1
            steps[-1] = step
        else:
            steps.append(step)
        if answer.context is not None:
            open_enumerations[answer.context] = step
    return tuple(steps)


def _repeats(step: Asked, last: Step | None) -> bool:
    return (
        isinstance(last, Asked)
        and step.request.verb in ("Get", "Enumerate")
        and last.scenario == step.scenario
        and last.request.sense == step.request.sense
    )
