"""A client and a scripted host that talk to each other, for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.wsman.scripted_host import PASSWORD, USER, Answer, Request, Script, ScriptedHost

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient

VM = ObjectPath.of(
    "Msvm_ComputerSystem", CreationClassName="Msvm_ComputerSystem", Name="B637F346-6A0E"
)
SERVICE = ObjectPath.of(
    "Msvm_VirtualSystemManagementService",
    CreationClassName="Msvm_VirtualSystemManagementService",
)


def login(scheme: AuthScheme = AuthScheme.NTLM, password: str = PASSWORD) -> Credentials:
    """Credentials of the account that the scripted host knows."""
    return Credentials(scheme, USER, password, allow_clear_text=scheme is AuthScheme.BASIC)


@asynccontextmanager
async def on_stage(
    script: Script, credentials: Credentials | None = None, **options: Any
) -> AsyncIterator[tuple[WsmanClient, ScriptedHost]]:
    """Start both; the options are the host's where it knows them, else the client's."""
    of_host = {name: options.pop(name) for name in ("offers", "protocol") if name in options}
    async with ScriptedHost(script, **of_host).running() as host:
        client = WsmanClient(
            Endpoint("127.0.0.1", host.port, https=False),
            credentials or login(),
            **{"default_timeout": 5.0, **options},
        )
        try:
            yield client, host
        finally:
            await client.close()


def plays(*answers: Answer) -> Callable[[Request], Answer]:
    """A script of answers in order, the last one again and again."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
