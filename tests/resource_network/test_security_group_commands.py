"""SecurityGroupRulesCmd and its relatives: what is on the port, and what becomes of frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulator_switch.packets import ICMP, UDP, ip_frame
from tests.resource_network.ports import (
    IP,
    MAC,
    PEER,
    PEER_MAC,
    SSH,
    VM_MAC,
    NetworkStage,
    guest_nic,
    network_stage,
    opened,
    rules_command,
)
from tests.resource_vm.commands import NAME, start_command, stop_command

from cloudstack_hyperv.emulator.door.calls import AnswerCode, Call, Verdict
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.devices import row_path
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE
from cloudstack_hyperv.hypervisor.port_rules import BATCH
from cloudstack_hyperv.hypervisor.rule_settings import rule_data
from cloudstack_hyperv.messages.answers.network import SecurityGroupRuleAnswer
from cloudstack_hyperv.messages.commands.network import (
    CleanupNetworkRulesCmd,
    NetworkRulesSystemVmCommand,
    NetworkRulesVmSecondaryIpCommand,
)
from cloudstack_hyperv.messages.commands.vm import RebootCommand
from cloudstack_hyperv.messages.enums import SecurityGroupFailure
from cloudstack_hyperv.network.port_acls import (
    MARK,
    MOST_RULES,
    Action,
    Direction,
    PortRule,
    WeighedRule,
)
from cloudstack_hyperv.wsman.protocol.wql import Select, starts_with


def secondary(action: str, address: str = "10.1.1.99") -> NetworkRulesVmSecondaryIpCommand:
    return NetworkRulesVmSecondaryIpCommand(
        vm_name=NAME, vm_sec_ip=address, vm_mac=MAC, action=action
    )


async def failure(stage: NetworkStage, *rules: object, **changes: object) -> tuple[str, str]:
    """Send rules that must fail; returns reason and details."""
    answer = await stage.send(rules_command(*rules, **changes))  # type: ignore[arg-type]
    assert isinstance(answer, SecurityGroupRuleAnswer)
    assert not answer.result
    assert (answer.log_sequence_number, answer.vm_id) == (5, 17)
    return answer.reason.value, answer.details or ""


async def weights(stage: NetworkStage) -> set[tuple[int, PortRule]]:
    """Weights and rules, but for the marker."""
    present = [weighed for weighed, _ in await stage.present()]
    return {(each.weight, each.rule) for each in present if each.rule.name == MARK}


async def test_security_group_rules_cmd_opens_exactly_one_port(stage: NetworkStage) -> None:
    await stage.start_guest()
    answer = await stage.done(rules_command(SSH))
    assert isinstance(answer, SecurityGroupRuleAnswer)
    assert (answer.log_sequence_number, answer.vm_id) == (5, 17)
    assert answer.reason is SecurityGroupFailure.NONE
    assert [port for port in (21, 22, 23, 80) if stage.reached(port)] == [22]
    assert not stage.reached(22, UDP)
    assert not stage.reached(22, source="10.1.2.9")
    assert not stage.receives(ip_frame(PEER_MAC, VM_MAC, PEER, IP, ICMP))


async def test_security_group_rules_cmd_lets_answers_pass(stage: NetworkStage) -> None:
    await stage.start_guest()
    await stage.done(rules_command(SSH))
    answer = ip_frame(PEER_MAC, VM_MAC, PEER, IP, 6, (443, 50000))
    assert not stage.receives(answer)
    assert stage.reaches(443)
    assert stage.receives(answer)


async def test_security_group_rules_cmd_closes_egress_with_the_first_egress_rule(
    stage: NetworkStage,
) -> None:
    await stage.start_guest()
    await stage.done(rules_command())
    assert stage.reaches(25)
    web = opened("tcp", 443, 443, "0.0.0.0/0")
    await stage.done(rules_command(egress_rule_set=[web], seq_num=6))
    assert stage.reaches(443, to="192.0.2.80")
    assert not stage.reaches(25, to="192.0.2.80")
    assert stage.reaches(53, UDP, to="192.0.2.53")


async def test_security_group_rules_cmd_keeps_the_vm_to_its_own_addresses(
    stage: NetworkStage,
) -> None:
    await stage.start_guest()
    await stage.done(rules_command(sec_ips=["10.1.1.68", "0"]))
    assert stage.reaches(80)
    assert stage.reaches(80, source="10.1.1.68")
    assert not stage.reaches(80, source="10.1.1.69")
    assert not stage.sends(ip_frame(PEER_MAC, VM_MAC, IP, PEER))
    ask = ip_frame(VM_MAC, b"\xff" * 6, "0.0.0.0", "255.255.255.255", UDP, (68, 67))  # noqa: S104
    offer = ip_frame(VM_MAC, b"\xff" * 6, IP, "255.255.255.255", UDP, (67, 68))
    assert stage.sends(ask)
    assert not stage.sends(offer)


async def test_security_group_rules_cmd_sent_again_changes_nothing(stage: NetworkStage) -> None:
    await stage.start_guest()
    await stage.done(rules_command(SSH))
    before = await stage.present()
    answer = await stage.done(rules_command(SSH))
    assert (answer.details or "").startswith("0 rules changed")
    assert [row for _, row in await stage.present()] == [row for _, row in before]
    assert stage.round_trips <= 6


async def test_security_group_rules_cmd_older_than_what_is_in_force_is_passed_over(
    stage: NetworkStage,
) -> None:
    await stage.start_guest()
    await stage.done(rules_command(SSH))
    before = await stage.rules()
    answer = await stage.done(rules_command(seq_num=4))
    assert "newer" in (answer.details or "")
    assert await stage.rules() == before
    await stage.done(rules_command(seq_num=4, vm_id=18))
    assert not stage.reached(22)


async def test_security_group_rules_cmd_sends_the_difference_additions_first(
    stage: NetworkStage,
) -> None:
    await stage.start_guest()
    await stage.done(rules_command(SSH))
    kept = await weights(stage)
    methods: list[str] = []

    def watch(call: Call) -> Verdict | None:
        if call.method and "Feature" in call.method:
            methods.append(call.method)
        return None

    stage.emulation.server.calls.intercept(watch)
    await stage.done(rules_command(opened("tcp", 80, 81, "0.0.0.0/0"), seq_num=6))
    assert methods == ["AddFeatureSettings", "RemoveFeatureSettings"]
    assert len(kept & await weights(stage)) == len(kept) - 1
    assert [port for port in (22, 79, 80, 81, 82) if stage.reached(port)] == [80, 81]


async def test_security_group_rules_cmd_takes_several_hundred_cidrs_in_batches(
    stage: NetworkStage,
) -> None:
    await stage.start_guest()
    cidrs = [f"10.{high}.{low}.0/24" for high in (2, 3) for low in range(0, 256, 2)]
    await stage.done(rules_command(opened("tcp", 443, 443, *cidrs)))
    assert len(await stage.present()) > 2 * BATCH
    assert stage.reached(443, source="10.3.8.1")
    assert not stage.reached(443, source="10.3.9.1")
    neighbours = [f"10.2.{low}.0/24" for low in range(256)]
    await stage.done(rules_command(opened("tcp", 443, 443, *neighbours), seq_num=6))
    assert len(await stage.present()) < 60
    assert stage.reached(443, source="10.2.9.1")


async def test_security_group_rules_cmd_says_when_there_are_too_many(stage: NetworkStage) -> None:
    await stage.start_guest()
    before = await stage.rules()
    cidrs = [f"10.{high}.{low}.0/24" for high in range(6) for low in range(0, 256, 2)]
    reason, details = await failure(stage, opened("tcp", 443, 443, *cidrs))
    assert reason == "PROGRAMMING_FAILED"
    assert str(MOST_RULES) in details
    assert await stage.rules() == before


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        (opened("tcp", 80, 70, "0.0.0.0/0"), "80 to 70"),
        (opened("nonsense", 1, 2, "0.0.0.0/0"), "nonsense"),
        (opened("tcp", 1, 2, "10.0.0.0/99"), "CIDR"),
    ],
)
async def test_security_group_rules_cmd_refuses(
    stage: NetworkStage, rule: object, word: str
) -> None:
    await stage.start_guest()
    reason, details = await failure(stage, rule)
    assert reason == "PROGRAMMING_FAILED"
    assert word in details


async def test_security_group_rules_cmd_needs_the_vm_and_its_nic(stage: NetworkStage) -> None:
    assert (await failure(stage, SSH))[0] == "PROGRAMMING_FAILED"
    await stage.foreign_vm()
    assert "not made by CloudStack" in (await failure(stage, SSH))[1]


async def test_security_group_rules_cmd_finds_the_nic_by_its_mac(stage: NetworkStage) -> None:
    await stage.start_guest()
    assert "020000000077" in (await failure(stage, SSH, guest_mac="02:00:00:00:00:77"))[1]


async def test_security_group_rules_cmd_goes_on_after_a_failure(stage: NetworkStage) -> None:
    await stage.start_guest()
    seen = 0

    def refuse(call: Call) -> Verdict | None:
        nonlocal seen
        if call.method == "RemoveFeatureSettings":
            seen += 1
            return AnswerCode(32768) if seen == 1 else None
        return None

    await stage.done(rules_command(SSH))
    stage.emulation.server.calls.intercept(refuse)
    web = opened("tcp", 80, 80, "0.0.0.0/0")
    reason, _ = await failure(stage, web)
    assert reason == "PROGRAMMING_FAILED"
    assert stage.reached(22), "allows are removed last"
    await stage.done(rules_command(web))
    assert not stage.reached(22)
    assert stage.reached(80)


async def test_security_group_rules_cmd_leaves_others_rules_alone(stage: NetworkStage) -> None:
    await stage.start_guest()
    connection = (await stage.adapters())[0].adapter.connection
    assert connection is not None
    theirs = PortRule(
        Direction.INCOMING, Action.ALLOW, protocol="TCP", local_ports="5986", name="operator's"
    )
    await call(
        stage.directory.client,
        MANAGEMENT_SERVICE,
        "AddFeatureSettings",
        {
            "AffectedConfiguration": connection.path,
            "FeatureSettings": [rule_data(WeighedRule(65400, theirs))],
        },
        what="an operator's rule",
    )
    await stage.done(rules_command(SSH))
    await stage.done(rules_command(seq_num=6))
    assert theirs in await stage.rules()


async def test_security_group_rules_cmd_sets_the_guards_of_the_port(stage: NetworkStage) -> None:
    await stage.start_guest(security_group_enabled=False, isolation_uri="vlan://untagged")
    await stage.done(rules_command(SSH))
    of_vms = starts_with("InstanceID", "Microsoft:")
    rows = await stage.directory.client.query(Select(data.SECURITY, where=of_vms))
    (row,) = [row for row in rows if "Definition" not in row.require("InstanceID")]
    assert row.boolean("EnableDhcpGuard")
    assert row.boolean("EnableRouterGuard")
    assert row.boolean("AllowMacSpoofing") is False


async def test_security_group_rules_cmd_survives_a_reboot(stage: NetworkStage) -> None:
    await stage.start_guest()
    await stage.done(rules_command(SSH))
    before = await stage.rules()
    await stage.done(RebootCommand(vm_name=NAME))
    assert await stage.rules() == before
    assert stage.reached(22)
    assert not stage.reached(23)


async def test_security_group_rules_cmd_on_2012_keeps_what_needs_no_ports(tmp_path: Path) -> None:
    async with network_stage(tmp_path, release="2012") as stage:
        await stage.start_guest()
        reason, details = await failure(stage, SSH)
        assert reason == "CANNOT_BRIDGE_FIREWALL"
        assert "2012 R2" in details
        everything = opened("all", 0, 0, "0.0.0.0/0")
        await stage.done(rules_command(everything))
        assert stage.reached(22)
        assert stage.reaches(80)
        assert not stage.reaches(80, source="10.1.1.68")
        await stage.done(rules_command(everything, sec_ips=["10.1.1.68"]))
        assert stage.reaches(80, source="10.1.1.68")
        assert "2012 R2" in await stage.refused(secondary("-A"))
        await stage.done(CleanupNetworkRulesCmd(interval=600))


async def test_network_rules_system_vm_command_has_nothing_to_do(stage: NetworkStage) -> None:
    await stage.done(start_command(type="DomainRouter", nics=[guest_nic()]))
    await stage.done(NetworkRulesSystemVmCommand(vm_name=NAME, type="DomainRouter"))
    assert await stage.rules() == frozenset()


async def test_network_rules_vm_secondary_ip_command_adds_and_removes(stage: NetworkStage) -> None:
    await stage.start_guest()
    await stage.done(rules_command(SSH))
    before = await stage.rules()
    assert not stage.reached(22, to="10.1.1.99")
    await stage.done(secondary("-A"))
    await stage.done(secondary("-A"))
    assert stage.reached(22, to="10.1.1.99")
    assert not stage.reached(23, to="10.1.1.99")
    assert stage.reaches(80, source="10.1.1.99")
    with_it = await stage.rules()
    await stage.done(rules_command(SSH, sec_ips=["10.1.1.99"]))
    assert await stage.rules() == with_it, "the same as with all rules sent anew"
    await stage.done(secondary("-D"))
    await stage.done(secondary("-D"))
    assert await stage.rules() == before


async def test_network_rules_vm_secondary_ip_command_refuses(stage: NetworkStage) -> None:
    assert "no VM" in await stage.refused(secondary("-A"))
    await stage.start_guest(security_group_enabled=False, isolation_uri="vlan://untagged")
    assert "neither -A nor -D" in await stage.refused(secondary("-X"))
    assert "not an IP address" in await stage.refused(secondary("-A", "10.1.1"))
    assert "no IPv4 rules" in await stage.refused(secondary("-A"))


async def test_cleanup_network_rules_cmd_looks_at_the_rules_in_force(stage: NetworkStage) -> None:
    answer = await stage.done(CleanupNetworkRulesCmd(interval=600))
    assert "0 ports" in (answer.details or "")
    await stage.start_guest()
    await stage.done(rules_command(SSH))
    answer = await stage.done(CleanupNetworkRulesCmd(interval=600))
    assert (answer.details or "").endswith("1 ports have rules")
    row = next(
        row
        for rule, row in await stage.present()
        if rule.rule.protocol == "TCP" and rule.rule.action is Action.DENY
    )
    await call(
        stage.directory.client,
        MANAGEMENT_SERVICE,
        "RemoveFeatureSettings",
        {"FeatureSettings": [row_path(row)]},
        what="somebody removes a rule",
    )
    answer = await stage.done(CleanupNetworkRulesCmd(interval=600))
    assert "1 of them not all" in (answer.details or "")
    await stage.done(stop_command())
    answer = await stage.done(CleanupNetworkRulesCmd(interval=600))
    assert "0 ports" in (answer.details or "")


async def test_a_guest_starts_behind_closed_doors(stage: NetworkStage) -> None:
    """Between the start and its rules, which the management server sends apart."""
    await stage.start_guest(nic_sec_ips=["10.1.1.68"])
    assert not stage.reached(22)
    assert stage.reaches(80)
    assert stage.reaches(80, source="10.1.1.68")
    assert not stage.reaches(80, source="10.1.1.69")
    await stage.done(rules_command(SSH, seq_num=1))
    assert stage.reached(22)
    assert not stage.reaches(80, source="10.1.1.68")


async def test_start_sets_rules_one_by_one_where_some_features_are_refused(
    stage: NetworkStage,
) -> None:
    seen = 0

    def refuse(call: Call) -> Verdict | None:
        nonlocal seen
        if call.method == "AddFeatureSettings":
            seen += 1
            return AnswerCode(32768) if seen == 1 else None
        return None

    stage.emulation.server.calls.intercept(refuse)
    await stage.start_guest()
    assert seen > 1
    assert not stage.reached(22)
    answer = await stage.done(CleanupNetworkRulesCmd(interval=600))
    assert (answer.details or "").endswith("1 ports have rules")


async def test_start_on_2012_where_some_features_are_refused(tmp_path: Path) -> None:
    """That release does not know the class of rules, so it may not be asked for them."""
    seen = 0

    def refuse(call: Call) -> Verdict | None:
        nonlocal seen
        if call.method == "AddFeatureSettings":
            seen += 1
            return AnswerCode(32768) if seen == 1 else None
        return None

    async with network_stage(tmp_path, release="2012") as stage:
        stage.emulation.server.calls.intercept(refuse)
        await stage.start_guest()
        assert seen > 1
