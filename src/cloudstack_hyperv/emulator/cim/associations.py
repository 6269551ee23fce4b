"""Walks associations: from an instance to the association rows, and over them to other instances.

An association is a class whose rows hold references.  Its provider may know by itself which rows
refer to an instance (`Provider.references`); if not, all its rows are looked through.  Results
come without duplicates, and with a result class those of exactly that class first: libvirt stops
reading at the first row of a derived one.

Sources: Microsoft, "ASSOCIATORS OF Statement", "REFERENCES OF Statement".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.errors import ProviderBug
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row, WmiCode
from cloudstack_hyperv.emulator.cim.schema import ClassDef
from cloudstack_hyperv.emulator.cim.store import Store
from cloudstack_hyperv.emulator.cim.wql_tree import AssociationFilter

_QUALIFIED: Final[Mapping[str, Callable[[ClassDef], bool]]] = {
    "association": lambda each: each.association,
    "abstract": lambda each: each.abstract,
    "singleton": lambda each: each.singleton,
    "uuid": lambda each: each.uuid is not None,
    "dynamic": lambda each: not each.abstract,
}
"""RequiredQualifier: those of a class that this schema can tell."""


class Associations:
    """Navigation over one host's associations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def references(self, source: ObjectPath, namespace: str, where: AssociationFilter) -> list[Row]:
        """Return the association rows that refer to `source`; raises CimFault."""
        path, classes = self._start(source, namespace, where.result_class)
        _refuse_schema_queries(where)
        return [
            row
            for each in classes
            if _qualified(each, where.required_qualifier)
            for row in self._rows_about(each, path)
            if any(_is_role(name, where.role) for name in _ends(each, row, path))
        ]

    def associators(
        self, source: ObjectPath, namespace: str, where: AssociationFilter
    ) -> list[tuple[str, Row]]:
        """Return (namespace, row) of what is associated with `source`; raises CimFault."""
        path, classes = self._start(source, namespace, where.assoc_class)
        _refuse_schema_queries(where)
        wanted = None
        if where.result_class is not None:
            wanted = self._store.class_def(namespace, where.result_class)
        found: dict[ObjectPath, tuple[str, Row]] = {}
        for each in classes:
            if _qualified(each, where.required_assoc_qualifier):
                for target in self._other_ends(each, path, where):
                    self._collect(target, namespace, wanted, where, found)
        rows = list(found.values())
        if wanted is not None:
            rows.sort(key=lambda each: each[1].class_name != wanted.name)
        return rows

    # -- steps --------------------------------------------------------------------------------

    def _start(
        self, source: ObjectPath, namespace: str, association: str | None
    ) -> tuple[ObjectPath, list[ClassDef]]:
        """Return the source's own path and the association classes to look at."""
        store = self._store
        row = store.at(source, namespace)
        path = store.path_of(source.namespace or namespace, row)
        if association is None:
            named = [each for each in store.schema if each.namespace == path.namespace]
        else:
            named = list(store.family(store.class_def(namespace, association)))
        return path, [each for each in named if each.association and not each.abstract]

    def _rows_about(self, association: ClassDef, path: ObjectPath) -> Iterator[Row]:
        """Yield the rows of one association class that refer to `path`."""
        provider = self._store.provider(association)
        if provider is None:
            return
        known = provider.references(association.name, path)
        rows: Iterable[Row] = provider.rows(association.name) if known is None else known
        for row in rows:
            self._store.checker.row(row, association)
            if any(True for _ in _ends(association, row, path)):
                yield row

    def _other_ends(
        self, association: ClassDef, path: ObjectPath, where: AssociationFilter
    ) -> Iterator[ObjectPath]:
        for row in self._rows_about(association, path):
            near = [name for name in _ends(association, row, path) if _is_role(name, where.role)]
            for prop in association.properties:
                target = row.values.get(prop.name)
                if (
                    isinstance(target, ObjectPath)
                    and any(name != prop.name for name in near)
                    and _is_role(prop.name, where.result_role)
                ):
                    yield target

    def _collect(
        self,
        target: ObjectPath,
        namespace: str,
        wanted: ClassDef | None,
        where: AssociationFilter,
        found: dict[ObjectPath, tuple[str, Row]],
    ) -> None:
        schema, home = self._store.schema, target.namespace or namespace
        if wanted is not None and not schema.is_a(home, target.class_name, wanted.name):
            return
        class_def = schema.find(home, target.class_name)
        if class_def is None or not _qualified(class_def, where.required_qualifier):
            return
        try:
            row = self._store.at(target, namespace)
        except CimFault as problem:
            if problem.code == WmiCode.NOT_FOUND:
                return  # the association outlived its end; WMI leaves such ends out
            raise ProviderBug(f"an association leads to {target}: {problem}") from problem
        found.setdefault(self._store.path_of(home, row), (class_def.namespace, row))


def _ends(association: ClassDef, row: Row, path: ObjectPath) -> Iterator[str]:
    """Yield the names of the row's properties that refer to `path`."""
    for prop in association.properties:
        value = row.values.get(prop.name)
        if isinstance(value, ObjectPath) and value.same_object(path):
            yield prop.name


def _is_role(name: str, role: str | None) -> bool:
    return role is None or name.lower() == role.lower()


def _qualified(class_def: ClassDef, qualifier: str | None) -> bool:
    if qualifier is None:
        return True
    test = _QUALIFIED.get(qualifier.lower())
    return test is not None and test(class_def)


def _refuse_schema_queries(where: AssociationFilter) -> None:
    if where.class_defs_only or where.schema_only:
        raise CimFault(WmiCode.NOT_SUPPORTED, "class definitions are not given out")
