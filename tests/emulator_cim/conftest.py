"""A handful of instances that stand for a host, so that the CIM engine can be tested alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime

import pytest

from cloudstack_hyperv.cim import MalformedPath, ObjectPath
from cloudstack_hyperv.emulator.cim.engine import CimEngine
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
from cloudstack_hyperv.emulator.cim.store import key_text
from cloudstack_hyperv.emulator.schema import load_schema

V2 = "root/virtualization/v2"
HOST = "HV01"
GUIDS = [f"{number}1111111-2222-3333-4444-555555555555" for number in range(1, 4)]
NAMES = ["web01", "o'brien\\x", "i-2-10-VM"]
CALLER = Caller("HV01\\Administrator")


class TableProvider:
    """Rows in a list, methods as functions; counts what it is asked for."""

    def __init__(
        self,
        rows: list[Row],
        methods: Mapping[str, Callable[[MethodCall], MethodReply | Awaitable[MethodReply]]]
        | None = None,
        *,
        knows_references: bool = False,
    ) -> None:
        self.table = rows
        self.methods = dict(methods or {})
        self.scans = 0
        self.knows_references = knows_references

    def rows(self, class_name: str) -> Iterable[Row]:
        self.scans += 1
        return [row for row in self.table if row.class_name == class_name]

    def find(self, class_name: str, keys: Mapping[str, str]) -> Row | None:
        return next(
            (
                row
                for row in self.table
                if row.class_name == class_name
                and all(_same(row.values[name], text) for name, text in keys.items())
            ),
            None,
        )

    def invoke(self, call: MethodCall) -> MethodReply | Awaitable[MethodReply]:
        method = self.methods.get(call.method)
        return method(call) if method is not None else MethodReply(32770)

    def put(self, row: Row, changes: Mapping[str, Value], caller: Caller) -> Row:
        row.values.update(changes)
        return row

    def create(self, row: Row, caller: Caller) -> ObjectPath:
        raise CimFault(WmiCode.NOT_SUPPORTED, "no Create")

    def delete(self, row: Row, caller: Caller) -> None:
        self.table.remove(row)

    def references(self, class_name: str, path: ObjectPath) -> Iterable[Row] | None:
        if not self.knows_references:
            return None
        return [
            row
            for row in self.table
            if any(isinstance(v, ObjectPath) and v.same_object(path) for v in row.values.values())
        ]


def _same(value: Value, text: str) -> bool:
    if isinstance(value, ObjectPath):
        try:
            return value.same_object(ObjectPath.parse(text))
        except MalformedPath:
            return False
    return key_text(value).lower() == text.lower()


class SmallHost:
    """A ProviderHost over tables."""

    def __init__(self) -> None:
        self.providers: dict[tuple[str, str], TableProvider] = {}
        self.name = HOST
        self.release = "2019"
        self.namespaces = frozenset({V2, "root/cimv2"})

    def provider(self, namespace: str, class_name: str) -> Provider | None:
        return self.providers.get((namespace, class_name))

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def serve(self, class_name: str, provider: TableProvider, namespace: str = V2) -> None:
        self.providers[namespace, class_name] = provider


def system_path(guid: str) -> ObjectPath:
    return ObjectPath.of("Msvm_ComputerSystem", CreationClassName="Msvm_ComputerSystem", Name=guid)


def setting_path(class_name: str, instance_id: str) -> ObjectPath:
    return ObjectPath.of(class_name, InstanceID=instance_id)


def _machine(guid: str, name: str, state: int, load: int | None) -> Row:
    return Row(
        "Msvm_ComputerSystem",
        {
            "CreationClassName": "Msvm_ComputerSystem",
            "Name": guid,
            "ElementName": name,
            "Caption": "Virtual Machine",
            "EnabledState": state,
            "OperationalStatus": [2],
            "InstallDate": datetime(2025, 12, int(guid[0]), 9, 55, tzinfo=UTC),
            "ProcessID": load,
            "OnTimeInMilliseconds": 1000 * int(guid[0]),
        },
    )


def _host_row() -> Row:
    return Row(
        "Msvm_ComputerSystem",
        {
            "CreationClassName": "Msvm_ComputerSystem",
            "Name": HOST,
            "ElementName": HOST,
            "Caption": "Hosting Computer System",
            "EnabledState": 2,
        },
    )


def _settings(guid: str) -> list[Row]:
    vm = f"Microsoft:{guid}"
    controller = f"{vm}\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0"
    drive = setting_path("Msvm_ResourceAllocationSettingData", f"{controller}\\0\\0\\D")
    return [
        Row("Msvm_VirtualSystemSettingData", {"InstanceID": vm, "Notes": ["a", "b"]}),
        Row("Msvm_SerialPortSettingData", {"InstanceID": f"{vm}\\COM1", "ResourceType": 21}),
        Row(
            "Msvm_ResourceAllocationSettingData",
            {"InstanceID": controller, "ResourceType": 5, "Address": "0"},
        ),
        Row(
            "Msvm_ResourceAllocationSettingData",
            {"InstanceID": drive.keys[0][1], "ResourceType": 17, "AddressOnParent": "0"},
        ),
        Row(
            "Msvm_StorageAllocationSettingData",
            {
                "InstanceID": f"{controller}\\0\\0\\L",
                "ResourceType": 31,
                "Parent": str(ObjectPath(drive.class_name, drive.keys, drive.namespace, HOST)),
                "HostResource": ["C:\\disk.vhdx"],
            },
        ),
    ]


def _service() -> Row:
    return Row(
        "Msvm_VirtualSystemManagementService",
        {
            "SystemCreationClassName": "Msvm_ComputerSystem",
            "SystemName": HOST,
            "CreationClassName": "Msvm_VirtualSystemManagementService",
            "Name": "vmms",
        },
    )


async def _add(call: MethodCall) -> MethodReply:
    resources = call.arguments["ResourceSettings"]
    assert isinstance(resources, list)
    job = ObjectPath.of("Msvm_ConcreteJob", InstanceID="JOB")
    return MethodReply(4096, {"Job": job, "ResultingResourceSettings": []})


def build_host() -> SmallHost:
    host = SmallHost()
    machines = [
        _machine(guid, name, state, load)
        for guid, name, state, load in zip(GUIDS, NAMES, (2, 3, 2), (4321, None, 17), strict=True)
    ]
    host.serve(
        "Msvm_ComputerSystem",
        TableProvider(
            [*machines, _host_row()],
            {"RequestStateChange": lambda call: MethodReply(0 if call.target else 1)},
        ),
    )
    settings = [row for guid in GUIDS for row in _settings(guid)]
    for name in dict.fromkeys(row.class_name for row in settings):
        host.serve(name, TableProvider([row for row in settings if row.class_name == name]))
    host.serve(
        "Msvm_VirtualSystemManagementService",
        TableProvider([_service()], {"AddResourceSettings": _add}),
    )
    host.serve(
        "Msvm_SettingsDefineState",
        TableProvider(
            [
                Row(
                    "Msvm_SettingsDefineState",
                    {
                        "ManagedElement": system_path(guid),
                        "SettingData": setting_path(
                            "Msvm_VirtualSystemSettingData", f"Microsoft:{guid}"
                        ),
                    },
                )
                for guid in GUIDS
            ],
            knows_references=True,
        ),
    )
    host.serve(
        "Msvm_VirtualSystemSettingDataComponent",
        TableProvider(
            [
                Row(
                    "Msvm_VirtualSystemSettingDataComponent",
                    {
                        "GroupComponent": setting_path(
                            "Msvm_VirtualSystemSettingData", f"Microsoft:{guid}"
                        ),
                        "PartComponent": setting_path(
                            row.class_name, str(row.values["InstanceID"])
                        ),
                    },
                )
                for guid in GUIDS
                for row in _settings(guid)[1:]
            ]
        ),
    )
    _serve_windows(host)
    return host


def _serve_windows(host: SmallHost) -> None:
    host.serve(
        "Win32_OperatingSystem",
        TableProvider([Row("Win32_OperatingSystem", {"Name": "Windows", "Version": "10.0.17763"})]),
        "root/cimv2",
    )
    host.serve(
        "Win32_Process",
        TableProvider(
            [],
            {"Create": lambda _call: MethodReply(0, {"ProcessId": 7})},
        ),
        "root/cimv2",
    )
    host.serve(
        "Win32_NTLogEvent",
        TableProvider(
            [
                Row("Win32_NTLogEvent", {"Logfile": "System", "RecordNumber": number})
                for number in (1, 2)
            ]
        ),
        "root/cimv2",
    )
    host.serve(
        "Win32_Volume",
        TableProvider([Row("Win32_Volume", {"DeviceID": "\\\\?\\Volume{1}\\", "Label": "OS"})]),
        "root/cimv2",
    )


@pytest.fixture
def host() -> SmallHost:
    return build_host()


@pytest.fixture
def engine(host: SmallHost) -> CimEngine:
    return CimEngine(host, load_schema().for_release(host.release))
