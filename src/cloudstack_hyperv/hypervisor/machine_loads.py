"""What each VM uses of processors and memory: one GetSummaryInformation for all of them.

`ProcessorLoad` is percent of the VM's own virtual processors, `MemoryUsage` MiB assigned now,
`MemoryAvailable` percent of that which the guest has free; a guest without integration services
says nothing sensible there, which shows as a number beyond 0 to 100.  The answer of a method is one
envelope, so where all VMs do not fit they are asked for in slices.

Source: Microsoft, "Msvm_SummaryInformation".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloudstack_hyperv.cim import Uint32
from cloudstack_hyperv.cim.constants import (
    SYSTEM_TYPE_REALIZED,
    EnabledState,
    ReturnCode,
    SummaryField,
)
from cloudstack_hyperv.hypervisor.errors import MethodFailed, translated
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, SLICE, settings_path
from cloudstack_hyperv.hypervisor.ownership import read_ownership
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import CimClient, Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, equals

_FIELDS: Final = (
    SummaryField.NAME,
    SummaryField.ELEMENT_NAME,
    SummaryField.NOTES,
    SummaryField.NUMBER_OF_PROCESSORS,
    SummaryField.ENABLED_STATE,
    SummaryField.PROCESSOR_LOAD,
    SummaryField.MEMORY_USAGE,
    SummaryField.MEMORY_AVAILABLE,
)
_PERCENT: Final = range(101)


@dataclass(frozen=True, slots=True)
class MachineLoad:
    """One VM."""

    guid: str
    """Upper case."""
    name: str
    """CloudStack's name of it where it is ours, else its ElementName."""
    running: bool
    processors: int
    processor_load: int
    """Percent of its own processors."""
    memory_mib: int
    """Assigned now."""
    memory_available: int | None
    """Percent of the assigned memory that the guest has free; None if it does not say."""


async def read_machine_loads(client: CimClient) -> tuple[MachineLoad, ...]:
    """Read all VMs: one round trip, a few more where one answer cannot hold them."""
    with translated("read the load of the VMs"):
        try:
            return await _read(client, None)
        except wsman.QuotaExceeded:
            rows = await client.query(
                Select(
                    "Msvm_VirtualSystemSettingData",
                    where=equals("VirtualSystemType", SYSTEM_TYPE_REALIZED),
                    properties=("InstanceID", "VirtualSystemIdentifier"),
                )
            )
            guids = [row.require("VirtualSystemIdentifier") for row in rows]
            slices = [guids[start : start + SLICE] for start in range(0, len(guids), SLICE)]
            parts = await asyncio.gather(*(_read(client, part) for part in slices))
            return tuple(load for part in parts for load in part)


async def _read(client: CimClient, guids: Sequence[str] | None) -> tuple[MachineLoad, ...]:
    result = await client.invoke(
        MANAGEMENT_SERVICE,
        "GetSummaryInformation",
        {
            "SettingData": None if guids is None else [settings_path(guid) for guid in guids],
            "RequestedInformation": [Uint32(number) for number in _FIELDS],
        },
    )
    if result.return_value != ReturnCode.COMPLETED:
        raise MethodFailed("read the load of the VMs", result.return_value or 0)
    return tuple(_load(row) for row in result.out.instances("SummaryInformation"))


def _load(row: Instance) -> MachineLoad:
    ownership = read_ownership(row.string("Notes"))
    available = row.uint("MemoryAvailable")
    return MachineLoad(
        guid=row.require("Name").upper(),
        name=ownership.name if ownership else row.string("ElementName") or "",
        running=row.uint("EnabledState") == EnabledState.ENABLED,
        processors=row.uint("NumberOfProcessors") or 0,
        processor_load=row.uint("ProcessorLoad") or 0,
        memory_mib=row.uint("MemoryUsage") or 0,
        memory_available=available if available in _PERCENT else None,
    )
