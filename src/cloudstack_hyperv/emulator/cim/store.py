"""Rows of a host as the schema orders them: by class, by key, by path.

Everything that reads instances goes through here: providers are asked, rows are checked, keys are
put into the one spelling that `Provider.find` gets.  It is synchronous and knows no queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from cloudstack_hyperv.cim import INTEGER_TYPES, CimType, MalformedPath, ObjectPath
from cloudstack_hyperv.emulator.cim.compiler import cim_datetime
from cloudstack_hyperv.emulator.cim.errors import ProviderBug, SelectorFault, SelectorProblem
from cloudstack_hyperv.emulator.cim.provider import (
    CimFault,
    Provider,
    ProviderHost,
    Row,
    Value,
    WmiCode,
)
from cloudstack_hyperv.emulator.cim.schema import ClassDef, PropertyDef, Schema, normal_namespace
from cloudstack_hyperv.emulator.cim.values import checker_for
from cloudstack_hyperv.emulator.cim.wql_values import is_this_server


def key_text(value: Value) -> str:
    """Write a key's value as selectors and object paths do."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    return str(value)


def has_values(row: Row, wanted: Mapping[str, str]) -> bool:
    """Whether the row's values equal these texts (from `key_value`), case aside."""
    return all(_has_value(row.values.get(name), text) for name, text in wanted.items())


def _has_value(value: Value, text: str) -> bool:
    if value is None:
        return False
    if isinstance(value, ObjectPath):
        return value.same_object(ObjectPath.parse(text))
    if isinstance(value, datetime | timedelta):
        return value == cim_datetime(text)
    return key_text(value).lower() == text.lower()


class Store:
    """The instances of one host."""

    def __init__(self, host: ProviderHost, schema: Schema) -> None:
        self.host = host
        self.schema = schema
        self.checker = checker_for(schema)

    # -- classes ------------------------------------------------------------------------------

    def class_def(self, namespace: str, class_name: str) -> ClassDef:
        """Return a class; raises CimFault INVALID_NAMESPACE or INVALID_CLASS."""
        if normal_namespace(namespace) not in self.host.namespaces:
            raise CimFault(WmiCode.INVALID_NAMESPACE, f"no namespace {namespace}")
        found = self.schema.find(namespace, class_name)
        if found is None:
            raise CimFault(WmiCode.INVALID_CLASS, f"no class {class_name} in {namespace}")
        return found

    def family(self, class_def: ClassDef) -> tuple[ClassDef, ...]:
        """Return the class and all below it, itself first."""
        return (class_def, *self.schema.subclasses(class_def.namespace, class_def.name))

    def provider(self, class_def: ClassDef) -> Provider | None:
        """Return who serves exactly this class; None if nobody does."""
        return self.host.provider(class_def.namespace, class_def.name)

    # -- rows ---------------------------------------------------------------------------------

    def rows(self, class_def: ClassDef) -> Iterator[Row]:
        """Yield all instances, those of the class itself before those of its subclasses.

        libvirt's driver stops reading at the first row of a derived class, without an error.
        """
        for each in self.family(class_def):
            yield from self.own_rows(each)

    def own_rows(self, class_def: ClassDef) -> Iterator[Row]:
        """Yield the instances of exactly this class."""
        provider = self.provider(class_def)
        if provider is not None:
            for row in provider.rows(class_def.name):
                self.checker.row(row, class_def)
                yield row

    def find(self, class_def: ClassDef, keys: Mapping[str, str]) -> Row | None:
        """Return the instance with these keys (all of them, as declared), of the class or below."""
        for each in self.family(class_def):
            row = self.find_own(each, keys)
            if row is not None:
                return row
        return None

    def find_own(self, class_def: ClassDef, keys: Mapping[str, str]) -> Row | None:
        """Return the instance of exactly this class with these keys."""
        provider = self.provider(class_def)
        if provider is None or len(keys) != len(class_def.keys):
            return None
        row = provider.find(class_def.name, keys)
        if row is not None:
            self.checker.row(row, class_def)
        return row

    def path_of(self, namespace: str, row: Row) -> ObjectPath:
        """Return the full path of a row, keys in alphabetical order as WMI writes them."""
        class_def = self.schema.find(namespace, row.class_name)
        if class_def is None:
            raise ProviderBug(f"a row of the unknown class {row.class_name}")
        keys = tuple((name, key_text(row.values.get(name))) for name in class_def.keys)
        return ObjectPath(class_def.name, keys, class_def.namespace, self.host.name)

    # -- addresses ----------------------------------------------------------------------------

    def keys(self, class_def: ClassDef, selectors: Mapping[str, str]) -> dict[str, str]:
        """Return selectors as keys, names as declared; raises SelectorFault.

        Which keys are missing is for the caller to judge.
        """
        found: dict[str, str] = {}
        for name, text in selectors.items():
            declared = class_def.property(name)
            if declared is None or not declared.key or declared.name in found:
                raise SelectorFault(SelectorProblem.UNKNOWN_NAME, class_def.name, name)
            value = key_value(declared, text)
            if value is None:
                raise SelectorFault(SelectorProblem.BAD_VALUE, class_def.name, declared.name)
            found[declared.name] = value
        return found

    def at(self, path: ObjectPath, namespace: str) -> Row:
        """Return the instance at a path (its own namespace wins); raises CimFault."""
        if not is_this_server(path.host, self.host.name):
            raise CimFault(WmiCode.INVALID_OBJECT_PATH, f"{path.host} is another computer")
        class_def = self.class_def(path.namespace or namespace, path.class_name)
        selectors = dict(path.keys)
        if len(path.keys) == 1 and path.keys[0][0] == "" and len(class_def.keys) == 1:
            selectors = {class_def.keys[0]: path.keys[0][1]}
        try:
            keys = self.keys(class_def, selectors)
        except SelectorFault as problem:
            raise CimFault(WmiCode.INVALID_OBJECT_PATH, str(problem)) from problem
        if len(keys) != len(class_def.keys) or len(selectors) != len(path.keys):
            raise CimFault(WmiCode.INVALID_OBJECT_PATH, f"not the whole key of {class_def.name}")
        row = self.find(class_def, keys)
        if row is None:
            raise CimFault(WmiCode.NOT_FOUND, f"no instance {path}")
        return row


def key_value(declared: PropertyDef, text: str) -> str | None:
    """Return a key's text in the one spelling that providers get; None if it is not of its type."""
    if declared.cim_type in INTEGER_TYPES:
        try:
            return str(INTEGER_TYPES[declared.cim_type](text.strip()))
        except ValueError:
            return None
    if declared.cim_type is CimType.BOOLEAN:
        lowered = text.lower()
        return lowered if lowered in {"true", "false"} else None
    try:
        if declared.cim_type is CimType.REFERENCE:
            ObjectPath.parse(text)
        elif declared.cim_type is CimType.DATETIME:
            cim_datetime(text)
    except (MalformedPath, ValueError, OverflowError):
        return None
    return text
