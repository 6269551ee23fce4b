"""What the VM handlers keep of a host between commands, in `HostMemory`.

    "machine directory"   MachineDirectory: where VMs of ours were last seen
    "release"             Release: does not change while a host is up
    "processor speed"     MHz, neither does that
    "sizes refused"       True once the host refused processors and memory in DefineSystem

All can be rebuilt from the host at any time.
"""

from __future__ import annotations

from cloudstack_hyperv.hypervisor.machines import Machine, MachineDirectory, require_ours
from cloudstack_hyperv.hypervisor.processor_speed import read_processor_speed
from cloudstack_hyperv.hypervisor.release import Release, read_release
from cloudstack_hyperv.resource.context import HostContext

_DIRECTORY = "machine directory"
_RELEASE = "release"
_SPEED = "processor speed"
_SIZES_REFUSED = "sizes refused"


def machine_directory(context: HostContext) -> MachineDirectory:
    """Return the host's directory of VMs."""
    directory = context.memory.values.get(_DIRECTORY)
    if not isinstance(directory, MachineDirectory):
        directory = MachineDirectory(context.cim)
        context.memory.values[_DIRECTORY] = directory
    return directory


async def find_ours(context: HostContext, name: str) -> Machine | None:
    """Return our VM of this name, None if there is none; raises NotOurs for another's."""
    machine = await machine_directory(context).find(name)
    if machine is not None:
        require_ours(machine, name)
    return machine


async def known_release(context: HostContext) -> Release:
    """Return the host's Windows release; one round trip the first time."""
    release = context.memory.values.get(_RELEASE)
    if not isinstance(release, Release):
        release = await read_release(context.cim)
        context.memory.values[_RELEASE] = release
    return release


async def known_processor_speed(context: HostContext) -> int:
    """Return the speed of the host's processors in MHz; one round trip the first time."""
    speed = context.memory.values.get(_SPEED)
    if not isinstance(speed, int):
        speed = await read_processor_speed(context.cim)
        context.memory.values[_SPEED] = speed
    return speed


def remember_host(context: HostContext, *, build: str, mhz: int) -> None:
    """Keep what the host's inventory told, so that the first StartCommand need not ask again."""
    if build.isdecimal():
        context.memory.values[_RELEASE] = Release(int(build))
    context.memory.values[_SPEED] = mhz


def takes_sizes_in_define(context: HostContext) -> bool:
    """Whether DefineSystem may carry processors and memory; yes until the host refused it."""
    return not context.memory.values.get(_SIZES_REFUSED, False)


def remember_sizes_refused(context: HostContext) -> None:
    """Note that this host wants processors and memory in a call of their own."""
    context.memory.values[_SIZES_REFUSED] = True
