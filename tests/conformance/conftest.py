"""A whole emulated host, driven by clients that are not ours or that we rebuilt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.emulation import Emulation


@pytest.fixture
async def client_host(tmp_path: Path) -> AsyncIterator[Emulation]:
    """An emulated Windows 11 with Hyper-V, the profile of the public recordings."""
    from tests.emulation import running_emulation

    async with running_emulation(tmp_path, release="client-11", language="ja-JP") as emulation:
        yield emulation


@pytest.fixture(autouse=True)
async def _no_connection_left() -> AsyncIterator[None]:
    from tests.emulator_door.raw_client import RawClient

    yield
    while RawClient.opened:
        await RawClient.opened.pop().close()
