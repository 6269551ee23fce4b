"""The client's operations against a scripted host: reads, pages, queries, calls."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.wsman.scripted_host import V2, A, Answer, Request, W, fault_body, machine, whole
from tests.wsman.stage import SERVICE, VM, login, on_stage, plays

from cloudstack_hyperv.cim import ObjectPath, Uint16, Uint64
from cloudstack_hyperv.observe import CommandScope, command_scope
from cloudstack_hyperv.wsman import (
    AuthScheme,
    EmbeddedInstance,
    NotFound,
    QueryRefused,
    UnknownClass,
    WsmanFault,
    wql,
)

CONTEXT = "uuid:5B8C7B4E-0A3F-4F6E-9C3E-7D2A0C9C1F01"


def page(*rows: str, more: bool, first: bool) -> Answer:
    """An Enumerate (first) or Pull answer."""
    items = f"<{'w' if first else 'n'}:Items>{''.join(rows)}</{'w' if first else 'n'}:Items>"
    context = f"<n:EnumerationContext>{CONTEXT if more else ''}</n:EnumerationContext>"
    end = "" if more else "<w:EndOfSequence/>" if first else "<n:EndOfSequence/>"
    name = "EnumerateResponse" if first else "PullResponse"
    return Answer(f"<n:{name}>{context}{items}{end}</n:{name}>")


@pytest.mark.parametrize("scheme", [AuthScheme.NTLM, AuthScheme.BASIC, AuthScheme.NEGOTIATE])
async def test_one_connection_and_one_login_serve_many_reads(scheme: AuthScheme) -> None:
    async with on_stage(plays(Answer(machine("web01"))), login(scheme)) as (client, host):
        for _ in range(3):
            vm = await client.get(VM)
            assert vm.class_name == "Msvm_ComputerSystem"
            assert vm.string("ElementName") == "web01"
            assert vm.string("Description") is None
        assert host.connections == 1
        assert host.verbs == ["Get"] * 3


async def test_message_ids_are_capitals_after_the_scheme_and_never_the_same() -> None:
    async with on_stage(plays(Answer(machine("web01")))) as (client, host):
        await client.get(VM)
        await client.get(VM)
        first, second = (request.message_id for request in host.requests)
        assert first.startswith("uuid:")
        assert first[5:] == first[5:].upper()
        assert first != second


async def test_identify_reads_vendor_and_version() -> None:
    answer = (
        '<i:IdentifyResponse xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/'
        'wsmanidentity.xsd"><i:ProtocolVersion>http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'
        "</i:ProtocolVersion><i:ProductVendor>Microsoft Corporation</i:ProductVendor>"
        "<i:ProductVersion>OS: 10.0.17763 SP: 0.0 Stack: 3.0</i:ProductVersion>"
        "</i:IdentifyResponse>"
    )
    async with on_stage(plays(Answer(answer))) as (client, _):
        identity = await client.identify()
    assert identity.vendor == "Microsoft Corporation"
    assert identity.product_version == "OS: 10.0.17763 SP: 0.0 Stack: 3.0"


async def test_enumerate_pulls_until_the_end_of_the_sequence() -> None:
    script = plays(
        page(machine("a"), machine("b"), more=True, first=True),
        page(machine("c"), more=True, first=False),
        page(machine("d"), more=False, first=False),
    )
    async with on_stage(script) as (client, host):
        rows = await client.enumerate("Msvm_ComputerSystem")
    assert [row.string("ElementName") for row in rows] == ["a", "b", "c", "d"]
    assert host.verbs == ["Enumerate", "Pull", "Pull"]
    assert f">{CONTEXT}<" in host.requests[-1].text


async def test_an_enumeration_cut_short_without_a_word_is_not_a_short_list() -> None:
    answer = Answer(f"<n:EnumerateResponse><w:Items>{machine('a')}</w:Items></n:EnumerateResponse>")
    async with on_stage(plays(answer)) as (client, _):
        with pytest.raises(Exception, match="without a context and without an end"):
            await client.enumerate("Msvm_ComputerSystem")


async def test_a_lost_enumeration_starts_once_more_from_the_beginning() -> None:
    lost = Answer(fault_body("n:InvalidEnumerationContext", 2150858779), 500)
    script = plays(
        page(machine("a"), more=True, first=True), lost, Answer(whole(machine("a"), machine("b")))
    )
    async with on_stage(script) as (client, host):
        rows = await client.enumerate("Msvm_ComputerSystem")
    assert [row.string("ElementName") for row in rows] == ["a", "b"]
    assert host.verbs == ["Enumerate", "Pull", "Enumerate"]


async def test_a_cancelled_enumeration_is_released() -> None:
    asked, released = asyncio.Event(), asyncio.Event()

    async def script(request: Request) -> Answer:
        if request.verb == "Enumerate":
            return page(machine("a"), more=True, first=True)
        if request.verb == "Pull":
            asked.set()
            await asyncio.sleep(30)
        released.set()
        return Answer("<s:Body/>")

    async with on_stage(script) as (client, host):
        task = asyncio.create_task(client.enumerate("Msvm_ComputerSystem"))
        await asyncio.wait_for(asked.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(released.wait(), 5)
        release = host.requests[-1]
        assert release.verb == "Release"
        assert f">{CONTEXT}<" in release.text
        assert release.connection == 2, "the connection of the cancelled Pull is not used again"


async def test_queries_go_to_the_wildcard_uri_with_their_text() -> None:
    async with on_stage(plays(Answer(whole()))) as (client, host):
        name = "i-2-3-VM' OR ElementName LIKE '%"
        select = wql.Select("Msvm_ComputerSystem", where=wql.equals("ElementName", name))
        assert await client.query(select) == []
    request = host.requests[0]
    assert request.header(f"{{{W}}}ResourceURI") == V2 + "*"
    text = request.root.findtext(f".//{{{W}}}Filter")
    assert text == (
        r"SELECT * FROM Msvm_ComputerSystem WHERE ElementName = 'i-2-3-VM\' OR ElementName LIKE"
        r" \'%'"
    )


def refusing_wql(request: Request) -> Answer:
    """A host that takes no WQL in root/virtualization/v2."""
    if "WQL" in request.text:
        return Answer(fault_body("n:CannotProcessFilter", 2150858778), 500)
    return Answer(whole(machine("a", 2), machine("b", 3), machine("c", 2)))


async def test_a_refused_select_is_filtered_here_and_the_host_remembered() -> None:
    select = wql.Select("Msvm_ComputerSystem", where=wql.equals("EnabledState", 2))
    async with on_stage(refusing_wql) as (client, host):
        for _ in range(2):
            rows = await client.query(select)
            assert [row.string("ElementName") for row in rows] == ["a", "c"]
        assert len(host.requests) == 3, "the second time no query was tried"


async def test_plain_text_and_associations_that_are_refused_stay_refused() -> None:
    async with on_stage(refusing_wql) as (client, _):
        for query in ("SELECT * FROM Msvm_ComputerSystem", wql.Associators(VM)):
            with pytest.raises(QueryRefused):
                await client.query(query)


async def test_a_select_that_cannot_be_evaluated_here_raises_the_refusal() -> None:
    select = wql.Select("Msvm_ComputerSystem", where=wql.equals("__SERVER", "HV1"))
    async with on_stage(refusing_wql) as (client, _):
        with pytest.raises(QueryRefused):
            await client.query(select)


async def test_an_invalid_query_does_not_mark_the_host() -> None:
    def script(request: Request) -> Answer:
        if "Bad" in request.text and "WQL" in request.text:
            body = fault_body("n:CannotProcessFilter", 2150858778, provider_code=0x80041017)
            return Answer(body, 500)
        return Answer(whole())

    async with on_stage(script) as (client, host):
        await client.query(wql.Select("Msvm_ComputerSystem", where=wql.equals("Bad", 1)))
        await client.query(wql.Select("Msvm_ComputerSystem"))
        assert "WQL" in host.requests[-1].text


async def test_a_refusal_outside_the_hyperv_namespace_is_not_worked_around() -> None:
    async with on_stage(refusing_wql) as (client, host):
        with pytest.raises(QueryRefused):
            await client.query(wql.Select("Win32_Volume"), namespace="root/cimv2")
        assert len(host.requests) == 1


async def test_an_unknown_class_in_a_query_is_not_a_refused_query() -> None:
    body = fault_body("n:CannotProcessFilter", 2150858778, provider_code=0x80041010)
    async with on_stage(plays(Answer(body, 500))) as (client, host):
        with pytest.raises(UnknownClass):
            await client.query(wql.Select("Msvm_None"))
        assert len(host.requests) == 1


async def test_a_class_that_is_not_there_is_told_from_an_object_that_is_not() -> None:
    gone = Answer(fault_body("a:DestinationUnreachable", 2150858770), 500)
    async with on_stage(plays(gone)) as (client, _):
        with pytest.raises(UnknownClass):
            await client.enumerate("MSCluster_Node", namespace="root/mscluster")
        with pytest.raises(NotFound):
            await client.query(wql.Associators(VM))
        with pytest.raises(NotFound):
            await client.get(VM)


async def test_invoke_sends_references_instances_and_arrays() -> None:
    output = (
        f'<p:AddResourceSettings_OUTPUT xmlns:p="{V2}Msvm_VirtualSystemManagementService"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        "<p:ResultingResourceSettings>"
        f"<a:Address>{A}/role/anonymous</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{V2}Msvm_ResourceAllocationSettingData</w:ResourceURI>"
        r'<w:SelectorSet><w:Selector Name="InstanceID">Microsoft:AA\BB\0</w:Selector>'
        "</w:SelectorSet></a:ReferenceParameters></p:ResultingResourceSettings>"
        '<p:Job xsi:nil="true"/><p:ReturnValue>0</p:ReturnValue></p:AddResourceSettings_OUTPUT>'
    )
    async with on_stage(plays(Answer(output))) as (client, host):
        result = await client.invoke(
            SERVICE,
            "AddResourceSettings",
            {
                "AffectedConfiguration": VM,
                "ResourceSettings": [
                    EmbeddedInstance("Msvm_A", {"ResourceType": Uint16(6), "Name": "a & <b>"}),
                    EmbeddedInstance("Msvm_B", {"HostResource": [r"D:\a.vhdx"]}),
                ],
                "Nothing": None,
                "Size": Uint64(2**40),
                "Wait": timedelta(minutes=5),
            },
        )
    assert result.return_value == 0
    assert result.job is None
    (path,) = result.paths("ResultingResourceSettings")
    assert path == ObjectPath.of(
        "Msvm_ResourceAllocationSettingData", InstanceID=r"Microsoft:AA\BB\0"
    )
    request = host.requests[0]
    uri = V2 + "Msvm_VirtualSystemManagementService"
    assert request.action == f"{uri}/AddResourceSettings"
    parameters = request.root.find(f".//{{{uri}}}AddResourceSettings_INPUT")
    assert parameters is not None
    assert [child.tag.rpartition("}")[2] for child in parameters] == [
        "AffectedConfiguration",
        "ResourceSettings",
        "ResourceSettings",
        "Size",
        "Wait",
    ]
    assert parameters[0][0].tag == f"{{{A}}}Address", "no EndpointReference around the children"
    assert parameters[1].text == (
        '<INSTANCE CLASSNAME="Msvm_A"><PROPERTY NAME="ResourceType" TYPE="uint16"><VALUE>6</VALUE>'
        '</PROPERTY><PROPERTY NAME="Name" TYPE="string"><VALUE>a &amp; &lt;b&gt;</VALUE>'
        "</PROPERTY></INSTANCE>"
    )
    assert parameters[3].text == str(2**40)
    assert parameters[4][0].text == "P0DT0H5M0S"


@pytest.mark.parametrize(
    "body", ["", f'<p:TypeCtrlAltDel_OUTPUT xmlns:p="{V2}Msvm_Keyboard"></p:TypeCtrlAltDel_OUTPUT>']
)
async def test_a_void_method_has_no_return_value(body: str) -> None:
    async with on_stage(plays(Answer(body or "<!-- nothing -->"))) as (client, _):
        assert (await client.invoke(VM, "TypeCtrlAltDel")).return_value is None


async def test_a_code_of_failure_is_a_return_value_not_an_exception() -> None:
    output = (
        f'<p:RequestStateChange_OUTPUT xmlns:p="{V2}Msvm_ComputerSystem">'
        "<p:ReturnValue>32775</p:ReturnValue></p:RequestStateChange_OUTPUT>"
    )
    async with on_stage(plays(Answer(output))) as (client, _):
        result = await client.invoke(VM, "RequestStateChange", {"RequestedState": Uint16(2)})
    assert result.return_value == 32775


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"RequestedState": 2}, TypeError),
        ({"Name": "bell \a"}, ValueError),
        ({"Na me": "x"}, ValueError),
        ({"Settings": EmbeddedInstance("Msvm_X", {"N": "lone \ud800"})}, ValueError),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_it_is_sent(
    arguments: dict[str, object], error: type[Exception]
) -> None:
    async with on_stage(plays(Answer("x"))) as (client, host):
        with pytest.raises(error):
            await client.invoke(VM, "RequestStateChange", arguments)  # type: ignore[arg-type]
        assert host.requests == []


async def test_round_trips_are_counted_without_logins_and_job_polls_apart() -> None:
    scope = CommandScope("StartCommand", "hv1")
    script = plays(
        page(machine("a"), more=True, first=True),
        page(machine("b"), more=False, first=False),
        Answer(machine("job")),
    )
    async with on_stage(script) as (client, host):
        with command_scope(scope):
            await client.enumerate("Msvm_ComputerSystem")
            await client.get(VM, job_poll=True)
        assert host.posts > 3, "the login's requests come on top"
    assert (scope.round_trips, scope.job_polls) == (2, 1)


async def test_a_fault_is_typed_and_leaves_the_connection_in_use() -> None:
    gone = Answer(fault_body("w:InvalidSelectors", 2150858843, reason="unexpected selectors"), 500)
    async with on_stage(plays(gone, Answer(machine("a")))) as (client, host):
        with pytest.raises(NotFound, match="unexpected selectors"):
            await client.get(VM)
        await client.get(VM)
        assert host.connections == 1


async def test_a_fault_that_does_not_say_which_message_it_answers_is_taken() -> None:
    body = fault_body("a:MessageInformationHeaderRequired", 2150858811 + 1000)
    async with on_stage(plays(Answer(body, 500, relates_to=""))) as (client, _):
        with pytest.raises(Exception, match="another message"):
            await client.get(VM)
    envelope = (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"'
        f"><s:Header/><s:Body>{body}</s:Body></s:Envelope>"
    )
    async with on_stage(plays(Answer(envelope, 500))) as (client, _):
        with pytest.raises(WsmanFault, match="MessageInformationHeaderRequired"):
            await client.get(VM)


async def test_the_trace_sees_both_envelopes_without_secrets() -> None:
    seen: list[tuple[str, str]] = []
    output = (
        f'<p:Create_OUTPUT xmlns:p="{V2}MSFT_SmbGlobalMapping"><p:Echo>Passw0rd!</p:Echo>'
        "<p:ReturnValue>0</p:ReturnValue></p:Create_OUTPUT>"
    )
    script = plays(Answer(output))
    mapping = ObjectPath.of("MSFT_SmbGlobalMapping")
    async with on_stage(script, trace=lambda *pair: seen.append(pair)) as (client, host):
        await client.invoke(mapping, "Create", {"UserName": "x", "Password": "geheim"})
        assert "geheim" in host.requests[0].text
    ((request, answer),) = seen
    assert "<p:UserName>x</p:UserName><p:Password>***</p:Password>" in request
    assert "<p:Echo>***</p:Echo>" in answer


async def test_repr_shows_the_state_and_no_secret() -> None:
    async with on_stage(plays(Answer(machine("a")))) as (client, host):
        await client.get(VM)
        assert repr(client) == (
            f"<WsmanClient http://127.0.0.1:{host.port}/wsman ntlm as 'HV\\\\admin':"
            " 1 idle, 0 active of 8>"
        )


async def test_utf16_answers_are_read() -> None:
    for scheme in (AuthScheme.NTLM, AuthScheme.BASIC):
        answer = Answer(
            machine("ホスト"), utf16=True, content_type="application/soap+xml;charset=UTF-16"
        )
        async with on_stage(plays(answer), login(scheme)) as (client, _):
            assert (await client.get(VM)).string("ElementName") == "ホスト"
