"""A stage for commands about VMs: host, resource, and a second client that looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.resource_vm.commands import Stage, staged

from cloudstack_hyperv.resource.handlers import HANDLER_MODULES


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A host (Windows Server 2019) with the files of a VM on it."""
    assert HANDLER_MODULES  # importing them registers the handlers
    async with staged(tmp_path) as stage:
        yield stage
