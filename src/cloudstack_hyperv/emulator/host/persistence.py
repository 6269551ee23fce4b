"""A host's state on disk: one JSON file a machine, one for the host, each replaced atomically.

Disks and configuration files lie in the mounted drives anyway; what is kept here is what VMMS
would know: machines with settings and checkpoints, switches, service settings.  A file is written
when its owner changes, so that a killed emulator loses nothing that a client was told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.machine import Checkpoint, Machine, PowerState
from cloudstack_hyperv.emulator.host.switches import Switch

FORMAT = 1

Json = Any


@dataclass(slots=True)
class HostState:
    """What is kept of the host itself."""

    boots: int = 0
    clean: bool = False
    """Whether the last run ended with a clean stop that keeps machines running."""
    switches: list[Switch] = field(default_factory=list)
    settings: dict[str, Row] = field(default_factory=dict)
    """Service settings by class."""
    has_switches: bool = False


class StateStore:
    """Reads and writes one host's state below its folder."""

    def __init__(self, folder: Path) -> None:
        self._host_file = folder / "state" / "host.json"
        self._machine_folder = folder / "state" / "machines"
        self._machine_folder.mkdir(parents=True, exist_ok=True)

    def load_host(self) -> HostState:
        """Return the host's own state, a fresh one for a new folder; ValueError if unreadable."""
        if not self._host_file.exists():
            return HostState()
        document = self._read(self._host_file)
        return HostState(
            int(document["boots"]),
            bool(document["clean"]),
            [_switch(item) for item in document["switches"]],
            {name: _row(item) for name, item in document["settings"].items()},
            has_switches=True,
        )

    def save_host(self, state: HostState) -> None:
        """Write the host's own state."""
        self._write(
            self._host_file,
            {
                "format": FORMAT,
                "boots": state.boots,
                "clean": state.clean,
                "switches": [_switch_json(switch) for switch in state.switches],
                "settings": {name: _row_json(row) for name, row in state.settings.items()},
            },
        )

    def load_machines(self) -> list[Machine]:
        """Return the machines, in the order in which they were made."""
        files = self._machine_folder.glob("*.json")
        machines = [machine_from(self._read(path)) for path in files]
        return sorted(machines, key=lambda machine: (machine.created, machine.machine_id))

    def save_machine(self, machine: Machine) -> None:
        """Write one machine."""
        path = self._machine_folder / f"{machine.machine_id}.json"
        self._write(path, machine_document(machine))

    def remove_machine(self, machine: Machine) -> None:
        """Forget one machine."""
        (self._machine_folder / f"{machine.machine_id}.json").unlink(missing_ok=True)

    def _read(self, path: Path) -> Json:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("format") != FORMAT:
            raise ValueError(f"{path} is of format {document.get('format')}, not {FORMAT}")
        return document

    def _write(self, path: Path, document: Json) -> None:
        scratch = path.with_suffix(".new")
        scratch.write_bytes(msgspec.json.encode(document))
        scratch.replace(path)


_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types that JSON has; subclasses (enumerations, sized integers) are converted."""


def _value_json(value: Value) -> Json:
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    if isinstance(value, timedelta):
        return {"seconds": value.total_seconds()}
    if isinstance(value, list | tuple):
        return [_value_json(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not kept in settings")


def _value(document: Json) -> Value:
    if isinstance(document, dict):
        if "time" in document:
            return datetime.fromisoformat(document["time"])
        return timedelta(seconds=document["seconds"])
    if isinstance(document, list):
        return [_value(item) for item in document]  # type: ignore[misc]
    known: Value = document
    return known


def _row_json(row: Row) -> Json:
    # Nearly all values are of these types; a call for each would be half the cost of a change.
    values = {
        name: value if type(value) in _PLAIN else _value_json(value)
        for name, value in row.values.items()
    }
    return [row.class_name, values]


def _row(document: Json) -> Row:
    class_name, values = document
    return Row(class_name, {name: _value(value) for name, value in values.items()})


def _rows(document: Json) -> dict[str, Row]:
    rows = [_row(item) for item in document]
    return {str(row.values["InstanceID"]).upper(): row for row in rows}


def _settings_json(settings: Configuration) -> Json:
    return {
        "guid": settings.guid,
        "system": _row_json(settings.system),
        "resources": [_row_json(row) for row in settings.resources.values()],
        "features": [_row_json(row) for row in settings.features.values()],
        "security": _row_json(settings.security) if settings.security is not None else None,
    }


def _settings(document: Json) -> Configuration:
    return Configuration(
        document["guid"],
        _row(document["system"]),
        _rows(document["resources"]),
        _rows(document["features"]),
        _row(document["security"]) if document["security"] is not None else None,
    )


def _time(document: Json) -> datetime | None:
    return datetime.fromisoformat(document) if document else None


def machine_document(machine: Machine) -> Json:
    """Return all that is kept of a machine, as JSON can hold it."""
    guest = machine.guest
    return {
        "format": FORMAT,
        "machine_id": machine.machine_id,
        "created": machine.created.isoformat(),
        "config_changed": machine.config_changed.isoformat() if machine.config_changed else "",
        "state": machine.state.value,
        "up_since": machine.up_since.isoformat() if machine.up_since else "",
        "up_before": machine.up_before.total_seconds(),
        "busy_before": machine.busy_before,
        "booted_from": guest.booted_from.isoformat() if guest is not None else "",
        "process_id": machine.process_id,
        "settings": _settings_json(machine.settings),
        "checkpoints": [
            {
                "settings": _settings_json(checkpoint.settings),
                "parent": checkpoint.parent,
                "has_memory": checkpoint.has_memory,
                "created": checkpoint.created.isoformat(),
            }
            for checkpoint in machine.checkpoints.values()
        ],
        "current_checkpoint": machine.current_checkpoint,
        "last_applied": machine.last_applied,
        "frozen_files": sorted(machine.frozen_files),
        "host_items": machine.host_items,
        "trustees": sorted(machine.trustees),
        "measured": machine.measured_since.isoformat() if machine.measured_since else "",
    }


def machine_from(document: Json) -> Machine:
    """Return the machine of a document; KeyError, TypeError or ValueError for anything else."""
    machine = Machine(
        document["machine_id"],
        _settings(document["settings"]),
        datetime.fromisoformat(document["created"]),
        PowerState(document["state"]),
        config_changed=_time(document["config_changed"]),
        up_since=_time(document["up_since"]),
        up_before=timedelta(seconds=document["up_before"]),
        busy_before=document["busy_before"],
        booted_from=_time(document["booted_from"]),
        process_id=document["process_id"],
        current_checkpoint=document["current_checkpoint"],
        last_applied=document["last_applied"],
        frozen_files=set(document["frozen_files"]),
        host_items=dict(document["host_items"]),
        trustees=set(document["trustees"]),
        measured_since=_time(document["measured"]),
    )
    for item in document["checkpoints"]:
        settings = _settings(item["settings"])
        machine.checkpoints[settings.guid] = Checkpoint(
            settings,
            item["parent"],
            item["has_memory"],
            datetime.fromisoformat(item["created"]),
        )
    return machine


def _switch_json(switch: Switch) -> Json:
    return {
        "guid": switch.guid,
        "settings": _row_json(switch.settings),
        "path": switch.path_text,
        "created": switch.created.isoformat(),
        "connections": [_row_json(row) for row in switch.connections.values()],
        "features": [_row_json(row) for row in switch.features.values()],
    }


def _switch(document: Json) -> Switch:
    return Switch(
        document["guid"],
        _row(document["settings"]),
        document["path"],
        datetime.fromisoformat(document["created"]),
        _rows(document["connections"]),
        _rows(document["features"]),
    )
