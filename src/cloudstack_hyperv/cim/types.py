"""CIM data types: what a value *is*, without saying how it travels.

Python has one int; CIM has eight, and Hyper-V refuses a uint32 where a uint16 is declared
(an INSTANCE property with a wrong TYPE attribute makes the job fail).  So the agent writes
`Uint16(3)`, and the class name is the CIM type.  `bool`, `str`, `datetime` (timestamp) and
`timedelta` (interval) stand for themselves; `None` is NULL.

Source of the names and ranges: DMTF DSP0004 (CIM Infrastructure), 5.2 "Data types".
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import ClassVar, Self


class CimType(enum.StrEnum):
    """Names of the CIM types as CIM-XML's TYPE attribute spells them (DSP0201)."""

    BOOLEAN = "boolean"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    SINT8 = "sint8"
    SINT16 = "sint16"
    SINT32 = "sint32"
    SINT64 = "sint64"
    REAL32 = "real32"
    REAL64 = "real64"
    STRING = "string"
    CHAR16 = "char16"
    DATETIME = "datetime"
    REFERENCE = "reference"
    OBJECT = "object"
    """An embedded instance that travels as XML elements, not as a string."""


class SizedInt(int):
    """An integer of a CIM type; refuses a value outside the type's range with ValueError."""

    cim_type: ClassVar[CimType]
    lowest: ClassVar[int]
    highest: ClassVar[int]

    def __new__(cls, value: int | str) -> Self:
        """Accept an int or its decimal text."""
        number = super().__new__(cls, value)
        if not cls.lowest <= number <= cls.highest:
            raise ValueError(f"{int(number)} is not a {cls.cim_type.value}")
        return number

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


class Uint8(SizedInt):
    """uint8."""

    cim_type, lowest, highest = CimType.UINT8, 0, 2**8 - 1


class Uint16(SizedInt):
    """uint16."""

    cim_type, lowest, highest = CimType.UINT16, 0, 2**16 - 1


class Uint32(SizedInt):
    """uint32."""

    cim_type, lowest, highest = CimType.UINT32, 0, 2**32 - 1


class Uint64(SizedInt):
    """uint64."""

    cim_type, lowest, highest = CimType.UINT64, 0, 2**64 - 1


class Sint8(SizedInt):
    """sint8."""

    cim_type, lowest, highest = CimType.SINT8, -(2**7), 2**7 - 1


class Sint16(SizedInt):
    """sint16."""

    cim_type, lowest, highest = CimType.SINT16, -(2**15), 2**15 - 1


class Sint32(SizedInt):
    """sint32."""

    cim_type, lowest, highest = CimType.SINT32, -(2**31), 2**31 - 1


class Sint64(SizedInt):
    """sint64."""

    cim_type, lowest, highest = CimType.SINT64, -(2**63), 2**63 - 1


INTEGER_TYPES: dict[CimType, type[SizedInt]] = {
    kind.cim_type: kind for kind in (Uint8, Uint16, Uint32, Uint64, Sint8, Sint16, Sint32, Sint64)
}


def cim_type_of(value: object) -> CimType:
    """Return the CIM type of a scalar Python value.

    A plain int has no CIM type: raises TypeError, so that a forgotten `Uint16(...)` shows in
    the first test and not on the host.
    """
    if isinstance(value, SizedInt):
        return value.cim_type
    if isinstance(value, bool):
        return CimType.BOOLEAN
    if isinstance(value, str):
        return CimType.STRING
    if isinstance(value, datetime | timedelta):
        return CimType.DATETIME
    if isinstance(value, float):
        return CimType.REAL64
    raise TypeError(f"{type(value).__name__} has no CIM type")
