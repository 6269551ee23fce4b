"""From a wish to the steps that make it so.  Pure: nothing here talks to a host.

A plan is a list of steps that can be printed before anything happens.  Devices refer to each
other by keys ("scsi0", "IDE 1:0", "eth0"), because a parent's object path is only known once the
host has made it; `apply` resolves them.

AddResourceSettings takes an array, but an entry cannot name another entry of the same array as
its parent.  So devices are added in *layers*: controllers and NICs, then drives and connections,
then media, three calls for any number of devices.  Generation 2 boots in the order in which its
devices came unless told otherwise, so there the NICs come after the drives.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.hypervisor import settings_data as data
from cloudstack_hyperv.hypervisor.errors import HypervisorError, NotOurs, WrongState
from cloudstack_hyperv.hypervisor.machines import Machine
from cloudstack_hyperv.hypervisor.ownership import Ownership
from cloudstack_hyperv.hypervisor.power import state_name
from cloudstack_hyperv.hypervisor.release import Release
from cloudstack_hyperv.hypervisor.rule_settings import rule_data
from cloudstack_hyperv.hypervisor.wish import (
    AdapterWish,
    Bus,
    DriveAddress,
    MachineWish,
    device_identifier,
)
from cloudstack_hyperv.network import PortVlan
from cloudstack_hyperv.network.port_acls import changes
from cloudstack_hyperv.wsman.api import EmbeddedInstance


class StartDecision(enum.Enum):
    """What a StartCommand has to do, by what is there."""

    DEFINE = "no VM of that name: define it"
    REDEFINE = "ours and off: remove the old definition, define it anew"
    REUSE = "ours and off, with checkpoints: bring the kept definition to shape"
    RESUME = "ours, paused or saved: let it go on"
    NOTHING = "ours and running: nothing to do"
    WAIT = "ours, between two states: wait and look again"


class ImpossibleWish(HypervisorError):
    """This host's release cannot have such a VM."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device to be added."""

    key: str
    settings: EmbeddedInstance
    parent: str | None = None
    """Key of the device that it hangs on; None for the VM itself."""
    identifier: str | None = None
    """VMBus identifier that we gave it."""


@dataclass(frozen=True, slots=True)
class DefineSystem:
    """Make the VM with its processors and memory."""

    wish: MachineWish
    system: EmbeddedInstance
    resources: tuple[EmbeddedInstance, ...]

    def __str__(self) -> str:
        memory = self.wish.memory
        size = f"{memory.minimum} to {memory.maximum}" if memory.dynamic else f"{memory.startup}"
        return (
            f"define VM {self.wish.name}: generation {self.wish.generation}, "
            f"{self.wish.processor.count} processors, {size} MiB"
        )


@dataclass(frozen=True, slots=True)
class SizeSystem:
    """Set processors and memory of the defined VM (hosts that do not take them in DefineSystem)."""

    wish: MachineWish

    def __str__(self) -> str:
        return f"set processors and memory of {self.wish.name}"


@dataclass(frozen=True, slots=True)
class RenewSystem:
    """Set name, Notes and firmware of a VM whose definition was kept."""

    name: str
    properties: data.Properties

    def __str__(self) -> str:
        return f"renew the kept definition of VM {self.name}"


@dataclass(frozen=True, slots=True)
class RemoveDevices:
    """Remove devices in one call; what hangs on them must be gone, but for a NIC's connection."""

    paths: tuple[ObjectPath, ...]
    summary: str

    def __str__(self) -> str:
        return f"remove {self.summary}"


@dataclass(frozen=True, slots=True)
class LimitDisk:
    """Change the limit of a disk that is attached."""

    medium: EmbeddedInstance
    summary: str

    def __str__(self) -> str:
        return f"limit {self.summary}"


@dataclass(frozen=True, slots=True)
class AddDevices:
    """Add a layer of devices in one call."""

    devices: tuple[Device, ...]

    def __str__(self) -> str:
        return "add " + ", ".join(device.key for device in self.devices)


@dataclass(frozen=True, slots=True)
class SetPortFeatures:
    """Give a NIC's port its VLAN, guards and rate in one call."""

    connection: str
    required: tuple[EmbeddedInstance, ...]
    optional: tuple[EmbeddedInstance, ...]
    """Features without which the VM starts all the same: bandwidth."""
    summary: str

    def __str__(self) -> str:
        return f"set {self.summary} on {self.connection}"


@dataclass(frozen=True, slots=True)
class VerifyVlans:
    """Read the VLANs back: a tag that did not stick would put a VM on a foreign network."""

    vlans: Mapping[str, PortVlan]
    """Key of the connection to VLAN id."""

    def __str__(self) -> str:
        return "verify " + ", ".join(f"VLAN {vlan} on {key}" for key, vlan in self.vlans.items())


@dataclass(frozen=True, slots=True)
class OfferGuestData:
    """Hand key-value pairs to the guest; they are not shown."""

    items: tuple[tuple[str, str], ...] = field(repr=False)

    def __str__(self) -> str:
        return f"offer {len(self.items)} key-value pairs to the guest"


@dataclass(frozen=True, slots=True)
class OrderBoot:
    """Let a generation 2 VM boot from these devices first, if it would not by itself."""

    devices: tuple[str, ...]

    def __str__(self) -> str:
        return "boot from " + ", ".join(self.devices)


@dataclass(frozen=True, slots=True)
class PowerOn:
    """Start the VM."""

    name: str

    def __str__(self) -> str:
        return f"start VM {self.name}"


Step = (
    DefineSystem
    | SizeSystem
    | RenewSystem
    | RemoveDevices
    | LimitDisk
    | AddDevices
    | SetPortFeatures
    | VerifyVlans
    | OfferGuestData
    | OrderBoot
    | PowerOn
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to a running VM."""

    wish: MachineWish
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, 1))


def decide_start(machine: Machine | None, ownership: Ownership) -> StartDecision:
    """Decide what to do about a VM that is to run; raises NotOurs, WrongState.

    The same command twice makes one VM: the mark's uuid tells a repeat from another CloudStack's
    VM of the same name.
    """
    if machine is None:
        return StartDecision.DEFINE
    if machine.ownership is None:
        raise NotOurs(
            f"the host has a VM {machine.element_name} ({machine.guid}) that CloudStack did not "
            "make; rename it or remove it, it is left alone"
        )
    if not ownership.same_machine(machine.ownership):
        raise NotOurs(
            f"VM {machine.element_name} ({machine.guid}) belongs to another CloudStack VM (uuid "
            f"{machine.ownership.uuid}, wanted {ownership.uuid}); it is left alone"
        )
    match machine.state:
        case EnabledState.ENABLED:
            return StartDecision.NOTHING
        case EnabledState.DISABLED:
            return StartDecision.REDEFINE
        case EnabledState.PAUSED | EnabledState.SAVED:
            return StartDecision.RESUME
        case EnabledState.STARTING | EnabledState.SHUTTING_DOWN | EnabledState.OTHER:
            return StartDecision.WAIT
    raise WrongState(
        f"VM {machine.element_name} is in state {state_name(machine.state)}; it cannot be started "
        "from there"
    )


def plan_start(wish: MachineWish, release: Release, *, sized_in_define: bool = True) -> Plan:
    """Return the steps that define the VM and start it; raises ImpossibleWish.

    `sized_in_define` False sets processors and memory by a call of their own, two round trips
    more, for hosts whose DefineSystem does not take them.
    """
    check_wish(wish, release)
    sizes = (data.processor_settings(wish.processor), data.memory_settings(wish.memory))
    steps: list[Step] = [
        DefineSystem(wish, data.system_settings(wish, release), sizes if sized_in_define else ())
    ]
    if not sized_in_define:
        steps.append(SizeSystem(wish))
    steps.extend(AddDevices(layer) for layer in device_layers(wish))
    steps.extend(last_steps(wish))
    return Plan(wish, tuple(steps))


def last_steps(wish: MachineWish) -> tuple[Step, ...]:
    """Return what follows when all devices are there: port features, boot order, power."""
    steps: list[Step] = []
    steps.extend(port_step(adapter) for adapter in wish.adapters if _has_features(adapter))
    vlans = {
        connection_key(adapter): adapter.nic.vlan
        for adapter in wish.adapters
        if adapter.nic.vlan is not None
    }
    if vlans:
        steps.append(VerifyVlans(vlans))
    if wish.guest_data:
        steps.append(OfferGuestData(wish.guest_data))
    if wish.generation == 2 and wish.drives:
        steps.append(OrderBoot(tuple(str(drive.address) for drive in wish.drives)))
    steps.append(PowerOn(wish.name))
    return tuple(steps)


def device_layers(wish: MachineWish) -> tuple[tuple[Device, ...], ...]:
    """Return the devices in layers: each one's parent is in an earlier layer, or built in."""
    levels: dict[int, list[Device]] = {}
    depth: dict[str, int] = {}

    def add(device: Device, not_before: int = 0) -> None:
        level = not_before if device.parent is None else depth.get(device.parent, -1) + 1
        depth[device.key] = level
        levels.setdefault(level, []).append(device)

    for number in range(wish.scsi_controllers):
        identifier = device_identifier(wish.ownership.uuid, "scsi", number)
        add(
            Device(
                controller_key(Bus.SCSI, number),
                data.scsi_controller(identifier),
                identifier=identifier,
            )
        )
    for drive in wish.drives:
        key = str(drive.address)
        add(Device(key, data.drive(drive.kind, drive.address.slot), _controller_of(drive.address)))
        if drive.file is not None:
            medium = data.medium(drive.kind, drive.file, drive.iops_limit)
            add(Device(f"{drive.file} in {key}", medium, key))
    after_drives = 2 if wish.generation == 2 and wish.drives else 0
    for adapter in wish.adapters:
        identifier = device_identifier(wish.ownership.uuid, "nic", adapter.nic.device_id)
        key = adapter_key(adapter)
        add(Device(key, data.adapter(adapter.nic, identifier), identifier=identifier), after_drives)
        add(Device(connection_key(adapter), data.connection(adapter), key))
    return tuple(tuple(levels[level]) for level in sorted(levels))


def port_step(adapter: AdapterWish) -> SetPortFeatures:
    """Return the step that sets a NIC's port features."""
    nic = adapter.nic
    required: list[EmbeddedInstance] = []
    names: list[str] = []
    if nic.vlan is not None:
        required.append(data.port_vlan(nic.vlan))
        names.append(f"VLAN {nic.vlan}")
    if not nic.guards.are_default:
        required.append(data.security(nic.guards))
        names.append("guards")
    if nic.rules:
        required.extend(rule_data(rule) for rule in changes((), nic.rules).add)
        names.append(f"{len(nic.rules)} rules")
    optional: Sequence[EmbeddedInstance] = ()
    if nic.limit is not None:
        optional = (data.bandwidth(nic.limit),)
        names.append(f"{nic.limit // 1_000_000} Mbit/s")
    return SetPortFeatures(
        connection_key(adapter), tuple(required), tuple(optional), ", ".join(names)
    )


def without_unknown_rules(adapter: AdapterWish, release: Release) -> AdapterWish:
    """Return the NIC without rules where the release has none that could say them."""
    if release.has_port_rules or not adapter.nic.rules:
        return adapter
    return replace(adapter, nic=replace(adapter.nic, rules=frozenset()))


def controller_key(bus: Bus, number: int) -> str:
    """Return the key of a controller: "IDE 0" is built in, "SCSI 0" is added."""
    return f"{bus} {number}"


def adapter_key(adapter: AdapterWish) -> str:
    """Return the key of a NIC."""
    return f"eth{adapter.nic.device_id}"


def connection_key(adapter: AdapterWish) -> str:
    """Return the key of a NIC's connection."""
    switch = "no switch" if adapter.switch is None else adapter.switch.name
    return f"port of eth{adapter.nic.device_id} on {switch}"


def _controller_of(address: DriveAddress) -> str:
    return controller_key(address.bus, address.controller)


def _has_features(adapter: AdapterWish) -> bool:
    nic = adapter.nic
    return bool(
        nic.vlan is not None or nic.limit is not None or nic.rules or not nic.guards.are_default
    )


def check_wish(wish: MachineWish, release: Release) -> None:
    """Raise ImpossibleWish for what this release cannot do."""
    if wish.generation == 2 and not release.has_generation_2:
        raise ImpossibleWish(
            f"VM {wish.name} wants UEFI (generation 2), which Windows Server 2012 does not have"
        )
    if len(wish.adapters) > release.most_adapters:
        raise ImpossibleWish(
            f"VM {wish.name} has {len(wish.adapters)} NICs; this host can give a VM "
            f"{release.most_adapters}"
        )
    if wish.processor.nested and not release.has_nested_virtualization:
        raise ImpossibleWish(
            f"VM {wish.name} wants nested virtualisation, which Hyper-V has since Windows Server "
            "2016"
        )
    boot = wish.secure_boot
    if boot and boot.enabled and boot.template and not release.has_secure_boot_templates:
        raise ImpossibleWish(
            f"VM {wish.name} wants secure boot for a guest that is not Windows; this host's "
            "release trusts Windows only"
        )
