"""What CloudStack's VirtualMachineTO asks of Hyper-V."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstack_hyperv.hypervisor.wish import (
    SECURE_BOOT_UEFI_CA,
    MachineWish,
    MemoryWish,
    ProcessorWish,
    SecureBootWish,
)
from cloudstack_hyperv.messages.objects.vm import DiskTO, GPUDeviceTO, VirtualMachineTO
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.vm_wish import (
    is_system_vm,
    machine_wish,
    memory_wish,
    ownership_of,
    processor_wish,
    secure_boot_wish,
)

GIB = 1024**3


def vm(**changes: object) -> VirtualMachineTO:
    fields: dict[str, object] = {
        "id": 17,
        "name": "i-2-17-VM",
        "uuid": "8b030b6a-0243-440a-8cc5-45d08815ca11",
        "type": "User",
        "cpus": 2,
        "min_speed": 1000,
        "max_speed": 1000,
        "min_ram": GIB,
        "max_ram": GIB,
        "os": "Debian GNU/Linux 12 (64-bit)",
        **changes,
    }
    return VirtualMachineTO(**fields)  # type: ignore[arg-type]  # one dict for several types


def wish(machine: VirtualMachineTO, host_mhz: int | None = None) -> MachineWish:
    return machine_wish(machine, files=[], adapters=[], host_mhz=host_mhz)


def test_bios_is_generation_1_and_uefi_generation_2() -> None:
    assert wish(vm()).generation == 1
    assert wish(vm(boot_type="BIOS")).generation == 1
    assert wish(vm(boot_type="UEFI")).generation == 2
    assert wish(vm()).secure_boot is None
    with pytest.raises(CommandRefused, match="OPENFIRMWARE"):
        wish(vm(boot_type="OpenFirmware"))


def test_secure_boot_is_off_unless_asked_for_and_trusts_what_the_guest_is_signed_by() -> None:
    assert secure_boot_wish(vm(boot_mode="LEGACY")) == SecureBootWish(enabled=False)
    assert secure_boot_wish(vm(boot_mode="SECURE")) == SecureBootWish(True, SECURE_BOOT_UEFI_CA)
    windows = vm(boot_mode="SECURE", os="Windows Server 2022 (64-bit)")
    assert secure_boot_wish(windows) == SecureBootWish(True)


def test_memory_is_static_without_overcommitment() -> None:
    assert memory_wish(vm()) == MemoryWish(1024, 1024, 1024)
    assert not memory_wish(vm()).dynamic
    assert memory_wish(vm(min_ram=0)) == MemoryWish(1024, 1024, 1024)


def test_memory_is_dynamic_with_it_and_starts_with_what_is_guaranteed() -> None:
    assert memory_wish(vm(min_ram=GIB // 2)) == MemoryWish(512, 512, 1024)
    assert memory_wish(vm(min_ram=GIB // 2)).dynamic


@given(st.integers(32 * 1024**2, 2**44))
def test_memory_is_even_mebibytes_and_never_less_than_asked(size: int) -> None:
    memory = memory_wish(vm(min_ram=size, max_ram=size))
    assert memory.maximum % 2 == 0
    assert size <= memory.maximum * 1024**2 < size + 2 * 1024**2
    assert not memory.dynamic


def test_impossible_memory_and_processors_are_refused() -> None:
    for changes in (
        {"max_ram": 0},
        {"min_ram": 2 * GIB},
        {"cpus": 0},
        {"cpus": 100_000},
    ):
        with pytest.raises(CommandRefused, match="i-2-17-VM"):
            wish(vm(**changes))


def test_processor_weight_follows_speed_with_hyper_vs_default_at_1000_mhz() -> None:
    assert processor_wish(vm(), None) == ProcessorWish(2, 100_000, 100)
    assert processor_wish(vm(min_speed=2500), None).weight == 250
    assert processor_wish(vm(min_speed=1), None).weight == 1
    assert processor_wish(vm(min_speed=1_000_000), None).weight == 10_000
    assert processor_wish(vm(min_speed=None), None).weight == 100


def test_a_cpu_limit_is_the_quota_or_the_share_of_the_hosts_speed() -> None:
    limited = vm(limit_cpu_use=True)
    assert processor_wish(vm(limit_cpu_use=True, cpu_quota_percentage=0.5), None).limit == 50_000
    assert processor_wish(limited, 2500).limit == 40_000
    assert processor_wish(limited, 500).limit == 100_000
    with pytest.raises(CommandRefused, match="limits CPU use"):
        processor_wish(limited, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enter_hardware_setup": True}, "firmware set-up"),
        ({"gpu_device": GPUDeviceTO(gpu_group="g")}, "GPU"),
        ({"details": {"virtual.tpm.model": "tpm-crb"}}, "TPM"),
        ({"boot_args": "x=" + "y" * 2000}, "data exchange"),
    ],
)
def test_what_hyper_v_cannot_give_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CommandRefused, match=reason):
        wish(vm(**changes))
    assert wish(vm(details={"virtual.tpm.model": "NONE"})).generation == 1


@pytest.mark.parametrize("name", ["i-2-3-VM' OR ElementName LIKE '%", "", "a b", "x" * 101])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(CommandRefused):
        ownership_of(vm(name=name))


def test_a_vm_without_a_uuid_is_refused() -> None:
    with pytest.raises(CommandRefused, match="uuid"):
        ownership_of(vm(uuid=None))


def test_a_system_vm_is_known_by_its_type_not_by_its_name() -> None:
    assert not is_system_vm(vm(name="r-6-VM"))
    assert is_system_vm(vm(type="DomainRouter"))
    assert is_system_vm(vm(type="ConsoleProxy"))
    assert not is_system_vm(vm(type=None))


def test_a_disk_without_a_file_is_refused_but_an_empty_dvd_is_not() -> None:
    empty = DiskTO(type="ISO", disk_seq=3)
    made = machine_wish(vm(), files=[(empty, None)], adapters=[])
    assert [str(drive.address) for drive in made.drives] == ["IDE 1:0"]
    with pytest.raises(CommandRefused, match="names no file"):
        machine_wish(vm(), files=[(DiskTO(type="ROOT", disk_seq=0), None)], adapters=[])
    with pytest.raises(CommandRefused, match="TAPE"):
        machine_wish(vm(), files=[(DiskTO(type="TAPE"), None)], adapters=[])
