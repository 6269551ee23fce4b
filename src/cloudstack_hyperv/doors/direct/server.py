"""The direct HTTPS door: listeners, who may call, and changes while it is open.

The management server authenticates nothing on this door, so only listed addresses are served, and
each Hyper-V host has a listening address (or port, behind a redirect) of its own: the address *is*
the host's name here.  What is said over a connection is `requests`, what runs is `runs`.

`reload` takes over another list of hosts, other allow-lists and renewed certificates while commands
run: a listener that stays where it is stays open, and no command is broken off.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from cloudstack_hyperv.config import DirectDoorSettings
from cloudstack_hyperv.doors.direct.addresses import (
    DoorCannotOpen,
    Place,
    check_places,
    is_in,
    networks,
    place_of,
    why_not,
)
from cloudstack_hyperv.doors.direct.certificate import (
    own_certificate,
    require_client_certificates,
    server_context,
)
from cloudstack_hyperv.doors.direct.console import ConsoleForward
from cloudstack_hyperv.doors.direct.guard import ConnectionGuard
from cloudstack_hyperv.doors.direct.requests import respond, text
from cloudstack_hyperv.doors.direct.runs import CommandRuns
from cloudstack_hyperv.resource.resource import Resource

__all__ = ["DirectDoor", "DoorCannotOpen", "Listening"]

log = structlog.get_logger(__name__)

UNDO_PATIENCE: Final = 30.0
"""Seconds that a stop waits for what it broke off to be undone."""
_BODY_ROOM: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Listening:
    """One open listener."""

    host: str
    address: str
    port: int


@dataclass(slots=True, eq=False)
class _Listener:
    """What is open for one host."""

    resource: Resource
    place: Place
    server: asyncio.Server
    handler: web.Server
    console: ConsoleForward | None = None

    @property
    def listening(self) -> Listening:
        """Its name, address and port."""
        port: int = self.server.sockets[0].getsockname()[1]
        return Listening(self.resource.context.host.name, self.place.address, port)

    async def close(self) -> None:
        """Close the listener and its connections: call it when no command runs any more."""
        self.server.close()
        if self.console is not None:
            await self.console.stop()
        await self.handler.shutdown(timeout=5)


class DirectDoor:
    """Serves any number of Hyper-V hosts, one listening address each."""

    def __init__(
        self,
        resources: Sequence[Resource],
        settings: DirectDoorSettings,
        state_folder: Path,
        *,
        management_servers: Sequence[str] = (),
    ) -> None:
        """Prepare; `management_servers` are addresses that cannot be a host's."""
        self._resources = tuple(resources)
        self._settings = settings
        self._state_folder = state_folder
        self._management_servers = tuple(management_servers)
        self._allowed = networks(settings.allow)
        self._runs = CommandRuns(settings.default_wait)
        self._listeners: dict[str, _Listener] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._tls: ssl.SSLContext | None = None
        self._stopping = False

    async def start(self) -> list[Listening]:
        """Open one listener a host; raises DoorCannotOpen and leaves none open."""
        places = self._checked_places(self._resources, self._settings)
        self._tls = self._tls_context(places)
        try:
            for resource, place in zip(self._resources, places, strict=True):
                await self._open(resource, place)
        except BaseException:
            await self.stop(drain=0)
            raise
        return [listener.listening for listener in self._listeners.values()]

    async def reload(
        self, resources: Sequence[Resource], settings: DirectDoorSettings
    ) -> list[Listening]:
        """Serve these hosts from now on, by these settings, and return what is open.

        Raises DoorCannotOpen: then the old ones are served on, but for what could not be opened.
        Commands under way end with the resource that they began with.
        """
        places = self._checked_places(resources, settings)
        self._renew_certificate(settings, places)
        if settings.client_ca != self._settings.client_ca:
            log.warning("direct.client_ca changes with the next restart")
        self._resources, self._settings = tuple(resources), settings
        self._allowed = networks(settings.allow)
        self._runs.default_wait = settings.default_wait
        wanted = {
            resource.context.host.name: (resource, place)
            for resource, place in zip(resources, places, strict=True)
        }
        for name in list(self._listeners):
            listener = self._listeners[name]
            if name in wanted and wanted[name][1] == listener.place:
                listener.resource = wanted[name][0]
                if listener.console is not None:
                    listener.console.allow(networks(settings.console_allow))
            else:
                self._close_later(self._listeners.pop(name))
        for name, (resource, place) in wanted.items():
            if name not in self._listeners:
                await self._open(resource, place)
        return [listener.listening for listener in self._listeners.values()]

    async def drained(self, host: str) -> None:
        """Wait until no command runs on a host of this name, as long as a stop would."""
        await self._runs.drained(host, self._runs.default_wait + UNDO_PATIENCE)

    async def stop(self, drain: float | None = None) -> None:
        """Take no new commands, let running ones end within `drain` seconds, close."""
        self._stopping = True
        for listener in self._listeners.values():
            listener.server.close()
        limit = self._settings.drain_timeout if drain is None else drain
        await self._runs.stop(limit, UNDO_PATIENCE)
        for task in tuple(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await asyncio.gather(*(listener.close() for listener in self._listeners.values()))
        self._listeners.clear()

    def __repr__(self) -> str:
        return f"DirectDoor({len(self._listeners)} listeners, {len(self._runs)} commands running)"

    def _checked_places(
        self, resources: Sequence[Resource], settings: DirectDoorSettings
    ) -> list[Place]:
        if not settings.allow:
            raise DoorCannotOpen(
                "direct.allow is empty: list the management servers' addresses; this door "
                "authenticates nobody, so it serves nobody until told whom"
            )
        hosts = [resource.context.host for resource in resources]
        places = [place_of(host, settings, len(hosts)) for host in hosts]
        check_places(list(zip(hosts, places, strict=True)), self._management_servers)
        return places

    def _tls_context(self, places: Sequence[Place]) -> ssl.SSLContext:
        try:
            context = server_context(*self._certificate(self._settings, places))
            if self._settings.client_ca is not None:
                require_client_certificates(context, Path(self._settings.client_ca))
            return context
        except OSError as error:
            raise DoorCannotOpen(f"the door's certificate cannot be used: {error}") from error

    def _renew_certificate(self, settings: DirectDoorSettings, places: Sequence[Place]) -> None:
        """Use what is in the certificate's files now for every handshake to come."""
        if self._tls is None:
            raise DoorCannotOpen("the door is not open")
        try:
            self._tls.load_cert_chain(*self._certificate(settings, places))
        except OSError as error:
            raise DoorCannotOpen(f"the door's certificate cannot be used: {error}") from error

    def _certificate(
        self, settings: DirectDoorSettings, places: Sequence[Place]
    ) -> tuple[Path, Path | None]:
        if settings.certificate is not None:
            return Path(settings.certificate), Path(settings.key) if settings.key else None
        addresses = [place.address for place in places]
        concrete = [a for a in addresses if not ipaddress.ip_address(a).is_unspecified]
        return own_certificate(self._state_folder, concrete)

    async def _open(self, resource: Resource, place: Place) -> None:
        settings, name = self._settings, resource.context.host.name

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            used = guard.request_started(request.transport)
            try:
                response = await self._respond(listener, request)
                if used >= settings.requests_per_connection:
                    response.force_close()
                return response
            finally:
                guard.request_ended(request.transport)

        handler = web.Server(handle, access_log=None, keepalive_timeout=settings.keepalive_timeout)
        guard = ConnectionGuard(
            handler,
            header_timeout=settings.header_timeout,
            keepalive_timeout=settings.keepalive_timeout,
            most_connections=settings.connections,
            most_bytes=settings.max_body_bytes + _BODY_ROOM,
        )
        try:
            server = await asyncio.get_running_loop().create_server(
                guard,
                place.address,
                place.port,
                ssl=self._tls,
                ssl_handshake_timeout=settings.header_timeout,
                family=socket.AF_INET6 if ":" in place.address else socket.AF_INET,
            )
        except OSError as error:
            raise why_not(error, name, place) from error
        listener = _Listener(resource, place, server, handler)
        self._listeners[name] = listener
        if settings.forward_console:
            listener.console = await self._open_console(resource, place)

    async def _open_console(self, resource: Resource, place: Place) -> ConsoleForward:
        settings, host = self._settings, resource.context.host
        console = ConsoleForward(
            (host.winrm.address, settings.console_port),
            networks(settings.console_allow),
            settings.console_connections,
        )
        try:
            await console.start(place.address, settings.console_port)
        except OSError as error:
            raise why_not(error, host.name, Place(place.address, settings.console_port)) from error
        return console

    def _close_later(self, listener: _Listener) -> None:
        """Take no new connections now, and close the others when their commands have ended."""
        listener.server.close()

        async def close() -> None:
            await self.drained(listener.resource.context.host.name)
            await listener.close()

        task = asyncio.create_task(close(), name="close a listener")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _respond(self, listener: _Listener, request: web.BaseRequest) -> web.Response:
        peer = request.remote or "?"
        if not is_in(peer, self._allowed):
            log.warning("request refused: address not in direct.allow", peer=peer)
            return text(403, "this address is not in the agent's allow-list")
        if self._stopping:
            return text(503, "the agent is stopping")
        return await respond(request, listener.resource, self._runs, self._settings)
