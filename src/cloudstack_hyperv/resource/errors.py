"""What a handler may raise when a command cannot be carried out as it stands."""

from __future__ import annotations


class CommandRefused(Exception):
    """Bad path, unknown label, unsupported URI, wrong order: the text is the answer's `details`."""
