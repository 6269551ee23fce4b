"""Runs WQL over a store of rows, looking at as few rows as the question allows.

A condition that fixes the whole key (`InstanceID = '...'`, `__PATH = '...'`) asks the provider for
that one row; anything else is a scan.  The condition is evaluated on every row that is found
either way, so a short cut can make a query faster but never wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.emulator.cim.associations import Associations
from cloudstack_hyperv.emulator.cim.errors import SelectorFault, SelectorProblem
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row, WmiCode
from cloudstack_hyperv.emulator.cim.schema import ClassDef, normal_namespace
from cloudstack_hyperv.emulator.cim.store import Store, has_values, key_text, key_value
from cloudstack_hyperv.emulator.cim.wql import parse
from cloudstack_hyperv.emulator.cim.wql_evaluation import (
    Surroundings,
    compile_condition,
    is_system_property,
)
from cloudstack_hyperv.emulator.cim.wql_tree import (
    And,
    Associators,
    Comparison,
    Condition,
    Constant,
    Name,
    References,
    Select,
)
from cloudstack_hyperv.emulator.cim.wql_values import is_this_server


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Rows of a query; `columns` is None for all properties."""

    rows: Sequence[Row]
    columns: tuple[str, ...] | None = None
    """Properties of the select list, as declared; system properties are left out."""


class Queries:
    """Queries on one host."""

    def __init__(self, store: Store, associations: Associations) -> None:
        self._store = store
        self._associations = associations

    def select_by(self, namespace: str, class_name: str, selectors: Mapping[str, str]) -> list[Row]:
        """Return the instances whose properties equal these texts; raises SelectorFault."""
        class_def = self._store.class_def(namespace, class_name)
        wanted: dict[str, str] = {}
        for name, text in selectors.items():
            declared = class_def.property(name)
            if declared is None or declared.array or declared.embedded_class is not None:
                raise SelectorFault(SelectorProblem.UNKNOWN_NAME, class_def.name, name)
            value = key_value(declared, text)
            if value is None:
                raise SelectorFault(SelectorProblem.BAD_VALUE, class_def.name, declared.name)
            wanted[declared.name] = value
        return [row for row in self._candidates(class_def, wanted) if has_values(row, wanted)]

    def run(self, namespace: str, text: str) -> QueryResult:
        """Run a query; raises CimFault."""
        query = parse(text)
        if isinstance(query, Select):
            return self._select(namespace, query)
        if isinstance(query, Associators):
            found = self._associations.associators(query.path, namespace, query.where)
            rows = [row for _, row in found]
            if query.where.keys_only:
                rows = [self._keys_only(home, row) for home, row in found]
            return QueryResult(rows)
        return self._references_query(namespace, query)

    def _references_query(self, namespace: str, query: References) -> QueryResult:
        rows = self._associations.references(query.path, namespace, query.where)
        if query.where.keys_only:
            rows = [self._keys_only(namespace, row) for row in rows]
        return QueryResult(rows)

    def _keys_only(self, namespace: str, row: Row) -> Row:
        class_def = self._store.class_def(namespace, row.class_name)
        return Row(row.class_name, {name: row.values.get(name) for name in class_def.keys})

    def _select(self, namespace: str, query: Select) -> QueryResult:
        class_def = self._store.class_def(namespace, query.class_name)
        columns = _columns(class_def, query)
        if query.where is None:
            return QueryResult(list(self._store.rows(class_def)), columns)
        surroundings = Surroundings(
            self._store.host.name,
            class_def.namespace,
            self._store.schema,
            lambda row: self._store.path_of(class_def.namespace, row),
        )
        predicate = compile_condition(query.where, class_def, surroundings)
        candidates = self._narrowed(class_def, query.where)
        return QueryResult([row for row in candidates if predicate(row)], columns)

    def _narrowed(self, class_def: ClassDef, where: Condition) -> Iterator[Row]:
        """Yield a superset of the rows that can fulfil `where`, the smaller the better."""
        equal: dict[str, str] = {}
        for each in where.conditions if isinstance(where, And) else (where,):
            if not isinstance(each, Comparison) or each.operator != "=":
                continue
            name, constant = each.left, each.right
            if isinstance(name, Constant):
                name, constant = constant, name
            if not isinstance(name, Name) or not isinstance(constant, Constant):
                continue
            if name.text.lower() == "__path" and isinstance(constant.value, str):
                return self._at_path(class_def, constant.value)
            declared = class_def.property(name.text)
            if declared is not None and declared.key and isinstance(constant.value, str | int):
                value = key_value(declared, key_text(constant.value))
                if value is not None:
                    equal[declared.name] = value
        return self._candidates(class_def, equal)

    def _at_path(self, class_def: ClassDef, text: str) -> Iterator[Row]:
        try:
            path = ObjectPath.parse(text)
            here = not path.namespace or normal_namespace(path.namespace) == class_def.namespace
            if here and is_this_server(path.host, self._store.host.name):
                row = self._store.at(path, class_def.namespace)
                if self._store.schema.is_a(class_def.namespace, row.class_name, class_def.name):
                    yield row
        except (MalformedPath, CimFault):
            return  # a path to nothing equals no row's path

    def _candidates(self, class_def: ClassDef, equal: Mapping[str, str]) -> Iterator[Row]:
        """Yield rows among which are all that have these values, by key where the key is known.

        CreationClassName is the class's own name by definition, so that `Name = 'x'` alone is
        enough for the key of a machine or a switch.
        """
        for each in self._store.family(class_def):
            keys = {name: equal[name] for name in each.keys if name in equal}
            if keys and "CreationClassName" in each.keys:
                keys.setdefault("CreationClassName", each.name)
            if keys and len(keys) == len(each.keys):
                row = self._store.find_own(each, keys)
                if row is not None:
                    yield row
            else:
                yield from self._store.own_rows(each)


def _columns(class_def: ClassDef, query: Select) -> tuple[str, ...] | None:
    if query.columns is None:
        return None
    found: dict[str, None] = {}
    for name in query.columns:
        declared = class_def.property(name)
        if declared is not None:
            found[declared.name] = None
        elif not is_system_property(name):
            raise CimFault(WmiCode.INVALID_QUERY, f"{class_def.name} has no property {name}")
    return tuple(found)
