"""Carrying out a `Select` here, over the instances of its class.

Some hosts refuse every WQL query in root/virtualization/v2 (CannotProcessFilter, seen on a client
edition by the author of r4sd/go-wsman).  There the class is enumerated and filtered here, with
WQL's rules: texts without letter case, NULL makes a comparison unknown, and unknown is not true.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from cloudstack_hyperv.wsman.api import Instance
from cloudstack_hyperv.wsman.protocol.datetimes import read_datetime
from cloudstack_hyperv.wsman.protocol.wql import (
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    IsNull,
    Like,
    Not,
    Operator,
    Select,
    WqlValue,
)


class CannotEvaluate(ValueError):
    """The statement asks for what an instance does not show (system properties, arrays)."""


def evaluate(select: Select, instances: Iterable[Instance]) -> list[Instance]:
    """Return the instances that fulfil `select`, with the properties it asks for.

    Raises CannotEvaluate.
    """
    where = select.where
    chosen = [row for row in instances if where is None or _truth(where, row) is True]
    if not select.properties:
        return chosen
    return [
        Instance(
            row.class_name,
            {name: row.values[name] for name in select.properties if name in row.values},
            row.namespace,
        )
        for row in chosen
    ]


def _truth(condition: Condition, row: Instance) -> bool | None:
    """Return True, False or None for unknown."""
    match condition:
        case Comparison():
            text = _text(row, condition.name)
            return None if text is None else _compare(text, condition.operator, condition.value)
        case Like():
            text = _text(row, condition.name)
            return None if text is None else _like(text.lower(), condition)
        case IsNull():
            return not row.values.get(condition.name)
        case Not():
            truth = _truth(condition.condition, row)
            return None if truth is None else not truth
        case AllOf():
            return _all(_truth(part, row) for part in condition.conditions)
        case AnyOf():
            some_false = _all(_negated(_truth(part, row)) for part in condition.conditions)
            return _negated(some_false)


def _all(truths: Iterable[bool | None]) -> bool | None:
    seen = list(truths)
    if False in seen:
        return False
    return None if None in seen else True


def _negated(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _text(row: Instance, name: str) -> str | None:
    if name.startswith("__"):
        if name == "__CLASS":
            return row.class_name
        raise CannotEvaluate(f"{name} cannot be evaluated without the host")
    values = row.values.get(name, ())
    if len(values) > 1:
        raise CannotEvaluate(f"{name} is an array, which WQL cannot compare")
    return str(values[0]) if values else None


def _like(text: str, condition: Like) -> bool:
    wanted = condition.text.lower()
    if condition.before and condition.after:
        return wanted in text
    if condition.before:
        return text.endswith(wanted)
    return text.startswith(wanted) if condition.after else text == wanted


def _compare(text: str, operator: Operator, value: WqlValue) -> bool:
    order = _order(text, value)
    match operator:
        case "=":
            return order == 0
        case "<>":
            return order != 0
        case "<":
            return order < 0
        case ">":
            return order > 0
        case "<=":
            return order <= 0
        case ">=":
            return order >= 0


def _order(text: str, value: WqlValue) -> int:
    """Return -1, 0 or 1 as `text`, read as the type of `value`, lies before, at or after it."""
    left: str | int | datetime
    right: str | int | datetime
    try:
        if isinstance(value, bool):
            left, right = int(text.strip().lower() == "true"), int(value)
        elif isinstance(value, int):
            left, right = int(text), int(value)
        elif isinstance(value, datetime):
            left, right = read_datetime(text), value
        else:
            left, right = text.lower(), value.lower()
    except ValueError as error:
        raise CannotEvaluate(f"{text[:100]!r} is not of the type of {value!r}") from error
    if left == right:
        return 0
    return -1 if left < right else 1  # type: ignore[operator] # both sides have value's type
