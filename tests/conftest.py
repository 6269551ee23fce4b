"""Fixtures for tests that send commands to the resource of a running, emulated host.

The emulated host is imported where it is used: most tests need none, and compiling its schema
takes a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.emulation import Emulation

    from cloudstack_hyperv.resource.context import HostContext
    from cloudstack_hyperv.resource.resource import Resource


@pytest.fixture
async def emulated_host(tmp_path: Path) -> AsyncIterator[Emulation]:
    """A running emulated host (Windows Server 2019) with a pool folder and a secondary store."""
    from tests.emulation import running_emulation

    async with running_emulation(tmp_path) as emulation:
        yield emulation


@pytest.fixture
async def host_context(emulated_host: Emulation) -> AsyncIterator[HostContext]:
    """What an agent keeps of that host."""
    from tests.emulation import agent_context

    async with agent_context(emulated_host) as context:
        yield context


@pytest.fixture
def resource(host_context: HostContext) -> Resource:
    """The resource that carries out commands on that host."""
    from cloudstack_hyperv.resource.resource import Resource

    return Resource(host_context)
