"""A generation 2 machine (2012 R2 and later): no controllers but ours, boot order, hot plugging."""

from __future__ import annotations

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.fieldwork.selftest import scratch_machines
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Source
from cloudstack_hyperv.fieldwork.selftest.scenarios.disks import SIZE
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor import images, power
from cloudstack_hyperv.hypervisor.devices import read_devices
from cloudstack_hyperv.hypervisor.plugging import plug_adapter, unplug_adapter
from cloudstack_hyperv.hypervisor.wish import AdapterWish, Bus


async def play_define(stage: Stage, findings: Findings) -> None:
    """Define it and start it."""
    await images.create_disk(stage.client, stage.path("root2.vhdx"), SIZE)
    wish = scratch_machines.second_generation(stage)
    guid, _ = await scratch_machines.define(stage, wish)
    devices = await read_devices(stage.client, guid, wish.name)
    findings.expect(
        "controllers are only those that were added",
        Source.CLIENT_CODE,
        (Bus.SCSI,),
        tuple(controller.bus for controller in devices.controllers),
    )
    findings.expect(
        "drives",
        Source.DOCUMENTED,
        tuple(f"{drive.kind} {drive.address}" for drive in wish.drives),
        tuple(f"{drive.kind} {drive.address}" for drive in devices.drives),
    )
    await power.turn_on(stage.client, guid, wish.name)
    findings.expect(
        "EnabledState",
        Source.DOCUMENTED,
        int(EnabledState.ENABLED),
        await power.read_state(stage.client, guid),
    )


async def play_hot_adapter(stage: Stage, findings: Findings) -> None:
    """Give the running machine a NIC, and take it out (2016 and later)."""
    machine = await stage.machine(scratch_machines.SECOND)
    mac = stage.names.mac(3)
    wish = AdapterWish(scratch_machines.plain_nic(stage, 1, 3), stage.switch)
    await plug_adapter(stage.client, machine, wish, stage.release)
    devices = await read_devices(stage.client, machine.guid, machine.element_name)
    plugged = next((adapter for adapter in devices.adapters if adapter.mac == mac), None)
    findings.expect_true(
        "the new NIC is connected",
        Source.DOCUMENTED,
        plugged is not None and plugged.connection is not None and plugged.connection.connected,
    )
    findings.expect_true(
        "taking it out",
        Source.DOCUMENTED,
        await unplug_adapter(stage.client, machine, mac, stage.release),
    )


async def play_destroy(stage: Stage, findings: Findings) -> None:
    """Turn it off and remove it."""
    machine = await stage.machine(scratch_machines.SECOND)
    await power.turn_off(stage.client, machine.guid, machine.element_name)
    await power.destroy(stage.client, machine.guid, machine.element_name)
    findings.expect(
        "the machine after DestroySystem",
        Source.DOCUMENTED,
        None,
        await power.read_state(stage.client, machine.guid),
    )
