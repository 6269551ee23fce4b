r"""Carrying out a plan on a host, step by step, with everything undone when one fails.

All that a start makes belongs to the VM's definition, so undoing it is removing the definition:
turn off, DestroySystem.  That never deletes a disk.  The undo step is pushed before DefineSystem
is sent; when that call breaks down with its effect unknown, the VM is looked for by name and mark.

The references that AddResourceSettings hands back are in the order of the array as far as anybody
has seen, but nobody promises it, and a NIC that is connected in another's place is on a foreign
network.  So each reference is recognised: NICs and controllers by the VMBus identifier we gave
them, drives by controller and slot, media and connections by their parent.  Where an InstanceID
does not show it, the VM's devices are read.

Source: Microsoft, "AddResourceSettings method of the Msvm_VirtualSystemManagementService class";
InstanceID patterns as hosts show them (go-wsman test data).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import IDE_CONTROLLER_GUID, EnabledState, ReturnCode
from cloudstack_hyperv.hypervisor import port_features, power
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.boot_order import apply_boot_order
from cloudstack_hyperv.hypervisor.devices import (
    identifier_of,
    is_parent,
    read_devices,
    row_path,
)
from cloudstack_hyperv.hypervisor.errors import HypervisorError, MethodFailed
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import (
    MANAGEMENT_SERVICE,
    MachineDirectory,
    machine_path,
    settings_path,
)
from cloudstack_hyperv.hypervisor.plan import (
    AddDevices,
    DefineSystem,
    Device,
    LimitDisk,
    OfferGuestData,
    OrderBoot,
    Plan,
    PowerOn,
    RemoveDevices,
    RenewSystem,
    SetPortFeatures,
    SizeSystem,
    Step,
    VerifyVlans,
)
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.wsman import errors as wsman
from cloudstack_hyperv.wsman.api import Argument, CimClient, Instance

log = structlog.get_logger(__name__)


DEFINE_SETTLING = 10.0
"""Seconds for which a VM is looked for whose definition broke down with its effect unknown."""
_PARAMETER_REFUSALS = (ReturnCode.INVALID_PARAMETER, ReturnCode.NOT_SUPPORTED)


class SizesRefused(HypervisorError):
    """The host does not take processors and memory in DefineSystem; nothing was made."""


@dataclass(slots=True)
class _Construction:
    """A VM being made: what is known of it so far."""

    directory: MachineDirectory
    plan: Plan
    guid: str = ""
    may_be_made: bool = False
    """DefineSystem was sent, and has not answered that it made nothing."""
    paths: dict[str, ObjectPath] = field(default_factory=dict)
    """Device key to object path."""

    @property
    def client(self) -> CimClient:
        return self.directory.client

    @property
    def name(self) -> str:
        return self.plan.wish.name

    def path_of(self, key: str) -> ObjectPath:
        """Return a device's path; the IDE controllers of generation 1 are built in."""
        if key in self.paths:
            return self.paths[key]
        bus, _, number = key.partition(" ")
        if bus == "IDE":
            return ObjectPath.of(
                data.RASD, InstanceID=f"Microsoft:{self.guid}\\{IDE_CONTROLLER_GUID}\\{number}"
            )
        raise HypervisorError(f"the plan for VM {self.name} uses {key} before it is added")


async def apply(plan: Plan, directory: MachineDirectory) -> str:
    """Carry the plan out and return the VM's GUID; undo everything if a step fails.

    The caller has made sure that no VM of this name and mark exists.
    """
    construction = _Construction(directory, plan)
    async with UndoStack() as undo:
        undo.push(f"remove VM {plan.wish.name}", lambda: _remove(construction))
        for step in plan.steps:
            log.debug("step", step=str(step))
            await _carry_out(step, construction)
        undo.commit()
    directory.index.remember(plan.wish.name, construction.guid)
    return construction.guid


async def apply_to_kept(
    plan: Plan, directory: MachineDirectory, guid: str, present: Mapping[str, ObjectPath]
) -> None:
    """Carry out a plan for a VM that exists and is off; `present` are its devices by key.

    If a step fails the VM is off again and stays: its definition holds checkpoints.  What was
    changed by then is brought to shape by the next start.
    """
    construction = _Construction(directory, plan, guid, paths=dict(present))
    name = plan.wish.name
    async with UndoStack() as undo:
        undo.push(f"turn off VM {name}", lambda: power.turn_off(directory.client, guid, name))
        for step in plan.steps:
            log.debug("step", step=str(step))
            await _carry_out(step, construction)
        undo.commit()


async def _carry_out(step: Step, it: _Construction) -> None:
    match step:
        case DefineSystem():
            await _define(step, it)
        case SizeSystem():
            await _size(step, it)
        case RenewSystem():
            await call(
                it.client,
                MANAGEMENT_SERVICE,
                "ModifySystemSettings",
                {"SystemSettings": data.changed_system(f"Microsoft:{it.guid}", step.properties)},
                what=str(step),
            )
        case RemoveDevices():
            await call(
                it.client,
                MANAGEMENT_SERVICE,
                "RemoveResourceSettings",
                {"ResourceSettings": list(step.paths)},
                what=f"{step} of VM {it.name}",
            )
        case LimitDisk():
            await call(
                it.client,
                MANAGEMENT_SERVICE,
                "ModifyResourceSettings",
                {"ResourceSettings": [step.medium]},
                what=f"{step} of VM {it.name}",
            )
        case AddDevices():
            await _add_devices(step, it)
        case SetPortFeatures():
            await port_features.set_features(
                it.client,
                it.path_of(step.connection),
                required=step.required,
                optional=step.optional,
                what=f"{step} of VM {it.name}",
            )
        case VerifyVlans():
            await port_features.verify_vlans(
                it.client,
                it.guid,
                {it.path_of(key): vlan for key, vlan in step.vlans.items()},
                it.name,
            )
        case OfferGuestData():
            await call(
                it.client,
                MANAGEMENT_SERVICE,
                "AddKvpItems",
                {
                    "TargetSystem": machine_path(it.guid),
                    "DataItems": [data.guest_data_item(key, value) for key, value in step.items],
                },
                what=f"offer boot arguments to VM {it.name}",
            )
        case OrderBoot():
            await apply_boot_order(
                it.client, it.guid, [it.path_of(key) for key in step.devices], it.name
            )
        case PowerOn():
            await power.turn_on(it.client, it.guid, it.name)


async def _define(step: DefineSystem, it: _Construction) -> None:
    what = f"define VM {it.name}"
    arguments: dict[str, Argument] = {"SystemSettings": step.system}
    if step.resources:
        arguments["ResourceSettings"] = list(step.resources)
    it.may_be_made = True
    try:
        result = await call(it.client, MANAGEMENT_SERVICE, "DefineSystem", arguments, what=what)
    except HypervisorError as error:
        it.may_be_made = not _without_effect(error)
        if not isinstance(error, MethodFailed):
            raise
        if step.resources and error.code in _PARAMETER_REFUSALS:
            raise SizesRefused(str(error)) from error
        raise
    system = result.out.path("ResultingSystem")
    guid = system.key("Name") if system is not None else None
    if guid is None:
        # A host that defined by a job need not say what came of it.
        machine = await it.directory.find(it.name, search=True)
        if machine is None or not it.plan.wish.ownership.same_machine(machine.ownership):
            raise HypervisorError(f"{what}: the host does not show what it defined")
        guid = machine.guid
    it.guid = guid


def _without_effect(error: HypervisorError) -> bool:
    """Whether a call certainly changed nothing: refused, or never sent."""
    match error.__cause__:
        case wsman.HostUnreachable():
            return True
        case wsman.DeadlineExceeded() as late:
            return not late.request_sent
    return isinstance(error, MethodFailed)


async def _size(step: SizeSystem, it: _Construction) -> None:
    rows = (await read_devices(it.client, it.guid, it.name)).rows
    ids = {row.class_name: row.require("InstanceID") for row in rows}
    try:
        processor = ids["Msvm_ProcessorSettingData"]
        memory = ids["Msvm_MemorySettingData"]
    except KeyError as missing:
        raise HypervisorError(f"{step}: the VM has no {missing.args[0]}") from None
    await call(
        it.client,
        MANAGEMENT_SERVICE,
        "ModifyResourceSettings",
        {
            "ResourceSettings": [
                data.processor_settings(step.wish.processor, processor),
                data.memory_settings(step.wish.memory, memory),
            ]
        },
        what=str(step),
    )


async def _add_devices(step: AddDevices, it: _Construction) -> None:
    what = f"{step} to VM {it.name}"
    settings = [
        device.settings
        if device.parent is None
        else data.parented(device.settings, it.path_of(device.parent))
        for device in step.devices
    ]
    result = await call(
        it.client,
        MANAGEMENT_SERVICE,
        "AddResourceSettings",
        {"AffectedConfiguration": settings_path(it.guid), "ResourceSettings": settings},
        what=what,
    )
    parents = {d.key: it.path_of(d.parent) for d in step.devices if d.parent is not None}
    found = recognise(step.devices, parents, result.paths("ResultingResourceSettings"))
    if found is None:
        rows = (await read_devices(it.client, it.guid, it.name)).rows
        found = search_rows(step.devices, parents, rows)
    missing = [device.key for device in step.devices if device.key not in found]
    if missing:
        raise HypervisorError(f"{what}: the host does not show {', '.join(missing)}")
    it.paths.update(found)


def recognise(
    devices: Sequence[Device], parents: dict[str, ObjectPath], results: Sequence[ObjectPath]
) -> dict[str, ObjectPath] | None:
    """Find each device's reference by what its InstanceID shows; None if one is in doubt.  Pure.

    The last device of a class gets the last reference of that class.
    """
    if len(results) != len(devices):
        return None
    found: dict[str, ObjectPath] = {}
    left = list(results)
    for device in devices:
        shown = [path for path in left if _shows(device, parents.get(device.key), path)]
        if len(shown) > 1:
            return None
        if shown:
            found[device.key] = shown[0]
            left.remove(shown[0])
    for device in devices:
        if device.key in found:
            continue
        same_class = [path for path in left if path.class_name == device.settings.class_name]
        if len(same_class) != 1:
            return None
        found[device.key] = same_class[0]
        left.remove(same_class[0])
    return found


def search_rows(
    devices: Sequence[Device], parents: dict[str, ObjectPath], rows: Sequence[Instance]
) -> dict[str, ObjectPath]:
    """Find each device among the VM's rows by its properties.  Pure."""
    found: dict[str, ObjectPath] = {}
    for device in devices:
        parent = parents.get(device.key)
        slot = device.settings.properties.get("AddressOnParent")
        for row in rows:
            if row.class_name != device.settings.class_name:
                continue
            if device.identifier is not None:
                matches = identifier_of(row) == device.identifier
            else:
                matches = (
                    parent is not None
                    and is_parent(row, parent)
                    and (slot is None or row.string("AddressOnParent") == slot)
                )
            if matches:
                found[device.key] = row_path(row)
    return found


def _shows(device: Device, parent: ObjectPath | None, result: ObjectPath) -> bool:
    if result.class_name != device.settings.class_name:
        return False
    shown = (result.key("InstanceID") or "").casefold()
    if device.identifier is not None:
        return device.identifier.casefold() in shown.split("\\")
    above = (parent.key("InstanceID") or "").casefold() if parent is not None else ""
    if not above:
        return False
    slot = device.settings.properties.get("AddressOnParent")
    if slot is not None:
        return shown == f"{above}\\{slot}\\d"
    if device.settings.class_name == data.CONNECTION:
        return shown == f"{above}\\c"
    return above.endswith("\\d") and shown == f"{above[:-1]}l"


async def _remove(it: _Construction) -> None:
    """Undo: remove the definition that this plan made, running or not; never its disks."""
    guid = it.guid or await _find_made(it)
    if guid is None:
        return
    it.directory.index.forget(it.name)
    state = await power.read_state(it.client, guid)
    if state is None:
        return
    if state not in (EnabledState.DISABLED, EnabledState.SAVED):
        await power.turn_off(it.client, guid, it.name)
    await power.destroy(it.client, guid, it.name)


async def _find_made(it: _Construction) -> str | None:
    """Find what a DefineSystem made that broke down; its job may still be at work."""
    pace = power.Pace.for_seconds(DEFINE_SETTLING)
    while it.may_be_made:
        machine = await it.directory.find(it.name, search=True)
        if machine is not None and it.plan.wish.ownership.same_machine(machine.ownership):
            return machine.guid
        if not await pace.next():
            break
    return None
