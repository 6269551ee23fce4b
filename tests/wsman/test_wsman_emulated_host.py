"""The client and the emulated host: written apart, they have to understand each other."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from tests.wsman.stage import SERVICE

from cloudstack_hyperv.cim import ObjectPath, Uint16, Uint32
from cloudstack_hyperv.cim.constants import JobState, RequestedState, SummaryField
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.schema import Schema
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import Account, Accounts, DoorSettings, TlsFiles
from cloudstack_hyperv.emulator.host import EmulatedHost, HostConfig
from cloudstack_hyperv.emulator.schema import load_schema
from cloudstack_hyperv.wsman import (
    AuthenticationFailed,
    AuthScheme,
    Credentials,
    EmbeddedInstance,
    Endpoint,
    NotFound,
    UnknownClass,
    WsmanClient,
    wql,
)

USER = "Administrator"
PASSWORD = "Loopback-only-1"
NASTY = "i-2-3-VM' OR ElementName LIKE '%\\_[x]\" & <é>"
SCHEMES = [AuthScheme.NTLM, AuthScheme.NEGOTIATE, AuthScheme.BASIC]


def login(scheme: AuthScheme = AuthScheme.NTLM, password: str = PASSWORD) -> Credentials:
    return Credentials(scheme, USER, password, allow_clear_text=True)


@cache
def schema() -> Schema:
    """The schema of Windows Server 2019; compiling it takes a second."""
    return load_schema().for_release("2019")


@asynccontextmanager
async def host_with(
    folder: Path, account: Account | None = None, **door: Any
) -> AsyncIterator[WsmanServer]:
    """An emulated host behind a door with these settings."""
    host = EmulatedHost(HostConfig(folder=folder / "host"))
    accounts = Accounts([account or Account(USER, PASSWORD)], host.name)
    server = WsmanServer(CimEngine(host, schema()), DoorSettings(**door), accounts)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_s=0.5)
        host.close()


def port_of(server: WsmanServer) -> int:
    return urlsplit(server.endpoints[0]).port or 0


@asynccontextmanager
async def talking(
    folder: Path, credentials: Credentials | None = None, **door: Any
) -> AsyncIterator[tuple[WsmanClient, WsmanServer]]:
    """A client and an emulated host that listens on http."""
    async with host_with(folder, **{"basic": True, "allow_unencrypted": True, **door}) as server:
        endpoint = Endpoint("127.0.0.1", port_of(server), https=False)
        client = WsmanClient(endpoint, credentials or login(), default_timeout=20)
        try:
            yield client, server
        finally:
            await client.close()


async def finish(client: WsmanClient, job: ObjectPath | None) -> None:
    while job is not None:
        state = (await client.get(job, job_poll=True)).uint("JobState")
        if state == JobState.COMPLETED:
            return
        assert state in (JobState.NEW, JobState.STARTING, JobState.RUNNING)
        await asyncio.sleep(0.01)


async def define(client: WsmanClient, name: str) -> ObjectPath:
    """Define a machine and return its path."""
    settings = EmbeddedInstance(
        "Msvm_VirtualSystemSettingData", {"ElementName": name, "Notes": ["a & <b>", ""]}
    )
    result = await client.invoke(SERVICE, "DefineSystem", {"SystemSettings": settings})
    assert result.return_value in (0, 4096)
    await finish(client, result.job)
    (path,) = result.paths("ResultingSystem")
    return path


def named(name: str) -> wql.Select:
    return wql.Select("Msvm_ComputerSystem", wql.equals("ElementName", name))


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_machine_is_defined_started_read_and_destroyed(
    tmp_path: Path, scheme: AuthScheme
) -> None:
    async with talking(tmp_path, login(scheme)) as (client, _):
        assert "Stack: 3.0" in (await client.identify()).product_version
        path = await define(client, NASTY)
        await define(client, "another")

        (row,) = await client.query(named(NASTY))
        assert row.string("ElementName") == NASTY
        assert row.require("Name") == path.key("Name")
        assert (await client.get(path)).values == row.values

        started = await client.invoke(
            path, "RequestStateChange", {"RequestedState": Uint16(RequestedState.START)}
        )
        assert started.return_value in (0, 4096)
        await finish(client, started.job)
        assert (await client.get(path)).uint("EnabledState") == 2

        summary = await client.invoke(
            SERVICE,
            "GetSummaryInformation",
            {
                "RequestedInformation": [
                    Uint32(SummaryField.NAME),
                    Uint32(SummaryField.ELEMENT_NAME),
                    Uint32(SummaryField.ENABLED_STATE),
                ]
            },
        )
        states = {
            row.require("ElementName"): row.uint("EnabledState")
            for row in summary.out.instances("SummaryInformation")
        }
        assert states == {NASTY: 2, "another": 3}

        stopped = await client.invoke(
            path, "RequestStateChange", {"RequestedState": Uint16(RequestedState.TURN_OFF)}
        )
        await finish(client, stopped.job)
        gone = await client.invoke(SERVICE, "DestroySystem", {"AffectedSystem": path})
        await finish(client, gone.job)
        assert await client.query(named(NASTY)) == []
        with pytest.raises(NotFound):
            await client.get(path)


async def test_associations_lead_from_a_machine_to_its_settings(tmp_path: Path) -> None:
    async with talking(tmp_path) as (client, _):
        path = await define(client, NASTY)
        (settings,) = await client.query(
            wql.Associators(path, "Msvm_SettingsDefineState", "Msvm_VirtualSystemSettingData")
        )
        assert settings.string("ElementName") == NASTY
        assert settings.strings("Notes")[0] == "a & <b>"
        (link,) = await client.query(wql.References(path, "Msvm_SettingsDefineState"))
        element = link.path("ManagedElement")
        assert element is not None
        assert element.same_object(path)


SELECTS = [
    named(NASTY),
    wql.Select("Msvm_ComputerSystem", wql.starts_with("ElementName", NASTY[:22])),
    wql.Select("Msvm_ComputerSystem", wql.contains("ElementName", "%")),
    wql.Select("Msvm_ComputerSystem", wql.contains("ElementName", "_[X")),
    wql.Select("Msvm_ComputerSystem", wql.ends_with("ElementName", "<É>")),
    wql.Select("Msvm_ComputerSystem", wql.equals("EnabledState", 3)),
    wql.Select("Msvm_ComputerSystem", wql.Comparison("EnabledState", ">=", 3)),
    wql.Select("Msvm_ComputerSystem", wql.Not(wql.equals("Caption", "Virtual Machine"))),
    wql.Select("Msvm_ComputerSystem", wql.one_of("ElementName", ["plain", NASTY])),
    wql.Select("Msvm_ProcessorSettingData", wql.equals("LimitProcessorFeatures", False)),
    wql.Select(
        "Msvm_VirtualSystemSettingData",
        wql.all_of(
            [
                wql.equals("VirtualSystemType", "Microsoft:Hyper-V:System:Realized"),
                wql.Not(wql.IsNull("ElementName")),
                wql.any_of([wql.equals("ElementName", "plain"), wql.IsNull("ElementName")]),
            ]
        ),
    ),
]


async def test_a_select_gives_the_same_rows_here_and_there(tmp_path: Path) -> None:
    """What a host's WQL finds and what the client finds where a host refuses WQL."""
    async with talking(tmp_path) as (client, _):
        await define(client, NASTY)
        await define(client, "plain")
        refused: list[str] = []
        for select in SELECTS:
            there = await client.query(select)
            client._refuses_wql.add("root/virtualization/v2")
            here = await client.query(select)
            client._refuses_wql.clear()
            refused += [] if there == here else [str(select)]
            assert there, f"{select} tells nothing"
        assert refused == []


async def test_a_host_that_refuses_wql_is_served_all_the_same(tmp_path: Path) -> None:
    refusing = frozenset({"root/virtualization/v2"})
    async with talking(tmp_path, wql_refused_in=refusing) as (client, _):
        await define(client, NASTY)
        (row,) = await client.query(named(NASTY))
        assert row.string("ElementName") == NASTY
        (system,) = await client.query(wql.Select("Win32_OperatingSystem"), namespace="root/cimv2")
        assert system.string("Version") == "10.0.17763"


async def test_pages_of_one_give_what_one_page_gives(tmp_path: Path) -> None:
    async with talking(tmp_path) as (client, server):
        for number in range(3):
            await define(client, f"vm{number}")
        whole = await client.enumerate("Msvm_ResourceAllocationSettingData")
        endpoint = Endpoint("127.0.0.1", port_of(server), https=False)
        patient = WsmanClient(endpoint, login(), max_elements=1)
        paged = await patient.enumerate("Msvm_ResourceAllocationSettingData")
        await patient.close()
        assert len(paged) > 10
        assert [row.values for row in paged] == [row.values for row in whole]


async def test_what_is_not_there(tmp_path: Path) -> None:
    async with talking(tmp_path) as (client, _):
        with pytest.raises(NotFound):
            await client.get(ObjectPath.of("Msvm_ConcreteJob", InstanceID="NONE"))
        for select in (wql.Select("Msvm_None"), "SELECT * FROM Msvm_None"):
            with pytest.raises(UnknownClass):
                await client.query(select)
        with pytest.raises(UnknownClass):
            await client.enumerate("Msvm_None")
        with pytest.raises(UnknownClass):
            await client.enumerate("Msvm_ComputerSystem", namespace="root/virtualization/v3")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_wrong_password(tmp_path: Path, scheme: AuthScheme) -> None:
    async with talking(tmp_path, login(scheme, "wrong")) as (client, _):
        with pytest.raises(AuthenticationFailed):
            await client.identify()


async def test_connections_that_the_host_cut_cost_a_read_nothing(tmp_path: Path) -> None:
    async with talking(tmp_path) as (client, server):
        await asyncio.gather(*(client.identify() for _ in range(4)))
        server.disconnect_all()
        await asyncio.gather(*(client.enumerate("Msvm_ComputerSystem") for _ in range(4)))


@pytest.mark.parametrize("scheme", [*SCHEMES, AuthScheme.CERTIFICATE])
async def test_over_https_with_strict_channel_binding(tmp_path: Path, scheme: AuthScheme) -> None:
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    client_pem = tmp_path / "client.pem"
    client_certificate = authority.issue_cert("agent@localhost")
    client_certificate.private_key_and_cert_chain_pem.write_to_path(client_pem)
    chain, key, ca = (tmp_path / name for name in ("server.pem", "server.key", "ca.pem"))
    server.cert_chain_pems[0].write_to_path(chain)
    server.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    der = load_pem_x509_certificate(chain.read_bytes()).public_bytes(Encoding.DER)
    thumbprint = load_pem_x509_certificate(
        client_certificate.cert_chain_pems[0].bytes()
    ).fingerprint(hashes.SHA1())  # noqa: S303 - Windows maps certificates by it
    account = Account(USER, PASSWORD, certificate_thumbprints=(thumbprint.hex(),))
    tls = TlsFiles(chain, key, ca)
    door = {"http_port": None, "https_port": 0, "tls": tls, "basic": True, "certificate": True}
    async with host_with(tmp_path, account, **door, cbt_hardening="strict") as host:
        for endpoint in (
            Endpoint("127.0.0.1", port_of(host), ca_file=ca),
            Endpoint(
                "127.0.0.1", port_of(host), certificate_sha256=hashlib.sha256(der).hexdigest()
            ),
        ):
            credentials = Credentials(scheme, USER, PASSWORD, certificate=client_pem)
            client = WsmanClient(endpoint, credentials, default_timeout=20)
            assert await client.enumerate("Msvm_ComputerSystem")
            await client.close()
