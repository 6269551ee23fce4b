"""What the operator asked for, as one frozen tree read from one TOML file.

Unknown keys are errors that name the nearest valid key; a secret is given inline, by file or by
environment variable, and its value never shows in `repr`.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0)]


class Secret:
    """A secret text that does not show itself: `reveal()` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table: unknown keys are refused."""


class SecretSource(Table, frozen=True):
    """Where a secret comes from: exactly one of the three."""

    value: str | None = None
    file: str | None = None
    """A file whose first line is the secret; refused when others than its owner may read it."""
    environment: str | None = None

    def __repr__(self) -> str:
        shown = self.file or self.environment or "***"
        return f"SecretSource({shown})"


class AuthenticationMethod(enum.StrEnum):
    """How we log in to WinRM."""

    NEGOTIATE = "negotiate"
    NTLM = "ntlm"
    KERBEROS = "kerberos"
    CREDSSP = "credssp"
    BASIC = "basic"
    CERTIFICATE = "certificate"


class WinrmSettings(Table, frozen=True):
    """How to reach one Hyper-V host's WinRM."""

    address: str
    port: Port | None = None
    """5986 for https, 5985 for http when absent."""
    transport: str = "https"
    """"https" or "http"."""
    authentication: AuthenticationMethod = AuthenticationMethod.NEGOTIATE
    user: str = ""
    password: SecretSource | None = None
    allow_unencrypted: bool = False
    """Basic over plain http, or unsealed Negotiate: only for loopback and tests."""
    ca_file: str | None = None
    """CA bundle that the host's certificate must chain to; the system's when absent."""
    certificate_fingerprint: str | None = None
    """SHA-256 of the host's certificate in hex: pinning instead of a CA."""
    verify_certificate: bool = True
    """False believes whoever answers over https; prefer certificate_fingerprint."""
    client_certificate: str | None = None
    client_key: str | None = None
    connections: Annotated[int, Meta(ge=1, le=24)] = 8
    timeout: Seconds = 60.0


class MountSettings(Table, frozen=True):
    """A folder of the gateway that *is* a folder of the host."""

    host_path: str
    """Windows path on the host, such as `C:\\` or `D:\\VMs`."""
    folder: str
    """Folder on the gateway."""


class HostAgentSettings(Table, frozen=True):
    """What the connected door says of one host; each key wins over the same one of `[agent]`."""

    zone: str | None = None
    pod: str | None = None
    cluster: str | None = None
    guid: str | None = None
    """A UUID, or `generate_from_private.ip.address` (the default): made from the host's address."""
    properties: str | None = None
    """This host's own agent.properties, in the format of CloudStack's KVM agent."""


class SmbShareSettings(Table, frozen=True):
    """A folder of the host that is shared under a name of its own."""

    host_path: str
    """Windows path on the host, such as `D:\\CloudStack`."""
    share: str
    """Name of the share, such as `cloudstack$`."""


class SmbSettings(Table, frozen=True):
    """How to reach one Hyper-V host's files by SMB: the table's presence turns it on."""

    address: str | None = None
    """winrm.address when absent."""
    port: Port = 445
    user: str | None = None
    """`DOMAIN\\user`; WinRM's user and password when absent."""
    password: SecretSource | None = None
    authentication: Literal["negotiate", "ntlm", "kerberos"] = "negotiate"
    admin_shares: bool = True
    """Reach drives by `C$`, `D$`, ...: needs an administrator's login."""
    shares: tuple[SmbShareSettings, ...] = ()
    encryption: bool = True
    """Without it messages are signed only."""
    minimum_dialect: Literal["3.0", "3.0.2", "3.1.1"] = "3.0"
    connections: Annotated[int, Meta(ge=1, le=32)] = 4
    """For small requests; each running copy has one more."""
    timeout: Seconds = 30.0
    """For connecting, and for the answer to one request."""
    sparse_files: bool = False
    """Mark new files as sparse: Hyper-V opens no disk that is marked so."""


class HostSettings(Table, frozen=True):
    """One Hyper-V host."""

    name: str
    """Our name for it; shows in logs."""
    winrm: WinrmSettings
    private_address: str | None = None
    """Address of the host as CloudStack knows it (privateIpAddress); winrm.address if absent."""
    listen: str | None = None
    """Address of ours at which the direct door answers for this host."""
    listen_port: Port | None = None
    """Port of ours instead of direct.port, where a redirect leads from the address's 8250 to it."""
    gateway_address: str | None = None
    """Address by which CloudStack knows the host, where that is neither `listen` nor its own."""
    mounts: tuple[MountSettings, ...] = ()
    smb: SmbSettings | None = None
    """Used for what no mount leads to."""
    local_pool: str | None = None
    """Folder offered as local primary storage; the host's default VHD folder when absent."""
    offer_local_pool: bool = True
    reserved_memory_mb: Annotated[int, Meta(ge=0)] = 2048
    """Kept for the parent partition (dom0MinMemory)."""
    configuration_root: str | None = None
    """Folder for VM configurations; the host's default when absent."""
    shutdown_timeout: Seconds = 120.0
    """How long a graceful stop waits for the guest before the VM is turned off."""
    agent: HostAgentSettings = HostAgentSettings()
    emulated: bool = False


class StoreSettings(Table, frozen=True):
    """A secondary (or shared primary) store, found by its URL without query."""

    url: str
    """`cifs://server/share`, as CloudStack sends it, without credentials."""
    folder: str | None = None
    """Folder of the gateway that holds the store's content."""
    host_path: str | None = None
    """Windows path under which the host itself sees the store (ISOs are attached from there)."""
    user: str | None = None
    password: SecretSource | None = None
    domain: str | None = None
    smb_encryption: bool = True
    """Encrypt what goes to this server; without it messages are signed only."""
    smb_minimum_dialect: Literal["3.0", "3.0.2", "3.1.1"] = "3.0"


class StorageSettings(Table, frozen=True):
    """How bytes move."""

    stores: tuple[StoreSettings, ...] = ()
    clone: str = "full"
    """Root disks from templates: "full" copy or "differencing"."""
    block_size_mib: Annotated[int, Meta(ge=1, le=256)] = 1
    parallel_copies: Annotated[int, Meta(ge=1, le=64)] = 8
    copy_rate_mib: Annotated[float, Meta(ge=0)] = 0.0
    """Most MiB a second of one copy over SMB; 0 for no limit."""
    download_limit_gib: Annotated[int, Meta(ge=1)] = 2048
    """Most GiB of a template that comes from a web server, as it is there."""
    download_allow: tuple[str, ...] = ()
    """Networks of loopback, link-local or reserved addresses from which templates may come."""


class DirectDoorSettings(Table, frozen=True):
    """The HTTPS JSON door that a stock management server calls."""

    enabled: bool = True
    port: Port = 8250
    certificate: str | None = None
    """PEM file; made on first start in `state_folder` when absent."""
    key: str | None = None
    allow: tuple[str, ...] = ()
    """Addresses or networks of the management servers; nobody else is served."""
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 16 * 1024 * 1024
    header_timeout: Seconds = 15.0
    body_timeout: Seconds = 60.0
    default_wait: Seconds = 1800.0
    """Deadline of a command whose own `wait` is 0."""
    drain_timeout: Seconds = 60.0
    """How long a graceful stop waits for running commands."""
    client_ca: str | None = None
    """PEM bundle: callers must show a certificate that chains to it.  A stock server shows none."""
    connections: Annotated[int, Meta(ge=1)] = 500
    """Open at the same time, per host."""
    requests_per_connection: Annotated[int, Meta(ge=1)] = 1000
    keepalive_timeout: Seconds = 75.0
    """How long a connection may wait for its next request."""
    forward_console: bool = False
    """Lead port 2179 of each host's listen address to that port of the host."""
    console_port: Port = 2179
    console_allow: tuple[str, ...] = ()
    """Addresses or networks of the console proxies that may use it."""
    console_connections: Annotated[int, Meta(ge=1)] = 50
    """Consoles at the same time, per host."""


class AgentDoorSettings(Table, frozen=True):
    """The connected door: the agent dials the management server, as CloudStack's KVM agent does.

    A key that is absent is read from agent.properties, if there is one; the default comes last.
    """

    enabled: bool = True
    properties: str | None = None
    """An agent.properties for the only host; with several hosts each has its own."""
    servers: tuple[str, ...] = ()
    """Management servers (property `host`)."""
    algorithm: str | None = None
    """"static", "roundrobin" or "shuffle"."""
    port: Port | None = None
    """8250."""
    zone: str | None = None
    """Number or name; so are pod and cluster, of which the number is better."""
    pod: str | None = None
    cluster: str | None = None
    workers: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Requests that run at once, per host; 50."""
    ping_retries: Annotated[int, Meta(ge=1)] | None = None
    """Unanswered pings in a row after which the connection is given up; 3."""
    backoff: Seconds | None = None
    """The first pause between tries (property `backoff.seconds`); 5."""
    backoff_limit: Seconds = 60.0
    """The pause doubles up to this."""
    refused_retry: Seconds = 300.0
    """The pause after the management server refused the host."""
    preferred_check_interval: Annotated[float, Meta(ge=0)] | None = None
    """Seconds between checks for the first server of the list; the server's value when absent."""
    silent_after: Annotated[int, Meta(ge=0)] = 3
    """Pings in a row without word from the Hyper-V host before pings stop; 0: they never do."""
    connect_timeout: Seconds = 10.0
    handshake_timeout: Seconds | None = None
    """30."""
    startup_timeout: Seconds = 180.0
    frame_timeout: Seconds = 60.0
    """For the rest of a frame that has begun, and for a server that does not read."""
    drain_timeout: Seconds = 60.0
    """How long a graceful stop waits for running commands."""
    max_frame_bytes: Annotated[int, Meta(ge=65536)] = 16 * 1024 * 1024
    ca_file: str | None = None
    """PEM bundle that the management server's certificate must chain to."""
    server_fingerprints: tuple[str, ...] = ()
    """SHA-256 of the servers' certificates in hex: pinning instead of a CA."""
    trust_any_server: bool = False
    """Believe whoever answers, until the management server has sent its CA certificate."""
    certificate: str | None = None
    """PEM client certificate for the first connection; one that the server issues replaces it."""
    key: str | None = None
    cloudstack_version: str = "4.22.0.0"
    """Told at Startup."""


class ExtensionDoorSettings(Table, frozen=True):
    """The extension door: a local socket that the extension's executable speaks to."""

    enabled: bool = True
    socket: str = "/run/cloudstack-hyperv/extension.sock"
    """Who may open it may command every host: its mode is 0660."""
    group: str | None = None
    """Group of the socket, such as `cloud`, whose management server runs the executable."""
    any_host: bool = True
    """Serve hosts that only the call describes, with the login that it carries."""
    connections: Annotated[int, Meta(ge=1, le=1000)] = 200
    """Calls at the same time."""
    drain_timeout: Seconds = 60.0
    """How long a graceful stop waits for running calls."""


class LogSettings(Table, frozen=True):
    """Structured logs."""

    level: str = "info"
    format: str = "text"
    """"text" or "json"."""


class Settings(Table, frozen=True):
    """The whole file."""

    hosts: tuple[HostSettings, ...] = ()
    storage: StorageSettings = StorageSettings()
    direct: DirectDoorSettings = DirectDoorSettings()
    agent: AgentDoorSettings | None = None
    """The connected door is open when the table is there."""
    extension: ExtensionDoorSettings | None = None
    """The extension door is open when the table is there."""
    log: LogSettings = LogSettings()
    state_folder: str = "/var/lib/cloudstack-hyperv"

    def state_path(self) -> Path:
        """Return the folder for what the agent itself keeps (certificates)."""
        return Path(self.state_folder)
