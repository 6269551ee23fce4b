"""What an action ends with: an exit status, and a text on standard output.

Only the status decides: 0 is success whatever the text says, and with any other the management
server shows `Exit code: N, Output: ...` to the user.  It reads the pipe after the process has
ended, so a text that does not fit into a pipe (64 KiB) would block until the time limit: a text is
cut to what surely fits.  Status, prepare and getconsole are parsed, the text of a custom action is
handed to the user interface, which draws `message` as a table where `printmessage` is "true".

Source: CloudStack's `ExternalPathPayloadProvisioner`, and `extensions/HyperV/hyperv.py` for words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MOST_OUTPUT: Final = 49_152
"""Bytes; a pipe takes 65536, the interpreter and the shell that starts it may add some."""
_MOST_TEXT: Final = 4000

Row = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an action ended."""

    status: int
    """Exit status: 0 success, 1 failure."""
    text: str
    """All of standard output, without a line end; at most MOST_OUTPUT bytes in ASCII."""


def succeeded(message: str) -> Outcome:
    """Return the success of an action whose text nobody parses."""
    return Outcome(0, json.dumps({"status": "success", "message": _cut(message)}))


def unchanged() -> Outcome:
    """Return the success of `prepare` that leaves the VM as CloudStack has it: no text at all."""
    return Outcome(0, "")


def power_state(word: str) -> Outcome:
    """Return the answer to `status`: poweron, poweroff or unknown."""
    return Outcome(0, json.dumps({"status": "success", "power_state": word}))


def table(rows: Sequence[Row]) -> Outcome:
    """Return rows that the user interface shows as a table; the last ones are left out if many."""
    kept = list(rows)
    while True:
        left_out = len(rows) - len(kept)
        message: list[Row] = [*kept, {"": f"{left_out} more"}] if left_out else kept
        text = json.dumps({"status": "success", "printmessage": "true", "message": message})
        if len(text) <= MOST_OUTPUT or not kept:
            return Outcome(0, text)
        del kept[len(kept) * 3 // 4 :]


def failed(reason: str) -> Outcome:
    """Return a failure; `reason` is shown to a user and says what to do where that is known."""
    return Outcome(1, json.dumps({"status": "error", "error": _cut(reason)}))


def _cut(text: str) -> str:
    """Shorten a text that would be too long; a character takes up to twelve bytes of JSON."""
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."
