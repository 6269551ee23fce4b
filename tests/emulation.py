"""An emulated host with real sockets and files, and an agent's context for it, in one test.

Both live in the test's event loop; they share nothing but the TCP connection and the folder that
is the host's drive C:.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cloudstack_hyperv.config import (
    HostSettings,
    MountSettings,
    Settings,
    StorageSettings,
    StoreSettings,
    WinrmSettings,
)
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.schema import Schema
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import Account, Accounts, DoorSettings
from cloudstack_hyperv.emulator.host import EmulatedHost, HostConfig, Share, Timings
from cloudstack_hyperv.emulator.schema import load_schema
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.vhd import OsFile, create_dynamic
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient

USER = "Administrator"
PASSWORD = "Loopback-only-1"
HOST_ADDRESS = "192.0.2.10"
POOL = r"C:\pool"
"""Folder of the local primary storage pool on the host."""
SECONDARY_URL = "cifs://10.1.1.5/secondary"
QUICK = Timings(
    start=0.01,
    turn_off=0.01,
    save=0.01,
    pause=0.01,
    configure=0.005,
    destroy=0.01,
    checkpoint=0.01,
    merge=0.05,
    image=0.01,
)


@dataclass(slots=True)
class Emulation:
    """A running emulated host and what a test needs of it."""

    host: EmulatedHost
    server: WsmanServer
    folder: Path
    """The emulated host's folder; `c` in it is drive C:."""
    secondary: Path
    """Content of the secondary store, the share `\\\\10.1.1.5\\secondary` for the host."""

    @property
    def port(self) -> int:
        """The http listener's port."""
        return urlsplit(self.server.endpoints[0]).port or 0

    def path(self, windows_path: str) -> Path:
        """Return where a file on drive C: is."""
        assert windows_path.upper().startswith("C:\\")
        return self.folder.joinpath("c", *windows_path[3:].split("\\"))

    def make_disk(self, stem: str, *, size: int = 64 * 2**20, folder: str = POOL) -> str:
        """Make a dynamic VHDX on the host and return its Windows path."""
        windows_path = f"{folder}\\{stem}.vhdx"
        place = self.path(windows_path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with OsFile.create(place) as file:
            create_dynamic(file, size)
        return windows_path

    def make_iso(self, relative: str) -> Path:
        """Make a small ISO on the secondary store."""
        place = self.secondary.joinpath(*relative.split("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        # An ISO 9660 volume descriptor where ECMA-119 puts it is all that a drive looks for.
        place.write_bytes(bytes(16 * 2048) + b"\x01CD001\x01" + bytes(2048 - 7))
        return place

    def client(self) -> WsmanClient:
        """Return a client of our own for this host."""
        return WsmanClient(
            Endpoint("127.0.0.1", self.port, https=False),
            Credentials(AuthScheme.BASIC, USER, PASSWORD, allow_clear_text=True),
            default_timeout=20.0,
        )

    def settings(self, **host_settings: Any) -> tuple[Settings, HostSettings]:
        """Return settings for an agent that serves this host."""
        winrm = WinrmSettings(address="127.0.0.1", port=self.port, transport="http", user=USER)
        options: dict[str, Any] = {
            "name": "hv1",
            "winrm": winrm,
            "private_address": HOST_ADDRESS,
            "mounts": (MountSettings(host_path="C:\\", folder=str(self.folder / "c")),),
            "local_pool": POOL,
            "shutdown_timeout": 5.0,
            "emulated": True,
            **host_settings,
        }
        host = HostSettings(**options)
        stores = (StoreSettings(url=SECONDARY_URL, folder=str(self.secondary)),)
        return Settings(hosts=(host,), storage=StorageSettings(stores=stores)), host


@cache
def schema_of(release: str) -> Schema:
    """Return a release's schema; compiling it takes longer than many a test."""
    return load_schema().for_release(release)


@asynccontextmanager
async def running_emulation(folder: Path, **config: Any) -> AsyncIterator[Emulation]:
    """Run an emulated host for the block; `config` are fields of HostConfig or DoorSettings."""
    door = {
        name: config.pop(name)
        for name in DoorSettings.__dataclass_fields__
        if name in config and name != "folder"
    }
    secondary = folder / "secondary"
    secondary.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {
        "folder": folder / "host",
        "shares": (Share("10.1.1.5", "secondary", secondary),),
        "timings": QUICK,
        **config,
    }
    host = EmulatedHost(HostConfig(**options))
    engine = CimEngine(host, schema_of(options.get("release", "2019")))
    settings = DoorSettings(**{"basic": True, "allow_unencrypted": True, **door})
    server = WsmanServer(engine, settings, Accounts([Account(USER, PASSWORD)], host.name))
    await server.start()
    emulation = Emulation(host, server, folder / "host", secondary)
    emulation.path(POOL).mkdir(parents=True, exist_ok=True)
    try:
        yield emulation
    finally:
        await server.stop(grace_s=0.5)
        host.close()


@asynccontextmanager
async def agent_context(emulation: Emulation, **host_settings: Any) -> AsyncIterator[HostContext]:
    """Return what an agent keeps of that host, with a client of its own, for the block."""
    settings, host = emulation.settings(**host_settings)
    client = emulation.client()
    try:
        yield HostContext(settings, host, client, FolderFiles(host.mounts))
    finally:
        await client.close()
