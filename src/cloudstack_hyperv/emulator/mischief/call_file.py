"""Every call of a host as one JSON line in a file, without secrets.

What is shown of arguments is what a reader needs to tell that nothing was bent on its way: numbers,
flags, references, and texts under names that hold paths, names or ids.  Any other text (notes,
KVP data, command lines, keys) is told by its length only.  In WQL the literals compared with
properties that sound like secrets are masked.

    {"number": 7, "when": "2026-01-05T08:00:00+00:00", "operation": "Invoke",
     "namespace": "root/virtualization/v2", "class": "Msvm_ComputerSystem",
     "method": "RequestStateChange", "selectors": {"Name": "..."}, "user": "Administrator",
     "arguments": {"RequestedState": 2}, "result": "ReturnValue 4096", "ms": 1.2}
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row, UnusableInstance, Value
from cloudstack_hyperv.emulator.door.calls import Call, CallRecord

_SHOWN: Final = frozenset(
    {
        "address", "addressonparent", "childpath", "configurationdataroot", "creationclassname",
        "destinationhost", "destinationpath", "deviceid", "elementname", "filename", "hostresource",
        "instanceid", "lastknownswitchname", "name", "parent", "parentpath", "path",
        "resourcesubtype", "selectioncriterion", "snapshotdataroot", "sourcepath", "systemname",
        "version", "virtualdiskid", "virtualsystemidentifier", "virtualsystemsubtype",
    }
)  # fmt: skip
_SECRET_COMPARISON: Final = re.compile(
    r"(?P<left>\w*(?:password|passwd|secret|token|credential|privatekey)\w*\s*(?:=|<>|like)\s*)"
    r"(?P<mark>['\"])(?:\\.|(?!(?P=mark)).)*(?P=mark)",
    re.IGNORECASE,
)
Json = Any


def call_as_json(call: Call) -> dict[str, Json]:
    """Return what may be written down of a call."""
    document: dict[str, Json] = {
        "number": call.number,
        "operation": call.operation,
        "namespace": call.namespace,
        "class": call.class_name,
        "method": call.method,
        "selectors": dict(call.selectors),
        "user": call.caller.user,
    }
    if call.filter:
        document["filter"] = _SECRET_COMPARISON.sub(r"\g<left>'***'", call.filter)
    if call.arguments:
        document["arguments"] = _shown_values(call.arguments)
    return document


def record_as_json(record: CallRecord) -> dict[str, Json]:
    """Return what may be written down of a call that is over."""
    return {
        **call_as_json(record.call),
        "when": record.when.isoformat(),
        "result": record.result,
        "ms": round(record.duration_s * 1000, 3),
    }


def _shown_values(values: Mapping[str, Value]) -> dict[str, Json]:
    return {name: _shown(name, value) for name, value in values.items()}


def _shown(name: str, value: Value) -> Json:
    if isinstance(value, list | tuple):
        return [_shown(name, item) for item in value]
    if isinstance(value, Row):
        return {"class": value.class_name, **_shown_values(value.values)}
    if isinstance(value, ObjectPath):
        return str(value)
    if isinstance(value, datetime | timedelta):
        return str(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, UnusableInstance):
        return f"*** ({value.problem})"
    if isinstance(value, str) and name.lower() in _SHOWN:
        return str(value)
    return f"*** ({len(value)})" if isinstance(value, str | bytes) else "***"


class CallFile:
    """Appends records to a file, a line each; usable as a context manager.

    The file is readable by its owner only: names and paths are nobody else's business.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file; raises OSError."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._stream = os.fdopen(descriptor, "a", encoding="utf-8", buffering=1)

    def write(self, record: CallRecord) -> None:
        """Append a call."""
        line = json.dumps(record_as_json(record), separators=(",", ":"))
        self._stream.write(line + "\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
