"""Commands for virtual routers and load balancers.

The management server runs these itself over SSH, so a Hyper-V host should never get one.  They
are typed so that one that strays is recognised and refused in its own answer's class.
"""

import msgspec

from cloudstack_hyperv.messages.answer import Answer
from cloudstack_hyperv.messages.answers.system_vm import (
    CheckRouterAnswer,
    CheckS2SVpnConnectionsAnswer,
    CreateLoadBalancerApplianceAnswer,
    DestroyLoadBalancerApplianceAnswer,
    GetAutoScaleMetricsAnswer,
    GetDomRVersionAnswer,
    GetRouterAlertsAnswer,
    GetRouterMonitorResultsAnswer,
    GlobalLoadBalancerConfigAnswer,
    GroupAnswer,
    HealthCheckLBConfigAnswer,
    IpAssocAnswer,
    NetworkUsageAnswer,
    SetBgpPeersAnswer,
    SetFirewallRulesAnswer,
    SetIpv6FirewallRulesAnswer,
    SetNetworkACLAnswer,
    SetPortForwardingRulesAnswer,
    SetSourceNatAnswer,
    SetStaticNatRulesAnswer,
    SetStaticRouteAnswer,
)
from cloudstack_hyperv.messages.command import Command, NetworkElementCommand, command
from cloudstack_hyperv.messages.java import AGENT_API, AGENT_ROUTING, ROUTING
from cloudstack_hyperv.messages.objects.router import (
    AutoScaleMetrics,
    BgpPeerTO,
    DhcpTO,
    FirewallRuleTO,
    IpAddressTO,
    IpAliasTO,
    LoadBalancerTO,
    MonitorServiceTO,
    NetworkACLTO,
    PortForwardingRuleTO,
    SiteLoadBalancerConfig,
    StaticNatRuleTO,
    StaticRouteProfile,
    UsernamePassword,
)
from cloudstack_hyperv.messages.objects.vm import NicTO


@command(ROUTING, answer=IpAssocAnswer)
class IpAssocCommand(NetworkElementCommand):
    """Set public addresses."""

    ip_addresses: list[IpAddressTO] | None = None


@command(ROUTING, answer=IpAssocAnswer)
class IpAssocVpcCommand(IpAssocCommand):
    """Set public addresses of a VPC."""


@command(ROUTING, answer=Answer)
class UpdateNetworkCommand(NetworkElementCommand):
    """Change the MTU of interfaces."""

    ip_addresses: list[IpAddressTO] | None = None


@command(ROUTING, answer=SetPortForwardingRulesAnswer)
class SetPortForwardingRulesCommand(NetworkElementCommand):
    """Set forwarded ports."""

    rules: list[PortForwardingRuleTO] | None = None


@command(ROUTING, answer=SetPortForwardingRulesAnswer)
class SetPortForwardingRulesVpcCommand(SetPortForwardingRulesCommand):
    """Set forwarded ports of a VPC."""


@command(ROUTING, answer=SetStaticNatRulesAnswer)
class SetStaticNatRulesCommand(NetworkElementCommand):
    """Set static NAT."""

    rules: list[StaticNatRuleTO] | None = None
    vpc_id: int | None = None


@command(ROUTING, answer=SetFirewallRulesAnswer)
class SetFirewallRulesCommand(NetworkElementCommand):
    """Set firewall rules."""

    rules: list[FirewallRuleTO] | None = None


@command(ROUTING, answer=SetIpv6FirewallRulesAnswer)
class SetIpv6FirewallRulesCommand(NetworkElementCommand):
    """Set IPv6 firewall rules."""

    rules: list[FirewallRuleTO] | None = None
    guest_ip6_cidr: str | None = None


@command(ROUTING, answer=SetNetworkACLAnswer)
class SetNetworkACLCommand(NetworkElementCommand):
    """Set the access list of a VPC tier."""

    rules: list[NetworkACLTO] | None = None
    nic: NicTO | None = None


@command(ROUTING, answer=SetSourceNatAnswer)
class SetSourceNatCommand(NetworkElementCommand):
    """Set source NAT."""

    ip_address: IpAddressTO | None = None
    add: bool = False


@command(ROUTING, answer=SetStaticRouteAnswer)
class SetStaticRouteCommand(NetworkElementCommand):
    """Set static routes."""

    static_routes: list[StaticRouteProfile] | None = None


@command(ROUTING, answer=SetBgpPeersAnswer)
class SetBgpPeersCommand(NetworkElementCommand):
    """Set BGP neighbours (the key is misspelt in Java)."""

    bgp_peers: list[BgpPeerTO] | None = msgspec.field(default=None, name="bpgPeers")


@command(ROUTING, answer=Answer)
class DhcpEntryCommand(NetworkElementCommand):
    """Give a VM its address by DHCP."""

    vm_mac: str | None = None
    vm_ip_address: str | None = None
    vm_name: str | None = None
    dns: str | None = None
    gateway: str | None = None
    next_server: str | None = None
    default_router: str | None = None
    static_routes: str | None = None
    default_dns: str | None = None
    vm_ip6_address: str | None = None
    ip6_gateway: str | None = None
    duid: str | None = None
    is_default: bool = False
    execute_in_sequence: bool = False
    lease_time: int | None = None
    remove: bool = False


@command(ROUTING, answer=Answer)
class VmDataCommand(NetworkElementCommand):
    """Give a VM its metadata and user data."""

    vm_ip_address: str | None = None
    vm_name: str | None = None
    vm_data: list[list[str]] | None = None
    execute_in_sequence: bool = False


@command(ROUTING, answer=Answer)
class SavePasswordCommand(NetworkElementCommand):
    """Give a VM its password."""

    password: str | None = None
    vm_ip_address: str | None = None
    vm_name: str | None = None
    execute_in_sequence: bool = False


@command(ROUTING, answer=Answer)
class CreateIpAliasCommand(NetworkElementCommand):
    """Add further addresses."""

    routerip: str | None = None
    ip_aliases: list[IpAliasTO] | None = msgspec.field(default=None, name="ipAliasTOs")


@command(ROUTING, answer=Answer)
class DeleteIpAliasCommand(NetworkElementCommand):
    """Remove further addresses."""

    routerip: str | None = None
    delete_ip_aliases: list[IpAliasTO] | None = msgspec.field(default=None, name="deleteIpAliasTOs")
    create_ip_alias_tos: list[IpAliasTO] | None = None


@command(ROUTING, answer=Answer)
class DnsMasqConfigCommand(NetworkElementCommand):
    """Set DHCP ranges."""

    dhcp_tos: list[DhcpTO] | None = msgspec.field(default=None, name="dhcpTOs")


@command(ROUTING, answer=Answer)
class LoadBalancerConfigCommand(NetworkElementCommand):
    """Set load balancer rules."""

    load_balancers: list[LoadBalancerTO] | None = None
    lb_stats_visibility: str | None = None
    lb_stats_public_ip: str | None = msgspec.field(default=None, name="lbStatsPublicIP")
    lb_stats_private_ip: str | None = msgspec.field(default=None, name="lbStatsPrivateIP")
    lb_stats_guest_ip: str | None = msgspec.field(default=None, name="lbStatsGuestIP")
    lb_stats_port: str | None = None
    lb_stats_src_cidrs: str | None = None
    lb_stats_auth: str | None = None
    lb_stats_uri: str | None = None
    maxconn: str | None = None
    lb_protocol: str | None = None
    keep_alive_enabled: bool = False
    nic: NicTO | None = None
    vpc_id: int | None = None


@command(ROUTING, answer=HealthCheckLBConfigAnswer)
class HealthCheckLBConfigCommand(NetworkElementCommand):
    """Ask a load balancer for the state of its VMs."""

    load_balancers: list[LoadBalancerTO] | None = None
    network_id: int = 0


@command(ROUTING, answer=GlobalLoadBalancerConfigAnswer)
class GlobalLoadBalancerConfigCommand(Command):
    """Set up a global load balancer."""

    domain_name: str | None = None
    service_type: str | None = None
    lb_method: str | None = None
    persistence_type: str | None = None
    gslb_id: int = 0
    revoked: bool = False
    site_load_balancers: list[SiteLoadBalancerConfig] | None = None


@command(ROUTING, answer=CreateLoadBalancerApplianceAnswer)
class CreateLoadBalancerApplianceCommand(NetworkElementCommand):
    """Make a load balancer appliance."""

    ip: str | None = None
    netmask: str | None = None
    gateway: str | None = None
    username: str | None = None
    password: str | None = None
    public_interface: str | None = None
    private_interface: str | None = None


@command(ROUTING, answer=DestroyLoadBalancerApplianceAnswer)
class DestroyLoadBalancerApplianceCommand(NetworkElementCommand):
    """Remove a load balancer appliance."""

    ip: str | None = None


@command(ROUTING, answer=Answer)
class RemoteAccessVpnCfgCommand(NetworkElementCommand):
    """Set up remote access VPN."""

    create: bool = False
    vpc_enabled: bool = False
    vpn_server_ip: str | None = None
    ip_range: str | None = None
    preshared_key: str | None = None
    local_ip: str | None = None
    local_cidr: str | None = None
    public_interface: str | None = None


@command(ROUTING, answer=Answer)
class VpnUsersCfgCommand(NetworkElementCommand):
    """Set the users of remote access VPN."""

    userpwds: list[UsernamePassword] | None = None


@command(ROUTING, answer=Answer)
class Site2SiteVpnCfgCommand(NetworkElementCommand):
    """Set up a site-to-site VPN; lifetimes in seconds."""

    create: bool = False
    local_public_ip: str | None = None
    local_guest_cidr: str | None = None
    local_public_gateway: str | None = None
    peer_gateway_ip: str | None = None
    peer_guest_cidr_list: str | None = None
    ipsec_psk: str | None = None
    ike_policy: str | None = None
    esp_policy: str | None = None
    ike_lifetime: int | None = None
    esp_lifetime: int | None = None
    dpd: bool | None = None
    passive: bool = False
    encap: bool | None = None
    split_connections: bool | None = None
    ike_version: str | None = None


@command(AGENT_API, answer=CheckS2SVpnConnectionsAnswer)
class CheckS2SVpnConnectionsCommand(NetworkElementCommand):
    """Ask for the state of site-to-site VPNs."""

    vpn_ips: list[str] | None = None


@command(AGENT_API, answer=Answer)
class SetupGuestNetworkCommand(NetworkElementCommand):
    """Set up a guest network."""

    dhcp_range: str | None = None
    network_domain: str | None = None
    default_dns1: str | None = None
    default_dns2: str | None = None
    default_ip6_dns1: str | None = None
    default_ip6_dns2: str | None = None
    is_redundant: bool = False
    priority: int | None = None
    add: bool = True
    nic: NicTO | None = None
    router_ipv6: str | None = None
    router_ipv6_gateway: str | None = None
    router_ipv6_cidr: str | None = None
    is_vr_guest_gateway: bool = False
    network_id: int | None = None


@command(AGENT_API, answer=CheckRouterAnswer)
class CheckRouterCommand(NetworkElementCommand):
    """Ask a redundant router for its state."""


@command(AGENT_API, answer=Answer)
class BumpUpPriorityCommand(NetworkElementCommand):
    """Make a redundant router the primary one."""


@command(AGENT_API, answer=GetDomRVersionAnswer)
class GetDomRVersionCmd(NetworkElementCommand):
    """Ask a router for its versions."""


@command(ROUTING, answer=GroupAnswer)
class AggregationControlCommand(NetworkElementCommand):
    """Begin, end or clean up a bundle of commands."""

    action: str | None = None


@command(ROUTING, answer=GetRouterAlertsAnswer)
class GetRouterAlertsCommand(NetworkElementCommand):
    """Ask a router for its alerts."""

    previous_alert_time_stamp: str | None = None


@command(ROUTING, answer=GetRouterMonitorResultsAnswer)
class GetRouterMonitorResultsCommand(NetworkElementCommand):
    """Ask a router for its health checks."""

    perform_fresh_checks: bool = False
    validate_basic_tests_only: bool = False


@command(ROUTING, answer=Answer)
class LoadRouterHealthChecksConfigCommand(NetworkElementCommand):
    """Give a router the data for its health checks (not an answer's `details`)."""

    details: dict[str, str] | None = None


@command(ROUTING, answer=Answer)
class SetMonitorServiceCommand(NetworkElementCommand):
    """Tell a router which services to watch."""

    services: list[MonitorServiceTO] | None = None
    health_checks_config: dict[str, str] | None = None
    reconfigure_after_update: bool = False
    delete_from_processed_cache: bool = False


@command(AGENT_ROUTING, answer=Answer)
class ManageServiceCommand(NetworkElementCommand):
    """Start or stop a router's service."""

    service_name: str | None = None
    action: str | None = None


@command(ROUTING, answer=GetAutoScaleMetricsAnswer)
class GetAutoScaleMetricsCommand(Command):
    """Ask a router for measurements for automatic scaling."""

    private_ip: str | None = msgspec.field(default=None, name="privateIP")
    for_vpc: bool = False
    public_ip: str | None = msgspec.field(default=None, name="publicIP")
    port: int | None = None
    metrics: list[AutoScaleMetrics] | None = None


@command(AGENT_API, answer=NetworkUsageAnswer)
class NetworkUsageCommand(Command):
    """Ask a router for the bytes of its public interface."""

    private_ip: str | None = msgspec.field(default=None, name="privateIP")
    dom_r_name: str | None = msgspec.field(default=None, name="domRName")
    option: str | None = None
    for_vpc: bool = False
    gateway_ip: str | None = msgspec.field(default=None, name="gatewayIP")
    vpc_cidr: str | None = msgspec.field(default=None, name="vpcCIDR")
