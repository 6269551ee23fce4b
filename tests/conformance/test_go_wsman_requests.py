"""go-wsman's requests, and what its author saw a Windows 11 host answer to them.

Reconstructed from the client's source and from the notes in it about a real host: embedded
instances as CDATA without a declaration, two of a service's four keys, whole keys for machines;
and the forms it had to give up because the host refused them.
"""

from __future__ import annotations

import asyncio

import pytest
from tests.conformance.wire import SERVICE, SYSTEM, V2, N, RawClient, W, connect, value
from tests.emulation import Emulation
from tests.emulator_door.raw_client import enumerate_, get, invoke, reference

KEYS = {
    "CreationClassName": "Msvm_VirtualSystemManagementService",
    "SystemCreationClassName": "Msvm_ComputerSystem",
}
IMAGES = V2 + "Msvm_ImageManagementService"
WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
WMI_INVALID_METHOD_PARAMETERS = 0x8004102F


def instance(class_name: str, inner: str) -> str:
    return f'<![CDATA[<INSTANCE CLASSNAME="{class_name}">{inner}</INSTANCE>]]>'


def scalar(name: str, kind: str, text: str) -> str:
    return f'<PROPERTY NAME="{name}" TYPE="{kind}"><VALUE>{text}</VALUE></PROPERTY>'


NAMED = instance("Msvm_VirtualSystemSettingData", scalar("ElementName", "string", "tf"))


async def code_of(client: RawClient, text: str) -> int:
    """Return the ReturnValue of a method, or a failed job's ErrorCode."""
    answer = await client.post(text)
    assert answer.status == 200, answer.text
    uri = answer.body_child.tag[1:].partition("}")[0]
    code = int(answer.body_child.findtext(f"{{{uri}}}ReturnValue") or -1)
    if code != 4096:
        return code
    name = answer.body_child.findtext(f"{{{uri}}}Job//{W}Selector[@Name='InstanceID']") or ""
    async with asyncio.timeout(20):
        while True:
            job = await client.post(get(V2 + "Msvm_ConcreteJob", {"InstanceID": name}))
            assert job.status == 200, job.text
            if int(value(job.body_child, "JobState") or 0) > 4:
                return int(value(job.body_child, "ErrorCode") or 0)
            await asyncio.sleep(0.02)


async def define(client: RawClient) -> str:
    inner = f"<q:SystemSettings>{NAMED}</q:SystemSettings>"
    assert await code_of(client, invoke(SERVICE, "DefineSystem", inner, KEYS)) == 0
    rows = await client.pull_all(SYSTEM, enumerate_(SYSTEM))
    # It takes the first row for a machine.
    assert value(rows[0], "ElementName") == "tf"
    return value(rows[0], "Name") or ""


def modified(class_name: str, inner: str, method: str = "ModifyResourceSettings") -> str:
    parameter = "SystemSettings" if method == "ModifySystemSettings" else "ResourceSettings"
    text = f"<q:{parameter}>{instance(class_name, inner)}</q:{parameter}>"
    return invoke(SERVICE, method, text, KEYS)


async def test_a_machine_is_defined_read_changed_and_destroyed(client_host: Emulation) -> None:
    client = await connect(client_host.port)
    guid = await define(client)
    key = {"CreationClassName": "Msvm_ComputerSystem", "Name": guid}
    assert value((await client.post(get(SYSTEM, key))).body_child, "ElementName") == "tf"
    memory_id = f"Microsoft:{guid}\\4764334D-E001-4176-82EE-5594EC9B530E"
    change = scalar("InstanceID", "string", memory_id) + scalar("Weight", "uint32", "6000")
    assert await code_of(client, modified("Msvm_MemorySettingData", change)) == 0
    row = await client.post(get(V2 + "Msvm_MemorySettingData", {"InstanceID": memory_id}))
    assert value(row.body_child, "Weight") == "6000"
    # DestroySystem's reference with half a key was accepted once; the whole one always is.
    inner = f"<q:AffectedSystem>{reference('Msvm_ComputerSystem', key)}</q:AffectedSystem>"
    assert await code_of(client, invoke(SERVICE, "DestroySystem", inner, KEYS)) == 0
    assert (await client.post(get(SYSTEM, key))).fault[0] == "a:DestinationUnreachable"


async def test_forms_that_the_host_refused(client_host: Emulation) -> None:
    client = await connect(client_host.port)
    guid = await define(client)
    filtered = f'<w:Filter Dialect="{WQL}">SELECT * FROM Msvm_ComputerSystem</w:Filter>'  # noqa: S608
    assert (await client.post(enumerate_(SYSTEM, filtered))).fault[1] == 2150859003
    by_name = await client.post(get(SYSTEM, {"Name": guid}))
    assert by_name.fault[0] == "a:DestinationUnreachable"
    elements = (
        f'<q:SystemSettings><e:Msvm_VirtualSystemSettingData xmlns:e="{V2}x"><e:ElementName>a'
        "</e:ElementName></e:Msvm_VirtualSystemSettingData></q:SystemSettings>"
    )
    answer = await client.post(invoke(SERVICE, "DefineSystem", elements, KEYS))
    assert answer.fault[0] == "w:SchemaValidationError"
    key = {"CreationClassName": "Msvm_ComputerSystem", "Name": guid}
    wrapped = (
        "<q:AffectedSystem><a:EndpointReference>"
        f"{reference('Msvm_ComputerSystem', key)}</a:EndpointReference></q:AffectedSystem>"
    )
    answer = await client.post(invoke(SERVICE, "DestroySystem", wrapped, KEYS))
    assert answer.fault[0] == "w:SchemaValidationError"
    inner = f"<q:SystemSettings>{NAMED}</q:SystemSettings>"
    answer = await client.post(invoke(SERVICE, "DefineSystem", inner))
    assert answer.innermost_code == WMI_INVALID_METHOD_PARAMETERS
    inner = r"<q:Path>C:\none.vhdx</q:Path>"
    answer = await client.post(invoke(IMAGES, "GetVirtualHardDiskSettingData", inner))
    assert answer.fault[0] == "w:InternalError"


@pytest.mark.parametrize(
    ("class_name", "inner", "code"),
    [
        ("Msvm_MemorySettingData", scalar("Weight", "string", "1"), 32768),
        ("Msvm_MemorySettingData", scalar("NoSuch", "uint32", "1"), 32773),
        ("Msvm_MemorySettingData", scalar("HostResource", "string", "x"), 32773),
    ],
)
async def test_mistyped_settings_are_refused_by_code(
    client_host: Emulation, class_name: str, inner: str, code: int
) -> None:
    client = await connect(client_host.port)
    guid = await define(client)
    memory_id = f"Microsoft:{guid}\\4764334D-E001-4176-82EE-5594EC9B530E"
    change = scalar("InstanceID", "string", memory_id) + inner
    assert await code_of(client, modified(class_name, change)) == code


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        ("datetime", "00000000000045.000000:000", 0),
        ("datetime", "PT45S", 32768),
        ("string", "00000000000045.000000:000", 32768),
    ],
)
async def test_an_interval_is_written_as_cim_writes_it(
    client_host: Emulation, kind: str, text: str, code: int
) -> None:
    client = await connect(client_host.port)
    guid = await define(client)
    change = scalar("InstanceID", "string", f"Microsoft:{guid}") + scalar(
        "AutomaticStartupActionDelay", kind, text
    )
    call = modified("Msvm_VirtualSystemSettingData", change, "ModifySystemSettings")
    assert await code_of(client, call) == code
    row = await client.post(
        get(V2 + "Msvm_VirtualSystemSettingData", {"InstanceID": f"Microsoft:{guid}"})
    )
    shown = "P0DT0H0M45S" if code == 0 else "P0DT0H0M0S"
    interval = "{http://schemas.dmtf.org/wbem/wscim/1/common}Interval"
    delay = f"{{{V2}Msvm_VirtualSystemSettingData}}AutomaticStartupActionDelay"
    assert row.body_child.findtext(f"{delay}/{interval}") == shown


async def test_a_job_s_key_is_a_bare_guid(client_host: Emulation) -> None:
    client = await connect(client_host.port)
    guid = await define(client)
    key = {"CreationClassName": "Msvm_ComputerSystem", "Name": guid}
    inner = (
        f"<q:AffectedSystem>{reference('Msvm_ComputerSystem', key)}</q:AffectedSystem>"
        "<q:SnapshotType>2</q:SnapshotType>"
    )
    service = V2 + "Msvm_VirtualSystemSnapshotService"
    assert (
        await code_of(
            client,
            invoke(
                service,
                "CreateSnapshot",
                inner,
                {"CreationClassName": "Msvm_VirtualSystemSnapshotService"},
            ),
        )
        == 0
    )
    answer = await client.post(enumerate_(V2 + "Msvm_ConcreteJob"))
    assert answer.body_child.find(N + "EnumerationContext") is not None
    rows = await client.pull_all(V2 + "Msvm_ConcreteJob", enumerate_(V2 + "Msvm_ConcreteJob"))
    for row in rows:
        assert len(value(row, "InstanceID") or "") == 36
        states = [each.text for each in row if each.tag.endswith("}OperationalStatus")]
        assert states == ["17", "2"]
