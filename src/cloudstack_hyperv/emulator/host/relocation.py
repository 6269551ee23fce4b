r"""Rewriting a machine's settings for another place: another host, other files, other switches.

Settings name their host in object paths (`Parent`, `BootSourceOrder`, switches), their files in
HostResource, their switch by its GUID, which is different on every host.  InstanceIDs stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.site import strings, text
from cloudstack_hyperv.emulator.host.switches import Switch, Switches

FOLDERS = (
    "ConfigurationDataRoot",
    "SnapshotDataRoot",
    "SuspendDataRoot",
    "SwapFileDataRoot",
    "LogDataRoot",
    "GuestStateDataRoot",
)


def on_host(settings: Configuration, host: str) -> Configuration:
    """Return a copy whose object paths name `host`, whichever host they named before."""
    pattern = re.compile(r"\\\\[^\\]+(?=\\root\\virtualization\\v2:)", re.IGNORECASE)

    def move(value: str) -> str:
        return (
            pattern.sub(lambda _: f"\\\\{host}", value, count=1) if value[:2] == "\\\\" else value
        )

    return _mapped(settings, move)


def _mapped(settings: Configuration, change: Callable[[str], str]) -> Configuration:
    def one(value: Value) -> Value:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, list | tuple):
            return [change(item) if isinstance(item, str) else item for item in value]
        return value

    def row(old: Row) -> Row:
        return Row(old.class_name, {name: one(value) for name, value in old.values.items()})

    return Configuration(
        settings.guid,
        row(settings.system),
        {key: row(resource) for key, resource in settings.resources.items()},
        {key: row(feature) for key, feature in settings.features.items()},
        row(settings.security) if settings.security is not None else None,
    )


def with_files(settings: Configuration, new_path: Callable[[str], str]) -> Configuration:
    """Return a copy whose media lie where `new_path` says for each old path."""
    copy = settings.copy()
    for medium in copy.media:
        paths = [new_path(path) for path in strings(medium.values, "HostResource")]
        copy.put(Row(medium.class_name, {**medium.values, "HostResource": paths}))
    return copy


def with_roots(settings: Configuration, roots: Mapping[str, str]) -> Configuration:
    """Return a copy with other folders; those that are not named follow ConfigurationDataRoot."""
    copy = settings.copy()
    values: dict[str, Value] = dict(roots)
    base = roots.get("ConfigurationDataRoot")
    if base is not None:
        for name in FOLDERS[1:]:
            if name in copy.system.values:
                values.setdefault(name, base)
    copy.set_system(**values)
    return copy


def plugged_in(
    settings: Configuration, switches: Switches, chosen: Mapping[str, Switch | None]
) -> tuple[Configuration, list[str]]:
    """Connect adapters to another host's switches.

    Returns the copy and the names of switches that are not there.  `chosen` holds what a client
    asked for, by the connection's InstanceID in upper case; the others go to the switch of the
    same name.  A connection that finds no switch is left dangling: it names one that is not here.
    """
    copy = settings.copy()
    by_name = {switch.name.casefold(): switch for switch in switches}
    missing: list[str] = []
    for cable in list(copy.of_class(catalogue.CONNECTION)):
        key = str(cable.values["InstanceID"]).upper()
        name = text(cable.values, "LastKnownSwitchName")
        wired = bool(strings(cable.values, "HostResource")) or key in chosen
        if not wired:
            continue
        switch = chosen[key] if key in chosen else by_name.get(name.casefold())
        if switch is not None:
            changed: dict[str, Value] = {
                "HostResource": [switch.path_text],
                "LastKnownSwitchName": switch.name,
            }
        elif key in chosen:
            changed = {"HostResource": None}
        else:
            if cable.values.get("EnabledState") == 2:
                missing.append(name)
            continue
        copy.put(Row(cable.class_name, {**cable.values, **changed}))
    return copy, missing
