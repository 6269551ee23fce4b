"""Rows as XML: element order, NULL, arrays, datetimes, references, embedded objects."""

from __future__ import annotations

import datetime as dt
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator_door.doors import OpenDoor
from tests.emulator_door.raw_client import (
    CIMV2,
    SERVICE,
    SERVICE_KEY,
    SYSTEM,
    V2,
    XSI,
    RawClient,
    enumerate_,
    get,
    invoke,
    machine_key,
)
from tests.emulator_door.small_host import SCHEMA, machine
from tests.emulator_door.small_host import SYSTEM as SYSTEM_CLASS

from cloudstack_hyperv.cim import CimType, ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.cim.schema import ClassDef, PropertyDef, Schema
from cloudstack_hyperv.emulator.door import scalars
from cloudstack_hyperv.emulator.door.instances import UnwritableValue, writer_for


async def test_an_instance_byte_for_byte(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(get(SYSTEM, machine_key(1)))
    assert (
        '<s:Body><p:Msvm_ComputerSystem xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xmlns:p="{SYSTEM}" xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common" '
        'xsi:type="p:Msvm_ComputerSystem_Type"><p:Caption></p:Caption>'
        "<p:CreationClassName>Msvm_ComputerSystem</p:CreationClassName>"
        "<p:ElementName>vm1</p:ElementName><p:EnabledState>2</p:EnabledState>"
        "<p:InstallDate><cim:Datetime>2025-12-17T09:55:22.7023Z</cim:Datetime></p:InstallDate>"
        '<p:Load xsi:nil="true"/><p:Name>00000000-0000-0000-0000-000000000001</p:Name>'
        "<p:OperationalStatus>2</p:OperationalStatus><p:ReadyForUse>true</p:ReadyForUse>"
        "<p:Uptime><cim:Interval>P0DT0H1M0.00417S</cim:Interval></p:Uptime>"
        "</p:Msvm_ComputerSystem></s:Body>"
    ) in answer.text


def write(row: Row) -> str:
    return writer_for(SCHEMA).instance(SYSTEM_CLASS, row)


def test_null_arrays_are_left_out_and_others_repeated() -> None:
    assert "OperationalStatus" not in write(machine(1, OperationalStatus=None))
    assert "OperationalStatus" not in write(machine(1, OperationalStatus=[]))
    many = write(machine(1, OperationalStatus=[2, 32768]))
    assert (
        "<p:OperationalStatus>2</p:OperationalStatus><p:OperationalStatus>32768</p:OperationalStatus>"
        in many
    )


def test_strings_are_escaped_and_stay_parseable() -> None:
    text = write(machine(1, Caption="<&>\"'\r\n\t\x00\x1f\ud800 ü 仮想"))
    parsed = ET.fromstring(text)
    assert parsed.findtext("{" + SYSTEM + "}Caption") == "<&>\"'\r\n\t\ufffd\ufffd\ufffd ü 仮想"


@given(st.text())
def test_any_string_survives(text: str) -> None:
    parsed = ET.fromstring(write(machine(1, Caption=text)))
    shown = parsed.findtext("{" + SYSTEM + "}Caption")
    assert shown is not None
    assert len(shown) == len(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"EnabledState": "2"},
        {"EnabledState": True},
        {"ReadyForUse": 1},
        {"Caption": 5},
        {"InstallDate": "2025"},
        {"OperationalStatus": 2},
        {"OperationalStatus": "2"},
        {"Load": "x"},
    ],
)
def test_wrong_values_of_a_provider_are_not_written(wrong: dict[str, object]) -> None:
    row = machine(1)
    row.values.update(wrong)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(UnwritableValue):
        write(row)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (dt.datetime(1601, 1, 1, tzinfo=dt.UTC), "1601-01-01T00:00:00Z"),
        (dt.datetime(2025, 12, 17, 9, 55, 22, 702341, dt.UTC), "2025-12-17T09:55:22.702341Z"),
        (dt.datetime(2025, 12, 17, 9, 55, 22, 100000, dt.UTC), "2025-12-17T09:55:22.1Z"),
        (
            dt.datetime(2025, 7, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, minutes=-30))),
            "2025-07-01T00:00:00-03:30",
        ),
        (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_timestamps(moment: dt.datetime, text: str) -> None:
    assert scalars.write_datetime(moment) == text
    assert scalars.read_xsd_datetime(text, interval=False) == moment
    cim = scalars.write_cim_datetime(moment)
    assert scalars.read_cim_datetime(cim, interval=False) == moment


@pytest.mark.parametrize(
    ("span", "text", "cim"),
    [
        (dt.timedelta(minutes=5), "P0DT0H5M0S", "00000000000500.000000:000"),
        (
            dt.timedelta(minutes=1, seconds=1, microseconds=4170),
            "P0DT0H1M1.00417S",
            "00000000000101.004170:000",
        ),
        (dt.timedelta(days=3, hours=25), "P4DT1H0M0S", "00000004010000.000000:000"),
        (dt.timedelta(), "P0DT0H0M0S", "00000000000000.000000:000"),
    ],
)
def test_intervals(span: dt.timedelta, text: str, cim: str) -> None:
    assert scalars.write_interval(span) == text
    assert scalars.read_xsd_datetime(text, interval=True) == span
    assert scalars.write_cim_interval(span) == cim
    assert scalars.read_cim_datetime(cim, interval=True) == span


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", CimType.UINT8),
        ("256", CimType.UINT8),
        ("-1", CimType.UINT64),
        ("1.5", CimType.UINT32),
        ("0x10", CimType.UINT32),
        ("1e3", CimType.SINT32),
        ("yes", CimType.BOOLEAN),
        ("1", CimType.BOOLEAN),
        ("nan", CimType.REAL64),
        ("1,5", CimType.REAL32),
        ("ab", CimType.CHAR16),
        ("٣", CimType.UINT8),
    ],
)
def test_texts_that_are_no_values(text: str, kind: CimType) -> None:
    with pytest.raises(scalars.BadScalar):
        scalars.read_scalar(text, kind)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("20250131120000.000000+000", True),
        ("00000000004500.000000:000", False),
        ("20251331120000.000000+000", False),
        ("20250131120000.000000", False),
        ("P0DT0H30M0S", True),
        ("2025-01-31T12:00:00Z", False),
        ("", True),
        ("P", True),
        ("P1DT", True),
    ],
)
def test_datetimes_that_are_none(text: str, interval: bool) -> None:
    with pytest.raises(scalars.BadScalar):
        scalars.read_cim_datetime(text, interval=interval)


async def test_references_have_no_endpoint_reference_around_them(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    items = await client.pull_all(
        V2 + "Msvm_SettingsDefineState",
        enumerate_(V2 + "Msvm_SettingsDefineState"),
    )
    (element,) = items[0].findall("{" + V2 + "Msvm_SettingsDefineState}SettingData")
    assert [child.tag.rpartition("}")[2] for child in element] == ["Address", "ReferenceParameters"]
    text = ET.tostring(element, encoding="unicode")
    assert "Msvm_ResourceAllocationSettingData<" in text
    assert "Microsoft:A\\B<" in text
    assert "__cimnamespace" not in text


async def test_embedded_objects_are_elements_of_their_own_class(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(invoke(SERVICE, "GetSummaryInformation", "", SERVICE_KEY))
    summary = V2 + "Msvm_SummaryInformation"
    assert (
        f'<p:SummaryInformation xmlns:si="{summary}" xsi:type="si:Msvm_SummaryInformation_Type">'
        "<si:ElementName>vm&lt;1&gt;</si:ElementName><si:Name>A</si:Name>"
        "<si:ThumbnailImage>AAE=</si:ThumbnailImage><si:UpTime>1099511627776</si:UpTime>"
        f'</p:SummaryInformation><p:SummaryInformation xmlns:si="{summary}" '
        'xsi:type="si:Msvm_SummaryInformation_Type"><si:Name>B</si:Name></p:SummaryInformation>'
        "<p:ReturnValue>0</p:ReturnValue></p:GetSummaryInformation_OUTPUT>"
    ) in answer.text


async def test_embedded_instances_are_escaped_cim_xml(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(invoke(SERVICE, "Describe", "", SERVICE_KEY))
    assert "<p:SettingData>&lt;INSTANCE CLASSNAME=&quot;Msvm_Resource" in answer.text
    text = answer.body_child.findtext("{" + SERVICE + "}SettingData")
    assert text == (
        '<INSTANCE CLASSNAME="Msvm_ResourceAllocationSettingData">'
        '<PROPERTY NAME="AutomaticAllocation" TYPE="boolean"><VALUE>TRUE</VALUE></PROPERTY>'
        '<PROPERTY NAME="Delay" TYPE="datetime"><VALUE>00000000004500.000000:000</VALUE></PROPERTY>'
        '<PROPERTY NAME="ElementName" PROPAGATED="true" TYPE="string"></PROPERTY>'
        '<PROPERTY.ARRAY NAME="HostResource" TYPE="string"><VALUE.ARRAY><VALUE>D:\\a.vhdx</VALUE>'
        "<VALUE>D:\\&lt;b&gt;.vhdx</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
        '<PROPERTY NAME="InstanceID" TYPE="string"><VALUE>Microsoft:"A"\\B &amp; C</VALUE>'
        "</PROPERTY>"
        '<PROPERTY NAME="Limit" PROPAGATED="true" TYPE="uint64"></PROPERTY>'
        '<PROPERTY NAME="Parent" PROPAGATED="true" TYPE="string"></PROPERTY>'
        '<PROPERTY NAME="ResourceType" TYPE="uint16"><VALUE>17</VALUE></PROPERTY></INSTANCE>'
    )


async def test_a_singleton_is_found_without_its_key(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(get(CIMV2 + "Win32_OperatingSystem"))
    assert "<cim:Datetime>2025-01-02T03:04:05+01:00</cim:Datetime>" in answer.text


def test_all_hosts_of_a_release_share_one_writer() -> None:
    assert writer_for(SCHEMA) is writer_for(SCHEMA)


def test_octet_strings_and_reference_keys() -> None:
    definition = ClassDef(
        "X_Thing",
        "root/cimv2",
        (),
        (
            PropertyDef("Bytes", CimType.UINT8, array=True, octet_string=True),
            PropertyDef("Numbers", CimType.UINT8, array=True),
            PropertyDef("Path", CimType.REFERENCE, key=True),
        ),
    )
    path = ObjectPath("X_Thing", (("A", 'x"<y'),), "root/cimv2")
    row = Row("X_Thing", {"Bytes": b"\x00\xff", "Numbers": [0, 255], "Path": path})
    element = ET.fromstring(writer_for(Schema([definition])).instance(definition, row))
    space = "{" + CIMV2 + "X_Thing}"
    assert element.findtext(space + "Bytes") == "AP8="
    assert [each.text for each in element.findall(space + "Numbers")] == ["0", "255"]
    assert element.get(XSI + "type") == "p:X_Thing_Type"
    assert 'x"<y' in "".join(element.itertext())
