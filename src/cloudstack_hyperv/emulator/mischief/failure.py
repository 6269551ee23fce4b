"""Mischief that could not be done."""

from __future__ import annotations


class MischiefFailed(Exception):
    """The host refused, or has nothing by that name; the text says which and why."""
