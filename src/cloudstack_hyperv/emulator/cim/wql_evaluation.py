r"""What a WQL condition means for a row of a class.

A condition is compiled once a query into a function of a row.  Names and types are settled then:
an unknown property, an array in a comparison, or a constant that is not of the
property's type is CimFault INVALID_QUERY, before any row is looked at.

The rules:

- Strings compare without letter case.
- A comparison with a NULL property is neither true nor false: the row is not selected, under NOT
  either.  `= NULL` and `<> NULL` mean IS NULL and IS NOT NULL.
- A constant takes the property's type where its text allows it: `EnabledState = '2'`, `Name = 5`,
  `Started = 'true'`; a datetime is written as CIM's 25 characters.
- `__PATH` and `__RELPATH` compare as object paths: host, namespace, class, key names and values in
  any letter case, keys in any order, the host left out or given as "." or with a domain.
- A reference property compares with a text in the same way, and with nothing else: os-win asks
  `Msvm_EthernetDeviceSAPImplementation WHERE Antecedent = '<path>'`.
- `__CLASS`, `__SUPERCLASS`, `__DYNASTY`, `__SERVER`, `__NAMESPACE` are strings (in `__NAMESPACE`
  both slashes are the same), `__GENUS` and `__PROPERTY_COUNT` numbers, `__DERIVATION` an array.

Sources: Microsoft, "WQL Operators", "WMI System Properties"; libvirt's hyperv driver for __PATH,
whose value it copies from a property with every backslash doubled.  That NULL is never selected
by `<>` is a guess.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cloudstack_hyperv.cim import INTEGER_TYPES, CimType, ObjectPath
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row, WmiCode
from cloudstack_hyperv.emulator.cim.schema import ClassDef, Schema, normal_namespace
from cloudstack_hyperv.emulator.cim.wql_like import like
from cloudstack_hyperv.emulator.cim.wql_tree import (
    And,
    Comparison,
    Condition,
    Constant,
    IsA,
    IsNull,
    Like,
    Name,
    Not,
    Operand,
    Or,
)
from cloudstack_hyperv.emulator.cim.wql_values import (
    as_boolean,
    as_datetime,
    as_interval,
    as_number,
    as_reference,
    as_string,
    path_key,
)

Predicate = Callable[[Row], bool | None]
"""True, False, or None where a NULL leaves it open."""

_KIND: Final = {
    CimType.BOOLEAN: "boolean",
    CimType.STRING: "string",
    CimType.CHAR16: "string",
    CimType.REAL32: "number",
    CimType.REAL64: "number",
    CimType.REFERENCE: "reference",
    CimType.OBJECT: "object",
} | dict.fromkeys(INTEGER_TYPES, "number")
_ORDERED: Final = frozenset({"string", "number", "datetime", "interval"})
_STRINGS: Final = frozenset({"string", "path", "namespace"})
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a query runs: what system properties show."""

    server: str
    namespace: str
    schema: Schema
    path_of: Callable[[Row], ObjectPath]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where an operand's value comes from: `kind` says how it compares."""

    kind: str
    value: Callable[[Row], Any]


def compile_condition(
    condition: Condition, class_def: ClassDef, surroundings: Surroundings
) -> Predicate:
    """Return the condition as a function of a row; raises CimFault."""
    return _Compiler(class_def, surroundings).predicate(condition)


def is_system_property(name: str) -> bool:
    """Whether a name is one of WMI's own properties, which every object has."""
    return name.lower() in _SYSTEM_KINDS


_SYSTEM_KINDS: Final = {
    "__class": "string",
    "__superclass": "string",
    "__dynasty": "string",
    "__server": "string",
    "__namespace": "namespace",
    "__path": "path",
    "__relpath": "path",
    "__genus": "number",
    "__property_count": "number",
    "__derivation": "array",
}


class _Compiler:
    def __init__(self, class_def: ClassDef, surroundings: Surroundings) -> None:
        self._class = class_def
        self._around = surroundings

    def predicate(self, condition: Condition) -> Predicate:
        match condition:
            case And(conditions):
                return _all([self.predicate(each) for each in conditions])
            case Or(conditions):
                return _any([self.predicate(each) for each in conditions])
            case Not(inner):
                return _not(self.predicate(inner))
            case IsNull(name, negated):
                return _null_test(self._source(name).value, negated=negated)
            case IsA(name, class_name):
                return self._is_a(name, class_name)
            case Like(name, pattern):
                return self._like(name, pattern)
            case Comparison(sign, left, right):
                return self._comparison(sign, left, right)

    # -- tests --------------------------------------------------------------------------------

    def _comparison(self, sign: str, left: Operand, right: Operand) -> Predicate:
        if isinstance(left, Constant):
            left, right, sign = right, left, _mirrored(sign)
        if isinstance(left, Constant):
            raise _invalid("a comparison of two constants")
        source = self._source(left)
        if isinstance(right, Constant) and right.value is None:
            if sign not in {"=", "<>"}:
                raise _invalid("NULL has no order")
            return _null_test(source.value, negated=sign == "<>")
        if isinstance(right, Name):
            other = self._source(right)
            kind = _common_kind(source.kind, other.kind)
            other_value = self._comparable(kind, other.value)
        else:
            kind = source.kind
            constant = self._constant(kind, right)
            other_value = lambda _row: constant  # noqa: E731  # the same shape as a property
        if kind not in _ORDERED and sign not in {"=", "<>"}:
            raise _invalid(f"{left} has no order")
        return _compare(_OPERATORS[sign], self._comparable(kind, source.value), other_value)

    def _like(self, name: Name, pattern: str) -> Predicate:
        source = self._source(name)
        if source.kind not in _STRINGS:
            raise _invalid(f"{name} is no string")
        matches, value = like(pattern), source.value

        def test(row: Row) -> bool | None:
            text = value(row)
            return None if text is None else matches(str(text))

        return test

    def _is_a(self, name: Name, class_name: str) -> Predicate:
        schema, namespace = self._around.schema, self._around.namespace
        if schema.find(namespace, class_name) is None:
            raise CimFault(WmiCode.INVALID_CLASS, f"no class {class_name}")
        if name.text.lower() in {"__this", "__class"}:
            return lambda row: schema.is_a(namespace, row.class_name, class_name)
        declared = self._class.property(name.text)
        if declared is None or declared.embedded_class is None or declared.array:
            raise _invalid(f"{name} is no embedded object")
        value = _property_value(declared.name)

        def test(row: Row) -> bool | None:
            inner = value(row)
            if not isinstance(inner, Row):
                return None
            return schema.is_a(namespace, inner.class_name, class_name)

        return test

    # -- operands -----------------------------------------------------------------------------

    def _source(self, name: Name) -> _Source:
        system = _SYSTEM_KINDS.get(name.text.lower())
        if system is not None:
            return _Source(system, self._system_value(name.text.lower()))
        declared = self._class.property(name.text)
        if declared is None:
            raise _invalid(f"{self._class.name} has no property {name}")
        if declared.array:
            kind = "array"
        elif declared.cim_type is CimType.DATETIME:
            kind = "interval" if declared.interval else "datetime"
        elif declared.embedded_class is not None:
            kind = "object"
        else:
            kind = _KIND[declared.cim_type]
        return _Source(kind, _property_value(declared.name))

    def _system_value(self, name: str) -> Callable[[Row], Any]:
        around = self._around
        namespace = around.namespace.replace("/", "\\")

        def class_of(row: Row) -> ClassDef:
            found = around.schema.find(around.namespace, row.class_name)
            return found if found is not None else self._class

        def relative_path(row: Row) -> str:
            path = around.path_of(row)
            return str(ObjectPath(path.class_name, path.keys))

        values: dict[str, Callable[[Row], Any]] = {
            "__class": lambda row: row.class_name,
            "__superclass": lambda row: next(iter(class_of(row).superclasses), None),
            "__dynasty": lambda row: (row.class_name, *class_of(row).superclasses)[-1],
            "__server": lambda _row: around.server,
            "__namespace": lambda _row: namespace,
            "__path": lambda row: str(around.path_of(row)),
            "__relpath": relative_path,
            "__genus": lambda _row: 2,  # WBEM_GENUS_INSTANCE
            "__property_count": lambda row: len(class_of(row).properties),
            "__derivation": lambda row: list(class_of(row).superclasses),
        }
        return values[name]

    def _comparable(self, kind: str, value: Callable[[Row], Any]) -> Callable[[Row], Any]:
        """Wrap a value so that Python's operators compare it as WQL does."""
        convert = self._converter(kind)
        if convert is None:
            return value

        def converted(row: Row) -> Any:  # whatever kind says
            raw = value(row)
            return None if raw is None else convert(raw)

        return converted

    def _converter(self, kind: str) -> Callable[[Any], Any] | None:
        if kind == "string":
            return lambda text: str(text).lower()
        if kind == "namespace":
            return normal_namespace
        if kind in {"path", "reference"}:
            server, namespace = self._around.server, self._around.namespace
            # a text that is no path equals no path
            return lambda text: path_key(str(text), server, namespace) or ("not a path", text)
        return None

    def _constant(self, kind: str, constant: Constant) -> Any:  # of that kind
        value = constant.value
        read = {
            "string": as_string,
            "namespace": as_string,
            "path": as_string,
            "reference": as_reference,
            "number": as_number,
            "boolean": as_boolean,
            "datetime": as_datetime,
            "interval": as_interval,
        }.get(kind)
        if read is None:
            raise _invalid(f"{kind} values cannot be compared")
        found = read(value)
        if found is None:
            raise _invalid(f"{constant} cannot be compared with a {kind}")
        convert = self._converter(kind)
        return found if convert is None else convert(found)


# -- three-valued logic -----------------------------------------------------------------------


def _all(parts: list[Predicate]) -> Predicate:
    def test(row: Row) -> bool | None:
        result: bool | None = True
        for part in parts:
            found = part(row)
            if found is False:
                return False
            if found is None:
                result = None
        return result

    return test


def _any(parts: list[Predicate]) -> Predicate:
    def test(row: Row) -> bool | None:
        result: bool | None = False
        for part in parts:
            found = part(row)
            if found:
                return True
            if found is None:
                result = None
        return result

    return test


def _not(part: Predicate) -> Predicate:
    def test(row: Row) -> bool | None:
        found = part(row)
        return None if found is None else not found

    return test


def _null_test(value: Callable[[Row], Any], *, negated: bool) -> Predicate:
    return lambda row: (value(row) is None) != negated


def _compare(
    compare: Callable[[Any, Any], bool], left: Callable[[Row], Any], right: Callable[[Row], Any]
) -> Predicate:
    def test(row: Row) -> bool | None:
        first, second = left(row), right(row)
        return None if first is None or second is None else compare(first, second)

    return test


# -- values -----------------------------------------------------------------------------------


def _property_value(name: str) -> Callable[[Row], Any]:
    return lambda row: row.values.get(name)


def _mirrored(sign: str) -> str:
    return {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)


def _common_kind(left: str, right: str) -> str:
    kinds = {left, right}
    if kinds <= _STRINGS:
        return "path" if "path" in kinds else min(kinds, key=["namespace", "string"].index)
    if len(kinds) > 1 or kinds & {"array", "reference", "object"}:
        raise _invalid(f"a {left} cannot be compared with a {right}")
    return left


def _invalid(problem: str) -> CimFault:
    return CimFault(WmiCode.INVALID_QUERY, f"invalid query: {problem}")
