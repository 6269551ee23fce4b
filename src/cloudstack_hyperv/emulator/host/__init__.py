"""Hyper-V's behaviour behind the emulated host: machines, disks, switches, jobs, files, counters.

`EmulatedHost` (module `host`) is a `ProviderHost` for `emulator.cim`: the generic engine asks it
for providers by class and knows nothing of virtual machines.  Everything happens on a timeline
that is settled whenever somebody looks, so the same code runs on the real clock and on a virtual
one; only work on disk images runs in threads.
"""

from cloudstack_hyperv.emulator.host.clock import Clock, SystemClock, VirtualClock
from cloudstack_hyperv.emulator.host.config import (
    Drive,
    GuestScript,
    HostConfig,
    JobMode,
    PhysicalNic,
    Share,
    SwitchPlan,
    Timings,
)
from cloudstack_hyperv.emulator.host.host import EmulatedHost

__all__ = [
    "Clock",
    "Drive",
    "EmulatedHost",
    "GuestScript",
    "HostConfig",
    "JobMode",
    "PhysicalNic",
    "Share",
    "SwitchPlan",
    "SystemClock",
    "Timings",
    "VirtualClock",
]
