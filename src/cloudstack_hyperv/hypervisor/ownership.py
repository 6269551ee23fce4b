"""The mark by which we know a VM as ours: one line in its Notes.

Names prove nothing (Hyper-V allows duplicates, and anybody may call a VM `i-2-3-VM`), so every VM
that we define carries CloudStack's own identity in its Notes, and a VM without that line is never
changed.  The line is plain text for the operator who finds it in Hyper-V Manager:

    CloudStack VM i-2-3-VM id=3 uuid=8b030b6a-0243-440a-8cc5-45d08815ca11 (cloudstack-hyperv; \
keep this line)

A VM that CloudStack stopped is normally gone from the host.  One with checkpoints stays, because
its definition holds them, and carries one more line that says so (`KEPT`).

Text that an operator writes before or after it is left alone.  The mark travels with exports and
copies of the VM, so it says *whose* a VM is, not that it is the only one.

Source: Microsoft, "Msvm_VirtualSystemSettingData" (Notes is an array; clients use one entry).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"^CloudStack VM (?P<name>\S+) id=(?P<id>[0-9]{1,19}) uuid=(?P<uuid>[0-9A-Za-z\-]{1,64}) "
    r"\(cloudstack-hyperv; keep this line\)\s*$",
    re.MULTILINE,
)
KEPT = "Stopped by CloudStack; this definition is kept for its VM snapshots."
"""The line of a VM that is, for CloudStack, not on this host."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,99}")


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whose a VM is."""

    name: str
    """CloudStack's instance name; the VM's ElementName when we defined it."""
    cloudstack_id: int
    uuid: str
    """CloudStack's VM uuid, which stays the same over all definitions of the VM."""

    def __post_init__(self) -> None:
        if not is_instance_name(self.name):
            raise ValueError(f"{self.name[:100]!r} cannot be the instance name of a VM")
        if not re.fullmatch(r"[0-9A-Za-z\-]{1,64}", self.uuid):
            raise ValueError(f"{self.uuid[:100]!r} cannot be the uuid of a VM")
        if self.cloudstack_id < 0:
            raise ValueError(f"{self.cloudstack_id} cannot be the id of a VM")

    @property
    def note(self) -> str:
        """The line that goes into the VM's Notes."""
        return (
            f"CloudStack VM {self.name} id={self.cloudstack_id} uuid={self.uuid} "
            "(cloudstack-hyperv; keep this line)"
        )

    def same_machine(self, other: Ownership | None) -> bool:
        """Whether both marks mean the same CloudStack VM."""
        return (
            other is not None
            and self.name == other.name
            and self.uuid.casefold() == other.uuid.casefold()
        )


def read_ownership(notes: str | None) -> Ownership | None:
    """Return the mark in a VM's Notes; None if there is none, or more than one kind of it."""
    marks = {
        Ownership(match["name"], int(match["id"]), match["uuid"])
        for match in _LINE.finditer((notes or "").replace("\r\n", "\n").replace("\r", "\n"))
        if is_instance_name(match["name"])
    }
    return marks.pop() if len(marks) == 1 else None


def is_kept(notes: str | None) -> bool:
    """Whether the Notes say that the definition is kept for its checkpoints only."""
    return KEPT in _lines(notes)


def with_kept(notes: str | None) -> str:
    """Return the Notes of a VM whose definition is kept."""
    return "\n".join([*(line for line in _lines(notes) if line != KEPT), KEPT])


def without_kept(notes: str | None) -> str:
    """Return the Notes of a VM that is to run again."""
    return "\n".join(line for line in _lines(notes) if line != KEPT)


def without_mark(notes: str | None) -> str:
    """Return the Notes of a VM that is let go: an operator's own text is left."""
    return "\n".join(
        line for line in _lines(notes) if line != KEPT and _LINE.fullmatch(line) is None
    )


def _lines(notes: str | None) -> list[str]:
    return (notes or "").replace("\r\n", "\n").replace("\r", "\n").split("\n") if notes else []


def is_instance_name(text: str) -> bool:
    """Whether CloudStack can have made this instance name (`i-2-3-VM`, a prefix is configurable).

    Hyper-V allows up to 100 characters; quotes, blanks and wildcards never occur in these names.
    """
    return _NAME.fullmatch(text) is not None
