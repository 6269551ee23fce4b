"""A recording compared with the kind of host that it was made of shows nothing; an altered one
shows exactly the alteration."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.emulation import running_emulation
from tests.fieldwork.recorded import record
from tests.fieldwork.recorded import replay as replay_to
from tests.fieldwork.stage import part

from cloudstack_hyperv.emulator.host.config import JobMode
from cloudstack_hyperv.fieldwork.comparison import replay
from cloudstack_hyperv.fieldwork.comparison.differences import Difference, Kind, gathered
from cloudstack_hyperv.fieldwork.recording.file import Entry, Exchange, Recording

QUICK = ("identity", "inventory", "requests", "disks", "resize", "switch", "gen1", "port")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A part of a self-test, recorded once; tests only look at it."""

    async def run() -> Recording:
        async with running_emulation(tmp_path_factory.mktemp("quick")) as host:
            return await record(host, part(*QUICK))

    return asyncio.run(run())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A few requests to a host that never makes a job, recorded once."""

    async def run() -> Recording:
        folder = tmp_path_factory.mktemp("plain")
        async with running_emulation(folder, job_mode=JobMode.ALWAYS_0) as host:
            return await record(host, part("inventory", "requests", "switch"))

    return asyncio.run(run())


def altered(
    recording: Recording, chosen: Callable[[Exchange], bool], change: Callable[[str], str]
) -> Recording:
    """Change the first chosen exchange's answer."""
    entries: list[Entry] = []
    changed = False
    for entry in recording.entries:
        if isinstance(entry, Exchange) and not changed and chosen(entry):
            answer = change(entry.answer)
            assert answer != entry.answer
            changed = True
            entries.append(Exchange(scenario=entry.scenario, request=entry.request, answer=answer))
        else:
            entries.append(entry)
    assert changed
    return replace(recording, entries=tuple(entries))


async def differences(folder: Path, recording: Recording, **config: Any) -> list[Difference]:
    return (await replay_to(folder, recording, **config)).differences


def summary(found: list[Difference]) -> list[tuple[str, str, str, str]]:
    return [
        (each.difference.kind, each.difference.where, each.difference.recorded,
         each.difference.replayed)
        for each in gathered(found)
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alteration does not pass, however long one looks."""
    monkeypatch.setattr(replay, "PATIENCE", 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("release", ["2012r2", "2019", "client-11"])
async def test_a_whole_self_test_shows_nothing_to_the_same_kind_of_host(
    tmp_path: Path, release: str
) -> None:
    """Another seed: other identifiers, and jobs where the recorded host made none."""
    async with running_emulation(tmp_path / "one", release=release) as host:
        recording = await record(host)
    result = await replay_to(tmp_path / "two", recording, release=release, seed=7)
    assert summary(result.differences) == []
    assert result.requests > 150
    assert any("a job only in the" in note for note in result.notes)


async def test_a_recording_shows_nothing_to_the_same_kind_of_host(
    quick: Recording, tmp_path: Path
) -> None:
    result = await replay_to(tmp_path, quick)
    assert summary(result.differences) == []
    assert result.requests > 60


@pytest.mark.parametrize("mode", [JobMode.ALWAYS_0, JobMode.ALWAYS_4096])
async def test_a_host_may_make_jobs_or_not(quick: Recording, tmp_path: Path, mode: JobMode) -> None:
    """Refusals at once and by a job come to the same end, too."""
    assert summary(await differences(tmp_path, quick, job_mode=mode)) == []


async def test_another_release_shows(quick: Recording, tmp_path: Path) -> None:
    found = summary(await differences(tmp_path, quick, release="2025"))
    assert ("element", "Msvm_ProcessorSettingData/PhysicalAddressWidth", "absent", "there") in found
    assert {kind for kind, *_ in found} == {"element"}


def windows(each: Exchange) -> bool:
    return "<p:Win32_OperatingSystem " in each.answer and "<p:Debug>" in each.answer


def switch_made(each: Exchange) -> bool:
    return "DefineSystem_OUTPUT" in each.answer and "SwitchSettingData" in each.request


def weights(each: Exchange) -> bool:
    return each.answer.count("</p:Msvm_EthernetSwitchPortExtendedAclSettingData>") == 2


def swapped(text: str) -> str:
    """Put the second of two rows first."""
    return re.sub(r"<w:Items>(<p:(\w+) .*</p:\2>)(<p:\2 .*</p:\2>)</w:", r"<w:Items>\3\1</w:", text)


@pytest.mark.parametrize(
    ("chosen", "change", "expected"),
    [
        pytest.param(
            windows,
            lambda text: text.replace("<p:Debug>false</p:Debug>", ""),
            (Kind.ELEMENT, "Win32_OperatingSystem/Debug", "absent", "there"),
            id="an element is missing",
        ),
        pytest.param(
            windows,
            lambda text: text.replace("<p:Debug>", "<p:Novelty>1</p:Novelty><p:Debug>"),
            (Kind.ELEMENT, "Win32_OperatingSystem/Novelty", "there", "absent"),
            id="an element more",
        ),
        pytest.param(
            windows,
            lambda text: text.replace("<p:Debug>false</p:Debug>", '<p:Debug xsi:nil="true"/>'),
            (Kind.NIL, "Win32_OperatingSystem/Debug", "nil", "text"),
            id="nil",
        ),
        pytest.param(
            windows,
            lambda text: text.replace("<p:Debug>false<", "<p:Debug>0<"),
            (Kind.TYPE, "Win32_OperatingSystem/Debug", "number", "boolean"),
            id="a number for a boolean",
        ),
        pytest.param(
            windows,
            lambda text: re.sub(
                r"<p:LastBootUpTime><cim:Datetime>([^<]*)</cim:Datetime>",
                r"<p:LastBootUpTime>\1",
                text,
            ),
            (Kind.TYPE, "Win32_OperatingSystem/LastBootUpTime", "text", "datetime"),
            id="a text for a datetime",
        ),
        pytest.param(
            windows,
            lambda text: re.sub(r"(<p:CSName>.*?</p:CSName>)(<p:Caption>.*?</p:Caption>)",
                                r"\2\1", text),
            (Kind.ORDER, "Win32_OperatingSystem", "Caption CSName", "CSName Caption"),
            id="order of elements",
        ),
        pytest.param(
            windows,
            lambda text: text.replace('xsi:type="p:Win32_OperatingSystem_Type"', ""),
            (Kind.ELEMENT, "Win32_OperatingSystem/@type", "absent", "p:Win32_OperatingSystem_Type"),
            id="an attribute is missing",
        ),
        pytest.param(
            windows,
            lambda text: text.replace(' xmlns:s="', ' xmlns:zz="urn:zz" xmlns:s="', 1),
            (Kind.ENVELOPE, "xmlns:zz", "urn:zz", "absent"),
            id="a prefix",
        ),
        pytest.param(
            windows,
            lambda text: re.sub(r"(<a:Action>.*</a:Action>)(<a:MessageID>.*</a:MessageID>)",
                                r"\2\1", text),
            (
                Kind.ENVELOPE,
                "Header",
                "MessageID Action To RelatesTo",
                "Action MessageID To RelatesTo",
            ),
            id="order of headers",
        ),
        pytest.param(
            switch_made,
            lambda text: text.replace("<p:ReturnValue>0<", "<p:ReturnValue>32773<"),
            (Kind.CODE, "DefineSystem_OUTPUT/ReturnValue", "32773", "0"),
            id="a return value",
        ),
        pytest.param(
            switch_made,
            lambda text: re.sub(r"(<p:ResultingSystem.*</p:ResultingSystem>)(<p:Job.*?/>)",
                                r"\2\1", text),
            (Kind.ORDER, "DefineSystem_OUTPUT", "Job ResultingSystem", "ResultingSystem Job"),
            id="order of out parameters",
        ),
        pytest.param(
            lambda each: "NoSuchClass" in each.request,
            lambda text: text.replace(":DestinationUnreachable", ":InternalError"),
            (
                Kind.CODE,
                "Fault",
                "fault InternalError 0x80041010",
                "fault DestinationUnreachable 0x80041010",
            ),
            id="a fault's subcode",
        ),
        pytest.param(
            lambda each: "<p:Msvm_VirtualSystemManagementService " in each.answer,
            lambda text: text.replace("<p:EnabledState>2<", "<p:EnabledState>5<"),
            (Kind.CODE, "Msvm_VirtualSystemManagementService/EnabledState", "5", "2"),
            id="a state",
        ),
    ],
)  # fmt: skip
async def test_exactly_the_alteration_shows(
    plain: Recording,
    tmp_path: Path,
    chosen: Callable[[Exchange], bool],
    change: Callable[[str], str],
    expected: tuple[str, str, str, str],
) -> None:
    recording = altered(plain, chosen, change)
    assert summary(await differences(tmp_path, recording, job_mode=JobMode.ALWAYS_0)) == [expected]


async def test_rows_of_one_object_count_and_have_an_order(quick: Recording, tmp_path: Path) -> None:
    """A row less and rows in another order, in the answer about one port's rules."""
    less = altered(
        quick, weights, lambda text: re.sub(r"(<w:Items>)<p:(\w+) .*?</p:\2>", r"\1", text)
    )
    found = summary(await differences(tmp_path / "less", less))
    assert found == [(Kind.ROWS, "Msvm_EthernetSwitchPortExtendedAclSettingData", "1", "2")]
    (order,) = await differences(tmp_path / "order", altered(quick, weights, swapped))
    assert (order.kind, order.where) == (Kind.ORDER, "rows")


async def test_a_whole_class_may_have_other_rows(plain: Recording, tmp_path: Path) -> None:
    """A host has as many switches and volumes as it has: a note, no difference."""

    def switches(each: Exchange) -> bool:
        return each.answer.count("</p:Msvm_VirtualEthernetSwitch>") == 2

    one_less = altered(
        plain, switches, lambda text: re.sub(r"(<w:Items>)<p:(\w+) .*?</p:\2>", r"\1", text)
    )
    result = await replay_to(tmp_path, one_less, job_mode=JobMode.ALWAYS_0)
    assert summary(result.differences) == []
    assert "Enumerate Msvm_VirtualEthernetSwitch: 1 rows recorded, 2 replayed" in result.notes


async def test_a_job_that_fails_is_no_success(plain: Recording, tmp_path: Path) -> None:
    """The recorded host refused at once what the replayed host's job carries out."""
    recording = altered(
        plain, switch_made, lambda text: text.replace("ReturnValue>0<", "ReturnValue>32773<")
    )
    found = summary(await differences(tmp_path, recording, job_mode=JobMode.ALWAYS_4096))
    assert found == [(Kind.CODE, "DefineSystem_OUTPUT/ReturnValue", "failed", "completed")]
