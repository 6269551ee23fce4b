"""Reading a method's arguments: embedded instances, references, numbers.

An embedded instance that could not be read arrives as `UnusableInstance`.  Hyper-V does not fault
on it: bad syntax, an unknown class or property and a scalar for an array are refused at once
(32773; 32776 on the switch service for the array case), a wrong TYPE shows only in the job, which
ends with 32768 (recorded in r4sd/go-wsman's notes).
"""

from __future__ import annotations

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import (
    BadEmbedded,
    MethodCall,
    Row,
    UnusableInstance,
    Value,
)
from cloudstack_hyperv.emulator.host.outcome import JobFailed, Refused, invalid_parameter


def instance(call: MethodCall, name: str, *, array_code: int = ReturnCode.INVALID_PARAMETER) -> Row:
    """Return an embedded instance that must be there."""
    found = optional_instance(call, name, array_code=array_code)
    if found is None:
        raise invalid_parameter(f"{name} is missing")
    return found


def optional_instance(
    call: MethodCall, name: str, *, array_code: int = ReturnCode.INVALID_PARAMETER
) -> Row | None:
    """Return an embedded instance; NULL and an empty string are None."""
    value = call.arguments.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, UnusableInstance) and not value.text.strip():
        return None
    return _usable(value, name, array_code)


def instances(
    call: MethodCall, name: str, *, array_code: int = ReturnCode.INVALID_PARAMETER
) -> list[Row]:
    """Return an array of embedded instances, [] when it was not sent."""
    value = call.arguments.get(name)
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise invalid_parameter(f"{name} is not an array")
    return [_usable(item, name, array_code) for item in value]


def _usable(value: Value, name: str, array_code: int) -> Row:
    if isinstance(value, Row):
        return value
    if not isinstance(value, UnusableInstance):
        raise invalid_parameter(f"{name} is not an embedded instance")
    if value.problem is BadEmbedded.WRONG_TYPE:
        raise JobFailed(ReturnCode.FAILED, f"{name}: {value.text} (0x80070057).", 0x80070057)
    if value.problem is BadEmbedded.SCALAR_FOR_ARRAY:
        raise Refused(array_code, f"{name}: {value.text}")
    raise invalid_parameter(f"{name}: {value.problem.value}: {value.text}")


def references(call: MethodCall, name: str) -> list[ObjectPath]:
    """Return an array of references, [] when it was not sent."""
    value = call.arguments.get(name)
    if value is None:
        return []
    items = value if isinstance(value, list | tuple) else [value]
    found = [item for item in items if isinstance(item, ObjectPath)]
    if len(found) != len(items):
        raise invalid_parameter(f"{name} is not a list of references")
    return found


def reference(call: MethodCall, name: str) -> ObjectPath:
    """Return a reference that must be there."""
    value = call.arguments.get(name)
    if not isinstance(value, ObjectPath):
        raise invalid_parameter(f"{name} is missing")
    return value


def string(call: MethodCall, name: str) -> str:
    """Return a string argument that must be there and not empty."""
    value = call.arguments.get(name)
    if not isinstance(value, str) or not value:
        raise invalid_parameter(f"{name} is missing")
    return value


def integer(call: MethodCall, name: str, default: int | None = None) -> int:
    """Return an integer argument; without a default it must be there."""
    value = call.arguments.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid_parameter(f"{name} is missing")
    return int(value)


def flag(call: MethodCall, name: str, *, default: bool = False) -> bool:
    """Return a boolean argument."""
    value = call.arguments.get(name)
    return value if isinstance(value, bool) else default
