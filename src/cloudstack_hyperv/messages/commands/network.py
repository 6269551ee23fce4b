"""Commands about security groups, private VLANs and networks of the host."""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.network import (
    CleanupPersistentNetworkResourceAnswer,
    DirectNetworkUsageAnswer,
    ExternalNetworkResourceUsageAnswer,
    RecurringNetworkUsageAnswer,
    SecurityGroupRuleAnswer,
    SetupPersistentNetworkAnswer,
)
from cloudstack_hyperv.messages.command import Command, command
from cloudstack_hyperv.messages.java import AGENT_API
from cloudstack_hyperv.messages.objects.vm import NicTO, VirtualMachineTO
from cloudstack_hyperv.messages.wire import WireObject


class IpPortAndProto(WireObject):
    """`SecurityGroupRulesCmd$IpPortAndProto`: for `icmp` the ports are type and code."""

    proto: str | None = None
    start_port: int = 0
    end_port: int = 0
    allowed_cidrs: list[str] | None = None


@command(AGENT_API, answer=SecurityGroupRuleAnswer)
class SecurityGroupRulesCmd(Command, kw_only=True):
    """Put a VM's rules in force; what no rule allows is denied."""

    guest_ip: str | None = None
    guest_ip6: str | None = None
    vm_name: str
    guest_mac: str | None = None
    signature: str | None = None
    seq_num: int | None = None
    vm_id: int | None = None
    ms_id: int | None = None
    ingress_rule_set: list[IpPortAndProto] = msgspec.field(default_factory=list)
    egress_rule_set: list[IpPortAndProto] = msgspec.field(default_factory=list)
    sec_ips: list[str] | None = None
    vm: VirtualMachineTO | None = msgspec.field(default=None, name="vmTO")


@command(AGENT_API, answer=Answer)
class CleanupNetworkRulesCmd(Command):
    """Remove rules of VMs that are no more, every `interval` seconds."""

    interval: int = 0


@command(AGENT_API, answer=Answer)
class NetworkRulesSystemVmCommand(Command):
    """Let a system VM through."""

    vm_name: str | None = None
    type: str | None = None


@command(AGENT_API, answer=Answer)
class NetworkRulesVmSecondaryIpCommand(Command):
    """Allow (`-A`) or forbid (`-D`) a further address of a VM."""

    vm_name: str | None = None
    vm_sec_ip: str | None = None
    vm_mac: str | None = None
    action: str | None = None


@command(AGENT_API, answer=Answer)
class PvlanSetupCommand(Command):
    """Set up a private VLAN on the host's Open vSwitch."""

    op: str | None = None
    primary: str | None = None
    isolated: str | None = None
    vm_mac: str | None = None
    dhcp_name: str | None = None
    dhcp_mac: str | None = None
    dhcp_ip: str | None = None
    type: str | None = None
    network_tag: str | None = None
    pvlan_type: str | None = None


@command(AGENT_API, answer=SetupPersistentNetworkAnswer)
class SetupPersistentNetworkCommand(Command):
    """Make a network that stays although no VM uses it (VMware)."""

    nic: NicTO | None = None


@command(AGENT_API, answer=CleanupPersistentNetworkResourceAnswer)
class CleanupPersistentNetworkResourceCommand(Command):
    """Remove a persistent network."""

    nic: NicTO | None = msgspec.field(default=None, name="nicTO")


@command(AGENT_API, answer=DirectNetworkUsageAnswer)
class DirectNetworkUsageCommand(Command):
    """Ask a traffic monitor for the bytes of public addresses; dates are Java's locale text."""

    public_ips: list[str] | None = None
    start: str | None = None
    end: str | None = None
    include_zones: str | None = None
    exclude_zones: str | None = None


@command(AGENT_API, answer=RecurringNetworkUsageAnswer)
class RecurringNetworkUsageCommand(Command):
    """Start a traffic monitor's counting, every `interval` seconds."""

    interval: int = 0


@command(AGENT_API, answer=ExternalNetworkResourceUsageAnswer)
class ExternalNetworkResourceUsageCommand(Command):
    """Ask an external device for its counters."""

    networkid: int = 0


@command(AGENT_API, answer=Answer)
class NetScalerImplementNetworkCommand(Command):
    """Make a network on a NetScaler."""

    network_details: str | None = msgspec.field(default=None, name="_networkDetails")
    dc_id: str | None = None
    host_id: int = 0
