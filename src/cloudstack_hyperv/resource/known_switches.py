"""The host's virtual switches between commands, in `HostMemory` under "virtual switches".

Switches change rarely and every NIC needs one, so the list is kept; a label that it does not
explain is looked up once more on the host before it counts as missing.  Which kind a switch is of
costs another round trip and only matters where no label is given, so it is read when it is needed.
"""

from __future__ import annotations

from cloudstack_hyperv.hypervisor.switches import (
    SwitchNotFound,
    VirtualSwitch,
    list_switch_names,
    list_switches,
    resolve_label,
)
from cloudstack_hyperv.resource.context import HostContext

_SWITCHES = "virtual switches"


async def known_switches(
    context: HostContext, *, refresh: bool = False
) -> tuple[VirtualSwitch, ...]:
    """Return the host's switches with their kinds; asks the host where they are not known."""
    switches = _remembered(context)
    if switches is None or refresh or any(switch.kind is None for switch in switches):
        switches = await list_switches(context.cim)
        context.memory.values[_SWITCHES] = switches
    return switches


def forget_switches(context: HostContext) -> None:
    """Drop the list: an operation that used it failed."""
    context.memory.values.pop(_SWITCHES, None)


async def switch_for(context: HostContext, label: str | None) -> VirtualSwitch:
    """Return the switch that a traffic label means; raises SwitchNotFound."""
    try:
        return resolve_label(await _switches_for(context, label), label)
    except SwitchNotFound:
        return resolve_label(await known_switches(context, refresh=True), label)


async def _switches_for(context: HostContext, label: str | None) -> tuple[VirtualSwitch, ...]:
    if not label:
        return await known_switches(context)
    switches = _remembered(context)
    if switches is None:
        switches = await list_switch_names(context.cim)
        context.memory.values[_SWITCHES] = switches
    return switches


def _remembered(context: HostContext) -> tuple[VirtualSwitch, ...] | None:
    switches: tuple[VirtualSwitch, ...] | None = context.memory.values.get(_SWITCHES)
    return switches
