"""From settings to running parts: the only place that knows which class fills which role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudstack_hyperv.config import (
    AuthenticationMethod,
    ConfigurationError,
    HostSettings,
    Secret,
    Settings,
    resolve_secret,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.composite_files import CompositeFiles
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, Trace, WsmanClient


@dataclass(slots=True)
class Part:
    """One assembled host."""

    resource: Resource
    client: WsmanClient
    files: CompositeFiles

    async def close(self) -> None:
        """Close all connections to the host."""
        await self.client.close()
        await self.files.close()


def assemble(
    settings: Settings, host: HostSettings, peers: Mapping[str, HostContext] | None = None
) -> Part:
    """Assemble one host, unconnected; raises ConfigurationError."""
    client = wsman_client(host)
    files = CompositeFiles.of_host(host, settings.storage.stores)
    context = HostContext(settings, host, client, files, peers={} if peers is None else peers)
    return Part(Resource(context), client, files)


def addresses_of(context: HostContext) -> tuple[str, ...]:
    """Return the addresses that mean a host in commands: its own, and the agent's for it.

    The management server knows a host by the agent's address where that stands in for it.
    """
    host = context.host
    found = (context.private_address, host.listen, host.gateway_address)
    return tuple(address for address in found if address is not None)


def wsman_client(host: HostSettings, trace: Trace | None = None) -> WsmanClient:
    """Return an unconnected client for a host; raises ConfigurationError for a missing secret.

    `trace` receives every exchange, without secrets.
    """
    winrm = host.winrm
    endpoint = Endpoint(
        host=winrm.address,
        port=winrm.port or 0,
        https=winrm.transport == "https",
        ca_file=_path(winrm.ca_file),
        certificate_sha256=winrm.certificate_fingerprint or "",
        any_certificate=not winrm.verify_certificate,
    )
    try:
        return WsmanClient(
            endpoint,
            credentials_of(host),
            default_timeout=winrm.timeout,
            max_connections=winrm.connections,
            trace=trace,
        )
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"host {host.name}: winrm: {error}") from error


def credentials_of(host: HostSettings) -> Credentials:
    """Return a host's login, its secret fetched now; raises ConfigurationError."""
    winrm = host.winrm
    password: Secret | None = None
    without = (AuthenticationMethod.CERTIFICATE, AuthenticationMethod.KERBEROS)
    if winrm.authentication not in without or winrm.password is not None:
        password = resolve_secret(winrm.password, purpose=f"host {host.name}: winrm.password")
    return Credentials(
        scheme=AuthScheme(winrm.authentication.value),
        username=winrm.user,
        password=password.reveal() if password is not None else "",
        certificate=_path(winrm.client_certificate),
        private_key=_path(winrm.client_key),
        allow_clear_text=winrm.allow_unencrypted,
    )


def payload_resource(settings: Settings, host: HostSettings) -> Resource:
    """Assemble the resource for a host that only an extension's payload describes.

    No way leads to its files: the host itself does what has to be done with them.
    """
    return Resource(HostContext(settings, host, wsman_client(host), FolderFiles(())))


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


@asynccontextmanager
async def resources(settings: Settings) -> AsyncIterator[list[Resource]]:
    """Assemble one resource a configured host; connections are closed at the end."""
    made: list[Resource] = []
    peers: dict[str, HostContext] = {}
    async with AsyncExitStack() as closing:
        for host in settings.hosts:
            part = assemble(settings, host, peers)
            closing.push_async_callback(part.close)
            peers.update(dict.fromkeys(addresses_of(part.resource.context), part.resource.context))
            made.append(part.resource)
        yield made
