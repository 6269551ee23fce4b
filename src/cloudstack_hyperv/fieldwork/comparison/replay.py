"""Playing a recording's requests to a host, step by step, and comparing what comes back.

The rule: the replayed host is always brought to where the recorded one was.  A look that shows
another state is repeated for a while, a job that only the replayed host made is waited for, a look
at a job that it did not make is left out.  What then still differs is a difference.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as ET

from cloudstack_hyperv.cim.constants import FINAL_JOB_STATES, JobState, ReturnCode
from cloudstack_hyperv.fieldwork.comparison.answer_pairs import (
    Enumerated,
    Sheet,
    compare_answers,
    compare_enumerations,
    job_of,
    return_value,
)
from cloudstack_hyperv.fieldwork.comparison.answers import Answer, read_answer
from cloudstack_hyperv.fieldwork.comparison.differences import Difference, Kind
from cloudstack_hyperv.fieldwork.comparison.identifiers import Identifiers
from cloudstack_hyperv.fieldwork.comparison.requests import Request
from cloudstack_hyperv.fieldwork.comparison.steps import Asked, Step, steps_of
from cloudstack_hyperv.fieldwork.comparison.wire import Wire
from cloudstack_hyperv.fieldwork.recording.file import Entry, FolderMade, IsoMade
from cloudstack_hyperv.fieldwork.selftest.tiny_iso import empty_iso
from cloudstack_hyperv.storage.host_files import HostFiles
from cloudstack_hyperv.wsman import WsmanError
from cloudstack_hyperv.wsman.protocol import envelope, names
from cloudstack_hyperv.wsman.protocol.envelope import Head
from cloudstack_hyperv.wsman.protocol.xmltext import escape, local_name

PATIENCE: Final = 2.0
"""Seconds for which a look that shows another state is repeated."""
LONG_PATIENCE: Final = 60.0
"""The same for a look that the recorded client repeated, too, and for jobs."""
_PAUSE: Final = 0.05
_MAY_PASS: Final = frozenset({Kind.CODE, Kind.FAULT, Kind.ROWS})
_CONTEXT: Final = f"{{{names.ENUMERATION}}}EnumerationContext"
_DONE: Final = str(int(ReturnCode.COMPLETED))
_STARTED: Final = str(int(ReturnCode.JOB_STARTED))
_GOOD_ENDS: Final = frozenset({JobState.COMPLETED, JobState.COMPLETED_WITH_WARNINGS})
_URL: Final = "http://127.0.0.1/wsman"
_MOST_PAGES: Final = 100_000


@dataclass(slots=True)
class Comparison:
    """What a replay found."""

    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no difference and still worth a line."""
    requests: int = 0
    """Requests of the recording that were replayed, pages and repeated looks not counted."""
    left_out: int = 0


class Replay:
    """One replay to one host."""

    def __init__(self, wire: Wire, files: HostFiles) -> None:
        self._wire = wire
        self._files = files
        self._identifiers = Identifiers()
        self._recorded_jobs: dict[str, int] = {}
        """Id of a recorded job to the last JobState that was seen."""
        self._lasting: set[tuple[str, ...]] = set()
        """Differences that did not pass when they were waited for."""
        self.result = Comparison()

    async def play(self, entries: Iterable[Entry]) -> Comparison:
        """Play everything; raises ProtocolViolation for a recording that holds no envelopes."""
        steps = steps_of(entries)
        self._recorded_jobs = _job_states(steps)
        for step in steps:
            match step:
                case FolderMade():
                    await self._files.make_folder(step.path)
                case IsoMade():
                    await self._lay_iso(step.path)
                case Asked():
                    await self._ask(step)
        return self.result

    async def _lay_iso(self, path: str) -> None:
        content = empty_iso()
        writer = await self._files.create(f"{path}.part", len(content))
        try:
            await writer.write(0, content)
            await writer.commit(path)
        except BaseException:
            await writer.abort()
            raise

    async def _ask(self, step: Asked) -> None:
        request = step.request
        if request.unplayable:
            self._leave_out(step, "its command line was masked")
            return
        if request.job and not self._identifiers.knows(request.job):
            self._leave_out(step, "a look at a job that the replayed host did not start")
            return
        self.result.requests += 1
        try:
            sheet, answer = await self._settled(step)
        except (WsmanError, TimeoutError) as error:
            self._note_differences(
                step, [(Kind.UNANSWERED, "", "an answer", str(error) or "no answer in time")]
            )
            return
        for pair in sheet.pairs:
            self._identifiers.pair(*pair)
        self._note_differences(step, sheet.reported)
        self.result.notes += [self._note(step, note) for note in sheet.notes]
        await self._compare_outcomes(step, answer)

    async def _settled(self, step: Asked) -> tuple[Sheet, Answer]:
        """Ask, and again while the replayed host may only be late."""
        loop = asyncio.get_running_loop()
        repeated = step.times > 1 or bool(step.request.job)
        end = loop.time() + (LONG_PATIENCE if repeated else PATIENCE)
        while True:
            sheet, answer = await self._once(step)
            passing = {
                self._difference(step, reported).what
                for reported in sheet.reported
                if reported[0] in _MAY_PASS
            }
            if step.request.verb not in ("Get", "Enumerate") or passing <= self._lasting:
                return sheet, answer
            if loop.time() >= end:
                self._lasting |= passing
                return sheet, answer
            await asyncio.sleep(_PAUSE)

    async def _once(self, step: Asked) -> tuple[Sheet, Answer]:
        request = step.request
        answer = read_answer(await self._wire.post(self._identifiers.apply(request.text)))
        if request.verb != "Enumerate":
            return compare_answers(request, step.answer, answer), answer
        replayed = await self._to_the_end(step, answer)
        return (
            compare_enumerations(request, _recorded(step), replayed, self._identifiers),
            answer,
        )

    async def _to_the_end(self, step: Asked, first: Answer) -> Enumerated:
        """Pull the rest as the recorded client did."""
        enumerated = Enumerated(first, first.rows, None)
        pull = step.pages[0][0] if step.pages else None
        limited = pull is None or pull.limited
        context, page = first.context, first
        for _ in range(_MOST_PAGES):
            if context is None or page.fault is not None:
                break
            page = read_answer(await self._wire.post(self._pull(step.request, pull, context)))
            enumerated.rows += page.rows
            if not limited:
                most = enumerated.largest_unlimited_pull or 0
                enumerated.largest_unlimited_pull = max(most, len(page.rows))
            context = page.context
        return enumerated

    def _pull(self, request: Request, pull: Request | None, context: str) -> str:
        if pull is not None:
            text = self._identifiers.apply(pull.text)
            recorded = self._identifiers.apply(pull.context)
            return text.replace(f">{escape(recorded)}<", f">{escape(context)}<")
        uri = _resource(request)
        return envelope.pull_request(self._head(), uri, context)

    async def _compare_outcomes(self, step: Asked, answer: Answer) -> None:
        """Where only one host made a job: see that both came to the same end.

        The replayed host's own job is waited for, before the next request comes.
        """
        recorded, replayed = step.answer.element, answer.element
        if not step.request.method or recorded is None or replayed is None:
            return
        codes = (return_value(recorded), return_value(replayed))
        if codes.count(_STARTED) != 1:
            return
        ends = (
            self._recorded_end(recorded) if codes[0] == _STARTED else codes[0] == _DONE,
            await self._own_end(replayed) if codes[1] == _STARTED else codes[1] == _DONE,
        )
        if None not in ends and ends[0] != ends[1]:
            words = ["completed" if end else "failed" for end in ends]
            where = f"{local_name(recorded)}/ReturnValue"
            self._note_differences(step, [(Kind.CODE, where, words[0], words[1])])

    def _recorded_end(self, output: ET.Element) -> bool | None:
        """Return whether a recorded job completed; None if nobody looked."""
        job = job_of(output)
        state = None if job is None else self._recorded_jobs.get(job.key("InstanceID") or "")
        return None if state is None else state in _GOOD_ENDS

    async def _own_end(self, output: ET.Element) -> bool | None:
        """Wait for a job of the replayed host; None if it is gone or does not end."""
        job = job_of(output)
        if job is None:
            return None
        text = envelope.get_request(self._head(), job)
        end = asyncio.get_running_loop().time() + LONG_PATIENCE
        while asyncio.get_running_loop().time() < end:
            row = read_answer(await self._wire.post(text)).element
            state = None if row is None else _state(row)
            if state is None or state in FINAL_JOB_STATES:
                return None if state is None else state in _GOOD_ENDS
            await asyncio.sleep(_PAUSE)
        return None

    def _head(self) -> Head:
        return Head(_URL, f"uuid:{str(uuid.uuid4()).upper()}", 60.0)

    def _leave_out(self, step: Asked, reason: str) -> None:
        self.result.left_out += 1
        self.result.notes.append(self._note(step, f"left out: {reason}"))

    def _note(self, step: Asked, text: str) -> str:
        return f"{step.request.operation}: {text}"

    def _note_differences(
        self, step: Asked, reported: Iterable[tuple[Kind, str, str, str]]
    ) -> None:
        self.result.differences += [self._difference(step, each) for each in reported]

    def _difference(self, step: Asked, reported: tuple[Kind, str, str, str]) -> Difference:
        kind, where, recorded, replayed = reported
        return Difference(
            kind,
            step.request.operation,
            where,
            recorded,
            replayed,
            step.number,
            step.scenario,
        )


def _recorded(step: Asked) -> Enumerated:
    rows = step.answer.rows
    largest: int | None = None
    for request, answer in step.pages:
        rows += answer.rows
        if not request.limited:
            largest = max(largest or 0, len(answer.rows))
    return Enumerated(step.answer, rows, largest)


def _resource(request: Request) -> str:
    start = request.text.index("ResourceURI")
    return request.text[request.text.index(">", start) + 1 : request.text.index("<", start)]


def _job_states(steps: Iterable[Step]) -> dict[str, int]:
    return {
        step.request.job: _state(step.answer.element)
        for step in steps
        if isinstance(step, Asked) and step.request.job and step.answer.element is not None
    }


def _state(job: ET.Element) -> int:
    text = next((child.text or "0" for child in job if local_name(child) == "JobState"), "0")
    return int(text)
