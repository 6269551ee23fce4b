"""A self-test plays everything, touches nothing else, and leaves nothing, whatever happens."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.emulation import POOL, Emulation, agent_context, running_emulation
from tests.fieldwork.stage import BASE, NAMES, Ears, part, play_on

from cloudstack_hyperv.fieldwork.scratch_names import ScratchNames, is_scratch
from cloudstack_hyperv.fieldwork.selftest import stage
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Outcome, Source
from cloudstack_hyperv.fieldwork.selftest.leftovers import find_leftovers, remove_leftovers
from cloudstack_hyperv.fieldwork.selftest.programme import PROGRAMME, Scenario
from cloudstack_hyperv.fieldwork.selftest.run import Ground, plan_lines, play, survey
from cloudstack_hyperv.fieldwork.selftest.stage import Stage, remove_folder, remove_machine
from cloudstack_hyperv.fieldwork.selftest.tiny_iso import SECTOR, empty_iso
from cloudstack_hyperv.hypervisor.errors import HypervisorError, NotOurs
from cloudstack_hyperv.hypervisor.machines import MachineDirectory
from cloudstack_hyperv.hypervisor.release import Release


def left(host: Emulation) -> list[str]:
    """Return what of a self-test is on the host, by looking at the host itself."""
    names = [machine.name for machine in host.host.machines]
    names += [switch.name for switch in host.host.switches]
    names += [path.name for path in host.path(POOL).iterdir()]
    return [name for name in names if name.startswith("cshv-selftest-")]


@pytest.mark.parametrize("release", ["2012", "2019", "2025"])
@pytest.mark.slow
async def test_everything_is_as_expected_on_the_emulated_host(tmp_path: Path, release: str) -> None:
    async with running_emulation(tmp_path, release=release) as host:
        machines = len(list(host.host.machines))
        ears = await play_on(host)
        unmet = [(r.name, r.problem, r.unmet) for r in ears.results if r.unmet or r.problem]
        expected = {Outcome.AS_EXPECTED, Outcome.SKIPPED}
        assert {result.outcome for result in ears.results} <= expected, unmet
        assert ears.begun == ["folder", *(s.name for s in PROGRAMME), "clean-up"]
        skipped = {r.name for r in ears.results if r.outcome is Outcome.SKIPPED}
        assert skipped == ({"gen2", "hot-nic", "destroy2"} if release == "2012" else set())
        assert left(host) == []
        assert len(list(host.host.machines)) == machines


async def test_without_a_way_to_the_hosts_files_it_helps_itself(host: Emulation) -> None:
    ears = await play_on(host, part("disks", "switch", "gen1", "media"), mounted=False)
    assert [r.outcome for r in ears.results] == [Outcome.AS_EXPECTED] * 6, ears.results
    assert not any("ISO" in e.subject for r in ears.results for e in r.expectations)
    assert left(host) == []


async def test_a_cancelled_run_takes_everything_back(host: Emulation) -> None:
    reached = asyncio.Event()

    async def hang(_: Stage, __: Findings) -> None:
        assert len(left(host)) == 3
        reached.set()
        await asyncio.Event().wait()

    programme = (*part("switch", "gen1"), Scenario("hang", "wait for Ctrl-C", hang))
    running = asyncio.ensure_future(play_on(host, programme))
    await asyncio.wait_for(reached.wait(), 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert left(host) == []


async def test_a_failed_scenario_skips_what_needs_it_and_nothing_else(host: Emulation) -> None:
    async def fail(_: Stage, __: Findings) -> None:
        raise HypervisorError("no such luck")

    async def differ(_: Stage, findings: Findings) -> None:
        findings.expect("colour", Source.GUESS, "blue", "red")

    async def nothing(_: Stage, __: Findings) -> None:
        return

    ears = await play_on(
        host,
        (
            Scenario("one", "", fail),
            Scenario("two", "", nothing, ("one",)),
            Scenario("three", "", nothing, ("two",)),
            Scenario("four", "", differ),
            Scenario("five", "", nothing, ("four",)),
            Scenario("six", "", nothing, from_build=99999),
        ),
    )
    assert {name: ears.outcome(name) for name in ears.begun} == {
        "folder": Outcome.AS_EXPECTED,
        "one": Outcome.FAILED,
        "two": Outcome.SKIPPED,
        "three": Outcome.SKIPPED,
        "four": Outcome.DIFFERENT,
        "five": Outcome.AS_EXPECTED,
        "six": Outcome.SKIPPED,
        "clean-up": Outcome.AS_EXPECTED,
    }
    (unmet,) = next(r for r in ears.results if r.name == "four").unmet
    assert (unmet.source, unmet.expected, unmet.found) == (Source.GUESS, "blue", "red")


async def test_leftovers_are_found_by_name_and_removed_only_when_asked(host: Emulation) -> None:
    """An interrupted run's machine, switch and folder; a namesake that is none of ours stays."""
    other = ScratchNames("beefbeef")

    async def leave(stage: Stage, _: Findings) -> None:
        # As if the process had been killed: nothing is taken back.
        stage.undo.commit()

    await play_on(host, (*part("switch", "gen1"), Scenario("kill", "", leave)), names=other)
    host.path(rf"{BASE}\cshv-selftest-notes").mkdir()
    names = {f"{other.name}", f"{other.name}-gen1", "cshv-selftest-notes"}
    assert set(left(host)) == names
    ears = await play_on(host, part("switch"))
    assert ears.outcome("clean-up") is Outcome.AS_EXPECTED
    assert set(left(host)) == names, "another run's things were touched"
    async with agent_context(host) as context:
        found = await find_leftovers(context.cim, context.files, BASE)
        assert [str(leftover) for leftover in found] == [
            f"VM {other.name}-gen1",
            f"switch {other.name}",
            f"folder {other.folder(BASE)}",
        ]
        assert await remove_leftovers(found) == []
        assert await find_leftovers(context.cim, context.files, BASE) == ()
    assert left(host) == ["cshv-selftest-notes"]


async def test_what_cannot_be_taken_back_is_said(host: Emulation) -> None:
    async def fail() -> None:
        raise HypervisorError("the switch is nailed down")

    async def nail(stage: Stage, _: Findings) -> None:
        stage.undo.push("remove the nail", fail)

    ears = await play_on(host, (Scenario("nail", "", nail),))
    assert ears.outcome("clean-up") is Outcome.FAILED
    assert "remove the nail (the switch is nailed down)" in ears.results[-1].problem


async def test_a_host_without_the_folders_drive_plays_nothing(
    host: Emulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "COMMAND_PATIENCE", 0.2)
    ears = Ears()
    async with agent_context(host) as context:
        ground = await survey(context.cim, context.files, r"X:\nowhere")
        await play(ground, NAMES, ears)
    assert ears.outcome("folder") is Outcome.FAILED
    assert {r.outcome for r in ears.results[1:-1]} == {Outcome.SKIPPED}
    assert ears.outcome("clean-up") is Outcome.AS_EXPECTED


async def test_a_survey_changes_nothing(host: Emulation) -> None:
    before = len(host.server.calls.records)
    async with agent_context(host) as context:
        ground = await survey(context.cim, context.files, None)
    assert ground.base == r"C:\Users\Public\Documents\Hyper-V\Virtual Hard Disks"
    assert ground.release.build == 17763
    calls = [record.call for record in host.server.calls.records][before:]
    assert calls
    assert all(not call.method for call in calls)
    lines = plan_lines(ground, NAMES)
    assert NAMES.folder(ground.base) in lines[0]
    assert NAMES.name in lines[-1]


async def test_the_plan_says_what_a_release_cannot(host: Emulation) -> None:
    async with agent_context(host) as context:
        ground = Ground(context.cim, context.files, Release(9200), BASE)
    text = "\n".join(plan_lines(ground, NAMES))
    assert text.count("(skipped: this release cannot)") == 2


async def test_nothing_that_is_called_otherwise_is_removed(host: Emulation) -> None:
    async with agent_context(host) as context:
        with pytest.raises(NotOurs):
            await remove_folder(context.cim, r"C:\pool")
        with pytest.raises(NotOurs):
            await remove_folder(context.cim, rf"{NAMES.folder(BASE)}\below")
        with pytest.raises(NotOurs):
            await remove_machine(MachineDirectory(context.cim), "i-2-3-VM")
    assert host.path(POOL).is_dir()


def test_names() -> None:
    names = ScratchNames()
    assert is_scratch(names.name)
    assert is_scratch(names.machine("gen1"))
    assert names.mac(1) == f"02{names.run.upper()}01"
    assert ScratchNames().run != names.run
    for name in ("cshv-selftest-", "cshv-selftest-0123abcg", "cshv-selftest-0123abcd-", "x"):
        assert not is_scratch(name)
    with pytest.raises(ValueError, match="no run's id"):
        ScratchNames("../..")


def test_the_iso_is_one() -> None:
    image = empty_iso("VOLUME")
    assert len(image) == 21 * SECTOR
    descriptor = image[16 * SECTOR : 17 * SECTOR]
    assert descriptor[:7] == b"\x01CD001\x01\x00"[:7]
    assert descriptor[40:72].rstrip() == b"VOLUME"
    assert int.from_bytes(descriptor[80:84], "little") == len(image) // SECTOR
    root = descriptor[156:190]
    assert root[0] == 34
    extent = int.from_bytes(root[2:6], "little")
    here, above = image[extent * SECTOR :][:34], image[extent * SECTOR + 34 :][:34]
    assert here[32:34] == b"\x01\x00"
    assert above[32:34] == b"\x01\x01"
    assert image[17 * SECTOR : 17 * SECTOR + 7] == b"\xffCD001\x01"
