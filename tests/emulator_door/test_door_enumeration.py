"""Enumerate, Pull and Release over bare sockets."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.emulator_door.doors import OpenDoor
from tests.emulator_door.raw_client import (
    CIMV2,
    ENUMERATION,
    SYSTEM,
    V2,
    A,
    N,
    RawClient,
    S,
    W,
    basic,
    enumerate_,
    envelope,
    header,
    pull,
    reference,
    release,
    selector_set,
    wql,
)

from cloudstack_hyperv.emulator.door.settings import Account, DoorSettings

OPEN = DoorSettings(basic=True, allow_unencrypted=True)
OPTIMIZE = "<w:OptimizeEnumeration/>"
SELECTOR_DIALECT = "http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter"
ASSOCIATION_DIALECT = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter"
BINDING = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"
QUERY = "SELECT * FROM Msvm_ComputerSystem"


async def test_without_optimisation_only_a_context_comes_back(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(enumerate_(SYSTEM))
    context = answer.body_child.findtext(N + "EnumerationContext")
    assert answer.text.endswith(
        f"<s:Body><n:EnumerateResponse><n:EnumerationContext>{context}</n:EnumerationContext>"
        "</n:EnumerateResponse></s:Body></s:Envelope>"
    )
    assert 'xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration" xmlns:w=' in answer.text
    assert context is not None
    for last in (False, False, True):
        answer = await client.post(pull(SYSTEM, context))
        response = answer.body_child
        items = response.find(N + "Items")
        assert items is not None
        assert len(items) == 1
        tags = [child.tag for child in response]
        expected = [N + "Items", N + "EndOfSequence"]
        assert tags == (expected if last else [N + "EnumerationContext", N + "Items"])
    assert (await client.post(pull(SYSTEM, context))).fault == (
        "n:InvalidEnumerationContext",
        2150858779,
    )


async def test_an_empty_result_is_an_empty_items_element(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door(machines=0))
    answer = await client.post(enumerate_(SYSTEM))
    context = answer.body_child.findtext(N + "EnumerationContext") or ""
    answer = await client.post(pull(SYSTEM, context))
    assert "<n:PullResponse><n:Items></n:Items><n:EndOfSequence/></n:PullResponse>" in answer.text
    answer = await client.post(enumerate_(SYSTEM, OPTIMIZE))
    assert (
        "<n:EnumerateResponse><n:EnumerationContext/><w:Items></w:Items><w:EndOfSequence/>"
        "</n:EnumerateResponse>"
    ) in answer.text


@pytest.mark.parametrize(("most", "first"), [("", 1), ("2", 2), ("3", 3), ("32000", 3)])
async def test_optimised(open_door: OpenDoor, most: str, first: int) -> None:
    client = await RawClient.connect(await open_door())
    maximum = f"<w:MaxElements>{most}</w:MaxElements>" if most else ""
    answer = await client.post(enumerate_(SYSTEM, OPTIMIZE + maximum))
    items = answer.body_child.find(W + "Items")
    assert items is not None
    assert len(items) == first
    context = answer.body_child.findtext(N + "EnumerationContext")
    if first == 3:
        assert not context
        assert answer.body_child.find(W + "EndOfSequence") is not None
        return
    assert context
    assert answer.body_child.find(W + "EndOfSequence") is None
    answer = await client.post(pull(SYSTEM, context, "<n:MaxElements>100</n:MaxElements>"))
    rest = answer.body_child.find(N + "Items")
    assert rest is not None
    assert len(rest) == 3 - first


async def test_a_batch_is_cut_where_the_envelope_would_overflow(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door(machines=100))
    small = {"MaxEnvelopeSize": header("w:MaxEnvelopeSize", "16384")}
    body = f"<n:Enumerate>{OPTIMIZE}<w:MaxElements>1000</w:MaxElements></n:Enumerate>"
    answer = await client.post(envelope(ENUMERATION + "Enumerate", SYSTEM, body, replaced=small))
    seen = 0
    while True:
        assert len(answer.body) <= 16384
        items = answer.body_child.find(W + "Items")
        if items is None:
            items = answer.body_child.find(N + "Items")
        assert items is not None
        seen += len(items)
        context = answer.body_child.findtext(N + "EnumerationContext")
        assert len(items) > 10 or not context
        if not context:
            break
        text = pull(SYSTEM, context, "<n:MaxElements>1000</n:MaxElements>")
        answer = await client.post(text.replace(">512000<", ">16384<"))
    assert seen == 100


async def test_an_item_larger_than_the_envelope_is_a_fault(open_door: OpenDoor) -> None:
    door = await open_door()
    door.host.machines.listed[1].values["Caption"] = "x" * 20_000
    client = await RawClient.connect(door)
    small = {"MaxEnvelopeSize": header("w:MaxEnvelopeSize", "16384")}
    body = f"<n:Enumerate>{OPTIMIZE}<w:MaxElements>10</w:MaxElements></n:Enumerate>"
    answer = await client.post(envelope(ENUMERATION + "Enumerate", SYSTEM, body, replaced=small))
    context = answer.body_child.findtext(N + "EnumerationContext") or ""
    text = pull(SYSTEM, context).replace(">512000<", ">16384<")
    assert (await client.post(text)).fault == ("w:EncodingLimit", 2150858824)
    assert (await client.post(pull(SYSTEM, context))).status == 200


async def test_max_characters(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door(machines=10))
    context = (await client.post(enumerate_(SYSTEM))).body_child.findtext(N + "EnumerationContext")
    limits = "<n:MaxTime>PT60S</n:MaxTime><n:MaxElements>10</n:MaxElements>"
    answer = await client.post(
        pull(SYSTEM, context or "", limits + "<n:MaxCharacters>3000</n:MaxCharacters>")
    )
    items = answer.body_child.find(N + "Items")
    assert items is not None
    assert 1 < len(items) < 5


async def test_modes(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    epr = "<w:EnumerationMode>EnumerateEPR</w:EnumerationMode>"
    items = await client.pull_all(SYSTEM, enumerate_(SYSTEM, epr))
    assert {item.tag for item in items} == {A + "EndpointReference"}
    selectors = [item.findall(f".//{W}Selector") for item in items]
    assert [[each.get("Name") for each in found] for found in selectors] == [
        ["CreationClassName", "Name"]
    ] * 3
    both = "<w:EnumerationMode>EnumerateObjectAndEPR</w:EnumerationMode>"
    items = await client.pull_all(SYSTEM, enumerate_(SYSTEM, both))
    assert [[child.tag for child in item] for item in items] == [
        ["{" + SYSTEM + "}Msvm_ComputerSystem", A + "EndpointReference"]
    ] * 3
    other = "<w:EnumerationMode>EnumerateEverything</w:EnumerationMode>"
    assert (await client.post(enumerate_(SYSTEM, other))).fault == (
        "w:UnsupportedFeature",
        2150858886,
    )


async def test_references_as_keys_travel_as_endpoint_references(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    uri = V2 + "Msvm_SettingsDefineState"
    epr = "<w:EnumerationMode>EnumerateEPR</w:EnumerationMode>"
    (item,) = await client.pull_all(uri, enumerate_(uri, epr))
    inner = item.findall(f".//{W}Selector[@Name='SettingData']/{A}EndpointReference")
    assert len(inner) == 1
    keys = "".join(
        f'<w:Selector Name="{name}"><a:EndpointReference>{reference(cls, keys)}'
        "</a:EndpointReference></w:Selector>"
        for name, cls, keys in (
            (
                "ManagedElement",
                "Msvm_ComputerSystem",
                {"CreationClassName": "Msvm_ComputerSystem", "Name": "A"},
            ),
            (
                "SettingData",
                "Msvm_ResourceAllocationSettingData",
                {"InstanceID": "Microsoft:A\\B"},
            ),
        )
    )
    text = envelope(
        "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get",
        uri,
        replaced={"SelectorSet": f"<w:SelectorSet>{keys}</w:SelectorSet>"},
    )
    assert (await client.post(text)).body_child.tag == "{" + uri + "}Msvm_SettingsDefineState"


async def test_deep_shallow_and_superclass_views(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    base = V2 + "CIM_ResourceAllocationSettingData"
    deep = await client.pull_all(base, enumerate_(base))
    assert [item.tag for item in deep] == [
        "{" + V2 + name + "}" + name
        for name in ("Msvm_ResourceAllocationSettingData", "Msvm_StorageAllocationSettingData")
    ]
    mode = "<w:PolymorphismMode>{}</w:PolymorphismMode>"
    flat = await client.pull_all(base, enumerate_(base, mode.format("ExcludeSubClassProperties")))
    assert {item.tag for item in flat} == {"{" + base + "}CIM_ResourceAllocationSettingData"}
    assert not any(item.findall("{" + base + "}IOPSLimit") for item in flat)
    assert await client.pull_all(base, enumerate_(base, mode.format("None"))) == []
    same = enumerate_(base, mode.format("IncludeSubClassProperties"))
    assert len(await client.pull_all(base, same)) == 2
    binding = f'<b:PolymorphismMode xmlns:b="{BINDING}">None</b:PolymorphismMode>'
    assert await client.pull_all(base, enumerate_(base, binding)) == []
    assert (await client.post(enumerate_(base, mode.format("Some")))).fault == (
        "w:UnsupportedFeature",
        2150859063,
    )
    assert (await client.post(wql(QUERY, inner=mode.format("None")))).fault == (
        "w:UnsupportedFeature",
        2150859063,
    )


async def test_wql(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    rows = await client.pull_all(SYSTEM, wql(QUERY + " WHERE ElementName = 'vm2'"), SYSTEM)
    assert [row.findtext("{" + SYSTEM + "}ElementName") for row in rows] == ["vm2"]
    rows = await client.pull_all(SYSTEM, wql("SELECT Name, EnabledState FROM Msvm_ComputerSystem"))
    assert [[child.tag.rpartition("}")[2] for child in row] for row in rows] == [
        ["EnabledState", "Name"]
    ] * 3
    assert rows[0].get("{http://www.w3.org/2001/XMLSchema-instance}type") == (
        "p:Msvm_ComputerSystem_Type"
    )


@pytest.mark.parametrize(
    ("query", "namespace", "inner_code"),
    [
        ("SELEKT * FROM X", "root/virtualization/v2", 0x80041017),
        ("SELECT * FROM Msvm_NoSuchClass", "root/virtualization/v2", 0x80041010),
        ("SELECT * FROM Msvm_ComputerSystem", "root/virtualization", 0x8004100E),
    ],
)
async def test_bad_wql(open_door: OpenDoor, query: str, namespace: str, inner_code: int) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(wql(query, namespace))
    assert answer.fault == ("n:CannotProcessFilter", 2150858778)
    assert answer.innermost_code == inner_code
    error = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError}error_Code"
    assert answer.xml.findtext(f".//{error}") == "2150858778"
    assert answer.xml.findtext(f"{S}Header/{A}Action", "").endswith("/enumeration/fault")


async def test_wql_wants_the_wildcard_and_no_keys(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    on_class = wql(QUERY).replace("/v2/*<", "/v2/Msvm_ComputerSystem<")
    assert (await client.post(on_class)).fault == ("a:DestinationUnreachable", 2150859003)
    with_key = wql(QUERY).replace("</s:Header>", selector_set({"Name": "x"}) + "</s:Header>")
    assert (await client.post(with_key)).fault == ("a:DestinationUnreachable", 2150859003)
    keyed = enumerate_(SYSTEM, extra=selector_set({"Name": "x"}))
    assert (await client.post(keyed)).fault == ("w:InvalidSelectors", 2150859016)
    assert (await client.post(enumerate_(V2 + "*"))).fault == (
        "n:CannotProcessFilter",
        2150858778,
    )


async def test_a_host_that_refuses_wql(open_door: OpenDoor) -> None:
    refusing = replace(OPEN, wql_refused_in=frozenset({"root/virtualization/v2"}))
    client = await RawClient.connect(await open_door(refusing))
    assert (await client.post(wql(QUERY))).fault == ("n:CannotProcessFilter", 2150858778)
    assert (await client.post(enumerate_(SYSTEM))).status == 200
    other = wql("SELECT * FROM Win32_OperatingSystem", "root/cimv2")
    assert (await client.post(other)).status == 200


async def test_selector_filter(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())

    def filtered(wanted: dict[str, str]) -> str:
        return enumerate_(
            SYSTEM, f'<w:Filter Dialect="{SELECTOR_DIALECT}">{selector_set(wanted)}</w:Filter>'
        )

    rows = await client.pull_all(SYSTEM, filtered({"elementname": "VM3", "EnabledState": "2"}))
    assert [row.findtext("{" + SYSTEM + "}ElementName") for row in rows] == ["vm3"]
    assert await client.pull_all(SYSTEM, filtered({"ElementName": "nobody"})) == []
    for bad in ({"Color": "red"}, {"EnabledState": "on"}):
        answer = await client.post(filtered(bad))
        assert answer.fault == ("n:CannotProcessFilter", 2150858778)


async def test_association_filter(open_door: OpenDoor) -> None:
    door = await open_door()
    row = door.host.provider("", "Msvm_SettingsDefineState")
    assert row is not None
    client = await RawClient.connect(door)

    def walk(kind: str, inner: str) -> str:
        source = reference(
            "Msvm_ResourceAllocationSettingData",
            {"InstanceID": "Microsoft:Msvm_ResourceAllocationSettingData\\0"},
        )
        return enumerate_(
            V2 + "*",
            f'<w:Filter Dialect="{ASSOCIATION_DIALECT}"><b:{kind} xmlns:b="{BINDING}">'
            f"<b:Object>{source}</b:Object>{inner}</b:{kind}></w:Filter>",
        )

    nothing = await client.pull_all(
        SYSTEM,
        walk(
            "AssociatedInstances",
            "<b:AssociationClassName>Msvm_SettingsDefineState</b:AssociationClassName>"
            "<b:ResultClassName>Msvm_ComputerSystem</b:ResultClassName>",
        ),
    )
    assert nothing == []
    assert await client.pull_all(SYSTEM, walk("AssociationInstances", "")) == []
    for text in (
        walk("Other", ""),
        walk("AssociatedInstances", "<b:Color>red</b:Color>"),
        walk("AssociationInstances", "<b:AssociationClassName>X</b:AssociationClassName>"),
    ):
        assert (await client.post(text)).fault == ("n:CannotProcessFilter", 2150858778)
    on_class = walk("AssociatedInstances", "").replace("/v2/*<", "/v2/Msvm_ComputerSystem<")
    assert (await client.post(on_class)).fault == ("n:CannotProcessFilter", 2150858778)


@pytest.mark.parametrize(
    ("inner", "fault"),
    [
        (
            '<w:Filter Dialect="http://www.w3.org/TR/1999/REC-xpath-19991116">/</w:Filter>',
            ("n:FilterDialectRequestedUnavailable", 2150858777),
        ),
        ("<w:Filter>x</w:Filter>", ("n:FilterDialectRequestedUnavailable", 2150858777)),
        ("<n:Filter>x</n:Filter>", ("n:FilteringNotSupported", 2150858776)),
        ("<n:Expires>PT10M</n:Expires>", ("w:UnsupportedFeature", 2150858775)),
        ("<n:EndTo/>", ("w:UnsupportedFeature", 2150858818)),
        ("<w:Unknown/>", ("w:SchemaValidationError", 2150858817)),
        ("<w:MaxElements>0</w:MaxElements>", ("w:SchemaValidationError", 2150858817)),
        ("<w:MaxElements>x</w:MaxElements>", ("w:SchemaValidationError", 2150858817)),
        ("<w:MaxElements>32001</w:MaxElements>", ("w:UnsupportedFeature", 2150859037)),
        (OPTIMIZE * 2, ("w:SchemaValidationError", 2150858817)),
    ],
)
async def test_refused_enumerations(
    open_door: OpenDoor, inner: str, fault: tuple[str, int]
) -> None:
    client = await RawClient.connect(await open_door())
    assert (await client.post(enumerate_(SYSTEM, inner))).fault == fault


async def test_release(open_door: OpenDoor) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    context = (await client.post(enumerate_(SYSTEM))).body_child.findtext(N + "EnumerationContext")
    assert door.server.service.open_enumerations == 1
    answer = await client.post(release(SYSTEM, context or ""))
    assert answer.text.endswith("<s:Body></s:Body></s:Envelope>")
    assert door.server.service.open_enumerations == 0
    invalid = ("n:InvalidEnumerationContext", 2150858779)
    assert (await client.post(release(SYSTEM, context or ""))).fault == invalid
    assert (await client.post(pull(SYSTEM, context or ""))).fault == invalid


async def test_an_idle_context_dies(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door(replace(OPEN, enumeration_timeout_ms=200)))
    context = (await client.post(enumerate_(SYSTEM))).body_child.findtext(N + "EnumerationContext")
    for _ in range(2):
        await asyncio.sleep(0.12)
        assert (await client.post(pull(SYSTEM, context or ""))).status == 200
    await asyncio.sleep(0.3)
    assert (await client.post(pull(SYSTEM, context or ""))).fault == (
        "n:InvalidEnumerationContext",
        2150858779,
    )


async def test_a_context_is_its_owners_only(open_door: OpenDoor) -> None:
    door = await open_door(accounts=[Account("a", "p"), Account("b", "p")])
    client = await RawClient.connect(door)
    client.authorization = basic("a", "p")
    context = (await client.post(enumerate_(SYSTEM))).body_child.findtext(N + "EnumerationContext")
    other = await RawClient.connect(door)
    other.authorization = basic("b", "p")
    assert (await other.post(pull(SYSTEM, context or ""))).fault[1] == 2150858779
    another = await RawClient.connect(door)
    another.authorization = basic("A", "p")
    assert (await another.post(pull(SYSTEM, context or ""))).status == 200


async def test_count_estimate(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    wants = "<w:RequestTotalItemsCountEstimate/>"
    answer = await client.post(enumerate_(SYSTEM, extra=wants))
    estimate = answer.xml.findtext(f"{S}Header/{W}TotalItemsCountEstimate")
    assert estimate == "3"
    assert "TotalItemsCountEstimate" not in (await client.post(enumerate_(SYSTEM))).text


async def test_rows_are_those_of_the_moment_of_enumerate(open_door: OpenDoor) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    volume = CIMV2 + "Win32_Volume"
    context = (await client.post(enumerate_(volume))).body_child.findtext(N + "EnumerationContext")
    door.host.volumes.listed.clear()
    answer = await client.post(pull(volume, context or ""))
    items = answer.body_child.find(N + "Items")
    assert items is not None
    assert len(items) == 1
