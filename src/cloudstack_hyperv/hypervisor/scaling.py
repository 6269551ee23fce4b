"""Size of a VM that runs: memory and shares of processors, in what Hyper-V lets change.

    number of processors            never while the VM runs
    weight, limit of processors     always
    static memory                   since Windows Server 2016 (VMs of configuration 6.2 and later)
    dynamic memory                  its maximum up, its minimum down

What cannot be changed is refused before anything is sent.  The change is one call; should it fail
half-way, the old numbers are sent again.

Source: Microsoft, "Msvm_MemorySettingData", "Set-VMMemory", "What's new in Hyper-V on Windows
Server 2016" (runtime memory resize).
"""

from __future__ import annotations

from typing import Final

from cloudstack_hyperv.cim import Uint32, Uint64
from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import power
from cloudstack_hyperv.hypervisor.devices import Devices, read_devices
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, Machine
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.hypervisor.wish import MemoryWish, ProcessorWish
from cloudstack_hyperv.wsman.api import CimClient, EmbeddedInstance, Instance, Scalar

_PROCESSOR: Final = "Msvm_ProcessorSettingData"
_MEMORY: Final = "Msvm_MemorySettingData"
SETTLING: Final = 10.0
"""Seconds in which a change whose answer was lost may still come."""
QUIET_LOOKS: Final = 4
"""Looks in a row that show the old size."""


async def scale(
    client: CimClient,
    machine: Machine,
    devices: Devices,
    processor: ProcessorWish,
    memory: MemoryWish,
    release: Release,
) -> bool:
    """Change the size of a VM; False if it has that size: at most one round trip.

    Raises WrongState for what cannot be changed while the VM runs.
    """
    name = machine.cloudstack_name
    what = f"scale VM {name}"
    runs = machine.state != EnabledState.DISABLED
    present = {row.class_name: row for row in devices.rows}
    try:
        changes = (
            _processor_change(present[_PROCESSOR], processor, what, runs=runs),
            _memory_change(present[_MEMORY], memory, release, what, runs=runs),
        )
    except KeyError as missing:
        raise HypervisorError(f"{what}: the VM has no {missing.args[0]}") from None
    wanted = [change for change in changes if len(change.properties) > 1]
    if not wanted:
        return False
    old = [_as_it_is(present[change.class_name], change) for change in wanted]
    async with UndoStack() as undo:
        undo.push(f"give VM {name} its old size", lambda: _put_back(client, machine, old, what))
        await _modify(client, wanted, what)
        undo.commit()
    return True


async def _modify(client: CimClient, changes: list[EmbeddedInstance], what: str) -> None:
    await call(
        client,
        MANAGEMENT_SERVICE,
        "ModifyResourceSettings",
        {"ResourceSettings": changes},
        what=what,
    )


async def _put_back(
    client: CimClient, machine: Machine, old: list[EmbeddedInstance], what: str
) -> None:
    """Undo: send the old size until the VM keeps it; a change whose answer was lost comes late."""
    pace = power.Pace.for_seconds(SETTLING)
    quiet = 0
    while quiet < QUIET_LOOKS:
        devices = await read_devices(client, machine.guid, machine.cloudstack_name)
        rows = {row.class_name: row for row in devices.rows}
        if all(_is_so(rows[each.class_name], each) for each in old if each.class_name in rows):
            quiet += 1
        else:
            quiet = 0
            await _modify(client, old, what)
        if not await pace.next():
            return


def _is_so(row: Instance, wanted: EmbeddedInstance) -> bool:
    return all(
        _value(row, name, value) == value
        for name, value in wanted.properties.items()
        if isinstance(value, bool | Uint32 | Uint64)
    )


def _processor_change(
    row: Instance, wish: ProcessorWish, what: str, *, runs: bool
) -> EmbeddedInstance:
    present = row.uint("VirtualQuantity")
    if runs and present != wish.count:
        raise WrongState(
            f"{what}: Hyper-V cannot change the number of processors of a running VM ({present} to "
            f"{wish.count}); stop the VM, then change it"
        )
    return _changed(
        row,
        {
            "VirtualQuantity": Uint64(wish.count),
            "Limit": Uint64(wish.limit),
            "Weight": Uint32(wish.weight),
        },
    )


def _memory_change(
    row: Instance, wish: MemoryWish, release: Release, what: str, *, runs: bool
) -> EmbeddedInstance:
    sizes: dict[str, Scalar] = {
        "VirtualQuantity": Uint64(wish.startup),
        "Reservation": Uint64(wish.minimum),
        "Limit": Uint64(wish.maximum),
    }
    if not runs:
        return _changed(row, {"DynamicMemoryEnabled": wish.dynamic, **sizes})
    dynamic = row.boolean("DynamicMemoryEnabled") is True
    if dynamic != wish.dynamic:
        kinds = ("static", "dynamic")
        raise WrongState(
            f"{what}: memory of a running VM cannot become {kinds[wish.dynamic]}, it is "
            f"{kinds[dynamic]}; stop the VM, then change it"
        )
    if not dynamic:
        if row.uint("VirtualQuantity") == wish.startup:
            return _changed(row, {})
        if not release.has_hot_memory:
            raise WrongState(
                f"{what}: this release of Windows cannot change static memory of a running VM "
                "(needs 2016); stop the VM, then change it"
            )
        return _changed(row, sizes)
    maximum, minimum = row.uint("Limit") or 0, row.uint("Reservation") or 0
    if wish.maximum < maximum:
        raise WrongState(
            f"{what}: the maximum of dynamic memory cannot become less ({maximum} to "
            f"{wish.maximum} MiB) while the VM runs"
        )
    # A minimum that is to rise does so with the next start.
    return _changed(
        row, {"Reservation": Uint64(min(minimum, wish.minimum)), "Limit": sizes["Limit"]}
    )


def _changed(row: Instance, wanted: dict[str, Scalar]) -> EmbeddedInstance:
    """Return the settings that differ, with the InstanceID; that alone where none does."""
    different = {name: value for name, value in wanted.items() if _value(row, name, value) != value}
    return EmbeddedInstance(row.class_name, {"InstanceID": row.require("InstanceID"), **different})


def _as_it_is(row: Instance, change: EmbeddedInstance) -> EmbeddedInstance:
    """Return what puts a change back."""
    old: dict[str, Scalar] = {
        name: _value(row, name, value)
        for name, value in change.properties.items()
        if isinstance(value, bool | Uint32 | Uint64)
    }
    return EmbeddedInstance(row.class_name, {"InstanceID": row.require("InstanceID"), **old})


def _value(row: Instance, name: str, like: Scalar) -> Scalar:
    """Return a present value in the CIM type of the one that may replace it."""
    if isinstance(like, bool):
        return row.boolean(name) is True
    number = row.uint(name) or 0
    return Uint32(number) if isinstance(like, Uint32) else Uint64(number)
