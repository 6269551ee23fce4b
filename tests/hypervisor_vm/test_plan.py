"""The plan of a start: what the steps are, in which order, and what is decided before."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.drive_layout import DiskRequest, lay_out
from cloudstack_hyperv.hypervisor.errors import NotOurs, WrongState
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import Ownership
from cloudstack_hyperv.hypervisor.plan import (
    AddDevices,
    ImpossibleWish,
    Plan,
    SetPortFeatures,
    SizeSystem,
    StartDecision,
    decide_start,
    device_layers,
    plan_start,
)
from cloudstack_hyperv.hypervisor.release import (
    SERVER_2012,
    SERVER_2012_R2,
    SERVER_2016,
    SERVER_2019,
    Release,
)
from cloudstack_hyperv.hypervisor.switches import SwitchKind, VirtualSwitch
from cloudstack_hyperv.hypervisor.wish import (
    SECURE_BOOT_UEFI_CA,
    AdapterWish,
    Bus,
    DriveKind,
    MachineWish,
    MemoryWish,
    ProcessorWish,
    SecureBootWish,
    device_identifier,
)
from cloudstack_hyperv.network import NicWish

MARK = Ownership("i-2-17-VM", 17, "8b030b6a-0243-440a-8cc5-45d08815ca11")
SWITCH = VirtualSwitch(
    "cloudbr1",
    "C08CB7B8-9B3C-408E-8E30-5E16A3AEB444",
    ObjectPath.of("Msvm_VirtualEthernetSwitch", Name="C08CB7B8-9B3C-408E-8E30-5E16A3AEB444"),
    SwitchKind.EXTERNAL,
)
NEWEST = Release(26100)


def nic(device_id: int, vlan: int | None = None, limit: int | None = 200_000_000) -> AdapterWish:
    wish = NicWish(
        device_id,
        f"0200512C{device_id:04X}",
        "cloudbr1",
        needs_switch=True,
        connected=True,
        vlan=vlan,
        limit=limit,
    )
    return AdapterWish(wish, SWITCH)


def wish_of(generation: int = 1, **changes: object) -> MachineWish:
    wish = MachineWish(
        ownership=MARK,
        generation=generation,
        processor=ProcessorWish(2),
        memory=MemoryWish(1024, 1024, 1024),
        drives=lay_out(
            generation,
            [
                DiskRequest(DriveKind.DISK, root=True, sequence=0, file=r"D:\VMs\root.vhdx"),
                DiskRequest(DriveKind.DISK, root=False, sequence=1, file=r"D:\VMs\data.vhdx"),
                DiskRequest(DriveKind.DVD, root=False, sequence=3, file=None),
            ],
        ),
        adapters=(nic(0, vlan=261), nic(1)),
        secure_boot=SecureBootWish(enabled=False) if generation == 2 else None,
    )
    return dataclasses.replace(wish, **changes)  # type: ignore[arg-type]  # changes by name


def test_a_plan_can_be_printed_before_anything_happens() -> None:
    assert str(plan_start(wish_of(), NEWEST)).splitlines() == [
        "1. define VM i-2-17-VM: generation 1, 2 processors, 1024 MiB",
        "2. add SCSI 0, IDE 1:0, IDE 0:0, eth0, eth1",
        (
            r"3. add D:\VMs\root.vhdx in IDE 0:0, SCSI 0:1, port of eth0 on cloudbr1"
            ", port of eth1 on cloudbr1"
        ),
        r"4. add D:\VMs\data.vhdx in SCSI 0:1",
        "5. set VLAN 261, 200 Mbit/s on port of eth0 on cloudbr1",
        "6. set 200 Mbit/s on port of eth1 on cloudbr1",
        "7. verify VLAN 261 on port of eth0 on cloudbr1",
        "8. start VM i-2-17-VM",
    ]


def test_generation_2_adds_its_nics_after_its_drives_and_orders_its_boot() -> None:
    assert str(plan_start(wish_of(2), NEWEST)).splitlines() == [
        "1. define VM i-2-17-VM: generation 2, 2 processors, 1024 MiB",
        "2. add SCSI 0",
        "3. add SCSI 0:3, SCSI 0:0, SCSI 0:1",
        r"4. add D:\VMs\root.vhdx in SCSI 0:0, D:\VMs\data.vhdx in SCSI 0:1, eth0, eth1",
        "5. add port of eth0 on cloudbr1, port of eth1 on cloudbr1",
        "6. set VLAN 261, 200 Mbit/s on port of eth0 on cloudbr1",
        "7. set 200 Mbit/s on port of eth1 on cloudbr1",
        "8. verify VLAN 261 on port of eth0 on cloudbr1",
        "9. boot from SCSI 0:3, SCSI 0:0, SCSI 0:1",
        "10. start VM i-2-17-VM",
    ]


def test_boot_arguments_are_handed_over_and_never_printed() -> None:
    wish = wish_of(guest_data=(("cloudstack-vm-userdata", " keystore_password=hunter2 "),))
    plan = plan_start(wish, NEWEST)
    assert "offer 1 key-value pairs" in str(plan)
    assert "hunter2" not in str(plan)
    assert "hunter2" not in repr(plan)


def test_processors_and_memory_can_be_set_by_a_call_of_their_own() -> None:
    plan = plan_start(wish_of(), NEWEST, sized_in_define=False)
    assert isinstance(plan.steps[1], SizeSystem)
    assert plan.steps[0].resources == ()  # type: ignore[union-attr]  # the first step defines


def test_a_property_is_only_sent_to_releases_that_know_it() -> None:
    def sent(build: int, generation: int = 1) -> set[str]:
        return set(data.system_settings(wish_of(generation), Release(build)).properties)

    assert "VirtualSystemSubType" not in sent(SERVER_2012)
    assert "VirtualSystemSubType" in sent(SERVER_2012_R2)
    assert "AutomaticSnapshotsEnabled" not in sent(SERVER_2016)
    assert "AutomaticSnapshotsEnabled" in sent(SERVER_2019)
    assert "SecureBootEnabled" not in sent(SERVER_2019)
    assert "SecureBootEnabled" in sent(SERVER_2012_R2, 2)


def test_the_vm_says_whose_it_is_and_leaves_starting_to_cloudstack() -> None:
    properties = data.system_settings(wish_of(), NEWEST).properties
    assert properties["Notes"] == [MARK.note]
    assert properties["AutomaticStartupAction"] == 2
    assert properties["AutomaticShutdownAction"] == 4
    assert properties["AutomaticSnapshotsEnabled"] is False
    assert properties["BIOSGUID"] == "{8B030B6A-0243-440A-8CC5-45D08815CA11}"


@pytest.mark.parametrize(
    ("wish", "build"),
    [
        (wish_of(2), SERVER_2012),
        (wish_of(adapters=tuple(nic(n) for n in range(9))), SERVER_2016),
        (wish_of(2, secure_boot=SecureBootWish(True, SECURE_BOOT_UEFI_CA)), SERVER_2012_R2),
    ],
)
def test_what_a_release_cannot_have_is_refused(wish: MachineWish, build: int) -> None:
    with pytest.raises(ImpossibleWish, match="i-2-17-VM"):
        plan_start(wish, Release(build))


@pytest.mark.parametrize(
    ("state", "decision"),
    [
        (EnabledState.ENABLED, StartDecision.NOTHING),
        (EnabledState.DISABLED, StartDecision.REDEFINE),
        (EnabledState.SAVED, StartDecision.RESUME),
        (EnabledState.PAUSED, StartDecision.RESUME),
        (EnabledState.STARTING, StartDecision.WAIT),
        (EnabledState.SHUTTING_DOWN, StartDecision.WAIT),
        (EnabledState.OTHER, StartDecision.WAIT),
    ],
)
def test_what_to_do_about_our_vm(state: EnabledState, decision: StartDecision) -> None:
    assert decide_start(Machine("GUID", MARK.name, state, MARK), MARK) is decision


def test_what_to_do_about_the_rest() -> None:
    assert decide_start(None, MARK) is StartDecision.DEFINE
    with pytest.raises(NotOurs, match="did not make"):
        decide_start(Machine("GUID", MARK.name, 3, None), MARK)
    with pytest.raises(NotOurs, match="another CloudStack VM"):
        decide_start(Machine("GUID", MARK.name, 3, Ownership(MARK.name, 17, "other")), MARK)
    with pytest.raises(WrongState):
        decide_start(Machine("GUID", MARK.name, 32785, MARK), MARK)


def test_identifiers_keep_the_order_of_devices_and_survive_a_new_definition() -> None:
    order = [device_identifier(MARK.uuid, "nic", number) for number in range(256)]
    assert order == sorted(order)
    assert order[3] == device_identifier(MARK.uuid.upper(), "nic", 3)
    assert order[3] != device_identifier(MARK.uuid, "scsi", 3)
    assert order[3] != device_identifier("another", "nic", 3)


@given(
    st.sampled_from([1, 2]),
    st.sets(st.integers(1, 250).filter(lambda n: n not in (3, 63)), max_size=30),
    st.lists(st.booleans(), max_size=2),
    st.sets(st.integers(0, 60), max_size=10),
)
def test_every_device_comes_after_its_parent(
    generation: int, sequences: set[int], dvds: list[bool], nics: set[int]
) -> None:
    requests = [DiskRequest(DriveKind.DISK, root=True, sequence=0, file="root.vhdx")]
    requests += [
        DiskRequest(DriveKind.DISK, root=False, sequence=s, file=f"{s}.vhdx") for s in sequences
    ]
    requests += [
        DiskRequest(DriveKind.DVD, root=False, sequence=3 + n, file="a.iso" if full else None)
        for n, full in enumerate(dvds)
    ]
    wish = wish_of(
        generation,
        drives=lay_out(generation, requests),
        adapters=tuple(nic(number) for number in sorted(nics)),
    )
    present = {f"{Bus.IDE} 0", f"{Bus.IDE} 1"} if generation == 1 else set()
    layers = device_layers(wish)
    assert len(layers) <= (3 if generation == 1 else 4)
    for layer in layers:
        for device in layer:
            assert device.parent is None or device.parent in present
        keys = {device.key for device in layer}
        assert len(keys) == len(layer)
        assert not keys & present
        present |= keys
    media = sum(drive.file is not None for drive in wish.drives)
    assert sum(map(len, layers)) == (
        wish.scsi_controllers + len(wish.drives) + media + 2 * len(nics)
    )


def calls(plan: Plan) -> int:
    """Count the requests that a plan's steps need at best."""
    return len(plan.steps)


def test_the_budget_of_a_start() -> None:
    """Generation 1, two disks, a DVD, two NICs, a VLAN, rates: ten with the search for the VM."""
    search, nic_order = 1, 1
    assert calls(plan_start(wish_of(), NEWEST)) + search + nic_order <= 10
    sized_apart = plan_start(wish_of(), NEWEST, sized_in_define=False)
    assert calls(sized_apart) + 1 + search + nic_order <= 12


def test_features_of_one_port_go_in_one_call() -> None:
    steps = [s for s in plan_start(wish_of(), NEWEST).steps if isinstance(s, SetPortFeatures)]
    assert [len(step.required) + len(step.optional) for step in steps] == [2, 1]
    layers = [s for s in plan_start(wish_of(), NEWEST).steps if isinstance(s, AddDevices)]
    assert len(layers) == 3
