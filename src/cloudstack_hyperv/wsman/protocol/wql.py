r"""WQL statements as values: what stands where a name stands is checked, what is a literal escaped.

VM names come from outside (`i-2-3-VM' OR ElementName LIKE '%`), so nobody builds a query with an
f-string: `Select("Msvm_ComputerSystem", where=equals("ElementName", name))`.  A `Select` can also
be carried out here when a host refuses WQL (see `evaluate`).

WQL reads a backslash in a literal as an escape and knows no escape in LIKE but the set `[%]`.
Sources: Microsoft, "WQL (SQL for WMI)", "LIKE Operator", "ASSOCIATORS OF Statement".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.wsman.protocol.datetimes import cim_datetime
from cloudstack_hyperv.wsman.protocol.names import identifier

WqlValue = str | bool | int | datetime
Operator = Literal["=", "<>", "<", ">", "<=", ">="]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`property operator literal`."""

    name: str
    operator: Operator
    value: WqlValue

    def __post_init__(self) -> None:
        identifier(self.name)

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {literal(self.value)}"


@dataclass(frozen=True, slots=True)
class Like:
    """`property LIKE pattern`; build it with `starts_with`, `ends_with` or `contains`.

    `before` and `after` say whether anything may stand before and after `text`.
    """

    name: str
    text: str
    before: bool
    after: bool

    def __post_init__(self) -> None:
        identifier(self.name)

    def __str__(self) -> str:
        pattern = like_text(self.text)
        pattern = f"{'%' if self.before else ''}{pattern}{'%' if self.after else ''}"
        return f"{self.name} LIKE {literal(pattern)}"


@dataclass(frozen=True, slots=True)
class IsNull:
    """`property IS NULL`."""

    name: str

    def __post_init__(self) -> None:
        identifier(self.name)

    def __str__(self) -> str:
        return f"{self.name} IS NULL"


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT condition`."""

    condition: Condition

    def __str__(self) -> str:
        return f"NOT ({self.condition})"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Conditions joined by AND."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " AND ".join(_grouped(condition) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Conditions joined by OR."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " OR ".join(_grouped(condition) for condition in self.conditions)


Condition = Comparison | Like | IsNull | Not | AllOf | AnyOf


def equals(name: str, value: WqlValue) -> Comparison:
    """`name = value`; texts are compared without letter case."""
    return Comparison(name, "=", value)


def differs(name: str, value: WqlValue) -> Comparison:
    """`name <> value`."""
    return Comparison(name, "<>", value)


def starts_with(name: str, prefix: str) -> Like:
    """`name LIKE 'prefix%'`, the prefix taken literally."""
    return Like(name, prefix, before=False, after=True)


def ends_with(name: str, suffix: str) -> Like:
    """`name LIKE '%suffix'`, the suffix taken literally."""
    return Like(name, suffix, before=True, after=False)


def contains(name: str, text: str) -> Like:
    """`name LIKE '%text%'`, the text taken literally."""
    return Like(name, text, before=True, after=True)


def one_of(name: str, values: Iterable[WqlValue]) -> Condition:
    """`name = a OR name = b ...`; ValueError for no values (it would match nothing)."""
    return any_of(equals(name, value) for value in values)


def all_of(conditions: Iterable[Condition]) -> Condition:
    """Join by AND; ValueError for no conditions."""
    return _joined(AllOf, tuple(conditions))


def any_of(conditions: Iterable[Condition]) -> Condition:
    """Join by OR; ValueError for no conditions."""
    return _joined(AnyOf, tuple(conditions))


@dataclass(frozen=True, slots=True)
class Select:
    """`SELECT properties FROM class WHERE condition`; no properties means all (`*`)."""

    class_name: str
    where: Condition | None = None
    properties: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.class_name, *self.properties):
            identifier(name)

    def __str__(self) -> str:
        what = ",".join(self.properties) or "*"
        condition = "" if self.where is None else f" WHERE {self.where}"
        # Names are checked in __post_init__, literals escaped by `literal`.
        return f"SELECT {what} FROM {self.class_name}{condition}"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Associators:
    """`ASSOCIATORS OF {path} WHERE ...`: the objects at the other end.

    `result_class` includes its subclasses; `association` is the exact class or a superclass.
    """

    path: ObjectPath
    association: str = ""
    result_class: str = ""
    role: str = ""
    result_role: str = ""

    def __str__(self) -> str:
        return "ASSOCIATORS OF " + _association(
            self.path,
            AssocClass=self.association,
            ResultClass=self.result_class,
            Role=self.role,
            ResultRole=self.result_role,
        )


@dataclass(frozen=True, slots=True)
class References:
    """`REFERENCES OF {path} WHERE ...`: the association instances themselves."""

    path: ObjectPath
    result_class: str = ""
    role: str = ""

    def __str__(self) -> str:
        return "REFERENCES OF " + _association(
            self.path, ResultClass=self.result_class, Role=self.role
        )


Statement = Select | Associators | References


def literal(value: WqlValue) -> str:
    r"""Write a literal: texts in single quotes with `\` and `'` escaped."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, datetime):
        return f"'{cim_datetime(value)}'"
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def like_text(text: str) -> str:
    """Write text so that LIKE takes every character of it literally."""
    return "".join(f"[{character}]" if character in "%_[" else character for character in text)


def _grouped(condition: Condition) -> str:
    return f"({condition})" if isinstance(condition, AllOf | AnyOf) else str(condition)


def _joined(kind: type[AllOf | AnyOf], conditions: tuple[Condition, ...]) -> Condition:
    if not conditions:
        raise ValueError("no conditions to join")
    return conditions[0] if len(conditions) == 1 else kind(conditions)


def _association(path: ObjectPath, **words: str) -> str:
    identifier(path.class_name)
    for name, _ in path.keys:
        identifier(name)
    # Relative to the namespace that the query is sent to: a host part would go to another host.
    relative = str(ObjectPath(path.class_name, path.keys))
    conditions = " ".join(f"{word} = {identifier(name)}" for word, name in words.items() if name)
    return f"{{{relative}}}{' WHERE ' + conditions if conditions else ''}"
