"""`cloudstack-hyperv run --emulated`: the agent with an emulated host of its own.

The agent still speaks real WS-Management to it over loopback, so this is the same path as in
production; only the Windows server at its end is not one, and Startup says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from cloudstack_hyperv.cli.emulate import EmulateOptions, running_emulated_host
from cloudstack_hyperv.config import (
    ConfigurationError,
    HostSettings,
    MountSettings,
    SecretSource,
    Settings,
    WinrmSettings,
)

HOST_ADDRESS = "192.0.2.10"


@asynccontextmanager
async def emulated_settings(settings: Settings) -> AsyncIterator[Settings]:
    """Start an emulated host and yield the settings with it as the one host."""
    if settings.hosts:
        raise ConfigurationError(
            "--emulated serves an emulated host instead of real ones: "
            "this configuration has [[hosts]], which would be ignored; remove them or --emulated"
        )
    folder = settings.state_path() / "emulated-host"
    options = EmulateOptions(folder=folder, host_address=HOST_ADDRESS)
    async with running_emulated_host(options) as running:
        winrm = WinrmSettings(
            address="127.0.0.1",
            port=running.port,
            transport="http",
            user=running.user,
            password=SecretSource(value=running.password),
        )
        host = HostSettings(
            name="emulated",
            winrm=winrm,
            private_address=HOST_ADDRESS,
            # Nobody was named who may call: then nobody else needs to reach it either.
            listen=None if settings.direct.allow else "127.0.0.1",
            emulated=True,
            mounts=(MountSettings(host_path="C:\\", folder=str(folder / "c")),),
        )
        allow = settings.direct.allow or ("127.0.0.0/8", "::1/128")
        direct = msgspec.structs.replace(settings.direct, allow=allow)
        yield msgspec.structs.replace(settings, hosts=(host,), direct=direct)
