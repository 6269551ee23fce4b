"""The parts of a WQL query as a tree; `str` writes each back as WQL.

The grammar stands in `wql`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from cloudstack_hyperv.cim import ObjectPath


@dataclass(frozen=True, slots=True)
class Name:
    """A property, or a system property such as `__PATH`, as written."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal; None is NULL."""

    value: str | int | float | bool | None

    def __str__(self) -> str:
        if isinstance(self.value, str):
            return quoted(self.value)
        if self.value is None:
            return "NULL"
        return str(self.value).upper() if isinstance(self.value, bool) else repr(self.value)


Operand: TypeAlias = Name | Constant


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operator` is one of = <> < <= > >= ("!=" is read as "<>")."""

    operator: str
    left: Operand
    right: Operand

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right}"


@dataclass(frozen=True, slots=True)
class Like:
    """`name LIKE pattern`."""

    name: Name
    pattern: str

    def __str__(self) -> str:
        return f"{self.name} LIKE {quoted(self.pattern)}"


@dataclass(frozen=True, slots=True)
class IsNull:
    """`name IS [NOT] NULL`."""

    name: Name
    negated: bool

    def __str__(self) -> str:
        return f"{self.name} IS {'NOT ' if self.negated else ''}NULL"


@dataclass(frozen=True, slots=True)
class IsA:
    """`name ISA class`: on `__THIS` or `__CLASS` the row's class, else that of an embedded one."""

    name: Name
    class_name: str

    def __str__(self) -> str:
        return f"{self.name} ISA {quoted(self.class_name)}"


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT condition`."""

    condition: Condition

    def __str__(self) -> str:
        return f"NOT ({self.condition})"


@dataclass(frozen=True, slots=True)
class And:
    """Two or more conditions that must all hold."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " AND ".join(f"({each})" for each in self.conditions)


@dataclass(frozen=True, slots=True)
class Or:
    """Two or more conditions of which one must hold."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " OR ".join(f"({each})" for each in self.conditions)


Condition: TypeAlias = Comparison | Like | IsNull | IsA | Not | And | Or


@dataclass(frozen=True, slots=True)
class Select:
    """`columns` is None for `*`."""

    columns: tuple[str, ...] | None
    class_name: str
    where: Condition | None

    def __str__(self) -> str:
        columns = "*" if self.columns is None else ", ".join(self.columns)
        where = "" if self.where is None else f" WHERE {self.where}"
        return " ".join(("SELECT", columns, "FROM", self.class_name)) + where


@dataclass(frozen=True, slots=True)
class AssociationFilter:
    """The WHERE clause of ASSOCIATORS OF and REFERENCES OF; None where not given."""

    assoc_class: str | None = None
    result_class: str | None = None
    role: str | None = None
    result_role: str | None = None
    required_qualifier: str | None = None
    required_assoc_qualifier: str | None = None
    class_defs_only: bool = False
    keys_only: bool = False
    schema_only: bool = False

    def __str__(self) -> str:
        words = [
            f"{word} = {value}"
            for word, field_name in FILTERS.items()
            if isinstance(value := getattr(self, field_name), str)
        ]
        words += [word for word, field_name in SWITCHES.items() if getattr(self, field_name)]
        return f" WHERE {' '.join(words)}" if words else ""


@dataclass(frozen=True, slots=True)
class Associators:
    """Instances at the other ends of associations; a path `{Class="x"}` has one key named ""."""

    path: ObjectPath
    where: AssociationFilter

    def __str__(self) -> str:
        return f"ASSOCIATORS OF {{{_path_text(self.path)}}}{self.where}"


@dataclass(frozen=True, slots=True)
class References:
    """The associations of an instance themselves."""

    path: ObjectPath
    where: AssociationFilter

    def __str__(self) -> str:
        return f"REFERENCES OF {{{_path_text(self.path)}}}{self.where}"


Query: TypeAlias = Select | Associators | References

FILTERS: Final = {
    "AssocClass": "assoc_class",
    "ResultClass": "result_class",
    "Role": "role",
    "ResultRole": "result_role",
    "RequiredQualifier": "required_qualifier",
    "RequiredAssocQualifier": "required_assoc_qualifier",
}
SWITCHES: Final = {
    "ClassDefsOnly": "class_defs_only",
    "KeysOnly": "keys_only",
    "SchemaOnly": "schema_only",
}
"""Words of an association filter, and the fields that hold them."""


def quoted(text: str) -> str:
    """Write a WQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _path_text(path: ObjectPath) -> str:
    """Write a path; the short form `Class="value"` has a key without a name."""
    return str(path).replace(".=", "=", 1) if path.keys[:1] and not path.keys[0][0] else str(path)
