"""A stage for commands about ports: host, resource, and a second client that looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.resource_network.ports import NetworkStage, network_stage

from cloudstack_hyperv.resource.handlers import HANDLER_MODULES


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[NetworkStage]:
    """A host (Windows Server 2019) with the files of a VM on it."""
    assert HANDLER_MODULES  # importing them registers the handlers
    async with network_stage(tmp_path) as stage:
        yield stage
