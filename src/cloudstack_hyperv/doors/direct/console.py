"""Port 2179 of a host's listen address, led to that port of the host: its VMs' consoles.

CloudStack's console proxy opens RDP to the address that the management server knows the host by,
which on this door is ours.  The bytes are led through as they are: VMMS encrypts and authenticates
by itself.  Only the console proxies that are listed may come in.

Source: CloudStack's `ConsoleAccessManagerImpl`, `ConsoleProxyRdpClient`; Microsoft, "Virtual
Machine Connection" (TCP 2179).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from cloudstack_hyperv.doors.direct.addresses import Networks, is_in

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT: Final = 10.0
IDLE_TIMEOUT: Final = 3600.0
"""Seconds without a byte in either direction."""
PIECE: Final = 64 * 1024


class ConsoleForward:
    """Leads connections to one host's console port."""

    def __init__(self, target: tuple[str, int], allowed: Networks, most: int) -> None:
        self._target = target
        self._allowed = allowed
        self._most = most
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int) -> int:
        """Listen and return the port; raises OSError."""
        self._server = await asyncio.start_server(self._accept, address, port, limit=PIECE)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    def allow(self, allowed: Networks) -> None:
        """Use another allow-list from now on."""
        self._allowed = allowed

    async def stop(self) -> None:
        """Close the listener and all consoles."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="console")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("?",))[0])
        host, port = self._target
        try:
            if not is_in(peer, self._allowed):
                log.warning("console refused: address not in direct.console_allow", peer=peer)
                return
            if len(self._open) > self._most:
                log.warning("console refused: too many", peer=peer, host_address=host)
                return
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    there, back = await asyncio.open_connection(host, port, limit=PIECE)
            except (OSError, TimeoutError) as error:
                log.warning(
                    "console: the host does not answer",
                    host_address=host,
                    port=port,
                    reason=str(error) or "no answer in time",
                )
                return
            try:
                await _lead_both(reader, writer, there, back)
            finally:
                back.close()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _lead_both(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    back: asyncio.StreamWriter,
) -> None:
    """Lead bytes until one side ends, breaks, or nothing comes for long."""
    ways = [asyncio.create_task(_lead(reader, back)), asyncio.create_task(_lead(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _lead(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        while True:
            async with asyncio.timeout(IDLE_TIMEOUT):
                piece = await source.read(PIECE)
                if not piece:
                    return
                target.write(piece)
                await target.drain()
