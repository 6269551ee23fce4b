"""VMs that come and go: GetUnmanagedInstances, Unmanage, GetRemoteVms, CheckVolume, addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulation import PASSWORD, POOL, USER
from tests.resource_vm.commands import (
    DATA,
    ISO,
    NAME,
    ROOT,
    SPARE,
    Stage,
    iso,
    nic,
    staged,
    start_command,
    stop_command,
    virtual_machine,
    volume,
)

from cloudstack_hyperv.emulator.host import GuestScript
from cloudstack_hyperv.messages import Answer, Command
from cloudstack_hyperv.messages.answers.storage import CheckVolumeAnswer
from cloudstack_hyperv.messages.answers.unmanaged import (
    GetRemoteVmsAnswer,
    GetUnmanagedInstancesAnswer,
)
from cloudstack_hyperv.messages.commands.storage_other import CheckVolumeCommand
from cloudstack_hyperv.messages.commands.unmanaged import (
    GetRemoteVmsCommand,
    GetUnmanagedInstancesCommand,
    PrepareUnmanageVMInstanceCommand,
    UnmanageInstanceCommand,
)
from cloudstack_hyperv.messages.commands.vm import GetVmIpAddressCommand
from cloudstack_hyperv.messages.objects.storage import StorageFilerTO
from cloudstack_hyperv.messages.objects.unmanaged import UnmanagedInstanceTO

POOL_FILER = StorageFilerTO(uuid="pool", path=POOL, type="Filesystem", host="192.0.2.10")


async def unmanaged(stage: Stage, command: Command) -> dict[str, UnmanagedInstanceTO]:
    answer = await stage.done(command)
    assert isinstance(answer, GetUnmanagedInstancesAnswer)
    return answer.unmanaged_instances or {}


async def test_get_unmanaged_instances_command_describes_what_an_import_needs(
    stage: Stage,
) -> None:
    await stage.done(start_command(boot_type="UEFI", boot_mode="SECURE"))
    await stage.foreign_vm("web 1")
    found = await unmanaged(stage, GetUnmanagedInstancesCommand())
    assert found.keys() == {NAME, "web 1"}
    assert stage.round_trips <= 8
    vm = found[NAME]
    assert (vm.power_state, vm.cpu_cores, vm.memory) == ("PowerOn", 2, 1024)
    assert (vm.boot_type, vm.boot_mode) == ("UEFI", "SECURE")
    assert [
        (d.file_base_name, d.capacity, d.datastore_path, d.datastore_host, d.controller, d.position)
        for d in vm.disks or ()
    ] == [
        (ROOT, 64 * 2**20, POOL, "192.0.2.10", "scsi", 0),
        (DATA, 64 * 2**20, POOL, "192.0.2.10", "scsi", 1),
    ]
    assert [(n.nic_id, n.mac_address, n.network, n.vlan) for n in vm.nics or ()] == [
        ("0", "02:00:51:2c:00:00", "External", 261),
        ("1", "02:00:51:2c:00:01", "External", None),
    ]
    assert found["web 1"].power_state == "PowerOff"


async def test_get_unmanaged_instances_command_leaves_managed_ones_out(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.foreign_vm("web 1")
    command = GetUnmanagedInstancesCommand(managed_instances_names=[NAME, "i-2-99-VM"])
    assert (await unmanaged(stage, command)).keys() == {"web 1"}


async def test_get_unmanaged_instances_command_of_one(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.foreign_vm("web 1")
    one = GetUnmanagedInstancesCommand(instance_name="web 1", managed_instances_names=[NAME])
    assert (await unmanaged(stage, one)).keys() == {"web 1"}
    managed = GetUnmanagedInstancesCommand(instance_name=NAME, managed_instances_names=[NAME])
    assert "managed" in await stage.refused(managed)
    assert "no VM" in await stage.refused(GetUnmanagedInstancesCommand(instance_name="WEB 1"))


async def test_get_unmanaged_instances_command_lists_none_of_several_with_one_name(
    stage: Stage,
) -> None:
    await stage.foreign_vm("twin")
    await stage.foreign_vm("twin")
    assert "rename" in await stage.refused(GetUnmanagedInstancesCommand(instance_name="twin"))
    await stage.foreign_vm("web 1")
    assert (await unmanaged(stage, GetUnmanagedInstancesCommand())).keys() == {"web 1"}


async def test_unmanage_instance_command_lets_a_running_vm_go(stage: Stage) -> None:
    disks = [volume(ROOT, "ROOT", 0), iso(), iso(ISO, 4)]
    await stage.done(start_command(disks=disks))
    await stage.done(PrepareUnmanageVMInstanceCommand(instance_name=NAME))
    await stage.done(UnmanageInstanceCommand(instance_name=NAME, is_config_drive_attached=True))
    machine = await stage.running()
    assert machine.ownership is None
    assert (await stage.drives())["IDE 1:1"] is None
    assert "not made by CloudStack" in await stage.refused(stop_command())
    await stage.running()


async def test_unmanage_instance_command_defines_a_stopped_vm_again(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.done(stop_command())
    await stage.done(UnmanageInstanceCommand(instance_name=NAME, vm=virtual_machine()))
    machine = await stage.machine()
    assert machine is not None
    assert machine.state == 3
    assert machine.ownership is None
    assert f"{POOL}\\{ROOT}.vhdx" in (await stage.drives()).values()


async def test_unmanage_instance_command_of_a_vm_that_is_not_here_fails(stage: Stage) -> None:
    assert "no VM" in await stage.refused(UnmanageInstanceCommand(instance_name=NAME))


async def test_prepare_unmanage_vm_instance_command_looks_for_a_vm_of_ours(stage: Stage) -> None:
    assert "no VM" in await stage.refused(PrepareUnmanageVMInstanceCommand(instance_name=NAME))
    await stage.foreign_vm()
    refused = await stage.refused(PrepareUnmanageVMInstanceCommand(instance_name=NAME))
    assert "not made by CloudStack" in refused


def remote(address: str = "127.0.0.1", password: str = PASSWORD) -> GetRemoteVmsCommand:
    return GetRemoteVmsCommand(remote_ip=address, username=USER, password=password)


async def test_get_remote_vms_command_lists_the_vms_of_another_host_that_are_off(
    stage: Stage,
) -> None:
    """The other host is the same one here: address and port are what tells them apart."""
    await stage.done(start_command())
    await stage.foreign_vm("web 1")
    answer = await stage.done(remote())
    assert isinstance(answer, GetRemoteVmsAnswer)
    assert (answer.unmanaged_instances or {}).keys() == {"web 1"}
    assert answer.remote_ip == "127.0.0.1"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (remote("example.org"), "address"),
        (remote(password="wrong"), "refused our login"),
        (GetRemoteVmsCommand(remote_ip="127.0.0.1"), "no user"),
    ],
)
async def test_get_remote_vms_command_refuses(
    stage: Stage, command: GetRemoteVmsCommand, reason: str
) -> None:
    details = await stage.refused(command)
    assert reason in details
    assert PASSWORD not in details


async def check(stage: Stage, name: str) -> Answer:
    return await stage.send(CheckVolumeCommand(src_file=name, storage_filer=POOL_FILER))


async def test_check_volume_command_tells_what_a_disk_is(stage: Stage) -> None:
    await stage.done(start_command())
    for name, locked in ((ROOT, "true"), (SPARE, "false"), (f"{SPARE}.vhdx", "false")):
        answer = await check(stage, name)
        assert isinstance(answer, CheckVolumeAnswer)
        assert answer.result
        assert answer.size == 64 * 2**20
        assert answer.volume_details == {"FILE_FORMAT": "VHDX", "IS_LOCKED": locked}


async def test_check_volume_command_fails_for_what_is_no_disk(stage: Stage) -> None:
    stage.emulation.path(f"{POOL}\\junk.vhdx").write_bytes(b"junk" * 1000)
    answer = await check(stage, "junk.vhdx")
    assert isinstance(answer, CheckVolumeAnswer)
    assert (answer.result, answer.size) == (False, 0)
    for name in ("missing", "..\\..\\x.vhdx", "missing.vhdx"):
        assert not (await check(stage, name)).result


QUICK_GUEST = GuestScript(boot=0.0, kvp_delay=0.0)


async def test_get_vm_ip_address_command_asks_the_guest(tmp_path: Path) -> None:
    async with staged(tmp_path, guest=QUICK_GUEST) as stage:
        await stage.done(start_command())
        answer = await stage.done(GetVmIpAddressCommand(vm_name=NAME))
        assert (answer.details or "").startswith("10.1.1.")
        assert stage.round_trips <= 2
        second = GetVmIpAddressCommand(
            vm_name=NAME, vm_network_cidr="10.1.1.0/24", mac_address=nic(1).mac
        )
        other = await stage.done(second)
        assert other.details != answer.details
        elsewhere = GetVmIpAddressCommand(vm_name=NAME, vm_network_cidr="192.0.2.0/24")
        assert "no address" in await stage.refused(elsewhere)
        missing = GetVmIpAddressCommand(vm_name=NAME, mac_address="02:00:00:00:00:99")
        assert "no address" in await stage.refused(missing)


async def test_get_vm_ip_address_command_takes_what_the_guest_exchanges(tmp_path: Path) -> None:
    """Some guests do not fill the configuration of their NICs."""
    async with staged(tmp_path, guest=QUICK_GUEST) as stage:
        await stage.done(start_command())
        hidden = "Msvm_GuestNetworkAdapterConfiguration"
        context = stage.resource.context
        real = context.cim.query

        async def query(select: object, **options: object) -> object:
            if hidden in str(select):
                return []
            return await real(select, **options)  # type: ignore[arg-type]  # handed through

        context.cim.query = query  # type: ignore[method-assign,assignment]  # a guest without it
        answer = await stage.done(GetVmIpAddressCommand(vm_name=NAME))
        assert (answer.details or "").startswith("10.1.1.")


async def test_get_vm_ip_address_command_of_a_silent_guest_fails(tmp_path: Path) -> None:
    async with staged(tmp_path, guest=GuestScript(integration_services=False)) as stage:
        await stage.done(start_command())
        assert "no address" in await stage.refused(GetVmIpAddressCommand(vm_name=NAME))
        bad = GetVmIpAddressCommand(vm_name=NAME, vm_network_cidr="nonsense")
        assert "not a network" in await stage.refused(bad)
        assert "no VM" in await stage.refused(GetVmIpAddressCommand(vm_name="i-2-99-VM"))
