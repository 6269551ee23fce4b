"""The host's services as single instances, and the settings that some of them have.

Clients address them by CreationClassName alone; the engine resolves that, here is the one row.

Sources: Microsoft's pages of the services; `vmms` as Name of the management service; the other
names are from memory and clients read them.
"""

from __future__ import annotations

import ntpath
from collections.abc import Awaitable, Callable
from datetime import timedelta

from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host.arguments import instance
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter
from cloudstack_hyperv.emulator.host.site import Site

Reply = MethodReply | Awaitable[MethodReply]
_JOB = JobKind.concrete(4, "Modifying Management Service Settings")

SERVICES: dict[str, tuple[str, str]] = {
    "Msvm_VirtualSystemManagementService": ("vmms", "Hyper-V Virtual System Management Service"),
    "Msvm_ImageManagementService": ("imagemanagement", "Hyper-V Image Management Service"),
    "Msvm_VirtualSystemSnapshotService": ("vssnapsvc", "Hyper-V Virtual System Snapshot Service"),
    "Msvm_VirtualSystemMigrationService": ("migrationwmi", "Hyper-V Migration Service"),
    "Msvm_VirtualEthernetSwitchManagementService": (
        "nvspwmi",
        "Hyper-V Virtual Ethernet Switch Management Service",
    ),
    "Msvm_TerminalService": ("terminal", "Hyper-V Terminal Service"),
    "Msvm_MetricService": ("MetricService", "Hyper-V Metric Service"),
    "Msvm_ReplicationService": ("ReplicationService", "Hyper-V Replication Service"),
    "Msvm_ResourcePoolConfigurationService": (
        "rpcs",
        "Hyper-V Resource Pool Configuration Service",
    ),
    "Msvm_VirtualSystemReferencePointService": (
        "vsrefpointsvc",
        "Hyper-V Virtual System Reference Point Service",
    ),
    "Msvm_SecurityService": ("SecurityService", "Hyper-V Security Service"),
    "Msvm_CollectionManagementService": (
        "CollectionManagementService",
        "Hyper-V Collection Management Service",
    ),
}

_MANAGEMENT_CHANGES = frozenset(
    {
        "BiosLockString",
        "DefaultExternalDataRoot",
        "DefaultVirtualHardDiskPath",
        "MaximumMacAddress",
        "MinimumMacAddress",
        "NumaSpanningEnabled",
        "PrimaryOwnerContact",
        "PrimaryOwnerName",
        "EnhancedSessionModeEnabled",
    }
)


class Services:
    """Singletons of one host."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._installed = site.started
        self.changed: list[Callable[[], None]] = []
        self.management = self._management_settings()
        self.metrics = Row(
            "Msvm_MetricServiceSettingData",
            {
                "InstanceID": f"Microsoft:{site.name}\\Metrics",
                "Caption": "Hyper-V Metric Service Settings",
                "Description": "Defines Hyper-V Metric Service Settings",
                "ElementName": "Hyper-V Metric Service Settings",
                "MetricsFlushInterval": timedelta(hours=1),
            },
        )
        self.migration = self._migration_settings()
        self.live: dict[str, Callable[[], dict[str, Value]]] = {}
        """Properties of a service's row that change by themselves, by class."""
        self.terminal = Row(
            "Msvm_TerminalServiceSettingData",
            {
                "InstanceID": f"Microsoft:{site.name}\\Terminal",
                "Caption": "Hyper-V Terminal Service",
                "Description": "Terminal Service Settings",
                "ElementName": "Hyper-V Terminal Service",
                "ListenerPort": 2179,
                "DisableSelfSignedCertificateGeneration": False,
            },
        )

    def all_settings(self) -> dict[str, Row]:
        """Return the settings that are kept, by class."""
        return {row.class_name: row for row in (self.management, self.migration, self.metrics)}

    def restore(self, kept: dict[str, Row]) -> None:
        """Take settings that were kept."""
        self.management = kept.get(self.management.class_name, self.management)
        self.migration = kept.get(self.migration.class_name, self.migration)
        self.metrics = kept.get(self.metrics.class_name, self.metrics)

    def _announce(self) -> None:
        for listener in self.changed:
            listener()

    @property
    def names(self) -> dict[str, tuple[str, str]]:
        """Name and caption of each service that this release has, by class."""
        has = self._site.schema.has_class
        return {name: texts for name, texts in SERVICES.items() if has(name)}

    def row(self, class_name: str) -> Row:
        """Return the one instance of a service class."""
        name, caption = self.names[class_name]
        values: dict[str, Value] = {
            "Caption": caption,
            "Description": f"Microsoft {caption}",
            "ElementName": caption,
            "InstallDate": self._installed,
            "Name": name,
            "OperationalStatus": [2],
            "StatusDescriptions": ["The service is running normally"],
            "Status": "OK",
            "HealthState": 5,
            "EnabledState": 2,
            "OtherEnabledState": "",
            "RequestedState": 12,
            "EnabledDefault": 2,
            "TimeOfLastStateChange": self._site.started,
            "SystemCreationClassName": "Msvm_ComputerSystem",
            "SystemName": self._site.name,
            "CreationClassName": class_name,
            "PrimaryOwnerName": "Administrators",
            "PrimaryOwnerContact": "",
            "StartMode": "Automatic",
            "Started": True,
        }
        if class_name in self.live:
            values.update(self.live[class_name]())
        return Row(class_name, values)

    def _management_settings(self) -> Row:
        config = self._site.config
        octets = [
            int(part) for part in (config.nics[0].address if config.nics else "").split(".") if part
        ]
        pool = "".join(f"{octet:02X}" for octet in (octets or [0, 0, 0, 0])[-2:])
        values: dict[str, Value] = {
            "InstanceID": f"Microsoft:{self._site.name}",
            "Caption": "Hyper-V Virtual System Management Service",
            "Description": "Settings for the Virtual System Management Service",
            "ElementName": "Hyper-V Virtual System Management Service",
            "BiosLockString": "",
            "DefaultExternalDataRoot": config.machine_folder,
            "DefaultVirtualHardDiskPath": config.disk_folder,
            "MinimumMacAddress": f"00155D{pool}00",
            "MaximumMacAddress": f"00155D{pool}FF",
            "NumaSpanningEnabled": True,
            "PrimaryOwnerContact": "",
            "PrimaryOwnerName": "Administrators",
            "HbaLunTimeout": 30,
            "MinimumWWPNAddress": "C003FF0000FF0000",
            "MaximumWWPNAddress": "C003FF0000FFFFFF",
            "CurrentWWNNAddress": "C003FF0000FFFF00",
        }
        if self._site.profile.is_2012_r2_or_newer:
            values["EnhancedSessionModeEnabled"] = not self._site.profile.server
        return Row("Msvm_VirtualSystemManagementServiceSettingData", values)

    def _migration_settings(self) -> Row:
        values: dict[str, Value] = {
            "InstanceID": f"Microsoft:{self._site.name}\\Migration",
            "Caption": "Hyper-V Migration Service Settings",
            "Description": "Settings for the Hyper-V Migration Service",
            "ElementName": "Hyper-V Migration Service Settings",
            "EnableVirtualSystemMigration": bool(self._site.config.domain),
            "MaximumActiveVirtualSystemMigration": 2,
            "MaximumActiveStorageMigration": 2,
            "AuthenticationType": self._site.config.migration_authentication,
        }
        if self._site.profile.is_2012_r2_or_newer:
            values["EnableCompression"] = True
            values["EnableSmbTransport"] = False
        return Row("Msvm_VirtualSystemMigrationServiceSettingData", values)

    def modify_management(self, call: MethodCall) -> Reply:
        """Change the management service's settings."""
        changed = changed_settings(call, "SettingData", self.management, _MANAGEMENT_CHANGES)
        for name in ("DefaultExternalDataRoot", "DefaultVirtualHardDiskPath"):
            if name in changed and not ntpath.isabs(str(changed[name])):
                raise invalid_parameter(f"{name} is not a full path")

        def apply(_: object) -> None:
            self.management = Row(self.management.class_name, {**self.management.values, **changed})
            self._announce()

        return self._site.conductor.run(call, Operation(_JOB, apply, 0.05))

    def modify_metrics(self, call: MethodCall) -> Reply:
        """Change the metric service's settings."""
        allowed = frozenset({"MetricsFlushInterval"})
        changed = changed_settings(call, "SettingData", self.metrics, allowed)

        def apply(_: object) -> None:
            self.metrics = Row(self.metrics.class_name, {**self.metrics.values, **changed})
            self._announce()

        return self._site.conductor.run(call, Operation(_JOB, apply, 0.05))

    def methods(self) -> dict[str, dict[str, Callable[[MethodCall], Reply]]]:
        """Settings methods by service class."""
        return {
            "Msvm_VirtualSystemManagementService": {
                "ModifyServiceSettings": self.modify_management
            },
            "Msvm_MetricService": {"ModifyServiceSettings": self.modify_metrics},
        }


def changed_settings(
    call: MethodCall, parameter: str, current: Row, allowed: frozenset[str]
) -> dict[str, Value]:
    """Return what a client's instance changes of some settings; refuses what is not `allowed`."""
    request = instance(call, parameter)
    if request.class_name != current.class_name:
        raise invalid_parameter(f"{parameter} is not a {current.class_name}")
    changed: dict[str, Value] = {}
    for name, value in request.values.items():
        if value is None or value == current.values.get(name) or name == "InstanceID":
            continue
        if name not in allowed:
            raise invalid_parameter(f"{name} is read-only")
        changed[name] = value
    return changed
