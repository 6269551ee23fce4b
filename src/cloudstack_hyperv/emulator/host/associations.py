"""Associations: which rows belong together.

Each class is a function that yields its pairs; for those that clients walk from a known end there
is also a short cut, so that the devices of one machine do not cost a look at all machines.

Sources: Microsoft's pages of the association classes (roles); which of them clients walk: libvirt's
hyperv_wmi_generator.input, os-win, CloudStack's WmiCallsV2.cs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.boot_sources import boot_devices
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.jobs import CREATED_BY_JOB, Job
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.services import Services
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import (
    Site,
    machine_reference,
    planned_reference,
    setting_reference,
)
from cloudstack_hyperv.emulator.host.switch_rows import SwitchRows
from cloudstack_hyperv.emulator.host.switches import SWITCH_SETTINGS, Switches
from cloudstack_hyperv.emulator.host.system_rows import (
    PLANNED_SYSTEM,
    SYSTEM,
    SystemRows,
    boot_source_row,
)

VSSD = "Msvm_VirtualSystemSettingData"
_DEVICE_KEYS = ("CreationClassName", "DeviceID", "SystemCreationClassName", "SystemName")
_NAMED_KEYS = ("CreationClassName", "Name", "SystemCreationClassName", "SystemName")
_YES, _NO = 1, 2

Pairs = Iterator[Row]


def device_reference(row: Row) -> ObjectPath:
    """Return a reference to a device (four keys)."""
    keys = tuple((name, str(row.values[name])) for name in _DEVICE_KEYS)
    return ObjectPath(row.class_name, keys, NAMESPACE_VIRTUALIZATION)


def named_reference(row: Row) -> ObjectPath:
    """Return a reference to a service or endpoint (four keys, Name among them)."""
    keys = tuple((name, str(row.values[name])) for name in _NAMED_KEYS)
    return ObjectPath(row.class_name, keys, NAMESPACE_VIRTUALIZATION)


def system_reference(machine: Machine) -> ObjectPath:
    """Return a reference to a machine or planned system."""
    if machine.planned:
        return planned_reference(machine.machine_id)
    return machine_reference(machine.machine_id)


class Associations:
    """Association rows of one host."""

    def __init__(
        self,
        site: Site,
        machines: Machines,
        switches: Switches,
        systems: SystemRows,
        network: SwitchRows,
        services: Services,
    ) -> None:
        self._site = site
        self._machines = machines
        self._switches = switches
        self._systems = systems
        self._network = network
        self._services = services

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        table.serve(
            "Msvm_SettingsDefineState", self.settings_define_state, references=self._defined_by
        )
        table.serve(
            "Msvm_VirtualSystemSettingDataComponent",
            self.components,
            references=self._component_of,
        )
        table.serve(
            "Msvm_EthernetPortSettingDataComponent",
            self.port_features,
            references=self._feature_of,
        )
        table.serve("Msvm_SystemDevice", self.devices, references=self._device_of)
        plain: dict[str, Callable[[], Iterable[Row]]] = {
            "Msvm_ElementSettingData": self.element_settings,
            "Msvm_VirtualEthernetSwitchSettingDataComponent": self.switch_components,
            "Msvm_SettingDataComponent": self.guest_networks,
            "Msvm_BootSourceComponent": self.boot_sources,
            "Msvm_SnapshotOfVirtualSystem": self.checkpoints,
            "Msvm_MostCurrentSnapshotInBranch": self.current_checkpoints,
            "Msvm_LastAppliedSnapshot": self.last_applied,
            "Msvm_ParentChildSettingData": self.checkpoint_tree,
            "Msvm_AffectedJobElement": lambda: self.affected("Msvm_ConcreteJob"),
            "Msvm_AffectedStorageJobElement": lambda: self.affected("Msvm_StorageJob"),
            "Msvm_VideoHeadOnController": self.video_heads,
        }
        for class_name, rows in plain.items():
            table.serve(class_name, rows)

    # Settings ------------------------------------------------------------------------------

    def _defines(self, machine: Machine) -> Row:
        return pair(
            "Msvm_SettingsDefineState",
            ManagedElement=system_reference(machine),
            SettingData=setting_reference(VSSD, f"Microsoft:{machine.machine_id}"),
        )

    def settings_define_state(self) -> Pairs:
        """Yield machine and switch with their settings, live adapters with theirs."""
        for machine in self._machines.everything():
            yield self._defines(machine)
            if machine.state.has_worker:
                yield from self._live_adapters(machine)
        for switch in self._switches:
            yield pair(
                "Msvm_SettingsDefineState",
                ManagedElement=switch.reference,
                SettingData=setting_reference(SWITCH_SETTINGS, f"Microsoft:{switch.guid}"),
            )

    def _live_adapters(self, machine: Machine) -> Pairs:
        for nic in machine.settings.nics:
            emulated = nic.class_name == catalogue.LEGACY_NIC
            live = "Msvm_EmulatedEthernetPort" if emulated else "Msvm_SyntheticEthernetPort"
            values = {
                "CreationClassName": live,
                "DeviceID": str(nic.values["InstanceID"]),
                "SystemCreationClassName": SYSTEM,
                "SystemName": machine.machine_id,
            }
            yield pair(
                "Msvm_SettingsDefineState",
                ManagedElement=ObjectPath(live, tuple(values.items()), NAMESPACE_VIRTUALIZATION),
                SettingData=self._site.reference(nic),
            )

    def _defined_by(self, path: ObjectPath) -> Iterable[Row] | None:
        if path.class_name not in (SYSTEM, PLANNED_SYSTEM, VSSD):
            return None
        machine = self._machines.resolve(path)
        return [self._defines(machine)] if machine is not None else []

    def element_settings(self) -> Pairs:
        """Yield machines and services with their current settings."""
        for machine in self._machines:
            yield self._element_setting(
                machine_reference(machine.machine_id), self._site.reference(machine.settings.system)
            )
        for service, settings in (
            ("Msvm_VirtualSystemManagementService", self._services.management),
            ("Msvm_VirtualSystemMigrationService", self._services.migration),
            ("Msvm_TerminalService", self._services.terminal),
        ):
            yield self._element_setting(
                named_reference(self._services.row(service)), self._site.reference(settings)
            )

    def _element_setting(self, element: ObjectPath, settings: ObjectPath) -> Row:
        return pair(
            "Msvm_ElementSettingData",
            ManagedElement=element,
            SettingData=settings,
            IsDefault=_NO,
            IsCurrent=_YES,
            IsNext=_YES,
        )

    def _configurations(self) -> Iterator[Configuration]:
        for machine in self._machines.everything():
            yield from machine.all_settings()

    def components(self) -> Pairs:
        """Yield settings with each of their resources."""
        for settings in self._configurations():
            yield from self._components_of(settings)

    def _components_of(self, settings: Configuration) -> Pairs:
        group = self._site.reference(settings.system)
        for row in settings.resources.values():
            yield pair(
                "Msvm_VirtualSystemSettingDataComponent",
                GroupComponent=group,
                PartComponent=self._site.reference(row),
            )
        if settings.security is not None:
            yield pair(
                "Msvm_VirtualSystemSettingDataComponent",
                GroupComponent=group,
                PartComponent=self._site.reference(settings.security),
            )

    def _component_of(self, path: ObjectPath) -> Iterable[Row] | None:
        owner = self._machines.owner_of(path.key("InstanceID") or "")
        if owner is None:
            return []
        if path.class_name == VSSD:
            return self._components_of(owner[1])
        return [
            row
            for row in self._components_of(owner[1])
            if path.same_object(_reference_in(row, "PartComponent"))
        ]

    def port_features(self) -> Pairs:
        """Yield connections with each of their features."""
        for settings in self._configurations():
            for connection in settings.of_class(catalogue.CONNECTION):
                yield from self._features_of(settings, connection)
        for switch in self._switches:
            for connection in switch.connections.values():
                prefix = str(connection.values["InstanceID"]).upper() + "\\"
                for key, feature in switch.features.items():
                    if key.startswith(prefix):
                        yield self._feature(connection, feature)

    def _features_of(self, settings: Configuration, connection: Row) -> Pairs:
        for feature in settings.features_of(str(connection.values["InstanceID"])):
            yield self._feature(connection, feature)

    def _feature(self, connection: Row, feature: Row) -> Row:
        return pair(
            "Msvm_EthernetPortSettingDataComponent",
            GroupComponent=self._site.reference(connection),
            PartComponent=self._site.reference(feature),
        )

    def _feature_of(self, path: ObjectPath) -> Iterable[Row] | None:
        instance_id = (path.key("InstanceID") or "").upper()
        owner = self._machines.owner_of(instance_id)
        if owner is None or path.class_name != catalogue.CONNECTION:
            return None
        connection = owner[1].resources.get(instance_id)
        return self._features_of(owner[1], connection) if connection is not None else []

    def switch_components(self) -> Pairs:
        """Yield switch settings with the switch's own connections."""
        for switch in self._switches:
            for connection in switch.connections.values():
                yield pair(
                    "Msvm_VirtualEthernetSwitchSettingDataComponent",
                    GroupComponent=setting_reference(SWITCH_SETTINGS, f"Microsoft:{switch.guid}"),
                    PartComponent=self._site.reference(connection),
                )

    def guest_networks(self) -> Pairs:
        """Yield adapters with the guest's configuration of them."""
        for machine in self._machines:
            for nic in machine.settings.of_class(catalogue.NIC):
                guest = str(nic.values["InstanceID"]).replace(
                    "Microsoft:", "Microsoft:GuestNetwork\\", 1
                )
                yield pair(
                    "Msvm_SettingDataComponent",
                    GroupComponent=self._site.reference(nic),
                    PartComponent=setting_reference("Msvm_GuestNetworkAdapterConfiguration", guest),
                )

    def boot_sources(self) -> Pairs:
        """Yield settings of generation 2 with their boot sources."""
        for settings in self._configurations():
            if settings.generation == 2:
                for device in boot_devices(settings):
                    yield pair(
                        "Msvm_BootSourceComponent",
                        GroupComponent=self._site.reference(settings.system),
                        PartComponent=self._site.reference(boot_source_row(device)),
                    )

    # Checkpoints ---------------------------------------------------------------------------

    def checkpoints(self) -> Pairs:
        """Yield machines with each of their checkpoints."""
        for machine in self._machines.everything():
            for checkpoint in machine.checkpoints.values():
                yield pair(
                    "Msvm_SnapshotOfVirtualSystem",
                    Antecedent=system_reference(machine),
                    Dependent=self._site.reference(checkpoint.settings.system),
                )

    def current_checkpoints(self) -> Pairs:
        """Yield machines with the checkpoint they stand on."""
        for machine in self._machines:
            if machine.current_checkpoint:
                yield pair(
                    "Msvm_MostCurrentSnapshotInBranch",
                    Antecedent=machine_reference(machine.machine_id),
                    Dependent=setting_reference(VSSD, f"Microsoft:{machine.current_checkpoint}"),
                )

    def last_applied(self) -> Pairs:
        """Yield checkpoints that were applied last, with their machines."""
        for machine in self._machines:
            if machine.last_applied in machine.checkpoints:
                yield pair(
                    "Msvm_LastAppliedSnapshot",
                    Antecedent=setting_reference(VSSD, f"Microsoft:{machine.last_applied}"),
                    Dependent=machine_reference(machine.machine_id),
                )

    def checkpoint_tree(self) -> Pairs:
        """Yield checkpoints with their children."""
        for machine in self._machines:
            for checkpoint in machine.checkpoints.values():
                if checkpoint.parent:
                    yield pair(
                        "Msvm_ParentChildSettingData",
                        Antecedent=setting_reference(VSSD, f"Microsoft:{checkpoint.parent}"),
                        Dependent=self._site.reference(checkpoint.settings.system),
                    )

    def affected(self, job_class: str) -> Pairs:
        """Yield jobs with what they work on, and with what they made."""
        storage = job_class == "Msvm_StorageJob"
        class_name = "Msvm_AffectedStorageJobElement" if storage else "Msvm_AffectedJobElement"
        for job in self._site.board.of_class(job_class):
            for path in job.affected:
                yield _affected(class_name, job, path, [1])
            for path in job.created:
                yield _affected(class_name, job, path, [CREATED_BY_JOB])

    # Devices -------------------------------------------------------------------------------

    def devices(self) -> Pairs:
        """Yield machines with their live devices."""
        for machine in self._machines:
            yield from self._devices_of(machine)

    def _devices_of(self, machine: Machine) -> Pairs:
        if not machine.state.has_worker:
            return
        group = machine_reference(machine.machine_id)
        for row in self._live_rows(machine):
            yield pair(
                "Msvm_SystemDevice", GroupComponent=group, PartComponent=device_reference(row)
            )

    def _live_rows(self, machine: Machine) -> Iterator[Row]:
        systems = self._systems
        yield from systems.keyboard(machine)
        yield from systems.display_controller(machine)
        yield from systems.video_head(machine)
        yield from systems.processors(machine)
        yield from systems.memory(machine)
        for name in ("Shutdown", "KvpExchange", "Heartbeat"):
            yield from systems.component(machine, f"Msvm_{name}Component")
        yield from self._network.ports_of(machine)

    def _device_of(self, path: ObjectPath) -> Iterable[Row] | None:
        if path.class_name == SYSTEM:
            machine = self._machines.resolve(path)
            return self._devices_of(machine) if machine is not None else []
        machine = self._machines.get(path.key("SystemName") or "")
        if machine is None:
            return []
        return [
            row
            for row in self._devices_of(machine)
            if path.same_object(_reference_in(row, "PartComponent"))
        ]

    def video_heads(self) -> Pairs:
        """Yield display controllers with their screens."""
        for machine in self._systems.running():
            for head in self._systems.video_head(machine):
                for controller in self._systems.display_controller(machine):
                    yield pair(
                        "Msvm_VideoHeadOnController",
                        Antecedent=device_reference(controller),
                        Dependent=device_reference(head),
                    )


def pair(class_name: str, **values: Value) -> Row:
    """Return an association row."""
    return Row(class_name, values)


def _affected(class_name: str, job: Job, path: ObjectPath, effects: list[int]) -> Row:
    return pair(
        class_name,
        AffectedElement=path,
        AffectingElement=setting_reference(job.kind.class_name, job.job_id),
        ElementEffects=effects,
    )


def _reference_in(row: Row, role: str) -> ObjectPath:
    value = row.values[role]
    if not isinstance(value, ObjectPath):
        raise TypeError(f"{row.class_name}.{role} is not a reference")
    return value
