"""A virtual machine: its settings, its checkpoints, its state and the guest in it.

State changes are made by `power`, settings are changed by `definition`, checkpoints by
`checkpoints`; this module says what a machine *is* and what can be read off it.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cloudstack_hyperv.cim.constants import EnabledState
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.config import GuestScript
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.guest import HEARTBEAT_NO_CONTACT, Guest, GuestNetwork
from cloudstack_hyperv.emulator.host.site import number, text


class PowerState(enum.Enum):
    """States of a machine, transitional ones included."""

    OFF = "Off"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    SAVING = "Saving"
    SAVED = "Saved"
    PAUSING = "Pausing"
    PAUSED = "Paused"
    RESUMING = "Resuming"

    @property
    def enabled_state(self) -> int:
        """Return EnabledState as a v2 host emits it; never one of v1's 32768 and up."""
        return _ENABLED_STATES.get(self, EnabledState.OTHER)

    @property
    def is_stable(self) -> bool:
        """Whether it stays so until somebody does something."""
        return self in (PowerState.OFF, PowerState.RUNNING, PowerState.SAVED, PowerState.PAUSED)

    @property
    def has_worker(self) -> bool:
        """Whether a worker process holds the machine's memory and files."""
        return self not in (PowerState.OFF, PowerState.SAVED)


_ENABLED_STATES: dict[PowerState, int] = {
    PowerState.OFF: EnabledState.DISABLED,
    PowerState.STARTING: EnabledState.STARTING,
    PowerState.RUNNING: EnabledState.ENABLED,
    PowerState.STOPPING: EnabledState.SHUTTING_DOWN,
    PowerState.SAVED: EnabledState.SAVED,
    PowerState.PAUSED: EnabledState.PAUSED,
}


class Activity(enum.IntEnum):
    """Secondary operations: OperationalStatus[1] of a machine."""

    CREATING_CHECKPOINT = 32768
    APPLYING_CHECKPOINT = 32769
    DELETING_CHECKPOINT = 32770
    WAITING_TO_START = 32771
    MERGING_DISKS = 32772
    EXPORTING = 32773
    MIGRATING = 32774


_ACTIVITY_TEXT = {
    Activity.CREATING_CHECKPOINT: "Creating checkpoint",
    Activity.APPLYING_CHECKPOINT: "Applying checkpoint",
    Activity.DELETING_CHECKPOINT: "Deleting checkpoint",
    Activity.WAITING_TO_START: "Waiting to start",
    Activity.MERGING_DISKS: "Merging disks",
    Activity.EXPORTING: "Exporting virtual machine",
    Activity.MIGRATING: "Migrating virtual machine",
}


@dataclass(slots=True)
class Checkpoint:
    """A checkpoint: settings under its own GUID, with or without saved memory."""

    settings: Configuration
    parent: str
    """GUID of the checkpoint before it, "" for a root."""
    has_memory: bool
    created: datetime


@dataclass(slots=True)
class Machine:
    """One virtual machine of the host."""

    machine_id: str
    settings: Configuration
    created: datetime
    state: PowerState = PowerState.OFF
    state_changed: datetime | None = None
    config_changed: datetime | None = None
    requested_state: int = 12
    occupied: bool = False
    activity: Activity | None = None
    merging: int = 0
    """Chains whose disks are being merged in the background."""
    guest: Guest | None = None
    script: GuestScript = field(default_factory=GuestScript)
    up_since: datetime | None = None
    up_before: timedelta = field(default_factory=timedelta)
    busy_before: float = 0.0
    """Seconds of processor time used before `up_since`."""
    process_id: int = 0
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    current_checkpoint: str = ""
    """GUID of the checkpoint that the running state descends from."""
    last_applied: str = ""
    frozen_files: set[str] = field(default_factory=set)
    """Disk files, lower case, that its checkpoints froze and that may be merged later."""
    host_items: dict[str, str] = field(default_factory=dict)
    trustees: set[str] = field(default_factory=set)
    """Accounts that may open its console."""
    guest_networks: dict[str, GuestNetwork] = field(default_factory=dict)
    """Adapters that its guest was told to set up without DHCP, by InstanceID of the adapter."""
    guest_files: dict[str, bytes] = field(default_factory=dict)
    """Files that its guest got from the host, by their path in the guest."""
    measured_since: datetime | None = None
    """When collection of its metrics was switched on."""
    booted_from: datetime | None = None
    """When its guest booted, as read back from disk."""
    destroyed: bool = False
    critical: bool = False
    planned: bool = False
    """Imported or announced by a migration, and not (yet) a machine of this host."""
    role: str = ""
    """Name of its role in a failover cluster, "" when the cluster does not look after it."""

    @property
    def name(self) -> str:
        """Display name."""
        return self.settings.name

    @property
    def is_running(self) -> bool:
        """Whether its guest executes (not paused, not in transition)."""
        return self.state is PowerState.RUNNING

    @property
    def is_off(self) -> bool:
        """Whether settings that need an off machine may be changed."""
        return self.state is PowerState.OFF

    @property
    def seed(self) -> int:
        """Return a number of its own for everything that varies between machines."""
        return zlib.crc32(self.machine_id.encode())

    def uptime(self, now: datetime) -> timedelta:
        """Return the time since power on, pauses left out."""
        if self.up_since is None:
            return self.up_before
        return self.up_before + (now - self.up_since)

    def busy_seconds(self, now: datetime) -> float:
        """Return processor seconds used since power on, per virtual processor."""
        if self.guest is None or self.up_since is None:
            return self.busy_before
        return self.busy_before + self.guest.busy_seconds(self.up_since, now)

    def load_percent(self, now: datetime) -> int:
        """Return the load of its virtual processors now, 0 to 100."""
        if self.guest is None or not self.is_running:
            return 0
        return round(100 * self.guest.load(now))

    def heartbeat(self, now: datetime) -> int | None:
        """Return the heartbeat's status, None where nothing could beat."""
        if self.guest is None or not self.state.has_worker:
            return None
        if not self.settings.component_enabled("Msvm_HeartbeatComponentSettingData"):
            return HEARTBEAT_NO_CONTACT
        return self.guest.heartbeat(now)

    @property
    def processors(self) -> int:
        """Number of virtual processors."""
        return number(self.settings.first(catalogue.PROCESSOR).values, "VirtualQuantity")

    @property
    def startup_memory(self) -> int:
        """MiB that it is given at power on."""
        return number(self.settings.first(catalogue.MEMORY).values, "VirtualQuantity")

    @property
    def has_dynamic_memory(self) -> bool:
        """Whether the balancer may change its memory."""
        return self.settings.first(catalogue.MEMORY).values.get("DynamicMemoryEnabled") is True

    def memory_usage(self, now: datetime) -> int:
        """Return MiB assigned now."""
        if not self.state.has_worker:
            return 0
        startup = self.startup_memory
        guest = self.guest
        if not self.has_dynamic_memory or guest is None or not guest.services_up(now):
            return startup
        if guest.is_real:
            return startup
        values = self.settings.first(catalogue.MEMORY).values
        low, high = number(values, "Reservation"), number(values, "Limit")
        wanted = int(startup * (0.6 + guest.load(now)))
        return max(low, min(high, wanted - wanted % 2))

    def operational_status(self) -> tuple[list[int], list[str]]:
        """Return OperationalStatus and StatusDescriptions."""
        activity = self.activity or (Activity.MERGING_DISKS if self.merging else None)
        if self.critical:
            return [3], ["Degraded"]
        if activity is None:
            return [2], ["Operating normally"]
        return [11, int(activity)], ["In service", _ACTIVITY_TEXT[activity]]

    def all_settings(self) -> Iterator[Configuration]:
        """Yield its own settings and those of its checkpoints."""
        yield self.settings
        for checkpoint in self.checkpoints.values():
            yield checkpoint.settings

    def guest_addresses(self, now: datetime) -> dict[str, str]:
        """Return IPv4 addresses by the InstanceID of the adapter, while the daemon runs."""
        if self.guest is None or not self.is_running or not self.guest.kvp_up(now):
            return {}
        found: dict[str, str] = {}
        for index, nic in enumerate(self.settings.nics):
            cables = self.settings.children(str(nic.values["InstanceID"]))
            if any(
                c.values.get("HostResource") and c.values.get("EnabledState") == 2 for c in cables
            ):
                nic_id = str(nic.values["InstanceID"])
                static = self.guest_networks.get(nic_id)
                mac = text(nic.values, "Address")
                found[nic_id] = static.addresses[0] if static else self.guest.address(mac, index)
        return found
