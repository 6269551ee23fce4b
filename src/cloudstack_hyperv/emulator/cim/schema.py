"""What a CIM class *is*: properties, keys, methods, superclasses, and which Windows release has it.

The door needs it to read and write typed values, the engine to check every call, the host model to
fill in defaults.  Definitions are immutable and shared: `Schema.for_release` gives the same object
for the same release, and a class that a release has whole is the very same object in every view,
so that hundreds of emulated hosts cost one schema a release.

Names are looked up without letter case, as WMI does; `ClassDef.exact_property` is there for
CIM-XML, where Hyper-V insists on the declared spelling.

Sources: DMTF DSP0004 for the model; Microsoft's "Hyper-V WMI provider (V2)" pages and class dumps
of Server 2019 and build 25398 for the definitions, which stand in `emulator/schema/*.mof`.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from cloudstack_hyperv.cim import CimType
from cloudstack_hyperv.emulator.cim.provider import Value

RELEASES: Final = ("2012", "2012r2", "2016", "2019", "2022", "2025", "client-11")
"""Profiles, oldest first.  "client-11" is Windows 11 24H2, of the same build as Server 2025."""

ALL_RELEASES: Final = frozenset(RELEASES)

EmbeddedAs = Literal["string", "object"]
"""How an embedded instance travels: CIM-XML text in a string, or XML elements."""

Direction = Literal["in", "out", "inout"]


def normal_namespace(namespace: str) -> str:
    r"""Return the one spelling used for look-ups: `Root\CIMv2` and `/root/cimv2` are the same."""
    return namespace.replace("\\", "/").strip("/").lower()


def releases_between(first: str | None, last: str | None) -> frozenset[str]:
    """Return the releases from `first` to `last`, both included; None leaves that end open."""
    start = RELEASES.index(first) if first is not None else 0
    end = RELEASES.index(last) if last is not None else len(RELEASES) - 1
    return frozenset(RELEASES[start : end + 1])


@dataclass(frozen=True, slots=True)
class PropertyDef:
    """One property, inherited or own."""

    name: str
    cim_type: CimType
    array: bool = False
    key: bool = False
    reference_class: str | None = None
    """For REFERENCE: the class (or a superclass) that it may point to."""
    embedded_class: str | None = None
    embedded_as: EmbeddedAs | None = None
    octet_string: bool = False
    """uint8[] that travels as one base64 text; its Python value is `bytes`."""
    interval: bool = False
    """For DATETIME: a duration (`timedelta`), not a point in time (`datetime`)."""
    default: Value = None
    """The value that the class declares; rows do not get it by themselves."""
    writable: bool = False
    """Settable through Define*/Add*/Modify* methods, on other providers through Put."""
    releases: frozenset[str] = ALL_RELEASES
    declared_in: str = ""
    description: str = ""
    values: tuple[tuple[str, str], ...] = ()
    """Documented values and their meaning, as the ValueMap and Values qualifiers give them."""


@dataclass(frozen=True, slots=True)
class ParameterDef:
    """One parameter of a method."""

    name: str
    direction: Direction
    cim_type: CimType
    array: bool = False
    reference_class: str | None = None
    embedded_class: str | None = None
    embedded_as: EmbeddedAs | None = None
    octet_string: bool = False
    interval: bool = False
    required: bool = False
    releases: frozenset[str] = ALL_RELEASES
    description: str = ""
    values: tuple[tuple[str, str], ...] = ()

    @property
    def goes_in(self) -> bool:
        """Whether a caller may send it."""
        return self.direction != "out"

    @property
    def goes_out(self) -> bool:
        """Whether an answer may hold it."""
        return self.direction != "in"


@dataclass(frozen=True, slots=True)
class MethodDef:
    """One method; `returns` is None for a void method."""

    name: str
    parameters: tuple[ParameterDef, ...] = ()
    """In declaration order, which is the order of an answer's elements."""
    returns: CimType | None = CimType.UINT32
    static: bool = False
    releases: frozenset[str] = ALL_RELEASES
    declared_in: str = ""
    description: str = ""
    values: tuple[tuple[str, str], ...] = ()
    """Documented return values and their meaning."""
    _by_name: Mapping[str, ParameterDef] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {parameter.name.lower(): parameter for parameter in self.parameters}
        object.__setattr__(self, "_by_name", by_name)

    def parameter(self, name: str) -> ParameterDef | None:
        """Return a parameter, the name taken without letter case; None if there is none."""
        return self._by_name.get(name.lower())

    @property
    def inputs(self) -> tuple[ParameterDef, ...]:
        """Parameters that a caller may send."""
        return tuple(parameter for parameter in self.parameters if parameter.goes_in)

    @property
    def outputs(self) -> tuple[ParameterDef, ...]:
        """Parameters that an answer may hold, in the order of the answer."""
        return tuple(parameter for parameter in self.parameters if parameter.goes_out)


@dataclass(frozen=True, slots=True, eq=False)
class ClassDef:
    """One class of one namespace, flat: what it inherits stands in `properties` and `methods`."""

    name: str
    namespace: str
    """Lower case with forward slashes."""
    superclasses: tuple[str, ...] = ()
    """Nearest first."""
    properties: tuple[PropertyDef, ...] = ()
    """In ordinal alphabetical order of the names, the order in which Windows sends them."""
    methods: tuple[MethodDef, ...] = ()
    association: bool = False
    abstract: bool = False
    """Has no instances of its own: a CIM_ superclass, or a class that is only ever embedded."""
    singleton: bool = False
    """Exactly one instance a host, which methods may address with less than its whole key."""
    open: bool = False
    """A property bag: instances may hold properties that are not declared (any scalar type)."""
    releases: frozenset[str] = ALL_RELEASES
    description: str = ""
    uuid: str | None = None
    """UUID qualifier: the feature id of a switch port setting class."""
    keys: tuple[str, ...] = field(init=False)
    """Names of the key properties in ordinal alphabetical order, the order of a `__RELPATH`."""
    _by_lower: Mapping[str, PropertyDef] = field(init=False, repr=False)
    _by_exact: Mapping[str, PropertyDef] = field(init=False, repr=False)
    _methods: Mapping[str, MethodDef] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.properties, key=lambda each: each.name))
        object.__setattr__(self, "properties", ordered)
        object.__setattr__(self, "keys", tuple(each.name for each in ordered if each.key))
        object.__setattr__(self, "_by_lower", {each.name.lower(): each for each in ordered})
        object.__setattr__(self, "_by_exact", {each.name: each for each in ordered})
        object.__setattr__(self, "_methods", {each.name.lower(): each for each in self.methods})

    def property(self, name: str) -> PropertyDef | None:
        """Return a property, the name taken without letter case; None if there is none."""
        return self._by_lower.get(name.lower())

    def exact_property(self, name: str) -> PropertyDef | None:
        """Return the property of exactly this spelling (CIM-XML is sensitive to letter case)."""
        return self._by_exact.get(name)

    def method(self, name: str) -> MethodDef | None:
        """Return a method, the name taken without letter case; None if there is none."""
        return self._methods.get(name.lower())

    def defaults(self) -> dict[str, Value]:
        """Return a fresh dict of the declared default values, for a provider to start a row."""
        return {
            each.name: list(each.default) if isinstance(each.default, tuple) else each.default
            for each in self.properties
            if each.default is not None
        }

    def as_of(self, release: str, superclasses: tuple[str, ...]) -> ClassDef:
        """Return the class as `release` has it, with those superclasses that the release has.

        It is the very same object if nothing differs.
        """
        properties = tuple(each for each in self.properties if release in each.releases)
        methods = tuple(
            _method_as_of(each, release) for each in self.methods if release in each.releases
        )
        if (
            len(properties) == len(self.properties)
            and methods == self.methods
            and superclasses == self.superclasses
        ):
            return self
        return dataclasses.replace(
            self, properties=properties, methods=methods, superclasses=superclasses
        )


def _method_as_of(method: MethodDef, release: str) -> MethodDef:
    kept = tuple(each for each in method.parameters if release in each.releases)
    if len(kept) == len(method.parameters):
        return method
    return dataclasses.replace(method, parameters=kept)


class Schema:
    """All classes of all namespaces, as one release has them (or, before `for_release`, all)."""

    def __init__(self, classes: Iterable[ClassDef]) -> None:
        self._classes: dict[tuple[str, str], ClassDef] = {}
        below: defaultdict[tuple[str, str], list[ClassDef]] = defaultdict(list)
        for each in classes:
            namespace = normal_namespace(each.namespace)
            key = (namespace, each.name.lower())
            if key in self._classes:
                raise ValueError(f"class {each.name} is defined twice in {namespace}")
            self._classes[key] = each
            for ancestor in each.superclasses:
                below[namespace, ancestor.lower()].append(each)
        self._below = {key: tuple(found) for key, found in below.items()}
        self._namespaces = frozenset(namespace for namespace, _ in self._classes)
        self._views: dict[str, Schema] = {}

    def __iter__(self) -> Iterator[ClassDef]:
        return iter(self._classes.values())

    def __len__(self) -> int:
        return len(self._classes)

    @property
    def namespaces(self) -> frozenset[str]:
        """Namespaces that have classes, lower case with forward slashes."""
        return self._namespaces

    def find(self, namespace: str, class_name: str) -> ClassDef | None:
        """Return a class, both names taken without letter case; None if there is none."""
        return self._classes.get((normal_namespace(namespace), class_name.lower()))

    def subclasses(self, namespace: str, class_name: str) -> tuple[ClassDef, ...]:
        """Return all classes below this one, at any depth, in the order of definition."""
        return self._below.get((normal_namespace(namespace), class_name.lower()), ())

    def is_a(self, namespace: str, class_name: str, ancestor: str) -> bool:
        """Whether `class_name` is `ancestor` or derives from it; False for unknown classes."""
        found = self.find(namespace, class_name)
        if found is None:
            return False
        wanted = ancestor.lower()
        return found.name.lower() == wanted or any(
            each.lower() == wanted for each in found.superclasses
        )

    def for_release(self, release: str) -> Schema:
        """Return the view of one release: classes, properties and methods it lacks are gone.

        Raises ValueError for a release that is not in RELEASES.  Views are kept: the same release
        gives the same object.
        """
        if release not in ALL_RELEASES:
            raise ValueError(f"no such release: {release!r}; one of {', '.join(RELEASES)}")
        view = self._views.get(release)
        if view is None:
            view = Schema(self._as_of(release))
            self._views[release] = view
        return view

    def _as_of(self, release: str) -> Iterator[ClassDef]:
        for each in self:
            if release in each.releases:
                ancestors = tuple(
                    name
                    for name in each.superclasses
                    if (found := self.find(each.namespace, name)) is None
                    or release in found.releases
                )
                yield each.as_of(release, ancestors)
