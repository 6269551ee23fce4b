"""A self-test on an emulated host, as the command line plays it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.emulation import Emulation, agent_context

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.fieldwork.scratch_names import ScratchNames
from cloudstack_hyperv.fieldwork.selftest.expectations import Outcome, ScenarioResult
from cloudstack_hyperv.fieldwork.selftest.programme import PROGRAMME, Scenario
from cloudstack_hyperv.fieldwork.selftest.run import play, survey
from cloudstack_hyperv.storage.folder_files import FolderFiles

NAMES = ScratchNames("0123abcd")
BASE = r"C:\pool"


@dataclass
class Ears:
    """Hears how a self-test goes."""

    begun: list[str] = field(default_factory=list)
    results: list[ScenarioResult] = field(default_factory=list)

    def scenario_begins(self, name: str) -> None:
        self.begun.append(name)

    def scenario_ended(self, result: ScenarioResult) -> None:
        self.results.append(result)

    def outcome(self, name: str) -> Outcome:
        return next(result.outcome for result in self.results if result.name == name)


def part(*names: str) -> tuple[Scenario, ...]:
    """Return these scenarios of the programme."""
    return tuple(scenario for scenario in PROGRAMME if scenario.name in names)


async def play_on(
    emulation: Emulation,
    programme: Iterable[Scenario] = PROGRAMME,
    *,
    names: ScratchNames = NAMES,
    mounted: bool = True,
) -> Ears:
    """Play a self-test; `mounted` False gives it no way to the host's files."""
    ears = Ears()
    async with agent_context(emulation) as context:
        drive = MountSettings(host_path="C:\\", folder=str(emulation.folder / "c"))
        files = FolderFiles((drive,) if mounted else ())
        ground = await survey(context.cim, files, BASE)
        await play(ground, names, ears, programme=programme)
    return ears
