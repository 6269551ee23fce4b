"""StartCommand against a running emulated host: what is there afterwards, and what never is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.emulation import HOST_ADDRESS, POOL
from tests.resource_vm.commands import (
    DATA,
    ISO,
    NAME,
    ROOT,
    UUID,
    Stage,
    attach_command,
    iso,
    nic,
    staged,
    start_command,
    stop_command,
    volume,
)

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.door.calls import AnswerCode, Call, DropConnection, Verdict
from cloudstack_hyperv.emulator.host import JobMode
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.machines import settings_path
from cloudstack_hyperv.hypervisor.port_features import read_vlans
from cloudstack_hyperv.messages import encode_commands
from cloudstack_hyperv.messages.answers.vm import StartAnswer
from cloudstack_hyperv.messages.commands.host import CheckNetworkCommand
from cloudstack_hyperv.messages.commands.startup import StartupRoutingCommand
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import DiskTO
from cloudstack_hyperv.resource.known_switches import known_switches
from cloudstack_hyperv.wsman.api import Instance
from cloudstack_hyperv.wsman.protocol.wql import Select, starts_with

pytestmark = pytest.mark.usefixtures("emulated_host")


def encrypted() -> DiskTO:
    disk = volume(ROOT, "ROOT", 0)
    assert isinstance(disk.data, VolumeObjectTO)
    disk.data.encrypt_format = "LUKS"
    return disk


async def settings_of(stage: Stage, name: str = NAME) -> Instance:
    machine = await stage.machine(name)
    assert machine is not None
    return await stage.directory.client.get(settings_path(machine.guid))


async def rows_of(stage: Stage, class_name: str) -> list[Instance]:
    machine = await stage.machine()
    assert machine is not None
    return await stage.directory.client.query(
        Select(class_name, where=starts_with("InstanceID", f"Microsoft:{machine.guid}\\"))
    )


async def test_start_command_makes_a_generation_1_vm_and_starts_it(stage: Stage) -> None:
    command = start_command()
    answer = await stage.done(command)
    assert isinstance(answer, StartAnswer)
    assert answer.vm == command.vm  # the server reads the disks from it
    machine = await stage.running()
    assert machine.ownership is not None
    assert machine.ownership.uuid == UUID
    assert await stage.drives() == {
        "IDE 0:0": f"{POOL}\\{ROOT}.vhdx",
        "IDE 1:0": None,
        "SCSI 0:1": f"{POOL}\\{DATA}.vhdx",
    }
    settings = await settings_of(stage)
    assert settings.string("VirtualSystemSubType") == "Microsoft:Hyper-V:SubType:1"
    assert settings.uint("AutomaticStartupAction") == 2
    assert settings.uint("AutomaticShutdownAction") == 4
    assert settings.boolean("AutomaticSnapshotsEnabled") is False
    assert settings.string("BIOSGUID") == f"{{{UUID.upper()}}}"


async def test_start_command_connects_nics_in_device_order_with_vlan_and_rate(
    stage: Stage,
) -> None:
    await stage.done(start_command(nics=[nic(3), nic(1, "vlan://262"), nic(0, "vlan://261")]))
    states = await stage.adapters()
    assert [state.adapter.mac for state in states] == [
        "0200512C0000",
        "0200512C0001",
        "0200512C0003",
    ]
    assert [state.vlan for state in states] == [261, 262, None]
    assert all(state.connected for state in states)
    bandwidth = await rows_of(stage, data.BANDWIDTH)
    assert [row.uint("Limit") for row in bandwidth] == [200_000_000] * 3


async def test_start_command_stays_within_its_budget(stage: Stage) -> None:
    """Generation 1, two disks, a DVD drive, two NICs, one VLAN, rates; ten, after a connect.

    An agent that was restarted, and has not seen a Startup yet, asks for release and switches.
    """
    await stage.done(start_command())
    assert stage.round_trips == 12
    await stage.done(stop_command())
    stage.resource.context.memory.values.clear()
    startup = StartupRoutingCommand(
        data_center="1", pod="1", cluster="1", guid="g", name="n", private_ip_address=HOST_ADDRESS
    )
    await stage.resource.startup(encode_commands([startup]))
    await stage.done(CheckNetworkCommand(network_info_list=[]))
    await stage.done(start_command())
    assert stage.round_trips == 10


async def test_start_command_twice_makes_one_vm(stage: Stage) -> None:
    await stage.done(start_command())
    first = await stage.running()
    await stage.done(start_command())
    assert (await stage.running()).guid == first.guid
    assert await stage.all_names() == [NAME]


async def test_start_command_at_the_same_time_makes_one_vm(stage: Stage) -> None:
    """As two management servers send it after a fail-over."""
    answers = await asyncio.gather(*(stage.send(start_command()) for _ in range(3)))
    assert all(answer.result for answer in answers)
    assert await stage.all_names() == [NAME]


async def test_start_command_of_many_vms_at_once(stage: Stage) -> None:
    names = [f"i-2-{number}-VM" for number in range(20, 26)]
    commands = []
    for number, name in enumerate(names):
        root = volume(f"root-{number}", "ROOT", 0)
        stage.emulation.make_disk(f"root-{number}")
        commands.append(start_command(name=name, uuid=f"uuid-{number}", disks=[root]))
    answers = await asyncio.gather(*(stage.send(command) for command in commands))
    assert [answer.details for answer in answers] == [None] * 6
    assert await stage.all_names() == names


async def test_start_command_defines_a_vm_of_ours_that_is_off_anew(stage: Stage) -> None:
    await stage.done(start_command())
    first = await stage.running()
    await stage.request_state(3, 3)
    await stage.done(start_command(cpus=4, nics=[nic(0)]))
    second = await stage.running()
    assert second.guid != first.guid
    assert await stage.all_names() == [NAME]
    assert len(await stage.adapters()) == 1
    [processor] = await rows_of(stage, "Msvm_ProcessorSettingData")
    assert processor.uint("VirtualQuantity") == 4
    assert stage.has_disks()


async def test_start_command_keeps_what_the_guest_sees_over_a_new_definition(
    stage: Stage,
) -> None:
    await stage.done(start_command())
    before = [state.adapter.identifier for state in await stage.adapters()]
    await stage.done(stop_command())
    await stage.done(start_command())
    assert [state.adapter.identifier for state in await stage.adapters()] == before


@pytest.mark.parametrize(("requested", "state"), [(9, 9), (6, 6)], ids=["paused", "saved"])
async def test_start_command_lets_a_paused_or_saved_vm_go_on(
    stage: Stage, requested: int, state: int
) -> None:
    await stage.done(start_command())
    first = await stage.running()
    await stage.request_state(requested, state)
    await stage.done(start_command())
    assert (await stage.running()).guid == first.guid


async def test_start_command_leaves_a_vm_that_is_not_ours_alone(stage: Stage) -> None:
    await stage.foreign_vm(Notes=["mine"])
    theirs = await stage.machine()
    assert "did not make" in await stage.refused(start_command())
    assert await stage.machine() == theirs
    assert await stage.all_names() == [NAME]


async def test_start_command_leaves_another_cloudstacks_vm_alone(stage: Stage) -> None:
    await stage.done(start_command())
    details = await stage.refused(start_command(uuid="00000000-0243-440a-8cc5-45d08815ca11"))
    assert "another CloudStack VM" in details
    assert (await stage.running()).ownership.uuid == UUID  # type: ignore[union-attr]  # it is ours


async def test_start_command_does_not_take_a_name_in_other_letters_for_its_own(
    stage: Stage,
) -> None:
    """WQL compares without letter case."""
    await stage.foreign_vm(NAME.lower())
    await stage.done(start_command())
    assert await stage.all_names() == sorted([NAME, NAME.lower()])


@pytest.mark.parametrize("name", ["i-2-3-VM' OR ElementName LIKE '%", "i-2-3-VM\\", 'a"b'])
async def test_start_command_refuses_a_name_that_is_none(stage: Stage, name: str) -> None:
    await stage.foreign_vm("bystander")
    await stage.refused(start_command(name=name))
    assert await stage.all_names() == ["bystander"]


async def test_start_command_makes_a_generation_2_vm(stage: Stage) -> None:
    disks = [volume(ROOT, "ROOT", 0), volume(DATA, "DATADISK", 4), iso(), iso(ISO, 4)]
    await stage.done(start_command(boot_type="UEFI", boot_mode="LEGACY", disks=disks))
    iso_path = f"\\\\10.1.1.5\\secondary\\{ISO.replace('/', chr(92))}"
    assert await stage.drives() == {
        "SCSI 0:0": f"{POOL}\\{ROOT}.vhdx",
        "SCSI 0:3": iso_path,
        "SCSI 0:4": f"{POOL}\\{DATA}.vhdx",
        "SCSI 0:63": iso_path,
    }
    settings = await settings_of(stage)
    assert settings.string("VirtualSystemSubType") == "Microsoft:Hyper-V:SubType:2"
    assert settings.boolean("SecureBootEnabled") is False
    order = settings.strings("BootSourceOrder")
    assert r"\\0\\3\\D" in order[0]
    assert r"\\0\\63\\D" in order[1]
    assert r"\\0\\0\\D" in order[2]


async def test_start_command_with_secure_boot_trusts_what_linux_is_signed_by(
    stage: Stage,
) -> None:
    await stage.done(start_command(boot_type="UEFI", boot_mode="SECURE"))
    settings = await settings_of(stage)
    assert settings.boolean("SecureBootEnabled") is True
    template = settings.string("SecureBootTemplateId") or ""
    assert template.lower() == "272e7447-90a4-4563-a4b9-8e4ab00526ce"


async def test_start_command_puts_an_iso_and_a_config_drive_into_ide(stage: Stage) -> None:
    await stage.done(start_command(disks=[volume(ROOT, "ROOT", 0), iso(), iso(ISO, 4)]))
    drives = await stage.drives()
    assert drives.keys() == {"IDE 0:0", "IDE 1:0", "IDE 1:1"}
    assert drives["IDE 1:0"] is not None
    assert drives["IDE 1:1"] is not None


async def test_start_command_sets_memory_and_processor(stage: Stage) -> None:
    await stage.done(
        start_command(
            min_ram=512 * 2**20,
            max_ram=2**30,
            min_speed=2000,
            limit_cpu_use=True,
            cpu_quota_percentage=0.25,
        )
    )
    [memory] = await rows_of(stage, "Msvm_MemorySettingData")
    assert memory.boolean("DynamicMemoryEnabled") is True
    sizes = [memory.uint(name) for name in ("VirtualQuantity", "Reservation", "Limit")]
    assert sizes == [512, 512, 1024]
    [processor] = await rows_of(stage, "Msvm_ProcessorSettingData")
    values = [processor.uint(name) for name in ("VirtualQuantity", "Limit", "Weight")]
    assert values == [2, 25_000, 200]


async def test_start_command_limits_a_disk_by_operations_of_8_kib(stage: Stage) -> None:
    """Hyper-V counts reading and writing together."""
    root, data_disk = volume(ROOT, "ROOT", 0), volume(DATA, "DATADISK", 1)
    assert isinstance(root.data, VolumeObjectTO)
    root.data.iops_read_rate, root.data.iops_write_rate = 300, 200
    await stage.done(start_command(disks=[root, data_disk]))
    limits = {
        d.medium.file: d.medium.iops_limit for d in (await stage.devices()).drives if d.medium
    }
    assert limits == {f"{POOL}\\{ROOT}.vhdx": 500, f"{POOL}\\{DATA}.vhdx": None}


async def test_start_command_without_disk_limits_where_the_release_has_none(
    tmp_path: Path,
) -> None:
    root = volume(ROOT, "ROOT", 0)
    assert isinstance(root.data, VolumeObjectTO)
    root.data.iops_read_rate, root.data.iops_write_rate = 300, 200
    async with staged(tmp_path, release="2012") as stage:
        await stage.done(start_command(disks=[root]))


async def test_start_command_with_nested_virtualisation(tmp_path: Path, stage: Stage) -> None:
    details = {"nestedVirtualizationFlag": "true", "hyperv.processor.compatibility": "true"}
    await stage.done(start_command(min_ram=512 * 2**20, max_ram=2**30, details=details))
    [processor] = await rows_of(stage, "Msvm_ProcessorSettingData")
    assert processor.boolean("ExposeVirtualizationExtensions") is True
    assert processor.boolean("LimitProcessorFeatures") is True
    [memory] = await rows_of(stage, "Msvm_MemorySettingData")
    assert memory.boolean("DynamicMemoryEnabled") is False
    assert memory.uint("VirtualQuantity") == 1024
    async with staged(tmp_path / "old", release="2012r2") as old:
        assert "2016" in await old.refused(start_command(details=details))
        assert await old.all_names() == []


async def test_start_command_takes_the_firmware_from_the_details(stage: Stage) -> None:
    details = {"UEFI": "SECURE", "hyperv.secureboot.template": "windows"}
    await stage.done(start_command(details=details))
    settings = await settings_of(stage)
    assert settings.string("VirtualSystemSubType") == "Microsoft:Hyper-V:SubType:2"
    assert settings.boolean("SecureBootEnabled") is True
    template = settings.string("SecureBootTemplateId") or ""
    assert template.lower() == "1734c6e8-3154-4dda-ba5f-a874cc483422"


async def test_start_command_limits_a_cpu_by_the_hosts_speed(stage: Stage) -> None:
    await stage.done(start_command(limit_cpu_use=True, max_speed=1200))
    [processor] = await rows_of(stage, "Msvm_ProcessorSettingData")
    assert processor.uint("Limit") == 50_000  # the emulated host has 2400 MHz


async def test_start_command_of_a_router_pads_its_nics_and_hands_over_boot_arguments(
    stage: Stage,
) -> None:
    padding = [
        nic(n, "vlan://50", ip="0.0.0.0", netmask="255.255.255.255")  # noqa: S104  (no socket)
        for n in range(3, 8)
    ]
    control = nic(1, None, type="Control", ip="169.254.1.2", name="cloud0")
    arguments = f" type=router name=r-6-VM authorized_key={'A' * 700} keystore={'k' * 600}"
    await stage.done(
        start_command(
            type="DomainRouter",
            boot_args=arguments,
            nics=[nic(0, "vlan://261"), control, nic(2, "vlan://50"), *padding],
        )
    )
    states = await stage.adapters()
    assert [state.connected for state in states] == [True, False, True] + [False] * 5
    assert [state.vlan for state in states] == [261, None, 50] + [None] * 5
    exchange = await rows_of(stage, "Msvm_KvpExchangeComponentSettingData")
    items = "".join(text for row in exchange for text in row.strings("HostExchangeItems"))
    assert "cloudstack-vm-userdata" in items
    assert "cloudstack-vm-userdata-2" in items
    assert "A" * 700 in items


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nics": [nic(0, "vxlan://5001")]}, "vxlan://5001"),
        ({"nics": [nic(0, name="nowhere")]}, "'nowhere'"),
        ({"disks": [volume("missing", "ROOT", 0)]}, "missing.vhdx"),
        ({"disks": [volume("..\\x", "ROOT", 0)]}, "forbids"),
        ({"disks": [volume(ROOT, "ROOT", 0), volume(ROOT, "DATADISK", 1)]}, "twice"),
        ({"cpus": 0}, "processors"),
        ({"boot_args": "x=" + "y" * 5000}, "data exchange"),
        ({"enter_hardware_setup": True}, "firmware"),
        ({"details": {"virtual.tpm.model": "tpm-crb"}}, "TPM"),
        ({"details": {"hyperv.shielded": "true"}}, "shielded"),
        ({"details": {"UEFI": "YES"}}, "LEGACY or SECURE"),
        ({"details": {"hyperv.secureboot.template": "mine"}}, "uefi-ca"),
        ({"disks": [encrypted()]}, "encrypted"),
    ],
)
async def test_start_command_finds_what_is_wrong_before_it_changes_the_host(
    stage: Stage, changes: dict[str, Any], reason: str
) -> None:
    assert reason in await stage.refused(start_command(**changes))
    calls = {record.call.method for record in stage.emulation.server.calls.records}
    assert "DefineSystem" not in calls
    assert await stage.all_names() == []


STEPS = [
    ("DefineSystem", 1),
    ("AddResourceSettings", 1),
    ("AddResourceSettings", 2),
    ("AddResourceSettings", 3),
    ("AddFeatureSettings", 1),
    ("AddKvpItems", 1),
    ("RequestStateChange", 1),
]


@pytest.mark.parametrize(("method", "nth"), STEPS)
async def test_start_command_undoes_everything_when_a_step_fails(
    stage: Stage, method: str, nth: int
) -> None:
    seen = 0

    def fail(call: Call) -> Verdict | None:
        nonlocal seen
        seen += call.method == method
        return AnswerCode(32768) if call.method == method and seen == nth else None

    stage.emulation.server.calls.intercept(fail)
    # A VLAN alone, so that the failure of the features is not taken for one of bandwidth.
    nics = [nic(0, "vlan://261", network_rate_mbps=None)]
    details = await stage.refused(start_command(boot_args="a=b", nics=nics))
    assert "32768" in details
    assert seen >= nth
    assert await stage.all_names() == []
    assert stage.has_disks()
    stage.emulation.server.calls.intercept(lambda _: None)
    await stage.done(start_command())


async def test_start_command_without_enough_memory_says_so_and_leaves_nothing(
    stage: Stage,
) -> None:
    details = await stage.refused(start_command(min_ram=2**40, max_ram=2**40))
    assert "memory" in details.lower()
    assert await stage.all_names() == []
    assert stage.has_disks()


async def test_start_command_at_its_deadline_is_undone(stage: Stage) -> None:
    async def hang(call: Call) -> Verdict | None:
        if call.method == "AddFeatureSettings":
            await asyncio.sleep(3)
        return None

    stage.emulation.server.calls.intercept(hang)
    command = start_command()
    command = type(command)(vm=command.vm, wait=1)
    assert "1 s" in await stage.refused(command)
    assert await stage.all_names() == []
    assert stage.has_disks()


async def test_start_command_goes_on_without_a_bandwidth_limit_that_is_refused(
    stage: Stage,
) -> None:
    def refuse(call: Call) -> Verdict | None:
        features = call.arguments.get("FeatureSettings")
        if call.method == "AddFeatureSettings" and isinstance(features, list):
            for feature in features:
                if getattr(feature, "class_name", "") == data.BANDWIDTH:
                    return AnswerCode(32768)
        return None

    stage.emulation.server.calls.intercept(refuse)
    await stage.done(start_command())
    assert [state.vlan for state in await stage.adapters()] == [261, None]
    assert await rows_of(stage, data.BANDWIDTH) == []


async def test_start_command_never_starts_a_vm_whose_vlan_did_not_stick(stage: Stage) -> None:
    def lose(call: Call) -> Verdict | None:
        features = call.arguments.get("FeatureSettings")
        vlan = isinstance(features, list) and any(
            getattr(feature, "class_name", "") == data.VLAN for feature in features
        )
        return AnswerCode(0) if call.method == "AddFeatureSettings" and vlan else None

    stage.emulation.server.calls.intercept(lose)
    assert "VLAN 261" in await stage.refused(start_command())
    assert await stage.all_names() == []
    started = [
        r for r in stage.emulation.server.calls.records if r.call.method == "RequestStateChange"
    ]
    assert started == []


async def test_start_command_sets_a_vlan_again_that_did_not_stick_once(stage: Stage) -> None:
    lost = 0

    def lose_once(call: Call) -> Verdict | None:
        nonlocal lost
        if call.method == "AddFeatureSettings" and not lost:
            lost = 1
            return AnswerCode(0)
        return None

    stage.emulation.server.calls.intercept(lose_once)
    await stage.done(start_command(nics=[nic(0, "vlan://261", network_rate_mbps=None)]))
    machine = await stage.running()
    [row] = await read_vlans(stage.directory.client, machine.guid, NAME)
    assert row.uint("AccessVlanId") == 261


async def test_start_command_ignores_the_old_patch_iso_of_system_vms(stage: Stage) -> None:
    command = start_command(type="ConsoleProxy")
    command = type(command)(vm=command.vm, secondary_storage="cifs://10.1.1.5/secondary?user=u")
    await stage.done(command)
    assert "IDE 1:0" in await stage.drives()


async def test_start_command_of_a_vm_without_disks_or_nics(stage: Stage) -> None:
    await stage.done(start_command(disks=[DiskTO(disk_seq=3, type="ISO")], nics=None))
    assert await stage.drives() == {"IDE 1:0": None}
    assert await stage.adapters() == ()


@pytest.mark.parametrize(
    ("method", "nth"), [("DefineSystem", 1), ("AddResourceSettings", 2), ("RequestStateChange", 1)]
)
async def test_start_command_undoes_a_step_whose_answer_was_lost(
    stage: Stage, method: str, nth: int
) -> None:
    """The host has done it, and the agent cannot know."""
    seen = 0

    def lose(call: Call) -> Verdict | None:
        nonlocal seen
        seen += call.method == method
        return DropConnection(after_effect=True) if call.method == method and seen == nth else None

    stage.emulation.server.calls.intercept(lose)
    await stage.refused(start_command())
    assert await stage.all_names() == []
    assert stage.has_disks()


async def test_start_command_learns_of_a_switch_that_was_made_anew(stage: Stage) -> None:
    """Its GUID is another; the first start fails, CloudStack's next try does not."""
    context = stage.resource.context
    gone = "00000000-9B3C-408E-8E30-5E16A3AEB444"
    context.memory.values["virtual switches"] = tuple(
        replace(switch, guid=gone, path=ObjectPath.of(switch.path.class_name, Name=gone))
        for switch in await known_switches(context)
    )
    await stage.refused(start_command())
    assert await stage.all_names() == []
    await stage.done(start_command())


async def test_start_command_of_a_vm_on_a_host_that_refuses_wql(tmp_path: Path) -> None:
    """Seen on Windows 11; queries are answered by enumerating."""
    refused = frozenset({"root/virtualization/v2"})
    async with staged(tmp_path, wql_refused_in=refused) as stage:
        await stage.done(start_command())
        assert [state.vlan for state in await stage.adapters()] == [261, None]
        await stage.done(attach_command(iso()))
        await stage.done(stop_command(force_stop=False))
        assert await stage.all_names() == []


async def test_start_command_on_a_host_that_is_gone_fails_at_once(stage: Stage) -> None:
    await stage.done(start_command())
    await stage.done(stop_command())
    await stage.emulation.server.stop(grace_s=0.1)
    started = time.monotonic()
    assert "cannot reach the host" in await stage.refused(start_command())
    assert time.monotonic() - started < 5


async def test_start_command_sets_sizes_apart_where_define_system_refuses_them(
    stage: Stage,
) -> None:
    def refuse(call: Call) -> Verdict | None:
        sized = call.method == "DefineSystem" and call.arguments.get("ResourceSettings")
        return AnswerCode(32773) if sized else None

    stage.emulation.server.calls.intercept(refuse)
    await stage.done(start_command())
    [processor] = await rows_of(stage, "Msvm_ProcessorSettingData")
    [memory] = await rows_of(stage, "Msvm_MemorySettingData")
    assert (processor.uint("VirtualQuantity"), memory.uint("VirtualQuantity")) == (2, 1024)
    await stage.done(stop_command())
    await stage.done(start_command())
    assert stage.round_trips <= 12


@pytest.mark.parametrize("release", ["2012", "2012r2", "2016", "2022", "2025", "client-11"])
@pytest.mark.parametrize("job_mode", list(JobMode))
async def test_start_command_on_every_release_with_and_without_jobs(
    tmp_path: Path, release: str, job_mode: JobMode
) -> None:
    async with staged(tmp_path, release=release, job_mode=job_mode) as stage:
        await stage.done(start_command())
        assert (await stage.drives()).keys() == {"IDE 0:0", "IDE 1:0", "SCSI 0:1"}
        assert [state.vlan for state in await stage.adapters()] == [261, None]
        await stage.done(stop_command(force_stop=False))
        if release == "2012":
            assert "generation 2" in await stage.refused(start_command(boot_type="UEFI"))
        else:
            await stage.done(start_command(boot_type="UEFI"))
            await stage.done(stop_command())
        assert await stage.all_names() == []
        assert stage.has_disks()
