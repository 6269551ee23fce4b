"""A small host behind the door: a handful of classes and providers that keep rows in lists."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cloudstack_hyperv.cim import CimType, ObjectPath
from cloudstack_hyperv.emulator.cim.provider import (
    Caller,
    CimFault,
    MethodCall,
    MethodReply,
    Provider,
    Row,
    Value,
    WmiCode,
)
from cloudstack_hyperv.emulator.cim.schema import (
    ClassDef,
    MethodDef,
    ParameterDef,
    PropertyDef,
    Schema,
)
from cloudstack_hyperv.emulator.door.instances import key_text

V2 = "root/virtualization/v2"
CIMV2 = "root/cimv2"
T = CimType


def text(name: str, *, key: bool = False, array: bool = False) -> PropertyDef:
    return PropertyDef(name, T.STRING, key=key, array=array)


SETTINGS_PROPERTIES = (
    text("InstanceID", key=True),
    text("ElementName"),
    text("Parent"),
    text("HostResource", array=True),
    PropertyDef("ResourceType", T.UINT16),
    PropertyDef("AutomaticAllocation", T.BOOLEAN),
    PropertyDef("Limit", T.UINT64),
    PropertyDef("Delay", T.DATETIME, interval=True),
)

SYSTEM = ClassDef(
    "Msvm_ComputerSystem",
    V2,
    ("CIM_ComputerSystem", "CIM_ManagedElement"),
    (
        text("CreationClassName", key=True),
        text("Name", key=True),
        text("ElementName"),
        text("Caption"),
        PropertyDef("EnabledState", T.UINT16),
        PropertyDef("OperationalStatus", T.UINT16, array=True),
        PropertyDef("InstallDate", T.DATETIME),
        PropertyDef("Uptime", T.DATETIME, interval=True),
        PropertyDef("ReadyForUse", T.BOOLEAN),
        PropertyDef("Load", T.REAL64),
    ),
    (
        MethodDef(
            "RequestStateChange",
            (
                ParameterDef("RequestedState", "in", T.UINT16),
                ParameterDef("Job", "out", T.REFERENCE, reference_class="CIM_ConcreteJob"),
                ParameterDef("TimeoutPeriod", "in", T.DATETIME, interval=True),
            ),
        ),
    ),
)
BASE_SYSTEM = ClassDef(
    "CIM_ComputerSystem",
    V2,
    ("CIM_ManagedElement",),
    (text("CreationClassName", key=True), text("Name", key=True), text("ElementName")),
    abstract=True,
)
SERVICE = ClassDef(
    "Msvm_VirtualSystemManagementService",
    V2,
    ("CIM_Service",),
    (
        text("CreationClassName", key=True),
        text("Name", key=True),
        text("SystemCreationClassName", key=True),
        text("SystemName", key=True),
    ),
    (
        MethodDef(
            "Echo",
            (
                ParameterDef("Text", "in", T.STRING),
                ParameterDef("Numbers", "in", T.UINT32, array=True),
                ParameterDef("Flag", "in", T.BOOLEAN),
                ParameterDef("When", "in", T.DATETIME),
                ParameterDef("Octets", "in", T.UINT8, array=True, octet_string=True),
                ParameterDef("EchoedText", "out", T.STRING),
                ParameterDef("EchoedNumbers", "out", T.UINT32, array=True),
                ParameterDef("EchoedFlag", "out", T.BOOLEAN),
                ParameterDef("EchoedWhen", "out", T.DATETIME),
                ParameterDef("EchoedOctets", "out", T.UINT8, array=True, octet_string=True),
            ),
        ),
        MethodDef("Ping"),
        MethodDef("NeedsText", (ParameterDef("Text", "in", T.STRING, required=True),)),
        MethodDef("Reset", returns=None),
        MethodDef("Sleep", (ParameterDef("Seconds", "in", T.REAL32),)),
        MethodDef("Throw", (ParameterDef("Code", "in", T.UINT32),)),
        MethodDef("Crash"),
        MethodDef(
            "Produce",
            (ParameterDef("Size", "in", T.UINT32), ParameterDef("Data", "out", T.STRING)),
        ),
        MethodDef(
            "AddResourceSettings",
            (
                ParameterDef(
                    "AffectedConfiguration", "in", T.REFERENCE, reference_class="CIM_SettingData"
                ),
                ParameterDef(
                    "ResourceSettings",
                    "in",
                    T.STRING,
                    array=True,
                    embedded_class="CIM_ResourceAllocationSettingData",
                    embedded_as="string",
                ),
                ParameterDef(
                    "ResultingResourceSettings",
                    "out",
                    T.REFERENCE,
                    array=True,
                    reference_class="CIM_ResourceAllocationSettingData",
                ),
                ParameterDef("Job", "out", T.REFERENCE, reference_class="CIM_ConcreteJob"),
                ParameterDef("Unusable", "out", T.STRING, array=True),
            ),
        ),
        MethodDef(
            "AddStorage",
            (
                ParameterDef(
                    "Storage",
                    "in",
                    T.STRING,
                    embedded_class="Msvm_StorageAllocationSettingData",
                    embedded_as="string",
                ),
            ),
        ),
        MethodDef(
            "GetSummaryInformation",
            (
                ParameterDef(
                    "SettingData", "in", T.REFERENCE, array=True, reference_class="CIM_SettingData"
                ),
                ParameterDef("RequestedInformation", "in", T.UINT32, array=True),
                ParameterDef(
                    "SummaryInformation",
                    "out",
                    T.OBJECT,
                    array=True,
                    embedded_class="Msvm_SummaryInformation",
                    embedded_as="object",
                ),
            ),
        ),
        MethodDef(
            "Describe",
            (
                ParameterDef(
                    "SettingData",
                    "out",
                    T.STRING,
                    embedded_class="Msvm_ResourceAllocationSettingData",
                    embedded_as="string",
                ),
            ),
        ),
    ),
    singleton=True,
)
SUMMARY = ClassDef(
    "Msvm_SummaryInformation",
    V2,
    (),
    (
        text("InstanceID", key=True),
        text("Name"),
        text("ElementName"),
        PropertyDef("UpTime", T.UINT64),
        PropertyDef("ThumbnailImage", T.UINT8, array=True, octet_string=True),
    ),
    abstract=True,
)
BASE_RESOURCE = ClassDef(
    "CIM_ResourceAllocationSettingData", V2, (), SETTINGS_PROPERTIES, abstract=True
)
RESOURCE = ClassDef(
    "Msvm_ResourceAllocationSettingData",
    V2,
    ("CIM_ResourceAllocationSettingData",),
    SETTINGS_PROPERTIES,
)
STORAGE = ClassDef(
    "Msvm_StorageAllocationSettingData",
    V2,
    ("CIM_ResourceAllocationSettingData",),
    (*SETTINGS_PROPERTIES, PropertyDef("IOPSLimit", T.UINT64)),
)
DEFINES = ClassDef(
    "Msvm_SettingsDefineState",
    V2,
    ("CIM_ElementSettingData",),
    (
        PropertyDef("ManagedElement", T.REFERENCE, key=True, reference_class="CIM_ManagedElement"),
        PropertyDef("SettingData", T.REFERENCE, key=True, reference_class="CIM_SettingData"),
    ),
    association=True,
)
JOB = ClassDef("Msvm_ConcreteJob", V2, ("CIM_ConcreteJob",), (text("InstanceID", key=True),))
OPERATING_SYSTEM = ClassDef(
    "Win32_OperatingSystem",
    CIMV2,
    ("CIM_OperatingSystem",),
    (text("Name", key=True), text("Version"), PropertyDef("LocalTime", T.DATETIME)),
    singleton=True,
)
PROCESS = ClassDef(
    "Win32_Process",
    CIMV2,
    ("CIM_Process",),
    (text("Handle", key=True), text("Name"), text("CommandLine")),
    (
        MethodDef(
            "Create",
            (
                ParameterDef("CommandLine", "in", T.STRING),
                ParameterDef(
                    "ProcessStartupInformation",
                    "in",
                    T.OBJECT,
                    embedded_class="Win32_ProcessStartup",
                    embedded_as="object",
                ),
                ParameterDef("ProcessId", "out", T.UINT32),
            ),
            static=True,
        ),
    ),
)
PROCESS_STARTUP = ClassDef(
    "Win32_ProcessStartup", CIMV2, (), (PropertyDef("ShowWindow", T.UINT16),), abstract=True
)
VOLUME = ClassDef(
    "Win32_Volume",
    CIMV2,
    ("CIM_StorageVolume",),
    (text("DeviceID", key=True), text("Label"), PropertyDef("Capacity", T.UINT64)),
)

SCHEMA = Schema(
    (
        BASE_SYSTEM,
        SYSTEM,
        SERVICE,
        SUMMARY,
        BASE_RESOURCE,
        RESOURCE,
        STORAGE,
        DEFINES,
        JOB,
        OPERATING_SYSTEM,
        PROCESS,
        PROCESS_STARTUP,
        VOLUME,
    )
)


def machine(number: int, **values: Value) -> Row:
    return Row(
        "Msvm_ComputerSystem",
        {
            "CreationClassName": "Msvm_ComputerSystem",
            "Name": f"00000000-0000-0000-0000-{number:012d}",
            "ElementName": f"vm{number}",
            "Caption": "",
            "EnabledState": 2,
            "OperationalStatus": [2],
            "InstallDate": dt.datetime(2025, 12, 17, 9, 55, 22, 702300, tzinfo=dt.UTC),
            "Uptime": dt.timedelta(minutes=1, microseconds=4170),
            "ReadyForUse": True,
            **values,
        },
    )


@dataclass
class ListProvider:
    """Keeps rows in a list; methods and changes are up to subclasses."""

    listed: list[Row] = field(default_factory=list)

    def rows(self, class_name: str) -> Iterable[Row]:
        return [row for row in self.listed if row.class_name == class_name]

    def find(self, class_name: str, keys: Mapping[str, str]) -> Row | None:
        wanted = {name.lower(): value.lower() for name, value in keys.items()}
        for row in self.rows(class_name):
            values = {name.lower(): key_text(value).lower() for name, value in row.values.items()}
            if wanted.items() <= values.items():
                return row
        return None

    def invoke(self, call: MethodCall) -> MethodReply | Awaitable[MethodReply]:
        raise CimFault(WmiCode.NOT_SUPPORTED)

    def put(self, row: Row, changes: Mapping[str, Value], caller: Caller) -> Row:
        raise CimFault(WmiCode.NOT_SUPPORTED)

    def create(self, row: Row, caller: Caller) -> ObjectPath:
        raise CimFault(WmiCode.NOT_SUPPORTED)

    def delete(self, row: Row, caller: Caller) -> None:
        raise CimFault(WmiCode.NOT_SUPPORTED)

    def references(self, class_name: str, path: ObjectPath) -> Iterable[Row] | None:
        return None


class VolumeProvider(ListProvider):
    """The one class that takes Put, Create and Delete."""

    def put(self, row: Row, changes: Mapping[str, Value], caller: Caller) -> Row:
        row.values.update(changes)
        return row

    def create(self, row: Row, caller: Caller) -> ObjectPath:
        self.listed.append(row)
        return ObjectPath("Win32_Volume", (("DeviceID", str(row.values["DeviceID"])),), CIMV2)

    def delete(self, row: Row, caller: Caller) -> None:
        self.listed.remove(row)


class MachineProvider(ListProvider):
    def invoke(self, call: MethodCall) -> MethodReply:
        assert call.target is not None
        state = call.arguments.get("RequestedState")
        if state == call.target.values["EnabledState"]:
            return MethodReply(32775)
        call.target.values["EnabledState"] = state
        job = ObjectPath("Msvm_ConcreteJob", (("InstanceID", "JOB-1"),), V2)
        return MethodReply(4096, {"Job": job})


class ProcessProvider(ListProvider):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[MethodCall] = []

    def invoke(self, call: MethodCall) -> MethodReply:
        assert call.target is None
        self.calls.append(call)
        return MethodReply(0, {"ProcessId": 4711})


class ServiceProvider(ListProvider):
    """Methods that show what reached them."""

    def __init__(self, listed: list[Row], summaries: list[Row]) -> None:
        super().__init__(listed)
        self.summaries = summaries
        self.seen: list[MethodCall] = []
        self.slept = 0

    def invoke(self, call: MethodCall) -> MethodReply | Awaitable[MethodReply]:
        self.seen.append(call)
        handler: Callable[[MethodCall], MethodReply | Awaitable[MethodReply]] = getattr(
            self, f"_{call.method.lower()}"
        )
        return handler(call)

    def _echo(self, call: MethodCall) -> MethodReply:
        return MethodReply(0, {f"Echoed{name}": value for name, value in call.arguments.items()})

    def _ping(self, call: MethodCall) -> MethodReply:
        return MethodReply(0)

    def _needstext(self, call: MethodCall) -> MethodReply:
        return MethodReply(0)

    def _reset(self, call: MethodCall) -> MethodReply:
        return MethodReply(None)

    async def _sleep(self, call: MethodCall) -> MethodReply:
        seconds = call.arguments["Seconds"]
        assert isinstance(seconds, float)
        await asyncio.sleep(seconds)
        self.slept += 1
        return MethodReply(0)

    def _throw(self, call: MethodCall) -> MethodReply:
        code = call.arguments["Code"]
        assert isinstance(code, int)
        raise CimFault(int(code), "thrown on purpose")

    def _crash(self, call: MethodCall) -> MethodReply:
        raise RuntimeError("a bug in a provider")

    def _produce(self, call: MethodCall) -> MethodReply:
        size = call.arguments["Size"]
        assert isinstance(size, int)
        return MethodReply(0, {"Data": "x" * size})

    def _addresourcesettings(self, call: MethodCall) -> MethodReply:
        settings = call.arguments["ResourceSettings"]
        assert isinstance(settings, list)
        unusable = [
            f"{each.problem.name}: {each.text}" for each in settings if not isinstance(each, Row)
        ]
        if unusable:
            return MethodReply(32773, {"Unusable": unusable})
        path = ObjectPath(settings[0].class_name, (("InstanceID", "Microsoft:1\\2"),), V2)
        return MethodReply(0, {"ResultingResourceSettings": [path]})

    def _addstorage(self, call: MethodCall) -> MethodReply:
        return MethodReply(0 if isinstance(call.arguments["Storage"], Row) else 32773)

    def _getsummaryinformation(self, call: MethodCall) -> MethodReply:
        return MethodReply(0, {"SummaryInformation": self.summaries})

    def _describe(self, call: MethodCall) -> MethodReply:
        row = Row(
            "Msvm_ResourceAllocationSettingData",
            {
                "InstanceID": 'Microsoft:"A"\\B & C',
                "ResourceType": 17,
                "HostResource": ["D:\\a.vhdx", "D:\\<b>.vhdx"],
                "AutomaticAllocation": True,
                "Delay": dt.timedelta(minutes=45),
            },
        )
        return MethodReply(0, {"SettingData": row})


SERVICE_ROW = Row(
    "Msvm_VirtualSystemManagementService",
    {
        "CreationClassName": "Msvm_VirtualSystemManagementService",
        "Name": "vmms",
        "SystemCreationClassName": "Msvm_ComputerSystem",
        "SystemName": "HV1",
    },
)


class SmallHost:
    """The ProviderHost of the tests."""

    name = "HV1"
    release = "2019"
    namespaces = frozenset({V2, CIMV2})

    def __init__(self, machines: int = 3) -> None:
        self.machines = MachineProvider([machine(number + 1) for number in range(machines)])
        summaries = [
            Row(
                "Msvm_SummaryInformation",
                {"Name": "A", "ElementName": "vm<1>", "UpTime": 2**40, "ThumbnailImage": b"\0\1"},
            ),
            Row("Msvm_SummaryInformation", {"Name": "B"}),
        ]
        self.service = ServiceProvider([SERVICE_ROW], summaries)
        self.volumes = VolumeProvider(
            [Row("Win32_Volume", {"DeviceID": "C:", "Label": "System", "Capacity": 2**40})]
        )
        self.processes = ProcessProvider()
        settings = ListProvider(
            [
                Row(name, {"InstanceID": f"Microsoft:{name}\\0", "ElementName": name})
                for name in (
                    "Msvm_ResourceAllocationSettingData",
                    "Msvm_StorageAllocationSettingData",
                )
            ]
        )
        defines = ListProvider(
            [
                Row(
                    "Msvm_SettingsDefineState",
                    {
                        "ManagedElement": ObjectPath.of(
                            "Msvm_ComputerSystem",
                            CreationClassName="Msvm_ComputerSystem",
                            Name="A",
                        ),
                        "SettingData": ObjectPath.of(
                            "Msvm_ResourceAllocationSettingData", InstanceID="Microsoft:A\\B"
                        ),
                    },
                )
            ]
        )
        system = ListProvider(
            [
                Row(
                    "Win32_OperatingSystem",
                    {
                        "Name": "Windows",
                        "Version": "10.0.17763",
                        "LocalTime": dt.datetime(
                            2025, 1, 2, 3, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=1))
                        ),
                    },
                )
            ]
        )
        self._providers: dict[str, Provider] = {
            "Msvm_ComputerSystem": self.machines,
            "Msvm_VirtualSystemManagementService": self.service,
            "Msvm_ResourceAllocationSettingData": settings,
            "Msvm_StorageAllocationSettingData": settings,
            "Msvm_SettingsDefineState": defines,
            "Win32_OperatingSystem": system,
            "Win32_Process": self.processes,
            "Win32_Volume": self.volumes,
        }

    def provider(self, namespace: str, class_name: str) -> Provider | None:
        return self._providers.get(class_name)

    def now(self) -> dt.datetime:
        return dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
