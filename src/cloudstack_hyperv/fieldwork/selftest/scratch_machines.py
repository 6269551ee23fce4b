"""The machines that a self-test defines: small, marked as ours, in the scratch folder."""

from __future__ import annotations

import uuid
from typing import Final

from cloudstack_hyperv.fieldwork.selftest.stage import Stage, remove_machine
from cloudstack_hyperv.hypervisor.apply import SizesRefused, apply
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.ownership import Ownership
from cloudstack_hyperv.hypervisor.plan import Plan, PowerOn, plan_start
from cloudstack_hyperv.hypervisor.wish import (
    AdapterWish,
    Bus,
    DriveAddress,
    DriveKind,
    DriveWish,
    MachineWish,
    MemoryWish,
    ProcessorWish,
    SecureBootWish,
)
from cloudstack_hyperv.network import NicWish, PortGuards

MEMORY: Final = 256
"""MiB of each machine."""
VLAN: Final = 120
LIMIT: Final = 200_000_000
"""Bits a second."""
FIRST, SECOND = "gen1", "gen2"


def first_generation(stage: Stage) -> MachineWish:
    """Return a BIOS machine with a disk on each bus, an empty DVD drive and a tagged NIC."""
    return _wish(
        stage,
        FIRST,
        generation=1,
        drives=(
            DriveWish(DriveAddress(Bus.IDE, 0, 0), DriveKind.DISK, stage.path("root1.vhdx")),
            DriveWish(DriveAddress(Bus.IDE, 1, 0), DriveKind.DVD, None),
            DriveWish(DriveAddress(Bus.SCSI, 0, 0), DriveKind.DISK, stage.path("data1.vhdx")),
        ),
        nic=NicWish(
            0,
            stage.names.mac(1),
            stage.names.name,
            needs_switch=True,
            connected=True,
            vlan=VLAN,
            limit=LIMIT,
            guards=PortGuards(allow_mac_spoofing=True),
        ),
    )


def second_generation(stage: Stage) -> MachineWish:
    """Return a UEFI machine: a disk and a DVD drive on SCSI, a NIC."""
    return _wish(
        stage,
        SECOND,
        generation=2,
        drives=(
            DriveWish(DriveAddress(Bus.SCSI, 0, 0), DriveKind.DISK, stage.path("root2.vhdx")),
            DriveWish(DriveAddress(Bus.SCSI, 0, 1), DriveKind.DVD, None),
        ),
        nic=plain_nic(stage, 0, 2),
    )


def plain_nic(stage: Stage, device_id: int, number: int) -> NicWish:
    """Return a NIC without a tag."""
    return NicWish(
        device_id, stage.names.mac(number), stage.names.name, needs_switch=True, connected=True
    )


async def define(stage: Stage, wish: MachineWish) -> tuple[str, bool]:
    """Define a machine and leave it off; returns its GUID, and whether DefineSystem took sizes."""
    stage.undo.push(f"remove VM {wish.name}", lambda: remove_machine(stage.directory, wish.name))
    try:
        return await apply(_without_power(plan_start(wish, stage.release)), stage.directory), True
    except SizesRefused:
        plan = plan_start(wish, stage.release, sized_in_define=False)
        return await apply(_without_power(plan), stage.directory), False


def _without_power(plan: Plan) -> Plan:
    return Plan(plan.wish, tuple(step for step in plan.steps if not isinstance(step, PowerOn)))


def _wish(
    stage: Stage, purpose: str, *, generation: int, drives: tuple[DriveWish, ...], nic: NicWish
) -> MachineWish:
    if stage.switch is None:
        raise HypervisorError("there is no scratch switch")
    name = stage.names.machine(purpose)
    return MachineWish(
        # The same for every run of this id, so that a recording's devices keep their identifiers.
        ownership=Ownership(name, 0, str(uuid.uuid5(uuid.NAMESPACE_URL, name))),
        generation=generation,
        processor=ProcessorWish(1),
        memory=MemoryWish(MEMORY, MEMORY, MEMORY),
        drives=drives,
        adapters=(AdapterWish(nic, stage.switch),),
        secure_boot=SecureBootWish(enabled=False) if generation == 2 else None,
        configuration_root=stage.folder,
    )
