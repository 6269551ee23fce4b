"""Fixtures of the door's tests: servers over a small host, on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from tests.emulator_door.doors import ACCOUNTS, Door, OpenDoor
from tests.emulator_door.raw_client import RawClient
from tests.emulator_door.small_host import SCHEMA, SmallHost
from tests.emulator_door.tls import Tls

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import Account, Accounts, DoorSettings


@pytest.fixture
async def open_door() -> AsyncIterator[OpenDoor]:
    """Start servers that are stopped at the end of the test."""
    started: list[WsmanServer] = []

    async def start(
        settings: DoorSettings | None = None,
        *,
        machines: int = 3,
        accounts: Iterable[Account] = ACCOUNTS,
    ) -> Door:
        host = SmallHost(machines)
        chosen = settings or DoorSettings(basic=True, allow_unencrypted=True)
        server = WsmanServer(CimEngine(host, SCHEMA), chosen, Accounts(accounts, host.name))
        await server.start()
        started.append(server)
        return Door(server, host)

    yield start
    for server in started:
        await server.stop(grace_s=1)


@pytest.fixture(autouse=True)
async def close_raw_clients() -> AsyncIterator[None]:
    """Close the connections that the test opened."""
    yield
    while RawClient.opened:
        await RawClient.opened.pop().close()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """Certificates made for one test."""
    return Tls(tmp_path)
