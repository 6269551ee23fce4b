"""Requests in the form of libvirt's hyperv driver (openwsman), and its literal reading of answers.

libvirt sends three kinds of request: Enumerate with WQL on the wildcard, Pull without MaxElements
naming another resource, Invoke with a partial service key and escaped embedded instances.  It reads
by XPath with the prefixes s, a, w and p, which therefore must be declared where it looks.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

from tests.emulator_door.doors import OpenDoor
from tests.emulator_door.raw_client import SERVICE, SYSTEM, V2, A, N, RawClient, W

_HEADERS = "User-Agent: openwsman 2.2.0\r\nAccept: */*\r\n"


def openwsman(action: str, uri: str, body: str, selectors: str = "") -> str:
    must = 's:mustUnderstand="true"'
    chosen = f"<wsman:SelectorSet>{selectors}</wsman:SelectorSet>" if selectors else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:wsman="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" '
        'xmlns:wsen="http://schemas.xmlsoap.org/ws/2004/09/enumeration"><s:Header>'
        f"<wsa:Action {must}>{action}</wsa:Action>"
        f"<wsa:To {must}>http://hv1:5985/wsman</wsa:To>"
        f"<wsman:ResourceURI {must}>{uri}</wsman:ResourceURI>"
        f"<wsa:MessageID {must}>uuid:0d4f0b5e-1d1e-1d1e-8002-6a2d2c6e2c00</wsa:MessageID>"
        "<wsa:ReplyTo><wsa:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
        f"</wsa:Address></wsa:ReplyTo>{chosen}</s:Header><s:Body>{body}</s:Body></s:Envelope>\n"
    )


def query(text: str, mode: str = "") -> str:
    body = (
        f"<wsen:Enumerate>{mode}<wsman:Filter "
        f'Dialect="http://schemas.microsoft.com/wbem/wsman/1/WQL">{escape(text)}</wsman:Filter>'
        "</wsen:Enumerate>"
    )
    return openwsman("http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate", V2 + "*", body)


async def fetch(client: RawClient, text: str, pull_uri: str, mode: str = "") -> list[ET.Element]:
    """Read as libvirt does: the first item of each Pull, while there is a context."""
    answer = await client.post(query(text, mode), headers=_HEADERS)
    context = answer.body_child.findtext(N + "EnumerationContext")
    rows: list[ET.Element] = []
    requests = 1
    while context:
        body = (
            f"<wsen:Pull><wsen:EnumerationContext>{context}</wsen:EnumerationContext></wsen:Pull>"
        )
        answer = await client.post(
            openwsman("http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull", pull_uri, body),
            headers=_HEADERS,
        )
        requests += 1
        items = answer.body_child.find(N + "Items")
        assert items is not None, "Could not lookup pull response items"
        rows.extend(items[:1])
        context = answer.body_child.findtext(N + "EnumerationContext")
    assert requests == 1 + max(1, len(rows))
    return rows


async def test_the_first_request_comes_without_a_login_and_costs_one_round(
    open_door: OpenDoor,
) -> None:
    client = await RawClient.connect(await open_door())
    login, client.authorization = client.authorization, None
    text = query("SELECT * FROM Msvm_ComputerSystem ")
    answer = await client.post(text, headers=_HEADERS)
    assert answer.status == 401
    assert 'Basic realm="WSMAN"' in answer.all("WWW-Authenticate")
    client.authorization = login
    assert (await client.post(text, headers=_HEADERS)).status == 200


async def test_queries(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    every = await fetch(client, "SELECT * FROM Msvm_ComputerSystem WHERE Name != __SERVER ", SYSTEM)
    assert [row.tag for row in every] == ["{" + SYSTEM + "}Msvm_ComputerSystem"] * 3
    one = await fetch(
        client,
        "SELECT * FROM Msvm_ComputerSystem WHERE Name != __SERVER AND ElementName = 'vm2'",
        SYSTEM,
    )
    assert len(one) == 1
    nobody = await fetch(
        client, "SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'nobody'", SYSTEM
    )
    assert nobody == []
    by_id = "SELECT * FROM Msvm_ComputerSystem WHERE Name='00000000-0000-0000-0000-000000000003'"
    assert len(await fetch(client, by_id, SYSTEM)) == 1


async def test_a_reference_is_copied_whole_from_an_epr_item_into_a_call(
    open_door: OpenDoor,
) -> None:
    door = await open_door()
    client = await RawClient.connect(door)
    mode = "<wsman:EnumerationMode>EnumerateEPR</wsman:EnumerationMode>"
    (item,) = await fetch(
        client, "SELECT * FROM Msvm_ResourceAllocationSettingData ", SERVICE, mode
    )
    assert item.tag == A + "EndpointReference"
    assert item.find(A + "Address") is not None
    copied = "".join(ET.tostring(child, encoding="unicode") for child in item)
    embedded = (
        '<?xml version="1.0"?>\n<INSTANCE CLASSNAME="Msvm_ResourceAllocationSettingData">\n'
        '  <PROPERTY NAME="ResourceType" TYPE="uint16">\n    <VALUE>6</VALUE>\n  </PROPERTY>\n'
        '  <PROPERTY.ARRAY NAME="HostResource" TYPE="string">\n    <VALUE.ARRAY>\n'
        "      <VALUE>D:\\vm.vhdx</VALUE>\n    </VALUE.ARRAY>\n  </PROPERTY.ARRAY>\n</INSTANCE>\n"
    )
    body = (
        f'<n1:AddResourceSettings_INPUT xmlns:n1="{SERVICE}">'
        f"<n1:AffectedConfiguration>{copied}</n1:AffectedConfiguration>"
        f"<n1:ResourceSettings>{escape(embedded)}</n1:ResourceSettings>"
        "</n1:AddResourceSettings_INPUT>"
    )
    selector = (
        '<wsman:Selector Name="CreationClassName">Msvm_VirtualSystemManagementService'
        "</wsman:Selector>"
    )
    answer = await client.post(
        openwsman(SERVICE + "/AddResourceSettings", SERVICE, body, selector), headers=_HEADERS
    )
    assert answer.status == 200
    prefixes = dict(re.findall(r'xmlns:(\w+)="([^"]+)"', answer.text.partition("<s:Header>")[0]))
    assert prefixes["s"] == "http://www.w3.org/2003/05/soap-envelope"
    assert prefixes["a"] == A[1:-1]
    assert prefixes["w"] == W[1:-1]
    body_text = answer.text.partition("<s:Body>")[2]
    output, _, rest = body_text.partition(">")
    assert output.startswith("<p:AddResourceSettings_OUTPUT ")
    assert f'xmlns:p="{SERVICE}"' in output
    assert "<p:ReturnValue>0</p:ReturnValue>" in rest
    first_id = re.search(r'<w:Selector Name="InstanceID">([^<]*)<', answer.text)
    assert first_id is not None
    assert first_id[1] == "Microsoft:1\\2"
    call = door.host.service.seen[-1]
    settings = call.arguments["ResourceSettings"]
    assert isinstance(settings, list)
    assert repr(settings[0]) == (
        "Row(Msvm_ResourceAllocationSettingData, "
        "{'ResourceType': Uint16(6), 'HostResource': ['D:\\\\vm.vhdx']})"
    )


async def test_a_fault_text_is_found_where_it_looks(open_door: OpenDoor) -> None:
    client = await RawClient.connect(await open_door())
    answer = await client.post(query("SELECT * FROM Msvm_NoSuchClass "), headers=_HEADERS)
    assert answer.status == 500
    assert re.search(
        r"<s:Envelope [^>]*><s:Header>.*</s:Header><s:Body><s:Fault>.*<s:Reason>"
        r'<s:Text xml:lang="en-US">[^<]+</s:Text></s:Reason>',
        answer.text,
    )
