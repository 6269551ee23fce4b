"""SecurityGroupRulesCmd and its relatives: a VM's rules on the switch port of its first NIC.

Nothing is kept here: which rules are in force, and of which sequence number, is read from the
port.  The same command again finds nothing to do; an older one than what is in force (a smaller
`seqNum` for the same VM) is answered as done, as the KVM agent does.  Rules live as long as the
port: they survive a reboot and a restart of the host, they go along when the VM migrates, and go
with the VM.

Failures are answered with `PROGRAMMING_FAILED`, which the management server tries again, or with
`CANNOT_BRIDGE_FIREWALL` where trying again is no use; without a reason it would forget them.

Sources: CloudStack's `SecurityGroupListener`, `SecurityGroupManagerImpl2`, the KVM agent's
LibvirtSecurityGroupRulesCommandWrapper and `security_group.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.hypervisor.adapters import (
    AdapterState,
    adapter_by_mac,
    adapter_by_position,
    read_adapters,
)
from cloudstack_hyperv.hypervisor.errors import VirtualMachineNotFound, WrongState
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.port_rules import (
    change_address_acls,
    change_guards,
    change_rules,
    read_all_rules,
    read_rules,
)
from cloudstack_hyperv.messages import Answer
from cloudstack_hyperv.messages.answers.network import SecurityGroupRuleAnswer
from cloudstack_hyperv.messages.commands.network import (
    CleanupNetworkRulesCmd,
    IpPortAndProto,
    NetworkRulesSystemVmCommand,
    NetworkRulesVmSecondaryIpCommand,
    SecurityGroupRulesCmd,
)
from cloudstack_hyperv.messages.enums import SecurityGroupFailure
from cloudstack_hyperv.network import PortGuards, UnusableNetwork, normal_mac
from cloudstack_hyperv.network.address_acls import NeedsPorts, address_acls_of_group
from cloudstack_hyperv.network.nic_wish import guards_of
from cloudstack_hyperv.network.port_acls import NoWeightLeft, is_ours
from cloudstack_hyperv.network.security_groups import (
    GroupRule,
    GuestAddresses,
    RuleMarker,
    UnusableRules,
    denied_rules,
    rules_of_group,
    rules_with_address,
    rules_without_address,
)
from cloudstack_hyperv.resource.context import HostContext
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.known_machines import find_ours, known_release
from cloudstack_hyperv.resource.registry import handles

log = structlog.get_logger(__name__)

PAGE = "Phase 2: flat networking with security groups"


@handles(SecurityGroupRulesCmd, ordered_by=lambda command: (f"vm:{command.vm_name}",), page=PAGE)
async def security_group_rules(
    command: SecurityGroupRulesCmd, context: HostContext
) -> SecurityGroupRuleAnswer:
    """Put the rules in force: read the port, send the difference."""
    what = f"set the security group rules of VM {command.vm_name}"
    try:
        guest = _guest(command)
        details = await _program(command, guest, context, what)
    except NeedsPorts as error:
        return SecurityGroupRuleAnswer(
            result=False,
            details=f"{what}: {error}",
            log_sequence_number=command.seq_num,
            vm_id=command.vm_id,
            reason=SecurityGroupFailure.CANNOT_BRIDGE_FIREWALL,
        )
    except (UnusableRules, UnusableNetwork, NoWeightLeft) as error:
        raise CommandRefused(f"{what}: {error}") from None
    return SecurityGroupRuleAnswer(
        result=True,
        details=details,
        log_sequence_number=command.seq_num,
        vm_id=command.vm_id,
        reason=SecurityGroupFailure.NONE,
    )


@handles(NetworkRulesSystemVmCommand, page=PAGE)
async def network_rules_system_vm(
    command: NetworkRulesSystemVmCommand, context: HostContext
) -> Answer:
    """A system VM's ports have no rules on Hyper-V, so there is nothing to let through."""
    del context
    return Answer(result=True, details=f"ports of system VM {command.vm_name} have no rules")


@handles(
    NetworkRulesVmSecondaryIpCommand,
    ordered_by=lambda command: (f"vm:{command.vm_name}",),
    page=PAGE,
)
async def network_rules_vm_secondary_ip(
    command: NetworkRulesVmSecondaryIpCommand, context: HostContext
) -> Answer:
    """Let a VM send and receive under a further address (`-A`), or no longer (`-D`)."""
    address, action = command.vm_sec_ip or "", (command.action or "").strip()
    what = f"change address {address[:64]} of VM {command.vm_name}"
    if action not in ("-A", "-D"):
        raise CommandRefused(f"{what}: action {action[:20]!r} is neither -A nor -D")
    machine = await _required(context, command.vm_name or "")
    if not (await known_release(context)).has_port_rules:
        raise CommandRefused(
            f"{what}: needs Windows Server 2012 R2; on 2012 it is set with all rules of the VM"
        )
    try:
        mac = normal_mac(command.vm_mac) if command.vm_mac else None
        connection = _connection(await read_adapters(context.cim, machine), mac, what)
        present = await read_rules(context.cim, connection, what)
        rules = [weighed.rule for weighed, _ in present if is_ours(weighed.rule)]
        change = rules_with_address if action == "-A" else rules_without_address
        count = await change_rules(context.cim, connection, present, change(rules, address), what)
    except (UnusableRules, UnusableNetwork, NoWeightLeft) as error:
        raise CommandRefused(f"{what}: {error}") from None
    return Answer(result=True, details=f"{count} rules changed")


@handles(CleanupNetworkRulesCmd, page="Phase 2: security groups")
async def cleanup_network_rules(command: CleanupNetworkRulesCmd, context: HostContext) -> Answer:
    """Rules of VMs that are gone went with their ports; look whether the others are whole.

    The KVM agent cleans up every `interval` seconds from then on.  Here nothing is left over at any
    time, so the rules in force are looked at once for each command.
    """
    del command
    if not (await known_release(context)).has_port_rules:
        return Answer(result=True, details="rules go with their ports; Windows Server 2012")
    ports = await read_all_rules(context.cim)
    wanted = denied_rules()
    open_ports = [
        connection
        for connection, rules in ports.items()
        if RuleMarker.read(rules) is not None and not wanted <= set(rules)
    ]
    for connection in open_ports:
        log.error("a port lacks rules that close it; somebody removed them", port=connection)
    details = f"rules go with their ports; {len(ports)} ports have rules"
    if open_ports:
        details += f", {len(open_ports)} of them not all: {', '.join(open_ports[:5])}"
    return Answer(result=True, details=details)


async def _program(
    command: SecurityGroupRulesCmd, guest: GuestAddresses, context: HostContext, what: str
) -> str:
    ingress, egress = _group(command.ingress_rule_set), _group(command.egress_rule_set)
    machine = await _required(context, command.vm_name)
    marker = RuleMarker(
        command.vm_id if command.vm_id is not None else _id_of(machine),
        command.seq_num or 0,
        (command.signature or "").casefold()[:8],
    )
    release = await known_release(context)
    connection = _connection(await read_adapters(context.cim, machine), guest.mac, what)
    if not release.has_port_rules:
        acls = address_acls_of_group(guest, ingress, egress)
        await change_guards(context.cim, connection, _guards(command), what)
        count = await change_address_acls(context.cim, connection, acls, what)
        return f"{count} of {len(acls)} address rules changed"
    wanted = rules_of_group(guest, ingress, egress, marker)
    present = await read_rules(context.cim, connection, what)
    before = RuleMarker.read(rule.rule for rule, _ in present)
    if before is not None and before.vm_id == marker.vm_id and before.sequence > marker.sequence:
        log.info("older rules than those in force", vm=command.vm_name, present=before.sequence)
        return f"the rules of sequence {before.sequence} are in force, which are newer"
    await change_guards(context.cim, connection, _guards(command), what)
    count = await change_rules(context.cim, connection, present, wanted, what)
    return f"{count} rules changed, {len(wanted)} in force"


def _guest(command: SecurityGroupRulesCmd) -> GuestAddresses:
    guest = GuestAddresses(
        mac=normal_mac(command.guest_mac),
        ip=command.guest_ip or None,
        ip6=command.guest_ip6 or None,
        secondary=tuple(command.sec_ips or ()),
    )
    guest.own()  # Fails for what is no address, before the host is asked.
    return guest


def _group(rules: Sequence[IpPortAndProto]) -> tuple[GroupRule, ...]:
    return tuple(
        GroupRule(rule.proto or "", rule.start_port, rule.end_port, tuple(rule.allowed_cidrs or ()))
        for rule in rules
    )


def _guards(command: SecurityGroupRulesCmd) -> PortGuards:
    """Guards of the NIC as its details say; those of a guest where the command has no VM."""
    mac = normal_mac(command.guest_mac)
    for nic in (command.vm.nics if command.vm else None) or ():
        if nic.mac and normal_mac(nic.mac) == mac:
            spoofing = guards_of(nic, system_vm=False).allow_mac_spoofing
            return PortGuards(spoofing, dhcp_guard=True, router_guard=True)
    return PortGuards(dhcp_guard=True, router_guard=True)


def _connection(states: Sequence[AdapterState], mac: str | None, what: str) -> ObjectPath:
    state = adapter_by_mac(states, mac) if mac else adapter_by_position(states, 0)
    if state.adapter.connection is None:
        raise WrongState(f"{what}: the NIC has no connection to a switch")
    return state.adapter.connection.path


def _id_of(machine: Machine) -> int:
    return machine.ownership.cloudstack_id if machine.ownership else 0


async def _required(context: HostContext, name: str) -> Machine:
    machine = await find_ours(context, name)
    if machine is None:
        raise VirtualMachineNotFound(f"the host has no VM {name}")
    return machine
