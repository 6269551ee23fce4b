"""A running server in a test, and how to get one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from tests.emulator_door.small_host import SmallHost

from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import Account, DoorSettings

PASSWORD = "Secr:et_1"
ACCOUNTS = (
    Account("Administrator", PASSWORD),
    Account("operator", PASSWORD, administrator=False),
    Account("cloud", PASSWORD, domain="CORP"),
)


@dataclass
class Door:
    """A running server and what stands behind it."""

    server: WsmanServer
    host: SmallHost

    @property
    def url(self) -> str:
        return self.server.endpoints[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])


class OpenDoor(Protocol):
    async def __call__(
        self,
        settings: DoorSettings | None = None,
        *,
        machines: int = 3,
        accounts: Iterable[Account] = ACCOUNTS,
    ) -> Door: ...
