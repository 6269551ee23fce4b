"""Definition files of machines and checkpoints: what an export writes and an import reads.

Hyper-V's own formats (.xml up to 2012 R2, .vmcx since 2016) are not public in full; what is in the
files here is one line that says so and JSON.  Names, extensions and folders are the real ones.

Sources: Microsoft, "Export and import virtual machines"; folders and extensions from the release
notes of Server 2016 (".vmcx and .vmrs").
"""

from __future__ import annotations

import json
import ntpath
from dataclasses import dataclass
from typing import Any

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.host.disks import HostDisks, os_failure
from cloudstack_hyperv.emulator.host.files import Place
from cloudstack_hyperv.emulator.host.machine import Checkpoint, Machine
from cloudstack_hyperv.emulator.host.outcome import JobFailed, file_failure
from cloudstack_hyperv.emulator.host.persistence import machine_document, machine_from
from cloudstack_hyperv.emulator.host.profiles import ReleaseProfile

MACHINES, DISKS, SNAPSHOTS = "Virtual Machines", "Virtual Hard Disks", "Snapshots"
_HEADER = "emulated Hyper-V definition\n"
_UNREADABLE = 0x80070570
_VERB = "read the virtual machine configuration"


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint with the machine that it belongs to."""

    machine_id: str
    checkpoint: Checkpoint


def suffixes(profile: ReleaseProfile) -> frozenset[str]:
    """Return the extensions that a release can read, newest first among them."""
    return frozenset({".vmcx", ".xml"} if profile.is_2016_or_newer else {".xml"})


def runtime_files(profile: ReleaseProfile, folder: str, guid: str) -> list[str]:
    """Return the paths of a machine's or checkpoint's saved state."""
    if profile.is_2016_or_newer:
        return [ntpath.join(folder, f"{guid}.vmrs")]
    return [ntpath.join(folder, guid, f"{guid}.{kind}") for kind in ("bin", "vsv")]


def write_machine(place: Place, machine: Machine) -> None:
    """Write a machine without its checkpoints; raises JobFailed."""
    document = machine_document(machine)
    document["checkpoints"] = []
    _write(place, {"kind": "machine", "machine": document})


def write_checkpoint(place: Place, machine: Machine, guid: str) -> None:
    """Write one checkpoint of a machine; raises JobFailed."""
    document = machine_document(machine)
    document["checkpoints"] = [
        item for item in document["checkpoints"] if item["settings"]["guid"] == guid
    ]
    _write(place, {"kind": "checkpoint", "machine": document})


def write_runtime(place: Place) -> None:
    """Write a file that stands for saved memory; raises JobFailed."""
    try:
        place.local.parent.mkdir(parents=True, exist_ok=True)
        place.local.write_bytes(b"emulated saved state\n")
    except OSError as problem:
        raise os_failure("write the saved state", place.windows, problem) from problem


def _write(place: Place, document: Any) -> None:
    text = _HEADER + json.dumps(document, separators=(",", ":"))
    try:
        place.local.parent.mkdir(parents=True, exist_ok=True)
        place.local.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise os_failure("write the configuration", place.windows, problem) from problem


def read_machine(disks: HostDisks, path: str) -> Machine:
    """Return the machine that a definition file describes; raises JobFailed."""
    document = _read(disks, path)
    if document.get("kind") != "machine":
        raise _unreadable(path)
    return _machine(document, path)


def read_checkpoint(disks: HostDisks, path: str) -> StoredCheckpoint:
    """Return the checkpoint that a definition file describes; raises JobFailed."""
    document = _read(disks, path)
    machine = _machine(document, path)
    if document.get("kind") != "checkpoint" or len(machine.checkpoints) != 1:
        raise _unreadable(path)
    return StoredCheckpoint(machine.machine_id, next(iter(machine.checkpoints.values())))


def _machine(document: dict[str, Any], path: str) -> Machine:
    try:
        return machine_from(document["machine"])
    except (KeyError, TypeError, ValueError) as problem:
        raise _unreadable(path) from problem


def _read(disks: HostDisks, path: str) -> dict[str, Any]:
    place = disks.existing(path, _VERB)
    try:
        text = place.local.read_text(encoding="utf-8")
        header, _, body = text.partition("\n")
        document = json.loads(body) if header + "\n" == _HEADER else None
    except OSError as problem:
        raise os_failure(_VERB, path, problem) from problem
    except ValueError as problem:
        raise _unreadable(path) from problem
    if not isinstance(document, dict):
        raise _unreadable(path)
    return document


def _unreadable(path: str) -> JobFailed:
    return file_failure(
        _VERB, path, "The file or directory is corrupted and unreadable.", _UNREADABLE
    )


def already_there(path: str) -> JobFailed:
    """Return the failure for an export into a folder that is taken."""
    return JobFailed(
        ReturnCode.FAILED,
        f"Failed to create the export directory '{path}': The file exists (0x80070050).",
        0x80070050,
    )
