"""One logged-in connection to the host that a recording is replayed to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from cloudstack_hyperv.wsman.connection import Connection
from cloudstack_hyperv.wsman.endpoint import Credentials, Endpoint
from cloudstack_hyperv.wsman.protocol.envelope import MAX_ENVELOPE_SIZE
from cloudstack_hyperv.wsman.transport import HttpTransport

CONNECT_TIMEOUT: Final = 20.0
ANSWER_TIMEOUT: Final = 120.0
_LARGEST: Final = 4 * MAX_ENVELOPE_SIZE


class Wire:
    """Posts whole envelopes, one after the other."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._connection: Connection | None = None

    async def post(self, envelope: str) -> str:
        """Return the answer's envelope; raises WsmanError, TimeoutError.

        After a failure the next call makes a new connection.
        """
        async with asyncio.timeout(CONNECT_TIMEOUT):
            connection = await self._connected()
        async with asyncio.timeout(ANSWER_TIMEOUT):
            return await connection.post(envelope)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> Connection:
        if self._connection is None or not self._connection.usable:
            transport = await HttpTransport.connect(self._endpoint, None, maximum_body=_LARGEST)
            self._connection = Connection(self._endpoint, self._credentials, transport)
            if self._connection.logs_in_with_tokens:
                await self._connection.log_in()
        return self._connection


@asynccontextmanager
async def open_wire(endpoint: Endpoint, credentials: Credentials) -> AsyncIterator[Wire]:
    """Yield a wire and close it; plain http only: the emulated host listens on loopback."""
    wire = Wire(endpoint, credentials)
    try:
        yield wire
    finally:
        await wire.close()
