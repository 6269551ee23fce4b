"""A fleet behind real sockets and the system's clock: one WS-Management server a host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.emulation import PASSWORD, QUICK, USER, schema_of

from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import Account, Accounts, DoorSettings
from cloudstack_hyperv.emulator.host import HostConfig
from cloudstack_hyperv.emulator.host.fleet import Fleet, plan_fleet
from cloudstack_hyperv.vhd import OsFile, create_dynamic, open_disk
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient


@dataclass(slots=True)
class FleetDoors:
    """Running hosts, by index."""

    fleet: Fleet
    servers: list[WsmanServer]

    def port(self, index: int) -> int:
        return urlsplit(self.servers[index].endpoints[0]).port or 0

    def client(self, index: int, scheme: AuthScheme = AuthScheme.NTLM) -> WsmanClient:
        return WsmanClient(
            Endpoint("127.0.0.1", self.port(index), https=False),
            Credentials(scheme, USER, PASSWORD),
            default_timeout=20.0,
        )

    def file(self, index: int, windows: str) -> Path:
        return self.fleet.hosts[index].local_path(windows)

    def make_disk(self, index: int, windows: str, text: bytes) -> None:
        """Make a small disk with `text` at 3 MiB."""
        place = self.file(index, windows)
        place.parent.mkdir(parents=True, exist_ok=True)
        with OsFile.create(place) as file:
            create_dynamic(file, 8 * 2**20)
            with open_disk(file, writable=True) as disk:
                disk.write(3 * 2**20, text + bytes(-len(text) % 512))
                disk.flush()

    def text_in(self, index: int, windows: str, length: int) -> bytes:
        with self.fleet.hosts[index].disks.opened(windows, "read") as disk:
            return disk.read(3 * 2**20, length)


@asynccontextmanager
async def running_fleet(folder: Path, count: int = 2, **options: Any) -> AsyncIterator[FleetDoors]:
    """Run a fleet for the block; `options` are those of `plan_fleet`.

    `older` is the release of the last host where that is another one.
    """
    template = HostConfig(folder, timings=QUICK)
    older = options.pop("older", None)
    plan = plan_fleet(folder, count, **{"template": template, **options})
    if older is not None:
        plan = replace(plan, hosts=(*plan.hosts[:-1], replace(plan.hosts[-1], release=older)))
    fleet = Fleet(plan)
    async with AsyncExitStack() as stack:
        stack.callback(fleet.close)
        servers: list[WsmanServer] = []
        for host in fleet:
            server = WsmanServer(
                CimEngine(host, schema_of(host.release)),
                DoorSettings(credssp=True),
                Accounts([Account(USER, PASSWORD)], host.name),
            )
            await server.start()
            stack.push_async_callback(server.stop, grace_s=0.5)
            servers.append(server)
        yield FleetDoors(fleet, servers)
