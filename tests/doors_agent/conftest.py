from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.doors_agent.stage import Stage, staged
from tests.link.management_server import Authority, ManagementServer, new_authority

from cloudstack_hyperv.resource.context import HostContext


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[ManagementServer]:
    async with ManagementServer(authority.server_context()).serving() as serving:
        yield serving


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudstack_hyperv.doors.agent.session.GOODBYE", 0.05)
    monkeypatch.setattr("cloudstack_hyperv.doors.agent.moving.MIGRATE_AFTER", 0.05)
    monkeypatch.setattr("cloudstack_hyperv.doors.agent.moving.RENEW_AFTER", 0.05)
    # For a StartupAnswer whose interval is 0; CloudStack knows whole seconds only.
    monkeypatch.setattr("cloudstack_hyperv.doors.agent.pinging.DEFAULT_INTERVAL", 0.2)
    monkeypatch.setattr("cloudstack_hyperv.doors.agent.moving._LOOK", 0.05)
    monkeypatch.setattr("cloudstack_hyperv.doors.agent.cron.LEAST_INTERVAL", 0.1)


@pytest.fixture
async def stage(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> AsyncIterator[Stage]:
    async with staged(host_context, authority, server, tmp_path) as opened:
        yield opened
