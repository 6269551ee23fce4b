"""Is the host there, and is it fit: Ready, Setup, CheckHealth, pings, maintenance, CheckOnHost.

A gateway outlives its hosts, so none of these may be answered from memory: each makes a fresh round
trip.  ReadyCommand is also the probe that addHost sends before anything else is known of the
host; if it were answered true without login and v2 namespace, addHost would succeed and fail later.

Sources: HypervServerDiscoverer (probe, SetupCommand), AgentManagerImpl (CheckHealth ends an
investigation), HypervInvestigator (CheckOnHost: any answer but true means Up).
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from cloudstack_hyperv.hypervisor.errors import HypervisorError, translated
from cloudstack_hyperv.hypervisor.inventory import (
    check_management_service,
    read_migration_settings,
)
from cloudstack_hyperv.hypervisor.switches import SwitchKind, VirtualSwitch
from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.host import (
    CheckHealthAnswer,
    CheckOnHostAnswer,
    MaintainAnswer,
    ReadyAnswer,
    SetupAnswer,
)
from cloudstack_hyperv.messages.commands.host import (
    CheckHealthCommand,
    CheckOnHostCommand,
    MaintainCommand,
    PingCommand,
    PingRoutingCommand,
    ReadyCommand,
    SetupCommand,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.known_switches import known_switches
from cloudstack_hyperv.resource.registry import handles

log = structlog.get_logger(__name__)

PING_TIMEOUT: Final = 20.0
"""Seconds: CloudStack pings every 60 and a slow answer holds one of its threads."""


@handles(ReadyCommand, page="Phase 1: host life cycle")
async def ready(command: ReadyCommand, context: HostContext) -> ReadyAnswer:
    """True only if WS-Man, login, v2 namespace and VMMS work; `_details` is MS's refusal."""
    if command.refusal:
        log.error("the management server refuses this host", reason=command.refusal)
    await check_management_service(context.cim)
    return ReadyAnswer(result=True)


@handles(SetupCommand)
async def setup(_command: SetupCommand, context: HostContext) -> SetupAnswer:
    """Check what CloudStack will need later and warn; only an unreachable host fails.

    `_reconnect` true would make the server drop the connection and begin anew.
    """
    migration, switches = await asyncio.gather(
        read_migration_settings(context.cim), known_switches(context, refresh=True)
    )
    warnings = _switch_warnings(switches)
    if migration is None or not migration.enabled:
        warnings.append("live migration is not enabled on the host (Enable-VMMigration)")
    for warning in warnings:
        log.warning("host set-up", warning=warning)
    return SetupAnswer(result=True, reconnect=False, details="; ".join(warnings) or None)


@handles(CheckHealthCommand, page="Phase 1: host monitoring")
async def check_health(_command: CheckHealthCommand, context: HostContext) -> CheckHealthAnswer:
    """True ends the investigation of a lost host with Up: only after a fresh round trip."""
    await check_management_service(context.cim)
    return CheckHealthAnswer(result=True, details="the host's Hyper-V management service answers")


@handles(MaintainCommand)
async def maintain(_command: MaintainCommand, _context: HostContext) -> MaintainAnswer:
    """Let CloudStack migrate the VMs away.

    Nothing is changed on the host: no command tells the end of maintenance, MS just reconnects.
    """
    return MaintainAnswer(result=True, will_migrate=True)


@handles(PingRoutingCommand, page="Phase 1: host monitoring")
@handles(PingCommand)
async def ping(_command: PingCommand, context: HostContext) -> Answer:
    """True if the host answers WS-Man now; a gateway that always said so would hide dead hosts."""
    with translated("ping the host"):
        await context.cim.identify(timeout=PING_TIMEOUT)
    return Answer(result=True)


@handles(CheckOnHostCommand)
async def check_on_host(command: CheckOnHostCommand, context: HostContext) -> CheckOnHostAnswer:
    """Say of *another* host whether it is down: nothing is known of it here, so not dead.

    `result` true makes CloudStack take the other host for Down and release its VMs' resources.
    """
    network = command.host.private_network if command.host is not None else None
    address = network.ip if network is not None else "unknown"
    try:
        await check_management_service(context.cim)
    except HypervisorError as error:
        details = f"this neighbour does not answer either: {error}"
    else:
        details = "no shared storage with a heartbeat tells anything of it"
    return CheckOnHostAnswer(
        result=False,
        determined=False,
        alive=False,
        details=f"the state of host {address} cannot be determined: {details}",
    )


def _switch_warnings(switches: tuple[VirtualSwitch, ...]) -> list[str]:
    if not switches:
        return ["the host has no virtual switch: no VM can have a network"]
    if not any(switch.kind is SwitchKind.EXTERNAL for switch in switches):
        return ["the host has no external virtual switch: VMs reach nothing beyond it"]
    return []
