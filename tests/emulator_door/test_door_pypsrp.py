"""pypsrp's WSMan class, an independent client, against the door over real sockets."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from pypsrp.exceptions import AuthenticationError, WSManFaultError
from pypsrp.wsman import NAMESPACES, SelectorSet, WSMan, WSManAction
from tests.emulator_door.doors import PASSWORD, OpenDoor
from tests.emulator_door.tls import Tls

from cloudstack_hyperv.emulator.door.settings import Account, DoorSettings

WMI = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/"
SYSTEM = WMI + "Msvm_ComputerSystem"
SERVICE = WMI + "Msvm_VirtualSystemManagementService"
WSEN = "{" + NAMESPACES["wsen"] + "}"
W = "{" + NAMESPACES["wsman"] + "}"


def client(
    port: int, auth: str, encryption: str, user: str = "Administrator", **more: Any
) -> WSMan:
    return WSMan(
        "127.0.0.1",
        port=port,
        ssl=more.pop("ssl", False),
        auth=auth,
        encryption=encryption,
        username=user,
        password=more.pop("password", PASSWORD),
        max_envelope_size=512000,
        no_proxy=True,
        **more,
    )


def conversation(port: int, auth: str, encryption: str, user: str) -> None:
    """Sixteen steps on one connection, as a management tool would take them."""
    with client(port, auth, encryption, user) as wsman:
        enumerate_all = ET.Element(WSEN + "Enumerate")
        answer = wsman.enumerate(SYSTEM, enumerate_all)
        context = answer.findtext(f".//{WSEN}EnumerationContext")
        names = []
        while context:
            pull = ET.Element(WSEN + "Pull")
            ET.SubElement(pull, WSEN + "EnumerationContext").text = context
            answer = wsman.pull(SYSTEM, pull)
            items = answer.find(f".//{WSEN}Items")
            assert items is not None
            assert len(items) == 1
            names.append(items[0].findtext("{" + SYSTEM + "}ElementName"))
            context = answer.findtext(f".//{WSEN}EnumerationContext")
        assert names == ["vm1", "vm2", "vm3"]
        selectors = SelectorSet()
        selectors.add_option("CreationClassName", "Msvm_ComputerSystem")
        selectors.add_option("Name", "00000000-0000-0000-0000-000000000002")
        answer = wsman.get(SYSTEM, selector_set=selectors)
        assert answer.findtext(".//{" + SYSTEM + "}ElementName") == "vm2"

        change = ET.Element("{" + SYSTEM + "}RequestStateChange_INPUT")
        ET.SubElement(change, "{" + SYSTEM + "}RequestedState").text = "3"
        answer = wsman.invoke(SYSTEM + "/RequestStateChange", SYSTEM, change, None, selectors)
        assert answer.findtext(".//{" + SYSTEM + "}ReturnValue") == "4096"
        answer = wsman.invoke(SYSTEM + "/RequestStateChange", SYSTEM, change, None, selectors)
        assert answer.findtext(".//{" + SYSTEM + "}ReturnValue") == "32775"

        for action, code in (
            (SYSTEM + "/NoSuchMethod", 2150858771),
            (WSManAction.GET + "Twice", 2150858771),
        ):
            with pytest.raises(WSManFaultError) as fault:
                wsman.invoke(action, SYSTEM, change, None, selectors)
            assert fault.value.code == code


@pytest.mark.parametrize(
    ("auth", "encryption", "user"),
    [
        ("basic", "never", "Administrator"),
        ("basic", "never", r"HV1\administrator"),
        ("ntlm", "auto", "Administrator"),
        ("negotiate", "auto", "administrator"),
        ("ntlm", "auto", r"SOMEWHERE\administrator"),
        ("ntlm", "auto", r"CORP\cloud"),
        ("ntlm", "never", "Administrator"),
    ],
)
async def test_a_whole_conversation(
    open_door: OpenDoor, auth: str, encryption: str, user: str
) -> None:
    door = await open_door()
    await asyncio.to_thread(conversation, door.port, auth, encryption, user)
    methods = [record.call.method for record in door.server.calls.records]
    assert methods.count("RequestStateChange") == 2
    assert {record.call.caller.user for record in door.server.calls.records} <= {
        "Administrator",
        r"CORP\cloud",
    }


@pytest.mark.parametrize("auth", ["basic", "ntlm", "negotiate"])
@pytest.mark.parametrize(("user", "password"), [("Administrator", "wrong"), ("nobody", PASSWORD)])
async def test_wrong_credentials(open_door: OpenDoor, auth: str, user: str, password: str) -> None:
    door = await open_door()

    def attempt() -> None:
        encryption = "never" if auth == "basic" else "auto"
        with client(door.port, auth, encryption, user, password=password) as wsman:
            wsman.enumerate(SYSTEM, ET.Element(WSEN + "Enumerate"))

    with pytest.raises(AuthenticationError):
        await asyncio.to_thread(attempt)


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
async def test_a_user_without_rights_gets_code_5(open_door: OpenDoor, auth: str) -> None:
    door = await open_door()

    def attempt() -> None:
        encryption = "never" if auth == "basic" else "auto"
        with client(door.port, auth, encryption, "operator") as wsman:
            wsman.enumerate(SYSTEM, ET.Element(WSEN + "Enumerate"))

    with pytest.raises(WSManFaultError) as fault:
        await asyncio.to_thread(attempt)
    assert fault.value.code == 5


async def test_basic_refuses_domain_accounts(open_door: OpenDoor) -> None:
    door = await open_door()

    def attempt() -> None:
        with client(door.port, "basic", "never", r"CORP\cloud") as wsman:
            wsman.enumerate(SYSTEM, ET.Element(WSEN + "Enumerate"))

    with pytest.raises(AuthenticationError):
        await asyncio.to_thread(attempt)


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
async def test_clear_messages_are_refused_by_default(open_door: OpenDoor, auth: str) -> None:
    door = await open_door(DoorSettings(basic=True))

    def attempt() -> None:
        with client(door.port, auth, "never") as wsman:
            wsman.enumerate(SYSTEM, ET.Element(WSEN + "Enumerate"))

    with pytest.raises(WSManFaultError) as fault:
        await asyncio.to_thread(attempt)
    assert fault.value.code == 5
    assert len(door.server.calls.records) == 0


async def test_sealed_messages_pass_by_default(open_door: OpenDoor) -> None:
    door = await open_door(DoorSettings())
    await asyncio.to_thread(conversation, door.port, "negotiate", "auto", "Administrator")


async def test_a_large_answer_travels_sealed(open_door: OpenDoor) -> None:
    door = await open_door(DoorSettings(), machines=400)

    def fetch() -> int:
        with client(door.port, "ntlm", "auto") as wsman:
            body = ET.Element(WSEN + "Enumerate")
            ET.SubElement(body, W + "OptimizeEnumeration")
            ET.SubElement(body, W + "MaxElements").text = "32000"
            answer = wsman.enumerate(SYSTEM, body)
            items = answer.find(f".//{W}Items")
            assert items is not None
            return len(items)

    count = await asyncio.to_thread(fetch)
    assert count > 200


@pytest.mark.parametrize(
    ("auth", "encryption"),
    [
        ("basic", "auto"),
        ("certificate", "auto"),
        ("ntlm", "auto"),
        ("ntlm", "always"),
        ("negotiate", "auto"),
        ("negotiate", "always"),
    ],
)
async def test_over_https_with_strict_channel_binding(
    open_door: OpenDoor, tls: Tls, tmp_path: Path, auth: str, encryption: str
) -> None:
    settings = DoorSettings(
        http_port=None,
        https_port=0,
        tls=tls.files,
        basic=True,
        certificate=True,
        cbt_hardening="strict",
    )
    account = Account(
        "Administrator", PASSWORD, certificate_thumbprints=(tls.thumbprint(tls.known),)
    )
    door = await open_door(settings, accounts=(account,))
    tls.known.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    tls.known.private_key_pem.write_to_path(tmp_path / "client.key")
    more: dict[str, Any] = {"ssl": True, "cert_validation": str(tls.files.client_ca)}
    if auth == "certificate":
        more |= {
            "certificate_pem": str(tmp_path / "client.pem"),
            "certificate_key_pem": str(tmp_path / "client.key"),
        }

    def count() -> int:
        body = ET.Element(WSEN + "Enumerate")
        ET.SubElement(body, W + "OptimizeEnumeration")
        ET.SubElement(body, W + "MaxElements").text = "10"
        with client(door.port, auth, encryption, **more) as wsman:
            items = wsman.enumerate(SYSTEM, body).find(f".//{W}Items")
            assert items is not None
            return len(items)

    assert await asyncio.to_thread(count) == 3
    mechanism = door.server.calls.records[-1].call.caller.mechanism
    assert mechanism == ("ntlm" if auth == "negotiate" else auth)
