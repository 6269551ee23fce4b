"""What a machine is to QEMU: a plan of plain values, and its command line.

A generation 1 machine is QEMU's "pc": two IDE channels with two places each, standard VGA, PS/2
keyboard, one serial port.  What has no driver-compatible twin stands for what it does: synthetic
cards and SCSI controllers become virtio ones, a legacy card the DEC 21143 that Hyper-V emulates
too.

Source: QEMU 7.2's manual, qemu-system-x86_64(1); "QMP Reference Manual" for -blockdev's JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """A disk or DVD image."""

    path: Path
    driver: str
    """QEMU's name of the format: "vhdx", "vpc" or "raw"."""
    unit: int
    ide_channel: int | None = None
    """None: on the SCSI controller."""
    is_cd: bool = False
    boot_index: int = 0


@dataclass(frozen=True, slots=True)
class CardPlan:
    """A network card whose frames go through an open datagram socket."""

    mac: str
    descriptor: int
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """Everything that QEMU is told."""

    name: str
    uuid: str
    memory_mib: int
    processors: int
    disks: tuple[DiskPlan, ...] = ()
    cards: tuple[CardPlan, ...] = ()


def node_name(index: int) -> str:
    """Return the block node of a plan's disk, by its place among the disks."""
    return f"disk{index}"


def command_line(
    program: str, accelerator: str, plan: MachinePlan, monitor: int, serial: Path, log: Path
) -> list[str]:
    """Return the command; `monitor` is the descriptor of the QMP socket."""
    command = [
        *(program, "-no-user-config", "-nodefaults", "-S"),
        *("-name", f"guest={_escaped(plan.name)}"),
        *("-uuid", plan.uuid),
        *("-machine", f"pc,accel={accelerator}"),
        *("-m", str(plan.memory_mib), "-smp", str(plan.processors)),
        *("-rtc", "base=utc", "-display", "none", "-vga", "std"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
        "-chardev",
        (
            f"socket,id=com1,path={_escaped(str(serial))},server=on,wait=off,"
            f"logfile={_escaped(str(log))}"
        ),
        *("-serial", "chardev:com1"),
    ]
    if any(disk.ide_channel is None for disk in plan.disks):
        command += ["-device", "virtio-scsi-pci,id=scsi"]
    for index, disk in enumerate(plan.disks):
        command += _disk(index, disk)
    for index, card in enumerate(plan.cards):
        command += [
            "-netdev",
            f"dgram,id=net{index},local.type=fd,local.str={card.descriptor}",
            "-device",
            f"{'tulip' if card.legacy else 'virtio-net-pci'},netdev=net{index},mac={card.mac}",
        ]
    return command


def _disk(index: int, disk: DiskPlan) -> list[str]:
    name = node_name(index)
    node = {
        "driver": disk.driver,
        "node-name": name,
        "read-only": disk.is_cd,
        "file": {"driver": "file", "filename": str(disk.path)},
    }
    kind = "cd" if disk.is_cd else "hd"
    if disk.ide_channel is None:
        place = f"scsi-{kind},bus=scsi.0,scsi-id={disk.unit}"
    else:
        place = f"ide-{kind},bus=ide.{disk.ide_channel},unit={disk.unit}"
    device = f"{place},drive={name},id=device{index},bootindex={disk.boot_index}"
    return ["-blockdev", json.dumps(node), "-device", device]


def _escaped(text: str) -> str:
    """Return a value for one of QEMU's comma lists."""
    return text.replace(",", ",,")
