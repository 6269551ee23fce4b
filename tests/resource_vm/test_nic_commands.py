"""GetVmConfigCommand and ModifyVmNicConfigCommand, as a router gets a public network plugged."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.resource_vm.commands import LABEL, NAME, Stage, nic, staged, start_command

from cloudstack_hyperv.emulator.door.calls import AnswerCode, Call, Verdict
from cloudstack_hyperv.messages.answers.vm import GetVmConfigAnswer
from cloudstack_hyperv.messages.commands.vm import GetVmConfigCommand, ModifyVmNicConfigCommand

CONFIG = GetVmConfigCommand(vm_name=NAME)


def modify(**changes: object) -> ModifyVmNicConfigCommand:
    fields: dict[str, object] = {"vm_name": NAME, **changes}
    return ModifyVmNicConfigCommand(**fields)  # type: ignore[arg-type]  # fields by name


async def start_router(stage: Stage) -> None:
    padding = [
        nic(n, "vlan://50", ip="0.0.0.0", netmask="255.255.255.255")  # noqa: S104  (no socket)
        for n in (2, 3)
    ]
    nics = [nic(0, "vlan://261"), nic(1), *padding]
    await stage.done(start_command(type="DomainRouter", nics=nics))


async def config(stage: Stage) -> list[tuple[str | None, str | None, bool]]:
    answer = await stage.done(CONFIG)
    assert isinstance(answer, GetVmConfigAnswer)
    assert answer.vm_name == NAME
    return [(each.mac_address, each.vlanid, each.state) for each in answer.nics or ()]


ROUTER = [
    ("02:00:51:2c:00:00", "261", True),
    ("02:00:51:2c:00:01", "-1", True),
    ("02:00:51:2c:00:02", "-1", False),
    ("02:00:51:2c:00:03", "-1", False),
]


async def test_get_vm_config_command_lists_nics_in_the_guests_order(stage: Stage) -> None:
    await start_router(stage)
    assert await config(stage) == ROUTER
    assert stage.round_trips <= 3


async def test_modify_vm_nic_config_command_connects_a_padding_nic(stage: Stage) -> None:
    await start_router(stage)
    await stage.done(modify(vlan="50", index=2, enable=True, switch_label_name=LABEL))
    expected = [*ROUTER[:2], ("02:00:51:2c:00:02", "50", True), ROUTER[3]]
    assert await config(stage) == expected
    await stage.done(modify(vlan="50", index=2, enable=True, switch_label_name=LABEL))
    assert await config(stage) == expected


async def test_modify_vm_nic_config_command_by_mac_connects_whatever_enable_says(
    stage: Stage,
) -> None:
    """The constructor of that form leaves the field false."""
    await start_router(stage)
    await stage.done(modify(vlan="51", mac_address="02:00:51:2c:00:03", enable=False))
    assert (await config(stage))[3] == ("02:00:51:2c:00:03", "51", True)


async def test_modify_vm_nic_config_command_takes_a_nic_off_again(stage: Stage) -> None:
    await start_router(stage)
    await stage.done(modify(vlan="50", index=2, enable=True))
    await stage.done(modify(vlan="2", index=2, enable=False))
    assert (await config(stage))[2] == ("02:00:51:2c:00:02", "2", False)


async def test_modify_vm_nic_config_command_changes_and_removes_a_vlan(stage: Stage) -> None:
    await start_router(stage)
    await stage.done(modify(vlan="262", index=0, enable=True))
    assert (await config(stage))[0][1:] == ("262", True)
    await stage.done(modify(vlan="untagged", index=0, enable=True))
    assert (await config(stage))[0][1:] == ("-1", True)


async def test_modify_vm_nic_config_command_where_a_vlan_cannot_be_modified(stage: Stage) -> None:
    """os-win removes and adds because some hosts refuse ModifyFeatureSettings."""
    await start_router(stage)

    def refuse(call: Call) -> Verdict | None:
        return AnswerCode(32773) if call.method == "ModifyFeatureSettings" else None

    stage.emulation.server.calls.intercept(refuse)
    await stage.done(modify(vlan="262", index=0, enable=True))
    assert (await config(stage))[0][1:] == ("262", True)


async def test_modify_vm_nic_config_command_puts_the_old_vlan_back_when_it_fails(
    stage: Stage,
) -> None:
    await start_router(stage)
    seen = 0

    def refuse(call: Call) -> Verdict | None:
        nonlocal seen
        if call.method == "AddFeatureSettings":
            seen += 1
            return AnswerCode(32768) if seen == 1 else None
        return AnswerCode(32773) if call.method == "ModifyFeatureSettings" else None

    stage.emulation.server.calls.intercept(refuse)
    await stage.refused(modify(vlan="262", index=0, enable=True))
    assert (await config(stage))[0][1:] == ("261", True)


async def test_modify_vm_nic_config_command_moves_a_nic_to_another_switch(stage: Stage) -> None:
    await start_router(stage)
    await stage.done(modify(vlan="7", index=1, enable=True, switch_label_name="Internal"))
    states = await stage.adapters()
    assert (states[1].vlan, states[1].connected) == (7, True)
    first, second = states[0].adapter.connection, states[1].adapter.connection
    assert first is not None
    assert second is not None
    assert first.switch != second.switch


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vlan": "5000", "index": 0}, "VLAN 5000"),
        ({"vlan": "5", "index": 9}, "position 9"),
        ({"vlan": "5", "index": -1}, "position -1"),
        ({"vlan": "5", "mac_address": "02:00:00:00:00:77"}, "020000000077"),
        ({"vlan": "5", "mac_address": "nonsense"}, "MAC address"),
        ({"vlan": "5", "index": 0, "enable": True, "switch_label_name": "nowhere"}, "nowhere"),
    ],
)
async def test_modify_vm_nic_config_command_refuses(
    stage: Stage, changes: dict[str, object], reason: str
) -> None:
    await start_router(stage)
    assert reason in await stage.refused(modify(**changes))
    assert await config(stage) == ROUTER


async def test_nic_commands_need_a_vm_of_ours(stage: Stage) -> None:
    assert "no VM" in await stage.refused(CONFIG)
    assert "no VM" in await stage.refused(modify(vlan="5"))
    await stage.foreign_vm()
    assert "not made by CloudStack" in await stage.refused(CONFIG)
    assert "not made by CloudStack" in await stage.refused(modify(vlan="5"))


async def test_get_vm_config_command_where_the_host_refuses_wql(tmp_path: Path) -> None:
    refused = frozenset({"root/virtualization/v2"})
    async with staged(tmp_path, wql_refused_in=refused) as stage:
        await start_router(stage)
        assert await config(stage) == ROUTER
