"""A rule of a switch port to and from its setting data.

Source: Microsoft, "Msvm_EthernetSwitchPortExtendedAclSettingData".
"""

from __future__ import annotations

import ipaddress

from cloudstack_hyperv.cim import Uint8, Uint16
from cloudstack_hyperv.hypervisor.settings_data import RULE
from cloudstack_hyperv.network.port_acls import ANY, Action, Direction, PortRule, WeighedRule
from cloudstack_hyperv.network.security_groups import TCP_IDLE_SECONDS, UDP_IDLE_SECONDS
from cloudstack_hyperv.wsman.api import EmbeddedInstance, Instance


def rule_data(weighed: WeighedRule) -> EmbeddedInstance:
    """Return the port feature of a rule."""
    rule = weighed.rule
    timeout = TCP_IDLE_SECONDS if rule.protocol == "TCP" else UDP_IDLE_SECONDS
    return EmbeddedInstance(
        RULE,
        {
            "Name": rule.name,
            "Direction": Uint8(rule.direction),
            "Action": Uint8(rule.action),
            "LocalIPAddress": rule.local,
            "RemoteIPAddress": rule.remote,
            "Protocol": rule.protocol,
            "LocalPort": rule.local_ports,
            "RemotePort": rule.remote_ports,
            "Weight": Uint16(weighed.weight),
            "Stateful": rule.stateful,
            **({"IdleSessionTimeout": Uint16(timeout)} if rule.stateful else {}),
        },
    )


def rule_of(row: Instance) -> WeighedRule:
    """Read a rule; a host may write an address with or without its full prefix length."""
    return WeighedRule(
        row.uint("Weight") or 0,
        PortRule(
            direction=Direction(row.uint("Direction") or Direction.INCOMING),
            action=Action(row.uint("Action") or Action.DENY),
            local=address_text(row.string("LocalIPAddress"), with_length=False),
            remote=address_text(row.string("RemoteIPAddress"), with_length=True),
            protocol=(row.string("Protocol") or ANY).upper(),
            local_ports=row.string("LocalPort") or ANY,
            remote_ports=row.string("RemotePort") or ANY,
            stateful=row.boolean("Stateful") or False,
            name=row.string("Name") or "",
        ),
    )


def address_text(text: str | None, *, with_length: bool) -> str:
    """Return an address or network in the one form in which it is compared."""
    if not text or text.upper() == ANY:
        return ANY
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return text  # Another's rule, about a MAC address for example.
    if with_length or network.num_addresses > 1:
        return str(network)
    return str(network.network_address)
