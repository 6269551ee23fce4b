"""A host on real sockets, mischief on it, and somebody else's client that sees what happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.emulation import Emulation, running_emulation
from tests.emulator_mischief.outsider import Outsider

from cloudstack_hyperv.emulator.host import GuestScript, JobMode
from cloudstack_hyperv.emulator.mischief import Mischief


@dataclass
class Scene:
    """Everybody in one test."""

    emulation: Emulation
    mischief: Mischief
    client: Outsider

    async def vm(self, name: str = "vm") -> str:
        """Define a machine; return its GUID."""
        answer = await self.client.define(name)
        assert answer["ReturnValue"] == "0"
        return answer["ResultingSystem"] or ""

    async def vm_anyhow(self, name: str = "vm") -> str:
        """Define a machine on a host that answers with jobs; return its GUID."""
        answer = await self.client.define(name)
        await self.client.job_ended(answer, "Msvm_ConcreteJob")
        return answer["ResultingSystem"] or ""

    async def delete_file(self, path: str) -> str | None:
        """Delete a file on the host; return the code."""
        answer = await self.client.invoke(
            "CIM_DataFile", "Delete", {"Name": path}, namespace="root/cimv2"
        )
        return answer["ReturnValue"]

    def firing(self) -> tuple[bool, str]:
        """Return what the only time that a rule acted came to."""
        (firing,) = self.mischief.firings
        return firing.took_effect, firing.note


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    script = GuestScript(boot=0.05, kvp_delay=0.05, shutdown=0.05)
    async with running_emulation(tmp_path, job_mode=JobMode.ALWAYS_0, guest=script) as emulation:
        mischief = Mischief(emulation.host, emulation.server)
        client = Outsider(emulation.port)
        try:
            yield Scene(emulation, mischief, client)
        finally:
            await client.close()
            await mischief.close()
