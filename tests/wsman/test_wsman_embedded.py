"""CIM-XML instances, with pywbem's writer and parser as the judges of both directions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import pywbem
from hypothesis import given
from hypothesis import strategies as st
from pywbem import _tupleparse, _tupletree

from cloudstack_hyperv.cim import INTEGER_TYPES, ObjectPath, SizedInt, Uint16, Uint64
from cloudstack_hyperv.wsman import (
    EmbeddedInstance,
    ProtocolViolation,
    parse_embedded,
    write_embedded,
)

XML_TEXT = st.text(
    alphabet=st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r<>&\"']"),
    max_size=40,
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
INTEGERS = st.sampled_from(list(INTEGER_TYPES.values())).flatmap(
    lambda kind: st.integers(kind.lowest, kind.highest).map(kind)
)
MOMENTS = st.datetimes(
    min_value=datetime(1601, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.integers(-720, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
INTERVALS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=99_999_999))
ONE = (
    st.booleans()
    | INTEGERS
    | XML_TEXT
    | MOMENTS
    | INTERVALS
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALAR_KINDS: list[st.SearchStrategy[Any]] = [st.booleans(), XML_TEXT, MOMENTS]
SCALAR_KINDS += [st.integers(it.lowest, it.highest).map(it) for it in INTEGER_TYPES.values()]
ARRAY = st.sampled_from(SCALAR_KINDS).flatmap(lambda kind: st.lists(kind, min_size=1, max_size=4))
INSTANCES = st.builds(
    EmbeddedInstance, NAMES, st.dictionaries(NAMES, ONE | ARRAY, max_size=6)
).filter(lambda it: len({name.lower() for name in it.properties}) == len(it.properties))


def by_pywbem(text: str) -> pywbem.CIMInstance:
    """Parse with pywbem."""
    tree = _tupletree.xml_to_tupletree_sax(text, "an embedded instance")
    return _tupleparse.TupleParser().parse_instance(tree)


def plain(value: Any) -> Any:
    """A value as pywbem should have read it."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime | timedelta):
        return pywbem.CIMDateTime(value)
    if isinstance(value, SizedInt):
        return int(value)
    return value


@given(INSTANCES)
def test_pywbem_reads_what_we_write(instance: EmbeddedInstance) -> None:
    read = by_pywbem(write_embedded(instance))
    assert read.classname == instance.class_name
    assert set(read.keys()) == set(instance.properties)
    for name, value in instance.properties.items():
        found = read.properties[name]
        assert found.is_array == isinstance(value, list)
        first = value[0] if isinstance(value, list) else value
        if isinstance(first, SizedInt):
            assert found.type == first.cim_type
        assert found.value == plain(value)


@given(INSTANCES)
def test_we_read_what_we_write(instance: EmbeddedInstance) -> None:
    read = parse_embedded(write_embedded(instance))
    assert read.class_name == instance.class_name
    for name, value in instance.properties.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], bool):
            assert [text == "true" for text in read.strings(name)] == values
        elif isinstance(values[0], datetime):
            assert read.timestamp(name) == values[0] or values[0].year == 1601
        elif isinstance(values[0], timedelta):
            assert read.interval(name) == values[0]
        elif isinstance(values[0], SizedInt):
            assert list(read.uints(name)) == values
        elif isinstance(values[0], str):
            assert list(read.strings(name)) == values


# pywbem writes a carriage return as it is, and XML reads that as a line feed.
PYWBEM_TEXT = XML_TEXT.filter(lambda text: "\r" not in text)


@given(
    st.dictionaries(NAMES, PYWBEM_TEXT | INTEGERS | st.lists(PYWBEM_TEXT, min_size=1), max_size=5)
)
def test_we_read_what_pywbem_writes(properties: dict[str, Any]) -> None:
    written = pywbem.CIMInstance("Msvm_X")
    for name, value in properties.items():
        number = isinstance(value, SizedInt)
        written.properties[name] = pywbem.CIMProperty(
            name, int(value) if number else value, type=value.cim_type.value if number else "string"
        )
    written.properties["Nothing_"] = pywbem.CIMProperty("Nothing_", None, type="uint16")
    read = parse_embedded(written.tocimxmlstr())
    assert read.class_name == "Msvm_X"
    assert "Nothing_" not in read.values
    for name in written:
        value = properties.get(name)
        if isinstance(value, list):
            assert list(read.strings(name)) == value
        elif value is not None:
            assert read.string(name) == str(value)


def test_the_texts_of_the_common_calls() -> None:
    """The form in which Microsoft's samples and r4sd/go-wsman send them."""
    assert write_embedded(
        EmbeddedInstance(
            "Msvm_StorageAllocationSettingData",
            {
                "ResourceType": Uint16(31),
                "ResourceSubType": "Microsoft:Hyper-V:Virtual Hard Disk",
                "Parent": ObjectPath.of(
                    "Msvm_ResourceAllocationSettingData", InstanceID=r"Microsoft:VM\CTRL\0\0\D"
                ),
                "HostResource": [r"D:\VMs\i-2-10-VM\root.vhdx"],
                "AutomaticStartupActionDelay": timedelta(minutes=45),
                "InstallDate": datetime(2025, 1, 31, 12, tzinfo=UTC),
                "Reservation": None,
                "Enabled": True,
                "Connection": [],
            },
        )
    ) == (
        '<INSTANCE CLASSNAME="Msvm_StorageAllocationSettingData">'
        '<PROPERTY NAME="ResourceType" TYPE="uint16"><VALUE>31</VALUE></PROPERTY>'
        '<PROPERTY NAME="ResourceSubType" TYPE="string">'
        "<VALUE>Microsoft:Hyper-V:Virtual Hard Disk</VALUE></PROPERTY>"
        r'<PROPERTY NAME="Parent" TYPE="string"><VALUE>root\virtualization\v2:'
        r"Msvm_ResourceAllocationSettingData.InstanceID=&quot;Microsoft:VM\\CTRL\\0\\0\\D&quot;"
        "</VALUE></PROPERTY>"
        r'<PROPERTY.ARRAY NAME="HostResource" TYPE="string"><VALUE.ARRAY>'
        r"<VALUE>D:\VMs\i-2-10-VM\root.vhdx</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
        '<PROPERTY NAME="AutomaticStartupActionDelay" TYPE="datetime">'
        "<VALUE>00000000004500.000000:000</VALUE></PROPERTY>"
        '<PROPERTY NAME="InstallDate" TYPE="datetime">'
        "<VALUE>20250131120000.000000+000</VALUE></PROPERTY>"
        '<PROPERTY NAME="Enabled" TYPE="boolean"><VALUE>true</VALUE></PROPERTY>'
        '<PROPERTY.ARRAY NAME="Connection" TYPE="string"><VALUE.ARRAY></VALUE.ARRAY>'
        "</PROPERTY.ARRAY></INSTANCE>"
    )


@pytest.mark.parametrize(
    ("properties", "error"),
    [
        ({"A": 5}, TypeError),
        ({"A": [Uint16(1), Uint64(1)]}, TypeError),
        ({"A": b"x"}, TypeError),
        ({"A": "\x00"}, ValueError),
        ({"A": "\ufffe"}, ValueError),
        ({"A": math.inf}, ValueError),
        ({"A": timedelta(days=-1)}, ValueError),
        ({"A": timedelta(days=100_000_000)}, ValueError),
        ({"A": datetime(2025, 1, 1)}, ValueError),  # noqa: DTZ001 - the point of the case
        ({'A" TYPE="x': "y"}, ValueError),
    ],
)
def test_what_has_no_cim_xml_is_refused(properties: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        write_embedded(EmbeddedInstance("Msvm_X", properties))


def test_texts_with_declaration_line_breaks_and_references_are_read() -> None:
    read = parse_embedded(
        '\ufeff <?xml version="1.0" encoding="utf-16"?>\n'
        '<INSTANCE CLASSNAME="Msvm_X">\n <QUALIFIER NAME="Q" TYPE="string"/>\n'
        ' <PROPERTY NAME="Name" PROPAGATED="true" TYPE="string">\n  <VALUE>a\r\nb</VALUE>\n'
        ' </PROPERTY><PROPERTY NAME="Empty" TYPE="string"><VALUE></VALUE></PROPERTY>'
        '<PROPERTY.REFERENCE NAME="Element" REFERENCECLASS="Msvm_Y"><VALUE.REFERENCE>'
        "<INSTANCEPATH><NAMESPACEPATH><HOST>HV1</HOST><LOCALNAMESPACEPATH>"
        '<NAMESPACE NAME="root"/><NAMESPACE NAME="virtualization"/><NAMESPACE NAME="v2"/>'
        "</LOCALNAMESPACEPATH></NAMESPACEPATH>"
        '<INSTANCENAME CLASSNAME="Msvm_Y"><KEYBINDING NAME="Name">'
        '<KEYVALUE VALUETYPE="string">b\\c</KEYVALUE></KEYBINDING></INSTANCENAME>'
        "</INSTANCEPATH></VALUE.REFERENCE></PROPERTY.REFERENCE></INSTANCE>"
    )
    assert read.string("Name") == "a\nb"
    assert read.string("Empty") == ""
    path = read.path("Element")
    assert path is not None
    assert str(path) == r'\\HV1\root\virtualization\v2:Msvm_Y.Name="b\\c"'


@pytest.mark.parametrize(
    "text", ["", "no xml", "<CLASS/>", "<INSTANCE>", "<!DOCTYPE a><INSTANCE/>"]
)
def test_texts_that_are_no_instance(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        parse_embedded(text)
