"""Embedded instances (CIM-XML) on their way in, and against pywbem's reader and writer."""

from __future__ import annotations

import datetime as dt
from xml.sax.saxutils import escape

import pytest
import pywbem
from hypothesis import given
from hypothesis import strategies as st
from pywbem._tupleparse import TupleParser
from pywbem._tupletree import xml_to_tupletree_sax
from tests.emulator_door.doors import OpenDoor
from tests.emulator_door.raw_client import SERVICE, SERVICE_KEY, RawClient, invoke
from tests.emulator_door.small_host import RESOURCE, SCHEMA, V2

from cloudstack_hyperv.cim import Uint16, Uint64
from cloudstack_hyperv.emulator.cim.provider import BadEmbedded, Row, UnusableInstance
from cloudstack_hyperv.emulator.door.cimxml import (
    EmbeddedReader,
    decode_named_entities,
    write_instance,
)
from cloudstack_hyperv.emulator.door.leniencies import Leniencies

READER = EmbeddedReader(SCHEMA, Leniencies())
BASE = "CIM_ResourceAllocationSettingData"


def instance(inner: str, name: str = "Msvm_ResourceAllocationSettingData") -> str:
    return f'<INSTANCE CLASSNAME="{name}">{inner}</INSTANCE>'


def scalar(name: str, kind: str, value: str) -> str:
    return f'<PROPERTY NAME="{name}" TYPE="{kind}"><VALUE>{value}</VALUE></PROPERTY>'


def array(name: str, kind: str, *values: str) -> str:
    inner = "".join(f"<VALUE>{value}</VALUE>" for value in values)
    return (
        f'<PROPERTY.ARRAY NAME="{name}" TYPE="{kind}"><VALUE.ARRAY>{inner}</VALUE.ARRAY>'
        "</PROPERTY.ARRAY>"
    )


def read(text: str) -> Row:
    row = READER.read(text, V2, BASE)
    assert isinstance(row, Row), row
    return row


def test_typed_values() -> None:
    row = read(
        instance(
            scalar("ResourceType", "uint16", "17")
            + scalar("Limit", "uint64", "18446744073709551615")
            + scalar("AutomaticAllocation", "boolean", "TRUE")
            + scalar("Delay", "datetime", "00000000004500.000000:000")
            + scalar("ElementName", "string", " a &lt; b ")
            + array("HostResource", "string", "D:\\x.vhdx", "")
            + '<PROPERTY NAME="Parent" TYPE="string"></PROPERTY>'
        )
    )
    assert row.values == {
        "ResourceType": Uint16(17),
        "Limit": Uint64(2**64 - 1),
        "AutomaticAllocation": True,
        "Delay": dt.timedelta(minutes=45),
        "ElementName": " a < b ",
        "HostResource": ["D:\\x.vhdx", ""],
        "Parent": None,
    }


def test_an_empty_array_is_an_array() -> None:
    assert read(instance(array("HostResource", "string"))).values == {"HostResource": []}


def test_a_superclass_name_is_taken() -> None:
    row = READER.read(instance(""), V2, "Msvm_StorageAllocationSettingData")
    assert isinstance(row, UnusableInstance)
    row = READER.read(instance("", BASE), V2, "Msvm_StorageAllocationSettingData")
    assert isinstance(row, Row)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", BadEmbedded.SYNTAX),
        ("words", BadEmbedded.SYNTAX),
        ("<INSTANCE>", BadEmbedded.SYNTAX),
        ("<INSTANCE/>", BadEmbedded.SYNTAX),
        ("<instance CLASSNAME='Msvm_ResourceAllocationSettingData'/>", BadEmbedded.SYNTAX),
        ('<!DOCTYPE x [<!ENTITY e "x">]>' + instance(""), BadEmbedded.SYNTAX),
        (instance("<VALUE>x</VALUE>"), BadEmbedded.SYNTAX),
        (instance('<PROPERTY TYPE="string"/>'), BadEmbedded.SYNTAX),
        (instance(scalar("Limit", "uint64", "1") * 2), BadEmbedded.SYNTAX),
        (
            instance('<PROPERTY NAME="Limit" TYPE="uint64">1</PROPERTY>'),
            BadEmbedded.SYNTAX,
        ),
        (
            instance(
                '<PROPERTY NAME="Limit" TYPE="uint64"><VALUE>1</VALUE><VALUE>1</VALUE></PROPERTY>'
            ),
            BadEmbedded.SYNTAX,
        ),
        (instance("", "Msvm_NoSuchClass"), BadEmbedded.UNKNOWN_CLASS),
        (instance("", "msvm_resourceallocationsettingdata"), BadEmbedded.UNKNOWN_CLASS),
        (instance("", "Msvm_ComputerSystem"), BadEmbedded.UNKNOWN_CLASS),
        (instance(scalar("Color", "string", "red")), BadEmbedded.UNKNOWN_PROPERTY),
        (instance(scalar("limit", "uint64", "1")), BadEmbedded.UNKNOWN_PROPERTY),
        (instance(scalar("HostResource", "string", "x")), BadEmbedded.SCALAR_FOR_ARRAY),
        (instance(array("Parent", "string", "x")), BadEmbedded.SCALAR_FOR_ARRAY),
        (instance(scalar("Limit", "uint32", "1")), BadEmbedded.WRONG_TYPE),
        (
            instance('<PROPERTY NAME="Limit"><VALUE>1</VALUE></PROPERTY>'),
            BadEmbedded.WRONG_TYPE,
        ),
        (instance(scalar("Limit", "uint64", "-1")), BadEmbedded.WRONG_TYPE),
        (instance(scalar("ResourceType", "uint16", "65536")), BadEmbedded.WRONG_TYPE),
        (instance(scalar("Delay", "datetime", "P0DT0H45M0S")), BadEmbedded.WRONG_TYPE),
        (instance(scalar("Delay", "string", "00000000004500.000000:000")), BadEmbedded.WRONG_TYPE),
        (instance(scalar("AutomaticAllocation", "boolean", "1")), BadEmbedded.WRONG_TYPE),
    ],
)
def test_instances_that_cannot_be_used(text: str, problem: BadEmbedded) -> None:
    result = READER.read(text, V2, BASE)
    assert isinstance(result, UnusableInstance)
    assert result.problem is problem
    assert result.text


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, instance(text), instance(scalar("ElementName", "string", text))):
        assert isinstance(READER.read(candidate, V2, BASE), Row | UnusableInstance)


async def add(open_door: OpenDoor, parameter: str) -> str:
    client = await RawClient.connect(await open_door())
    text = invoke(
        SERVICE,
        "AddResourceSettings",
        f"<q:ResourceSettings>{parameter}</q:ResourceSettings>",
        SERVICE_KEY,
    )
    answer = await client.post(text)
    assert answer.status == 200, answer.body
    value = answer.body_child.findtext("{" + SERVICE + "}ReturnValue")
    problem = answer.body_child.findtext("{" + SERVICE + "}Unusable")
    return "0" if value == "0" else f"{value} {problem}"


GOOD = instance(scalar("ResourceType", "uint16", "17"))


@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0"?>\n'])
async def test_escaped_and_cdata(open_door: OpenDoor, declaration: str) -> None:
    text = declaration + GOOD.replace("><", ">\n  <")
    assert await add(open_door, escape(text)) == "0"
    assert await add(open_door, f"<![CDATA[{text}]]>") == "0"
    assert await add(open_door, f"\n  {escape(text)}\n") == "0"


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("a &#38; b", "0"),
        ("a &#60; b", "0"),
        ("a &gt; b", "0"),
        ("&#34;x&#34; &quot;y&quot;", "0"),
        ("a &amp; b", "32773 SYNTAX: not well-formed XML"),
        ("a &lt; b", "32773 SYNTAX: not well-formed XML"),
    ],
)
async def test_named_entities_in_cdata(open_door: OpenDoor, value: str, result: str) -> None:
    """As a Windows 11 host was seen to treat them; escaped instances are not affected."""
    text = instance(scalar("ElementName", "string", value))
    assert await add(open_door, f"<![CDATA[{text}]]>") == result
    assert await add(open_door, escape(text)) == "0"


def test_named_entities_are_decoded_once() -> None:
    assert decode_named_entities("&amp;lt; &lt; &#38;") == "&lt; < &#38;"


TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=40
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "ElementName": TEXT,
            "Parent": TEXT,
            "HostResource": st.lists(TEXT, max_size=3),
            "ResourceType": st.integers(0, 2**16 - 1),
            "Limit": st.integers(0, 2**64 - 1),
            "AutomaticAllocation": st.booleans(),
            "Delay": st.timedeltas(dt.timedelta(0), dt.timedelta(days=99_999_999)),
        },
    )
)
def test_writer_and_reader_agree_with_each_other_and_with_pywbem(values: dict[str, object]) -> None:
    row = Row("Msvm_ResourceAllocationSettingData", dict(values))  # type: ignore[arg-type]
    text = write_instance(RESOURCE, row, SCHEMA)
    again = read(text)
    present = {name: value for name, value in again.values.items() if value is not None}
    assert present == values
    tree = xml_to_tupletree_sax(text.encode(), "test")
    parsed = TupleParser().parse_instance(tree)
    assert parsed.classname == "Msvm_ResourceAllocationSettingData"
    for name, value in values.items():
        theirs = parsed[name]
        if isinstance(value, dt.timedelta):
            assert theirs.timedelta == value
        else:
            assert theirs == value


def test_what_pywbem_writes_is_read() -> None:
    theirs = pywbem.CIMInstance(
        "Msvm_ResourceAllocationSettingData",
        {
            "ElementName": 'a <b> & "c"',
            "HostResource": ["\\\\server\\share\\x.vhdx"],
            "ResourceType": pywbem.Uint16(17),
            "AutomaticAllocation": False,
            "Delay": pywbem.CIMDateTime(dt.timedelta(minutes=45)),
            "Limit": pywbem.CIMProperty("Limit", None, type="uint64"),
        },
    )
    row = read(theirs.tocimxmlstr())
    assert row.values == {
        "ElementName": 'a <b> & "c"',
        "HostResource": ["\\\\server\\share\\x.vhdx"],
        "ResourceType": Uint16(17),
        "AutomaticAllocation": False,
        "Delay": dt.timedelta(minutes=45),
        "Limit": None,
    }
