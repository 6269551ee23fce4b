r"""A set of settings: of a virtual machine, of one of its checkpoints, of a definition.

Hyper-V keeps the same kind of object for all of them: a Msvm_VirtualSystemSettingData and
resources whose InstanceIDs start with `Microsoft:<GUID>\`.  Rows in here are never changed in
place: a change puts a new row under the old key, so what was handed out stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from cloudstack_hyperv.cim.constants import (
    DISKETTE_CONTROLLER_GUID,
    GENERATION_1,
    GENERATION_2,
    IDE_CONTROLLER_GUID,
    SYSTEM_TYPE_REALIZED,
    ResourceSubType,
)
from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.catalogue import COMPONENTS, ResourceKind, kind_by_sub_type
from cloudstack_hyperv.emulator.host.profiles import ReleaseProfile, configuration_at_least
from cloudstack_hyperv.emulator.host.site import Site, text

SECURE_BOOT_WINDOWS = "1734C6E8-3154-4DDA-BA5F-A874CC483422"
SECURE_BOOT_LINUX = "272E7447-90A4-4563-A4B9-8E4AB00526CE"
SECURE_BOOT_TEMPLATES = frozenset(
    {SECURE_BOOT_WINDOWS, SECURE_BOOT_LINUX, "4292AE2B-EE2C-42B5-A969-DD8F8689F6F3"}
)
VSSD = "Msvm_VirtualSystemSettingData"
BOOT_SOURCE = "Msvm_BootSourceSettingData"
SECURITY = "Msvm_SecuritySettingData"
_NIC_CLASSES = (catalogue.NIC, catalogue.LEGACY_NIC)


class Configuration:
    """Settings of one system; `resources` and `features` are keyed by InstanceID, upper case."""

    __slots__ = ("features", "guid", "resources", "security", "system")

    def __init__(
        self,
        guid: str,
        system: Row,
        resources: dict[str, Row],
        features: dict[str, Row],
        security: Row | None,
    ) -> None:
        self.guid = guid
        self.system = system
        self.resources = resources
        self.features = features
        self.security = security

    def copy(self) -> Configuration:
        """Return a copy that can be edited without touching this one."""
        return Configuration(
            self.guid, self.system, dict(self.resources), dict(self.features), self.security
        )

    @property
    def generation(self) -> int:
        """1 (BIOS, IDE) or 2 (UEFI, SCSI)."""
        return 2 if self.system.values.get("VirtualSystemSubType") == GENERATION_2 else 1

    @property
    def version(self) -> str:
        """Configuration version, as "9.0"."""
        return text(self.system.values, "Version")

    @property
    def name(self) -> str:
        """Display name."""
        return text(self.system.values, "ElementName")

    def put(self, row: Row) -> None:
        """Insert or replace a resource."""
        self.resources[str(row.values["InstanceID"]).upper()] = row

    def set_system(self, **values: Value) -> None:
        """Replace properties of the system settings."""
        self.system = Row(self.system.class_name, {**self.system.values, **values})

    def of_class(self, class_name: str) -> Iterator[Row]:
        """Yield the resources of one class."""
        return (row for row in self.resources.values() if row.class_name == class_name)

    def of_kind(self, sub_type: str) -> Iterator[Row]:
        """Yield the resources of one ResourceSubType."""
        return (r for r in self.resources.values() if r.values.get("ResourceSubType") == sub_type)

    def first(self, class_name: str) -> Row:
        """Return the only resource of a class (processor, memory)."""
        return next(self.of_class(class_name))

    def children(self, parent_id: str) -> list[Row]:
        """Return the resources whose Parent is the resource with this InstanceID."""
        suffix = '"' + parent_id.replace("\\", "\\\\").upper() + '"'
        return [
            row
            for row in self.resources.values()
            if text(row.values, "Parent").upper().endswith(suffix)
        ]

    def features_of(self, connection_id: str) -> list[Row]:
        """Return the port features of a connection."""
        prefix = connection_id.upper() + "\\"
        return [row for key, row in self.features.items() if key.startswith(prefix)]

    @property
    def media(self) -> list[Row]:
        """Rows of virtual disks, ISO and floppy images."""
        return list(self.of_class(catalogue.STORAGE))

    @property
    def nics(self) -> list[Row]:
        """Rows of network adapters, in the order in which they were added."""
        return [row for row in self.resources.values() if row.class_name in _NIC_CLASSES]

    def component_enabled(self, class_name: str) -> bool:
        """Whether an integration component is switched on."""
        return self.first(class_name).values.get("EnabledState") == 2

    def renamed(self, guid: str, **system: Value) -> Configuration:
        r"""Return the same settings under another GUID: what a checkpoint keeps.

        Every InstanceID, Parent and reference of the form `Microsoft:<GUID>` is rewritten.
        """
        old, new = f"Microsoft:{self.guid}", f"Microsoft:{guid}"

        def moved(row: Row) -> Row:
            values = dict(row.values)
            values["InstanceID"] = str(values["InstanceID"]).replace(old, new)
            if values.get("Parent"):
                values["Parent"] = str(values["Parent"]).replace(old, new)
            return Row(row.class_name, values)

        copy = Configuration(
            guid,
            Row(VSSD, {**self.system.values, "InstanceID": new, "ConfigurationID": guid, **system}),
            {},
            {},
            moved(self.security) if self.security is not None else None,
        )
        for row in self.resources.values():
            copy.put(moved(row))
        for row in self.features.values():
            feature = moved(row)
            copy.features[str(feature.values["InstanceID"]).upper()] = feature
        order = copy.system.values.get("BootSourceOrder")
        if isinstance(order, list):
            copy.set_system(BootSourceOrder=[str(path).replace(old, new) for path in order])
        return copy


def new_configuration(
    site: Site, guid: str, name: str, sub_type: str, version: str
) -> Configuration:
    """Return the settings that a new machine has right after DefineSystem."""
    generation = 2 if sub_type == GENERATION_2 else 1
    now = site.timeline.now()
    system = system_template(site.profile, f"Microsoft:{guid}", name, now)
    values = system.values
    root = site.config.machine_folder
    values.update(
        VirtualSystemIdentifier=guid,
        VirtualSystemType=SYSTEM_TYPE_REALIZED,
        ConfigurationID=guid,
        ConfigurationDataRoot=root,
        SnapshotDataRoot=root,
        SuspendDataRoot=root,
        SwapFileDataRoot=root,
        LogDataRoot=root,
        ConfigurationFile=f"Virtual Machines\\{guid}.{configuration_suffix(site.profile)}",
        BIOSGUID="{" + site.dice.guid() + "}",
        BIOSSerialNumber=_serial(site),
        BaseBoardSerialNumber=_serial(site),
        ChassisSerialNumber=_serial(site),
        Version=version,
    )
    if site.profile.has_generation_2:
        values["VirtualSystemSubType"] = sub_type
    if site.profile.order >= 2019:
        values["GuestStateFile"] = f"Virtual Machines\\{guid}.vmgs"
        values["GuestStateDataRoot"] = root
    if generation == 2:
        values["SecureBootEnabled"] = True
        values["BootSourceOrder"] = []
        if site.profile.is_2016_or_newer:
            values["SecureBootTemplateId"] = SECURE_BOOT_WINDOWS
    security = None
    if site.profile.is_2016_or_newer:
        security = Row(SECURITY, _security_values(guid))
    configuration = Configuration(guid, system, {}, {}, security)
    for row in _built_in(site, guid, generation):
        configuration.put(row)
    return configuration


def configuration_suffix(profile: ReleaseProfile) -> str:
    """Return the extension of configuration files."""
    return "vmcx" if profile.is_2016_or_newer else "xml"


def system_template(profile: ReleaseProfile, instance_id: str, name: str, now: datetime) -> Row:
    """Return system settings with the release's defaults, without identity."""
    values: dict[str, Value] = {
        "InstanceID": instance_id,
        "Caption": "Virtual Machine Settings",
        "Description": "Settings for the Microsoft virtual machine.",
        "ElementName": name,
        "Notes": None,
        "CreationTime": now,
        "AutomaticStartupAction": 3,
        "AutomaticStartupActionDelay": timedelta(),
        "AutomaticStartupActionSequenceNumber": 0,
        "AutomaticShutdownAction": 3,
        "AutomaticRecoveryAction": 3,
        "RecoveryFile": "",
        "ChassisAssetTag": "7783-7084-3265-9085-8269-3286-77",
        "BIOSNumLock": False,
        "BootOrder": [1, 2, 3, 0],
        "IsSaved": False,
        "AdditionalRecoveryInformation": "",
        "AllowFullSCSICommandSet": False,
        "DebugChannelId": 0,
        "DebugPortEnabled": 0,
        "DebugPort": 0,
        "Version": profile.default_configuration,
        "IncrementalBackupEnabled": False,
        "VirtualNumaEnabled": True,
        "AllowReducedFcRedundancy": False,
    }
    if profile.has_generation_2:
        values.update(
            VirtualSystemSubType=GENERATION_1,
            PauseAfterBootFailure=False,
            NetworkBootPreferredProtocol=4096,
            SecureBootEnabled=False,
            LowMmioGapSize=128,
        )
    if profile.is_2016_or_newer:
        values.update(
            UserSnapshotType=3,
            LockOnDisconnect=False,
            GuestControlledCacheTypes=False,
            AutomaticCriticalErrorAction=1,
            AutomaticCriticalErrorActionTimeout=timedelta(minutes=30),
            ConsoleMode=0,
        )
    if profile.order >= 2019:
        values.update(
            AutomaticSnapshotsEnabled=not profile.server,
            IsAutomaticSnapshot=False,
            HighMmioGapSize=512,
            EnhancedSessionTransportType=0,
            Architecture="x64",
        )
    return Row(VSSD, values)


def _security_values(guid: str) -> dict[str, Value]:
    return {
        "InstanceID": f"Microsoft:{guid}\\Security",
        "Caption": "Security Settings",
        "Description": "Security settings of the virtual machine.",
        "ElementName": "Security Settings",
        "TpmEnabled": False,
        "KsdEnabled": False,
        "ShieldingRequested": False,
        "DataProtectionRequested": False,
        "EncryptStateAndVmMigrationTraffic": False,
        "VirtualizationBasedSecurityOptOut": False,
    }


def _serial(site: Site) -> str:
    digits = f"{site.dice.random.randrange(10**26):026d}"
    return "-".join(
        (digits[:4], digits[4:8], digits[8:12], digits[12:16], digits[16:20], digits[24:])
    )


def _built_in(site: Site, guid: str, generation: int) -> Iterator[Row]:
    prefix = f"Microsoft:{guid}"
    processor = kind_by_sub_type(ResourceSubType.PROCESSOR)
    yield release_row(site.profile, processor, f"{prefix}\\{processor.definition}\\0")
    memory = kind_by_sub_type(ResourceSubType.MEMORY)
    row = release_row(site.profile, memory, f"{prefix}\\{memory.definition}")
    row.values["DynamicMemoryEnabled"] = not site.profile.server
    yield row
    if generation == 1:
        yield from _generation_1_devices(site, prefix)
    for sub_type in (ResourceSubType.SYNTHETIC_MOUSE, ResourceSubType.SYNTHETIC_KEYBOARD):
        kind = kind_by_sub_type(sub_type)
        yield kind.template(f"{prefix}\\{kind.definition}\\0")
    display = kind_by_sub_type(ResourceSubType.SYNTHETIC_DISPLAY)
    yield release_row(site.profile, display, f"{prefix}\\{display.definition}\\0")
    serial = kind_by_sub_type(ResourceSubType.SERIAL_PORT)
    for index in (0, 1):
        row = release_row(site.profile, serial, f"{prefix}\\{serial.definition}\\{index}")
        row.values["ElementName"] = f"COM {index + 1}"
        yield row
    for component in COMPONENTS:
        if component.class_name.startswith("Msvm_GuestService") and (
            not site.profile.is_2012_r2_or_newer
        ):
            continue
        yield component.template(f"{prefix}\\{component.definition}")


def _generation_1_devices(site: Site, prefix: str) -> Iterator[Row]:
    for index in (0, 1):
        row = kind_by_sub_type(ResourceSubType.IDE_CONTROLLER).template(
            f"{prefix}\\{IDE_CONTROLLER_GUID}\\{index}"
        )
        row.values.update(Address=str(index), ElementName=f"IDE Controller {index}")
        yield row
    controller = f"{prefix}\\{DISKETTE_CONTROLLER_GUID}\\0"
    row = kind_by_sub_type("Microsoft:Hyper-V:Diskette Controller").template(controller)
    yield row
    drive = kind_by_sub_type(ResourceSubType.DISKETTE_DRIVE).template(f"{controller}\\0\\D")
    drive.values.update(
        Parent=site.path_text(catalogue.RASD, InstanceID=controller), AddressOnParent="0"
    )
    yield drive
    display = kind_by_sub_type(ResourceSubType.S3_DISPLAY)
    yield display.template(f"{prefix}\\{display.definition}\\0")


def release_row(profile: ReleaseProfile, kind: ResourceKind, instance_id: str) -> Row:
    """Return a kind's new row with what this release's class has beyond 2012's."""
    row = kind.template(instance_id)
    values = row.values
    if kind.class_name == catalogue.PROCESSOR and profile.is_2016_or_newer:
        values["EnableHostResourceProtection"] = False
        if profile.order >= 2019:
            values.update(
                HwThreadsPerCore=0,
                HideHypervisorPresent=False,
                ExposeVirtualizationExtensions=False,
                CpuGroupId="00000000-0000-0000-0000-000000000000",
            )
    elif kind.class_name in (catalogue.SERIAL, catalogue.DISPLAY) and not profile.is_2016_or_newer:
        for name in ("ResolutionType", "HorizontalResolution", "VerticalResolution"):
            values.pop(name, None)
        return Row(catalogue.RASD, values)
    elif kind.class_name == catalogue.DISPLAY and profile.order < 2019:
        values.pop("ResolutionType")
    elif kind.class_name == catalogue.STORAGE and profile.is_2012_r2_or_newer:
        values.update(
            IOPSLimit=0,
            IOPSReservation=0,
            IOPSAllocationUnits="count(8192 bytes)",
            PersistentReservationsSupported=False,
        )
        if profile.is_2016_or_newer:
            values.update(CachingMode=0, SnapshotId="", IgnoreFlushes=False, StorageQoSPolicyID="")
    return row


def supports_hot_add_nic(configuration: Configuration, profile: ReleaseProfile) -> bool:
    """Generation 2, configuration 6.2 or newer, on 2016 or newer."""
    return (
        configuration.generation == 2
        and profile.is_2016_or_newer
        and configuration_at_least(configuration.version, "6.2")
    )
