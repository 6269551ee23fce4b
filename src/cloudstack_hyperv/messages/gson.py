"""How Gson reads and writes scalars: the rules of the other side of the wire.

CloudStack's messages are written and read by Gson 2.10, which is lenient in ways of its own: a
number may stand as text, `5.0` (and even `5.5`) is an integer, a number is a good text, `true`
may be quoted, but 1 is no boolean.  These functions apply the same leniency, so that a message
which a Java agent would understand is understood here.  Two things are stricter than Gson: a
number beyond 64 bits is refused instead of wrapped, and a text that is neither `true` nor
`false` is no boolean instead of silently false.
"""

import math
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeVar

from cloudstack_hyperv.messages.errors import MalformedMessage
from cloudstack_hyperv.messages.json_text import Json, json_kind

_SMALLEST_LONG: Final = -(2**63)
_LARGEST_LONG: Final = 2**63 - 1
_INTEGER_TEXT: Final = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER_TEXT: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?")

Member = TypeVar("Member", bound=StrEnum)


def expected(what: str, value: Json) -> MalformedMessage:
    """Return the error for a value of another kind; the value itself is not shown."""
    return MalformedMessage(f"expected {what}, got {json_kind(value)}")


def read_int(value: Json) -> int:
    """Read a Java `int` or `long`: a number (a fraction is cut off) or a text of digits."""
    if isinstance(value, bool):
        raise expected("an integer", value)
    if (isinstance(value, str) and _INTEGER_TEXT.fullmatch(value)) or (
        isinstance(value, float) and math.isfinite(value)
    ):
        value = int(value)
    if not isinstance(value, int):
        raise expected("an integer", value)
    if not _SMALLEST_LONG <= value <= _LARGEST_LONG:
        raise MalformedMessage("expected an integer of at most 64 bits")
    return value


def read_float(value: Json) -> float:
    """Read a Java `double`: a finite number, or a text that is one."""
    if isinstance(value, str) and _NUMBER_TEXT.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise expected("a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise MalformedMessage("expected a finite number")
    return number


def read_bool(value: Json) -> bool:
    """Read a Java `boolean`: `true`, `false`, or one of these words quoted."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise expected("a boolean", value)


def read_text(value: Json) -> str:
    """Read a Java `String`: a text, or a number or boolean as its text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise expected("a text", value)


def read_bytes(value: Json) -> bytes:
    """Read a Java `byte[]`: an array of numbers, of which the low eight bits count."""
    if not isinstance(value, list):
        raise expected("an array of bytes", value)
    return bytes(read_int(number) & 0xFF for number in value)


def read_enum(members: type[Member]) -> Callable[[Json], Member | None]:
    """Return a reader of enum constants; an unknown name reads as None, as Gson does it."""

    def read(value: Json) -> Member | None:
        if not isinstance(value, str):
            raise expected("a text", value)
        try:
            return members(value)
        except ValueError:
            return None

    return read


def write_int(value: int) -> int:
    """Write an integer; one that Java could not hold is a `ValueError` of the caller."""
    if not _SMALLEST_LONG <= value <= _LARGEST_LONG:
        raise ValueError("an integer beyond 64 bits cannot be written")
    return value


def write_float(value: float) -> float:
    """Write a number; Gson refuses NaN and infinities, so they are a `ValueError` here."""
    if not math.isfinite(value):
        raise ValueError("NaN and infinities cannot be written")
    return value


def write_text(value: str) -> str:
    """Write a text; what UTF-8 cannot express (half a surrogate pair) becomes a question mark."""
    return str(value) if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def write_bytes(value: bytes) -> list[int]:
    """Write a `byte[]`: signed numbers."""
    return [byte - 256 if byte > 127 else byte for byte in value]
