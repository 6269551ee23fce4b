"""The CIM engine on a small host: addressing, checks on both sides, methods, interceptors."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.errors import (
    ArgumentFault,
    ProviderBug,
    SelectorFault,
    SelectorProblem,
)
from cloudstack_hyperv.emulator.cim.operations import Operation, OperationKind
from cloudstack_hyperv.emulator.cim.provider import (
    BadEmbedded,
    Caller,
    CimFault,
    MethodCall,
    MethodReply,
    Row,
    UnusableInstance,
    Value,
    WmiCode,
)

V2 = "root/virtualization/v2"
CIMV2 = "root/cimv2"
GUID = "11111111-2222-3333-4444-555555555555"
CALLER = Caller("HV01\\Administrator")
MACHINE = {"CreationClassName": "Msvm_ComputerSystem", "Name": GUID}
SERVICE = "Msvm_VirtualSystemManagementService"


def ids(rows: list[Row]) -> list[Value]:
    return [row.values["InstanceID"] for row in rows]


# -- reading ------------------------------------------------------------------------------------


async def test_get_takes_the_whole_key_in_any_letter_case(engine: CimEngine) -> None:
    row = await engine.get(
        "Root\\Virtualization\\V2",
        "msvm_computersystem",
        {"NAME": GUID.lower(), "creationclassname": "msvm_computerSYSTEM"},
    )
    assert row.values["ElementName"] == "web01"


@pytest.mark.parametrize(
    ("selectors", "problem"),
    [
        ({"Name": GUID}, SelectorProblem.INCOMPLETE),
        ({"Name": GUID, "Color": "blue"}, SelectorProblem.UNKNOWN_NAME),
        ({**MACHINE, "ElementName": "web01"}, SelectorProblem.UNKNOWN_NAME),
        ({**MACHINE, "name": GUID}, SelectorProblem.UNKNOWN_NAME),
        ({}, SelectorProblem.AMBIGUOUS),
    ],
)
async def test_get_refuses_selectors_that_are_not_the_key(
    engine: CimEngine, selectors: dict[str, str], problem: SelectorProblem
) -> None:
    with pytest.raises(SelectorFault) as caught:
        await engine.get(V2, "Msvm_ComputerSystem", selectors)
    assert caught.value.problem is problem


async def test_get_without_selectors_reads_the_only_instance(engine: CimEngine) -> None:
    row = await engine.get(CIMV2, "Win32_OperatingSystem", {})
    assert row.values["Version"] == "10.0.17763"


async def test_numeric_keys_are_read_as_numbers(engine: CimEngine) -> None:
    row = await engine.get(CIMV2, "Win32_NTLogEvent", {"Logfile": "system", "RecordNumber": "02"})
    assert row.values["RecordNumber"] == 2
    with pytest.raises(SelectorFault) as caught:
        await engine.get(CIMV2, "Win32_NTLogEvent", {"Logfile": "x", "RecordNumber": "-1"})
    assert caught.value.problem is SelectorProblem.BAD_VALUE


@pytest.mark.parametrize(
    ("namespace", "class_name", "code"),
    [
        ("root/nowhere", "Msvm_ComputerSystem", WmiCode.INVALID_NAMESPACE),
        ("root/mscluster", "MSCluster_Node", WmiCode.INVALID_NAMESPACE),
        (V2, "Msvm_Unheard", WmiCode.INVALID_CLASS),
        (CIMV2, "Msvm_ComputerSystem", WmiCode.INVALID_CLASS),
    ],
)
async def test_unknown_namespaces_and_classes(
    engine: CimEngine, namespace: str, class_name: str, code: int
) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.instances(namespace, class_name)
    assert caught.value.code == code


async def test_an_instance_that_is_not_there(engine: CimEngine) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.get(V2, "Msvm_ComputerSystem", {**MACHINE, "Name": "other"})
    assert caught.value.code == WmiCode.NOT_FOUND


async def test_a_class_that_nobody_serves_is_empty(engine: CimEngine) -> None:
    assert await engine.instances(V2, "Msvm_ReplicationService") == []


async def test_enumeration_is_deep_and_the_class_itself_comes_first(engine: CimEngine) -> None:
    rows = await engine.instances(V2, "CIM_ResourceAllocationSettingData")
    classes = [row.class_name for row in rows]
    assert set(classes) == {
        "Msvm_ResourceAllocationSettingData",
        "Msvm_StorageAllocationSettingData",
        "Msvm_SerialPortSettingData",
    }
    assert classes == sorted(classes, key=classes.index)  # classes do not mix
    own = await engine.instances(V2, "Msvm_ResourceAllocationSettingData")
    assert {row.class_name for row in own} == {"Msvm_ResourceAllocationSettingData"}


async def test_an_instance_is_found_through_a_superclass(engine: CimEngine) -> None:
    wanted = {"InstanceID": f"Microsoft:{GUID}\\COM1"}
    row = await engine.get(V2, "CIM_ResourceAllocationSettingData", wanted)
    assert row.class_name == "Msvm_SerialPortSettingData"
    with pytest.raises(CimFault) as caught:
        await engine.get(V2, "Msvm_ResourceAllocationSettingData", wanted)
    assert caught.value.code == WmiCode.NOT_FOUND


async def test_select_by_compares_any_property(engine: CimEngine) -> None:
    rows = await engine.select_by(
        V2, "Msvm_ComputerSystem", {"EnabledState": "2", "caption": "virtual MACHINE"}
    )
    assert [row.values["ElementName"] for row in rows] == ["web01", "i-2-10-VM"]
    with pytest.raises(SelectorFault) as caught:
        await engine.select_by(V2, "Msvm_ComputerSystem", {"EnabledState": "on"})
    assert caught.value.problem is SelectorProblem.BAD_VALUE
    with pytest.raises(SelectorFault) as caught:
        await engine.select_by(V2, "Msvm_ComputerSystem", {"OperationalStatus": "2"})
    assert caught.value.problem is SelectorProblem.UNKNOWN_NAME


async def test_select_by_reads_datetimes_as_cim_writes_them(engine: CimEngine) -> None:
    wanted = {"InstallDate": "20251201105500.000000+060"}
    rows = await engine.select_by(V2, "Msvm_ComputerSystem", wanted)
    assert [row.values["ElementName"] for row in rows] == ["web01"]
    with pytest.raises(SelectorFault):
        await engine.select_by(V2, "Msvm_ComputerSystem", {"InstallDate": "yesterday"})


def test_paths_are_written_as_wmi_writes_them(engine: CimEngine) -> None:
    row = Row(
        SERVICE,
        {
            "SystemName": "HV01",
            "SystemCreationClassName": "Msvm_ComputerSystem",
            "Name": "vmms",
            "CreationClassName": SERVICE,
        },
    )
    assert str(engine.path_of(V2, row)) == (
        "\\\\HV01\\root\\virtualization\\v2:Msvm_VirtualSystemManagementService."
        'CreationClassName="Msvm_VirtualSystemManagementService",Name="vmms",'
        'SystemCreationClassName="Msvm_ComputerSystem",SystemName="HV01"'
    )
    with pytest.raises(ProviderBug):
        engine.path_of(V2, Row("Msvm_Unheard", {}))


# -- what providers may not do ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"Colour": "blue"}, "Colour: no such property"),
        ({"elementname": "x"}, "elementname: no such property"),
        ({"EnabledState": 70000}, "70000 is no uint16"),
        ({"EnabledState": True}, "True is no uint16"),
        ({"EnabledState": "2"}, "'2' is no uint16"),
        ({"OperationalStatus": 2}, "2 is no array"),
        ({"OperationalStatus": [2, None]}, "None is no uint16"),
        ({"ElementName": ["x"]}, "is no string"),
        ({"InstallDate": datetime(2025, 1, 1)}, "no point in time with a zone"),  # noqa: DTZ001
        ({"InstallDate": timedelta(1)}, "no point in time"),
        ({"Name": None}, "key Name is NULL"),
    ],
)
async def test_a_row_that_does_not_fit_its_class_is_a_bug(
    engine: CimEngine, host: Any, change: dict[str, Value], problem: str
) -> None:
    host.providers[V2, "Msvm_ComputerSystem"].table[0].values.update(change)
    with pytest.raises(ProviderBug) as caught:
        await engine.instances(V2, "Msvm_ComputerSystem")
    assert problem in str(caught.value)


async def test_a_property_of_a_later_release_is_a_bug(engine: CimEngine, host: Any) -> None:
    row = host.providers[V2, "Msvm_ResourceAllocationSettingData"].table[0]
    row.values["TargetVtl"] = 0  # build 25398 and later; the host is a 2019
    with pytest.raises(ProviderBug, match="TargetVtl"):
        await engine.instances(V2, "Msvm_ResourceAllocationSettingData")


async def test_a_row_of_another_class_is_a_bug(engine: CimEngine, host: Any) -> None:
    provider = host.providers[V2, "Msvm_ComputerSystem"]
    provider.rows = lambda _name: [Row("Msvm_DiskDrive", {})]
    with pytest.raises(ProviderBug, match="among those of Msvm_ComputerSystem"):
        await engine.instances(V2, "Msvm_ComputerSystem")


async def test_a_reference_to_an_unknown_class_is_a_bug(engine: CimEngine, host: Any) -> None:
    row = host.providers[V2, "Msvm_SettingsDefineState"].table[0]
    row.values["SettingData"] = ObjectPath.of("Msvm_Unheard", InstanceID="x")
    with pytest.raises(ProviderBug, match="unknown class Msvm_Unheard"):
        await engine.instances(V2, "Msvm_SettingsDefineState")


async def test_a_reference_with_half_a_key_is_a_bug(engine: CimEngine, host: Any) -> None:
    row = host.providers[V2, "Msvm_SettingsDefineState"].table[0]
    row.values["ManagedElement"] = ObjectPath.of("Msvm_ComputerSystem", Name=GUID)
    with pytest.raises(ProviderBug, match="another key than CreationClassName, Name"):
        await engine.instances(V2, "Msvm_SettingsDefineState")


async def test_a_client_may_send_a_reference_with_half_a_key(engine: CimEngine) -> None:
    partial = ObjectPath.of("Msvm_ComputerSystem", Name=GUID)  # go-wsman does to DestroySystem
    key = {"CreationClassName": SERVICE}
    reply = await engine.invoke(
        V2, SERVICE, key, "DestroySystem", {"AffectedSystem": partial}, CALLER
    )
    assert reply.return_value == 32770  # the small host does not model it


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (MethodReply(None), "ReturnValue None"),
        (MethodReply(-1), "-1 is no uint32"),
        (MethodReply(0, {"Work": 1}), "no out parameter Work"),
        (MethodReply(0, {"job": None}), "no out parameter job"),
        (MethodReply(0, {"RequestedState": 2}), "no out parameter RequestedState"),
        (MethodReply(0, {"Job": "JOB"}), "'JOB' is no object path"),
    ],
)
async def test_a_reply_that_does_not_fit_the_method_is_a_bug(
    engine: CimEngine, host: Any, reply: MethodReply, problem: str
) -> None:
    host.providers[V2, "Msvm_ComputerSystem"].methods["RequestStateChange"] = lambda _: reply
    with pytest.raises(ProviderBug) as caught:
        await engine.invoke(
            V2, "Msvm_ComputerSystem", MACHINE, "RequestStateChange", {"RequestedState": 2}, CALLER
        )
    assert problem in str(caught.value)


async def test_embedded_objects_of_a_reply_are_checked_too(engine: CimEngine, host: Any) -> None:
    service = host.providers[V2, SERVICE]
    rows = [Row("Msvm_SummaryInformation", {"EnabledState": 2, "Name": GUID})]
    service.methods["GetSummaryInformation"] = lambda _: MethodReply(
        0, {"SummaryInformation": rows}
    )
    key = {"CreationClassName": SERVICE}
    reply = await engine.invoke(V2, SERVICE, key, "GetSummaryInformation", {}, CALLER)
    assert reply.out["SummaryInformation"] is rows
    rows[0].values["EnabledState"] = "on"
    with pytest.raises(ProviderBug, match="EnabledState"):
        await engine.invoke(V2, SERVICE, key, "GetSummaryInformation", {}, CALLER)
    rows[0] = Row("Msvm_ComputerSystem", {})
    with pytest.raises(ProviderBug, match="is no Msvm_SummaryInformation"):
        await engine.invoke(V2, SERVICE, key, "GetSummaryInformation", {}, CALLER)


# -- methods ------------------------------------------------------------------------------------


async def test_invoke_gives_the_provider_a_checked_call(engine: CimEngine, host: Any) -> None:
    calls: list[MethodCall] = []

    def note(call: MethodCall) -> MethodReply:
        calls.append(call)
        return MethodReply(0)

    host.providers[V2, "Msvm_ComputerSystem"].methods["RequestStateChange"] = note
    await engine.invoke(
        "ROOT/virtualization/V2",
        "msvm_computersystem",
        MACHINE,
        "requestSTATEchange",
        {"requestedSTATE": 2},
        CALLER,
    )
    (call,) = calls
    assert (call.namespace, call.class_name, call.method) == (
        V2,
        "Msvm_ComputerSystem",
        "RequestStateChange",
    )
    assert call.arguments == {"RequestedState": 2}
    assert call.target is not None
    assert call.target.values["ElementName"] == "web01"
    assert call.caller is CALLER


@pytest.mark.parametrize(
    "selectors",
    [
        {"CreationClassName": SERVICE},  # libvirt
        {"CreationClassName": SERVICE, "SystemCreationClassName": "Msvm_ComputerSystem"},
        {"creationclassname": SERVICE.upper(), "systemname": "hv01"},
    ],
)
async def test_a_singleton_service_takes_a_part_of_its_key(
    engine: CimEngine, selectors: dict[str, str]
) -> None:
    settings = ObjectPath.of("Msvm_VirtualSystemSettingData", InstanceID=f"Microsoft:{GUID}")
    reply = await engine.invoke(
        V2,
        SERVICE,
        selectors,
        "AddResourceSettings",
        {
            "AffectedConfiguration": settings,
            "ResourceSettings": [
                Row("Msvm_ResourceAllocationSettingData", {"ResourceType": 31}),
                UnusableInstance(BadEmbedded.SYNTAX, "cut off"),
            ],
        },
        CALLER,
    )
    assert reply.return_value == 4096


async def test_other_instances_need_their_whole_key_for_methods(engine: CimEngine) -> None:
    with pytest.raises(SelectorFault) as caught:
        await engine.invoke(
            V2, "Msvm_ComputerSystem", {"Name": GUID}, "RequestStateChange", {}, CALLER
        )
    assert caught.value.problem is SelectorProblem.INCOMPLETE


@pytest.mark.parametrize(
    ("class_name", "method", "code"),
    [
        (SERVICE, "DestroySystem", WmiCode.INVALID_METHOD_PARAMETERS),
        ("Msvm_ImageManagementService", "CreateVirtualHardDisk", WmiCode.FAILED),
        (SERVICE, "Explode", WmiCode.INVALID_METHOD),
    ],
)
async def test_a_method_without_selectors(
    engine: CimEngine, class_name: str, method: str, code: int
) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.invoke(V2, class_name, {}, method, {}, CALLER)
    assert caught.value.code == code


async def test_a_wrong_part_of_a_singletons_key_finds_nothing(engine: CimEngine) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.invoke(V2, SERVICE, {"SystemName": "OTHER"}, "DestroySystem", {}, CALLER)
    assert caught.value.code == WmiCode.NOT_FOUND


async def test_static_methods_need_no_instance(engine: CimEngine) -> None:
    reply = await engine.invoke(
        CIMV2, "Win32_Process", {}, "Create", {"CommandLine": "cmd.exe"}, CALLER
    )
    assert (reply.return_value, reply.out) == (0, {"ProcessId": 7})


@pytest.mark.parametrize(
    ("arguments", "name", "problem"),
    [
        ({"Colour": "blue"}, "Colour", "no such in parameter"),
        ({"Job": None}, "Job", "no such in parameter"),
        ({"RequestedState": "2"}, "RequestedState", "is no uint16"),
        ({"RequestedState": 70000}, "RequestedState", "is no uint16"),
        ({"RequestedState": [2]}, "RequestedState", "is no uint16"),
        ({"RequestedState": 2, "requestedstate": 3}, "requestedstate", "given twice"),
        ({"TimeoutPeriod": "PT1S"}, "TimeoutPeriod", "is no point in time"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(
    engine: CimEngine, arguments: dict[str, Value], name: str, problem: str
) -> None:
    with pytest.raises(ArgumentFault) as caught:
        await engine.invoke(
            V2, "Msvm_ComputerSystem", MACHINE, "RequestStateChange", arguments, CALLER
        )
    assert caught.value.name == name
    assert problem in caught.value.problem


async def test_a_required_reference_must_be_there(engine: CimEngine) -> None:
    with pytest.raises(CimFault, match="AddResourceSettings needs AffectedConfiguration") as caught:
        await engine.invoke(
            V2, SERVICE, {"CreationClassName": SERVICE}, "AddResourceSettings", {}, CALLER
        )
    assert caught.value.code == WmiCode.INVALID_METHOD_PARAMETERS


async def test_a_method_nobody_serves_is_refused(engine: CimEngine) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.invoke(CIMV2, "Win32_Service", {}, "Create", {"Name": "x"}, CALLER)
    assert caught.value.code == WmiCode.NOT_SUPPORTED


# -- changing instances ---------------------------------------------------------------------------


async def test_put_changes_what_is_sent_and_nothing_else(engine: CimEngine) -> None:
    key = {"DeviceID": "\\\\?\\Volume{1}\\"}
    changed = await engine.put(
        CIMV2, "Win32_Volume", key, {"label": "DATA", "DeviceID": "\\\\?\\VOLUME{1}\\"}, CALLER
    )
    assert changed.values == {"DeviceID": "\\\\?\\Volume{1}\\", "Label": "DATA"}
    with pytest.raises(ArgumentFault, match="a key cannot be changed"):
        await engine.put(CIMV2, "Win32_Volume", key, {"DeviceID": "other"}, CALLER)
    with pytest.raises(ArgumentFault, match="no such property"):
        await engine.put(CIMV2, "Win32_Volume", key, {"Lable": "x"}, CALLER)
    with pytest.raises(ArgumentFault, match="is no string"):
        await engine.put(CIMV2, "Win32_Volume", key, {"Label": 1}, CALLER)


async def test_create_and_delete_go_to_the_provider(engine: CimEngine) -> None:
    with pytest.raises(CimFault) as caught:
        await engine.create(CIMV2, Row("Win32_Volume", {"Label": "x"}), CALLER)
    assert caught.value.code == WmiCode.NOT_SUPPORTED
    with pytest.raises(ArgumentFault):
        await engine.create(CIMV2, Row("Win32_Volume", {"Label": 5}), CALLER)
    await engine.delete(CIMV2, "Win32_Volume", {"DeviceID": "\\\\?\\Volume{1}\\"}, CALLER)
    assert await engine.instances(CIMV2, "Win32_Volume") == []


# -- interceptors ---------------------------------------------------------------------------


class Recorder:
    """Notes what it sees; answers or raises what it is told to."""

    def __init__(self, answer: MethodReply | Exception | None = None) -> None:
        self.answer = answer
        self.seen: list[tuple[str, Operation, object]] = []

    async def before(self, operation: Operation) -> MethodReply | None:
        self.seen.append(("before", operation, None))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def after(
        self, operation: Operation, result: object, error: BaseException | None
    ) -> None:
        self.seen.append(("after", operation, error or result))


async def test_interceptors_see_every_operation_and_how_it_ended(engine: CimEngine) -> None:
    recorder = Recorder()
    engine.interceptors.append(recorder)
    await engine.invoke(
        V2, "Msvm_ComputerSystem", MACHINE, "RequestStateChange", {"RequestedState": 2}, CALLER
    )
    with pytest.raises(CimFault):
        await engine.query(V2, "SELECT")
    (_, invoked, _), (_, _, reply), (_, asked, _), (_, _, error) = recorder.seen
    assert (invoked.kind, invoked.class_name, invoked.method, invoked.selectors) == (
        OperationKind.INVOKE,
        "Msvm_ComputerSystem",
        "RequestStateChange",
        MACHINE,
    )
    assert reply == MethodReply(0)
    assert (asked.kind, asked.query) == (OperationKind.QUERY, "SELECT")
    assert isinstance(error, CimFault)


async def test_an_interceptor_can_refuse(engine: CimEngine) -> None:
    first, second = Recorder(CimFault(WmiCode.ACCESS_DENIED)), Recorder()
    engine.interceptors += [first, second]
    with pytest.raises(CimFault) as caught:
        await engine.instances(V2, "Msvm_ComputerSystem")
    assert caught.value.code == WmiCode.ACCESS_DENIED
    assert [when for when, _, _ in first.seen] == ["before", "after"]
    assert second.seen == []


async def test_an_interceptor_can_answer_in_the_providers_place(
    engine: CimEngine, host: Any
) -> None:
    engine.interceptors.append(Recorder(MethodReply(32775)))
    host.providers[V2, "Msvm_ComputerSystem"].methods.clear()
    reply = await engine.invoke(
        V2, "Msvm_ComputerSystem", MACHINE, "RequestStateChange", {"RequestedState": 2}, CALLER
    )
    assert reply == MethodReply(32775)
    with pytest.raises(ProviderBug, match="an interceptor answered Enumerate"):
        await engine.instances(V2, "Msvm_ComputerSystem")


async def test_an_interceptors_answer_is_checked(engine: CimEngine) -> None:
    engine.interceptors.append(Recorder(MethodReply(0, {"Work": 1})))
    with pytest.raises(ProviderBug, match="no out parameter Work"):
        await engine.invoke(V2, "Msvm_ComputerSystem", MACHINE, "RequestStateChange", {}, CALLER)
