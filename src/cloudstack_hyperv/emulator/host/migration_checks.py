"""Whether a machine can live on another host: every reason against it, not only the first.

Sources: Microsoft, "Supported virtual machine versions for live migration", "Live migration
requirements", Compare-VM (switch 33012 and disk 40010 as MessageID are from its published output;
the other numbers are guesses).  That a processor of another model needs LimitProcessorFeatures is
stricter than Windows, which compares features that the emulated processors do not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cloudstack_hyperv.cim.constants import ResourceSubType, ReturnCode
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.disk_transfer import TransferPlan, free_bytes
from cloudstack_hyperv.emulator.host.disks import HostDisks
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.migration_arrival import SWITCH_MISSING, Arrival
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.profiles import ReleaseProfile
from cloudstack_hyperv.emulator.host.site import number, strings, text

FILE_MISSING = 40010
NOT_COMPATIBLE = 21502
PROCESSOR = 24004
VERSION = 24006
EXISTS = 24008
PASS_THROUGH = 24012
POOL_MISSING = 24014
SPACE = 24016
PROCESSORS = 24018
FILE_EXISTS = 24020
MEMORY = 24022
_FAILED = 0x80004005
_SWITCH_NAME = "LastKnownSwitchName"
_LIMIT_FEATURES = (
    "The virtual machine is using processor-specific features not supported on physical computer "
    "'{}'. To allow for migration to a computer with a different processor, modify the virtual "
    "machine settings to limit the processor features used by the virtual machine."
)

Reason = tuple[int, str]


def accepted_versions(profile: ReleaseProfile) -> tuple[str, ...]:
    """Return the configuration versions that a release takes in from elsewhere.

    2012 R2 takes 4.0 of Server 2012, which becomes 5.0 there.
    """
    if profile.release == "2012r2":
        return ("4.0", *profile.configurations)
    return profile.configurations


def reasons_against(
    machine: Machine, arrival: Arrival, source: Peer, destination: Peer
) -> list[Reason]:
    """Return what keeps a machine from moving, [] for nothing."""
    return [
        *_release(arrival.settings, destination),
        *_processor(machine, source, destination),
        *_memory(machine, destination),
        *_switches(arrival),
        *_storage(machine, arrival, source, destination),
        *_pools(arrival),
    ]


def refusal(name: str, machine_id: str, host: str, reasons: list[Reason]) -> JobFailed:
    """Return the failure that carries these reasons."""
    told = " ".join(reason for _, reason in reasons)
    return JobFailed(
        ReturnCode.FAILED,
        f"The virtual machine '{name}' is not compatible with physical computer '{host}'. "
        f"(Virtual machine ID {machine_id}) {told}",
        _FAILED,
        tuple(reasons),
    )


def _release(settings: Configuration, destination: Peer) -> Iterator[Reason]:
    profile = destination.site.profile
    if settings.version not in accepted_versions(profile):
        known = ", ".join(profile.configurations)
        told = f"The configuration version {settings.version} of the virtual machine is not "
        yield VERSION, told + f"supported by the destination, which supports {known}."
    if settings.generation == 2 and not profile.has_generation_2:
        yield VERSION, "The destination does not support virtual machines of generation 2."


def _processor(machine: Machine, source: Peer, destination: Peer) -> Iterator[Reason]:
    ours, theirs = source.site.config, destination.site.config
    if machine.processors > theirs.logical_processors:
        told = f"The virtual machine has {machine.processors} processors, "
        yield PROCESSORS, told + f"the destination only {theirs.logical_processors}."
    if machine.is_off:
        return  # it will meet the new processor when it starts
    if ours.processor_manufacturer != theirs.processor_manufacturer:
        yield PROCESSOR, "The destination has a processor of another manufacturer."
    elif ours.processor_name != theirs.processor_name:
        limited = machine.settings.first(catalogue.PROCESSOR).values.get("LimitProcessorFeatures")
        if limited is not True:
            yield PROCESSOR, _LIMIT_FEATURES.format(destination.name)


def _memory(machine: Machine, destination: Peer) -> Iterator[Reason]:
    if not machine.state.has_worker:
        return
    try:
        destination.power.check_memory(machine)
    except JobFailed as problem:
        yield MEMORY, problem.text


def _switches(arrival: Arrival) -> Iterator[Reason]:
    for name in arrival.missing_switches:
        yield SWITCH_MISSING, f"Could not find Ethernet switch '{name}'."


def _pools(arrival: Arrival) -> Iterator[Reason]:
    for pool in sorted(arrival.pools):
        yield POOL_MISSING, f"The resource pool '{pool}' could not be found."


def _storage(
    machine: Machine, arrival: Arrival, source: Peer, destination: Peer
) -> Iterator[Reason]:
    for settings in machine.all_settings():
        for _ in settings.of_kind(ResourceSubType.PHYSICAL_DISK_DRIVE):
            yield PASS_THROUGH, "The virtual machine has a physical disk of the source."
    plan = arrival.plan
    moved = {move.target.local for move in plan.moves}
    for medium in arrival.settings.media:
        hard_disk = medium.values["ResourceSubType"] == ResourceSubType.VIRTUAL_HARD_DISK
        for path in strings(medium.values, "HostResource"):
            yield from _file(path, moved, source.disks, destination.disks, same=hard_disk)
    for place in plan.foreign:
        yield from _file(place.windows, moved, source.disks, destination.disks, same=True)
    yield from _room(plan, destination)
    for move in plan.moves:
        if move.target.local.exists() and not arrival.overwrite:
            yield FILE_EXISTS, f"'{move.target.windows}': The file exists (0x80070050)."


def _file(
    path: str, moved: set[Path], source: HostDisks, destination: HostDisks, *, same: bool
) -> Iterator[Reason]:
    """A file that does not move must be reachable there, a disk as the very `same` file."""
    try:
        there = destination.place(path)
        if there.local in moved:
            return
        destination.existing(path)
        if same and source.place(path).local != there.local:
            yield FILE_MISSING, f"'{path}' is not on storage that both hosts share."
    except JobFailed as problem:
        yield FILE_MISSING, problem.text


def _room(plan: TransferPlan, destination: Peer) -> Iterator[Reason]:
    needed = plan.needed()
    for move in plan.moves:
        wanted = needed.pop(move.target.root, 0)
        free = free_bytes(destination.site.files, move.target) if wanted else 0
        if wanted > free:
            told = f"There is not enough space on the disk of '{move.target.windows}': "
            yield SPACE, told + f"{wanted} bytes are needed, {free} are free (0x80070070)."


def missing_parts(settings: Configuration, here: Peer) -> list[Reason]:
    """Return what keeps a planned system from living on its host."""
    found: list[Reason] = [
        (SWITCH_MISSING, f"Could not find Ethernet switch '{text(cable.values, _SWITCH_NAME)}'.")
        for cable in settings.of_class(catalogue.CONNECTION)
        if strings(cable.values, "HostResource")
        and cable.values.get("EnabledState") == 2
        and here.switches.of_connection(cable) is None
    ]
    found.extend(_release(settings, here))
    for medium in settings.media:
        for path in strings(medium.values, "HostResource"):
            try:
                if medium.values["ResourceSubType"] == ResourceSubType.VIRTUAL_HARD_DISK:
                    here.disks.chain(path)
                else:
                    here.disks.existing(path)
            except JobFailed as problem:
                found.append((FILE_MISSING, problem.text))
    processors = number(settings.first(catalogue.PROCESSOR).values, "VirtualQuantity")
    if processors > here.site.config.logical_processors:
        found.append((PROCESSORS, f"The computer has fewer than {processors} processors."))
    return found
