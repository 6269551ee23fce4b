"""Turns MOF class texts into `ClassDef`s: inheritance, overriding, and what qualifiers mean.

`mof` knows how class definitions are written, `schema` what they are; this is the step between.
Inherited definitions are shared, not copied: a property of CIM_ManagedElement that nobody
overrides is one object in two hundred classes.

Errors (a superclass that is not there, an override with another type, a default outside its
type's range) are `SchemaError`s that name file, class and feature: they are mistakes in
`emulator/schema/*.mof` and stop the start.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from cloudstack_hyperv.cim import INTEGER_TYPES, CimType
from cloudstack_hyperv.emulator.cim.mof import ClassText, FeatureText, MethodText, MofValue
from cloudstack_hyperv.emulator.cim.provider import Value
from cloudstack_hyperv.emulator.cim.schema import (
    ALL_RELEASES,
    RELEASES,
    ClassDef,
    MethodDef,
    ParameterDef,
    PropertyDef,
    normal_namespace,
    releases_between,
)

RETURN_CODES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "Hyper-V": (
        ("0", "Completed with No Error"),
        ("4096", "Method Parameters Checked - Job Started"),
        ("32768", "Failed"),
        ("32769", "Access Denied"),
        ("32770", "Not Supported"),
        ("32771", "Status is unknown"),
        ("32772", "Timeout"),
        ("32773", "Invalid parameter"),
        ("32774", "System is in use"),
        ("32775", "Invalid state for this operation"),
        ("32776", "Incorrect data type"),
        ("32777", "System is not available"),
        ("32778", "Out of memory"),
        ("32779", "File not found"),
    ),
}
"""Tables that the qualifier `ReturnCodes("...")` names, so that MOF need not repeat them."""

_Qualifiers = Mapping[str, MofValue]


class SchemaError(ValueError):
    """A class definition contradicts itself, its superclass or its qualifiers."""


def compile_classes(texts: Iterable[ClassText]) -> list[ClassDef]:
    """Resolve all classes of all namespaces, in the order of their texts."""
    compiler = _Compiler(texts)
    return [compiler.resolve(key) for key in compiler.texts]


class _Compiler:
    def __init__(self, texts: Iterable[ClassText]) -> None:
        self.texts: dict[tuple[str, str], ClassText] = {}
        self._done: dict[tuple[str, str], ClassDef] = {}
        self._open: set[tuple[str, str]] = set()
        for text in texts:
            key = (normal_namespace(text.namespace), text.name.lower())
            if not key[0]:
                raise SchemaError(f"{text.source}: class {text.name} has no namespace")
            if key in self.texts:
                raise SchemaError(f"{text.source}: class {text.name} is defined twice")
            self.texts[key] = text

    def resolve(self, key: tuple[str, str]) -> ClassDef:
        """Return the class, resolving its superclasses first."""
        if key in self._done:
            return self._done[key]
        text = self.texts[key]
        if key in self._open:
            raise SchemaError(f"{text.source}: class {text.name} derives from itself")
        self._open.add(key)
        parent = None
        if text.superclass is not None:
            above = (key[0], text.superclass.lower())
            if above not in self.texts:
                raise SchemaError(f"{text.source}: class {text.name}: no class {text.superclass}")
            parent = self.resolve(above)
        self._open.discard(key)
        self._done[key] = resolved = _class_def(text, key[0], parent)
        return resolved


def _class_def(text: ClassText, namespace: str, parent: ClassDef | None) -> ClassDef:
    where = f"{text.source}: class {text.name}"
    properties = {each.name.lower(): each for each in parent.properties} if parent else {}
    for feature in text.properties:
        inherited = properties.get(feature.name.lower())
        properties[feature.name.lower()] = (
            _property(feature, text.name, f"{where}.{feature.name}")
            if inherited is None
            else _override(inherited, feature, f"{where}.{feature.name}")
        )
    methods = {each.name.lower(): each for each in parent.methods} if parent else {}
    for method in text.methods:
        if method.name.lower() in methods and _text(method.qualifiers, "override") is None:
            raise SchemaError(f"{where}.{method.name} hides an inherited one without Override")
        methods[method.name.lower()] = _method(method, text.name, f"{where}.{method.name}")
    qualifiers = text.qualifiers
    return ClassDef(
        text.name,
        namespace,
        (parent.name, *parent.superclasses) if parent else (),
        tuple(properties.values()),
        tuple(methods.values()),
        association=_flag(
            qualifiers, "association", inherited=parent is not None and parent.association
        ),
        abstract=_flag(qualifiers, "abstract"),
        singleton=_flag(qualifiers, "singleton"),
        open=_flag(qualifiers, "open"),
        releases=_releases(qualifiers, where),
        description=_text(qualifiers, "description") or "",
        uuid=_text(qualifiers, "uuid"),
    )


# -- properties -----------------------------------------------------------------------------------


def _property(text: FeatureText, class_name: str, where: str) -> PropertyDef:
    qualifiers = text.qualifiers
    cim_type, embedded = _type(text, where)
    return PropertyDef(
        text.name,
        cim_type,
        text.array,
        key=_flag(qualifiers, "key"),
        reference_class=text.reference_class,
        embedded_class=embedded,
        embedded_as=_embedded_as(cim_type, embedded),
        octet_string=_flag(qualifiers, "octetstring"),
        interval=_flag(qualifiers, "interval"),
        default=_default(text, cim_type, where),
        writable=_flag(qualifiers, "write"),
        releases=_releases(qualifiers, where),
        declared_in=class_name,
        description=_text(qualifiers, "description") or "",
        values=_value_map(qualifiers, where),
    )


def _override(inherited: PropertyDef, text: FeatureText, where: str) -> PropertyDef:
    qualifiers = text.qualifiers
    if _text(qualifiers, "override") is None:
        raise SchemaError(f"{where} hides that of {inherited.declared_in} without Override")
    cim_type, embedded = _type(text, where)
    if embedded is None and inherited.embedded_as == "object":
        cim_type = CimType.OBJECT  # the qualifiers that say so may be left out of an override
    if cim_type != inherited.cim_type or text.array != inherited.array:
        raise SchemaError(f"{where} overrides {inherited.declared_in} with another type")
    default = _default(text, cim_type, where)
    return replace(
        inherited,
        name=text.name,
        key=_flag(qualifiers, "key", inherited=inherited.key),
        reference_class=text.reference_class,
        embedded_class=embedded or inherited.embedded_class,
        embedded_as=_embedded_as(cim_type, embedded or inherited.embedded_class),
        octet_string=_flag(qualifiers, "octetstring", inherited=inherited.octet_string),
        interval=_flag(qualifiers, "interval", inherited=inherited.interval),
        default=inherited.default if default is None else default,
        writable=_flag(qualifiers, "write", inherited=inherited.writable),
        releases=inherited.releases & _releases(qualifiers, where),
        description=_text(qualifiers, "description") or inherited.description,
        values=_value_map(qualifiers, where) or inherited.values,
    )


def _default(text: FeatureText, cim_type: CimType, where: str) -> Value:
    value = text.default
    if value is None:
        return None
    if text.array:
        if not isinstance(value, tuple):
            raise SchemaError(f"{where}: the default of an array is written in braces")
        return tuple(_scalar_default(each, cim_type, where) for each in value)
    if isinstance(value, tuple):
        raise SchemaError(f"{where}: an array as the default of a scalar")
    return _scalar_default(value, cim_type, where)


def _scalar_default(
    value: str | int | bool | None, cim_type: CimType, where: str
) -> bool | int | str | datetime | timedelta:
    if cim_type in INTEGER_TYPES and type(value) is int:
        kind = INTEGER_TYPES[cim_type]
        if kind.lowest <= value <= kind.highest:
            return value
    elif (cim_type is CimType.BOOLEAN and isinstance(value, bool)) or (
        cim_type is CimType.STRING and isinstance(value, str)
    ):
        return value
    elif cim_type is CimType.DATETIME and isinstance(value, str):
        try:
            return cim_datetime(value)
        except ValueError as problem:
            raise SchemaError(f"{where}: {problem}") from problem
    raise SchemaError(f"{where}: {value!r} is no {cim_type.value}")


def cim_datetime(text: str) -> datetime | timedelta:
    """Read the 25 characters of a CIM datetime: timestamp (aware) or, with ":000", interval.

    Raises ValueError.  Source: DSP0004, 5.2.4.
    """
    if len(text) != 25 or text[14] != "." or not (text[:14] + text[15:21] + text[22:]).isdecimal():
        raise ValueError(f"not a CIM datetime: {text[:40]!r}")
    if text[21] == ":":
        return timedelta(
            days=int(text[:8]),
            hours=int(text[8:10]),
            minutes=int(text[10:12]),
            seconds=int(text[12:14]),
            microseconds=int(text[15:21]),
        )
    if text[21] not in "+-":
        raise ValueError(f"not a CIM datetime: {text[:40]!r}")
    offset = timedelta(minutes=int(text[21:]))
    moment = datetime.strptime(text[:21] + "+0000", "%Y%m%d%H%M%S.%f%z")
    return (moment - offset).astimezone(UTC)


# -- methods --------------------------------------------------------------------------------------


def _method(text: MethodText, class_name: str, where: str) -> MethodDef:
    qualifiers = text.qualifiers
    table = _text(qualifiers, "returncodes")
    if table is not None and table not in RETURN_CODES:
        raise SchemaError(f"{where}: no table of return codes {table!r}")
    return MethodDef(
        text.name,
        tuple(_parameter(each, f"{where}({each.name})") for each in text.parameters),
        None if text.type_name == "void" else CimType(text.type_name),
        static=_flag(qualifiers, "static"),
        releases=_releases(qualifiers, where),
        declared_in=class_name,
        description=_text(qualifiers, "description") or "",
        values=RETURN_CODES[table] if table is not None else _value_map(qualifiers, where),
    )


def _parameter(text: FeatureText, where: str) -> ParameterDef:
    qualifiers = text.qualifiers
    cim_type, embedded = _type(text, where)
    goes_in, goes_out = _flag(qualifiers, "in"), _flag(qualifiers, "out")
    direction: Literal["in", "out", "inout"]
    if goes_in:
        direction = "inout" if goes_out else "in"
    elif goes_out:
        direction = "out"
    else:
        raise SchemaError(f"{where} is neither In nor Out")
    return ParameterDef(
        text.name,
        direction,
        cim_type,
        text.array,
        text.reference_class,
        embedded,
        _embedded_as(cim_type, embedded),
        octet_string=_flag(qualifiers, "octetstring"),
        interval=_flag(qualifiers, "interval"),
        required=_flag(qualifiers, "required"),
        releases=_releases(qualifiers, where),
        description=_text(qualifiers, "description") or "",
        values=_value_map(qualifiers, where),
    )


# -- what qualifiers mean -------------------------------------------------------------------------


def _type(text: FeatureText, where: str) -> tuple[CimType, str | None]:
    """Return CIM type and embedded class; with AsElements the string is an OBJECT."""
    if text.type_name == "ref":
        return CimType.REFERENCE, None
    embedded = _text(text.qualifiers, "embeddedinstance")
    as_elements = _flag(text.qualifiers, "aselements")
    if (embedded is not None or as_elements) and text.type_name != "string":
        raise SchemaError(f"{where}: EmbeddedInstance belongs on a string")
    if as_elements:
        if embedded is None:
            raise SchemaError(f"{where}: AsElements without EmbeddedInstance")
        return CimType.OBJECT, embedded
    if _flag(text.qualifiers, "octetstring") and not (text.type_name == "uint8" and text.array):
        raise SchemaError(f"{where}: OctetString belongs on an array of uint8")
    if _flag(text.qualifiers, "interval") and text.type_name != "datetime":
        raise SchemaError(f"{where}: Interval belongs on a datetime")
    return CimType(text.type_name), embedded


def _embedded_as(cim_type: CimType, embedded: str | None) -> Literal["string", "object"] | None:
    if embedded is None:
        return None
    return "object" if cim_type is CimType.OBJECT else "string"


def _flag(qualifiers: _Qualifiers, name: str, *, inherited: bool | None = False) -> bool:
    value = qualifiers.get(name)
    return bool(inherited) if value is None else bool(value)


def _text(qualifiers: _Qualifiers, name: str) -> str | None:
    value = qualifiers.get(name)
    return value if isinstance(value, str) else None


def _releases(qualifiers: _Qualifiers, where: str) -> frozenset[str]:
    first, last = _text(qualifiers, "minrelease"), _text(qualifiers, "maxrelease")
    if first is None and last is None:
        return ALL_RELEASES
    for release in (first, last):
        if release is not None and release not in RELEASES:
            raise SchemaError(f"{where}: no such release: {release!r}")
    return _between(first, last)


_between = functools.lru_cache(maxsize=None)(releases_between)


def _value_map(qualifiers: _Qualifiers, where: str) -> tuple[tuple[str, str], ...]:
    keys, texts = qualifiers.get("valuemap"), qualifiers.get("values")
    if keys is None and texts is None:
        return ()
    if not isinstance(keys, tuple) or not isinstance(texts, tuple) or len(keys) != len(texts):
        raise SchemaError(f"{where}: ValueMap and Values must be of the same length")
    return tuple((str(key), str(text)) for key, text in zip(keys, texts, strict=True))
