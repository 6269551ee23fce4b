"""Editing a machine's resources: what may be added, changed, removed, where, and when.

Every edit works on a draft of the settings.  What VMMS refuses at once (parameters, places,
states) raises `Refused`; what it finds out while working (files) is put into `late` and checked
when the job ends.  Only then does the draft become the machine's settings.

Sources: Microsoft's "Virtual system resource configuration" pages and "Should I create a
generation 1 or 2 virtual machine"; limits from "Plan for Hyper-V scalability"; what clients send
from os-win vmutils and libvirt's hyperv_driver.c.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import ResourceSubType, ResourceType, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import CimFault, Row, Value, WmiCode
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.boot_sources import order_boot_sources
from cloudstack_hyperv.emulator.host.catalogue import (
    ResourceKind,
    When,
    kind_of_request,
    kind_of_row,
)
from cloudstack_hyperv.emulator.host.configuration import (
    Configuration,
    release_row,
    supports_hot_add_nic,
)
from cloudstack_hyperv.emulator.host.disks import HostDisks
from cloudstack_hyperv.emulator.host.machine import Machine, PowerState
from cloudstack_hyperv.emulator.host.outcome import (
    Hresult,
    JobFailed,
    file_failure,
    invalid_parameter,
    invalid_state,
)
from cloudstack_hyperv.emulator.host.profiles import configuration_at_least
from cloudstack_hyperv.emulator.host.quantities import check_memory, check_processor
from cloudstack_hyperv.emulator.host.sameness import same_value
from cloudstack_hyperv.emulator.host.site import Site, instance_id_of, parse_path, strings, text
from cloudstack_hyperv.emulator.host.switches import Switches

_MAC = re.compile(r"[0-9A-Fa-f]{12}")
_IDENTITY = frozenset({"InstanceID"})
_PLACE = frozenset({"Parent", "AddressOnParent"})
_MEDIUM_DRIVES = {
    ResourceSubType.VIRTUAL_HARD_DISK: ResourceSubType.DISK_DRIVE,
    ResourceSubType.VIRTUAL_DVD_DISK: ResourceSubType.DVD_DRIVE,
    ResourceSubType.VIRTUAL_FLOPPY_DISK: ResourceSubType.DISKETTE_DRIVE,
}
_SCSI_CONTROLLERS = 4
_LEGACY_NICS = 4


class Editor:
    """One edit of one machine."""

    def __init__(self, site: Site, switches: Switches, disks: HostDisks, machine: Machine) -> None:
        self._site = site
        self._switches = switches
        self._disks = disks
        self._machine = machine
        self.draft: Configuration = machine.settings.copy()
        self.late: list[Callable[[], None]] = []
        self.results: list[Row] = []
        self._is_off = machine.state is PowerState.OFF

    def commit(self) -> None:
        """Make the draft the machine's settings; raises JobFailed for what shows only now."""
        if not self._machine.planned:  # the files of a planned system may still be missing
            for check in self.late:
                check()
        guest = self._machine.guest
        if (
            guest is not None
            and guest.is_real
            and _fixed(self.draft) != _fixed(self._machine.settings)
        ):
            raise JobFailed(
                ReturnCode.NOT_SUPPORTED, "Hardware of a real guest cannot change while it runs."
            )
        if self.draft.generation == 2:
            order_boot_sources(self._site, self.draft)
        self._machine.settings = self.draft
        self._machine.config_changed = self._site.timeline.now()

    # Adding ---------------------------------------------------------------------------------

    def add(self, request: Row) -> None:
        """Add one resource; the result is appended to `results`."""
        kind = kind_of_request(request)
        if kind is None or not kind.addable:
            raise invalid_parameter(f"{request.class_name} of this kind cannot be added")
        if self._machine.state is PowerState.SAVED:
            raise invalid_state("the virtual machine is saved")
        match kind.resource_type:
            case ResourceType.SCSI_CONTROLLER:
                row = self._new_controller(kind)
            case ResourceType.DISK_DRIVE | ResourceType.DVD_DRIVE:
                row = self._new_drive(kind, request)
            case ResourceType.LOGICAL_DISK:
                row = self._new_medium(kind, request)
            case ResourceType.ETHERNET_ADAPTER:
                row = self._new_nic(kind, request)
            case _:
                row = self._new_connection(kind, request)
        self._fill(row, kind, request)
        self.draft.put(row)
        self.results.append(row)

    def define(self, request: Row) -> None:
        """Take one entry of DefineSystem's ResourceSettings.

        Processor and memory exist already, so theirs is a change; others are added.
        """
        if request.class_name in (catalogue.PROCESSOR, catalogue.MEMORY):
            current = self.draft.first(request.class_name)
            named = {k: v for k, v in request.values.items() if k not in _IDENTITY}
            self._change(current, named)
        else:
            self.add(request)

    def _fill(self, row: Row, kind: ResourceKind, request: Row) -> None:
        """Copy what the client sent and may choose onto a new row."""
        decided = _PLACE | ({"HostResource"} if row.values.get("HostResource") else set())
        for name, value in request.values.items():
            if name in kind.changes and name not in decided and value is not None:
                row.values[name] = value
        if kind.has_identifiers and not strings(row.values, "VirtualSystemIdentifiers"):
            row.values["VirtualSystemIdentifiers"] = ["{" + self._site.dice.guid().lower() + "}"]
        self._normalise(row, kind)

    def _normalise(self, row: Row, kind: ResourceKind) -> None:
        if kind.resource_type == ResourceType.ETHERNET_ADAPTER:
            address = text(row.values, "Address").upper()
            if address and not _MAC.fullmatch(address):
                raise invalid_parameter(f"{address!r} is not a MAC address of 12 hex digits")
            row.values["Address"] = address or "000000000000"
        elif kind.class_name == catalogue.CONNECTION:
            self._normalise_connection(row)

    def _normalise_connection(self, row: Row, *, is_moved: bool = True) -> None:
        """Check a connection; the switch only where the client names one."""
        resources = strings(row.values, "HostResource")
        if len(resources) > 1:
            raise invalid_parameter("a connection has one switch")
        if row.values.get("EnabledState") not in (2, 3):
            raise invalid_parameter("EnabledState of a connection is 2 or 3")
        if not is_moved:
            return
        if resources and resources[0]:
            switch = self._switches.by_path(resources[0])
            row.values["HostResource"] = [switch.path_text]
            row.values["LastKnownSwitchName"] = switch.name
        else:
            row.values["HostResource"] = None

    def _new_controller(self, kind: ResourceKind) -> Row:
        if not self._is_off:
            raise invalid_state("a SCSI controller cannot be added to a running virtual machine")
        if sum(1 for _ in self.draft.of_kind(ResourceSubType.SCSI_CONTROLLER)) >= _SCSI_CONTROLLERS:
            raise invalid_parameter("a virtual machine has at most four SCSI controllers")
        prefix = f"Microsoft:{self.draft.guid}"
        return kind.template(f"{prefix}\\{self._site.dice.guid()}\\0")

    def _new_drive(self, kind: ResourceKind, request: Row) -> Row:
        controller = self._parent(
            request, (ResourceType.IDE_CONTROLLER, ResourceType.SCSI_CONTROLLER)
        )
        self._check_hot_plug(controller, "drive")
        is_ide = controller.values["ResourceType"] == ResourceType.IDE_CONTROLLER
        if (
            kind.resource_type == ResourceType.DVD_DRIVE
            and not is_ide
            and self.draft.generation == 1
        ):
            raise invalid_parameter("generation 1 has DVD drives on IDE controllers only")
        slot = self._slot(request, controller, 2 if is_ide else 64)
        row = kind.template(f"{controller.values['InstanceID']}\\{slot}\\D")
        row.values["Parent"] = self._site.setting_path(controller)
        row.values["AddressOnParent"] = str(slot)
        if kind.sub_type == ResourceSubType.PHYSICAL_DISK_DRIVE:
            row.values["HostResource"] = [self._physical_disk(request)]
        return row

    def _physical_disk(self, request: Row) -> str:
        path = parse_path(_only_path(request), "HostResource")
        device = (path.key("DeviceID") or "").upper()
        for disk in self._site.config.physical_disks:
            if disk.device_id.upper() == device:
                return self._site.host_disk_path(disk)
        raise invalid_parameter("HostResource names no physical disk of this host")

    def _slot(self, request: Row, controller: Row, slots: int) -> int:
        taken = {
            text(child.values, "AddressOnParent")
            for child in self.draft.children(str(controller.values["InstanceID"]))
        }
        wanted = text(request.values, "AddressOnParent")
        if not wanted:
            free = next((n for n in range(slots) if str(n) not in taken), None)
            if free is None:
                raise invalid_parameter("the controller has no free place")
            return free
        if not wanted.isdecimal() or int(wanted) >= slots:
            raise invalid_parameter(f"{wanted!r} is no place on this controller")
        if str(int(wanted)) in taken:
            raise invalid_parameter(f"place {wanted} of the controller is taken")
        return int(wanted)

    def _new_medium(self, kind: ResourceKind, request: Row) -> Row:
        drive = self._parent(
            request, (ResourceType.DISK_DRIVE, ResourceType.DVD_DRIVE, ResourceType.DISKETTE_DRIVE)
        )
        if drive.values["ResourceSubType"] != _MEDIUM_DRIVES[ResourceSubType(kind.sub_type)]:
            raise invalid_parameter("the medium does not fit the drive")
        drive_id = str(drive.values["InstanceID"])
        if self.draft.children(drive_id):
            raise invalid_parameter("the drive has a medium already")
        if kind.sub_type == ResourceSubType.VIRTUAL_HARD_DISK:
            self._check_hot_plug(self._controller_of(drive), "virtual hard disk")
        path = _only_path(request)
        row = release_row(self._site.profile, kind, drive_id[:-1] + "L")
        row.values["Parent"] = self._site.setting_path(drive)
        row.values["HostResource"] = [path]
        self._check_file_later(row, kind, path)
        return row

    def _check_file_later(self, row: Row, kind: ResourceKind, path: str) -> None:
        row_id = row.values["InstanceID"]
        hard_disk = kind.sub_type == ResourceSubType.VIRTUAL_HARD_DISK

        def check() -> None:
            self._disks.check_medium(path, hard_disk=hard_disk)
            local = self._disks.place(path).local
            for other in self.draft.media:
                if other.values["InstanceID"] == row_id or not hard_disk:
                    continue
                there = strings(other.values, "HostResource")
                if there and self._disks.place(there[0]).local == local:
                    raise file_failure(
                        "add device 'Virtual Hard Disk'",
                        path,
                        "The disk is already attached to the virtual machine.",
                        Hresult.SHARING_VIOLATION,
                    )

        self.late.append(check)

    def _new_nic(self, kind: ResourceKind, request: Row) -> Row:
        del request
        if not self._is_off and not (
            kind.class_name == catalogue.NIC
            and supports_hot_add_nic(self.draft, self._site.profile)
        ):
            raise invalid_state("a network adapter cannot be added while the machine runs")
        if kind.class_name == catalogue.LEGACY_NIC:
            if self.draft.generation == 2:
                raise invalid_parameter("generation 2 has no legacy network adapters")
            limit = _LEGACY_NICS
        else:
            many = configuration_at_least(self.draft.version, "8.3")
            limit = 64 if many else 8
        if sum(1 for _ in self.draft.of_class(kind.class_name)) >= limit:
            raise invalid_parameter(f"a virtual machine has at most {limit} of these adapters")
        return kind.template(f"Microsoft:{self.draft.guid}\\{self._site.dice.guid()}")

    def _new_connection(self, kind: ResourceKind, request: Row) -> Row:
        nic = self._parent(request, (ResourceType.ETHERNET_ADAPTER,))
        nic_id = str(nic.values["InstanceID"])
        if self.draft.children(nic_id):
            raise invalid_parameter("the adapter has a connection already")
        row = kind.template(nic_id + "\\C")
        row.values["Parent"] = self._site.setting_path(nic)
        row.values["ElementName"] = text(nic.values, "ElementName")
        return row

    def _parent(self, request: Row, types: tuple[int, ...]) -> Row:
        wanted = text(request.values, "Parent")
        if not wanted:
            raise invalid_parameter("Parent is missing")
        path = parse_path(wanted, "Parent")
        row = self.draft.resources.get(instance_id_of(path, "Parent"))
        if row is None:
            raise invalid_parameter("Parent names no resource of this virtual machine")
        if row.values.get("ResourceType") not in types:
            raise invalid_parameter("Parent is not of a kind that takes this resource")
        if path.class_name.lower() not in (row.class_name.lower(), catalogue.RASD.lower()):
            raise invalid_parameter("Parent names another class")
        return row

    def _controller_of(self, drive: Row) -> Row:
        path = parse_path(text(drive.values, "Parent"), "Parent")
        return self.draft.resources[instance_id_of(path, "Parent")]

    def _check_hot_plug(self, controller: Row, what: str) -> None:
        if not self._is_off and controller.values["ResourceType"] != ResourceType.SCSI_CONTROLLER:
            raise invalid_state(f"a {what} on IDE cannot be changed while the machine runs")

    # Changing -------------------------------------------------------------------------------

    def modify(self, row: Row, request: Row) -> None:
        """Change a resource of this machine to what the client sent."""
        kind = kind_of_row(row)
        if kind is None or request.class_name not in (
            row.class_name,
            kind.class_name,
            catalogue.RASD,
        ):
            raise invalid_parameter(f"{request.class_name} does not fit this resource")
        self._change(row, {k: v for k, v in request.values.items() if k not in _IDENTITY})

    def _change(self, row: Row, wanted: dict[str, Value]) -> None:
        kind = kind_of_row(row)
        if kind is None:
            raise invalid_parameter(f"{row.class_name} cannot be modified")
        changed: dict[str, Value] = {}
        for name, value in wanted.items():
            if value is None or same_value(row.values.get(name), value):
                continue
            when = kind.changes.get(name)
            if when is None:
                raise invalid_parameter(f"{name} is read-only")
            if when is When.OFF and not self._may_change_running(kind, name):
                raise invalid_state(f"{name} cannot be changed in this state")
            changed[name] = value
        new = Row(row.class_name, {**row.values, **changed})
        self._check_changed(new, kind, changed)
        self.draft.put(new)
        self.results.append(new)

    def _may_change_running(self, kind: ResourceKind, name: str) -> bool:
        if self._is_off:
            return True
        if self._machine.state is PowerState.SAVED:
            return False
        if kind.class_name == catalogue.MEMORY and name == "VirtualQuantity":
            return (
                not self._machine.has_dynamic_memory
                and self._site.profile.is_2016_or_newer
                and configuration_at_least(self.draft.version, "6.2")
            )
        return False

    def _check_changed(self, new: Row, kind: ResourceKind, changed: dict[str, Value]) -> None:
        if kind.class_name == catalogue.PROCESSOR:
            check_processor(new.values, self.draft.generation, self._site.config.logical_processors)
        elif kind.class_name == catalogue.MEMORY:
            check_memory(new.values, self.draft.generation, set(changed))
        elif kind.class_name == catalogue.STORAGE and "HostResource" in changed:
            self._check_new_file(new, kind)
        elif kind.sub_type == ResourceSubType.PHYSICAL_DISK_DRIVE and "HostResource" in changed:
            new.values["HostResource"] = [self._physical_disk(new)]
        elif "Parent" in changed or "AddressOnParent" in changed:
            raise invalid_parameter("a drive is moved by removing it and adding it")
        elif kind.class_name == catalogue.CONNECTION:
            self._normalise_connection(new, is_moved="HostResource" in changed)
        elif kind.class_name == catalogue.SERIAL:
            if len(strings(new.values, "Connection")) != 1:
                raise invalid_parameter("a serial port has one connection")
        else:
            self._normalise(new, kind)

    def _check_new_file(self, new: Row, kind: ResourceKind) -> None:
        if self._machine.state is PowerState.SAVED:
            raise invalid_state("the virtual machine is saved")
        if kind.sub_type == ResourceSubType.VIRTUAL_HARD_DISK and not self._is_off:
            raise invalid_state("the file of a disk cannot be changed while the machine runs")
        path = _only_path(new)
        new.values["HostResource"] = [path]
        self._check_file_later(new, kind, path)

    # Removing -------------------------------------------------------------------------------

    def remove(self, reference: ObjectPath) -> None:
        """Remove one resource."""
        instance_id = instance_id_of(reference, "ResourceSettings")
        row = self.draft.resources.get(instance_id)
        if row is None:
            raise invalid_parameter("ResourceSettings names no resource of this virtual machine")
        kind = kind_of_row(row)
        if kind is None or not kind.addable:
            raise invalid_parameter("this resource cannot be removed")
        if self._machine.state is PowerState.SAVED:
            raise invalid_state("the virtual machine is saved")
        children = self.draft.children(str(row.values["InstanceID"]))
        if kind.resource_type == ResourceType.SCSI_CONTROLLER:
            self._check_controller_is_free(children)
        elif kind.resource_type in (ResourceType.DISK_DRIVE, ResourceType.DVD_DRIVE):
            if children:
                # Windows lets the provider throw here: the medium has to go first.
                raise CimFault(WmiCode.FAILED, "the drive has a medium")
            self._check_hot_plug(self._controller_of(row), "drive")
        elif kind.sub_type == ResourceSubType.VIRTUAL_HARD_DISK:
            controller = self._controller_of(self._controller_of(row))
            self._check_hot_plug(controller, "virtual hard disk")
            self._refuse_while_merging()
        elif kind.resource_type == ResourceType.ETHERNET_ADAPTER:
            self._check_hot_remove(kind)
            for child in children:
                self._drop(child)
        self._drop(row)

    def _check_controller_is_free(self, children: list[Row]) -> None:
        if children:
            raise invalid_state("the controller has drives")
        if not self._is_off:
            raise invalid_state("a controller cannot be removed while the machine runs")

    def _check_hot_remove(self, kind: ResourceKind) -> None:
        hot = kind.class_name == catalogue.NIC and supports_hot_add_nic(
            self.draft, self._site.profile
        )
        if not self._is_off and not hot:
            raise invalid_state("a network adapter cannot be removed while the machine runs")

    def _refuse_while_merging(self) -> None:
        if self._machine.merging:
            raise invalid_state("the disk is being merged")

    def _drop(self, row: Row) -> None:
        instance_id = str(row.values["InstanceID"]).upper()
        self.draft.resources.pop(instance_id, None)
        for feature in self.draft.features_of(instance_id):
            self.draft.features.pop(str(feature.values["InstanceID"]).upper())


def _only_path(row: Row) -> str:
    paths = strings(row.values, "HostResource")
    if len(paths) != 1 or not paths[0]:
        raise invalid_parameter("HostResource must hold exactly one path")
    return paths[0]


def _fixed(settings: Configuration) -> dict[str, list[str]]:
    """Return what is soldered on while a real guest runs: its disks and cards."""
    rows = [*settings.media, *settings.nics]
    return {str(row.values["InstanceID"]): strings(row.values, "HostResource") for row in rows}
