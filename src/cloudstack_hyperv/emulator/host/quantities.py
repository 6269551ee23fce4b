"""Numbers of processors and memory that a machine may have.

Sources: Microsoft's pages Msvm_ProcessorSettingData and Msvm_MemorySettingData, "Plan for Hyper-V
scalability in Windows Server" (maxima), Set-VMMemory (dynamic memory's bounds and buffer).

The bounds of memory bind only with dynamic memory: libvirt's driver sets Limit before
VirtualQuantity while it defines a machine, and real hosts take that.
"""

from __future__ import annotations

from cloudstack_hyperv.emulator.cim.provider import Value
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter
from cloudstack_hyperv.emulator.host.site import number

MAX_PROCESSORS = {1: 64, 2: 240}
SMALLEST_MEMORY = 32
LARGEST_MEMORY = {1: 1024 * 1024, 2: 12 * 1024 * 1024}


def check_processor(values: dict[str, Value], generation: int, host_processors: int) -> None:
    """Refuse processor settings that the host cannot give."""
    count = number(values, "VirtualQuantity")
    if not 1 <= count <= min(MAX_PROCESSORS[generation], host_processors):
        raise invalid_parameter(f"{count} virtual processors are not possible on this host")
    reservation, limit = number(values, "Reservation"), number(values, "Limit")
    if not 0 <= reservation <= 100_000 or not 0 < limit <= 100_000 or reservation > limit:
        raise invalid_parameter("Reservation and Limit are 0 to 100000, Limit not the smaller")
    if not 1 <= number(values, "Weight") <= 10_000:
        raise invalid_parameter("Weight is 1 to 10000")


def check_memory(values: dict[str, Value], generation: int, changed: set[str]) -> None:
    """Refuse memory settings that Hyper-V does not take; sizes are MiB."""
    startup = number(values, "VirtualQuantity")
    low, high = number(values, "Reservation"), number(values, "Limit")
    for name, size in (("VirtualQuantity", startup), ("Reservation", low), ("Limit", high)):
        if name in changed and size % 2:
            raise invalid_parameter(f"{name} must be a multiple of 2 MB")
        if name in changed and not SMALLEST_MEMORY <= size <= LARGEST_MEMORY[generation]:
            raise invalid_parameter(f"{name} of {size} MB is out of range")
    if values.get("DynamicMemoryEnabled") is True and not low <= startup <= high:
        raise invalid_parameter("dynamic memory needs Reservation <= VirtualQuantity <= Limit")
    if not 0 <= number(values, "Weight") <= 10_000:
        raise invalid_parameter("Weight is 0 to 10000")
    if not 5 <= number(values, "TargetMemoryBuffer") <= 2000:
        raise invalid_parameter("TargetMemoryBuffer is 5 to 2000 percent")
