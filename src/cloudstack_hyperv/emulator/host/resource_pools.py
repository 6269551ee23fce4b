r"""What the host can give: resource pools, capabilities, and defaults of whole machines.

For every kind of resource there is a primordial pool with capabilities, which the template rows of
`definitions` define; clients walk pool - capabilities - settings to find defaults.  The management
service's capabilities are defined by one `Microsoft:Definition` of system settings a
configuration version that the release knows.

Sources: Microsoft's "Hyper-V resource pools" pages; ValueRole and ValueRange from
Msvm_SettingsDefineCapabilities; os-win walks them.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import (
    GENERATION_1,
    GENERATION_2,
    NAMESPACE_VIRTUALIZATION,
    SYSTEM_TYPE_DEFINITION,
)
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.catalogue import ResourceKind
from cloudstack_hyperv.emulator.host.configuration import VSSD, system_template
from cloudstack_hyperv.emulator.host.definitions import TEMPLATE_KINDS, definition_id
from cloudstack_hyperv.emulator.host.features import features_of
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.services import Services
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site, setting_reference

POOL = "Msvm_ResourcePool"
PROCESSOR_POOL = "Msvm_ProcessorPool"
CAPABILITIES = "Msvm_AllocationCapabilities"
FEATURE_CAPABILITIES = "Msvm_EthernetSwitchFeatureCapabilities"
SYSTEM_CAPABILITIES = "Msvm_VirtualSystemManagementCapabilities"
_SYSTEM_DEFINITION = "5C9F2D7E-2B9D-4E4C-9B0A-1F4F1B0D8E21"
_PORT, _SWITCH = 1, 2

POINTS: dict[str, tuple[int, int]] = {
    "Default": (0, 0),
    "Minimum": (3, 1),
    "Maximum": (3, 2),
    "Increment": (3, 3),
}
"""ValueRole and ValueRange of each kind of template row."""


class ResourcePools:
    """Pools and capabilities of one host."""

    def __init__(self, site: Site, machines: Machines, services: Services) -> None:
        self._site = site
        self._machines = machines
        self._services = services
        has = site.schema.has_class
        self._kinds = tuple(kind for kind in TEMPLATE_KINDS if has(kind.class_name))

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        table.serve(POOL, lambda: self._pools(POOL))
        table.serve(PROCESSOR_POOL, lambda: self._pools(PROCESSOR_POOL))
        table.serve(CAPABILITIES, self.capabilities)
        table.serve(FEATURE_CAPABILITIES, self.feature_capabilities)
        table.serve(SYSTEM_CAPABILITIES, self.system_capabilities)
        table.serve("Msvm_ElementCapabilities", self.element_capabilities)
        table.serve("Msvm_SettingsDefineCapabilities", self.settings_of_capabilities)
        table.serve("Msvm_FeatureSettingsDefineCapabilities", self.features_of_capabilities)
        table.serve("Msvm_ResourceAllocationFromPool", self.allocations)

    def system_definitions(self) -> Iterator[Row]:
        """Yield the system settings that a new machine of each configuration version gets."""
        profile = self._site.profile
        for version in profile.configurations:
            is_default = version == profile.default_configuration
            instance_id = definition_id(_SYSTEM_DEFINITION, "Default" if is_default else version)
            row = system_template(profile, instance_id, "New Virtual Machine", self._site.started)
            row.values.update(
                VirtualSystemType=SYSTEM_TYPE_DEFINITION,
                Version=version,
                ConfigurationDataRoot=self._site.config.machine_folder,
                SnapshotDataRoot=self._site.config.machine_folder,
            )
            yield row

    def _pools(self, class_name: str) -> Iterator[Row]:
        for kind in self._kinds:
            pool = self.pool(kind)
            if pool.class_name == class_name:
                yield pool

    def pool(self, kind: ResourceKind) -> Row:
        """Return the primordial pool of a kind."""
        config = self._site.config
        is_processor = kind.class_name == catalogue.PROCESSOR
        values: dict[str, Value] = {
            "InstanceID": f"Microsoft:{kind.definition}\\Root",
            "Caption": f"{kind.caption} Pool",
            "Description": f"Microsoft {kind.caption} Resource Pool",
            "ElementName": "Primordial",
            "OperationalStatus": [2],
            "StatusDescriptions": ["OK"],
            "HealthState": 5,
            "PoolID": "",
            "Primordial": True,
            "ResourceType": kind.resource_type,
            "ResourceSubType": kind.sub_type,
            "AllocationUnits": str(kind.values.get("AllocationUnits", "count")),
            "ConsumedResourceUnits": "count",
        }
        if is_processor:
            values.update(Capacity=config.logical_processors, Reserved=0)
        elif kind.class_name == catalogue.MEMORY:
            now = self._site.timeline.now()
            used = sum(machine.memory_usage(now) for machine in self._machines)
            values.update(Capacity=config.memory_mib, Reserved=used, CurrentlyConsumedResource=used)
        return Row(PROCESSOR_POOL if is_processor else POOL, values)

    def capabilities(self) -> Iterator[Row]:
        """Yield the allocation capabilities, one a kind."""
        for kind in self._kinds:
            yield Row(
                CAPABILITIES,
                {
                    "InstanceID": _capabilities_id(kind),
                    "Caption": "Allocation Capabilities",
                    "Description": f"Microsoft {kind.caption} Allocation Capabilities",
                    "ElementName": f"{kind.caption} Allocation Capabilities",
                    "ResourceType": kind.resource_type,
                    "ResourceSubType": kind.sub_type,
                    "RequestTypesSupported": 2,
                    "SharingMode": 3,
                },
            )

    def feature_capabilities(self) -> Iterator[Row]:
        """Yield the capabilities of port and switch features."""
        for feature in features_of(self._site.profile):
            yield Row(
                FEATURE_CAPABILITIES,
                {
                    "InstanceID": f"Microsoft:{feature.guid}",
                    "Caption": "Ethernet Switch Feature Capabilities",
                    "Description": "Represents the capabilities of an Ethernet switch feature.",
                    "ElementName": feature.caption,
                    "FeatureId": feature.guid,
                    "Applicability": _SWITCH if feature.on_switch else _PORT,
                    "Version": "1.0",
                },
            )

    def system_capabilities(self) -> Iterator[Row]:
        """Yield what the management service can do."""
        generations = [GENERATION_1]
        if self._site.profile.has_generation_2:
            generations.append(GENERATION_2)
        yield Row(
            SYSTEM_CAPABILITIES,
            {
                "InstanceID": f"Microsoft:{self._site.name}",
                "Caption": "Hyper-V Virtual System Management Service Capabilities",
                "Description": "Microsoft Virtual System Management Service Capabilities",
                "ElementName": "Hyper-V Virtual System Management Service Capabilities",
                "ElementNameEditSupported": True,
                "MaxElementNameLen": 100,
                "VirtualSystemTypesSupported": generations,
            },
        )

    # Associations --------------------------------------------------------------------------

    def element_capabilities(self) -> Iterator[Row]:
        """Yield pools and the management service with their capabilities."""
        for kind in self._kinds:
            yield _capable(
                self._site.reference(self.pool(kind)),
                setting_reference(CAPABILITIES, _capabilities_id(kind)),
            )
        service = self._services.row("Msvm_VirtualSystemManagementService")
        keys = ("CreationClassName", "Name", "SystemCreationClassName", "SystemName")
        path = ObjectPath(
            service.class_name,
            tuple((key, str(service.values[key])) for key in keys),
            NAMESPACE_VIRTUALIZATION,
        )
        yield _capable(path, self._system_capabilities)

    @property
    def _system_capabilities(self) -> ObjectPath:
        return setting_reference(SYSTEM_CAPABILITIES, f"Microsoft:{self._site.name}")

    def settings_of_capabilities(self) -> Iterator[Row]:
        """Yield capabilities with the settings that define them."""
        for kind in self._kinds:
            group = setting_reference(CAPABILITIES, _capabilities_id(kind))
            for point, (role, extent) in POINTS.items():
                part = setting_reference(kind.class_name, definition_id(kind.definition, point))
                yield _defines("Msvm_SettingsDefineCapabilities", group, part, role, extent)
        default = self._site.profile.default_configuration
        for row in self.system_definitions():
            role = 0 if row.values["Version"] == default else 3
            part = setting_reference(VSSD, str(row.values["InstanceID"]))
            yield _defines(
                "Msvm_SettingsDefineCapabilities", self._system_capabilities, part, role, 0
            )

    def features_of_capabilities(self) -> Iterator[Row]:
        """Yield feature capabilities with the feature's defaults."""
        for feature in features_of(self._site.profile):
            yield _defines(
                "Msvm_FeatureSettingsDefineCapabilities",
                setting_reference(FEATURE_CAPABILITIES, f"Microsoft:{feature.guid}"),
                setting_reference(feature.class_name, definition_id(feature.guid)),
                0,
                0,
            )

    def allocations(self) -> Iterator[Row]:
        """Yield pools with what is allocated from them."""
        pools = {
            (kind.class_name, kind.sub_type): self._site.reference(self.pool(kind))
            for kind in self._kinds
        }
        for machine in self._machines:
            for row in machine.settings.resources.values():
                pool = pools.get((row.class_name, str(row.values.get("ResourceSubType") or "")))
                if pool is not None:
                    yield Row(
                        "Msvm_ResourceAllocationFromPool",
                        {"Antecedent": pool, "Dependent": self._site.reference(row)},
                    )


def _capabilities_id(kind: ResourceKind) -> str:
    return f"Microsoft:Capabilities\\{kind.definition}"


def _capable(element: ObjectPath, capabilities: ObjectPath) -> Row:
    return Row(
        "Msvm_ElementCapabilities",
        {"ManagedElement": element, "Capabilities": capabilities, "Characteristics": [2]},
    )


def _defines(class_name: str, group: ObjectPath, part: ObjectPath, role: int, extent: int) -> Row:
    return Row(
        class_name,
        {
            "GroupComponent": group,
            "PartComponent": part,
            "PropertyPolicy": 0,
            "ValueRole": role,
            "ValueRange": extent,
        },
    )
