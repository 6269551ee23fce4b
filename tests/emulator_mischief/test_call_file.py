"""The file of calls: what it tells, what it hides."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator_mischief.conftest import Scene

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import (
    BadEmbedded,
    Caller,
    Row,
    UnusableInstance,
    Value,
)
from cloudstack_hyperv.emulator.door.calls import Call, CallRecord
from cloudstack_hyperv.emulator.mischief.call_file import CallFile, call_as_json

SECRET = "hunter2-Ünïque"


def call(text: str = "", arguments: dict[str, Value] | None = None) -> Call:
    return Call(
        7,
        "Invoke",
        "root/virtualization/v2",
        "C",
        "M",
        {"Name": "x"},
        Caller("u"),
        text,
        arguments or {},
    )


async def test_every_call_is_a_line(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    with CallFile(file) as calls:
        scene.emulation.server.calls.listen(calls.write)
        scene.mischief.add("lost-before@*.CreateVirtualHardDisk")
        guid = await scene.vm("shown")
        await scene.client.machine(guid)
        with pytest.raises(Exception, match="Connection"):
            await scene.client.create_disk(r"C:\pool\disk.vhdx")
        await scene.client.names()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["operation"], line["method"], line["result"]) for line in lines] == [
        ("Invoke", "DefineSystem", "ReturnValue 0"),
        ("Get", "", "ok"),
        ("Invoke", "CreateVirtualHardDisk", "connection dropped"),
        ("Enumerate", "", "ok 1"),
    ]
    assert [line["number"] for line in lines] == [1, 2, 3, 4]
    define, get, create, query = lines
    assert define["arguments"]["SystemSettings"]["ElementName"] == "shown"
    assert get["selectors"]["Name"] == guid
    settings = create["arguments"]["VirtualDiskSettingData"]
    assert settings["Path"] == r"C:\pool\disk.vhdx"
    assert settings["MaxInternalSize"] == 2**26
    assert query["filter"].startswith("SELECT * FROM Msvm_ComputerSystem")
    assert all(line["ms"] >= 0 and datetime.fromisoformat(line["when"]) for line in lines)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "arguments",
    [
        {"CommandLine": f"cmd /c net user x {SECRET}"},
        {"DataItems": [Row("Msvm_KvpExchangeDataItem", {"Name": "k", "Data": SECRET})]},
        {"SystemSettings": Row("S", {"Notes": [SECRET]})},
        {"KeyProtector": SECRET.encode()},
        {"Settings": UnusableInstance(BadEmbedded.SYNTAX, SECRET)},
        {"AuthenticationToken": SECRET},
    ],
)
def test_secrets_among_arguments(arguments: dict[str, Value]) -> None:
    text = json.dumps(call_as_json(call(arguments=arguments)), ensure_ascii=False)
    assert SECRET not in text
    assert "***" in text


@pytest.mark.parametrize("mark", ["'", '"'])
def test_secrets_in_queries(mark: str) -> None:
    text = f"SELECT * FROM X WHERE Name = {mark}n{mark} AND UserPassword= {mark}{SECRET}{mark}"  # noqa: S608 - WQL of a test
    shown = call_as_json(call(text))["filter"]
    assert SECRET not in shown
    assert f"Name = {mark}n{mark}" in shown


@given(st.text(max_size=60), st.sampled_from(["Data", "Notes", "Password", "Keys", "Text"]))
def test_no_text_under_another_name_is_shown(text: str, name: str) -> None:
    shown = call_as_json(call(arguments={name: text}))["arguments"]
    assert shown == {name: f"*** ({len(text)})"}


def test_what_is_shown_survives_json(tmp_path: Path) -> None:
    values: dict[str, Value] = {
        "Path": "C:\\ö\n]]>\u202e",
        "Target": ObjectPath.of("Msvm_ComputerSystem", Name="n"),
        "Number": 2**63,
        "Flag": True,
        "When": datetime(2026, 1, 5, tzinfo=UTC),
        "HostResource": ["a", "b"],
        "Nothing": None,
    }
    with CallFile(tmp_path / "f") as file:
        file.write(CallRecord(call(arguments=values), datetime(2026, 1, 5, tzinfo=UTC), "ok", 0.5))
    (line,) = (tmp_path / "f").read_text().splitlines()
    shown = json.loads(line)["arguments"]
    assert shown["Path"] == values["Path"]
    assert shown["Target"].endswith('Msvm_ComputerSystem.Name="n"')
    assert shown["Number"] == 2**63
    assert shown["HostResource"] == ["a", "b"]
