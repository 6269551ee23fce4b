"""Requests that each command about a VM costs, beside the budget and beside libvirt's driver.

One line a figure: name, requests (and job polls), anchor, ratio.  The anchor for defining and
starting a machine is libvirt 9.0's hyperv driver, which sends 95 requests for the define of a
machine with a SCSI controller, three disks, a CD-ROM, a floppy, a serial port and an adapter, and
10 for its start (counted at an emulated host).  Here one StartCommand asks for the same devices,
but for floppy and serial port, which no command of CloudStack names.

Run: python -m benchmarks.vm_commands
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import structlog
from tests.resource_vm.commands import (
    DATA,
    NAME,
    ROOT,
    SPARE,
    UUID,
    Stage,
    iso,
    nic,
    staged,
    start_command,
    stop_command,
    virtual_machine,
    volume,
)

from cloudstack_hyperv.messages import Command
from cloudstack_hyperv.messages.commands.snapshots import (
    CreateVMSnapshotCommand,
    DeleteVMSnapshotCommand,
    RevertToVMSnapshotCommand,
)
from cloudstack_hyperv.messages.commands.unmanaged import GetUnmanagedInstancesCommand
from cloudstack_hyperv.messages.commands.vm import (
    CheckVirtualMachineCommand,
    GetVmConfigCommand,
    PlugNicCommand,
    ScaleVmCommand,
    UnPlugNicCommand,
)
from cloudstack_hyperv.messages.objects.vm import VMSnapshotTO

LIBVIRT = 95 + 10
SNAPSHOT = VMSnapshotTO(snapshot_name="bench", type="DiskAndMemory")


async def main() -> None:
    """Measure and print."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory(prefix="cloudstack-hyperv-bench-") as folder:
        async with staged(Path(folder)) as stage:
            await run(stage)


async def run(stage: Stage) -> None:
    """Send each command once, on a VM with the devices of libvirt's."""
    disks = [volume(ROOT, "ROOT", 0), volume(DATA, "DATADISK", 1), volume(SPARE, "DATADISK", 2)]
    start = start_command(boot_type="UEFI", disks=[*disks, iso()], nics=[nic(0, "vlan://261")])
    bigger = virtual_machine(min_ram=2 * 2**30, max_ram=2 * 2**30, disks=None, nics=None)
    rows: list[tuple[str, Command, str, int | None]] = [
        ("Start, agent just restarted", start, "libvirt define + start", LIBVIRT),
        ("CheckVirtualMachine", CheckVirtualMachineCommand(vm_name=NAME), "budget", 1),
        ("GetVmConfig", GetVmConfigCommand(vm_name=NAME), "budget", 3),
        ("ScaleVm", ScaleVmCommand(vm=bigger, vm_name=NAME), "budget", 4),
        ("PlugNic", PlugNicCommand(nic=nic(1, "vlan://50"), instance_name=NAME), "libvirt", 21),
        ("UnPlugNic", UnPlugNicCommand(nic=nic(1), instance_name=NAME), "budget", 4),
        (
            "CreateVMSnapshot",
            CreateVMSnapshotCommand(vm_name=NAME, target=SNAPSHOT, vm_uuid=UUID),
            "budget",
            6,
        ),
        (
            "RevertToVMSnapshot, running",
            RevertToVMSnapshotCommand(vm_name=NAME, target=SNAPSHOT),
            "no budget",
            None,
        ),
        ("Stop, kept for its snapshot", stop_command(), "budget", 6),
        ("Start of a kept definition", start, "libvirt define + start", LIBVIRT),
        (
            "DeleteVMSnapshot",
            DeleteVMSnapshotCommand(vm_name=NAME, target=SNAPSHOT),
            "no budget",
            None,
        ),
        ("GetUnmanagedInstances", GetUnmanagedInstancesCommand(), "budget, 3 disks", 8),
        ("Stop hard", stop_command(), "budget", 6),
        ("Start", start, "libvirt define + start", LIBVIRT),
    ]
    for name, command, anchor, budget in rows:
        before = stage.emulation.server.calls.count
        await stage.done(command)
        polls = stage.emulation.server.calls.count - before - stage.round_trips
        figure(name, stage.round_trips, polls, anchor, budget)


def figure(name: str, requests: int, polls: int, anchor: str, budget: int | None) -> None:
    """Print one line."""
    told = f"{requests} (+{polls} polls)"
    text = anchor if budget is None else f"{anchor} {budget}"
    ratio = "" if budget is None else f"{requests / budget:.2f}"
    print(f"{name:32} {told:>18}   {text:28} {ratio}")


if __name__ == "__main__":
    asyncio.run(main())
