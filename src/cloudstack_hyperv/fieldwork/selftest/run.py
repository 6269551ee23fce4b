"""Playing the programme on a host, and leaving the host as it was.

The rule: the undo stack is unwound whatever happens, a cancellation included, and afterwards the
host is searched for what still bears the run's name.  What is left is a result line, not a log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from cloudstack_hyperv.fieldwork.scratch_names import ScratchNames
from cloudstack_hyperv.fieldwork.selftest.expectations import (
    Findings,
    Outcome,
    ScenarioResult,
    Source,
)
from cloudstack_hyperv.fieldwork.selftest.leftovers import find_leftovers
from cloudstack_hyperv.fieldwork.selftest.programme import PROGRAMME, Scenario
from cloudstack_hyperv.fieldwork.selftest.stage import Diary, Stage
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.inventory import read_default_disk_folder
from cloudstack_hyperv.hypervisor.release import Release, read_release
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.storage.host_files import HostFileError, HostFiles
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath
from cloudstack_hyperv.wsman import CimClient, MissingProperty

SCENARIO_TIMEOUT: Final = 900.0
"""Seconds for one scenario."""
PREPARE, CLEAN_UP = "folder", "clean-up"


class Listener(Protocol):
    """Who is told how far the self-test is."""

    def scenario_begins(self, name: str) -> None:
        """A scenario begins."""
        ...

    def scenario_ended(self, result: ScenarioResult) -> None:
        """A scenario ended."""
        ...


@dataclass(frozen=True, slots=True)
class Ground:
    """A host on which a self-test may be played, looked at without changing anything."""

    client: CimClient
    files: HostFiles
    release: Release
    base: str
    """Windows path of the folder below which the scratch folder is made."""


async def survey(client: CimClient, files: HostFiles, base: str | None) -> Ground:
    """Find out what the plan needs to know; `base` None takes Hyper-V's default folder."""
    release = await read_release(client)
    return Ground(client, files, release, base or await read_default_disk_folder(client))


def plan_lines(ground: Ground, names: ScratchNames) -> tuple[str, ...]:
    """Return what a run would make, for the eyes of who must allow it."""
    folder = names.folder(ground.base)
    lines = [f"make folder {folder}"]
    for number, scenario in enumerate(PROGRAMME, 1):
        made = f"; makes {scenario.makes}" if scenario.makes else ""
        skipped = "" if _has_release(scenario, ground) else " (skipped: this release cannot)"
        lines.append(f"{number}. {scenario.name}: {scenario.title}{made}{skipped}")
    lines.append(
        f"remove every machine, switch and folder whose name begins with {names.name}; "
        "nothing else is changed"
    )
    return tuple(lines)


async def play(
    ground: Ground,
    names: ScratchNames,
    listener: Listener,
    diary: Diary | None = None,
    programme: Iterable[Scenario] | None = None,
) -> tuple[ScenarioResult, ...]:
    """Play the programme, or another; the last result is the clean-up's."""
    results: list[ScenarioResult] = []
    undo = UndoStack()
    stage = Stage(ground.client, ground.files, names, ground.base, ground.release, undo, diary)

    def note(result: ScenarioResult) -> None:
        results.append(result)
        listener.scenario_ended(result)

    try:
        prepare = Scenario(PREPARE, "make the scratch folder", _make_folder)
        for scenario in (prepare, *(PROGRAMME if programme is None else programme)):
            listener.scenario_begins(scenario.name)
            reason = _why_skipped(scenario, ground, results)
            if reason:
                note(
                    ScenarioResult(scenario.name, scenario.title, Outcome.SKIPPED, (), 0.0, reason)
                )
            else:
                note(await _play(scenario, stage))
    finally:
        listener.scenario_begins(CLEAN_UP)
        started = time.monotonic()
        failures = await undo.unwind()
        note(await _look_for_rest(ground, names, failures, started))
    return tuple(results)


async def _make_folder(stage: Stage, findings: Findings) -> None:
    await stage.make_folder()
    findings.expect("the scratch folder", Source.DOCUMENTED, stage.folder, stage.folder)


async def _play(scenario: Scenario, stage: Stage) -> ScenarioResult:
    findings = Findings()
    started = time.monotonic()
    problem = ""
    try:
        async with asyncio.timeout(SCENARIO_TIMEOUT):
            await scenario.play(stage, findings)
    except TimeoutError:
        problem = f"not at its end after {SCENARIO_TIMEOUT:g} s"
    except (HypervisorError, HostFileError, MissingProperty, BadWindowsPath) as error:
        problem = str(error)
    outcome = Outcome.FAILED if problem else Outcome.AS_EXPECTED
    if not problem and any(not each.met for each in findings.expectations):
        outcome = Outcome.DIFFERENT
    return ScenarioResult(
        scenario.name,
        scenario.title,
        outcome,
        tuple(findings.expectations),
        time.monotonic() - started,
        problem,
    )


def _skipped(scenario: Scenario, reason: str) -> ScenarioResult:
    return ScenarioResult(scenario.name, scenario.title, Outcome.SKIPPED, (), 0.0, reason)


def _why_skipped(scenario: Scenario, ground: Ground, results: Iterable[ScenarioResult]) -> str:
    ended = {result.name: result.outcome for result in results}
    if scenario.name != PREPARE and ended[PREPARE] is Outcome.FAILED:
        return "there is no scratch folder"
    for needed in scenario.needs:
        if ended.get(needed) in (Outcome.FAILED, Outcome.SKIPPED):
            return f"needs {needed}"
    return "" if _has_release(scenario, ground) else "this release of Windows cannot"


def _has_release(scenario: Scenario, ground: Ground) -> bool:
    return ground.release.build >= scenario.from_build


async def _look_for_rest(
    ground: Ground, names: ScratchNames, failures: list[str], started: float
) -> ScenarioResult:
    findings = Findings()
    problem = "; ".join(failures)
    try:
        rest = await find_leftovers(ground.client, ground.files, ground.base, names)
        findings.expect("what bears the run's name", Source.DOCUMENTED, (), tuple(map(str, rest)))
        if rest:
            problem = problem or "some of it is left: run selftest --clean --yes"
    except HypervisorError as error:
        problem = f"{problem}; {error}" if problem else str(error)
    return ScenarioResult(
        CLEAN_UP,
        "take everything back",
        Outcome.FAILED if problem else Outcome.AS_EXPECTED,
        tuple(findings.expectations),
        time.monotonic() - started,
        problem,
    )
