"""`cloudstack-hyperv run`: doors open, commands served, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import structlog

from cloudstack_hyperv.cli.assembly import resources
from cloudstack_hyperv.cli.emulated_run import emulated_settings
from cloudstack_hyperv.config import ConfigurationError, Settings, load_settings
from cloudstack_hyperv.doors.direct.server import DirectDoor, DoorCannotOpen
from cloudstack_hyperv.observe import configure_logs

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
    async with emulated_settings(settings) as with_emulated_host:
        return await _serve(with_emulated_host)


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with resources(settings) as hosts:
        if not settings.direct.enabled:
            raise ConfigurationError("every door is closed: set direct.enabled = true")
        door = DirectDoor(hosts, settings.direct, settings.state_path())
        try:
            listening = await door.start()
        except DoorCannotOpen as error:
            print(f"cloudstack-hyperv: {error}", file=sys.stderr)
            return 2
        for one in listening:
            log.info("direct door open", host=one.host, address=one.address, port=one.port)
        await stop.wait()
        log.info("stopping")
        await door.stop()
    return 0
