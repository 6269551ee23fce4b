"""Commands about the host itself: readiness, health, pings, maintenance, certificates."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer, UnsupportedAnswer
from cloudstack_hyperv.messages.answers.host import (
    AgentControlAnswer,
    ChangeAgentAnswer,
    CheckGuestOsMappingAnswer,
    CheckHealthAnswer,
    CheckNetworkAnswer,
    CheckOnHostAnswer,
    FenceAnswer,
    GetHypervisorGuestOsNamesAnswer,
    MaintainAnswer,
    MigrateAgentConnectionAnswer,
    ReadyAnswer,
    RollingMaintenanceAnswer,
    SetupAnswer,
)
from cloudstack_hyperv.messages.answers.system_vm import (
    SetupCertificateAnswer,
    SetupKeystoreAnswer,
    SetupMSListAnswer,
)
from cloudstack_hyperv.messages.command import Command, NetworkElementCommand, command
from cloudstack_hyperv.messages.java import AGENT_API, AGENT_LB, CA, CLOUDSTACK
from cloudstack_hyperv.messages.objects.host import (
    CommandInfo,
    HostTO,
    HostVmStateReportEntry,
    PhysicalNetworkSetupInfo,
)
from cloudstack_hyperv.messages.objects.pairs import Pair, Ternary
from cloudstack_hyperv.messages.objects.storage import StorageFilerTO


@command(AGENT_API, answer=ReadyAnswer)
class ReadyCommand(Command):
    """The host is admitted; without any field it is the probe before a host is added."""

    refusal: str | None = msgspec.field(default=None, name="_details")
    dc_id: int | None = None
    host_id: int | None = None
    host_uuid: str | None = None
    host_name: str | None = None
    ms_host_list: list[str] | None = None
    avoid_ms_host_list: list[str] | None = None
    lb_algorithm: str | None = None
    lb_check_interval: int | None = None
    enable_human_readable_sizes: bool | None = None
    arch: str | None = None


@command(AGENT_API, answer=SetupAnswer)
class SetupCommand(Command):
    """Set the host up for CloudStack."""

    env: dict[str, str] | None = None
    multipath: bool = False
    need_setup: bool = False
    secondary_storage: str | None = None
    system_vm_iso: str | None = None


@command(AGENT_API, answer=CheckNetworkAnswer)
class CheckNetworkCommand(Command):
    """Check that every traffic label of the zone's physical networks has its switch."""

    network_info_list: list[PhysicalNetworkSetupInfo] = msgspec.field(default_factory=list)


@command(AGENT_API, answer=CheckHealthAnswer)
class CheckHealthCommand(Command):
    """Say whether this host is alive."""


@command(AGENT_API, answer=CheckOnHostAnswer)
class CheckOnHostCommand(Command):
    """Say whether *another* host is down; it is sent to a neighbour of it."""

    host: HostTO | None = None
    report_check_failure_if_one_storage_is_down: bool = False


@command(AGENT_API, answer=Answer)
class CheckVMActivityOnStoragePoolCommand(Command):
    """Say whether a lost host's VMs still write to a pool; the time is in seconds."""

    host: HostTO | None = None
    pool: StorageFilerTO | None = None
    volume_list: str | None = None
    suspect_time_seconds: int = 0


@command(AGENT_API, answer=FenceAnswer)
class FenceCommand(Command):
    """Make sure that a lost host's VM does not run any more."""

    vm_name: str | None = None
    host_guid: str | None = None
    host_ip: str | None = None
    in_seq: bool = False
    host: HostTO | None = None
    report_check_failure_if_one_storage_is_down: bool = False


@command(AGENT_API, answer=MaintainAnswer)
class MaintainCommand(Command):
    """Prepare for maintenance.  There is no command for its end: the host just reconnects."""


@command(AGENT_API, answer=RollingMaintenanceAnswer)
class RollingMaintenanceCommand(Command):
    """Run a stage of a rolling maintenance."""

    stage: str | None = None
    payload: str | None = None
    started: bool = False
    check_maintenance_script: bool = False


@command(AGENT_API, answer=Answer)
class PingCommand(Command):
    """A sign of life."""

    host_type: str | None = None
    host_id: int = 0
    out_of_band: bool = False
    command_infos: list[CommandInfo] = msgspec.field(default_factory=list)


@command(AGENT_API, answer=Answer)
class PingRoutingCommand(PingCommand):
    """A sign of life with the power states that the host has just reported."""

    host_vm_state_report: dict[str, HostVmStateReportEntry] | None = msgspec.field(
        default=None, name="_hostVmStateReport"
    )
    gateway_accessible: bool = msgspec.field(default=False, name="_gatewayAccessible")
    vnet_accessible: bool = msgspec.field(default=False, name="_vnetAccessible")
    host_health_check_result: bool | None = None


@command(AGENT_API, answer=Answer)
class PingRoutingWithNwGroupsCommand(PingRoutingCommand):
    """A sign of life with the sequence numbers of security group rules in force."""

    new_group_states: dict[str, list[int]] | None = None


@command(AGENT_API, answer=Answer)
class PingRoutingWithOvsCommand(PingRoutingCommand):
    """A sign of life with the states of Open vSwitch."""

    states: list[Pair[str, int]] | None = None


@command(AGENT_API, answer=Answer)
class PingStorageCommand(PingCommand):
    """A sign of life of a storage host."""

    changes: dict[str, bool] | None = None


@command(CLOUDSTACK, answer=Answer)
class HostVmStateReportCommand(Command):
    """Report the power state of every VM; answered by an array of its own shape."""


@command(AGENT_API, answer=Answer)
class ShutdownCommand(Command):
    """The connection is given up, with `remove_host` for good."""

    reason: str | None = None
    detail: str | None = None
    remove_host: bool = False


@command(AGENT_API, answer=AgentControlAnswer)
class AgentControlCommand(Command):
    """A message between agent and server components; the base of such."""


@command(AGENT_API, answer=Answer)
class TransferAgentCommand(Command):
    """One management server hands an agent to another."""

    agent_id: int = 0
    future_owner: int = 0
    current_owner: int = 0
    is_connection_transfer: bool = False
    event: str | None = None


@command(AGENT_API, answer=ChangeAgentAnswer)
class ChangeAgentCommand(Command):
    """One management server tells another of an agent."""

    agent_id: int = 0
    event: str | None = None


@command(AGENT_LB, answer=SetupMSListAnswer)
class SetupMSListCommand(Command):
    """The management servers that an agent may connect to."""

    ms_list: list[str] | None = None
    avoid_ms_list: list[str] | None = None
    lb_algorithm: str | None = None
    lb_check_interval: int | None = None
    trigger_host_lb: bool | None = None


@command(AGENT_API, answer=MigrateAgentConnectionAnswer)
class MigrateAgentConnectionCommand(Command):
    """Move to another management server."""

    ms_list: list[str] | None = None
    avoid_ms_list: list[str] | None = None
    lb_algorithm: str | None = None
    lb_check_interval: int | None = None


@command(AGENT_API, answer=CheckGuestOsMappingAnswer)
class CheckGuestOsMappingCommand(Command):
    """Say whether the hypervisor knows a guest operating system by this name."""

    guest_os_name: str | None = None
    guest_os_hypervisor_mapping_name: str | None = None
    hypervisor_version: str | None = None


@command(AGENT_API, answer=GetHypervisorGuestOsNamesAnswer)
class GetHypervisorGuestOsNamesCommand(Command):
    """List the guest operating systems that the hypervisor knows."""

    keyword: str | None = None


@command(AGENT_API, answer=Answer)
class UpdateHostPasswordCommand(Command):
    """Change the password of the host's administrator."""

    username: str | None = None
    new_password: str | None = None
    host_ip: str | None = None


@command(AGENT_API, answer=Answer)
class ModifySshKeysCommand(Command):
    """Keys with which the host reaches its system VMs."""

    pub_key: str | None = msgspec.field(default=None, name="_pubKey")
    prv_key: str | None = msgspec.field(default=None, name="_prvKey")


@command(AGENT_API, answer=Answer)
class SetHostParamsCommand(Command):
    """Set parameters of the agent."""

    params: dict[str, str] | None = None


@command(AGENT_API, answer=Answer)
class CancelCommand(Command):
    """Stop working on a request."""

    sequence: int = 0
    reason: str | None = None


@command(AGENT_API, answer=Answer)
class PropagateResourceEventCommand(Command):
    """One management server tells another of an event of a host."""

    host_id: int = 0
    event: str | None = None


@command(AGENT_API, answer=Answer)
class ScheduleHostScanTaskCommand(Command):
    """Management servers look for agents to balance."""


@command(AGENT_API, answer=UnsupportedAnswer)
class BadCommand(Command):
    """What the Java side puts in the place of a command that it cannot read."""


@command(AGENT_API, answer=Answer)
class PrepareOCFS2NodesCommand(Command):
    """Prepare OCFS2 on an Oracle VM host: number, address and name of each node."""

    nodes: list[Ternary[int, str, str]] | None = None
    cluster_name: str | None = None


@command(CA, answer=SetupKeystoreAnswer)
class SetupKeyStoreCommand(NetworkElementCommand):
    """Make a key and a request for its certificate."""

    validity_days: int = 0
    keystore_password: str | None = None
    handle_by_agent: bool = True


@command(CA, answer=SetupCertificateAnswer)
class SetupCertificateCommand(NetworkElementCommand):
    """Store the signed certificate; all texts are PEM."""

    certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    handle_by_agent: bool = True


@command(CA, answer=SetupCertificateAnswer)
class PostCertificateRenewalCommand(Command):
    """Use the new certificate from now on."""
