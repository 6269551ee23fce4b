"""`cloudstack-hyperv run`: doors open, commands served, until SIGTERM or SIGINT.

SIGHUP reads the configuration and the certificates anew: hosts, logins and allow-lists change while
commands run.  What cannot be taken over (it does not parse, an address is missing) leaves the old
configuration in force and says so.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from cloudstack_hyperv.cli.assembly import Part, payload_resource
from cloudstack_hyperv.cli.fleet import Fleet
from cloudstack_hyperv.config import (
    ConfigurationError,
    ExtensionDoorSettings,
    Settings,
    load_settings,
)
from cloudstack_hyperv.doors.agent.door import AgentDoor
from cloudstack_hyperv.doors.direct.server import DirectDoor, DoorCannotOpen
from cloudstack_hyperv.doors.extension.door import ExtensionDoor, ExtensionDoorCannotOpen
from cloudstack_hyperv.doors.extension.hosts import ExtensionHosts
from cloudstack_hyperv.observe import configure_logs
from cloudstack_hyperv.service.notify import Notifier

log = structlog.get_logger(__name__)

Hook = Callable[[], None]


def serve(
    config: Path,
    *,
    emulated: bool,
    level: str | None = None,
    form: str | None = None,
    opened: Hook | None = None,
    take_stop: Callable[[Hook], None] | None = None,
) -> int:
    """Serve until told to stop; returns the exit status.

    `opened` is called when all doors are open; `take_stop` is given what makes the agent stop, from
    any thread, where no signals come.
    """
    try:
        settings = load_settings(config) if config.exists() or not emulated else Settings()
        configure_logs(level or settings.log.level, form or settings.log.format)
        if not settings.hosts and not emulated and not _serves_any_host(settings):
            print(
                f"{config}: no [[hosts]] are configured. Describe at least one Hyper-V host, or "
                "try 'cloudstack-hyperv run --emulated' or 'cloudstack-hyperv demo'.",
                file=sys.stderr,
            )
            return 2
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            log.warning("the agent runs as root, which it does not need: see service install")
        return asyncio.run(_serve(config, settings, emulated, opened, take_stop))
    except (ConfigurationError, DoorCannotOpen, ExtensionDoorCannotOpen, ValueError) as error:
        print(f"cloudstack-hyperv: {error}", file=sys.stderr)
        return 2


def _serves_any_host(settings: Settings) -> bool:
    extension = settings.extension
    return extension is not None and extension.enabled and extension.any_host


async def _serve(
    config: Path,
    settings: Settings,
    emulated: bool,
    opened: Hook | None,
    take_stop: Callable[[Hook], None] | None,
) -> int:
    if not emulated:
        await Agent(settings, config).run(opened, take_stop)
        return 0
    # Imported only here: an agent for real hosts has no emulation in its process at all.
    from cloudstack_hyperv.cli.emulated_run import emulated_settings

    async with emulated_settings(settings) as with_emulated_host:
        await Agent(with_emulated_host, None).run(opened, take_stop)
    return 0


class Agent:
    """All doors of one agent, over one fleet of hosts."""

    def __init__(self, settings: Settings, config: Path | None) -> None:
        """Assemble; `config` is read at SIGHUP.  Raises ConfigurationError."""
        self._config = config
        self._fleet = Fleet(settings)
        self._notifier = Notifier()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()
        self._agents: AgentDoor | None = None
        self._direct: DirectDoor | None = None
        self._extension: ExtensionDoor | None = None
        self._extension_hosts: ExtensionHosts | None = None

    async def run(
        self, opened: Hook | None = None, take_stop: Callable[[Hook], None] | None = None
    ) -> None:
        """Open the doors and serve until told to stop; raises DoorCannotOpen and its likes."""
        self._listen_to_signals(take_stop)
        try:
            await self._open()
            self._notifier.ready(self._status())
            if opened is not None:
                opened()
            await self._until_stopped()
            log.info("stopping")
            self._notifier.stopping(self._fleet.settings.direct.drain_timeout)
        finally:
            await self._close()

    def _listen_to_signals(self, take_stop: Callable[[Hook], None] | None) -> None:
        loop = asyncio.get_running_loop()
        if take_stop is not None:

            def stop() -> None:
                loop.call_soon_threadsafe(self._stop.set)

            take_stop(stop)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)

    async def _open(self) -> None:
        settings, hosts = self._fleet.settings, self._fleet.resources
        if settings.agent is not None and settings.agent.enabled:
            self._agents = AgentDoor(hosts, settings)
        if settings.extension is not None and settings.extension.enabled:
            self._extension = self._extension_door(settings, settings.extension)
        if settings.direct.enabled and hosts:
            servers = settings.agent.servers if settings.agent is not None else ()
            self._direct = DirectDoor(
                hosts, settings.direct, settings.state_path(), management_servers=servers
            )
        if self._agents is None and self._direct is None and self._extension is None:
            raise ConfigurationError(
                "every door is closed: set direct.enabled = true, or describe [agent] or "
                "[extension]"
            )
        if self._direct is not None:
            for one in await self._direct.start():
                log.info("direct door open", host=one.host, address=one.address, port=one.port)
        if self._extension is not None:
            log.info("extension door open", socket=str(await self._extension.start()))
        if self._agents is not None:
            self._agents.start()

    def _extension_door(self, settings: Settings, door: ExtensionDoorSettings) -> ExtensionDoor:
        self._extension_hosts = ExtensionHosts(
            self._fleet.resources, settings, payload_resource, any_host=door.any_host
        )
        return ExtensionDoor(self._extension_hosts, door)

    async def _until_stopped(self) -> None:
        stop = asyncio.create_task(self._stop.wait())
        while not self._stop.is_set():
            again = asyncio.create_task(self._reload.wait())
            await asyncio.wait((stop, again), return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            if self._reload.is_set() and not self._stop.is_set():
                self._reload.clear()
                self._notifier.reloading()
                await self._take_over()
                self._notifier.ready(self._status())

    async def _take_over(self) -> None:
        """Read the configuration anew; what is wrong with it is logged and changes nothing."""
        if self._config is None:
            log.warning("an emulated host's configuration is not read anew")
            return
        try:
            settings = load_settings(self._config)
            if not settings.hosts and not _serves_any_host(settings):
                raise ConfigurationError(f"{self._config}: no [[hosts]] are configured")
            retired = self._fleet.use(settings)
        except ConfigurationError as error:
            log.error("the old configuration stays in force", reason=str(error))  # noqa: TRY400 - the reason says all
            return
        resources = self._fleet.resources
        if self._extension_hosts is not None:
            self._extension_hosts.use(resources, settings)
        if self._direct is not None:
            try:
                for one in await self._direct.reload(resources, settings.direct):
                    log.info("direct door open", host=one.host, address=one.address, port=one.port)
            except DoorCannotOpen as error:
                log.error("the direct door stays as it was", reason=str(error))  # noqa: TRY400 - as above
        if self._agents is not None and retired:
            log.warning("connected agents of hosts that came, went or changed need a restart")
        for part in retired:
            task = asyncio.create_task(self._retire(part), name="retire a host")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, part: Part) -> None:
        """Close a host's connections once nothing runs on it any more."""
        if self._agents is not None:
            return  # Its agent goes on until the restart.
        if self._direct is not None:
            await self._direct.drained(part.resource.context.host.name)
        await part.close()

    async def _close(self) -> None:
        doors = (self._agents, self._direct, self._extension)
        await asyncio.gather(*(door.stop() for door in doors if door is not None))
        for task in tuple(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await self._fleet.close()
        await self._notifier.close()

    def _status(self) -> str:
        doors = [door for door in (self._agents, self._direct, self._extension) if door is not None]
        names = ", ".join(type(door).__name__ for door in doors)
        return f"serving {len(self._fleet.resources)} hosts by {names}"
