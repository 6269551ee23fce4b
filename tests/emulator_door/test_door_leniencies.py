"""Each leniency of the table: granted by default, refused by a host that enforces the rule."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from tests.emulator_door.doors import OpenDoor
from tests.emulator_door.raw_client import (
    CIMV2,
    SERVICE,
    SERVICE_KEY,
    SYSTEM,
    V2,
    N,
    RawClient,
    enumerate_,
    envelope,
    get,
    invoke,
    machine_key,
    pull,
    reference,
)

from cloudstack_hyperv.emulator.door.leniencies import LENIENCIES, Leniencies
from cloudstack_hyperv.emulator.door.settings import DoorSettings

FULL_KEY = SERVICE_KEY | {
    "Name": "vmms",
    "SystemCreationClassName": "Msvm_ComputerSystem",
    "SystemName": "HV1",
}
PING = invoke(SERVICE, "Ping", "", FULL_KEY)


async def posted(client: RawClient, text: str) -> bool:
    """Whether the request is served and, for a method, returns 0."""
    answer = await client.post(text)
    if answer.status != 200:
        return False
    return answer.body_child.findtext("{" + SERVICE + "}ReturnValue", "0") == "0"


def settings_call(text: str, parameter: str = "ResourceSettings") -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    inner = f"<q:{parameter}>{escaped}</q:{parameter}>"
    return invoke(SERVICE, "AddResourceSettings", inner, FULL_KEY)


def with_reference(inside: str) -> str:
    parameter = f"<q:AffectedConfiguration>{inside}</q:AffectedConfiguration>"
    row = '&lt;INSTANCE CLASSNAME="Msvm_ResourceAllocationSettingData"/>'
    return invoke(
        SERVICE,
        "AddResourceSettings",
        f"{parameter}<q:ResourceSettings>{row}</q:ResourceSettings>",
        FULL_KEY,
    )


async def _pull_elsewhere(client: RawClient) -> bool:
    answer = await client.post(enumerate_(SYSTEM))
    context = answer.body_child.findtext(N + "EnumerationContext") or ""
    return await posted(client, pull(SERVICE, context))


async def _pull_with_foreign_element(client: RawClient) -> bool:
    answer = await client.post(enumerate_(SYSTEM))
    context = answer.body_child.findtext(N + "EnumerationContext") or ""
    text = pull(SYSTEM, context, "<w:MaxElements>100</w:MaxElements>")
    return await posted(client, text)


async def _without_content_type(client: RawClient) -> bool:
    return (await client.post(PING, content_type="")).status == 200


INSIDE = reference("Msvm_ResourceAllocationSettingData", {"InstanceID": "A"})
CIM_WITH_CASE = (
    '<INSTANCE CLASSNAME="Msvm_ResourceAllocationSettingData">'
    '<PROPERTY NAME="AutomaticAllocation" TYPE="boolean"><VALUE>TRUE</VALUE></PROPERTY></INSTANCE>'
)
CASES: dict[str, list[str | Callable[[RawClient], Awaitable[bool]]]] = {
    "input-element-namespace": [PING.replace(f'xmlns:q="{SERVICE}"', 'xmlns:q="urn:other"')],
    "input-body-absent": [envelope(f"{SERVICE}/Ping", SERVICE, "", FULL_KEY)],
    "cimnamespace-selector": [
        get(SYSTEM, machine_key(1) | {"__cimnamespace": "Root\\Virtualization\\V2"}),
        with_reference(
            reference(
                "Msvm_ResourceAllocationSettingData",
                {"InstanceID": "A", "__cimnamespace": "root/virtualization/v2"},
            )
        ),
    ],
    "uri-letter-case": [
        get(SYSTEM.replace("/virtualization/", "/Virtualization/"), machine_key(1)),
        get(SYSTEM.replace("Msvm_ComputerSystem", "msvm_computersystem"), machine_key(1)),
    ],
    "partial-service-key": [invoke(SERVICE, "Ping", "", SERVICE_KEY)],
    "singleton-without-key": [get(CIMV2 + "Win32_OperatingSystem")],
    "pull-names-other-resource": [_pull_elsewhere],
    "pull-foreign-elements": [_pull_with_foreign_element],
    "content-type-absent": [_without_content_type],
    "boolean-letter-case": [
        invoke(SERVICE, "Echo", "<q:Flag>False</q:Flag>", FULL_KEY),
        settings_call(CIM_WITH_CASE),
    ],
    "embedded-declaration": [
        settings_call(
            '<?xml version="1.0"?>\n<INSTANCE CLASSNAME="Msvm_ResourceAllocationSettingData"/>'
        ),
        settings_call('\n <INSTANCE CLASSNAME="Msvm_ResourceAllocationSettingData"/>'),
    ],
    "embedded-superclass-name": [
        invoke(
            SERVICE,
            "AddStorage",
            '<q:Storage>&lt;INSTANCE CLASSNAME="CIM_ResourceAllocationSettingData"/></q:Storage>',
            FULL_KEY,
        )
    ],
    "reference-address": [
        with_reference(
            INSIDE.replace(
                "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous",
                "http://hv1:5985/wsman",
            )
        )
    ],
    "octet-string-as-numbers": [
        invoke(SERVICE, "Echo", "<q:Octets>0</q:Octets><q:Octets>255</q:Octets>", FULL_KEY)
    ],
    "datetime-forms": [invoke(SERVICE, "Echo", "<q:When>2025-01-02T03:04:05Z</q:When>", FULL_KEY)],
}


def test_every_leniency_has_a_case_and_a_source() -> None:
    assert CASES.keys() == LENIENCIES.keys()
    for each in LENIENCIES.values():
        assert len(each.what) > 20
        assert len(each.source) > 20


@pytest.mark.parametrize("name", sorted(CASES))
async def test_granted_by_default_and_refused_when_enforced(open_door: OpenDoor, name: str) -> None:
    ordinary = DoorSettings(basic=True, allow_unencrypted=True)
    for settings, expected in (
        (ordinary, True),
        (replace(ordinary, enforced=frozenset({name})), False),
    ):
        client = await RawClient.connect(await open_door(settings))
        for case in CASES[name]:
            served = await (posted(client, case) if isinstance(case, str) else case(client))
            assert served is expected, case
        assert await posted(client, PING)
        assert await posted(client, with_reference(INSIDE))


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="no such leniency: be-nice"):
        Leniencies(["be-nice"])
    with pytest.raises(KeyError):
        Leniencies().grants("be-nice")


async def test_strict_where_no_leniency_is(open_door: OpenDoor) -> None:
    """The neighbours of the leniencies stay refused."""
    client = await RawClient.connect(await open_door())
    other_namespace = envelope(
        f"{SERVICE}/Echo",
        SERVICE,
        f'<q:Echo_INPUT xmlns:q="{SERVICE}"><x:Text xmlns:x="{V2}Other">a</x:Text></q:Echo_INPUT>',
        FULL_KEY,
    )
    assert not await posted(client, other_namespace)
    two = get(SYSTEM, {"__cimnamespace": "root/cimv2"} | machine_key(1))
    assert not await posted(client, two)
    change = "<q:RequestedState>3</q:RequestedState>"
    partial = {"CreationClassName": "Msvm_ComputerSystem"}
    assert not await posted(client, invoke(SYSTEM, "RequestStateChange", change, partial))
    assert not await posted(
        client, settings_call('x<INSTANCE CLASSNAME="Msvm_ResourceAllocationSettingData"/>')
    )
    assert not await posted(client, settings_call('<INSTANCE CLASSNAME="Msvm_ComputerSystem"/>'))
