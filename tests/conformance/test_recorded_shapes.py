"""Answers of the profile client-11 have the shape of the answers that real hosts gave.

`recorded_shapes/` writes down, element by element, what public recordings of a Japanese Windows 11
client show (names and order of elements, which are nil, datetimes, references), with the values
that do not belong to the recorded machine.  The requests were not recorded: they are
reconstructed, and marked so.  NULL arrays show as elements that are not there.
"""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.wire import SERVICE, V2, A, N, RawClient, W, connect, value
from tests.emulation import Emulation
from tests.emulator_door.raw_client import enumerate_, invoke, pull, reference

SHAPES = sorted((Path(__file__).parent / "recorded_shapes").glob("*.json"))
XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
CIM = "{http://schemas.dmtf.org/wbem/wscim/1/common}"
SNAPSHOTS = V2 + "Msvm_VirtualSystemSnapshotService"


def content_of(element: ET.Element) -> str:
    if element.get(XSI + "nil") == "true":
        assert not len(element)
        return "nil"
    children = [child.tag for child in element]
    if children == [CIM + "Datetime"]:
        assert (element[0].text or "").endswith("Z")
        return "datetime"
    if children == [A + "Address", A + "ReferenceParameters"]:
        assert [child.tag for child in element[1]] == [W + "ResourceURI", W + "SelectorSet"]
        return "reference"
    assert not children
    return "value"


def shape_of(row: ET.Element) -> list[tuple[str, str]]:
    return [(element.tag.partition("}")[2], content_of(element)) for element in row]


async def finished(client: RawClient, text: str) -> str:
    """Post a method call, wait for its job; returns the job's id ("" when there was none)."""
    answer = await client.post(text)
    assert answer.status == 200, answer.text
    uri = answer.body_child.tag[1:].partition("}")[0]
    code = answer.body_child.findtext(f"{{{uri}}}ReturnValue")
    if code == "0":
        return ""
    assert code == "4096", answer.text
    job = answer.body_child.findtext(f".//{W}Selector[@Name='InstanceID']") or ""
    async with asyncio.timeout(20):
        while True:
            rows = await client.pull_all(
                V2 + "Msvm_ConcreteJob", enumerate_(V2 + "Msvm_ConcreteJob")
            )
            (row,) = [row for row in rows if value(row, "InstanceID") == job]
            if int(value(row, "JobState") or 0) > 4:
                assert value(row, "JobState") == "7"
                return job
            await asyncio.sleep(0.02)


async def populated(client: RawClient) -> dict[str, str]:
    """Make two machines, start one and give it a card, checkpoint the other."""
    ids = {}
    for name in ("off", "running"):
        text = (
            '&lt;INSTANCE CLASSNAME="Msvm_VirtualSystemSettingData">&lt;PROPERTY '
            f'NAME="ElementName" TYPE="string">&lt;VALUE>{name}&lt;/VALUE>&lt;/PROPERTY>'
            "&lt;/INSTANCE>"
        )
        key = {"CreationClassName": "Msvm_VirtualSystemManagementService"}
        inner = f"<q:SystemSettings>{text}</q:SystemSettings>"
        await finished(client, invoke(SERVICE, "DefineSystem", inner, key))
    for row in await client.pull_all(
        V2 + "Msvm_ComputerSystem", enumerate_(V2 + "Msvm_ComputerSystem")
    ):
        ids[value(row, "ElementName") or ""] = value(row, "Name") or ""
    settings = reference(
        "Msvm_VirtualSystemSettingData", {"InstanceID": f"Microsoft:{ids['running']}"}
    )
    card = (
        '&lt;INSTANCE CLASSNAME="Msvm_SyntheticEthernetPortSettingData">&lt;PROPERTY '
        'NAME="ResourceSubType" TYPE="string">&lt;VALUE>Microsoft:Hyper-V:Synthetic Ethernet Port'
        "&lt;/VALUE>&lt;/PROPERTY>&lt;/INSTANCE>"
    )
    inner = (
        f"<q:AffectedConfiguration>{settings}</q:AffectedConfiguration>"
        f"<q:ResourceSettings>{card}</q:ResourceSettings>"
    )
    key = {"CreationClassName": "Msvm_VirtualSystemManagementService"}
    await finished(client, invoke(SERVICE, "AddResourceSettings", inner, key))
    system = V2 + "Msvm_ComputerSystem"
    key = {"CreationClassName": "Msvm_ComputerSystem", "Name": ids["running"]}
    inner = "<q:RequestedState>2</q:RequestedState>"
    await finished(client, invoke(system, "RequestStateChange", inner, key))
    return ids


async def row_like(client: RawClient, shape: dict[str, Any]) -> ET.Element:
    """Return the row of the emulated host that stands for the recorded one."""
    ids = await populated(client)
    wanted = {"ElementName": ""}
    if shape["row"].startswith("a checkpoint"):
        machine = reference(
            "Msvm_ComputerSystem",
            {"CreationClassName": "Msvm_ComputerSystem", "Name": ids["running"]},
        )
        inner = f"<q:AffectedSystem>{machine}</q:AffectedSystem><q:SnapshotType>2</q:SnapshotType>"
        key = {"CreationClassName": "Msvm_VirtualSystemSnapshotService"}
        job = await finished(client, invoke(SNAPSHOTS, "CreateSnapshot", inner, key))
        rows = await client.pull_all(shape["request"]["resource"], enumerate_(V2 + shape["class"]))
        (found,) = [
            row
            for row in rows
            if job in ET.tostring(row, encoding="unicode") and value(row, "ElementEffects") == "5"
        ]
        return found
    if shape["class"] == "Msvm_ComputerSystem":
        name = {"the host itself": "HYPERV1", "a running machine": "running"}.get(shape["row"])
        wanted = {"ElementName": name or "off"}
    elif shape["class"] == "Msvm_VirtualEthernetSwitch":
        wanted = {"ElementName": "External"}
    else:
        wanted = {}
    rows = await client.pull_all(shape["request"]["resource"], enumerate_(V2 + shape["class"]))
    matching = [
        row for row in rows if all(value(row, name) == text for name, text in wanted.items())
    ]
    return matching[0]


@pytest.mark.parametrize("file", SHAPES, ids=lambda file: file.stem)
async def test_a_row_has_the_recorded_shape(file: Path, client_host: Emulation) -> None:
    shape = json.loads(file.read_text(encoding="utf-8"))
    assert shape["request"]["reconstructed"] is True
    client = await connect(client_host.port)
    row = await row_like(client, shape)
    assert row.tag == f"{{{V2}{shape['class']}}}{shape['class']}"
    assert row.get(XSI + "type") == f"p:{shape['class']}_Type"
    assert shape_of(row) == [(each["name"], each["content"]) for each in shape["elements"]]
    values = {
        name: (row.findtext(f"{{{V2}{shape['class']}}}{name}") or "").strip()
        or row.findtext(f"{{{V2}{shape['class']}}}{name}/{CIM}Datetime")
        for name in shape["known_values"]
    }
    assert values == shape["known_values"]


async def test_the_envelopes_around_the_rows(client_host: Emulation) -> None:
    """One item a Pull; the last with EndOfSequence and without a context; no white space."""
    client = await connect(client_host.port)
    system = V2 + "Msvm_ComputerSystem"
    answer = await client.post(enumerate_(system))
    assert answer.text.startswith(
        '<s:Envelope xml:lang="ja-JP" xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:n="http://schemas.xmlsoap.org/ws/2004/09/enumeration" '
        'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"'
    )
    header = answer.xml[0]
    assert [child.tag for child in header] == [
        A + "Action",
        A + "MessageID",
        A + "To",
        A + "RelatesTo",
    ]
    assert [child.tag for child in answer.body_child] == [N + "EnumerationContext"]
    context = answer.body_child.findtext(N + "EnumerationContext") or ""
    assert context.startswith("uuid:")
    answer = await client.post(pull(system, context))
    assert [child.tag for child in answer.body_child] == [N + "Items", N + "EndOfSequence"]
    assert ">\n" not in answer.text
    assert "> <" not in answer.text
