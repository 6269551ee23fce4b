"""What the host's own release has of the classes that any release has.

Subjects fill rows with everything that some release knows; here it is decided what this one shows.
A class or property that *no* release has is a mistake and is not hidden.
"""

from __future__ import annotations

from functools import cache

from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.cim.schema import Schema
from cloudstack_hyperv.emulator.schema import load_schema


class ReleaseSchema:
    """The schema of one release beside that of all of them."""

    def __init__(self, release: str) -> None:
        self._everything = load_schema()
        self._release: Schema = self._everything.for_release(release)
        self._known_foreign: dict[tuple[str, str], frozenset[str]] = {}

    def has_class(self, class_name: str, namespace: str = NAMESPACE_VIRTUALIZATION) -> bool:
        """Whether this release has a class; ValueError when no release has it."""
        if self._everything.find(namespace, class_name) is None:
            raise ValueError(f"{class_name} is in no release's schema")
        return self._release.find(namespace, class_name) is not None

    def methods(
        self, class_name: str, namespace: str = NAMESPACE_VIRTUALIZATION
    ) -> tuple[str, ...]:
        """Return the names of the methods that this release's class has."""
        here = self._release.find(namespace, class_name)
        return tuple(method.name for method in here.methods) if here is not None else ()

    def foreign(self, class_name: str, namespace: str = NAMESPACE_VIRTUALIZATION) -> frozenset[str]:
        """Return the properties of a class that other releases have and this one lacks."""
        known = self._known_foreign.get((namespace, class_name))
        if known is None:
            known = self._known_foreign[namespace, class_name] = self._difference(
                class_name, namespace
            )
        return known

    def _difference(self, class_name: str, namespace: str) -> frozenset[str]:
        anywhere = self._everything.find(namespace, class_name)
        here = self._release.find(namespace, class_name)
        if anywhere is None or here is None:
            return frozenset()
        return frozenset(p.name for p in anywhere.properties) - {p.name for p in here.properties}

    def native(self, row: Row, namespace: str = NAMESPACE_VIRTUALIZATION) -> Row:
        """Return a row without what this release's class does not have."""
        foreign = self.foreign(row.class_name, namespace)
        if foreign.isdisjoint(row.values):
            return row
        kept = {name: value for name, value in row.values.items() if name not in foreign}
        return Row(row.class_name, kept)


@cache
def release_schema(release: str) -> ReleaseSchema:
    """Return the view of a release, one for all hosts of it."""
    return ReleaseSchema(release)
