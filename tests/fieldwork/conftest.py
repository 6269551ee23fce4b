"""Emulated hosts to play self-tests on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.emulation import Emulation, running_emulation


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Emulation]:
    async with running_emulation(tmp_path) as emulation:
        yield emulation
