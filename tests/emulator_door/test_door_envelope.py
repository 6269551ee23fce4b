"""What the door checks in an envelope before it looks at the resource, and how faults look."""

from __future__ import annotations

import pytest
from tests.emulator_door.doors import OpenDoor
from tests.emulator_door.raw_client import (
    ANONYMOUS,
    CIMV2,
    ENUMERATION,
    MESSAGE_ID,
    SYSTEM,
    TRANSFER,
    V2,
    A,
    RawClient,
    S,
    envelope,
    get,
    header,
    machine_key,
)

MUST = 's:mustUnderstand="true"'
GET = TRANSFER + "Get"
KEY = machine_key(1)


async def fault_of(open_door: OpenDoor, text: str) -> tuple[str, int]:
    client = await RawClient.connect(await open_door())
    answer = await client.post(text)
    assert answer.status == 500, answer.body
    return answer.fault


@pytest.mark.parametrize("missing", ["Action", "MessageID", "ReplyTo", "To"])
async def test_addressing_headers_are_required(open_door: OpenDoor, missing: str) -> None:
    text = envelope(GET, SYSTEM, "", KEY, without=missing)
    assert await fault_of(open_door, text) == (
        "a:MessageInformationHeaderRequired",
        2150858769,
    )


@pytest.mark.parametrize("missing", ["MaxEnvelopeSize", "OperationTimeout"])
async def test_other_headers_are_not(open_door: OpenDoor, missing: str) -> None:
    client = await RawClient.connect(await open_door())
    assert (await client.post(envelope(GET, SYSTEM, "", KEY, without=missing))).status == 200


INVALID_HEADER = ("a:InvalidMessageInformationHeader", 2150858767)
INVALID_URI = ("a:DestinationUnreachable", 2150858811)
NOT_FOUND = ("a:DestinationUnreachable", 2150858752)
BAD_TIMEOUT = ("w:InvalidParameter", 2150858881)
NO_SUCH_ACTION = ("a:ActionNotSupported", 2150858771)
EVENTING = "http://schemas.xmlsoap.org/ws/2004/08/eventing/"


def uri(text: str) -> dict[str, str]:
    return {"ResourceURI": header("w:ResourceURI", text, MUST)}


def action(text: str) -> dict[str, str]:
    return {"Action": header("a:Action", text, MUST)}


def size(text: str) -> dict[str, str]:
    return {"MaxEnvelopeSize": header("w:MaxEnvelopeSize", text, MUST)}


def time(text: str) -> dict[str, str]:
    return {"OperationTimeout": header("w:OperationTimeout", text)}


def selectors(inner: str) -> dict[str, str]:
    return {"SelectorSet": f"<w:SelectorSet>{inner}</w:SelectorSet>"}


def reply_to(address: str) -> dict[str, str]:
    return {"ReplyTo": header("a:ReplyTo", header("a:Address", address))}


@pytest.mark.parametrize(
    ("replaced", "expected"),
    [
        (action(" "), INVALID_HEADER),
        ({"MessageID": header("a:MessageID", "uuid:1") * 2}, INVALID_HEADER),
        ({"To": header("a:To", "http://h/", 's:mustUnderstand="maybe"')}, INVALID_HEADER),
        (reply_to("http://elsewhere/"), ("w:UnsupportedFeature", 2150858870)),
        ({"ResourceURI": ""}, INVALID_URI),
        (uri("http://example.com/x"), INVALID_URI),
        (uri(SYSTEM + "?Name=x"), INVALID_URI),
        (uri(V2 + "Msvm_NoSuchClass"), NOT_FOUND),
        (uri(SYSTEM.replace("virtualization/v2", "nowhere")), NOT_FOUND),
        (size("4096"), ("w:EncodingLimit", 2150858878)),
        (size("many"), INVALID_HEADER),
        (time("60"), BAD_TIMEOUT),
        (time("PT0S"), BAD_TIMEOUT),
        (
            {"Locale": '<w:Locale xml:lang="en" s:mustUnderstand="true"/>'},
            ("w:UnsupportedFeature", 2150858887),
        ),
        (
            {"Fragment": header("w:FragmentTransfer", "Name", MUST)},
            ("w:UnsupportedFeature", 2150858871),
        ),
        (
            {"Options": '<w:OptionSet><w:Option Name="x" MustComply="true"/></w:OptionSet>'},
            ("w:InvalidOptions", 2150858833),
        ),
        (
            selectors('<w:Selector Name="A">1</w:Selector><w:Selector Name="a">1</w:Selector>'),
            ("w:InvalidSelectors", 2150858847),
        ),
        (selectors("<w:Other/>"), ("w:InvalidSelectors", 2150858813)),
        (action("http://example.com/Do"), NO_SUCH_ACTION),
        (action(EVENTING + "Subscribe"), NO_SUCH_ACTION),
        (action(ENUMERATION + "Renew"), NO_SUCH_ACTION),
        (action(CIMV2 + "Win32_Process/Create"), ("w:ActionMismatch", 2150858801)),
    ],
)
async def test_header_faults(
    open_door: OpenDoor, replaced: dict[str, str], expected: tuple[str, int]
) -> None:
    assert await fault_of(open_door, envelope(GET, SYSTEM, "", KEY, replaced=replaced)) == expected


@pytest.mark.parametrize("must", ["true", "1"])
async def test_unknown_headers_that_must_be_understood(open_door: OpenDoor, must: str) -> None:
    client = await RawClient.connect(await open_door())
    unknown = f'<t:Token xmlns:t="urn:t" s:mustUnderstand="{must}">x</t:Token>'
    answer = await client.post(envelope(GET, SYSTEM, "", KEY, extra=unknown))
    assert answer.fault == ("s:MustUnderstand", 2150858768)
    assert '<s:NotUnderstood qname="q:Token" xmlns:q="urn:t"/>' in answer.text
    harmless = unknown.replace(f'"{must}"', '"false"')
    assert (await client.post(envelope(GET, SYSTEM, "", KEY, extra=harmless))).status == 200


@pytest.mark.parametrize("value", ["true", "1", "false", "0"])
async def test_must_understand_spellings(open_door: OpenDoor, value: str) -> None:
    text = get(SYSTEM, KEY).replace('mustUnderstand="true"', f'mustUnderstand="{value}"')
    client = await RawClient.connect(await open_door())
    assert (await client.post(text)).status == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not xml",
        "<a/>",
        "<a><b></a></b>",
        get(SYSTEM, KEY)[:-5],
        '<!DOCTYPE x [<!ENTITY e "boom">]>' + get(SYSTEM, KEY),
        '<?xml version="1.0"?><!-- c --><!DOCTYPE x>' + get(SYSTEM, KEY),
        "<a>" * 150 + "</a>" * 150,
        get(SYSTEM, KEY).replace("<s:Body>", "<s:Body>&undefined;"),
    ],
)
async def test_xml_that_is_none(open_door: OpenDoor, text: str) -> None:
    assert await fault_of(open_door, text) == ("w:SchemaValidationError", 2150858819)


async def test_soap_11_is_a_version_mismatch(open_door: OpenDoor) -> None:
    text = get(SYSTEM, KEY).replace(
        "http://www.w3.org/2003/05/soap-envelope", "http://schemas.xmlsoap.org/soap/envelope/"
    )
    assert await fault_of(open_door, text) == ("s:VersionMismatch", 2150858765)


@pytest.mark.parametrize("body", ["<a/><b/>", "words", '<x xmlns="urn:x"/>', "</s:Body><s:Body>"])
async def test_bodies_that_are_none(open_door: OpenDoor, body: str) -> None:
    assert await fault_of(open_door, envelope(GET, SYSTEM, body, KEY)) == (
        "w:SchemaValidationError",
        2150858791,
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="{}"?>\r\n'])
async def test_the_answer_follows_the_charset(
    open_door: OpenDoor, encoding: str, declaration: str
) -> None:
    client = await RawClient.connect(await open_door())
    charset = "UTF-16" if encoding.startswith("utf-16") else "UTF-8"
    text = declaration.format(charset) + get(SYSTEM, KEY)
    named = "UTF-16BE" if encoding == "utf-16-be" else charset
    answer = await client.post(
        text.encode(encoding), content_type=f"application/soap+xml;charset={named}"
    )
    assert answer.status == 200
    assert answer.header("Content-Type") == f"application/soap+xml;charset={charset}"
    assert answer.body_child.findtext("{" + SYSTEM + "}ElementName") == "vm1"
    if charset == "UTF-16":
        assert answer.body.startswith(b"\xff\xfe<\x00s\x00")


@pytest.mark.parametrize(
    ("body", "charset", "expected"),
    [
        (b"\xff", "UTF-8", ("w:SchemaValidationError", 2150858819)),
        (b"<a/>", "ISO-8859-1", ("w:EncodingLimit", 2150858796)),
        (b"<a/>x", "UTF-16", ("w:SchemaValidationError", 2150858819)),
    ],
)
async def test_charset_faults(
    open_door: OpenDoor, body: bytes, charset: str, expected: tuple[str, int]
) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(body, content_type=f"application/soap+xml;charset={charset}")
    assert answer.fault == expected


async def test_an_answer_byte_for_byte(open_door: OpenDoor) -> None:
    """Prefixes, header order, no white space, no XML declaration, RelatesTo unchanged."""
    client = await RawClient.connect(await open_door())
    odd_id = "uuid:7d7DA9C5-lower-AND-Upper "
    text = get(SYSTEM, KEY).replace(MESSAGE_ID, odd_id)
    answer = await client.post(text)
    message_id = answer.xml.findtext(f"{S}Header/{A}MessageID") or ""
    assert message_id.startswith("uuid:")
    assert message_id == message_id.replace("uuid:", "").upper().join(["uuid:", ""])
    assert answer.text.startswith(
        '<s:Envelope xml:lang="en-US" xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:x="http://schemas.xmlsoap.org/ws/2004/09/transfer" '
        'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" '
        'xmlns:p="http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd">'
        f"<s:Header><a:Action>{GET}Response</a:Action><a:MessageID>{message_id}</a:MessageID>"
        f"<a:To>{ANONYMOUS}</a:To><a:RelatesTo>{odd_id}</a:RelatesTo></s:Header>"
        "<s:Body><p:Msvm_ComputerSystem "
    )
    assert answer.text.endswith("</p:Msvm_ComputerSystem></s:Body></s:Envelope>")


async def test_a_fault_byte_for_byte(open_door: OpenDoor) -> None:
    """The layers of a provider fault, as Windows was seen to write them."""
    client = await RawClient.connect(await open_door())
    answer = await client.post(get(SYSTEM, machine_key(99)))
    text = (
        "The WS-Management service cannot process the request. The service cannot find the "
        "resource identified by the resource URI and selectors."
    )
    assert answer.fault == ("a:DestinationUnreachable", 2150858752)
    assert answer.innermost_code == 0x80041002
    assert answer.xml.findtext(f"{S}Header/{A}Action", "").endswith("/08/addressing/fault")
    assert answer.xml.findtext(f"{S}Header/{A}RelatesTo") == MESSAGE_ID
    assert (
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode>"
        "<s:Value>a:DestinationUnreachable</s:Value></s:Subcode></s:Code><s:Reason>"
        '<s:Text xml:lang="en-US">'
    ) in answer.text
    assert (
        "<s:Detail><w:FaultDetail>http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail/"
        "InvalidResourceURI</w:FaultDetail><f:WSManFault "
        'xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="2150858752" '
        'Machine="HV1"><f:Message><f:ProviderFault provider="WMI Provider" '
        'path="%systemroot%\\system32\\WsmWmiPl.dll"><f:WSManFault '
    ) in answer.text
    assert "<p:Operation>GetObject</p:Operation>" in answer.text
    assert '<p:error_Code xsi:type="cim:cimUnsignedInt">2150858752</p:error_Code>' in answer.text
    assert f'<s:Text xml:lang="en-US">{text}</s:Text>' in answer.text
    assert f"<f:Message>{text}</f:Message>" in answer.text


async def test_selectors_of_get(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    name_only = {"Name": KEY["Name"]}
    assert (await client.post(get(SYSTEM, name_only))).fault[0] == "a:DestinationUnreachable"
    unknown = KEY | {"Color": "red"}
    assert (await client.post(get(SYSTEM, unknown))).fault == ("w:InvalidSelectors", 2150858843)
    assert (await client.post(get(SYSTEM))).fault == ("a:DestinationUnreachable", 2150859002)
    other_case = {name.upper(): value.lower() for name, value in KEY.items()}
    assert (await client.post(get(SYSTEM, other_case))).status == 200


async def test_put_create_delete(open_door: OpenDoor) -> None:
    volume = CIMV2 + "Win32_Volume"
    client = await RawClient.connect(await open_door())
    body = f'<v:Win32_Volume xmlns:v="{volume}">{{}}</v:Win32_Volume>'

    def put(inner: str, selectors: dict[str, str]) -> str:
        return envelope(TRANSFER + "Put", volume, body.format(inner), selectors)

    answer = await client.post(put("<v:Label>New &amp; old</v:Label>", {"DeviceID": "c:"}))
    assert answer.status == 200
    assert answer.body_child.findtext("{" + volume + "}Label") == "New & old"
    again = await client.post(get(volume, {"DeviceID": "C:"}))
    assert again.body_child.findtext("{" + volume + "}Label") == "New & old"
    changed_key = put("<v:DeviceID>D:</v:DeviceID>", {"DeviceID": "C:"})
    assert (await client.post(changed_key)).fault == ("x:InvalidRepresentation", 2150858989)
    for wrong in ("<v:Nope>1</v:Nope>", "<v:Label>a</v:Label><v:Label>b</v:Label>"):
        subcode, _ = (await client.post(put(wrong, {"DeviceID": "C:"}))).fault
        assert subcode in ("x:InvalidRepresentation", "w:SchemaValidationError")
    inner = "<v:DeviceID>E:</v:DeviceID><v:Capacity>7</v:Capacity>"
    create = envelope(TRANSFER + "Create", volume, body.format(inner))
    answer = await client.post(create)
    assert (
        answer.body_child.tag == "{http://schemas.xmlsoap.org/ws/2004/09/transfer}ResourceCreated"
    )
    assert '<w:Selector Name="DeviceID">E:</w:Selector>' in answer.text
    delete = envelope(TRANSFER + "Delete", volume, "", {"DeviceID": "E:"})
    answer = await client.post(delete)
    assert answer.text.endswith("<s:Body></s:Body></s:Envelope>")
    assert (await client.post(delete)).fault[0] == "a:DestinationUnreachable"


@pytest.mark.parametrize("action", ["Put", "Create", "Delete"])
async def test_hyper_v_classes_take_no_changes(open_door: OpenDoor, action: str) -> None:
    instance = f'<v:Msvm_ComputerSystem xmlns:v="{SYSTEM}"><v:Caption>x</v:Caption>'
    body = "" if action == "Delete" else instance + "</v:Msvm_ComputerSystem>"
    text = envelope(TRANSFER + action, SYSTEM, body, {} if action == "Create" else KEY)
    client = await RawClient.connect(await open_door())
    answer = await client.post(text)
    assert answer.fault == ("a:ActionNotSupported", 2150859010)
    assert answer.innermost_code == 0x8004100C


async def test_dmtf_resource_uris(open_door: OpenDoor) -> None:
    dmtf = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
    client = await RawClient.connect(await open_door())
    where = {"__cimnamespace": "root/virtualization/v2"}
    answer = await client.post(get(dmtf + "CIM_ComputerSystem", KEY | where))
    assert answer.body_child.tag == "{" + SYSTEM + "}Msvm_ComputerSystem"
    text = get(dmtf + "Msvm_ComputerSystem", KEY | where)
    assert (await client.post(text)).fault == ("a:DestinationUnreachable", 2150859065)
    text = get(SYSTEM, KEY | {"__cimnamespace": "root/cimv2"})
    assert (await client.post(text)).fault == ("w:InvalidSelectors", 2150859067)
