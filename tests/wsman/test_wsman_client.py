"""The client against a scripted host: logins, pages, retries, deadlines, and every bad answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.wsman.scripted_host import (
    PASSWORD,
    USER,
    Answer,
    Request,
    Script,
    ScriptedHost,
    machine,
)

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.wsman import (
    AuthScheme,
    Credentials,
    Endpoint,
    WsmanClient,
)

VM = ObjectPath.of(
    "Msvm_ComputerSystem", CreationClassName="Msvm_ComputerSystem", Name="B637F346-6A0E"
)
SERVICE = ObjectPath.of(
    "Msvm_VirtualSystemManagementService",
    CreationClassName="Msvm_VirtualSystemManagementService",
)


def credentials(scheme: AuthScheme = AuthScheme.NTLM, password: str = PASSWORD) -> Credentials:
    return Credentials(scheme, USER, password, allow_clear_text=scheme is AuthScheme.BASIC)


@asynccontextmanager
async def client_of(
    script: Script, login: Credentials | None = None, **options: Any
) -> AsyncIterator[tuple[WsmanClient, ScriptedHost]]:
    """A client and the host it talks to; the host's options are those it knows."""
    login = login or credentials()
    of_host = {name: options.pop(name) for name in ("offers", "protocol") if name in options}
    async with ScriptedHost(script, **of_host).running() as host:
        client = WsmanClient(
            Endpoint("127.0.0.1", host.port, https=False),
            login,
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


async def test_logs_in_once_a_connection_and_reads() -> None:
    for scheme in (AuthScheme.NTLM, AuthScheme.BASIC, AuthScheme.NEGOTIATE):
        async with client_of(plays(Answer(machine("a"))), credentials(scheme)) as (client, host):
            got = await client.get(VM)
            assert got.class_name == "Msvm_ComputerSystem"
            assert got.uint("EnabledState") == 2
            assert "Description" not in got.values
            await client.get(VM)
            assert host.connections == 1
