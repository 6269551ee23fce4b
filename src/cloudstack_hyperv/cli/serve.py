"""`cloudstack-hyperv run`: doors open, commands served, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import structlog

from cloudstack_hyperv.cli.assembly import resources
from cloudstack_hyperv.config import ConfigurationError, Settings, load_settings
from cloudstack_hyperv.doors.agent.door import AgentDoor
from cloudstack_hyperv.doors.direct.server import DirectDoor, DoorCannotOpen
from cloudstack_hyperv.observe import configure_logs
from cloudstack_hyperv.resource.resource import Resource

log = structlog.get_logger(__name__)


def serve(
    config: Path, *, emulated: bool, level: str | None = None, form: str | None = None
) -> int:
    """Serve until told to stop; returns the exit status."""
    try:
        settings = load_settings(config) if config.exists() or not emulated else Settings()
        configure_logs(level or settings.log.level, form or settings.log.format)
        if emulated:
            return asyncio.run(_serve_emulated(settings))
        if not settings.hosts:
            print(
                f"{config}: no [[hosts]] are configured. Describe at least one Hyper-V host, or "
                "try 'cloudstack-hyperv run --emulated' or 'cloudstack-hyperv demo'.",
                file=sys.stderr,
            )
            return 2
        return asyncio.run(_serve(settings))
    except (ConfigurationError, ValueError) as error:
        print(f"cloudstack-hyperv: {error}", file=sys.stderr)
        return 2


async def _serve_emulated(settings: Settings) -> int:
    # Imported only here: an agent for real hosts has no emulation in its process at all.
    from cloudstack_hyperv.cli.emulated_run import emulated_settings

    async with emulated_settings(settings) as with_emulated_host:
        return await _serve(with_emulated_host)


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with resources(settings) as hosts:
        agents = _agent_door(hosts, settings)
        direct = _direct_door(hosts, settings)
        if agents is None and direct is None:
            raise ConfigurationError(
                "every door is closed: set direct.enabled = true or describe [agent]"
            )
        if direct is not None:
            try:
                listening = await direct.start()
            except DoorCannotOpen as error:
                print(f"cloudstack-hyperv: {error}", file=sys.stderr)
                return 2
            for one in listening:
                log.info("direct door open", host=one.host, address=one.address, port=one.port)
        try:
            if agents is not None:
                agents.start()
            await stop.wait()
            log.info("stopping")
        finally:
            doors = [door.stop() for door in (agents, direct) if door is not None]
            await asyncio.gather(*doors)
    return 0


def _direct_door(hosts: list[Resource], settings: Settings) -> DirectDoor | None:
    if not settings.direct.enabled:
        return None
    return DirectDoor(hosts, settings.direct, settings.state_path())


def _agent_door(hosts: list[Resource], settings: Settings) -> AgentDoor | None:
    if settings.agent is None or not settings.agent.enabled:
        return None
    return AgentDoor(hosts, settings)
