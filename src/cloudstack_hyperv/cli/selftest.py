"""`cloudstack-hyperv selftest`: the product's operations on a configured host, and what it found.

Without `--yes` nothing on the host is changed: it is looked at, and the plan is printed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cloudstack_hyperv.cli.assembly import wsman_client
from cloudstack_hyperv.config import ConfigurationError, HostSettings, Settings, load_settings
from cloudstack_hyperv.fieldwork.recording.recorder import Recorder
from cloudstack_hyperv.fieldwork.scratch_names import ScratchNames
from cloudstack_hyperv.fieldwork.selftest.expectations import Outcome, ScenarioResult
from cloudstack_hyperv.fieldwork.selftest.leftovers import (
    Leftover,
    find_leftovers,
    remove_leftovers,
)
from cloudstack_hyperv.fieldwork.selftest.run import Ground, plan_lines, play, survey
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.observe import configure_logs
from cloudstack_hyperv.storage.composite_files import CompositeFiles
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath, checked_path

_WIDTH = 140
"""Columns of the table in a file."""
_STYLES = {
    Outcome.AS_EXPECTED: "green",
    Outcome.DIFFERENT: "yellow",
    Outcome.FAILED: "red",
    Outcome.SKIPPED: "dim",
}


@dataclass(frozen=True, slots=True)
class SelftestOptions:
    """What the command line asked for."""

    config: Path
    host: str
    yes: bool = False
    record: Path | None = None
    clean: bool = False
    folder: str | None = None


class _Progress:
    """Prints each scenario as it ends, and tells the recorder."""

    def __init__(self, console: Console, recorder: Recorder) -> None:
        self._console = console
        self._recorder = recorder

    def scenario_begins(self, name: str) -> None:
        self._recorder.scenario_begins(name)

    def scenario_ended(self, result: ScenarioResult) -> None:
        self._recorder.scenario_ended(result)
        style = _STYLES[result.outcome]
        self._console.print(
            f"[{style}]{result.outcome:11}[/] {result.name:10} {result.seconds:6.1f} s  "
            f"{escape(result.title)}"
        )
        if result.problem:
            _line(self._console, f"  {result.problem}")


async def selftest_host(options: SelftestOptions) -> int:
    """Play it; 0 when all is as expected, 1 when not, 2 when it was not asked rightly."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    try:
        configure_logs("error", "text")
        settings = load_settings(options.config)
        host = _host(settings, options)
        base = None if options.folder is None else checked_path(options.folder)
        names = ScratchNames()
        recorder = Recorder(names)
        client = wsman_client(host, recorder.trace)
        files = CompositeFiles.of_host(host, settings.storage.stores)
    except (ConfigurationError, BadWindowsPath) as error:
        print(f"cloudstack-hyperv selftest: {error}", file=sys.stderr)
        return 2
    try:
        ground = await survey(client, files, base)
        leftovers = await find_leftovers(client, files, ground.base)
        if options.clean:
            return await _clean(console, leftovers, options)
        _show_leftovers(console, leftovers)
        if not options.yes:
            return _show_plan(console, ground, names, host)
        return await _play(console, ground, names, recorder, host, options)
    except HypervisorError as error:
        print(f"cloudstack-hyperv selftest: {error}", file=sys.stderr)
        return 1
    finally:
        await client.close()
        await files.close()


def _host(settings: Settings, options: SelftestOptions) -> HostSettings:
    for host in settings.hosts:
        if host.name == options.host:
            break
    else:
        known = ", ".join(host.name for host in settings.hosts) or "none"
        raise ConfigurationError(f"no host {options.host!r} is configured; there are: {known}")
    if options.record is not None and options.record.exists():
        raise ConfigurationError(f"{options.record} exists; a recording is written to a new file")
    if options.record is not None and not options.record.absolute().parent.is_dir():
        raise ConfigurationError(f"{options.record}: there is no such folder")
    return host


async def _play(
    console: Console,
    ground: Ground,
    names: ScratchNames,
    recorder: Recorder,
    host: HostSettings,
    options: SelftestOptions,
) -> int:
    _line(console, f"Self-test of {host.name} in {names.folder(ground.base)}")
    try:
        results = await play(ground, names, _Progress(console, recorder), recorder)
    finally:
        # An interrupted self-test is worth a report, too.
        written = options.record is None or _write(recorder, options.record, host, ground)
    console.print(_table(results))
    if options.record is not None and written:
        _line(
            console,
            f"Recording: {options.record}. Names and secrets are replaced; look into it before "
            "you give it away.",
        )
    good = {Outcome.AS_EXPECTED, Outcome.SKIPPED}
    return 0 if written and {result.outcome for result in results} <= good else 1


def _write(recorder: Recorder, file: Path, host: HostSettings, ground: Ground) -> bool:
    try:
        recorder.write(file, address=host.winrm.address, user=host.winrm.user, base=ground.base)
    except OSError as error:
        print(f"cloudstack-hyperv selftest: {file}: {error.strerror}", file=sys.stderr)
        return False
    return True


def _table(results: tuple[ScenarioResult, ...]) -> Table:
    """Every scenario, and each expectation that was not met with the source of the belief."""
    met = sum(len(result.expectations) - len(result.unmet) for result in results)
    table = Table(title=f"{met} of {sum(len(r.expectations) for r in results)} expectations met")
    for heading in ("scenario", "outcome", "what", "source", "expected", "found", "s"):
        table.add_column(heading, overflow="fold")
    for result in results:
        style = _STYLES[result.outcome]
        count = len(result.expectations)
        what = result.problem or f"{count - len(result.unmet)} of {count} met"
        table.add_row(
            result.name,
            f"[{style}]{result.outcome}[/]",
            escape(what),
            "",
            "",
            "",
            f"{result.seconds:.1f}",
        )
        for each in result.unmet:
            table.add_row(
                "", "", escape(each.subject), each.source, escape(each.expected), escape(each.found)
            )
    return table


def _show_plan(console: Console, ground: Ground, names: ScratchNames, host: HostSettings) -> int:
    console.print(f"A self-test of {escape(host.name)} would do this (nothing has been changed):")
    for line in plan_lines(ground, names):
        _line(console, f"  {line}")
    console.print("Run it with --yes.")
    return 0


def _show_leftovers(console: Console, leftovers: tuple[Leftover, ...]) -> None:
    if not leftovers:
        return
    console.print("Earlier self-tests left on this host (selftest --clean --yes removes it):")
    for leftover in leftovers:
        _line(console, f"  {leftover}")


async def _clean(
    console: Console, leftovers: tuple[Leftover, ...], options: SelftestOptions
) -> int:
    if not leftovers:
        console.print("Nothing is left of earlier self-tests.")
        return 0
    if not options.yes:
        console.print("This would be removed (nothing has been changed):")
        for leftover in leftovers:
            _line(console, f"  {leftover}")
        console.print("Remove it with --clean --yes.")
        return 0
    failures = await remove_leftovers(leftovers)
    for failure in failures:
        print(f"cloudstack-hyperv selftest: {failure}", file=sys.stderr)
    console.print(f"Removed {len(leftovers) - len(failures)} of {len(leftovers)} things.")
    return 1 if failures else 0


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
