"""A guest's serial port, spoken to as a person at a terminal would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudstack_hyperv.emulator.guests import QemuEngine


class SerialPort:
    """A connection; everything the guest says is kept."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._said = ""
        self._number = 0

    @classmethod
    @asynccontextmanager
    async def of(cls, engine: QemuEngine, machine_id: str) -> AsyncIterator[SerialPort]:
        """Open the port of a machine."""
        path = engine.folder_of(machine_id) / "com1"
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    async def wait_for(self, text: str, seconds: float) -> str:
        """Wait until the guest says something; return what it said up to there."""
        try:
            async with asyncio.timeout(seconds):
                while text not in self._said:
                    data = await self._reader.read(4096)
                    assert data, f"the guest is gone; it said {self._said[-2000:]!r}"
                    self._said += data.decode(errors="replace")
        except TimeoutError:
            raise AssertionError(f"no {text!r} in {self._said[-2000:]!r}") from None
        before, _, self._said = self._said.partition(text)
        return before + text

    async def run(self, command: str, seconds: float = 30) -> str:
        """Run a command in the shell; return what it wrote, its echo included."""
        self._number += 1
        # The shell's echo of the command must not be taken for its end.
        self._writer.write(f"{command}; echo done-$(({self._number} + 1000))\n".encode())
        await self._writer.drain()
        return await self.wait_for(f"done-{self._number + 1000}", seconds)
