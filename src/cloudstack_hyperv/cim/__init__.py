"""What a CIM value, path and instance *is*: plain data that agent and emulated host share.

How these travel (SOAP, CIM-XML, WQL text) is deliberately not here: the agent (`wsman.protocol`)
and the emulated host (`emulator`) each have their own reader and writer, so that a misreading by
one shows as a failed conversation with the other.
"""

from cloudstack_hyperv.cim.path import MalformedPath, ObjectPath
from cloudstack_hyperv.cim.types import (
    INTEGER_TYPES,
    CimType,
    Sint8,
    Sint16,
    Sint32,
    Sint64,
    SizedInt,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    cim_type_of,
)

__all__ = [
    "INTEGER_TYPES",
    "CimType",
    "MalformedPath",
    "ObjectPath",
    "Sint8",
    "Sint16",
    "Sint32",
    "Sint64",
    "SizedInt",
    "Uint8",
    "Uint16",
    "Uint32",
    "Uint64",
    "cim_type_of",
]
