"""Which guest plays in which machine: scripts by a pattern of machine names."""

from __future__ import annotations

import fnmatch

from cloudstack_hyperv.emulator.host.config import GuestScript


class GuestScripts:
    """Scripts of a host; the one added last wins."""

    def __init__(self, default: GuestScript) -> None:
        self._default = default
        self._patterns: list[tuple[str, GuestScript]] = []

    def play(self, pattern: str, script: GuestScript) -> None:
        """Use `script` in machines whose name matches (shell pattern, without letter case)."""
        self._patterns.insert(0, (pattern.casefold(), script))

    def for_name(self, name: str) -> GuestScript:
        """Return the script for a machine of this name."""
        wanted = name.casefold()
        for pattern, script in self._patterns:
            if fnmatch.fnmatchcase(wanted, pattern):
                return script
        return self._default
