"""`cloudstack-hyperv emulate --hosts N [--cluster]`: several emulated hosts in one process.

Each has a folder of its own below the given one and a port of its own: the given one and those that
follow, or free ones for 0.  All have one administrator.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from cloudstack_hyperv.cli.emulate import (
    EmulateOptions,
    EmulateRefused,
    Guests,
    RunningHost,
    check_options,
    host_config,
    serve_host,
    stop_signal,
    virtual_clock,
)
from cloudstack_hyperv.emulator.host.fleet import Fleet, FleetPlan, plan_fleet
from cloudstack_hyperv.observe import configure_logs

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What joins the hosts."""

    hosts: int
    cluster: bool = False
    domain: str = "hyperv.example"
    delegation: bool = True


async def emulate_fleet(options: EmulateOptions, fleet: FleetOptions) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    configure_logs(options.log_level, "json" if not sys.stderr.isatty() else "text")
    stop: asyncio.Event = stop_signal()
    try:
        async with running_emulated_fleet(options, fleet) as hosts:
            for host in hosts:
                log.info(
                    "emulated host listening",
                    name=host.name,
                    release=options.release,
                    address=options.address,
                    port=host.port,
                    user=host.user,
                    folder=str(options.folder / host.name.lower()),
                    control_port=host.control_port,
                )
            log.info("emulated fleet complete", hosts=len(hosts), cluster=fleet.cluster)
            await stop.wait()
    except EmulateRefused as error:
        print(f"cloudstack-hyperv emulate: {error}", file=sys.stderr)
        return 2
    return 0


@asynccontextmanager
async def running_emulated_fleet(
    options: EmulateOptions, fleet: FleetOptions
) -> AsyncIterator[list[RunningHost]]:
    """Run emulated hosts for the block; raises EmulateRefused."""
    _check_fleet(options, fleet)
    password = check_options(options)
    clock = virtual_clock(options) if options.virtual_time else None
    built = Fleet(_plan(options, fleet), clock)
    async with AsyncExitStack() as stack:
        stack.callback(built.close, keep_running=options.keep_running)
        running = [
            await serve_host(
                _of_host(options, number, host.name), host, password, clock, stack, credssp=True
            )
            for number, host in enumerate(built)
        ]
        yield running


def _check_fleet(options: EmulateOptions, fleet: FleetOptions) -> None:
    if fleet.cluster and fleet.hosts < 2:
        raise EmulateRefused("--cluster needs --hosts 2 or more")
    if fleet.cluster and options.release == "client-11":
        raise EmulateRefused("--cluster: a client release has no failover clustering")
    if options.guests is Guests.QEMU:
        raise EmulateRefused("--guests qemu is for one host: real guests cannot migrate")


def _plan(options: EmulateOptions, fleet: FleetOptions) -> FleetPlan:
    return plan_fleet(
        options.folder.resolve(),
        fleet.hosts,
        template=host_config(options),
        prefix=options.name.rstrip("0123456789") or "HYPERV",
        domain=fleet.domain,
        cluster=fleet.cluster,
        delegate=fleet.delegation,
    )


def _of_host(options: EmulateOptions, number: int, name: str) -> EmulateOptions:
    """Return the options of one host: its own ports and file of calls."""
    control = options.control_port
    return replace(
        options,
        name=name,
        port=options.port + number if options.port else 0,
        control_port=control + number if control else control,
        calls=_beside(options.calls, name) if options.calls is not None else None,
    )


def _beside(file: Path, name: str) -> Path:
    return file.with_name(f"{file.stem}-{name.lower()}{file.suffix}")
