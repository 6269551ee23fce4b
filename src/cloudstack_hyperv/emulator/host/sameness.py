"""Whether a property that a client sent back is what it was.

Clients often send a whole object that they read before: what they did not touch must pass, also
where it is read-only.
"""

from __future__ import annotations

from cloudstack_hyperv.emulator.cim.provider import Value


def same_value(current: Value, wanted: Value) -> bool:
    """Whether a property that a client sent back is what it was."""
    if isinstance(current, str) and isinstance(wanted, str):
        return current.lower() == wanted.lower()
    if isinstance(wanted, list | tuple):
        mine = list(current) if isinstance(current, list | tuple) else []
        return [str(item).lower() for item in mine] == [str(item).lower() for item in wanted]
    if current is None and wanted == "":
        return True
    return bool(current == wanted)
