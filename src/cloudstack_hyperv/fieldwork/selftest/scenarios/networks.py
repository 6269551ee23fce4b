"""A private switch of the self-test's own."""

from __future__ import annotations

from cloudstack_hyperv.fieldwork.selftest.expectations import Findings, Source
from cloudstack_hyperv.fieldwork.selftest.stage import SWITCH_SERVICE, Stage, remove_switch
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.switches import SwitchKind, VirtualSwitch, list_switches
from cloudstack_hyperv.wsman import EmbeddedInstance


async def play_switch(stage: Stage, findings: Findings) -> None:
    """Make a switch that connects nothing but the self-test's machines."""
    name = stage.names.name
    stage.undo.push(f"remove switch {name}", lambda: _remove(stage))
    settings = EmbeddedInstance(
        "Msvm_VirtualEthernetSwitchSettingData",
        {"ElementName": name, "Notes": ["made by cloudstack-hyperv selftest"]},
    )
    result = await call(
        stage.client,
        SWITCH_SERVICE,
        "DefineSystem",
        {"SystemSettings": settings},
        what=f"make switch {name}",
    )
    path = result.out.path("ResultingSystem")
    stage.switch = await _find(stage)
    if stage.switch is None:
        raise HypervisorError(f"the host does not show switch {name}")
    findings.expect(
        "ResultingSystem names the new switch",
        Source.RECORDED,
        stage.switch.guid,
        None if path is None else path.key("Name"),
    )
    findings.expect(
        "Name is a GUID in capitals", Source.RECORDED, stage.switch.guid.upper(), stage.switch.guid
    )
    findings.expect(
        "a switch without ports of its own is private",
        Source.DOCUMENTED,
        SwitchKind.PRIVATE,
        stage.switch.kind,
    )


async def _find(stage: Stage) -> VirtualSwitch | None:
    switches = await list_switches(stage.client)
    return next((switch for switch in switches if switch.name == stage.names.name), None)


async def _remove(stage: Stage) -> None:
    switch = await _find(stage)
    if switch is not None:
        await remove_switch(stage.client, switch)
