"""From settings to running parts: the only place that knows which class fills which role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
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
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient


def wsman_client(host: HostSettings) -> WsmanClient:
    """Return an unconnected client for a host; raises ConfigurationError for a missing secret."""
    winrm = host.winrm
    password: Secret | None = None
    if (
        winrm.authentication
        not in (
            AuthenticationMethod.CERTIFICATE,
            AuthenticationMethod.KERBEROS,
        )
        or winrm.password is not None
    ):
        password = resolve_secret(winrm.password, purpose=f"host {host.name}: winrm.password")
    endpoint = Endpoint(
        host=winrm.address,
        port=winrm.port or 0,
        https=winrm.transport == "https",
        ca_file=_path(winrm.ca_file),
        certificate_sha256=winrm.certificate_fingerprint or "",
        any_certificate=not winrm.verify_certificate,
    )
    credentials = Credentials(
        scheme=AuthScheme(winrm.authentication.value),
        username=winrm.user,
        password=password.reveal() if password is not None else "",
        certificate=_path(winrm.client_certificate),
        private_key=_path(winrm.client_key),
        allow_clear_text=winrm.allow_unencrypted,
    )
    try:
        return WsmanClient(
            endpoint,
            credentials,
            default_timeout=winrm.timeout,
            max_connections=winrm.connections,
        )
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"host {host.name}: winrm: {error}") from error


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
            files = CompositeFiles.of_host(host, settings.storage.stores)
            closing.push_async_callback(files.close)
            context = HostContext(settings, host, wsman_client(host), files, peers=peers)
            closing.push_async_callback(context.cim.close)
            peers[context.private_address] = context
            if host.listen is not None:
                # The management server knows the host by the agent's address for it.
                peers[host.listen] = context
            made.append(Resource(context))
        yield made
