"""One emulated host, and a management server's machine beside it, with an agent or without."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.doors_extension.extension_stage import Site, agent, site
from tests.emulation import running_emulation


@pytest.fixture
async def straight_site(tmp_path: Path) -> AsyncIterator[Site]:
    """No agent runs: every call goes straight to the host."""
    async with running_emulation(tmp_path) as emulation:
        with site(emulation, tmp_path) as place:
            yield place


@pytest.fixture
async def agent_site(straight_site: Site) -> AsyncIterator[Site]:
    """An agent runs, which knows no host but by payload."""
    async with agent(straight_site):
        yield straight_site
