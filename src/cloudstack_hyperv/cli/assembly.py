"""From settings to running parts: the only place that knows which class fills which role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudstack_hyperv.config import (
    AuthenticationMethod,
    HostSettings,
    Secret,
    Settings,
    resolve_secret,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.wsman import Credentials, Endpoint, WsmanClient


def wsman_client(host: HostSettings) -> WsmanClient:
    """Return an unconnected client for a host; raises ConfigurationError for a missing secret."""
    winrm = host.winrm
    password: Secret | None = None
    if winrm.authentication not in (
        AuthenticationMethod.CERTIFICATE,
        AuthenticationMethod.KERBEROS,
    ):
        password = resolve_secret(winrm.password, purpose=f"host {host.name}: winrm.password")
    elif winrm.password is not None:
        password = resolve_secret(winrm.password, purpose=f"host {host.name}: winrm.password")
    endpoint = Endpoint(
        host=winrm.address,
        port=winrm.port or (5986 if winrm.transport == "https" else 5985),
        tls=winrm.transport == "https",
        ca_file=winrm.ca_file,
        fingerprint=winrm.certificate_fingerprint,
        client_certificate=winrm.client_certificate,
        client_key=winrm.client_key,
    )
    credentials = Credentials(
        method=winrm.authentication.value,
        user=winrm.user,
        password=password.reveal() if password is not None else None,
        allow_unencrypted=winrm.allow_unencrypted,
    )
    return WsmanClient(endpoint, credentials, connections=winrm.connections, timeout=winrm.timeout)


@asynccontextmanager
async def resources(settings: Settings) -> AsyncIterator[list[Resource]]:
    """Assemble one resource a configured host; connections are closed at the end."""
    made: list[Resource] = []
    try:
        for host in settings.hosts:
            files = FolderFiles(host.mounts)
            made.append(Resource(HostContext(settings, host, wsman_client(host), files)))
        yield made
    finally:
        for resource in made:
            await resource.context.cim.close()
