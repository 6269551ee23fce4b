"""NICs of a VM that exists: how they are connected, and changing that while it runs.

The order of NICs is the guest's: CloudStack's Hyper-V plug-in counts positions in the answer and
calls the NIC at position 3 `eth3`.  Sources: CloudStack's HypervDirectConnectResource
(`getVmNics`, `getVmFreeNicIndex`, `modifyNicVlan`); Microsoft,
"Msvm_EthernetPortAllocationSettingData".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import Adapter, read_devices
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE, Machine
from cloudstack_hyperv.hypervisor.port_features import (
    change_vlan,
    port_vlan_of_row,
    read_vlans,
    vlan_row,
)
from cloudstack_hyperv.hypervisor.switches import VirtualSwitch
from cloudstack_hyperv.hypervisor.undo import UndoStack
from cloudstack_hyperv.network import PortVlan
from cloudstack_hyperv.wsman.api import CimClient, Instance


class AdapterNotFound(HypervisorError):
    """The VM has no such NIC."""


@dataclass(frozen=True, slots=True)
class AdapterState:
    """A NIC as it is now."""

    adapter: Adapter
    vlan: PortVlan | None
    vlan_setting: Instance | None

    @property
    def connected(self) -> bool:
        """Whether the NIC is on a switch with its cable in."""
        connection = self.adapter.connection
        return connection is not None and connection.connected


async def read_adapters(client: CimClient, machine: Machine) -> tuple[AdapterState, ...]:
    """Read the VM's NICs in the guest's order: two round trips side by side."""
    name = machine.cloudstack_name
    devices, vlans = await asyncio.gather(
        read_devices(client, machine.guid, name), read_vlans(client, machine.guid, name)
    )
    states = []
    for adapter in devices.adapters:
        row = vlan_row(vlans, adapter.connection.path) if adapter.connection else None
        states.append(AdapterState(adapter, port_vlan_of_row(row), row))
    return tuple(states)


def adapter_by_mac(states: Sequence[AdapterState], mac: str) -> AdapterState:
    """Return the NIC with a MAC address (twelve hex digits, upper case)."""
    for state in states:
        if state.adapter.mac == mac:
            return state
    raise AdapterNotFound(f"the VM has no NIC with the MAC address {mac}")


def adapter_by_position(states: Sequence[AdapterState], position: int) -> AdapterState:
    """Return the NIC at a position, 0 for the first."""
    if not 0 <= position < len(states):
        raise AdapterNotFound(f"the VM has {len(states)} NICs, none at position {position}")
    return states[position]


async def reconnect_adapter(
    client: CimClient,
    state: AdapterState,
    *,
    connected: bool,
    vlan: PortVlan | None,
    switch: VirtualSwitch | None,
    what: str,
) -> None:
    """Set a NIC's VLAN and cable; `switch` None keeps its switch.

    A NIC is never on a network with the wrong tag: it is tagged before its cable goes in, and on
    another switch its cable is out meanwhile.  Nothing is sent for what is already so.
    """
    connection = state.adapter.connection
    if connection is None:
        raise AdapterNotFound(f"{what}: the NIC has no connection to change")
    moves = switch is not None and not _same_switch(connection.switch, switch)
    if connected and switch is None and connection.switch is None:
        raise HypervisorError(f"{what}: the NIC is on no switch and the command names none")
    async with UndoStack() as undo:
        if state.connected and (moves or not connected):
            await _set(client, state, connected=False, switch=None, what=what)
            if connected:
                undo.push(
                    "put the cable back",
                    lambda: _set(client, state, connected=True, switch=None, what=what),
                )
        await change_vlan(client, connection.path, state.vlan_setting, vlan, what)
        if connected and (moves or not state.connected):
            undo.commit()
            path = switch.path if switch is not None and moves else None
            await _set(client, state, connected=True, switch=path, what=what)
        undo.commit()


async def restore_network(
    client: CimClient, state: AdapterState, wanted: AdapterState | None, what: str
) -> None:
    """Put a NIC on the network that it was on; None: on none, its cable is pulled.

    Going back to a checkpoint brings back the NICs' networks of that time, which are other
    tenants' by now for all that anybody knows.
    """
    connection = state.adapter.connection
    if connection is None:
        return
    before = wanted.adapter.connection if wanted is not None else None
    if wanted is None or before is None:
        if state.connected:
            await _set(client, state, connected=False, switch=None, what=what)
        return
    same_switch = (connection.switch or "").casefold() == (before.switch or "").casefold()
    if same_switch and state.vlan == wanted.vlan and connection.enabled == before.enabled:
        return
    if state.connected:
        await _set(client, state, connected=False, switch=None, what=what)
    await change_vlan(client, connection.path, state.vlan_setting, wanted.vlan, what)
    switch = None if same_switch or before.switch is None else ObjectPath.parse(before.switch)
    await _set(client, state, connected=before.enabled, switch=switch, what=what)


async def _set(
    client: CimClient,
    state: AdapterState,
    *,
    connected: bool,
    switch: ObjectPath | None,
    what: str,
) -> None:
    connection = state.adapter.connection
    if connection is None:
        raise AdapterNotFound(f"{what}: the NIC has no connection to change")
    change = data.changed_connection(
        connection.path.key("InstanceID") or "",
        connected=connected,
        switch=switch,
    )
    await call(
        client,
        MANAGEMENT_SERVICE,
        "ModifyResourceSettings",
        {"ResourceSettings": [change]},
        what=what,
    )


def _same_switch(present: str | None, switch: VirtualSwitch) -> bool:
    return present is not None and switch.guid.casefold() in present.casefold()
