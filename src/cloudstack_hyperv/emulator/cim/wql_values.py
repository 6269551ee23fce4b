"""Constants of WQL as values of a property's type, and when two object paths are the same.

Source: Microsoft, "WQL Operators"; libvirt's hyperv driver for the spellings of a path.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.emulator.cim.compiler import cim_datetime
from cloudstack_hyperv.emulator.cim.schema import normal_namespace

_INTEGER: Final = re.compile(r"\s*[-+]?[0-9]{1,40}\s*")


def as_string(value: object) -> str | None:
    """Return a constant as a string; None if it cannot be one."""
    if isinstance(value, str):
        return value
    return None if isinstance(value, bool) else str(value)


def as_reference(value: object) -> str | None:
    """Return a constant as the text of an instance's path; None if it is not one."""
    if not isinstance(value, str):
        return None
    try:
        return value if ObjectPath.parse(value).keys else None
    except MalformedPath:
        return None


def as_number(value: object) -> int | float | None:
    """Return a constant as a number; None if it cannot be one."""
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else None
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def as_boolean(value: object) -> bool | None:
    """Return a constant as a boolean; None if it cannot be one."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value == 1 if value in {0, 1} else None


def as_datetime(value: object) -> datetime | None:
    """Return a constant as a point in time; None if it is not a CIM timestamp."""
    found = _as_time(value)
    return found if isinstance(found, datetime) else None


def as_interval(value: object) -> timedelta | None:
    """Return a constant as a duration; None if it is not a CIM interval."""
    found = _as_time(value)
    return found if isinstance(found, timedelta) else None


def _as_time(value: object) -> datetime | timedelta | None:
    if not isinstance(value, str):
        return None
    try:
        return cim_datetime(value)
    except (ValueError, OverflowError):
        return None


def path_key(text: str, server: str, namespace: str) -> tuple[object, ...] | None:
    """Return what makes two object path texts the same path; None if this is not one."""
    try:
        path = ObjectPath.parse(text)
    except MalformedPath:
        return None
    return (
        is_this_server(path.host, server),
        normal_namespace(path.namespace) or normal_namespace(namespace),
        path.class_name.lower(),
        frozenset((name.lower(), value.lower()) for name, value in path.keys),
    )


def is_this_server(host: str, server: str) -> bool:
    """Whether a path's host part means this host: empty, ".", its name, or name and domain."""
    return host in {"", "."} or host.partition(".")[0].lower() == server.lower()
