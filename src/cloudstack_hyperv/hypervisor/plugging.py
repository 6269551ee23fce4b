"""NICs that come and go while the VM exists.

A running VM gets and loses NICs in generation 2 only, since Windows Server 2016; one that is off
always.  A new NIC is tagged before its cable goes in, so it is never on a network with the wrong
tag; what breaks on the way is taken out again.  A NIC is known by its MAC address.

Source: Microsoft, "What's new in Hyper-V on Windows Server 2016" (hot add and remove of network
adapters).
"""

from __future__ import annotations

from dataclasses import replace

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import port_features, power
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.adapters import AdapterState, read_adapters, reconnect_adapter
from cloudstack_hyperv.hypervisor.devices import Devices, read_devices
from cloudstack_hyperv.hypervisor.errors import HypervisorError, WrongState, failed_by_host
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, Machine
from cloudstack_hyperv.hypervisor.plan import port_step, without_unknown_rules
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.hypervisor.wish import AdapterWish, device_identifier
from cloudstack_hyperv.wsman.api import CimClient, EmbeddedInstance

SETTLING = 5.0
"""Seconds in which a NIC may still appear whose adding broke down."""


async def plug_adapter(
    client: CimClient, machine: Machine, wish: AdapterWish, release: Release
) -> None:
    """Give a VM a NIC; one that it has already is put on its network.

    Raises WrongState where the VM must be off for it.
    """
    name = machine.cloudstack_name
    nic = wish.nic
    what = f"plug NIC {nic.mac} into VM {name}"
    states = await read_adapters(client, machine)
    present = next((state for state in states if state.adapter.mac == nic.mac), None)
    if present is not None:
        await replug_adapter(client, machine, present, wish)
        return
    devices = await read_devices(client, machine.guid, name)
    _require_hot(machine, devices, release, what)
    if len(states) >= release.most_adapters:
        raise WrongState(f"{what}: the VM has {len(states)} NICs, no more are possible")
    identifier = device_identifier(_uuid_of(machine), "nic", nic.device_id)
    if any(state.adapter.identifier == identifier for state in states):
        raise WrongState(f"{what}: the VM has another NIC with deviceId {nic.device_id}")
    patience = SETTLING
    async with UndoStack() as undo:
        undo.push(
            f"take NIC {nic.mac} out",
            lambda: _remove_new(client, machine, nic.mac, what, patience),
        )
        try:
            path = await _add(client, machine, data.adapter(nic, identifier), what)
        except HypervisorError as error:
            patience = 0.0 if failed_by_host(error) else SETTLING
            raise
        patience = 0.0
        loose = AdapterWish(replace(nic, connected=False), wish.switch)
        connection = await _add(client, machine, data.parented(data.connection(loose), path), what)
        step = port_step(without_unknown_rules(wish, release))
        if step.required or step.optional:
            await port_features.set_features(
                client, connection, required=step.required, optional=step.optional, what=what
            )
        if nic.vlan is not None:
            await port_features.verify_vlans(client, machine.guid, {connection: nic.vlan}, name)
        if nic.connected:
            change = data.changed_connection(
                connection.key("InstanceID") or "", connected=True, switch=None
            )
            await call(
                client,
                MANAGEMENT_SERVICE,
                "ModifyResourceSettings",
                {"ResourceSettings": [change]},
                what=what,
            )
        undo.commit()


async def unplug_adapter(client: CimClient, machine: Machine, mac: str, release: Release) -> bool:
    """Take a NIC out of a VM; False if the VM does not have it."""
    name = machine.cloudstack_name
    what = f"unplug NIC {mac} from VM {name}"
    devices = await read_devices(client, machine.guid, name)
    adapter = next((adapter for adapter in devices.adapters if adapter.mac == mac), None)
    if adapter is None:
        return False
    _require_hot(machine, devices, release, what)
    await _remove(client, adapter.path, what)
    return True


async def replug_adapter(
    client: CimClient, machine: Machine, state: AdapterState, wish: AdapterWish
) -> None:
    """Put a NIC that the VM has on another network, with that one's rate."""
    what = f"reconnect NIC {wish.nic.mac} of VM {machine.cloudstack_name}"
    await reconnect_adapter(
        client,
        state,
        connected=wish.nic.connected,
        vlan=wish.nic.vlan,
        switch=wish.switch,
        what=what,
    )
    if state.adapter.connection is not None:
        await port_features.change_limit(
            client, state.adapter.connection.path, wish.nic.limit, what
        )


def _require_hot(machine: Machine, devices: Devices, release: Release, what: str) -> None:
    if machine.state == EnabledState.DISABLED:
        return
    if devices.generation == 1 or not release.has_hot_adapters:
        reason = (
            "a generation 1 VM"
            if devices.generation == 1
            else "this release of Windows (needs 2016)"
        )
        raise WrongState(
            f"{what}: {reason} gets and loses NICs only while it is off; stop it first"
        )


def _uuid_of(machine: Machine) -> str:
    if machine.ownership is None:
        raise HypervisorError(f"VM {machine.element_name} is not ours")
    return machine.ownership.uuid


async def _remove_new(
    client: CimClient, machine: Machine, mac: str, what: str, patience: float
) -> None:
    """Undo: take out a NIC, which may take a moment to show."""
    pace = power.Pace.for_seconds(patience)
    while True:
        devices = await read_devices(client, machine.guid, machine.cloudstack_name)
        found = [adapter for adapter in devices.adapters if adapter.mac == mac]
        for adapter in found:
            await _remove(client, adapter.path, what)
        if found or not await pace.next():
            return


async def _remove(client: CimClient, path: ObjectPath, what: str) -> None:
    await call(
        client,
        MANAGEMENT_SERVICE,
        "RemoveResourceSettings",
        {"ResourceSettings": [path]},
        what=what,
    )


async def _add(
    client: CimClient, machine: Machine, settings: EmbeddedInstance, what: str
) -> ObjectPath:
    result = await call(
        client,
        MANAGEMENT_SERVICE,
        "AddResourceSettings",
        {"AffectedConfiguration": machine.settings_path, "ResourceSettings": [settings]},
        what=what,
    )
    paths = result.paths("ResultingResourceSettings")
    if len(paths) != 1:
        raise HypervisorError(f"{what}: the host does not say what it added")
    return paths[0]
