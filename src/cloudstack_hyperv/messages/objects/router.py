"""What a virtual router is told: addresses, rules, load balancers, VPN.

The management server talks to routers itself, so a Hyper-V host never gets these; they are
typed so that such a command is recognised and answered in its own class.
"""

import msgspec

from cloudstack_hyperv.messages.json_text import JsonObject
from cloudstack_hyperv.messages.objects.pairs import Pair
from cloudstack_hyperv.messages.objects.vm import NicTO
from cloudstack_hyperv.messages.wire import WireObject


class IpAddressTO(WireObject):
    """A public address of a router."""

    account_id: int = 0
    public_ip: str | None = None
    source_nat: bool = False
    add: bool = False
    one_to_one_nat: bool = False
    first_ip: bool = msgspec.field(default=False, name="firstIP")
    broadcast_uri: str | None = None
    vlan_gateway: str | None = None
    vlan_netmask: str | None = None
    vif_mac_address: str | None = None
    network_rate: int | None = None
    traffic_type: str | None = None
    network_name: str | None = None
    nic_dev_id: int | None = None
    new_nic: bool = False
    is_private_gateway: bool = False
    nic: NicTO | None = msgspec.field(default=None, name="nicTO")
    mtu: int | None = None
    details: dict[str, str] | None = None


class FirewallRuleTO(WireObject):
    """A firewall rule; NAT rules add a destination."""

    id: int = 0
    src_vlan_tag: str | None = None
    src_ip: str | None = None
    protocol: str | None = None
    src_port_range: list[int] | None = None
    revoked: bool = False
    already_added: bool = False
    source_cidr_list: list[str] | None = None
    dest_cidr_list: list[str] | None = None
    purpose: str | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    traffic_type: str | None = None
    guest_cidr: str | None = None
    default_egress_policy: bool = False
    type: str | None = None


class PortForwardingRuleTO(FirewallRuleTO):
    """A forwarded port."""

    dst_ip: str | None = None
    dst_port_range: list[int] | None = None


class StaticNatRuleTO(FirewallRuleTO):
    """A public address that is one VM's."""

    dst_ip: str | None = None


class NetworkACLTO(WireObject):
    """A rule of a VPC tier's access list."""

    id: int = 0
    vlan_tag: str | None = None
    protocol: str | None = None
    port_range: list[int] | None = None
    revoked: bool = False
    already_added: bool = False
    cidr_list: list[str] | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    traffic_type: str | None = None
    action: str | None = None
    number: int = 0


class DestinationTO(WireObject):
    """A VM behind a load balancer."""

    dest_ip: str | None = None
    dest_port: int = 0
    revoked: bool = False
    already_added: bool = False
    monitor_state: str | None = None


class StickinessPolicyTO(WireObject):
    """How a load balancer keeps a client on one VM."""

    method_name: str | None = None
    params: list[Pair[str, str]] | None = None


class HealthCheckPolicyTO(WireObject):
    """How a load balancer checks its VMs (two keys are misspelt in Java)."""

    ping_path: str | None = None
    description: str | None = None
    response_time: int = 0
    healthcheck_interval: int = 0
    healthcheck_threshold: int = msgspec.field(default=0, name="healthcheckThresshold")
    unhealth_threshold: int = msgspec.field(default=0, name="unhealthThresshold")
    revoked: bool = False


class SslCertTO(WireObject):
    """The certificate of a load balancer."""

    cert: str | None = None
    key: str | None = None
    password: str | None = None
    chain: str | None = None
    fingerprint: str | None = None
    revoked: bool = False


class AutoScaleVmGroupTO(WireObject):
    """A group of VMs that grows and shrinks."""

    id: int = 0
    uuid: str | None = None
    min_members: int = 0
    max_members: int = 0
    member_port: int = 0
    interval: int = 0
    policies: list[JsonObject] | None = None
    profile: JsonObject | None = None
    state: str | None = None
    current_state: str | None = None
    load_balancer_id: int | None = None


class LoadBalancerTO(WireObject):
    """A load balancer rule."""

    uuid: str | None = None
    src_ip: str | None = None
    src_port: int = 0
    protocol: str | None = None
    lb_protocol: str | None = None
    algorithm: str | None = None
    revoked: bool = False
    already_added: bool = False
    inline: bool = False
    src_ip_vlan: str | None = None
    src_ip_gateway: str | None = None
    src_ip_netmask: str | None = None
    network_id: int | None = None
    destinations: list[DestinationTO] | None = None
    stickiness_policies: list[StickinessPolicyTO] | None = None
    health_check_policies: list[HealthCheckPolicyTO] | None = None
    ssl_cert: SslCertTO | None = None
    auto_scale_vm_group: AutoScaleVmGroupTO | None = msgspec.field(
        default=None, name="autoScaleVmGroupTO"
    )
    cidr_list: str | None = None


class SiteLoadBalancerConfig(WireObject):
    """One site of a global load balancer."""

    local: bool = False
    revoked: bool = False
    service_type: str | None = None
    service_public_ip: str | None = None
    service_port: str | None = None
    gslb_provider_private_ip: str | None = None
    gslb_provider_public_ip: str | None = None
    data_center_id: int = 0
    weight: int = 0


class AutoScaleMetrics(WireObject):
    """A measurement that automatic scaling asks for; duration in seconds."""

    counter: str | None = None
    policy_id: int | None = None
    condition_id: int | None = None
    counter_id: int | None = None
    duration: int | None = None


class AutoScaleMetricsValue(WireObject):
    """A measured value."""

    metrics: AutoScaleMetrics | None = None
    type: str | None = None
    value: float | None = None


class IpAliasTO(WireObject):
    """A further address of a router."""

    routerip: str | None = None
    netmask: str | None = None
    alias_count: str | None = None


class DhcpTO(WireObject):
    """A DHCP range."""

    router_ip: str | None = None
    gateway: str | None = None
    netmask: str | None = None
    start_ip_of_subnet: str | None = None


class BgpPeerTO(WireObject):
    """A BGP neighbour of a router."""

    peer_id: int | None = None
    peer_as_number: int | None = None
    ip4_address: str | None = None
    ip6_address: str | None = None
    peer_password: str | None = None
    network_id: int | None = None
    network_as_number: int | None = None
    guest_ip4_cidr: str | None = None
    guest_ip6_cidr: str | None = None
    details: dict[str, str] | None = None


class MonitorServiceTO(WireObject):
    """A service that a router watches."""

    id: int = 0
    service: str | None = None
    processname: str | None = None
    service_name: str | None = None
    service_path: str | None = None
    pid_file: str | None = None
    is_default: bool = False


class StaticRouteProfile(WireObject):
    """A static route of a VPC."""

    id: int = 0
    uuid: str | None = None
    target_cidr: str | None = None
    account_id: int = 0
    domain_id: int = 0
    gateway_id: int | None = None
    next_hop: str | None = None
    state: str | None = None
    vpc_id: int | None = None
    vlan_tag: str | None = None
    gateway: str | None = None
    netmask: str | None = None
    ip_address: str | None = None


class UsernamePassword(WireObject):
    """A user of a router's VPN."""

    username: str | None = None
    password: str | None = None
    add: bool = True


class PortConfig(WireObject):
    """A hole in the firewall of a secondary storage VM."""

    add: bool = False
    source_ip: str | None = None
    port: str | None = None
    intf: str | None = None
