"""`selftest` and `compare` as a person types them: plans, tables, exit statuses, files."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from tests.emulation import PASSWORD, USER, Emulation
from tests.fieldwork.stage import part

from cloudstack_hyperv.cli.compare import compare_file
from cloudstack_hyperv.cli.selftest import SelftestOptions, selftest_host
from cloudstack_hyperv.fieldwork.recording.file import read_recording
from cloudstack_hyperv.fieldwork.selftest import run
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Source
from cloudstack_hyperv.fieldwork.selftest.programme import Scenario
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor.errors import HypervisorError

SHAPES = Path(__file__).parents[1] / "conformance" / "recorded_shapes"


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """The commands send logs to this test's stderr, which is closed after it."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def config(host: Emulation, tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(
        f"""
[[hosts]]
name = "hv1"
mounts = [{{ host_path = 'C:\\', folder = "{host.folder / "c"}" }}]
[hosts.winrm]
address = "127.0.0.1"
port = {host.port}
transport = "http"
user = "{USER}"
password = {{ value = "{PASSWORD}" }}
""",
        encoding="utf-8",
    )
    return file


@pytest.fixture
def programme(monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    """A short programme, for the plan and the run; a test may add to it."""
    scenarios = list(part("identity", "inventory", "switch"))
    monkeypatch.setattr(run, "PROGRAMME", scenarios)
    return scenarios


def left(host: Emulation) -> list[str]:
    return [switch.name for switch in host.host.switches if switch.name.startswith("cshv-")]


async def test_without_yes_only_the_plan_is_printed(
    host: Emulation, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await selftest_host(SelftestOptions(config, "hv1")) == 0
    shown = capsys.readouterr().out
    assert "nothing has been changed" in shown
    assert r"make folder C:\Users\Public\Documents\Hyper-V\Virtual Hard Disks\cshv-" in shown
    assert "a private switch" in shown
    assert not [record.call for record in host.server.calls.records if record.call.method]


@pytest.mark.usefixtures("programme")
async def test_yes_plays_it_and_record_keeps_it(
    host: Emulation, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recording.jsonl"
    options = SelftestOptions(config, "hv1", yes=True, record=file, folder=r"C:\pool")
    assert await selftest_host(options) == 0
    shown = capsys.readouterr().out
    assert "as expected switch" in shown
    assert "expectations met" in shown
    assert left(host) == []
    recording = read_recording(file)
    assert recording.header.folder.startswith(r"C:\folder1\cshv-selftest-")
    assert PASSWORD not in file.read_text(encoding="utf-8")
    assert await selftest_host(options) == 2, "the file exists"
    assert await compare_file(file, None, as_json=False) == 0
    assert "0 differences" in capsys.readouterr().out


async def test_what_is_otherwise_is_shown_with_its_source_and_ends_with_1(
    config: Path, programme: list[Scenario], capsys: pytest.CaptureFixture[str]
) -> None:
    async def differ(_: Stage, findings: Findings) -> None:
        findings.expect("colour [of it]", Source.GUESS, "blue", "red")

    async def fail(_: Stage, __: Findings) -> None:
        raise HypervisorError("no [luck]")

    programme[:] = [Scenario("differ", "", differ)]
    assert await selftest_host(SelftestOptions(config, "hv1", yes=True)) == 1
    shown = capsys.readouterr().out
    for word in ("different", "guess", "blue", "red"):
        assert word in shown
    programme[:] = [Scenario("fail", "", fail)]
    assert await selftest_host(SelftestOptions(config, "hv1", yes=True)) == 1
    assert "[luck]" in capsys.readouterr().out


async def test_clean_shows_first_and_removes_with_yes(
    host: Emulation, config: Path, programme: list[Scenario], capsys: pytest.CaptureFixture[str]
) -> None:
    async def leave(stage: Stage, _: Findings) -> None:
        stage.undo.commit()

    programme.append(Scenario("leave", "", leave))
    assert await selftest_host(SelftestOptions(config, "hv1", yes=True)) == 1
    assert "selftest --clean --yes" in capsys.readouterr().out
    (name,) = left(host)
    assert await selftest_host(SelftestOptions(config, "hv1")) == 0
    assert f"switch {name}" in capsys.readouterr().out
    assert await selftest_host(SelftestOptions(config, "hv1", clean=True)) == 0
    assert "This would be removed" in capsys.readouterr().out
    assert left(host) == [name]
    assert await selftest_host(SelftestOptions(config, "hv1", clean=True, yes=True)) == 0
    assert "Removed 2 of 2 things" in capsys.readouterr().out
    assert left(host) == []
    assert await selftest_host(SelftestOptions(config, "hv1", clean=True)) == 0
    assert "Nothing is left" in capsys.readouterr().out


async def test_ctrl_c_takes_everything_back_and_keeps_the_recording(
    host: Emulation, config: Path, programme: list[Scenario], tmp_path: Path
) -> None:
    reached = asyncio.Event()

    async def hang(_: Stage, __: Findings) -> None:
        reached.set()
        await asyncio.Event().wait()

    programme.append(Scenario("hang", "", hang))
    file = tmp_path / "recording.jsonl"
    options = SelftestOptions(config, "hv1", yes=True, record=file)
    running = asyncio.ensure_future(selftest_host(options))
    await asyncio.wait_for(reached.wait(), 20)
    assert len(left(host)) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert left(host) == []
    assert read_recording(file).exchanges[-1].scenario == "clean-up"


async def test_bad_input_ends_with_2_and_an_absent_host_with_1(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await selftest_host(SelftestOptions(config, "nosuch")) == 2
    assert "hv1" in capsys.readouterr().err
    assert await selftest_host(SelftestOptions(tmp_path / "absent.toml", "hv1")) == 2
    assert await selftest_host(SelftestOptions(config, "hv1", folder="pool")) == 2
    nowhere = SelftestOptions(config, "hv1", record=tmp_path / "nowhere" / "a.jsonl")
    assert await selftest_host(nowhere) == 2
    text = config.read_text(encoding="utf-8")
    away = tmp_path / "away.toml"
    port = next(line for line in text.splitlines() if line.startswith("port"))
    away.write_text(text.replace(port, "port = 1"), encoding="utf-8")
    assert await selftest_host(SelftestOptions(away, "hv1")) == 1
    assert PASSWORD not in capsys.readouterr().err


async def test_compare_prints_differences_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "off.json"
    shutil.copy(SHAPES / "computersystem_off.json", file)
    assert await compare_file(file, None, as_json=False) == 0
    capsys.readouterr()
    assert await compare_file(file, "2019", as_json=False) == 1
    shown = capsys.readouterr().out
    assert "element: Msvm_ComputerSystem/ManagementVtlImageVersion" in shown
    assert "- recorded: there\n    + emulated: absent" in shown
    assert await compare_file(file, "2019", as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["profile"], document["requests"]) == ("2019", 1)
    assert {
        "kind": "element",
        "operation": "Enumerate Msvm_ComputerSystem",
        "where": "Msvm_ComputerSystem/ManagementVtlImageVersion",
        "recorded": "there",
        "emulated": "absent",
        "times": 1,
        "exchange": 1,
        "scenario": "a machine that was never started",
    } in document["differences"]


async def test_a_strangers_file_does_not_write_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((SHAPES / "computersystem_off.json").read_text(encoding="utf-8"))
    document["row"] += ": \x1b[31mred"
    file = tmp_path / "off.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    assert await compare_file(file, "2019", as_json=False) == 1
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[31mred" in shown


async def test_compare_refuses_what_it_cannot_read_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a"
    file.write_text("nonsense", encoding="utf-8")
    assert await compare_file(file, None, as_json=False) == 2
    assert "not a recording" in capsys.readouterr().err
    assert await compare_file(tmp_path / "absent", None, as_json=False) == 2
    shape = SHAPES / "computersystem_off.json"
    assert await compare_file(shape, "1999", as_json=False) == 2
    assert "1999" in capsys.readouterr().err
