"""From CloudStack's VirtualMachineTO to what the VM should be in Hyper-V's terms.

Pure but for the disks' places.  The choices:

* Generation 2 for `bootType` UEFI, else 1.  `bootMode` SECURE turns secure boot on, with the
  template that signs Linux boot loaders unless the guest is Windows; any other turns it off
  (Hyper-V's default is on).
* Memory is static unless `minRam` is below `maxRam` (overcommitment); then the VM starts with
  `minRam`, as KVM's does with its balloon.  A VM that runs a hypervisor itself has `maxRam`, since
  Hyper-V does not move memory of such a one.
* Processor weight follows `minSpeed`, 100 (Hyper-V's default) for 1000 MHz.  `limitCpuUse` sets
  the limit: to `cpuQuotaPercentage` (a fraction of a processor, 0 to 1), else to `maxSpeed` of
  the host's speed.
* A disk's rates become one limit (`disk_limits`), a VM's details are read in `vm_details`.
* What Hyper-V cannot do and a tenant would rely on is refused: virtual TPM, shielding, GPUs,
  encrypted volumes, firmware set-up.

Sources: CloudStack's `VirtualMachineTO`, `HypervGuru`, `LibvirtComputingResource`
(createVMFromSpec, setQuotaAndPeriod).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cloudstack_hyperv.hypervisor.drive_layout import DiskRequest, ImpossibleLayout, lay_out
from cloudstack_hyperv.hypervisor.kvp import TooLongForDataExchange, split_boot_arguments
from cloudstack_hyperv.hypervisor.ownership import Ownership
from cloudstack_hyperv.hypervisor.wish import (
    FULL_PROCESSOR,
    SECURE_BOOT_UEFI_CA,
    AdapterWish,
    DriveKind,
    MachineWish,
    MemoryWish,
    ProcessorWish,
    SecureBootWish,
)
from cloudstack_hyperv.messages.enums import VirtualMachineType, VolumeType
from cloudstack_hyperv.messages.objects.storage import VolumeObjectTO
from cloudstack_hyperv.messages.objects.vm import DiskTO, VirtualMachineTO
from cloudstack_hyperv.network import NicWish, UnusableNetwork, nic_wishes
from cloudstack_hyperv.resource.disk_limits import iops_limit
from cloudstack_hyperv.resource.errors import CommandRefused
from cloudstack_hyperv.resource.vm_details import read_details

_MEBIBYTE: Final = 1024 * 1024
SMALLEST_MEMORY: Final = 32
"""MiB; Hyper-V starts no VM with less."""
MOST_PROCESSORS: Final = 2048
"""Generation 2 on the newest release; the host refuses what it cannot do."""
_WEIGHT_PER_MHZ: Final = 0.1
_USER_TYPES: Final = frozenset({VirtualMachineType.USER, VirtualMachineType.USER_BARE_METAL})


def ownership_of(vm: VirtualMachineTO) -> Ownership:
    """Return the mark for a VM; raises CommandRefused for a name or uuid that cannot be."""
    if not vm.uuid:
        raise CommandRefused(f"VM {vm.name[:100]!r} has no uuid")
    try:
        return Ownership(vm.name, vm.id, vm.uuid)
    except ValueError as error:
        raise CommandRefused(str(error)) from None


def wanted_nics(vm: VirtualMachineTO) -> tuple[NicWish, ...]:
    """Return the VM's NICs; raises CommandRefused for a network that cannot be made."""
    try:
        return nic_wishes(vm.nics or (), system_vm=is_system_vm(vm))
    except UnusableNetwork as error:
        raise CommandRefused(f"VM {vm.name}: {error}") from None


def machine_wish(
    vm: VirtualMachineTO,
    *,
    files: Iterable[tuple[DiskTO, str | None]],
    adapters: Iterable[AdapterWish],
    configuration_root: str | None = None,
    host_mhz: int | None = None,
) -> MachineWish:
    """Return the whole wish; `files` are the VM's disks with the Windows paths of their files.

    Raises CommandRefused with everything a person needs to change the VM.
    """
    _refuse_what_hyperv_lacks(vm)
    generation = generation_of(vm)
    details = read_details(vm)
    memory = memory_wish(vm)
    if details.nested:
        memory = MemoryWish(memory.maximum, memory.maximum, memory.maximum)
    try:
        drives = lay_out(generation, [_request(disk, file) for disk, file in files])
        guest_data = split_boot_arguments(vm.boot_args or "")
    except (ImpossibleLayout, TooLongForDataExchange) as error:
        raise CommandRefused(f"VM {vm.name}: {error}") from None
    return MachineWish(
        ownership=ownership_of(vm),
        generation=generation,
        processor=processor_wish(vm, host_mhz),
        memory=memory,
        drives=drives,
        adapters=tuple(adapters),
        secure_boot=secure_boot_wish(vm) if generation == 2 else None,
        guest_data=guest_data,
        configuration_root=configuration_root,
    )


def is_system_vm(vm: VirtualMachineTO) -> bool:
    """Whether the VM is CloudStack's own; decided by its type, never by its name."""
    return vm.type is not None and vm.type not in _USER_TYPES


def generation_of(vm: VirtualMachineTO) -> int:
    """Return 2 for UEFI, 1 for BIOS and when nothing is said."""
    fallback = "BIOS" if read_details(vm).boot_mode is None else "UEFI"
    kind = (vm.boot_type or fallback).upper()
    if kind not in {"BIOS", "UEFI"}:
        raise CommandRefused(f"VM {vm.name}: boot type {kind[:40]!r} is neither BIOS nor UEFI")
    return 2 if kind == "UEFI" else 1


def secure_boot_wish(vm: VirtualMachineTO) -> SecureBootWish:
    """Return secure boot for a generation 2 VM."""
    details = read_details(vm)
    if (vm.boot_mode or details.boot_mode or "").upper() != "SECURE":
        return SecureBootWish(enabled=False)
    if details.secure_boot_template is not None:
        return SecureBootWish(enabled=True, template=details.secure_boot_template)
    windows = "windows" in (vm.os or "").casefold()
    return SecureBootWish(enabled=True, template=None if windows else SECURE_BOOT_UEFI_CA)


def memory_wish(vm: VirtualMachineTO) -> MemoryWish:
    """Return memory in MiB, rounded up to a multiple of 2."""
    maximum = _mebibytes(vm.max_ram)
    if maximum < SMALLEST_MEMORY:
        raise CommandRefused(f"VM {vm.name}: {vm.max_ram} bytes of memory are too few")
    minimum = maximum if vm.min_ram <= 0 else max(_mebibytes(vm.min_ram), SMALLEST_MEMORY)
    if minimum > maximum:
        raise CommandRefused(f"VM {vm.name}: minRam {vm.min_ram} is more than maxRam {vm.max_ram}")
    return MemoryWish(startup=minimum, minimum=minimum, maximum=maximum)


def processor_wish(vm: VirtualMachineTO, host_mhz: int | None) -> ProcessorWish:
    """Return processors, their weight by speed, and their limit if CPU use is capped."""
    if not 1 <= vm.cpus <= MOST_PROCESSORS:
        raise CommandRefused(f"VM {vm.name}: {vm.cpus} processors are impossible")
    speed = vm.min_speed or vm.speed
    weight = 100 if not speed else _within(round(speed * _WEIGHT_PER_MHZ), 1, 10_000)
    details = read_details(vm)
    return ProcessorWish(
        vm.cpus,
        _processor_limit(vm, host_mhz),
        weight,
        nested=details.nested,
        compatible=details.compatible,
    )


def _processor_limit(vm: VirtualMachineTO, host_mhz: int | None) -> int:
    if not vm.limit_cpu_use:
        return FULL_PROCESSOR
    fraction = vm.cpu_quota_percentage
    speed = vm.max_speed or vm.speed
    if not fraction and speed and host_mhz:
        fraction = speed / host_mhz
    if not fraction or fraction <= 0:
        raise CommandRefused(
            f"VM {vm.name} limits CPU use, but neither its share nor the host's speed is known"
        )
    return _within(round(fraction * FULL_PROCESSOR), 1, FULL_PROCESSOR)


def _request(disk: DiskTO, file: str | None) -> DiskRequest:
    match disk.type:
        case VolumeType.ISO:
            return DiskRequest(DriveKind.DVD, root=False, sequence=disk.disk_seq, file=file)
        case VolumeType.ROOT | VolumeType.DATADISK | VolumeType.SWAP:
            if file is None:
                raise CommandRefused(f"a {disk.type} disk of the VM names no file")
            root = disk.type == VolumeType.ROOT
            limit = None
            if isinstance(disk.data, VolumeObjectTO):
                if disk.data.passphrase or (disk.data.encrypt_format or "NONE") != "NONE":
                    raise CommandRefused(
                        f"volume {disk.data.path} is encrypted by CloudStack, which Hyper-V "
                        "cannot open"
                    )
                limit = iops_limit(disk.data)
            return DiskRequest(
                DriveKind.DISK, root=root, sequence=disk.disk_seq, file=file, iops_limit=limit
            )
        case other:
            raise CommandRefused(f"a disk of type {other!r} cannot be in a VM")


def _refuse_what_hyperv_lacks(vm: VirtualMachineTO) -> None:
    if vm.enter_hardware_setup:
        raise CommandRefused(
            f"VM {vm.name}: Hyper-V has no firmware set-up to boot into; start it without"
        )
    if vm.gpu_device is not None:
        raise CommandRefused(f"VM {vm.name}: GPUs cannot be given to VMs by this agent")


def _mebibytes(size: int) -> int:
    mebibytes = -(-size // _MEBIBYTE)
    return mebibytes + mebibytes % 2


def _within(number: int, lowest: int, highest: int) -> int:
    return max(lowest, min(number, highest))
