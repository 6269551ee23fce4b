"""What every subject of one host shares: its configuration, time, chance, names, jobs, files.

Subjects (machines, switches, images ...) are given a `Site` and each other, never the whole host,
so that who uses whom can be read from their constructors.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import datetime

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.clock import Timeline
from cloudstack_hyperv.emulator.host.config import HostConfig, PhysicalDisk
from cloudstack_hyperv.emulator.host.files import HostFiles
from cloudstack_hyperv.emulator.host.jobs import JobBoard
from cloudstack_hyperv.emulator.host.operation import Conductor
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter
from cloudstack_hyperv.emulator.host.profiles import ReleaseProfile
from cloudstack_hyperv.emulator.host.release_schema import ReleaseSchema


class Dice:
    """The host's chance: everything random comes from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def guid(self) -> str:
        """Return a new GUID in Hyper-V's spelling: upper case, without braces."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4)).upper()


@dataclass(slots=True)
class Site:
    """Shared by all subjects of a host."""

    config: HostConfig
    profile: ReleaseProfile
    timeline: Timeline
    dice: Dice
    board: JobBoard
    conductor: Conductor
    files: HostFiles
    schema: ReleaseSchema
    started: datetime
    """When the host booted."""

    @property
    def name(self) -> str:
        """NetBIOS name of the host."""
        return self.config.name.upper()

    @property
    def dns_name(self) -> str:
        """Full DNS name: host and domain."""
        return f"{self.name}.{self.config.domain}" if self.config.domain else self.name

    @property
    def computer_account(self) -> str:
        r"""The account as which VMMS goes to the network, `DOMAIN\HOST$`."""
        domain = self.config.domain.split(".")[0].upper() if self.config.domain else "WORKGROUP"
        return f"{domain}\\{self.name}$"

    def path_text(self, class_name: str, **keys: str) -> str:
        """Return an object path as Hyper-V writes it into string properties."""
        path = ObjectPath(class_name, tuple(keys.items()), NAMESPACE_VIRTUALIZATION, self.name)
        return str(path)

    def host_disk_path(self, disk: PhysicalDisk) -> str:
        """Return the path text of a physical disk's Msvm_DiskDrive."""
        return self.path_text(
            "Msvm_DiskDrive",
            CreationClassName="Msvm_DiskDrive",
            DeviceID=disk.device_id,
            SystemCreationClassName="Msvm_ComputerSystem",
            SystemName=self.name,
        )

    def setting_path(self, row: Row) -> str:
        """Return the path text of a row keyed by InstanceID."""
        return self.path_text(row.class_name, InstanceID=str(row.values["InstanceID"]))

    def reference(self, row: Row) -> ObjectPath:
        """Return a reference to a row keyed by InstanceID."""
        return setting_reference(row.class_name, str(row.values["InstanceID"]))


def setting_reference(class_name: str, instance_id: str) -> ObjectPath:
    """Return a reference to an instance keyed by InstanceID."""
    return ObjectPath(class_name, (("InstanceID", instance_id),), NAMESPACE_VIRTUALIZATION)


def machine_reference(machine_id: str) -> ObjectPath:
    """Return a reference to a Msvm_ComputerSystem."""
    return ObjectPath(
        "Msvm_ComputerSystem",
        (("CreationClassName", "Msvm_ComputerSystem"), ("Name", machine_id)),
        NAMESPACE_VIRTUALIZATION,
    )


def planned_reference(machine_id: str) -> ObjectPath:
    """Return a reference to a Msvm_PlannedComputerSystem."""
    return ObjectPath(
        "Msvm_PlannedComputerSystem",
        (("CreationClassName", "Msvm_PlannedComputerSystem"), ("Name", machine_id)),
        NAMESPACE_VIRTUALIZATION,
    )


def parse_path(text: str, what: str) -> ObjectPath:
    """Read an object path that a client put into a string property; refuses with 32773.

    Host and namespace may be missing or spelled in any letter case (libvirt and go-wsman rely on
    it); a namespace other than Hyper-V's is not the path of anything here.
    """
    try:
        path = ObjectPath.parse(text)
    except MalformedPath as problem:
        raise invalid_parameter(f"{what} is not an object path: {problem}") from problem
    if path.namespace.lower() not in ("", NAMESPACE_VIRTUALIZATION):
        raise invalid_parameter(f"{what} is a path into {path.namespace}")
    return path


def instance_id_of(path: ObjectPath, what: str) -> str:
    """Return the InstanceID a path names, upper case for look-ups; refuses with 32773."""
    value = path.key("InstanceID")
    if value is None:
        raise invalid_parameter(f"{what} has no InstanceID")
    return value.upper()


def text(values: dict[str, Value], name: str) -> str:
    """Return a string property, "" for NULL."""
    value = values.get(name)
    return "" if value is None else str(value)


def number(values: dict[str, Value], name: str) -> int:
    """Return an integer property, 0 for NULL."""
    value = values.get(name)
    return int(value) if isinstance(value, int) else 0


def strings(values: dict[str, Value], name: str) -> list[str]:
    """Return a string array property, [] for NULL."""
    value = values.get(name)
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
