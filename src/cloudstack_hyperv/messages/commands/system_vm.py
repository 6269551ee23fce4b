"""Commands for console proxies, secondary storage VMs and system VMs in general.

Like those for routers they do not reach a Hyper-V host; they are typed so that one that strays
is recognised and refused in its own answer's class.
"""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.host import AgentControlAnswer
from cloudstack_hyperv.messages.answers.storage import SecStorageSetupAnswer
from cloudstack_hyperv.messages.answers.system_vm import (
    CheckSshAnswer,
    ConsoleAccessAuthenticationAnswer,
    ConsoleProxyLoadAnswer,
    CopyToSecondaryStorageAnswer,
    DiagnosticsAnswer,
    PatchSystemVmAnswer,
    PrepareFilesAnswer,
)
from cloudstack_hyperv.messages.command import Command, NetworkElementCommand, command
from cloudstack_hyperv.messages.commands.host import AgentControlCommand
from cloudstack_hyperv.messages.java import AGENT_API, CHECK, DIAGNOSTICS, PROXY
from cloudstack_hyperv.messages.objects.router import PortConfig
from cloudstack_hyperv.messages.objects.storage import DataStoreTO
from cloudstack_hyperv.messages.wire import WireObject


@command(CHECK, answer=CheckSshAnswer)
class CheckSshCommand(Command):
    """Wait until a system VM can be reached; the interval is in seconds."""

    ip: str | None = None
    port: int = 0
    interval: int = 0
    retries: int = 0
    name: str | None = None


@command(AGENT_API, answer=Answer)
class PingTestCommand(Command):
    """Ping a host, or a VM from its router."""

    computing_host_ip: str | None = msgspec.field(default=None, name="_computingHostIp")
    router_ip: str | None = msgspec.field(default=None, name="_routerIp")
    private_ip: str | None = msgspec.field(default=None, name="_privateIp")


@command(AGENT_API, answer=PatchSystemVmAnswer)
class PatchSystemVmCommand(NetworkElementCommand):
    """Renew the scripts of a system VM."""

    forced: bool = False


@command(AGENT_API, answer=Answer)
class HandleCksIsoCommand(NetworkElementCommand):
    """Mount or unmount the ISO of a Kubernetes version in a router."""

    mount_cks_iso: bool = False


class ConsoleProxyCommand(Command):
    """A command that concerns one console proxy."""

    proxy_vm_id: int = 0
    proxy_vm_name: str | None = None
    proxy_management_ip: str | None = None
    proxy_cmd_port: int = 0


@command(PROXY, answer=ConsoleProxyLoadAnswer)
class CheckConsoleProxyLoadCommand(ConsoleProxyCommand):
    """Ask a console proxy for its load."""


@command(PROXY, answer=ConsoleProxyLoadAnswer)
class WatchConsoleProxyLoadCommand(ConsoleProxyCommand):
    """Ask a console proxy for its load again and again, every `interval` seconds."""

    interval: int = 0


@command(PROXY, answer=Answer)
class AllowConsoleAccessCommand(Command):
    """Allow a console session."""

    session_uuid: str | None = None


@command(PROXY, answer=Answer)
class StartConsoleProxyAgentHttpHandlerCommand(Command):
    """Start the web server of a console proxy."""

    keystore_bits: bytes | None = None
    keystore_password: str | None = None
    encryptor_password: str | None = None
    is_source_ip_check_enabled: bool | None = None


@command(AGENT_API, answer=ConsoleAccessAuthenticationAnswer)
class ConsoleAccessAuthenticationCommand(AgentControlCommand):
    """A console proxy asks whether a session is allowed."""

    host: str | None = msgspec.field(default=None, name="_host")
    port: str | None = msgspec.field(default=None, name="_port")
    vm_id: str | None = msgspec.field(default=None, name="_vmId")
    sid: str | None = msgspec.field(default=None, name="_sid")
    ticket: str | None = msgspec.field(default=None, name="_ticket")
    session_uuid: str | None = None
    client_address: str | None = None
    is_reauthenticating: bool = msgspec.field(default=False, name="_isReauthenticating")


@command(AGENT_API, answer=AgentControlAnswer)
class ConsoleProxyLoadReportCommand(AgentControlCommand):
    """A console proxy tells its load."""

    proxy_vm_id: int = msgspec.field(default=0, name="_proxyVmId")
    load_info: str | None = msgspec.field(default=None, name="_loadInfo")


class Certificates(WireObject):
    """`KeystoreManager$Certificates`: a key and its certificates (PEM)."""

    priv_key: str | None = None
    priv_cert: str | None = None
    cert_chain: str | None = None
    root_ca_cert: str | None = msgspec.field(default=None, name="rootCACert")


@command(AGENT_API, answer=SecStorageSetupAnswer)
class SecStorageSetupCommand(Command):
    """Mount a secondary store in a secondary storage VM."""

    store: DataStoreTO | None = None
    sec_url: str | None = None
    certs: Certificates | None = None
    post_upload_key: str | None = None
    nfs_version: str | None = None


@command(AGENT_API, answer=Answer)
class SecStorageFirewallCfgCommand(Command):
    """Let other secondary storage VMs in."""

    port_configs: list[PortConfig] | None = None
    is_append_a_ip: bool | None = msgspec.field(default=None, name="isAppendAIp")


@command(AGENT_API, answer=Answer)
class SecStorageVMSetupCommand(Command):
    """Set up a secondary storage VM."""

    allowed_internal_sites: list[str] | None = None
    copy_user_name: str | None = None
    copy_password: str | None = None


@command(DIAGNOSTICS, answer=DiagnosticsAnswer)
class DiagnosticsCommand(NetworkElementCommand):
    """Run ping, traceroute or arping in a system VM."""

    script_arguments: str | None = None
    execute_in_sequence: bool = False


@command(DIAGNOSTICS, answer=PrepareFilesAnswer)
class PrepareFilesCommand(NetworkElementCommand):
    """Pack files of a system VM."""

    files_to_retrieve_list: list[str] | None = None
    timeout: int = 0


@command(DIAGNOSTICS, answer=CopyToSecondaryStorageAnswer)
class CopyToSecondaryStorageCommand(Command):
    """Copy packed files of a system VM to secondary storage."""

    secondary_storage_url: str | None = None
    system_vm_ip: str | None = None
    file_name: str | None = None
    nfs_version: str | None = None


@command(DIAGNOSTICS, answer=Answer)
class DeleteFileInVrCommand(NetworkElementCommand):
    """Delete packed files in a system VM."""

    file_name: str | None = None
