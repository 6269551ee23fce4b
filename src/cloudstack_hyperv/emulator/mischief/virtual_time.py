"""Virtual time that goes on where the last run of a host ended.

A host's folder holds times (of boots, checkpoints, leases); if a new run began earlier than the
last one ended, up-times would be negative.  So the clock keeps its time in a file of the folder.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cloudstack_hyperv.emulator.host.clock import VirtualClock


class KeptClock(VirtualClock):
    """A virtual clock whose time is kept in a file."""

    def __init__(self, file: Path) -> None:
        """Start at the file's time or now, whichever is later; ValueError for a broken file."""
        now = datetime.now(UTC)
        kept = datetime.fromisoformat(file.read_text().strip()) if file.exists() else now
        super().__init__(max(now, kept))
        self._file = file
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._keep()

    def advance(self, seconds: float) -> None:
        """Move forward; raises ValueError for a negative step."""
        super().advance(seconds)
        self._keep()

    def _keep(self) -> None:
        scratch = self._file.with_suffix(".new")
        scratch.write_text(self.now().isoformat() + "\n")
        scratch.replace(self._file)
