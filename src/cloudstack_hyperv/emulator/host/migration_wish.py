"""What a client asks of a migration: its arguments read and checked against the machine.

Sources: Microsoft's pages MigrateVirtualSystemToHost and Msvm_VirtualSystemMigrationSettingData;
that resources are the machine's own settings with changed values from CloudStack's WmiCallsV2.cs
and os-win's livemigrationutils.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudstack_hyperv.cim.constants import ResourceSubType, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.arguments import instance, instances, optional_instance
from cloudstack_hyperv.emulator.host.configuration import VSSD
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.migration_settings import MIGRATION_SETTINGS
from cloudstack_hyperv.emulator.host.outcome import Refused, invalid_parameter
from cloudstack_hyperv.emulator.host.relocation import FOLDERS
from cloudstack_hyperv.emulator.host.sameness import same_value
from cloudstack_hyperv.emulator.host.site import parse_path, strings, text

VIRTUAL_SYSTEM = 32768
STORAGE = 32769
STAGED = 32770
VIRTUAL_SYSTEM_AND_STORAGE = 32771
STORAGE_DEEP_CHECK = 32772
_TCP, _SMB = 5, 32768
_IDENTITY = frozenset({"InstanceID", "VirtualSystemType", "Parent"})


@dataclass(frozen=True, slots=True)
class MigrationWish:
    """One migration as asked for.  Keys by InstanceID are upper case."""

    kind: int
    destination: str = ""
    addresses: tuple[str, ...] = ()
    planned_id: str = ""
    keep_source_files: bool = False
    overwrite: bool = False
    smb: bool = False
    roots: Mapping[str, str] = field(default_factory=dict)
    """New folders by property of the system settings."""
    files: Mapping[str, str] = field(default_factory=dict)
    """New path of a medium by its InstanceID."""
    pools: frozenset[str] = frozenset()
    """Resource pools that the new settings name."""
    cables: Mapping[str, str] = field(default_factory=dict)
    """GUID of the destination's switch by connection, "" to unplug."""

    @property
    def leaves_host(self) -> bool:
        """Whether the machine itself goes to another host."""
        return self.kind in (VIRTUAL_SYSTEM, VIRTUAL_SYSTEM_AND_STORAGE)

    @property
    def moves_storage(self) -> bool:
        """Whether disks may change their place."""
        return self.kind in (STORAGE, VIRTUAL_SYSTEM_AND_STORAGE)


def read_wish(call: MethodCall, machine: Machine) -> MigrationWish:
    """Read the arguments; refuses (32773, 32770) what cannot be meant."""
    settings = instance(call, "MigrationSettingData")
    if settings.class_name != MIGRATION_SETTINGS:
        raise invalid_parameter(f"MigrationSettingData is not a {MIGRATION_SETTINGS}")
    values = settings.values
    kind = values.get("MigrationType")
    if kind not in (VIRTUAL_SYSTEM, STORAGE, STAGED, VIRTUAL_SYSTEM_AND_STORAGE):
        code = ReturnCode.NOT_SUPPORTED if kind == STORAGE_DEEP_CHECK else None
        if code is not None:
            raise Refused(code, "a deep check of storage is not modelled")
        raise invalid_parameter(f"MigrationType {kind!r} is unknown")
    if values.get("UnmanagedVhds"):
        raise Refused(ReturnCode.NOT_SUPPORTED, "moving parents of others is not modelled")
    transport = values.get("TransportType")
    if transport not in (None, _TCP, _SMB):
        raise invalid_parameter(f"TransportType {transport!r} is not TCP or SMB")
    destination = _destination(call, int(str(kind)))
    files, pools, cables = _resources(call, machine)
    if files and kind not in (STORAGE, VIRTUAL_SYSTEM_AND_STORAGE):
        raise invalid_parameter("this kind of migration does not move storage")
    return MigrationWish(
        int(str(kind)),
        destination,
        tuple(strings(values, "DestinationIPAddressList")),
        text(values, "DestinationPlannedVirtualSystemId").strip("{}").upper(),
        values.get("RetainVhdCopiesOnSource") is True or values.get("AvoidRemovingVHDs") is True,
        values.get("AllowOverwriteExistingFile") is True,
        transport == _SMB,
        _roots(call, machine),
        files,
        frozenset(pools),
        cables,
    )


def _destination(call: MethodCall, kind: int) -> str:
    value = call.arguments.get("DestinationHost")
    name = value.strip() if isinstance(value, str) else ""
    if kind == STORAGE and name:
        raise invalid_parameter("storage migration has no DestinationHost")
    if kind != STORAGE and not name:
        raise invalid_parameter("DestinationHost is missing")
    return name


def _roots(call: MethodCall, machine: Machine) -> dict[str, str]:
    request = optional_instance(call, "NewSystemSettingData")
    if request is None:
        return {}
    if request.class_name != VSSD:
        raise invalid_parameter(f"NewSystemSettingData is not a {VSSD}")
    current = machine.settings.system.values
    roots: dict[str, str] = {}
    for name, value in request.values.items():
        if value is None or name in _IDENTITY or same_value(current.get(name), value):
            continue
        if name not in FOLDERS:
            raise invalid_parameter(f"a migration cannot change {name}")
        roots[name] = str(value)
    return roots


def _resources(
    call: MethodCall, machine: Machine
) -> tuple[dict[str, str], set[str], dict[str, str]]:
    files: dict[str, str] = {}
    pools: set[str] = set()
    cables: dict[str, str] = {}
    for request in instances(call, "NewResourceSettingData"):
        key = text(request.values, "InstanceID").upper()
        current = machine.settings.resources.get(key)
        if current is None or current.class_name != request.class_name:
            raise invalid_parameter("NewResourceSettingData names no resource of the machine")
        if text(request.values, "PoolID"):
            pools.add(text(request.values, "PoolID"))
        if request.class_name == catalogue.STORAGE:
            _take_file(files, key, current, request)
        elif request.class_name == catalogue.CONNECTION:
            if request.values.get("HostResource") is not None:
                cables[key] = _switch_guid(request)
        else:
            _refuse_change(current, request)
    return files, pools, cables


def _take_file(files: dict[str, str], key: str, current: Row, request: Row) -> None:
    paths = strings(request.values, "HostResource")
    if len(paths) > 1:
        raise invalid_parameter("HostResource must hold one path")
    if not paths or not paths[0]:
        return
    old = strings(current.values, "HostResource")
    hard_disk = current.values["ResourceSubType"] == ResourceSubType.VIRTUAL_HARD_DISK
    if hard_disk or not old or old[0].lower() != paths[0].lower():
        files[key] = paths[0]


def _switch_guid(request: Row) -> str:
    paths = strings(request.values, "HostResource")
    if not paths or not paths[0]:
        return ""
    return (parse_path(paths[0], "HostResource").key("Name") or "").upper()


def _refuse_change(current: Row, request: Row) -> None:
    for name, value in request.values.items():
        if name in _IDENTITY or value is None:
            continue
        known: Value = current.values.get(name)
        if not same_value(known, value):
            raise invalid_parameter(f"a migration cannot change {name} of {current.class_name}")
