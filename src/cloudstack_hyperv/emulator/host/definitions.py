r"""Template rows of resources and port features: `Microsoft:Definition\<GUID>\Default` and so on.

A host has, beside the rows of its machines, one row a kind of resource with the values that a new
one gets (Default) and with the bounds of its numbers (Minimum, Maximum, Increment).  Clients read
them before they add anything: os-win copies the Default row, libvirt's driver asks for the Maximum
of processors and for the Default of a physical disk drive.  They belong to no machine.

Sources: os-win (`vmutils`, `LIKE '%\Default'`); libvirt hyperv_driver.c (`Microsoft:Definition%`
`Maximum`, `%Default%`); Microsoft, Msvm_SettingsDefineCapabilities for the four kinds of row and
"Plan for Hyper-V scalability" for the maxima.  The other values of the bounds are guesses, and
where the templates stand among the machines' rows is one too: after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.catalogue import COMPONENTS, KINDS, ResourceKind
from cloudstack_hyperv.emulator.host.configuration import release_row
from cloudstack_hyperv.emulator.host.features import features_of
from cloudstack_hyperv.emulator.host.profiles import ReleaseProfile
from cloudstack_hyperv.emulator.host.quantities import (
    LARGEST_MEMORY,
    MAX_PROCESSORS,
    SMALLEST_MEMORY,
)

DEFAULT = "Default"
BOUNDS = ("Minimum", "Maximum", "Increment")
_COUNTS: dict[str, dict[str, Value]] = {
    "Minimum": {"VirtualQuantity": 1, "Reservation": 0, "Limit": 1},
    "Maximum": {"VirtualQuantity": 1, "Reservation": 1, "Limit": 1},
    "Increment": {"VirtualQuantity": 1, "Reservation": 1, "Limit": 1},
}

TEMPLATE_KINDS: tuple[ResourceKind, ...] = tuple(k for k in KINDS if k not in COMPONENTS)
"""Kinds that have template rows and a pool: all but integration components."""


def definition_id(guid: str, point: str = DEFAULT) -> str:
    """Return the InstanceID of a template row."""
    return f"Microsoft:Definition\\{guid}\\{point}"


class Definitions:
    """The template rows of one release; hosts of a release share them."""

    def __init__(self, profile: ReleaseProfile) -> None:
        generations = 2 if profile.has_generation_2 else 1
        self._by_class: dict[str, list[Row]] = {}
        self._by_id: dict[str, Row] = {}
        for kind in TEMPLATE_KINDS:
            self._put(release_row(profile, kind, definition_id(kind.definition)))
            for bound in BOUNDS:
                row = release_row(profile, kind, definition_id(kind.definition, bound))
                row.values.update(_COUNTS[bound])
                row.values.update(_quantities(kind, bound, generations))
                self._put(row)
        for feature in features_of(profile):
            self._put(feature.template(definition_id(feature.guid)))

    def _put(self, row: Row) -> None:
        self._by_class.setdefault(row.class_name, []).append(row)
        self._by_id[str(row.values["InstanceID"]).upper()] = row

    def rows(self, class_name: str) -> Iterator[Row]:
        """Yield the templates of exactly this class."""
        yield from self._by_class.get(class_name, ())

    def find(self, class_name: str, keys: Mapping[str, str]) -> Row | None:
        """Return the template with this InstanceID."""
        row = self._by_id.get(next(iter(keys.values()), "").upper())
        return row if row is not None and row.class_name == class_name else None


def _quantities(kind: ResourceKind, bound: str, generations: int) -> Mapping[str, Value]:
    if kind.class_name == catalogue.PROCESSOR:
        most = MAX_PROCESSORS[generations]
        return {
            "Minimum": _four(1, 0, 0, 1),
            "Maximum": _four(most, 100_000, 100_000, 10_000),
            "Increment": _four(1, 1, 1, 1),
        }[bound]
    if kind.class_name == catalogue.MEMORY:
        low, high = SMALLEST_MEMORY, LARGEST_MEMORY[generations]
        return {
            "Minimum": _four(low, low, low, 0),
            "Maximum": _four(high, high, high, 10_000),
            "Increment": _four(2, 2, 2, 1),
        }[bound]
    return {}


def _four(quantity: int, reservation: int, limit: int, weight: int) -> dict[str, Value]:
    return {
        "VirtualQuantity": quantity,
        "Reservation": reservation,
        "Limit": limit,
        "Weight": weight,
    }
