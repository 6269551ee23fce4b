"""The direct HTTPS door: what a stock 4.22 management server posts, answered as it reads it.

`POST /api/HypervResource/<class>` with the bare command as body; the answer is an array of one
tagged answer (HypervDirectConnectResource.java).  Two commands have shapes of their own:
StartupCommand is an array of tagged commands both ways, and HostVmStateReportCommand answers an
array of one-entry maps.  What the server makes of a status decides ours:

* 404 reads as "unsupported command";
* 500 for a state report that failed: the server then skips this round, whereas a partial or an
  empty list would stop VMs;
* 500 for a Startup that failed: a half-filled one would be stored;
* everything else is 200 with the command's own answer class, `result` true or false.

The management server authenticates nothing on this door, so only listed addresses are served, and
each Hyper-V host has a listening address of its own: the address *is* the host's name here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from cloudstack_hyperv.config import DirectDoorSettings
from cloudstack_hyperv.doors.direct.certificate import own_certificate, server_context
from cloudstack_hyperv.doors.direct.guard import ConnectionGuard
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.messages import (
    MalformedMessage,
    UnknownCommandClass,
    command_class,
    decode_command,
    encode_answers,
    failure_answer,
)
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.host_files import HostFileError

log = structlog.get_logger(__name__)

PATH = "/api/HypervResource/"
MOST_CONNECTIONS = 500
STARTUP = "com.cloud.agent.api.StartupCommand"
STATE_REPORT = "org.apache.cloudstack.HostVmStateReportCommand"


class DoorCannotOpen(Exception):
    """The door cannot listen as configured; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Listening:
    """One open listener."""

    host: str
    address: str
    port: int


class DirectDoor:
    """Serves any number of Hyper-V hosts, one listening address each."""

    def __init__(
        self, resources: Sequence[Resource], settings: DirectDoorSettings, state_folder: Path
    ) -> None:
        self._resources = tuple(resources)
        self._settings = settings
        self._state_folder = state_folder
        self._allowed = [ipaddress.ip_network(entry, strict=False) for entry in settings.allow]
        self._servers: list[tuple[asyncio.Server, web.Server]] = []
        self._running: set[asyncio.Task[object]] = set()
        self._stopping = False

    async def start(self) -> list[Listening]:
        """Open one listener a host; raises DoorCannotOpen and leaves none open."""
        if not self._allowed:
            raise DoorCannotOpen(
                "direct.allow is empty: list the management servers' addresses; this door "
                "authenticates nobody, so it serves nobody until told whom"
            )
        addresses = [self._listen_address(resource) for resource in self._resources]
        context = self._tls(addresses)
        opened: list[Listening] = []
        try:
            for resource, address in zip(self._resources, addresses, strict=True):
                name = resource.context.host.name
                port = await self._listen(resource, address, context)
                opened.append(Listening(name, address, port))
        except BaseException:
            await self.stop(drain=0)
            raise
        return opened

    async def stop(self, drain: float | None = None) -> None:
        """Take no new commands, let running ones end within `drain` seconds, close."""
        self._stopping = True
        for server, _ in self._servers:
            server.close()
        limit = self._settings.drain_timeout if drain is None else drain
        if self._running and limit > 0:
            log.info("waiting for running commands", count=len(self._running), seconds=limit)
            await asyncio.wait(self._running, timeout=limit)
        for task in tuple(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=5)
        for _, handler in self._servers:
            await handler.shutdown(timeout=5)
        self._servers.clear()

    def __repr__(self) -> str:
        return f"DirectDoor({len(self._servers)} listeners, {len(self._running)} commands running)"

    def _listen_address(self, resource: Resource) -> str:
        host = resource.context.host
        if host.listen is not None:
            return host.listen
        if len(self._resources) == 1:
            return "0.0.0.0"  # noqa: S104 - one host, no address asked: all of ours; the allow-list decides
        raise DoorCannotOpen(
            f"host {host.name!r} has no listen address: with several hosts each needs its own, "
            "because the management server tells hosts apart by address alone"
        )

    def _tls(self, addresses: list[str]) -> ssl.SSLContext:
        certificate, key = self._settings.certificate, self._settings.key
        try:
            if certificate is not None:
                return server_context(Path(certificate), Path(key) if key else None)
            concrete = [a for a in addresses if not ipaddress.ip_address(a).is_unspecified]
            return server_context(*own_certificate(self._state_folder, concrete))
        except OSError as error:
            raise DoorCannotOpen(f"the door's certificate cannot be used: {error}") from error

    async def _listen(self, resource: Resource, address: str, context: ssl.SSLContext) -> int:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            guard.request_started(request.transport)
            try:
                return await self._respond(resource, request)
            finally:
                guard.request_ended(request.transport)

        handler = web.Server(handle, access_log=None, keepalive_timeout=75)
        guard = ConnectionGuard(
            handler,
            header_timeout=self._settings.header_timeout,
            most_connections=MOST_CONNECTIONS,
        )
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                guard,
                address,
                self._settings.port,
                ssl=context,
                ssl_handshake_timeout=self._settings.header_timeout,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
        except OSError as error:
            raise DoorCannotOpen(
                f"cannot listen on {address} port {self._settings.port}: "
                f"{error.strerror or error}; the address must be one of this machine's and free"
            ) from error
        self._servers.append((server, handler))
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _respond(self, resource: Resource, request: web.BaseRequest) -> web.StreamResponse:
        peer = request.remote or "?"
        if not self._is_allowed(peer):
            log.warning("request refused: address not in direct.allow", peer=peer)
            return _text(403, "this address is not in the agent's allow-list")
        if not request.path.startswith(PATH):
            return _text(404, f"commands are posted to {PATH}<class>")
        if request.method != "POST":
            return _text(405, "commands are posted")
        if self._stopping:
            return _text(503, "the agent is stopping")
        task = asyncio.ensure_future(self._command(resource, request, request.path[len(PATH) :]))
        self._running.add(task)
        try:
            return await task
        finally:
            self._running.discard(task)

    def _is_allowed(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._allowed)

    async def _command(
        self, resource: Resource, request: web.BaseRequest, class_name: str
    ) -> web.Response:
        body = await self._body(request)
        if isinstance(body, web.Response):
            return body
        if class_name == STATE_REPORT:
            return await _state_report(resource)
        if class_name == STARTUP:
            return await _startup(resource, body)
        try:
            command = decode_command(class_name, body)
        except UnknownCommandClass:
            log.warning("unknown command class", class_name=class_name[:200])
            return _text(404, "unknown command class")
        except MalformedMessage as error:
            log.warning("malformed command", class_name=class_name[:200], error=str(error))
            if not _is_json_object(body):
                return _text(400, str(error))
            kind = command_class(class_name)
            return _json(encode_answers([failure_answer(kind, str(error))]))
        return _json(encode_answers([await resource.execute(command)]))

    async def _body(self, request: web.BaseRequest) -> bytes | web.Response:
        limit = self._settings.max_body_bytes
        if (request.content_length or 0) > limit:
            return _closing(413, f"a command has at most {limit} bytes")
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout):
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    if size > limit:
                        return _closing(413, f"a command has at most {limit} bytes")
                    chunks.append(chunk)
        except TimeoutError:
            return _closing(408, "the body did not arrive in time")
        return b"".join(chunks)


async def _state_report(resource: Resource) -> web.Response:
    try:
        states = await resource.vm_state_report()
    except _DECLARED as error:
        log.warning("state report failed", error=_said(error))
        return _text(500, "the host's VM states cannot be read now")
    except Exception:  # a report must be complete or an error; never partial
        log.exception("state report failed in a way nobody declares")
        return _text(500, "the host's VM states cannot be read now")
    return _json(json.dumps([{name: state} for name, state in states.items()]).encode())


async def _startup(resource: Resource, body: bytes) -> web.Response:
    try:
        return _json(await resource.startup(body))
    except MalformedMessage as error:
        log.warning("malformed StartupCommand", error=str(error))
        return _text(400, str(error))
    except _DECLARED as error:
        log.warning("startup failed: the host is not added", error=_said(error))
        return _text(500, f"the host cannot be started up: {_said(error)}")
    except Exception:  # the server stores what it gets: answer whole or not at all
        log.exception("startup failed in a way nobody declares: the host is not added")
        return _text(500, "the host cannot be started up; the agent's log has the details")


_DECLARED = (CommandRefused, HypervisorError, HostFileError, TimeoutError)


def _said(error: Exception) -> str:
    return str(error) or "the host did not answer in time"


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body.decode("utf-8", "replace")), dict)
    except ValueError:
        return False


def _json(content: bytes) -> web.Response:
    return web.Response(body=content, content_type="application/json", charset="utf-8")


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")


def _closing(status: int, text: str) -> web.Response:
    response = _text(status, text)
    response.force_close()
    return response
