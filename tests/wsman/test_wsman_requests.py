"""Request envelopes against texts that Windows is known to take, and against pypsrp's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypsrp.wsman import SelectorSet, WSMan, WSManAction

from cloudstack_hyperv.cim import ObjectPath, Uint8, Uint16
from cloudstack_hyperv.wsman import EmbeddedInstance
from cloudstack_hyperv.wsman.protocol import envelope
from cloudstack_hyperv.wsman.protocol.arguments import write_arguments
from cloudstack_hyperv.wsman.protocol.envelope import Head
from cloudstack_hyperv.wsman.protocol.names import class_uri, query_uri, split_class_uri
from cloudstack_hyperv.wsman.protocol.xmltext import escape, parse

ENVELOPES = Path(__file__).parent / "envelopes"
HEAD = Head("http://host:5985/wsman", "uuid:7D7DA9C5-3D05-4E3B-9AC3-0E9B7A5E2B11", 60)
V2 = "root/virtualization/v2"
S = "{http://www.w3.org/2003/05/soap-envelope}"
VM = ObjectPath.of(
    "Msvm_ComputerSystem",
    CreationClassName="Msvm_ComputerSystem",
    Name="B637F346-6A0E-4DEC-AF52-BD70CB80A21D",
)
SERVICE = ObjectPath.of(
    "Msvm_VirtualSystemManagementService",
    CreationClassName="Msvm_VirtualSystemManagementService",
)
CONTEXT = "uuid:5B8C7B4E-0A3F-4F6E-9C3E-7D2A0C9C1F01"

REQUESTS: dict[str, Callable[[], str]] = {
    "identify": envelope.identify_request,
    "get": lambda: envelope.get_request(HEAD, VM),
    "enumerate_query": lambda: envelope.enumerate_request(
        HEAD, query_uri(V2), wql="SELECT * FROM Msvm_ComputerSystem WHERE Caption <> 'x'"
    ),
    "pull": lambda: envelope.pull_request(
        HEAD, class_uri(V2, "Msvm_ComputerSystem"), CONTEXT, max_elements=1000
    ),
    "release": lambda: envelope.release_request(
        HEAD, class_uri(V2, "Msvm_ComputerSystem"), CONTEXT
    ),
    "invoke": lambda: envelope.invoke_request(
        HEAD,
        SERVICE,
        "AddResourceSettings",
        {
            "AffectedConfiguration": ObjectPath.of(
                "Msvm_VirtualSystemSettingData",
                InstanceID="Microsoft:B637F346-6A0E-4DEC-AF52-BD70CB80A21D",
            ),
            "ResourceSettings": [
                EmbeddedInstance(
                    "Msvm_ResourceAllocationSettingData",
                    {
                        "ResourceType": Uint16(6),
                        "ResourceSubType": "Microsoft:Hyper-V:Synthetic SCSI Controller",
                    },
                )
            ],
        },
    ),
}


def canonical(text: str) -> str:
    """Canonical XML without the two optional language headers."""
    root = ET.fromstring(text)
    header = root.find(f"{S}Header")
    assert header is not None
    for element in list(header):
        if element.tag.endswith(("}Locale", "}DataLocale")):
            header.remove(element)
    return ET.canonicalize(
        ET.tostring(root, encoding="unicode"), strip_text=True, rewrite_prefixes=True
    )


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_a_request_is_the_text_that_windows_takes(name: str) -> None:
    expected = (ENVELOPES / f"{name}.xml").read_text()
    assert canonical(REQUESTS[name]()) == canonical(expected)


def test_every_expected_envelope_is_compared() -> None:
    assert {path.stem for path in ENVELOPES.glob("*.xml")} == set(REQUESTS)


def test_our_header_has_what_pypsrps_has() -> None:
    """pypsrp is used against Windows every day; it adds a SessionId, which only shells need."""
    client = WSMan("host", port=5985, ssl=False, max_envelope_size=512_000, operation_timeout=60)
    selectors = SelectorSet()
    for name, value in VM.keys:
        selectors.add_option(name, value)
    uri = class_uri(V2, "Msvm_ComputerSystem")
    message_id, theirs = client._create_header(WSManAction.GET, uri, selector_set=selectors)
    head = Head("http://host:5985/wsman", f"uuid:{message_id}", 60)
    ours = ET.fromstring(envelope.get_request(head, VM)).find(f"{S}Header")
    assert ours is not None

    def comparable(header: ET.Element) -> dict[str, str]:
        return {
            element.tag: ET.canonicalize(ET.tostring(element), rewrite_prefixes=True)
            for element in header
            if not element.tag.endswith("}SessionId")
        }

    assert comparable(ours) == comparable(theirs)


def test_an_answer_of_the_form_that_pypsrp_insists_on_is_ours_too() -> None:
    """RelatesTo is the whole MessageID, byte for byte."""
    body = envelope.open_answer(
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas'
        f'.xmlsoap.org/ws/2004/08/addressing"><s:Header><a:RelatesTo>{HEAD.message_id}'
        "</a:RelatesTo></s:Header><s:Body/></s:Envelope>",
        message_id=HEAD.message_id,
        maximum_bytes=1000,
    )
    assert len(body) == 0


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_what_is_escaped_is_read_back_unchanged_or_refused(text: str) -> None:
    try:
        written = f'<a b="{escape(text)}">{escape(text)}</a>'
    except ValueError:
        assert any(ord(c) < 32 or c in "\ufffe\uffff" for c in text)
        return
    read = parse(written)
    assert (read.text or "") == text
    # Line feeds and tabs in attributes are normalised: only checked names stand in them.
    if not set("\n\t") & set(text):
        assert read.get("b") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(60, "PT60S"), (0.01, "PT1S"), (-5, "PT1S"), (9.4999, "PT9.5S"), (57.0505, "PT57.05S")],
)
def test_operation_timeouts(seconds: float, text: str) -> None:
    request = envelope.get_request(Head("x", "uuid:A", seconds), VM)
    assert f"<w:OperationTimeout>{text}</w:OperationTimeout>" in request


def test_arguments_of_every_kind() -> None:
    assert write_arguments(
        {
            "Flag": True,
            "Text": "a<b>&\r\n'\"",
            "Octets": b"\x01\x02\xff",
            "Codes": [Uint8(0x1E), Uint8(0x9E)],
            "At": datetime(2025, 1, 31, 12, 0, 0, 500000, tzinfo=UTC),
            "For": timedelta(days=1, seconds=3, milliseconds=4),
            "Ratio": 0.5,
            "Nothing": None,
            "None_": [],
            "Paths": [ObjectPath("A", (), "root/cimv2"), ObjectPath("B", (("K", "<1>"),))],
        }
    ) == (
        "<p:Flag>true</p:Flag><p:Text>a&lt;b&gt;&amp;&#13;\n'&quot;</p:Text>"
        "<p:Octets>AQL/</p:Octets><p:Codes>30</p:Codes><p:Codes>158</p:Codes>"
        "<p:At><cim:Datetime>2025-01-31T12:00:00.500000Z</cim:Datetime></p:At>"
        "<p:For><cim:Interval>P1DT0H0M3.004S</cim:Interval></p:For><p:Ratio>0.5</p:Ratio>"
        "<p:Paths><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
        "</a:Address><a:ReferenceParameters><w:ResourceURI>http://schemas.microsoft.com/wbem/"
        "wsman/1/wmi/root/cimv2/A</w:ResourceURI></a:ReferenceParameters></p:Paths>"
        "<p:Paths><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
        "</a:Address><a:ReferenceParameters><w:ResourceURI>http://schemas.microsoft.com/wbem/"
        "wsman/1/wmi/root/virtualization/v2/B</w:ResourceURI><w:SelectorSet>"
        '<w:Selector Name="K">&lt;1&gt;</w:Selector></w:SelectorSet></a:ReferenceParameters>'
        "</p:Paths>"
    )


def test_uris_are_built_of_checked_names_and_read_in_any_case() -> None:
    assert query_uri(r"root\virtualization\v2").endswith("/wmi/root/virtualization/v2/*")
    for namespace, name in [
        ("root/a", "B/C"),
        ("root/../x", "B"),
        ("root", 'B">'),
        ("root/a b", "B"),
        ("", "B"),
        ("/root", "B"),
    ]:
        with pytest.raises(ValueError, match="not a"):
            class_uri(namespace, name)
    assert split_class_uri(class_uri(V2, "Msvm_X").upper()) == (V2.upper(), "MSVM_X")
    assert split_class_uri("http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/X") == ("", "")
