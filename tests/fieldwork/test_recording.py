"""A recording names nobody: not the host, its users, its network, its folders, its machines."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from tests.emulation import PASSWORD, USER, Emulation, running_emulation
from tests.fieldwork.recorded import LOGIN, endpoint_of, files_of, record
from tests.fieldwork.stage import NAMES, part

from cloudstack_hyperv.emulator.host import SwitchPlan
from cloudstack_hyperv.emulator.host.config import PhysicalNic
from cloudstack_hyperv.fieldwork.recording.disguise import Disguise
from cloudstack_hyperv.fieldwork.recording.file import (
    Exchange,
    FolderMade,
    Header,
    IsoMade,
    Recording,
    RecordingError,
    Verdict,
    read_recording,
    write_recording,
)
from cloudstack_hyperv.fieldwork.recording.pseudonyms import Role
from cloudstack_hyperv.fieldwork.recording.recorder import Recorder
from cloudstack_hyperv.fieldwork.releases import profile_of_build
from cloudstack_hyperv.fieldwork.selftest.expectations import Findings
from cloudstack_hyperv.fieldwork.selftest.programme import Scenario
from cloudstack_hyperv.fieldwork.selftest.run import play, survey
from cloudstack_hyperv.fieldwork.selftest.stage import Stage
from cloudstack_hyperv.hypervisor.errors import translated
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.hypervisor.machines import MANAGEMENT_SERVICE
from cloudstack_hyperv.hypervisor.settings_data import guest_data_item
from cloudstack_hyperv.wsman import EmbeddedInstance, WsmanClient

BASE = r"C:\Users\plantedperson\Planted & Sons\disks"
PLANTED = {
    "host": "PLANTEDHOST",
    "domain": "planted-domain",
    "folder": "planted &",
    "folder, escaped": "planted &amp;",
    "person": "plantedperson",
    "switch": "Planted Switch",
    "machine": "planted-machine",
    "notes": "planted notes",
    "value": "planted-value",
    "address": "198.51.100.77",
    "mac": "00155DBADBAD",
    "user": USER,
    "password": PASSWORD,
}


async def plant(stage: Stage, _: Findings) -> None:
    """Make and read what a site might have: a machine of somebody's, with notes."""
    client = stage.client
    settings = EmbeddedInstance(
        "Msvm_VirtualSystemSettingData",
        {"ElementName": PLANTED["machine"], "Notes": [PLANTED["notes"]]},
    )
    result = await call(
        client, MANAGEMENT_SERVICE, "DefineSystem", {"SystemSettings": settings}, what="plant"
    )
    machine = result.out.path("ResultingSystem")
    assert machine is not None
    items = [guest_data_item("key", PLANTED["value"])]
    await call(
        client,
        MANAGEMENT_SERVICE,
        "AddKvpItems",
        {"TargetSystem": machine, "DataItems": items},
        what="plant",
    )
    with translated("read"):
        for class_name in (
            "Msvm_ComputerSystem",
            "Msvm_VirtualSystemSettingData",
            "Msvm_KvpExchangeComponentSettingData",
            "Msvm_ExternalEthernetPort",
            "Msvm_ConcreteJob",
        ):
            await client.enumerate(class_name)
        await client.enumerate("Win32_ComputerSystemProduct", namespace="root/cimv2")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Once for all tests: they only look at it."""
    return asyncio.run(record_planted(tmp_path_factory.mktemp("planted")))


async def record_planted(folder: Path) -> Recording:
    async with running_emulation(
        folder,
        name=PLANTED["host"],
        domain=f"{PLANTED['domain']}.example",
        disk_folder=BASE,
        nics=(PhysicalNic(address=PLANTED["address"], mac=PLANTED["mac"]),),
        switches=(SwitchPlan(PLANTED["switch"]),),
    ) as host:
        programme = (
            *part("identity", "inventory", "disks", "switch", "gen1", "media"),
            Scenario("plant", "", plant),
        )
        return await record(host, programme, BASE)


def test_no_name_and_no_secret_is_in_the_file(planted: Recording, tmp_path: Path) -> None:
    file = tmp_path / "recording.jsonl"
    write_recording(file, planted)
    assert file.stat().st_mode & 0o077 == 0
    content = file.read_text(encoding="utf-8")
    for what, text in PLANTED.items():
        assert text.lower() not in content.lower(), what
        assert json.dumps(text)[1:-1].lower() not in content.lower(), what
    assert "00-15-5D-BA-DB-AD" not in content
    assert "00:15:5d:ba:db:ad" not in content.lower()


def test_made_up_names_stand_where_the_real_ones_stood(planted: Recording) -> None:
    assert planted.header.host == "HOST1"
    assert planted.header.joined
    assert planted.header.folder == rf"C:\folder1\{NAMES.name}"
    assert (planted.header.build, planted.header.profile) == (17763, "2019")
    assert planted.header.product_version.startswith("OS: 10.0.17763")
    made = [entry.path for entry in planted.entries if isinstance(entry, FolderMade | IsoMade)]
    assert made == [planted.header.folder, rf"{planted.header.folder}\empty.iso"]
    texts = [text for each in planted.exchanges for text in (each.request, each.answer)]
    whole = "".join(texts)
    assert r"\\HOST1\root\virtualization\v2:Msvm_ComputerSystem" in whole
    assert rf">{planted.header.folder}\base.vhdx<" in whole, "plain, in a parameter"
    assert rf"&gt;{planted.header.folder}\root1.vhdx&lt;" in whole, "inside CIM-XML"
    assert "<p:DNSHostName>HOST1</p:DNSHostName>" in whole
    assert "<p:Domain>domain1.example</p:Domain>" in whole
    assert f"<p:ElementName>{NAMES.machine('gen1')}</p:ElementName>" in whole, "ours stays"
    assert NAMES.mac(1) in whole, "ours stays"
    assert re.search(r"<p:UUID>00000000-0000-4000-8000-0000000000..</p:UUID>", whole)


def test_what_is_evidence_stays(planted: Recording) -> None:
    whole = "".join(each.answer for each in planted.exchanges)
    assert "83F8638B-8DCA-4152-9EDA-2CA8B33039B4" in whole, "a kind of device"
    assert "<p:BuildNumber>17763</p:BuildNumber>" in whole
    assert "Microsoft Windows Server 2019 Datacenter" in whole
    assert "<p:Caption>Virtual Machine</p:Caption>" in whole
    scenarios = [each.scenario for each in planted.exchanges]
    assert scenarios[0] == "survey"
    assert {"disks", "gen1", "clean-up"} <= set(scenarios)
    verdicts = {each.scenario: each for each in planted.entries if isinstance(each, Verdict)}
    assert verdicts["disks"].outcome == "as expected"


async def test_an_interrupted_self_test_can_be_recorded(host: Emulation) -> None:
    recorder = Recorder(NAMES)

    async def stop(_: Stage, __: Findings) -> None:
        raise KeyboardInterrupt

    client = WsmanClient(endpoint_of(host), LOGIN, trace=recorder.trace)
    ground = await survey(client, files_of(host), None)
    with pytest.raises(KeyboardInterrupt):
        await play(ground, NAMES, recorder, recorder, (Scenario("stop", "", stop),))
    await client.close()
    recording = recorder.recording(address="127.0.0.1", user=USER, base=ground.base)
    assert {each.scenario for each in recording.exchanges} >= {"survey", "clean-up"}


def row(class_name: str, namespace: str = "root/virtualization/v2", **values: str) -> str:
    uri = f"http://schemas.microsoft.com/wbem/wsman/1/wmi/{namespace}/{class_name}"
    inner = "".join(f"<p:{name}>{value}</p:{name}>" for name, value in values.items())
    return f'<a><p:{class_name} xmlns:p="{uri}">{inner}</p:{class_name}></a>'


def disguised(*envelopes: str) -> str:
    disguise = Disguise(NAMES)
    for envelope in envelopes:
        disguise.learn(envelope)
    return disguise.apply(envelopes[-1])


@pytest.mark.parametrize(
    ("envelope", "gone", "kept"),
    [
        (row("Win32_Volume", "root/cimv2", Label="Payroll", Capacity="5"), "Payroll", ">5<"),
        (row("Win32_OperatingSystem", "root/cimv2", SerialNumber="0037612345"), "376123", ""),
        (row("Win32_OperatingSystem", "root/cimv2", Version="10.0.1"), "\0", "10.0.1"),
        (row("Msvm_ConcreteJob", Owner=r"CORP\alice", JobStatus="ok"), "alice", "ok"),
        (row("Msvm_ConcreteJob", Owner=r"CORP\alice"), "CORP", ""),
        (row("Msvm_ComputerSystem", ElementName="payroll-db", Caption="VM"), "payroll", ">VM<"),
        (row("Msvm_Any", Text="at 10.20.30.40 and fe80::1:2"), "10.20.30.40", "198.18.0."),
        (row("Msvm_Any", Text="fe80::1:2"), "fe80", "2001:db8::1"),
        (row("Msvm_Any", Text="S-1-5-21-11-22-33-1001"), "11-22-33", "S-1-5-21-1-1-1-"),
        (row("Msvm_Any", Text="00:1A:2b:3c:4d:5e"), "4d:5e", "02:00:"),
        (row("Msvm_Any", Text=r"in C:\Users\bob\x and C:\Users\Public\y"), "bob", "Public"),
        (row("Msvm_Any", Text="6ba7b810-9dad-11d1-80b4-00c04fd430c8"), "c04fd430c8", ""),
        (row("Msvm_Any", Text="6ba7b810-9dad-41d1-80b4-00c04fd430c8"), "\0", "c04fd430c8"),
        (row("Msvm_Any", SystemName="FILESRV", Text="on FILESRV."), "FILESRV", "on HOST1."),
        (row("Msvm_Any", CurrentWWNNAddress="C003FF1234567890"), "1234567", ""),
        (row("Msvm_Any", DefaultDataRoot=r"\\filer\vms", T=r"x \\filer\vms\a"), "filer", r"\a"),
        (row("Msvm_Any", Mask="255.255.255.0"), "\0", "255.255.255.0"),
    ],
)
def test_disguise(envelope: str, gone: str, kept: str) -> None:
    text = disguised(envelope)
    assert gone not in text
    assert kept in text
    assert re.sub(r">[^<]*<", "><", text) == re.sub(r">[^<]*<", "><", envelope)


def test_a_name_of_the_last_answer_is_gone_from_the_first_request() -> None:
    disguise = Disguise(NAMES)
    query = "<a><b>SELECT * FROM X WHERE Path = 'D:\\\\Data\\\\vm.vhdx' AND S = 'srv-7'</b></a>"
    disguise.learn(query)
    disguise.learn(row("Win32_ComputerSystem", "root/cimv2", Name="SRV-7", Domain="c.example"))
    disguise.learn(row("Msvm_Any", DefaultVirtualHardDiskPath=r"D:\Data"))
    text = disguise.apply(query)
    assert (
        text
        == "<a><b>SELECT * FROM X WHERE Path = 'C:\\\\folder1\\\\vm.vhdx' AND S = 'HOST1'</b></a>"
    )
    assert disguise.names.name_for(Role.HOST, "Srv-7") == "HOST1"


def test_files_that_are_no_recordings(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    header = Header(
        program="1", day="2026-01-01", build=None, profile=None, product_version="", host="HOST1",
        folder="",
    )  # fmt: skip
    entries = (
        Exchange(scenario="s", request="<q/>", answer="<a/>"),
        FolderMade(path="C:\\a"),
        Verdict(scenario="s", outcome="failed", problem="x"),
    )
    write_recording(file, Recording(header, entries))
    assert read_recording(file) == Recording(header, entries)
    whole = file.read_bytes()
    for content, complaint in (
        (b"", "not a recording"),
        (b"{}\n", "not a recording"),
        (whole.replace(b'"version":1', b'"version":2'), "version 2; this program reads 1"),
        (whole.replace(b'"host":"HOST1"', b'"host":7'), "line 1"),
        (whole.replace(b'"kind":"folder"', b'"kind":"mood"'), "line 3"),
    ):
        file.write_bytes(content)
        with pytest.raises(RecordingError, match=complaint):
            read_recording(file)
    with pytest.raises(RecordingError, match="No such file"):
        read_recording(tmp_path / "none")


@pytest.mark.parametrize(
    ("build", "server", "profile"),
    [
        (9200, True, "2012"), (14393, True, "2016"), (17763, True, "2019"), (20348, True, "2022"),
        (25398, True, "2022"), (26100, True, "2025"), (26100, False, "client-11"),
        (7601, True, None),
    ],
)  # fmt: skip
def test_profiles(build: int, server: bool, profile: str | None) -> None:
    assert profile_of_build(build, server=server) == profile
