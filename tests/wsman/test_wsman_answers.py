"""Reading answers: instances element by element, faults from the inside out, guarded XML."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from pypsrp.wsman import WSMan
from tests.wsman.scripted_host import V2, A, F, S, W, fault_body, soap

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.wsman import (
    AccessDenied,
    DeadlineExceeded,
    EnumerationLost,
    Instance,
    MissingProperty,
    NotFound,
    ProtocolViolation,
    ProviderUnavailable,
    QueryRefused,
    QuotaExceeded,
    UnknownClass,
    WsmanError,
    WsmanFault,
)
from cloudstack_hyperv.wsman.protocol.envelope import open_answer, read_result
from cloudstack_hyperv.wsman.protocol.faults import read_fault
from cloudstack_hyperv.wsman.protocol.instances import read_instance
from cloudstack_hyperv.wsman.protocol.xmltext import MAXIMUM_DEPTH, decode, parse

XSI = "http://www.w3.org/2001/XMLSchema-instance"
CIM = "http://schemas.dmtf.org/wbem/wscim/1/common"
ANONYMOUS = f"{A}/role/anonymous"


def instance(properties: str, name: str = "Msvm_Test", uri: str = "") -> Instance:
    uri = uri or V2 + name
    return read_instance(
        parse(
            f'<p:{name} xmlns:xsi="{XSI}" xmlns:p="{uri}" xmlns:cim="{CIM}" xmlns:a="{A}"'
            f' xmlns:w="{W}" xsi:type="p:{name}_Type">{properties}</p:{name}>'
        )
    )


def epr(class_name: str, *selectors: str) -> str:
    return (
        f"<a:Address>{ANONYMOUS}</a:Address><a:ReferenceParameters><w:ResourceURI>{V2}{class_name}"
        f"</w:ResourceURI><w:SelectorSet>{''.join(selectors)}</w:SelectorSet>"
        "</a:ReferenceParameters>"
    )


def test_null_empty_and_repeated_properties() -> None:
    read = instance(
        '<p:Caption xsi:nil="true"/><p:ElementName></p:ElementName><p:Notify/>'
        "<p:OperationalStatus>2</p:OperationalStatus><p:OperationalStatus>32772"
        "</p:OperationalStatus><p:Started>True</p:Started>"
    )
    assert read.class_name == "Msvm_Test"
    assert read.namespace == "root/virtualization/v2"
    assert (read.string("Caption"), read.string("ElementName"), read.string("Notify")) == (
        None,
        "",
        "",
    )
    assert read.uints("OperationalStatus") == (2, 32772)
    assert read.uint("OperationalStatus") == 2
    assert read.boolean("Started") is True
    assert read.boolean("Absent") is None
    assert read.strings("Absent") == ()
    with pytest.raises(MissingProperty, match="Msvm_Test has no Caption"):
        read.require("Caption")


def test_times() -> None:
    read = instance(
        "<p:InstallDate><cim:Datetime>2025-12-17T09:55:22.702341Z</cim:Datetime></p:InstallDate>"
        "<p:Short><cim:Datetime>2025-12-17T09:55:22.7Z</cim:Datetime></p:Short>"
        "<p:Whole><cim:Datetime>2025-12-17T09:55:22Z</cim:Datetime></p:Whole>"
        "<p:Local><cim:Datetime>2025-12-17T12:00:00+01:00</cim:Datetime></p:Local>"
        "<p:Never><cim:Datetime>1601-01-01T00:00:00Z</cim:Datetime></p:Never>"
        "<p:Five><cim:Interval>P0DT0H5M0S</cim:Interval></p:Five>"
        "<p:Part><cim:Interval>P0DT0H0M1.00417S</cim:Interval></p:Part>"
        "<p:Text>20250131120000.000000+060</p:Text><p:Wait>00000001004500.000000:000</p:Wait>"
        "<p:Wrong>soon</p:Wrong>"
    )
    assert read.timestamp("InstallDate") == datetime(2025, 12, 17, 9, 55, 22, 702341, UTC)
    assert read.timestamp("Short") == datetime(2025, 12, 17, 9, 55, 22, 700000, UTC)
    assert read.timestamp("Whole") == datetime(2025, 12, 17, 9, 55, 22, 0, UTC)
    assert read.timestamp("Local") == datetime(2025, 12, 17, 11, 0, 0, 0, UTC)
    assert read.timestamp("Never") is None
    assert read.timestamp("Text") == datetime(2025, 1, 31, 11, 0, 0, 0, UTC)
    assert read.interval("Five") == timedelta(minutes=5)
    assert read.interval("Part") == timedelta(seconds=1, microseconds=4170)
    assert read.interval("Wait") == timedelta(days=1, minutes=45)
    for read_it in (read.timestamp, read.interval):
        with pytest.raises(ValueError, match="soon"):
            read_it("Wrong")


def test_references_with_and_without_wrapping_and_namespace_selector() -> None:
    inner = epr("Msvm_B", '<w:Selector Name="InstanceID">x\\y</w:Selector>')
    read = instance(
        f"<p:Plain>{inner}</p:Plain><p:Wrapped><a:EndpointReference>{inner}"
        "</a:EndpointReference></p:Wrapped><p:Both>"
        + epr(
            "Msvm_C",
            '<w:Selector Name="__cimnamespace">root\\other</w:Selector>',
            '<w:Selector Name="Name">n</w:Selector>',
        )
        + "</p:Both><p:Nested>"
        + epr(
            "Msvm_D",
            f'<w:Selector Name="Antecedent"><a:EndpointReference>{inner}</a:EndpointReference>'
            "</w:Selector>",
        )
        + '</p:Nested><p:Text>\\\\HV\\root\\virtualization\\v2:Msvm_B.InstanceID="x\\\\y"</p:Text>'
    )
    expected = ObjectPath.of("Msvm_B", InstanceID=r"x\y")
    assert read.path("Plain") == read.path("Wrapped") == read.path("Text") == expected
    assert read.path("Both") == ObjectPath.of("Msvm_C", "root/other", Name="n")
    nested = read.path("Nested")
    assert nested is not None
    assert ObjectPath.parse(nested.key("Antecedent") or "") == expected
    assert read.path("Absent") is None


@pytest.mark.parametrize(
    "content",
    [
        f"<a:Address>{ANONYMOUS}</a:Address>",
        "<a:ReferenceParameters><w:ResourceURI>http://x/y</w:ResourceURI></a:ReferenceParameters>",
    ],
)
def test_a_reference_to_nothing(content: str) -> None:
    with pytest.raises(ProtocolViolation, match="reference"):
        instance(f"<p:Ref>{content}</p:Ref>")


def test_embedded_objects_keep_their_own_class() -> None:
    uri = V2 + "Msvm_SummaryInformation"
    read = instance(
        f'<p:SummaryInformation xmlns:si="{uri}" xsi:type="si:Msvm_SummaryInformation_Type">'
        "<si:Name>A</si:Name><si:Snapshots>1</si:Snapshots></p:SummaryInformation>"
        f'<p:SummaryInformation xmlns:si="{uri}"><si:Name>B</si:Name></p:SummaryInformation>'
        f'<p:SummaryInformation xmlns:si="{uri}" xsi:type="si:Msvm_SummaryInformation_Type"/>'
    )
    first, second, third = read.instances("SummaryInformation")
    assert (first.class_name, first.namespace) == (
        "Msvm_SummaryInformation",
        "root/virtualization/v2",
    )
    assert (first.string("Name"), second.string("Name")) == ("A", "B")
    assert (third.class_name, third.values) == ("Msvm_SummaryInformation", {})


def test_a_deep_enumerations_row_has_its_own_class() -> None:
    read = instance("<p:A>1</p:A>", "Msvm_StorageJob")
    assert read.class_name == "Msvm_StorageJob"


def test_octets_in_both_forms() -> None:
    read = instance(
        "<p:Image>AAECAw==</p:Image><p:Broken>AA\n ECAw==</p:Broken><p:Codes>30</p:Codes>"
        "<p:Codes>158</p:Codes><p:One>7</p:One><p:Not>$$$</p:Not>"
    )
    assert read.octets("Image") == b"\0\1\2\3" == read.octets("Broken")
    assert read.octets("Codes") == bytes([30, 158])
    assert read.octets("One") == b"\7"
    assert read.octets("Absent") is None
    with pytest.raises(ValueError, match=r"base64|alphabet"):
        read.octets("Not")


def test_a_started_job_is_in_the_result() -> None:
    body = parse(
        f'<s:Body xmlns:s="{S}"><p:RequestStateChange_OUTPUT xmlns:p="{V2}Msvm_ComputerSystem"'
        f' xmlns:a="{A}" xmlns:w="{W}"><p:Job>'
        + epr("Msvm_ConcreteJob", '<w:Selector Name="InstanceID">2A1E8B0C</w:Selector>')
        + "</p:Job><p:ReturnValue>4096</p:ReturnValue></p:RequestStateChange_OUTPUT></s:Body>"
    )
    result = read_result(body, "RequestStateChange")
    assert result.return_value == 4096
    assert result.job == ObjectPath.of("Msvm_ConcreteJob", InstanceID="2A1E8B0C")


def test_a_return_value_that_is_no_number() -> None:
    body = parse("<b><X_OUTPUT><ReturnValue>yes</ReturnValue></X_OUTPUT></b>")
    with pytest.raises(ProtocolViolation, match="not a number"):
        read_result(body, "X")


@pytest.mark.parametrize(
    ("subcode", "code", "provider", "kind"),
    [
        ("w:InvalidSelectors", 2150858843, 0, NotFound),
        ("a:DestinationUnreachable", 2150858770, 0, NotFound),
        ("w:InternalError", 2150858762, 2147749890, NotFound),
        ("a:DestinationUnreachable", 2150858770, 2147749904, UnknownClass),
        ("n:CannotProcessFilter", 2150858778, 2147749902, UnknownClass),
        ("a:DestinationUnreachable", 2150858811, 0, UnknownClass),
        ("n:CannotProcessFilter", 2150858778, 0, QueryRefused),
        ("w:CannotProcessFilter", 2150859042, 0, QueryRefused),
        ("n:CannotProcessFilter", 2150858778, 2147749911, QueryRefused),
        ("n:FilterDialectRequestedUnavailable", 2150858777, 0, QueryRefused),
        ("w:AccessDenied", 5, 0, AccessDenied),
        ("w:InternalError", 2150859012, 0, AccessDenied),
        ("w:InternalError", 2150858762, 2147749891, AccessDenied),
        ("w:QuotaLimit", 2150859173, 0, QuotaExceeded),
        ("w:EncodingLimit", 2150858824, 0, QuotaExceeded),
        ("n:InvalidEnumerationContext", 2150858779, 0, EnumerationLost),
        ("w:InternalError", 2150858762, 0x800706BA, ProviderUnavailable),
        ("w:TimedOut", 2150858793, 0, DeadlineExceeded),
        ("w:InternalError", 2150859046, 0, DeadlineExceeded),
        ("w:InternalError", 2150858762, 0x80041001, WsmanFault),
        ("w:SchemaValidationError", 2150858817, 0, WsmanFault),
    ],
)
def test_faults_by_their_innermost_code(
    subcode: str, code: int, provider: int, kind: type[WsmanError]
) -> None:
    text = soap(fault_body(subcode, code, provider_code=provider, reason="so it is"), "uuid:X")
    with pytest.raises(WsmanError, match="so it is") as caught:
        open_answer(text, message_id="uuid:X", maximum_bytes=10_000)
    assert type(caught.value) is kind
    if isinstance(caught.value, WsmanFault):
        detail = caught.value.detail
        assert (detail.subcode, detail.code) == (subcode, provider or code)
        assert detail.provider == ("WMI Provider" if provider else "")
    theirs = WSMan._parse_wsman_fault(text)
    assert theirs.code == code
    assert "so it is" in str(caught.value)


def test_the_newer_error_object_is_read() -> None:
    body = (
        f'<s:Fault xmlns:s="{S}"><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>'
        "wsman:InternalError</s:Value></s:Subcode></s:Code><s:Reason><s:Text>x</s:Text></s:Reason>"
        f'<s:Detail><w:FaultDetail xmlns:w="{W}"> http://x/faultDetail/Y </w:FaultDetail>'
        f'<f:WSManFault xmlns:f="{F}" Code="2150858762"/><e:MSFT_WmiError xmlns:e="urn:e">'
        "<e:error_Code>2147749890</e:error_Code></e:MSFT_WmiError></s:Detail></s:Fault>"
    )
    error = read_fault(parse(body))
    assert isinstance(error, NotFound)
    assert error.detail.subcode == "w:InternalError"
    assert error.detail.detail_uri == "http://x/faultDetail/Y"


def test_a_fault_without_any_detail() -> None:
    error = read_fault(
        parse(f'<s:Fault xmlns:s="{S}"><s:Code><s:Value>s:Receiver</s:Value></s:Code></s:Fault>')
    )
    assert type(error) is WsmanFault
    assert (error.detail.subcode, error.detail.code) == ("s:Receiver", 0)


def test_a_code_that_is_no_number_is_passed_over() -> None:
    text = fault_body("w:AccessDenied", 0).replace('Code="0"', 'Code="many"')
    error = read_fault(parse(text.replace("<s:Fault>", f'<s:Fault xmlns:s="{S}">')))
    assert isinstance(error, AccessDenied)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        "<a>" * (MAXIMUM_DEPTH + 1) + "</a>" * (MAXIMUM_DEPTH + 1),
        "<a>\x01</a>",
        "<a>&b;</a>",
        "<a></b>",
        "",
        "<a/><b/>",
    ],
)
def test_xml_that_is_refused(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        parse(text)


def test_xml_that_only_talks_about_a_doctype_is_read() -> None:
    assert parse("<a><![CDATA[<!DOCTYPE x>]]></a>").text == "<!DOCTYPE x>"


def test_xml_beyond_the_limit() -> None:
    assert parse("<a>" + "b" * 93 + "</a>", maximum_bytes=100).tag == "a"
    with pytest.raises(ProtocolViolation, match="too long"):
        parse("<a>" + "b" * 94 + "</a>", maximum_bytes=100)


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        ("é".encode(), "UTF-8"),
        (b"\xef\xbb\xbf" + "é".encode(), "utf-8"),
        ("é".encode("utf-16"), "utf-8"),
        ("é".encode("utf-16le"), "UTF-16LE"),
    ],
)
def test_bodies_are_decoded_by_mark_and_charset(data: bytes, charset: str) -> None:
    assert decode(data, charset) == "é"


@pytest.mark.parametrize(("data", "charset"), [(b"\xff", "utf-8"), (b"a", "utf-7"), (b"a", "x")])
def test_bodies_that_cannot_be_decoded(data: bytes, charset: str) -> None:
    with pytest.raises(ProtocolViolation):
        decode(data, charset)


def summary(number: int) -> str:
    uri = V2 + "Msvm_SummaryInformation"
    values = {
        "ElementName": f"i-2-{number}-VM",
        "EnabledState": 2,
        "GuestOperatingSystem": "Debian GNU/Linux",
        "HealthState": 5,
        "Heartbeat": 2,
        "MemoryUsage": 1024,
        "Name": f"B637F346-6A0E-4DEC-AF52-{number:012}",
        "Notes": "CloudStack creating VM, do not edit.",
        "NumberOfProcessors": 2,
        "OperationalStatus": 2,
        "ProcessorLoad": 7,
        "UpTime": 3600000,
    }
    inner = "".join(f"<si:{name}>{value}</si:{name}>" for name, value in values.items())
    return (
        f'<p:SummaryInformation xmlns:si="{uri}" xmlns:xsi="{XSI}"'
        f' xsi:type="si:Msvm_SummaryInformation_Type">{inner}</p:SummaryInformation>'
    )


def test_summaries_of_250_machines_are_read_quickly() -> None:
    """The state report reads them all.  It takes about 6 ms; the bound allows a busy machine."""
    service = V2 + "Msvm_VirtualSystemManagementService"
    text = soap(
        f'<p:GetSummaryInformation_OUTPUT xmlns:p="{service}">'
        + "".join(summary(number) for number in range(250))
        + "<p:ReturnValue>0</p:ReturnValue></p:GetSummaryInformation_OUTPUT>",
        "uuid:X",
    )
    times = []
    for _ in range(5):
        started = time.perf_counter()
        body = open_answer(text, message_id="uuid:X", maximum_bytes=1_000_000)
        result = read_result(body, "GetSummaryInformation")
        times.append(time.perf_counter() - started)
        assert len(result.out.instances("SummaryInformation")) == 250
    assert min(times) < 0.045
