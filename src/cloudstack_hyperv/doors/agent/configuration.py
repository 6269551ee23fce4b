"""What one host's agent goes by: the TOML first, then agent.properties, then the default.

The keys of agent.properties are those of CloudStack's KVM agent, so that what
`cloudstack-setup-agent` and an operator's habits put there keeps its meaning.

The host's identity is its guid.  `generate_from_<key>` makes it from another property's value, as
the Hyper-V agent of 2013 did: Java's UUID.nameUUIDFromBytes of `private.ip.address`, which is also
the guid under which the stock plugin books a host at this address (HypervServerDiscoverer).
"""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cloudstack_hyperv.config import (
    AgentDoorSettings,
    ConfigurationError,
    HostSettings,
    Settings,
)
from cloudstack_hyperv.doors.agent.properties import (
    Properties,
    PropertiesFile,
    PropertiesUnreadable,
)
from cloudstack_hyperv.link import Limits
from cloudstack_hyperv.wire import ServerList, ServerListInvalid

RESOURCE: Final = "HypervResource"
"""Ends the guid and begins the keys of what is remembered, as in CloudStack's own agents."""
GENERATE_FROM: Final = "generate_from_"
PRIVATE_ADDRESS: Final = "private.ip.address"

ELSEWHERE: Final = {
    "private.network.device": "switches are found by CloudStack's traffic labels",
    "public.network.device": "switches are found by CloudStack's traffic labels",
    "guest.network.device": "switches are found by CloudStack's traffic labels",
    "local.storage.path": "set hosts.local_pool",
    "local.storage.uuid": "it is made from the host's address and the pool's folder",
    "host.reserved.mem.mb": "set hosts.reserved_memory_mb",
    "cmds.timeout": "a command's own wait holds, else direct.default_wait",
}
"""Keys of the KVM agent that say nothing here, and what to do instead."""


class HostWasRemoved(ConfigurationError):
    """A management server removed this host for good and its agent.properties says so."""


@dataclass(frozen=True, slots=True)
class AgentConfiguration:
    """One host's agent."""

    name: str
    guid: str
    """Without the tail."""
    zone: str
    pod: str
    cluster: str
    private_address: str
    servers: ServerList
    port: int
    workers: int
    ping_retries: int
    backoff: float
    preferred_check_interval: float | None
    limits: Limits
    door: AgentDoorSettings
    properties: PropertiesFile | None
    certificates: Path
    """Folder of the key and certificate that the management server had made."""
    certificate_prefix: str = "cloud"

    @property
    def full_guid(self) -> str:
        """The guid as the management server books it."""
        return f"{self.guid}-{RESOURCE}"


def agent_configuration(
    settings: Settings, host: HostSettings, position: int
) -> tuple[AgentConfiguration, Properties]:
    """Return how the host's agent is to be, and the properties read; raises ConfigurationError.

    `position` is the host's place among its neighbours: it spreads them over the servers.
    """
    door = settings.agent or AgentDoorSettings()
    path = host.agent.properties or door.properties
    file = PropertiesFile(Path(path)) if path else None
    try:
        properties = file.load() if file else Properties()
    except PropertiesUnreadable as error:
        raise ConfigurationError(str(error)) from error
    values = _Values(host.name, properties)
    zone = host.agent.zone or door.zone or values.text("zone")
    if zone is None and "zone" in properties.names() and properties.get("zone") is None:
        raise HostWasRemoved(
            f"{path}: zone is blank: this host was removed from CloudStack; to offer it again set "
            "zone, pod and cluster"
        )
    address = host.private_address or properties.get(PRIVATE_ADDRESS) or host.winrm.address
    folder, prefix = _certificate_place(settings, host, file)
    configuration = AgentConfiguration(
        name=host.name,
        guid=_guid(host, properties, address),
        zone=zone or "default",
        pod=host.agent.pod or door.pod or values.text("pod") or "default",
        cluster=host.agent.cluster or door.cluster or values.text("cluster") or "default",
        private_address=address,
        servers=_servers(door, values, position),
        port=door.port or values.whole("port") or 8250,
        workers=door.workers or values.whole("workers") or 50,
        ping_retries=door.ping_retries or values.whole("ping.retries") or 3,
        backoff=door.backoff or values.whole("backoff.seconds") or 5.0,
        preferred_check_interval=(
            door.preferred_check_interval
            if door.preferred_check_interval is not None
            else values.whole("host.lb.check.interval")
        ),
        limits=Limits(
            connect=door.connect_timeout,
            handshake=door.handshake_timeout or values.whole("ssl.handshake.timeout") or 30.0,
            unfinished=door.frame_timeout,
            unread=door.frame_timeout,
            most_frame_bytes=door.max_frame_bytes,
        ),
        door=door,
        properties=file,
        certificates=folder,
        certificate_prefix=prefix,
    )
    return configuration, properties


def name_based_uuid(text: str) -> str:
    """Return Java's UUID.nameUUIDFromBytes of the text: MD5 without a name space."""
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest, version=3))


@dataclass(frozen=True, slots=True)
class _Values:
    host: str
    properties: Properties

    def text(self, key: str) -> str | None:
        """Return a value; a template that nobody filled in (`@ZONE@`) is none."""
        value = self.properties.get(key)
        if value is not None and value.startswith("@") and value.endswith("@"):
            return None
        return value

    def whole(self, key: str) -> int | None:
        value = self.text(key)
        if value is None:
            return None
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < 0:
            raise ConfigurationError(
                f"host {self.host}: agent.properties: {key} must be a whole number, not {value!r}"
            )
        return number


def _guid(host: HostSettings, properties: Properties, address: str) -> str:
    text = host.agent.guid or properties.get("guid") or GENERATE_FROM + PRIVATE_ADDRESS
    if not text.startswith(GENERATE_FROM):
        return text.removesuffix(f"-{RESOURCE}")
    key = text.removeprefix(GENERATE_FROM)
    seed = address if key == PRIVATE_ADDRESS else properties.get(key)
    if not seed:
        raise ConfigurationError(f"host {host.name}: guid {text}: there is no property {key}")
    return name_based_uuid(seed)


def _servers(door: AgentDoorSettings, values: _Values, position: int) -> ServerList:
    if door.servers:
        listed = ServerList(door.servers, door.algorithm or "static")
        return listed.ordered_for(position, lambda servers: random.sample(servers, len(servers)))
    text = values.properties.get("host")
    if text is None:
        raise ConfigurationError(
            f"host {values.host}: no management server is configured: set agent.servers"
        )
    try:
        return ServerList.parse(text)
    except ServerListInvalid as error:
        raise ConfigurationError(f"host {values.host}: agent.properties: host: {error}") from error


def _certificate_place(
    settings: Settings, host: HostSettings, file: PropertiesFile | None
) -> tuple[Path, str]:
    """Beside agent.properties under the KVM agent's names, or in the state folder."""
    if file is None:
        return settings.state_path() / "agent" / quote(host.name, safe=" ."), "cloud"
    own_name = file.path.name == "agent.properties"
    return file.path.parent, "cloud" if own_name else f"{file.path.stem}.cloud"
