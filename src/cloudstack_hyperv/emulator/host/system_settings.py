"""Properties of a machine as a whole: which may be set, when, and to what.

Sources: Microsoft's page Msvm_VirtualSystemSettingData (access, values), Set-VM and
Set-VMFirmware (what needs an off machine).  Folders of the configuration move with a storage
migration only.
"""

from __future__ import annotations

import re

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.host.boot_sources import boot_devices, boot_source_path
from cloudstack_hyperv.emulator.host.catalogue import ALWAYS, OFF, When
from cloudstack_hyperv.emulator.host.configuration import SECURE_BOOT_TEMPLATES, Configuration
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter, invalid_state
from cloudstack_hyperv.emulator.host.sameness import same_value
from cloudstack_hyperv.emulator.host.site import Site, instance_id_of, parse_path

LONGEST_NAME = 100
_GUID = re.compile(r"\{[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}$")

CHANGES: dict[str, When] = {
    "ElementName": ALWAYS,
    "Notes": ALWAYS,
    "AutomaticStartupAction": ALWAYS,
    "AutomaticStartupActionDelay": ALWAYS,
    "AutomaticStartupActionSequenceNumber": ALWAYS,
    "AutomaticShutdownAction": ALWAYS,
    "AutomaticRecoveryAction": ALWAYS,
    "AutomaticCriticalErrorAction": ALWAYS,
    "AutomaticCriticalErrorActionTimeout": ALWAYS,
    "AutomaticSnapshotsEnabled": ALWAYS,
    "UserSnapshotType": ALWAYS,
    "IncrementalBackupEnabled": ALWAYS,
    "LockOnDisconnect": ALWAYS,
    "AllowReducedFcRedundancy": ALWAYS,
    "SnapshotDataRoot": ALWAYS,
    "SwapFileDataRoot": OFF,
    "BIOSGUID": OFF,
    "BIOSSerialNumber": OFF,
    "BaseBoardSerialNumber": OFF,
    "ChassisSerialNumber": OFF,
    "ChassisAssetTag": OFF,
    "BIOSNumLock": OFF,
    "BootOrder": OFF,
    "BootSourceOrder": OFF,
    "AllowFullSCSICommandSet": OFF,
    "DebugChannelId": OFF,
    "DebugPortEnabled": OFF,
    "DebugPort": OFF,
    "VirtualNumaEnabled": OFF,
    "PauseAfterBootFailure": OFF,
    "NetworkBootPreferredProtocol": OFF,
    "GuestControlledCacheTypes": OFF,
    "ConsoleMode": OFF,
    "SecureBootEnabled": OFF,
    "SecureBootTemplateId": OFF,
    "LowMmioGapSize": OFF,
    "HighMmioGapSize": OFF,
    "HighMmioGapBase": OFF,
    "EnhancedSessionTransportType": OFF,
    "EnableHibernation": OFF,
    "TurnOffOnGuestRestart": OFF,
    "AdditionalRecoveryInformation": ALWAYS,
}

AT_DEFINITION = frozenset(
    {
        "VirtualSystemSubType",
        "Version",
        "ConfigurationDataRoot",
        "SuspendDataRoot",
        "LogDataRoot",
        "GuestStateDataRoot",
        "VirtualSystemIdentifier",
        "VirtualSystemType",
        "CreationTime",
        "Caption",
        "Description",
        "ConfigurationID",
        "InstanceID",
    }
)
"""Properties that DefineSystem takes, or takes and ignores, and nobody can change later."""

_PLANNED_CHANGES = frozenset(
    {"ConfigurationDataRoot", "SuspendDataRoot", "SwapFileDataRoot", "GuestStateDataRoot"}
)
_CHECKPOINT_CHANGES = frozenset({"ElementName", "Notes"})

_ALLOWED: dict[str, frozenset[int]] = {
    "AutomaticStartupAction": frozenset({2, 3, 4}),
    "AutomaticShutdownAction": frozenset({2, 3, 4}),
    "AutomaticRecoveryAction": frozenset({2, 3, 4}),
    "AutomaticCriticalErrorAction": frozenset({0, 1}),
    "UserSnapshotType": frozenset({2, 3, 4, 5}),
    "NetworkBootPreferredProtocol": frozenset({4096, 4097}),
    "ConsoleMode": frozenset({0, 1, 2, 3}),
    "DebugPortEnabled": frozenset({0, 1, 2}),
    "EnhancedSessionTransportType": frozenset({0, 1}),
}

_GENERATION_2_ONLY = frozenset(
    {"SecureBootEnabled", "SecureBootTemplateId", "PauseAfterBootFailure", "BootSourceOrder"}
)
_GENERATION_1_ONLY = frozenset({"BIOSNumLock"})


def changed_system(
    site: Site,
    settings: Configuration,
    request: Row,
    *,
    is_off: bool,
    is_planned: bool = False,
) -> dict[str, Value]:
    """Return the properties that a request changes, checked; refuses the rest.

    The folders of a planned system may still be chosen.
    """
    current = settings.system.values
    changed: dict[str, Value] = {}
    for name, value in request.values.items():
        if name == "InstanceID" or value is None or same_value(current.get(name), value):
            continue
        when = ALWAYS if is_planned and name in _PLANNED_CHANGES else CHANGES.get(name)
        if when is None:
            raise invalid_parameter(f"{name} is read-only")
        if when is OFF and not is_off:
            raise invalid_state(f"{name} cannot be changed while the machine is not off")
        changed[name] = checked(site, settings, name, value)
    return changed


def changed_checkpoint(request: Row, current: Row) -> dict[str, Value]:
    """Return the properties of a checkpoint that a request changes."""
    changed: dict[str, Value] = {}
    for name, value in request.values.items():
        if name == "InstanceID" or value is None or same_value(current.values.get(name), value):
            continue
        if name not in _CHECKPOINT_CHANGES:
            raise invalid_parameter(f"{name} of a checkpoint cannot be changed")
        if name == "ElementName":
            check_name(value)
        changed[name] = value
    return changed


def checked(site: Site, settings: Configuration, name: str, value: Value) -> Value:
    """Return a value in the spelling that is stored; refuses one that cannot be."""
    if name == "ElementName":
        check_name(value)
    elif name in _GENERATION_2_ONLY and settings.generation == 1:
        if value is not False:
            raise invalid_parameter(f"{name} needs generation 2")
    elif name in _GENERATION_1_ONLY and settings.generation == 2:
        raise invalid_parameter(f"{name} needs generation 1")
    elif name in _ALLOWED and value not in _ALLOWED[name]:
        raise invalid_parameter(f"{name} {value!r} is unknown")
    if name == "BootOrder":
        _check_boot_order(value)
    elif name == "BootSourceOrder":
        return _boot_sources(site, settings, value)
    elif name == "SecureBootTemplateId":
        template = str(value).strip("{}").upper()
        if template not in SECURE_BOOT_TEMPLATES:
            raise invalid_parameter(f"{value!r} is no secure boot template")
        return template
    elif name == "BIOSGUID" and not _GUID.match(str(value)):
        raise invalid_parameter("BIOSGUID is a GUID in braces")
    return value


def check_name(value: Value) -> None:
    """Refuse what cannot be the name of a machine."""
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_NAME:
        raise invalid_parameter(f"ElementName has 1 to {LONGEST_NAME} characters")


def _check_boot_order(value: Value) -> None:
    if not isinstance(value, list | tuple) or sorted(int(str(v)) for v in value) != [0, 1, 2, 3]:
        raise invalid_parameter("BootOrder names floppy, CD, IDE and network once each")


def _boot_sources(site: Site, settings: Configuration, value: Value) -> list[str]:
    wanted = list(value) if isinstance(value, list | tuple) else []
    existing = {
        instance_id_of(parse_path(path, "BootSourceOrder"), "BootSourceOrder"): path
        for path in (boot_source_path(site, row) for row in boot_devices(settings))
    }
    named = [
        instance_id_of(parse_path(str(p), "BootSourceOrder"), "BootSourceOrder") for p in wanted
    ]
    if sorted(named) != sorted(existing):
        raise invalid_parameter("BootSourceOrder is a reordering of the existing boot sources")
    return [existing[instance_id] for instance_id in named]
