"""`cloudstack-hyperv compare`: a recording's requests, played to an emulated host.

It takes what `selftest --record` writes, and the shapes of rows that public recordings show
(`tests/conformance/recorded_shapes`).  The emulated host is started for it, in a temporary folder,
with the recorded host's release and made-up name.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from rich.console import Console

from cloudstack_hyperv.cli.emulate import EmulateOptions, EmulateRefused, running_emulated_host
from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.fieldwork.comparison.differences import Finding, gathered
from cloudstack_hyperv.fieldwork.comparison.known_rows import (
    compare_known_row,
    is_known_row,
    read_known_row,
)
from cloudstack_hyperv.fieldwork.comparison.replay import Comparison, Replay
from cloudstack_hyperv.fieldwork.comparison.wire import Wire, open_wire
from cloudstack_hyperv.fieldwork.recording.file import RecordingError, read_recording
from cloudstack_hyperv.fieldwork.releases import CLIENT_11
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.observe import configure_logs
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.host_files import HostFileError
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient, WsmanError

_DOMAIN = "domain1.example"
"""Of an emulated host that stands for a member of some domain."""


async def compare_file(file: Path, release: str | None, *, as_json: bool) -> int:
    """Compare; 0 when nothing differs, 1 when something does, 2 when the file is no recording."""
    configure_logs("error", "text")
    try:
        if is_known_row(file):
            profile, result = await _known_row(file, release)
        else:
            profile, result = await _recording(file, release)
    except (RecordingError, EmulateRefused) as error:
        print(f"cloudstack-hyperv compare: {error}", file=sys.stderr)
        return 2
    except (HypervisorError, HostFileError, BadWindowsPath, WsmanError) as error:
        print(f"cloudstack-hyperv compare: {file}: {error}", file=sys.stderr)
        return 1
    findings = gathered(result.differences)
    if as_json:
        print(_json(file, profile, result, findings))
    else:
        _show(Console(), file, profile, result, findings)
    return 1 if findings else 0


async def _recording(file: Path, release: str | None) -> tuple[str, Comparison]:
    recording = read_recording(file)
    header = recording.header
    profile = release or header.profile
    if profile is None:
        raise RecordingError(f"{file} does not tell the release; give --profile")
    domain = _DOMAIN if header.joined else ""
    async with _emulated(profile, header.host, domain) as (wire, _, files):
        return profile, await Replay(wire, files).play(recording.entries)


async def _known_row(file: Path, release: str | None) -> tuple[str, Comparison]:
    """All public recordings are of one Windows 11 client."""
    known = read_known_row(file)
    profile = release or CLIENT_11
    async with _emulated(profile, "HYPERV1", "") as (wire, client, _):
        return profile, await compare_known_row(known, wire, client)


@asynccontextmanager
async def _emulated(
    profile: str, name: str, domain: str
) -> AsyncIterator[tuple[Wire, WsmanClient, FolderFiles]]:
    with tempfile.TemporaryDirectory(prefix="cloudstack-hyperv-compare-") as folder:
        options = EmulateOptions(Path(folder), name=name, release=profile, domain=domain)
        async with running_emulated_host(options) as host:
            endpoint = Endpoint("127.0.0.1", host.port, https=False)
            credentials = Credentials(AuthScheme.NTLM, host.user, host.password)
            files = FolderFiles((MountSettings(host_path="C:\\", folder=str(Path(folder) / "c")),))
            client = WsmanClient(endpoint, credentials)
            try:
                async with open_wire(endpoint, credentials) as wire:
                    yield wire, client, files
            finally:
                await client.close()


def _show(
    console: Console,
    file: Path,
    profile: str,
    result: Comparison,
    findings: tuple[Finding, ...],
) -> None:
    _line(
        console,
        f"{file} against an emulated host of profile {profile}: "
        f"{result.requests} requests replayed, {result.left_out} left out, "
        f"{len(findings)} differences",
    )
    last = ""
    for finding in findings:
        each = finding.difference
        if each.operation != last:
            last = each.operation
            _line(console, f"\n{each.operation}", style="bold")
        more = "" if finding.times == 1 else f", {finding.times} times"
        first = f"exchange {each.exchange}, {each.scenario}{more}"
        _line(console, f"  {each.kind.value}: {each.where or 'the answer'} ({first})")
        _line(console, f"    - recorded: {each.recorded}", style="red")
        _line(console, f"    + emulated: {each.replayed}", style="green")
    if result.notes:
        console.print()
    for note, times in Counter(result.notes).items():
        _line(console, f"note: {note} ({times})", style="dim")


def _line(console: Console, text: str, *, style: str = "") -> None:
    """Print a line; a recording is somebody else's, so its control characters do not pass."""
    text = "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _json(file: Path, profile: str, result: Comparison, findings: tuple[Finding, ...]) -> str:
    document = {
        "file": str(file),
        "profile": profile,
        "requests": result.requests,
        "left_out": result.left_out,
        "differences": [
            {
                "kind": finding.difference.kind.value,
                "operation": finding.difference.operation,
                "where": finding.difference.where,
                "recorded": finding.difference.recorded,
                "emulated": finding.difference.replayed,
                "times": finding.times,
                "exchange": finding.difference.exchange,
                "scenario": finding.difference.scenario,
            }
            for finding in findings
        ],
        "notes": dict(Counter(result.notes)),
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()
