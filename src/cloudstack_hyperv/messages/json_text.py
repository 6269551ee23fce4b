"""JSON text to JSON values and back, with limits.

The management server's HTTP client encodes a body as ISO-8859-1 (Apache HttpClient's default
for a `StringEntity` without charset), every other sender as UTF-8: so UTF-8 is tried first and
Latin-1, which never fails, second.  Numbers keep all their digits: a CloudStack id is a 64-bit
integer and does not survive a double.
"""

from typing import Any, Final, TypeAlias

import msgspec

from cloudstack_hyperv.messages.errors import MalformedMessage

Json: TypeAlias = Any
"""A JSON value: `dict[str, Json]`, `list[Json]`, `str`, `int`, `float`, `bool` or `None`."""

JsonObject: TypeAlias = dict[str, Json]

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""The largest body that is parsed.  The largest real ones (rule sets) stay well below 1 MiB."""

MAX_DEPTH: Final = 64
"""The deepest nesting that is read.  A chain of VM snapshots is the deepest real structure."""


def parse_json(text: bytes | str) -> Json:
    """Parse one JSON text.

    Raises `MalformedMessage` for broken JSON, `NaN` and infinities, a text above
    `MAX_BODY_BYTES` or nesting below `MAX_DEPTH`.  Of duplicate keys the last one counts, as
    with Gson.
    """
    if len(text) > MAX_BODY_BYTES:
        raise MalformedMessage(f"more than {MAX_BODY_BYTES} bytes")
    try:
        value = msgspec.json.decode(_decoded(text))
    except msgspec.DecodeError as error:
        raise MalformedMessage(f"not JSON ({_without_path(str(error))})") from None
    except RecursionError:
        raise MalformedMessage(f"nested more than {MAX_DEPTH} levels deep") from None
    check_depth(value)
    return value


def render_json(value: Json) -> bytes:
    """Write one JSON value as UTF-8 text without superfluous blanks."""
    return msgspec.json.encode(value)


def check_depth(value: Json) -> None:
    """Raise `MalformedMessage` if `value` nests deeper than `MAX_DEPTH`."""
    level: list[Json] = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    raise MalformedMessage(f"nested more than {MAX_DEPTH} levels deep")


def json_kind(value: Json) -> str:
    """Name the JSON type of `value`, for error texts."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "an array" if isinstance(value, list) else "an object"


def _decoded(text: bytes | str) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _without_path(message: str) -> str:
    """msgspec's `$[0]` counts from the text, ours from the message: do not show two paths."""
    return message.split(" - at ")[0]
