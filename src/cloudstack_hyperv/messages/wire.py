"""Typed objects on the wire: one Python class for one Java class, field for field.

A class declares its fields with Python names and types; everything else follows from that.
The JSON key is the camel-case form of the name (`vm_name` is `vmName`), or the `name=` given to
`msgspec.field` where Java's own spelling is not regular (`_reconnect`, `volumeTOs`,
`physicalsize`).  The type says how Gson would treat the member:

* `int`, `float`, `bool` with a default stand for Java primitives, which are always written;
* `... | None = None` stands for a reference, which is left out when null;
* no default means that a command cannot do without the member: its absence is an error;
* `Tagged` marks a member whose declared type in Java is an interface: `{"<class>": {...}}`;
* an enumerated value is open text (`str`) where we read it, because a newer release may send a
  word that is not known here, and a `StrEnum` where we write it, because Java turns an unknown
  word into null without a sound.

Keys that no field claims are kept in `unknown_fields` and written back, so that an object that
is echoed (the start-up commands, the VM in a `StartAnswer`) loses nothing a newer release put
into it.  `repr()` is redacted: an object may be logged.
"""

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, Final, TypeVar, Union

import msgspec

from cloudstack_hyperv.messages import gson, secrets
from cloudstack_hyperv.messages.aliases import aliases_of
from cloudstack_hyperv.messages.errors import MalformedMessage, shown_name
from cloudstack_hyperv.messages.json_text import Json, JsonObject, render_json

Reader = Callable[[Json], Any]
Writer = Callable[[Any, "Use"], Json]


class Use(Enum):
    """What a JSON object is written for."""

    WIRE = "wire"
    LOG = "log"


class WireObject(msgspec.Struct, rename="camel", kw_only=True):
    """A Java object as CloudStack writes it to JSON."""

    java_class: ClassVar[str] = ""
    """Full Java class name, set for the classes whose name appears on the wire."""

    unknown_fields: dict[str, Json] = msgspec.field(default_factory=dict)
    """Keys of the JSON object that no field claims, kept as they came."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({render_json(redacted(self)).decode()})"

    def __rich_repr__(self) -> list[tuple[str, Json]]:
        return list(redacted(self).items())


Wire = TypeVar("Wire", bound=WireObject)


class _Tag:
    """Marker in `Annotated[...]`: the member is wrapped into an object that names its class."""


TAG: Final = _Tag()


def from_json(cls: type[Wire], value: Json) -> Wire:
    """Build an object of `cls` from a JSON value.

    Raises `MalformedMessage` naming the path below `value` if it has not the shape of `cls`.
    """
    return typing.cast("Wire", _read_object(cls, value))


def to_json(item: WireObject) -> JsonObject:
    """Return the JSON object that Gson would write for `item`; older keys are added to answers."""
    return _write_object(item, Use.WIRE)


def redacted(item: WireObject) -> JsonObject:
    """Return the JSON object of `item` for a log: secrets masked, see the module `secrets`."""
    return _write_object(item, Use.LOG)


def tagged(item: WireObject) -> JsonObject:
    """Return `{"<Java class>": {...}}` for `item`."""
    return {item.java_class: to_json(item)}


def split_tag(value: Json) -> tuple[str, Json]:
    """Return class name and body of a `{"<class>": {...}}` object; only the first key counts."""
    if not isinstance(value, dict) or not value:
        raise gson.expected("an object with a class name as its key", value)
    return typing.cast("tuple[str, Json]", next(iter(value.items())))


def copy_with(item: Wire, **changes: Any) -> Wire:
    """Return a copy of `item` with the named fields changed."""
    return msgspec.structs.replace(item, **changes)


@dataclass(frozen=True, slots=True)
class _Field:
    attribute: str
    keys: tuple[str, ...]
    """The canonical key, then the older ones that are read."""
    written_keys: tuple[str, ...]
    read: Reader
    write: Writer
    required: bool
    secret: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    fields: tuple[_Field, ...]
    claimed: frozenset[str]


@cache
def _plan_of(cls: Any) -> _Plan:
    """Work out once how to read and write a class; `cls` may be a parametrised generic."""
    origin = typing.get_origin(cls) or cls
    names = tuple(base.__name__ for base in origin.__mro__)
    aliases, secret_keys = aliases_of(names), secrets.secret_keys_of(names)
    hints = typing.get_type_hints(origin, include_extras=True)
    if cls is not origin:
        bound = dict(zip(origin.__parameters__, typing.get_args(cls), strict=True))
        hints = {
            field.name: _bind(hints[field.name], bound) for field in msgspec.structs.fields(origin)
        }
    fields = []
    for info in msgspec.structs.fields(origin):
        if info.name == "unknown_fields":
            continue
        read, write = _codec_of(hints[info.name])
        key = info.encode_name
        alias = aliases.get(key)
        older = alias.older if alias else ()
        fields.append(
            _Field(
                attribute=info.name,
                keys=(key, *older),
                written_keys=(key, *older) if alias and alias.written else (key,),
                read=read,
                write=write,
                required=info.required,
                secret=key in secret_keys,
            )
        )
    return _Plan(tuple(fields), frozenset(key for field in fields for key in field.keys))


def _read_object(cls: Any, value: Json) -> WireObject:
    if not isinstance(value, dict):
        raise gson.expected("an object", value)
    plan = _plan_of(cls)
    members: dict[str, Any] = {}
    for field in plan.fields:
        for key in field.keys:
            if value.get(key) is not None:
                try:
                    members[field.attribute] = field.read(value[key])
                except MalformedMessage as error:
                    raise error.inside(f".{key}") from None
                break
        else:
            if field.required:
                raise MalformedMessage("is missing", (f".{field.keys[0]}",))
    unknown = {key: item for key, item in value.items() if key not in plan.claimed}
    built: WireObject = cls(**members, unknown_fields=unknown)
    return built


def _write_object(item: WireObject, use: "Use", cls: Any = None) -> JsonObject:
    """Write `item` by the fields of `cls`, which is given where a generic has to be told."""
    written: JsonObject = (
        dict.fromkeys(item.unknown_fields, secrets.MASK)
        if use is Use.LOG
        else dict(item.unknown_fields)
    )
    for field in _plan_of(cls or type(item)).fields:
        value = getattr(item, field.attribute)
        if value is None:
            continue
        for key in field.written_keys:
            if use is Use.LOG and value and (field.secret or secrets.is_secret_key(key)):
                written[key] = secrets.MASK
            else:
                written[key] = field.write(value, use)
    return written


def _bind(hint: Any, bound: dict[Any, Any]) -> Any:
    """Replace the type variables of a generic class in one of its field types."""
    if hint in bound:
        return bound[hint]
    arguments = typing.get_args(hint)
    if not arguments:
        return hint
    replaced = tuple(_bind(argument, bound) for argument in arguments)
    if typing.get_origin(hint) in (Union, types.UnionType):
        return Union[replaced]  # noqa: UP007 - built from a tuple
    return typing.get_origin(hint)[replaced]


def _codec_of(hint: Any) -> tuple[Reader, Writer]:
    """Return how a member of this declared type is read and written."""
    if hint is Any:
        return _identity, _write_any
    scalar = _SCALARS.get(hint)
    if scalar:
        return scalar
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _tagged_codec(arguments[0])
    if origin in (Union, types.UnionType):
        return _optional_codec(arguments)
    if origin is list:
        return _list_codec(*_codec_of(arguments[0]))
    if origin is dict:
        return _map_codec(*_codec_of(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return gson.read_enum(hint), _write_enum
    if isinstance(hint, TypeVar):
        return _identity, _write_by_value
    if issubclass(origin or hint, WireObject):
        return _object_codec(hint, is_generic=origin is not None)
    raise TypeError(f"no rule for a member of type {hint}")


def _optional_codec(members: tuple[Any, ...]) -> tuple[Reader, Writer]:
    """Null is dealt with where the member stands; only the other type matters here."""
    kinds = [member for member in members if member is not types.NoneType]
    if len(kinds) != 1:
        raise TypeError(f"no rule for a member that is one of {kinds}")
    return _codec_of(kinds[0])


def _object_codec(cls: Any, *, is_generic: bool) -> tuple[Reader, Writer]:
    def write(item: WireObject, use: "Use") -> Json:
        return _write_object(item, use, cls if is_generic else None)

    return lambda value: _read_object(cls, value), write


def _tagged_codec(union: Any) -> tuple[Reader, Writer]:
    classes = {cls.java_class: cls for cls in typing.get_args(union) or (union,)}

    def read(value: Json) -> WireObject:
        class_name, body = split_tag(value)
        cls = classes.get(class_name)
        if cls is None:
            known = ", ".join(sorted(name.rpartition(".")[2] for name in classes))
            raise MalformedMessage(f"{shown_name(class_name)} is none of {known}")
        try:
            return _read_object(cls, body)
        except MalformedMessage as error:
            raise error.inside(f".{class_name}") from None

    def write(item: WireObject, use: "Use") -> Json:
        return {item.java_class: _write_object(item, use)}

    return read, write


def _list_codec(read_item: Reader, write_item: Writer) -> tuple[Reader, Writer]:
    def read(value: Json) -> list[Any]:
        if not isinstance(value, list):
            raise gson.expected("an array", value)
        items = []
        for index, item in enumerate(value):
            try:
                # A null element stays one: Gson writes them where it leaves out null members.
                items.append(None if item is None else read_item(item))
            except MalformedMessage as error:
                raise error.inside(f"[{index}]") from None
        return items

    def write(items: list[Any], use: "Use") -> Json:
        return [None if item is None else write_item(item, use) for item in items]

    return read, write


def _map_codec(read_item: Reader, write_item: Writer) -> tuple[Reader, Writer]:
    def read(value: Json) -> dict[str, Any]:
        read_items = {}
        for key, item in _map_entries(value):
            if item is None:
                continue
            try:
                read_items[key] = read_item(item)
            except MalformedMessage as error:
                raise error.inside(f"[{shown_name(key)}]") from None
        return read_items

    def write(items: dict[str, Any], use: "Use") -> Json:
        given = {key: item for key, item in items.items() if item is not None}
        if use is Use.WIRE:
            return {key: write_item(item, use) for key, item in given.items()}
        return {
            secrets.masked_text(key): (
                secrets.MASK if secrets.is_secret_key(key) else write_item(item, use)
            )
            for key, item in given.items()
        }

    return read, write


def _map_entries(value: Json) -> list[tuple[str, Json]]:
    """Gson takes an array of `[key, value]` pairs for a map too, in particular an empty one."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return [(gson.read_text(key), item) for key, item in value]
    raise gson.expected("an object", value)


def _identity(value: Json) -> Json:
    return value


def _write_any(value: Json, use: "Use") -> Json:
    return secrets.masked_json(value) if use is Use.LOG else value


def _write_enum(value: StrEnum, _use: "Use") -> Json:
    return value.value


def _write_text(value: str, use: "Use") -> Json:
    return gson.write_text(secrets.masked_text(value) if use is Use.LOG else value)


def _write_by_value(value: Any, use: "Use") -> Json:
    """Write a member of a generic whose type arguments are not known at this point."""
    if isinstance(value, WireObject):
        return _write_object(value, use)
    return _SCALARS[type(value)][1](value, use)


def _same_in_logs(write: Callable[[Any], Json]) -> Writer:
    return lambda value, _use: write(value)


_SCALARS: Final[dict[Any, tuple[Reader, Writer]]] = {
    str: (gson.read_text, _write_text),
    bool: (gson.read_bool, _same_in_logs(bool)),
    int: (gson.read_int, _same_in_logs(gson.write_int)),
    float: (gson.read_float, _same_in_logs(gson.write_float)),
    bytes: (gson.read_bytes, _same_in_logs(gson.write_bytes)),
}
