"""PvlanSetupCommand and starting on private VLANs: who reaches whom on the switch."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.emulator_switch.packets import ethernet
from tests.resource_network.ports import NetworkStage
from tests.resource_vm.commands import NAME, nic, start_command

from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE
from cloudstack_hyperv.messages.answers.vm import GetVmConfigAnswer
from cloudstack_hyperv.messages.commands.network import (
    CleanupPersistentNetworkResourceCommand,
    PvlanSetupCommand,
    SetupPersistentNetworkCommand,
)
from cloudstack_hyperv.messages.commands.vm import (
    GetVmConfigCommand,
    PlugNicCommand,
    ReplugNicCommand,
)
from cloudstack_hyperv.network import PrivateRole, PrivateVlan

PVLAN = "pvlan://100-i200"
MAC = "02:00:51:2c:00:00"


def pvlan(**changes: Any) -> PvlanSetupCommand:
    fields: dict[str, Any] = {
        "op": "add",
        "primary": "100",
        "isolated": "200",
        "vm_mac": MAC,
        "type": "VM",
        "pvlan_type": "isolated",
        **changes,
    }
    return PvlanSetupCommand(**fields)


def mac_of(number: int) -> bytes:
    return bytes.fromhex(f"0200512c00{number:02x}")


async def start(stage: NetworkStage, number: int, uri: str, **changes: Any) -> None:
    """Start one VM of several, without disks."""
    name = f"i-2-{number}-VM"
    await stage.done(
        start_command(
            id=number,
            name=name,
            uuid=f"8b030b6a-0243-440a-8cc5-45d08815ca{number:02x}",
            disks=[],
            nics=[nic(0, uri, mac=mac_of(number).hex(":"))],
            **changes,
        )
    )


async def test_start_on_private_vlans_keeps_guests_apart(stage: NetworkStage) -> None:
    await start(stage, 1, "pvlan://100-i200")
    await start(stage, 2, "pvlan://100-i200")
    await start(stage, 3, "pvlan://100-c201")
    await start(stage, 4, "pvlan://100-c201")
    await start(stage, 5, "pvlan://100-p100")
    await start(stage, 6, "vlan://200")
    await start(stage, 7, "pvlan://100-i200", type="DomainRouter")
    fabric = stage.emulation.host.fabric
    meet = {
        (one, other)
        for one, other in itertools.permutations(range(1, 8), 2)
        if stage.port(mac_of(other))
        in [
            name
            for name, _ in fabric.send(
                stage.port(mac_of(one)), ethernet(mac_of(one), mac_of(other))
            )
        ]
    }
    pairs = {(1, 5), (2, 5), (3, 5), (4, 5), (3, 4), (1, 7), (2, 7), (5, 7)}
    assert meet == pairs | {(other, one) for one, other in pairs}


async def test_pvlan_setup_command_finds_it_done(stage: NetworkStage) -> None:
    await stage.done(start_command(nics=[nic(0, PVLAN)]))
    answer = await stage.done(pvlan())
    assert answer.details == "is 100-i200 already"
    config = await stage.done(GetVmConfigCommand(vm_name=NAME))
    assert isinstance(config, GetVmConfigAnswer)
    assert [each.vlanid for each in config.nics or ()] == ["100-i200"]


async def test_pvlan_setup_command_sets_what_is_not_so(stage: NetworkStage) -> None:
    await stage.done(start_command(nics=[nic(0, "vlan://5"), nic(1)]))
    await stage.done(pvlan(pvlan_type="community"))
    await stage.done(pvlan(dhcp_mac="02:00:51:2c:00:01", vm_mac=None, type="DHCP"))
    states = await stage.adapters()
    assert [state.vlan for state in states] == [
        PrivateVlan(PrivateRole.COMMUNITY, 100, frozenset({200})),
        PrivateVlan(PrivateRole.PROMISCUOUS, 100, frozenset({200})),
    ]


async def test_pvlan_setup_command_delete_leaves_the_port_where_it_is(stage: NetworkStage) -> None:
    await stage.done(start_command(nics=[nic(0, PVLAN)]))
    await stage.done(pvlan(op="delete"))
    assert str((await stage.adapters())[0].vlan) == "100-i200"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"op": "replace"}, "replace"),
        ({"primary": "5000"}, "5000"),
        ({"isolated": "100"}, "same"),
        ({"pvlan_type": "trunk"}, "trunk"),
        ({"vm_mac": "nonsense"}, "MAC"),
        ({"vm_mac": "02:00:00:00:00:77"}, "02:00:00:00:00:77"),
    ],
)
async def test_pvlan_setup_command_refuses(
    stage: NetworkStage, changes: dict[str, Any], word: str
) -> None:
    await stage.done(start_command(nics=[nic(0, PVLAN)]))
    assert word in await stage.refused(pvlan(**changes))


async def test_pvlan_setup_command_touches_vms_of_ours_only(stage: NetworkStage) -> None:
    await stage.done(start_command(nics=[nic(0, "vlan://5")]))
    machine = await stage.machine()
    assert machine is not None
    change = data.changed_system(f"Microsoft:{machine.guid}", {"Notes": ["somebody's"]})
    await call(
        stage.directory.client,
        MANAGEMENT_SERVICE,
        "ModifySystemSettings",
        {"SystemSettings": change},
        what="take the mark away",
    )
    assert "not made by CloudStack" in await stage.refused(pvlan())


async def test_plug_nic_command_on_a_private_vlan(stage: NetworkStage) -> None:
    await stage.done(start_command(nics=[nic(0, PVLAN)], boot_type="UEFI", boot_mode="LEGACY"))
    await stage.done(PlugNicCommand(nic=nic(1, "pvlan://100-c201"), instance_name=NAME))
    replug = ReplugNicCommand(nic=nic(1, PVLAN), instance_name=NAME, vm_type="User")
    assert str((await stage.adapters())[1].vlan) == "100-c201"
    await stage.done(replug)
    assert [str(state.vlan) for state in await stage.adapters()] == ["100-i200", "100-i200"]
    await stage.done(ReplugNicCommand(nic=nic(1, "vlan://9"), instance_name=NAME, vm_type="User"))
    assert (await stage.adapters())[1].vlan == 9


async def test_start_refuses_vxlan(stage: NetworkStage) -> None:
    assert "VXLAN" in await stage.refused(start_command(nics=[nic(0, "vxlan://5001")]))


async def test_setup_persistent_network_command_looks_for_the_switch(stage: NetworkStage) -> None:
    answer = await stage.done(SetupPersistentNetworkCommand(nic=nic(0, "vlan://261")))
    assert "'External'" in (answer.details or "")
    nowhere = SetupPersistentNetworkCommand(nic=nic(0, "vlan://261", name="nowhere"))
    assert "nowhere" in await stage.refused(nowhere)
    assert "VXLAN" in await stage.refused(SetupPersistentNetworkCommand(nic=nic(0, "vxlan://5")))
    assert "no NIC" in await stage.refused(SetupPersistentNetworkCommand())


async def test_cleanup_persistent_network_resource_command_has_nothing_to_do(
    stage: NetworkStage,
) -> None:
    await stage.done(CleanupPersistentNetworkResourceCommand(nic=nic(0, "vlan://261")))
