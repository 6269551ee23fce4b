"""The file of a recording: JSON lines, a header first, then what happened in its order.

    {"format": "cloudstack-hyperv recording", "version": 1, "profile": "2022", ...}
    {"kind": "folder", "path": "C:\\\\scratch\\\\cshv-selftest-0123abcd"}
    {"kind": "exchange", "scenario": "disks", "request": "<s:Envelope ...", "answer": "..."}

A reader refuses versions that it does not know and names the line it cannot read.  Every text in
it has been disguised: nothing else writes such a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

FORMAT: Final = "cloudstack-hyperv recording"
VERSION: Final = 1


class RecordingError(Exception):
    """The file is no recording that can be read; the text says what is wrong."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the recording as a whole."""

    format: str = FORMAT
    version: int = VERSION
    program: str
    """Version of cloudstack-hyperv that recorded it."""
    day: str
    """UTC date."""
    build: int | None
    """Of Windows; None when the host was not asked."""
    profile: str | None
    """The emulated host's profile that is nearest."""
    product_version: str
    """WinRM's, such as "OS: 10.0.20348 SP: 0.0 Stack: 3.0"; "" when it was not asked."""
    host: str
    """The disguised name of the host."""
    joined: bool = False
    """Whether the host is member of a domain, which its answers show."""
    folder: str
    """The disguised scratch folder; "" for a recording of something else than a self-test."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, tag="exchange", tag_field="kind"):
    """One request and its answer, whole envelopes."""

    scenario: str
    request: str
    answer: str


class FolderMade(msgspec.Struct, frozen=True, kw_only=True, tag="folder", tag_field="kind"):
    """A folder was made past WS-Man."""

    path: str


class IsoMade(msgspec.Struct, frozen=True, kw_only=True, tag="iso", tag_field="kind"):
    """An empty ISO was laid on the host past WS-Man."""

    path: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag="verdict", tag_field="kind"):
    """How a scenario ended, for who reads the file without playing it."""

    scenario: str
    outcome: str
    unmet: tuple[str, ...] = ()
    problem: str = ""


Entry = Exchange | FolderMade | IsoMade | Verdict


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole file."""

    header: Header
    entries: tuple[Entry, ...]

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The exchanges alone."""
        return tuple(entry for entry in self.entries if isinstance(entry, Exchange))


def write_recording(path: Path, recording: Recording) -> None:
    """Write the file; raises OSError.  Only its owner may read it: he decides whom to give it."""
    encoder = msgspec.json.Encoder()
    lines = [encoder.encode(recording.header), *map(encoder.encode, recording.entries)]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(b"\n".join(lines) + b"\n")


def read_recording(path: Path) -> Recording:
    """Read the file; raises RecordingError."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror}") from error
    header = _header(path, lines[0] if lines else b"")
    return Recording(header, tuple(_entries(path, lines[1:])))


def _header(path: Path, line: bytes) -> Header:
    try:
        kind = msgspec.json.decode(line, type=_Kind)
    except msgspec.MsgspecError as error:
        raise RecordingError(f"{path}: not a recording ({error})") from error
    if kind.format != FORMAT:
        raise RecordingError(f"{path}: not a recording of cloudstack-hyperv selftest")
    if kind.version != VERSION:
        raise RecordingError(
            f"{path}: a recording of version {kind.version}; this program reads {VERSION}"
        )
    try:
        return msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise RecordingError(f"{path}, line 1: {error}") from error


def _entries(path: Path, lines: list[bytes]) -> Iterator[Entry]:
    decoder = msgspec.json.Decoder(Exchange | FolderMade | IsoMade | Verdict)
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise RecordingError(f"{path}, line {number}: {error}") from error


class _Kind(msgspec.Struct, frozen=True):
    """Just enough of a header to know whether the rest can be read."""

    format: str = ""
    version: int | Literal["unknown"] = "unknown"
