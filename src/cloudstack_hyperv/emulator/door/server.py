"""The sockets of one emulated host: http and https listeners in front of its service.

server = WsmanServer(engine, DoorSettings(basic=True, allow_unencrypted=True), accounts)
await server.start()
server.endpoints          # ("http://127.0.0.1:40123/wsman",)
await server.stop()
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.door.authentication import (
    ConnectionLogin,
    tls_peer,
    tls_server_end_point,
)
from cloudstack_hyperv.emulator.door.calls import CallLog
from cloudstack_hyperv.emulator.door.connection import HttpConnection
from cloudstack_hyperv.emulator.door.service import WsmanService
from cloudstack_hyperv.emulator.door.settings import Accounts, DoorSettings, TlsFiles

_logger = logging.getLogger(__name__)
_GRACE_S: Final = 5.0
_HANDSHAKE_TIMEOUT_S: Final = 30.0


class WsmanServer:
    """WinRM's listeners on one emulated host."""

    def __init__(self, engine: CimEngine, settings: DoorSettings, accounts: Accounts) -> None:
        if settings.https_port is not None and settings.tls is None:
            raise ValueError("an https listener needs TLS files")
        self._settings = settings
        self._accounts = accounts
        self._service = WsmanService(engine, settings)
        self._listeners: list[asyncio.Server] = []
        self._endpoints: list[str] = []
        self._connections: dict[HttpConnection, asyncio.Task[None]] = {}
        self._channel_binding = b""
        self._reserved: list[socket.socket] = []

    @property
    def endpoints(self) -> tuple[str, ...]:
        """URLs of the listeners, http first; empty before `start`."""
        return tuple(self._endpoints)

    @property
    def accounts(self) -> Accounts:
        """The accounts that may log in."""
        return self._accounts

    @property
    def calls(self) -> CallLog:
        """The record of calls, and where interceptors go."""
        return self._service.calls

    @property
    def service(self) -> WsmanService:
        """The service behind the listeners."""
        return self._service

    async def start(self) -> None:
        """Bind the listeners; raises OSError when an address is taken."""
        settings = self._settings
        if settings.http_port is not None:
            await self._listen("http", settings.http_port, None)
        if settings.https_port is not None and settings.tls is not None:
            self._channel_binding = tls_server_end_point(settings.tls.certificate.read_bytes())
            await self._listen("https", settings.https_port, self._tls_context(settings.tls))

    async def stop(self, grace_s: float = _GRACE_S) -> None:
        """Close idle connections, give requests under way `grace_s` seconds, then cut them."""
        self._stop_listening()
        for connection in tuple(self._connections):
            connection.finish()
        tasks = tuple(self._connections.values())
        if tasks:
            _, busy = await asyncio.wait(tasks, timeout=grace_s)
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
        await self._service.close()
        for reserved in self._reserved:
            reserved.close()
        self._reserved.clear()
        self._endpoints.clear()

    def disconnect_all(self) -> None:
        """Reset every connection, as a host that loses power does."""
        for connection in tuple(self._connections):
            connection.abort()

    @property
    def is_away(self) -> bool:
        """Whether it has gone away and not come back."""
        return bool(self._reserved)

    def go_away(self) -> None:
        """Reset every connection and refuse new ones until `come_back`, as a host that reboots.

        Its ports stay taken: sockets that are bound and do not listen hold them.
        """
        if self.is_away or not self._listeners:
            return
        addresses = [listener.sockets[0].getsockname() for listener in self._listeners]
        families = [listener.sockets[0].family for listener in self._listeners]
        self._stop_listening()
        self.disconnect_all()
        for family, address in zip(families, addresses, strict=True):
            reserved = socket.socket(family, socket.SOCK_STREAM)
            self._reserved.append(reserved)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(address)

    async def come_back(self) -> None:
        """Listen again where it listened before `go_away`."""
        if not self.is_away:
            return
        ports = self._bound_ports()
        self._settings = dataclasses.replace(
            self._settings, http_port=ports.get("http"), https_port=ports.get("https")
        )
        self._endpoints.clear()
        await self.start()
        for reserved in self._reserved:
            reserved.close()
        self._reserved.clear()

    def _bound_ports(self) -> dict[str, int]:
        """Return the ports of the endpoints by scheme."""
        urls = [urlsplit(endpoint) for endpoint in self._endpoints]
        return {url.scheme: url.port for url in urls if url.port is not None}

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def _listen(self, scheme: str, port: int, tls: ssl.SSLContext | None) -> None:
        listener = await asyncio.start_server(
            self._accept,
            self._settings.address,
            port,
            ssl=tls,
            ssl_handshake_timeout=_HANDSHAKE_TIMEOUT_S if tls is not None else None,
            ssl_shutdown_timeout=_GRACE_S if tls is not None else None,
            backlog=512,
        )
        self._listeners.append(listener)
        address, bound = listener.sockets[0].getsockname()[:2]
        host = f"[{address}]" if ":" in address else address
        self._endpoints.append(f"{scheme}://{host}:{bound}/wsman")

    def _tls_context(self, files: TlsFiles) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files.certificate, files.private_key)
        if self._settings.certificate and files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport_tls = writer.get_extra_info("ssl_object")
        tls = tls_peer(transport_tls, self._channel_binding) if transport_tls is not None else None
        login = ConnectionLogin(self._settings, self._accounts, tls)
        connection = HttpConnection(
            self._service, self._settings, login, reader, writer, encrypted=tls is not None
        )
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task of its own")
        full = len(self._connections) >= self._settings.max_connections
        self._connections[connection] = task
        try:
            await (connection.turn_away() if full else connection.serve())
        except asyncio.CancelledError:
            connection.abort()
        except (ConnectionError, TimeoutError, ssl.SSLError) as error:
            _logger.debug("connection ended: %s", error)
            connection.abort()
        finally:
            del self._connections[connection]
