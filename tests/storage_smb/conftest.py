"""A Samba server for the whole folder's tests, and files on it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.storage_smb.samba_server import PASSWORD, SambaServer

from cloudstack_hyperv.config import MountSettings, Secret
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.smb.files import SmbFiles
from cloudstack_hyperv.storage.smb.routes import SmbRoute, SmbRoutes
from cloudstack_hyperv.storage.smb.server import SmbServer

ServerOf = Callable[..., SmbServer]


@pytest.fixture(scope="session")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SambaServer]:
    server = SambaServer.start(tmp_path_factory.mktemp("samba"))
    yield server
    server.stop()


def server_of(samba: SambaServer, **changes: object) -> SmbServer:
    """Return the server as our client sees it, with some settings changed."""
    settings: dict[str, object] = {
        "address": "127.0.0.1",
        "port": samba.port,
        "user": samba.user,
        "password": Secret(PASSWORD),
        "timeout": 10.0,
        **changes,
    }
    return SmbServer(**settings)  # type: ignore[arg-type]  # by name, whatever is changed


def routes_of(server: SmbServer) -> SmbRoutes:
    """Return routes to all shares of the server: `C:`, `D:\\CloudStack` and a store."""
    return SmbRoutes(
        [
            SmbRoute("D:\\CloudStack", server, "cloudstack$"),
            SmbRoute("\\\\store\\secondary", server, "secondary"),
        ],
        drives=server,
        own_names=["127.0.0.1"],
    )


@pytest.fixture(name="server_of")
def server_of_fixture(samba: SambaServer) -> ServerOf:
    return lambda **changes: server_of(samba, **changes)


@pytest.fixture(params=[True, False], ids=["encrypted", "signed"])
async def files(request: pytest.FixtureRequest, samba: SambaServer) -> AsyncIterator[SmbFiles]:
    """Files of the server, once with encryption and once with signing."""
    made = SmbFiles(routes_of(server_of(samba, encryption=request.param)))
    yield made
    await made.close()


@pytest.fixture
async def encrypted(samba: SambaServer) -> AsyncIterator[SmbFiles]:
    made = SmbFiles(routes_of(server_of(samba)))
    yield made
    await made.close()


@dataclass(frozen=True)
class Folder:
    """A folder of the server's drive C: by Windows path, and as the server has it."""

    path: str
    real: Path


@pytest.fixture
def folder(samba: SambaServer) -> Folder:
    name = f"test-{secrets.token_hex(4)}"
    real = samba.folder / "C" / name
    real.mkdir()
    return Folder(f"C:\\{name}", real)


@dataclass(frozen=True)
class Local:
    """A folder of the gateway."""

    files: FolderFiles
    real: Path


@pytest.fixture
def local(tmp_path: Path) -> Local:
    real = tmp_path / "local"
    real.mkdir()
    return Local(FolderFiles([MountSettings(host_path="L:\\", folder=str(real))]), real)
