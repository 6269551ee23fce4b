"""Checks values against the class schema: what providers hand out, and what clients send in.

The same declaration serves both ways; only the exception differs.  A provider that yields an
unknown property, a uint16 of 70000 or a naive datetime is a bug of the emulated host and must show
in the first test that touches it (`ProviderBug`); a client that sends such a thing is refused
(`ArgumentFault`).  Rows are checked each time they pass, so the check is a table of ready-made
functions a class, not an interpretation of the definition.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from cloudstack_hyperv.cim import INTEGER_TYPES, CimType, ObjectPath
from cloudstack_hyperv.emulator.cim.errors import ArgumentFault, ProviderBug
from cloudstack_hyperv.emulator.cim.provider import (
    MethodReply,
    Row,
    UnusableInstance,
    Value,
)
from cloudstack_hyperv.emulator.cim.schema import (
    ClassDef,
    MethodDef,
    ParameterDef,
    PropertyDef,
    Schema,
)

Check = Callable[[object], str | None]
"""Says what is wrong with a value; None if nothing is.  NULL is always right."""


@functools.cache
def checker_for(schema: Schema) -> ValueChecker:
    """Return the checker of a schema: one for all hosts of a release."""
    return ValueChecker(schema)


class ValueChecker:
    """Checks for one release's schema; what it has worked out it keeps, so share it."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._rows: dict[tuple[str, str], dict[str, Check]] = {}
        self._parameters: dict[tuple[int, bool], Check] = {}
        """By identity of the definition, which the schema keeps alive."""

    def row(self, row: Row, class_def: ClassDef) -> None:
        """Check a row that a provider yields as an instance of `class_def`; raises ProviderBug."""
        if row.class_name != class_def.name:
            raise ProviderBug(f"a row of {row.class_name} among those of {class_def.name}")
        for key in class_def.keys:
            if row.values.get(key) is None:
                raise ProviderBug(f"{class_def.name}: key {key} is NULL")
        problem = self._row_problem(row, class_def)
        if problem is not None:
            raise ProviderBug(f"{class_def.name}.{problem}")

    def reply(self, reply: MethodReply, class_def: ClassDef, method: MethodDef) -> None:
        """Check what a provider's method returned; raises ProviderBug."""
        where = f"{class_def.name}.{method.name}"
        if (reply.return_value is None) != (method.returns is None):
            raise ProviderBug(f"{where}: ReturnValue {reply.return_value!r}")
        if method.returns is not None and method.returns is not CimType.BOOLEAN:
            problem = _INTEGERS[method.returns](reply.return_value)
            if problem is not None:
                raise ProviderBug(f"{where}: ReturnValue: {problem}")
        for name, value in reply.out.items():
            parameter = method.parameter(name)
            if parameter is None or parameter.name != name or not parameter.goes_out:
                raise ProviderBug(f"{where} has no out parameter {name}")
            problem = self._parameter(parameter, class_def.namespace)(value)
            if problem is not None:
                raise ProviderBug(f"{where}: {name}: {problem}")

    def arguments(
        self, arguments: Mapping[str, Value], class_def: ClassDef, method: MethodDef
    ) -> dict[str, Value]:
        """Check what a client sends to a method, names as declared; raises ArgumentFault.

        Whether a required parameter is missing is not looked at here.
        """
        where = f"{class_def.name}.{method.name}"
        found: dict[str, Value] = {}
        for name, value in arguments.items():
            parameter = method.parameter(name)
            if parameter is None or not parameter.goes_in:
                raise ArgumentFault(where, name, "no such in parameter")
            if parameter.name in found:
                raise ArgumentFault(where, name, "given twice")
            problem = self._parameter(parameter, class_def.namespace, sent=True)(value)
            if problem is not None:
                raise ArgumentFault(where, parameter.name, problem)
            found[parameter.name] = value
        return found

    def properties(self, values: Mapping[str, Value], class_def: ClassDef) -> dict[str, Value]:
        """Check the properties that a client sends with Put or Create; raises ArgumentFault."""
        found: dict[str, Value] = {}
        for name, value in values.items():
            declared = class_def.property(name)
            if declared is None:
                raise ArgumentFault(class_def.name, name, "no such property")
            problem = self._check(declared, class_def.namespace, sent=True)(value)
            if problem is not None:
                raise ArgumentFault(class_def.name, declared.name, problem)
            found[declared.name] = value
        return found

    # -- checks -------------------------------------------------------------------------------

    def _row_problem(self, row: Row, class_def: ClassDef) -> str | None:
        checks = self._row_checks(class_def)
        for name, value in row.values.items():
            check = checks.get(name)
            if check is None:
                if class_def.open:
                    continue
                return f"{name}: no such property"
            if value is not None:
                problem = check(value)
                if problem is not None:
                    return f"{name}: {problem}"
        return None

    def _row_checks(self, class_def: ClassDef) -> dict[str, Check]:
        key = (class_def.namespace, class_def.name)
        checks = self._rows.get(key)
        if checks is None:
            checks = self._rows[key] = {
                each.name: self._check(each, class_def.namespace) for each in class_def.properties
            }
        return checks

    def _parameter(self, declared: ParameterDef, namespace: str, *, sent: bool = False) -> Check:
        key = (id(declared), sent)
        check = self._parameters.get(key)
        if check is None:
            check = self._parameters[key] = self._check(declared, namespace, sent=sent)
        return check

    def _check(
        self, declared: PropertyDef | ParameterDef, namespace: str, *, sent: bool = False
    ) -> Check:
        if declared.octet_string:
            return _octets
        if declared.embedded_class is not None:
            scalar = self._embedded(declared.embedded_class, namespace, sent=sent)
        elif declared.cim_type is CimType.DATETIME and isinstance(declared, PropertyDef):
            scalar = _interval if declared.interval else _timestamp
        else:
            scalar = self._scalar(declared.cim_type, namespace, sent=sent)
        return _array(scalar) if declared.array else _or_null(scalar)

    def _scalar(self, cim_type: CimType, namespace: str, *, sent: bool) -> Check:
        if cim_type in _INTEGERS:
            return _INTEGERS[cim_type]
        if cim_type is CimType.REFERENCE:
            return self._reference(namespace, sent=sent)
        return _SIMPLE[cim_type]

    def _reference(self, namespace: str, *, sent: bool) -> Check:
        """Check a path: that its class exists and, if it is ours, that its key is whole.

        What a client may leave out of a reference is for the method to judge.
        """

        def check(value: object) -> str | None:
            if not isinstance(value, ObjectPath):
                return f"{value!r} is no object path"
            found = self._schema.find(value.namespace or namespace, value.class_name)
            if found is None:
                return f"a path to the unknown class {value.class_name}"
            names = sorted(name.lower() for name, _ in value.keys)
            if not sent and found.keys and names != sorted(key.lower() for key in found.keys):
                return f"a path with another key than {', '.join(found.keys)}: {value}"
            return None

        return check

    def _embedded(self, wanted: str, namespace: str, *, sent: bool) -> Check:
        """Check an embedded instance: of the class or one below it, with the right properties.

        A client may send any class that exists, and what could not be read: libvirt names
        `Msvm_ResourceAllocationSettingData` for a disk image, and the method judges it.
        """

        def check(value: object) -> str | None:
            if sent and isinstance(value, UnusableInstance):
                return None
            if not isinstance(value, Row):
                return f"{value!r} is no instance"
            found = self._schema.find(namespace, value.class_name)
            if found is None:
                return f"an instance of the unknown class {value.class_name}"
            if not sent and not self._schema.is_a(namespace, value.class_name, wanted):
                return f"{value.class_name} is no {wanted}"
            problem = self._row_problem(value, found)
            return None if problem is None else f"{found.name}.{problem}"

        return check


def _or_null(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _array(check: Check) -> Check:
    def checked(value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            return f"{value!r} is no array"
        for each in value:
            problem = check(each)
            if problem is not None:
                return problem
        return None

    return checked


def _integer(cim_type: CimType) -> Check:
    kind = INTEGER_TYPES[cim_type]
    low, high, name = kind.lowest, kind.highest, cim_type.value

    def check(value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return None
        return f"{value!r} is no {name}"

    return check


def _octets(value: object) -> str | None:
    return None if value is None or isinstance(value, bytes) else f"{value!r} is no octet string"


def _timestamp(value: object) -> str | None:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return None
    return f"{value!r} is no point in time with a zone"


def _interval(value: object) -> str | None:
    return None if isinstance(value, timedelta) else f"{value!r} is no duration"


def _datetime(value: object) -> str | None:
    return None if isinstance(value, timedelta) else _timestamp(value)


def _string(value: object) -> str | None:
    return None if isinstance(value, str) else f"{value!r} is no string"


def _boolean(value: object) -> str | None:
    return None if isinstance(value, bool) else f"{value!r} is no boolean"


def _character(value: object) -> str | None:
    return None if isinstance(value, str) and len(value) == 1 else f"{value!r} is no char16"


def _real(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return None
    return f"{value!r} is no real number"


_INTEGERS: Final[Mapping[CimType, Check]] = {each: _integer(each) for each in INTEGER_TYPES}
_SIMPLE: Final[Mapping[CimType, Check]] = {
    CimType.BOOLEAN: _boolean,
    CimType.STRING: _string,
    CimType.CHAR16: _character,
    CimType.DATETIME: _datetime,
    CimType.REAL32: _real,
    CimType.REAL64: _real,
}
