r"""Names of what a self-test makes, by which its things are told from everybody else's.

Every thing is called `cshv-selftest-<id>` (the switch, the folder) or begins with that and a
hyphen (machines, checkpoints), `<id>` being eight random hex digits of one run.  Nothing that is
called otherwise is ever changed or removed: `is_scratch` is asked before every removal.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from cloudstack_hyperv.storage.windows_paths import file_name, join_path

PREFIX: Final = "cshv-selftest-"
_NAME = re.compile(rf"{PREFIX}(?P<id>[0-9a-f]{{8}})(?:-[a-z0-9]+)?")


@dataclass(frozen=True, slots=True)
class ScratchNames:
    """The names of one run."""

    run: str = field(default_factory=lambda: secrets.token_hex(4))
    """Eight hex digits."""

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(f"{self.run!r} is no run's id")

    @property
    def name(self) -> str:
        """Name of the folder and of the switch."""
        return PREFIX + self.run

    def machine(self, purpose: str) -> str:
        """Return the name of a machine or checkpoint: `cshv-selftest-0123abcd-gen1`."""
        return f"{self.name}-{purpose}"

    def mac(self, number: int) -> str:
        """Return a MAC address that only this run uses: locally administered, the id in it."""
        return f"02{self.run.upper()}{number:02X}"

    def folder(self, base: str) -> str:
        """Return the scratch folder below `base`."""
        return join_path(base, self.name)


def is_scratch(name: str) -> bool:
    """Whether a thing of this name was made by a self-test."""
    return _NAME.fullmatch(name) is not None


def is_scratch_folder(path: str) -> bool:
    """Whether the last name of a path is that of a self-test's folder."""
    return is_scratch(file_name(path))
