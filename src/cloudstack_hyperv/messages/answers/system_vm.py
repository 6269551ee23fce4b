"""Answers of virtual routers and other system VMs, and about certificates.

A Hyper-V host gives none of them but those of its own certificate; they are here so that a
command which strays to a host fails in its own class.
"""

import msgspec

from cloudstack_hyperv.messages.answer import Answer, answer
from cloudstack_hyperv.messages.java import (
    AGENT_API,
    AGENT_LB,
    CA,
    CHECK,
    DIAGNOSTICS,
    NETWORK_RESOURCE,
    PROXY,
    ROUTING,
)
from cloudstack_hyperv.messages.objects.router import AutoScaleMetricsValue, LoadBalancerTO


@answer(CHECK)
class CheckSshAnswer(Answer):
    """Whether a system VM can be reached with SSH."""


@answer(AGENT_API)
class NetworkUsageAnswer(Answer):
    """Bytes that a router's public interface has carried."""

    router_name: str | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None


@answer(AGENT_API)
class CheckRouterAnswer(Answer):
    """Whether a redundant router is `PRIMARY`, `BACKUP`, `FAULT` or `UNKNOWN`."""

    state: str | None = None


@answer(AGENT_API)
class CheckS2SVpnConnectionsAnswer(Answer):
    """The state of site-to-site VPN connections by peer address."""

    ip_to_connected: dict[str, bool] | None = None
    ip_to_detail: dict[str, str] | None = None


@answer(AGENT_API)
class GetDomRVersionAnswer(Answer):
    """Versions of a router's template and scripts."""

    template_version: str | None = None
    scripts_version: str | None = None


@answer(AGENT_API)
class PatchSystemVmAnswer(Answer):
    """A system VM has new scripts."""

    template_version: str | None = None
    scripts_version: str | None = None


@answer(AGENT_API)
class GetRouterAlertsAnswer(Answer):
    """Alerts that a router wrote down."""

    alerts: list[str] | None = None
    time_stamp: str | None = None


@answer(AGENT_API)
class ConsoleAccessAuthenticationAnswer(Answer):
    """Whether a console session is allowed, and where it goes."""

    success: bool = msgspec.field(default=False, name="_success")
    is_reauthenticating: bool = msgspec.field(default=False, name="_isReauthenticating")
    host: str | None = msgspec.field(default=None, name="_host")
    port: int = msgspec.field(default=0, name="_port")
    tunnel_url: str | None = msgspec.field(default=None, name="_tunnelUrl")
    tunnel_session: str | None = msgspec.field(default=None, name="_tunnelSession")


@answer(PROXY)
class ConsoleProxyLoadAnswer(Answer):
    """Load of a console proxy, as JSON text in `details`."""

    proxy_vm_id: int = 0
    proxy_vm_name: str | None = None


@answer(ROUTING)
class GetAutoScaleMetricsAnswer(Answer):
    """Measurements for automatic scaling."""

    values: list[AutoScaleMetricsValue] | None = None


@answer(ROUTING)
class GetRouterMonitorResultsAnswer(Answer):
    """Results of a router's health checks."""

    failing_checks: list[str] | None = None
    monitoring_results: str | None = None


@answer(ROUTING)
class GlobalLoadBalancerConfigAnswer(Answer):
    """A global load balancer is set up."""


@answer(ROUTING)
class HealthCheckLBConfigAnswer(Answer):
    """The state of the VMs behind load balancers."""

    load_balancers: list[LoadBalancerTO] | None = None


@answer(ROUTING)
class GroupAnswer(Answer):
    """Several results at once, one text for each part of the command."""

    results: list[str] | None = None


@answer(ROUTING)
class IpAssocAnswer(GroupAnswer):
    """Public addresses are set."""


@answer(ROUTING)
class SetBgpPeersAnswer(GroupAnswer):
    """BGP neighbours are set."""


@answer(ROUTING)
class SetFirewallRulesAnswer(GroupAnswer):
    """Firewall rules are set."""


@answer(ROUTING)
class SetIpv6FirewallRulesAnswer(GroupAnswer):
    """IPv6 firewall rules are set."""


@answer(ROUTING)
class SetNetworkACLAnswer(GroupAnswer):
    """An access list is set."""


@answer(ROUTING)
class SetPortForwardingRulesAnswer(GroupAnswer):
    """Forwarded ports are set."""


@answer(ROUTING)
class SetStaticNatRulesAnswer(GroupAnswer):
    """Static NAT is set."""


@answer(ROUTING)
class SetStaticRouteAnswer(GroupAnswer):
    """Static routes are set."""


@answer(ROUTING)
class SetSourceNatAnswer(Answer):
    """Source NAT is set."""


@answer(NETWORK_RESOURCE)
class CreateLoadBalancerApplianceAnswer(Answer):
    """A load balancer appliance was made, with its credentials."""

    device_name: str | None = None
    provider_name: str | None = None
    username: str | None = None
    password: str | None = None
    public_interface: str | None = None
    private_interface: str | None = None


@answer(NETWORK_RESOURCE)
class DestroyLoadBalancerApplianceAnswer(Answer):
    """A load balancer appliance is gone."""


@answer(DIAGNOSTICS)
class DiagnosticsAnswer(Answer):
    """Output of ping, traceroute or arping in a system VM, in `details`."""


@answer(DIAGNOSTICS)
class PrepareFilesAnswer(Answer):
    """Files of a system VM were packed."""


@answer(DIAGNOSTICS)
class CopyToSecondaryStorageAnswer(Answer):
    """Packed files of a system VM are on secondary storage."""


@answer(CA)
class SetupKeystoreAnswer(Answer):
    """The agent made a key; this is the request to sign it (PEM)."""

    csr: str | None = None


@answer(CA)
class SetupCertificateAnswer(Answer):
    """The agent has its certificate."""


@answer(AGENT_LB)
class SetupMSListAnswer(Answer):
    """The agent knows its management servers."""
