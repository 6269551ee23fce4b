"""Invoke over bare sockets: addressing, parameters, answers, refusals, timeouts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.emulator_door.doors import OpenDoor
from tests.emulator_door.raw_client import (
    CIMV2,
    SERVICE,
    SERVICE_KEY,
    SYSTEM,
    V2,
    RawClient,
    envelope,
    header,
    invoke,
    machine_key,
    reference,
)

from cloudstack_hyperv.emulator.door.settings import DoorSettings

OPEN = DoorSettings(basic=True, allow_unencrypted=True)
CIM = 'xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common"'


async def test_an_answer_byte_for_byte(open_door: OpenDoor) -> None:
    """Out parameters in declaration order, ReturnValue last, NULL as nil."""
    client = await RawClient.connect(await open_door())
    change = invoke(
        SYSTEM, "RequestStateChange", "<q:RequestedState>3</q:RequestedState>", machine_key(1)
    )
    head = (
        '<s:Body><p:RequestStateChange_OUTPUT xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        f' xmlns:p="{SYSTEM}" {CIM}>'
    )
    answer = await client.post(change)
    job = reference("Msvm_ConcreteJob", {"InstanceID": "JOB-1"})
    assert (
        f'{head}<p:Job xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        f'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd">{job}</p:Job>'
        "<p:ReturnValue>4096</p:ReturnValue></p:RequestStateChange_OUTPUT></s:Body></s:Envelope>"
    ) in answer.text
    assert f"<a:Action>{SYSTEM}/RequestStateChangeResponse</a:Action>" in answer.text
    answer = await client.post(change)
    assert (
        f'{head}<p:Job xsi:nil="true"/><p:ReturnValue>32775</p:ReturnValue>'
        "</p:RequestStateChange_OUTPUT></s:Body></s:Envelope>"
    ) in answer.text


async def test_typed_parameters_there_and_back(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    parameters = (
        "<q:Text> a &amp; b </q:Text><q:Numbers>1</q:Numbers><q:Numbers> 4294967295 </q:Numbers>"
        f"<q:Flag>true</q:Flag><q:When><cim:Datetime {CIM}>2025-01-02T03:04:05.5Z</cim:Datetime>"
        "</q:When><q:Octets>AP8=</q:Octets>"
    )
    answer = await client.post(invoke(SERVICE, "Echo", parameters, SERVICE_KEY))
    assert (
        "<p:EchoedText> a &amp; b </p:EchoedText><p:EchoedNumbers>1</p:EchoedNumbers>"
        "<p:EchoedNumbers>4294967295</p:EchoedNumbers><p:EchoedFlag>true</p:EchoedFlag>"
        "<p:EchoedWhen><cim:Datetime>2025-01-02T03:04:05.5Z</cim:Datetime></p:EchoedWhen>"
        "<p:EchoedOctets>AP8=</p:EchoedOctets><p:ReturnValue>0</p:ReturnValue>"
    ) in answer.text


async def test_absent_and_nil_parameters_are_null(open_door: OpenDoor) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    nil = '<q:Text xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:nil="true"/>'
    answer = await client.post(invoke(SERVICE, "Echo", nil, SERVICE_KEY))
    assert (
        '<p:EchoedText xsi:nil="true"/><p:EchoedFlag xsi:nil="true"/>'
        '<p:EchoedWhen xsi:nil="true"/><p:EchoedOctets xsi:nil="true"/>'
        "<p:ReturnValue>0</p:ReturnValue>"
    ).replace('<p:EchoedOctets xsi:nil="true"/>', "") in answer.text
    assert dict(door.host.service.seen[-1].arguments) == {}
    await client.post(invoke(SERVICE, "Echo", "<q:Text></q:Text>", SERVICE_KEY))
    assert dict(door.host.service.seen[-1].arguments) == {"Text": ""}


async def test_void_and_static_methods(open_door: OpenDoor) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    answer = await client.post(invoke(SERVICE, "Reset", "", SERVICE_KEY))
    assert answer.status == 200
    assert "ReturnValue" not in answer.text
    process = CIMV2 + "Win32_Process"
    startup = (
        f'<q:ProcessStartupInformation><s1:ShowWindow xmlns:s1="{CIMV2}Win32_ProcessStartup">0'
        "</s1:ShowWindow></q:ProcessStartupInformation>"
    )
    answer = await client.post(
        invoke(process, "Create", f"<q:CommandLine>cmd /c md x</q:CommandLine>{startup}")
    )
    assert "<p:ProcessId>4711</p:ProcessId><p:ReturnValue>0</p:ReturnValue>" in answer.text
    call = door.host.processes.calls[-1]
    assert repr(call.arguments["ProcessStartupInformation"]) == (
        "Row(Win32_ProcessStartup, {'ShowWindow': Uint16(0)})"
    )


async def test_references_and_their_caller(open_door: OpenDoor) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    inside = reference(
        "Msvm_ResourceAllocationSettingData",
        {"InstanceID": "Microsoft:A\\B", "__cimnamespace": "Root\\Virtualization\\V2"},
    )
    parameters = f"<q:SettingData>{inside}</q:SettingData>" * 2
    answer = await client.post(invoke(SERVICE, "GetSummaryInformation", parameters, SERVICE_KEY))
    assert answer.status == 200
    call = door.host.service.seen[-1]
    paths = call.arguments["SettingData"]
    assert isinstance(paths, list)
    assert str(paths[1]) == (
        'root\\virtualization\\v2:Msvm_ResourceAllocationSettingData.InstanceID="Microsoft:A\\\\B"'
    )
    assert (call.caller.user, call.caller.mechanism) == ("Administrator", "basic")
    assert call.target is not None
    assert call.target.values["Name"] == "vmms"


ADD = "AddResourceSettings"
KEY = {"InstanceID": "Microsoft:A"}
INSIDE = reference("Msvm_ResourceAllocationSettingData", KEY)
WRAPPED = f"<a:EndpointReference>{INSIDE}</a:EndpointReference>"


@pytest.mark.parametrize(
    ("method", "parameters", "fault"),
    [
        ("NoSuchMethod", "", ("a:ActionNotSupported", 2150858771)),
        ("Echo", "<q:Color>red</q:Color>", ("w:InvalidParameter", 2150858837)),
        ("Echo", "<q:text>x</q:text>", ("w:InvalidParameter", 2150858837)),
        ("Echo", "<q:EchoedText>x</q:EchoedText>", ("w:InvalidParameter", 2150858837)),
        ("Echo", "<q:Numbers>x</q:Numbers>", ("w:InvalidParameter", 2150858836)),
        ("Echo", "<q:Numbers>4294967296</q:Numbers>", ("w:InvalidParameter", 2150858836)),
        ("Echo", "<q:Flag>yes</q:Flag>", ("w:InvalidParameter", 2150858836)),
        ("Echo", "<q:When>tomorrow</q:When>", ("w:InvalidParameter", 2150858836)),
        ("Echo", "<q:Octets>***</q:Octets>", ("w:InvalidParameter", 2150858836)),
        ("Echo", "<q:Text>a</q:Text><q:Text>b</q:Text>", ("w:SchemaValidationError", 2150858817)),
        ("Echo", "<q:Text><q:b/></q:Text>", ("w:SchemaValidationError", 2150858817)),
        ("Echo", "<a:Text>x</a:Text>", ("w:SchemaValidationError", 2150858817)),
        ("Echo", "<Text>x</Text>", ("w:SchemaValidationError", 2150858817)),
        ("Echo", "stray<q:Text>x</q:Text>", ("w:SchemaValidationError", 2150858817)),
        (
            ADD,
            f"<q:AffectedConfiguration>{WRAPPED}</q:AffectedConfiguration>",
            ("w:SchemaValidationError", 2150858817),
        ),
        (
            ADD,
            "<q:AffectedConfiguration>root/virtualization/v2:X.Y=1</q:AffectedConfiguration>",
            ("w:SchemaValidationError", 2150858817),
        ),
        (
            ADD,
            "<q:ResourceSettings><q:Msvm_ResourceAllocationSettingData/></q:ResourceSettings>",
            ("w:SchemaValidationError", 2150858817),
        ),
    ],
)
async def test_refused_calls(
    open_door: OpenDoor, method: str, parameters: str, fault: tuple[str, int]
) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    answer = await client.post(invoke(SERVICE, method, parameters, SERVICE_KEY))
    assert answer.fault == fault
    assert door.host.service.seen == []


async def test_a_missing_required_parameter(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(invoke(SERVICE, "NeedsText", "", SERVICE_KEY))
    assert answer.fault[0] == "w:InternalError"
    assert answer.innermost_code == 0x8004102F


async def test_addressing_of_methods(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    full = {
        "CreationClassName": "Msvm_VirtualSystemManagementService",
        "Name": "VMMS",
        "SystemCreationClassName": "Msvm_ComputerSystem",
        "SystemName": "hv1",
    }
    for count in (1, 2, 3, 4):
        keys = dict(list(full.items())[:count])
        assert (await client.post(invoke(SERVICE, "Ping", "", keys))).status == 200
    wrong = full | {"SystemName": "OTHER"}
    assert (await client.post(invoke(SERVICE, "Ping", "", wrong))).fault == (
        "a:DestinationUnreachable",
        2150858752,
    )
    nothing = await client.post(invoke(SERVICE, "Ping"))
    assert nothing.innermost_code == 0x8004102F
    unknown = await client.post(invoke(SERVICE, "Ping", "", {"Color": "red"}))
    assert unknown.fault == ("w:InvalidSelectors", 2150858843)
    change = "<q:RequestedState>3</q:RequestedState>"
    partial = {"Name": machine_key(1)["Name"]}
    assert (await client.post(invoke(SYSTEM, "RequestStateChange", change, partial))).fault == (
        "w:InvalidSelectors",
        2150858842,
    )


async def test_the_input_element_must_be_the_methods(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    text = invoke(SERVICE, "Ping", "", SERVICE_KEY)
    other = text.replace("Ping_INPUT", "Pong_INPUT")
    assert (await client.post(other)).fault == ("w:SchemaValidationError", 2150858817)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (0x80041001, ("w:InternalError", 0x80041001)),
        (0x80041002, ("a:DestinationUnreachable", 2150858752)),
        (0x80041003, ("w:AccessDenied", 2150859013)),
        (0x80041008, ("w:InvalidParameter", 2150859038)),
        (0x80070005, ("w:AccessDenied", 5)),
        (0x80070057, ("w:InvalidParameter", 2150859038)),
        (0x800706BA, ("w:InternalError", 0x800706BA)),
        (0x80041024, ("a:ActionNotSupported", 2150859010)),
    ],
)
async def test_what_a_provider_throws(
    open_door: OpenDoor, code: int, fault: tuple[str, int]
) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(invoke(SERVICE, "Throw", f"<q:Code>{code}</q:Code>", SERVICE_KEY))
    assert answer.fault == fault
    assert answer.innermost_code == code
    assert "<p:Description>thrown on purpose</p:Description>" in answer.text


async def test_a_crash_of_a_provider_is_a_provider_failure(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(invoke(SERVICE, "Crash", "", SERVICE_KEY))
    assert answer.innermost_code == 0x80041004
    assert "a bug in a provider" not in answer.text
    assert "a bug in a provider" in caplog.text
    assert (await client.post(invoke(SERVICE, "Ping", "", SERVICE_KEY))).status == 200


async def test_timed_out_but_the_work_goes_on(open_door: OpenDoor) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    text = invoke(SERVICE, "Sleep", "<q:Seconds>0.4</q:Seconds>", SERVICE_KEY)
    answer = await client.post(text.replace("PT60S", "PT0.1S"))
    assert answer.fault == ("w:TimedOut", 2150858793)
    assert door.host.service.slept == 0
    await asyncio.sleep(0.5)
    assert door.host.service.slept == 1


async def test_a_timeout_above_the_hosts_is_cut(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door(replace(OPEN, max_timeout_ms=100)))
    text = invoke(SERVICE, "Sleep", "<q:Seconds>5</q:Seconds>", SERVICE_KEY)
    assert (await client.post(text)).fault == ("w:TimedOut", 2150858793)


async def test_too_many_operations_of_one_user(open_door: OpenDoor) -> None:
    door = await open_door(replace(OPEN, max_concurrent_operations_per_user=2))
    slow = invoke(SERVICE, "Sleep", "<q:Seconds>0.3</q:Seconds>", SERVICE_KEY)
    clients = [await RawClient.connect(door) for _ in range(3)]
    tasks = [asyncio.create_task(client.post(slow)) for client in clients[:2]]
    await asyncio.sleep(0.1)
    refused = await clients[2].post(slow)
    assert refused.fault == ("w:QuotaLimit", 2150858815)
    assert [(await task).status for task in tasks] == [200, 200]
    assert (await clients[2].post(slow)).status == 200


@pytest.mark.parametrize(
    ("asked", "size", "fault"),
    [
        ("16384", 20_000, ("w:EncodingLimit", 2150858824)),
        ("512000", 520_000, ("w:EncodingLimit", 2150858825)),
        ("99999999", 520_000, ("w:EncodingLimit", 2150858825)),
    ],
)
async def test_an_answer_larger_than_the_envelope(
    open_door: OpenDoor, asked: str, size: int, fault: tuple[str, int]
) -> None:
    client = await RawClient.connect(await open_door())
    body = f'<q:Produce_INPUT xmlns:q="{SERVICE}"><q:Size>{size}</q:Size></q:Produce_INPUT>'
    limit = {"MaxEnvelopeSize": header("w:MaxEnvelopeSize", asked)}
    text = envelope(f"{SERVICE}/Produce", SERVICE, body, SERVICE_KEY, replaced=limit)
    assert (await client.post(text)).fault == fault


async def test_the_namespace_in_any_letter_case(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    shouted = SERVICE.replace("root/virtualization/v2", "ROOT/Virtualization/V2")
    answer = await client.post(invoke(shouted, "Ping", "", SERVICE_KEY))
    assert answer.body_child.tag == "{" + SERVICE + "}Ping_OUTPUT"
    lowered = SYSTEM.lower()
    change = "<q:RequestedState>3</q:RequestedState>"
    answer = await client.post(invoke(lowered, "RequestStateChange", change, machine_key(1)))
    assert answer.body_child.findtext("{" + SYSTEM + "}ReturnValue") == "4096"
    assert V2 in answer.text
