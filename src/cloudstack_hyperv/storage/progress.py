"""How far a long step is: into the running command's scope, and a line in the log now and then."""

from __future__ import annotations

import time
from typing import Final

import structlog

from cloudstack_hyperv.observe import current_scope

log = structlog.get_logger(__name__)

STEP: Final = 0.05
"""Fraction after which it is told again."""
INTERVAL: Final = 10.0
"""Seconds after which it is told again if anything moved at all."""


class Progress:
    """Callable with a fraction from 0.0 to 1.0; cheap to call often, never goes back."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._told = -1.0
        self._told_at = 0.0

    def __call__(self, fraction: float) -> None:
        """Take note of how far it is."""
        fraction = min(max(fraction, 0.0), 1.0)
        now = time.monotonic()
        moved = fraction - self._told
        finished = fraction == 1.0 and moved > 0
        if not finished and moved < STEP and (moved <= 0 or now - self._told_at < INTERVAL):
            return
        self._told, self._told_at = fraction, now
        scope = current_scope()
        if scope is not None:
            scope.progress.append((self.what, fraction))
        log.info("copy progress", what=self.what, fraction=round(fraction, 3))
