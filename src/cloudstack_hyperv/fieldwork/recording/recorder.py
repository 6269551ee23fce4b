"""Keeping a self-test's exchanges in memory until its end, then writing them without names.

The client has masked secrets before an exchange arrives here (`wsman.protocol.masking`); nothing
is written before all names are known, and an interrupted self-test is written as far as it came.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from cloudstack_hyperv import __version__
from cloudstack_hyperv.fieldwork.recording.disguise import Disguise
from cloudstack_hyperv.fieldwork.recording.file import (
    Entry,
    Exchange,
    FolderMade,
    Header,
    IsoMade,
    Recording,
    Verdict,
    write_recording,
)
from cloudstack_hyperv.fieldwork.recording.pseudonyms import Role
from cloudstack_hyperv.fieldwork.releases import profile_of_build
from cloudstack_hyperv.fieldwork.scratch_names import ScratchNames
from cloudstack_hyperv.fieldwork.selftest.expectations import ScenarioResult

_BUILD = re.compile(r"<(?:[\w.-]+:)?BuildNumber>([0-9]+)</")
_COMPUTER = re.compile(r"<(?:[\w.-]+:)?CSName>([^<]+)</")
_PRODUCT_TYPE = re.compile(r"<(?:[\w.-]+:)?ProductType>([0-9]+)</")
_PRODUCT_VERSION = re.compile(r"<(?:[\w.-]+:)?ProductVersion>([^<]+)</")
_JOINED = re.compile(r"<(?:[\w.-]+:)?PartOfDomain>(true)</", re.IGNORECASE)
_WORKSTATION = "1"


class Recorder:
    """Is told of everything that happens; `trace` fits `WsmanClient`."""

    def __init__(self, names: ScratchNames) -> None:
        self._names = names
        self._scenario = "survey"
        self._entries: list[Entry] = []
        self._folder = ""

    def trace(self, request: str, answer: str) -> None:
        """Keep an exchange."""
        self._entries.append(Exchange(scenario=self._scenario, request=request, answer=answer))

    def folder_made(self, path: str) -> None:
        """See `selftest.stage.Diary`."""
        self._folder = path
        self._entries.append(FolderMade(path=path))

    def iso_made(self, path: str) -> None:
        """See `selftest.stage.Diary`."""
        self._entries.append(IsoMade(path=path))

    def scenario_begins(self, name: str) -> None:
        """Name the exchanges that follow after a scenario."""
        self._scenario = name

    def scenario_ended(self, result: ScenarioResult) -> None:
        """Keep how a scenario ended."""
        unmet = tuple(
            f"{each.subject} [{each.source}]: expected {each.expected}, found {each.found}"
            for each in result.unmet
        )
        self._entries.append(
            Verdict(
                scenario=result.name,
                outcome=result.outcome.value,
                unmet=unmet,
                problem=result.problem,
            )
        )

    def recording(self, *, address: str, user: str, base: str) -> Recording:
        """Return what was kept, without names; `address` and `user` are those of the login."""
        disguise = Disguise(self._names)
        disguise.learn_host(address)
        disguise.learn_user(user)
        disguise.learn_folder(base)
        exchanges = [entry for entry in self._entries if isinstance(entry, Exchange)]
        for exchange in exchanges:
            disguise.learn(exchange.answer)
            disguise.learn(exchange.request)
        build, server = _release(exchanges)
        entries = tuple(_disguised(disguise, entry) for entry in self._entries)
        computer = _first(_COMPUTER, exchanges) or address
        return Recording(
            Header(
                program=__version__,
                day=datetime.now(UTC).date().isoformat(),
                build=build,
                profile=None if build is None else profile_of_build(build, server=server),
                product_version=_first(_PRODUCT_VERSION, exchanges),
                host=disguise.names.name_for(Role.HOST, computer),
                joined=bool(_first(_JOINED, exchanges)),
                folder=_plain(disguise, self._folder),
            ),
            entries,
        )

    def write(self, path: Path, *, address: str, user: str, base: str) -> None:
        """Write the file; raises OSError."""
        write_recording(path, self.recording(address=address, user=user, base=base))


def _disguised(disguise: Disguise, entry: Entry) -> Entry:
    match entry:
        case Exchange():
            return Exchange(
                scenario=entry.scenario,
                request=disguise.apply(entry.request),
                answer=disguise.apply(entry.answer),
            )
        case FolderMade():
            return FolderMade(path=_plain(disguise, entry.path))
        case IsoMade():
            return IsoMade(path=_plain(disguise, entry.path))
        case Verdict():
            return Verdict(
                scenario=entry.scenario,
                outcome=entry.outcome,
                unmet=tuple(_plain(disguise, text) for text in entry.unmet),
                problem=_plain(disguise, entry.problem),
            )


def _plain(disguise: Disguise, text: str) -> str:
    """Disguise a text that is no envelope."""
    return disguise.apply(f">{text}<")[1:-1] if text else ""


def _release(exchanges: list[Exchange]) -> tuple[int | None, bool]:
    build = _first(_BUILD, exchanges)
    kind = _first(_PRODUCT_TYPE, exchanges)
    return (int(build) if build else None), kind != _WORKSTATION


def _first(pattern: re.Pattern[str], exchanges: list[Exchange]) -> str:
    found = (pattern.search(exchange.answer) for exchange in exchanges)
    return next((match[1] for match in found if match is not None), "")
