"""Several management servers, certificates, and the end: whatever makes a connection end well."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.doors_agent.signing import PrivateCa
from tests.doors_agent.stage import Stage, staged, until
from tests.link.management_server import (
    CA,
    LB,
    Authority,
    Gone,
    ManagementServer,
    command,
)

from cloudstack_hyperv.messages import Answer, Command
from cloudstack_hyperv.messages.answers.vm import StopAnswer
from cloudstack_hyperv.resource.context import HostContext


@pytest.fixture
async def second(authority: Authority, server: ManagementServer) -> AsyncIterator[ManagementServer]:
    """Another management server at the same port of another address."""
    context = authority.server_context()
    async with ManagementServer(context, address="127.0.0.2", port=server.port).serving() as one:
        yield one


@asynccontextmanager
async def with_properties(
    context: HostContext, authority: Authority, server: ManagementServer, folder: Path, text: str
) -> AsyncIterator[tuple[Stage, Path]]:
    path = folder / "agent.properties"
    path.write_text(text)
    options: dict[str, Any] = {"zone": None, "pod": None, "cluster": None}
    async with staged(context, authority, server, folder, properties=str(path), **options) as stage:
        yield stage, path


BOTH = ["127.0.0.2", "127.0.0.1"]
FILE = "# mine\nhost=127.0.0.1\nzone=1\npod=2\ncluster=3\nlocal.note=keep me\n"


async def test_what_is_learned_stands_in_agent_properties(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    async with with_properties(host_context, authority, server, tmp_path, FILE) as (stage, path):
        connection = await stage.connection()
        startup = await connection.admit(
            msHostList=["127.0.0.1", "127.0.0.2"], lbAlgorithm="roundrobin", avoidMsHostList=[]
        )
        assert startup.contents[0]["dataCenter"] == "1"
        assert startup.contents[0]["msHostList"] == "127.0.0.1@static"
        assert path.read_text() == FILE.replace(
            "host=127.0.0.1\n", "host=127.0.0.1,127.0.0.2@roundrobin\n"
        ) + ("HypervResource.id=5\nHypervResource.uuid=d3f0a1c2\nHypervResource.name=10.1.1.20\n")
    async with with_properties(host_context, authority, server, tmp_path, path.read_text()) as (
        stage,
        _,
    ):
        startup = await (await stage.connection()).receive()
        assert (startup.agent, startup.contents[0]["id"]) == (5, 5)
        assert startup.contents[0]["msHostList"] == "127.0.0.1,127.0.0.2@roundrobin"


async def test_a_file_that_cannot_be_rewritten_is_no_reason_to_stop(
    host_context: HostContext,
    authority: Authority,
    server: ManagementServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cloudstack_hyperv.doors.agent.properties.os.open", refuse)
    with structlog.testing.capture_logs() as logs:
        async with with_properties(host_context, authority, server, tmp_path, FILE) as (
            stage,
            path,
        ):
            await stage.admitted()
            assert stage.agent.is_admitted
    assert path.read_text() == FILE
    assert any("cannot be rewritten" in entry["event"] for entry in logs)


async def test_setup_ms_list_and_the_preferred_server(
    stage: Stage, second: ManagementServer
) -> None:
    connection = await stage.admitted()
    lists = {"msList": BOTH, "avoidMsList": [], "lbAlgorithm": "static", "lbCheckInterval": 0}
    got = await connection.ask(command("SetupMSListCommand", LB, **lists, triggerHostLb=False))
    assert got.body[0].keys() == {f"{LB}SetupMSListAnswer"}
    assert got.contents[0]["result"] is True
    await connection.request(command("SetupMSListCommand", LB, **lists, triggerHostLb=True))
    there = await second.next()
    startup = await there.admit()
    assert startup.contents[0]["connectionTransferred"] is False
    assert startup.contents[0]["msHostList"] == "127.0.0.2,127.0.0.1@static"
    assert await connection.closed()


@pytest.mark.parametrize("algorithm", ["static", "shuffle"])
async def test_the_preferred_server_is_looked_for_every_interval(
    stage: Stage, second: ManagementServer, algorithm: str
) -> None:
    await stage.admitted(msHostList=BOTH, lbAlgorithm=algorithm, lbCheckInterval=1)
    assert await (await second.next(timeout=5)).admit()


async def test_the_preferred_server_is_not_worth_a_running_command(
    stage: Stage, second: ManagementServer
) -> None:
    gate = asyncio.Event()

    async def play(_: Command) -> Answer:
        await gate.wait()
        return StopAnswer(result=True)

    stage.resource.plays["StopCommand"] = play
    connection = await stage.admitted(msHostList=BOTH, lbAlgorithm="static", lbCheckInterval=1)
    slow = await connection.request(command("StopCommand", vmName="i-2-3-VM"))
    with structlog.testing.capture_logs() as logs:
        await until(lambda: "commands run, so not now" in str(logs))
    gate.set()
    assert (await connection.receive()).sequence == slow
    assert await (await second.next(timeout=5)).admit()


async def test_migrate_moves_to_a_server_that_answers_and_says_so(
    stage: Stage, second: ManagementServer
) -> None:
    connection = await stage.admitted()
    got = await connection.ask(
        command(
            "MigrateAgentConnectionCommand",
            msList=["127.0.0.1", "127.0.0.9", "127.0.0.2"],  # nobody is at the second
            avoidMsList=["127.0.0.1"],
            lbAlgorithm="static",
            lbCheckInterval=0,
        )
    )
    assert got.names == ["MigrateAgentConnectionAnswer"]
    startup = await (await second.next()).admit()
    assert startup.contents[0]["connectionTransferred"] is True
    assert await connection.closed()


async def test_migrate_without_another_server_stays(stage: Stage) -> None:
    connection = await stage.admitted()
    with structlog.testing.capture_logs() as logs:
        await connection.ask(command("MigrateAgentConnectionCommand", msList=["127.0.0.1"]))
        await until(lambda: "staying" in str(logs))
    assert (await connection.ask(command("CheckHealthCommand"))).contents[0]["result"] is True


@pytest.mark.parametrize("removed", [False, True])
async def test_a_deleted_host_never_connects_again(
    host_context: HostContext,
    authority: Authority,
    server: ManagementServer,
    tmp_path: Path,
    removed: bool,
) -> None:
    async with with_properties(host_context, authority, server, tmp_path, FILE) as (stage, path):
        connection = await stage.admitted()
        got = await connection.ask(
            command("ShutdownCommand", reason="deleteHost", removeHost=removed)
        )
        assert (got.names, got.contents[0]["result"]) == (["Answer"], True)
        with pytest.raises(Gone):
            await connection.receive()
        await asyncio.sleep(0.4)
        assert server.accepted == 1
        text = path.read_text()
    if removed:
        assert "zone=\npod=\ncluster=\n" in text
        with structlog.testing.capture_logs() as logs:
            async with with_properties(host_context, authority, server, tmp_path, text) as (
                stage,
                _,
            ):
                assert stage.door.agents == ()
        assert "left out" in str(logs)
    else:
        assert "zone=1\npod=2\ncluster=3\n" in text
    assert "# mine" in text
    assert "local.note=keep me" in text


def signing(authority: Authority) -> PrivateCa:
    """CloudStack's CA, with the key of the one that signed the server's certificate."""
    key = serialization.load_pem_private_key(authority.ca.private_key_pem.bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return PrivateCa(key, x509.load_pem_x509_certificate(authority.ca.cert_pem.bytes()))


async def test_from_no_certificate_to_one_of_our_own(
    host_context: HostContext, authority: Authority, tmp_path: Path
) -> None:
    """A lenient server makes the agent a certificate; after that it may be strict."""
    ca = signing(authority)
    async with ManagementServer(authority.server_context()).serving() as server:
        async with with_properties(host_context, authority, server, tmp_path, FILE) as (
            stage,
            path,
        ):
            connection = await stage.admitted()
            assert connection.tls.getpeercert(binary_form=True) is None
            got = await connection.ask(
                command("SetupKeyStoreCommand", CA, keystorePassword="changeit", handleByAgent=True)
            )
            assert got.names == ["SetupKeystoreAnswer"]
            request = got.contents[0]["csr"]
            server.context = authority.server_context(demand_certificate=True)
            got = await connection.ask(
                command(
                    "SetupCertificateCommand",
                    CA,
                    certificate=ca.sign(request),
                    privateKey="",
                    caCertificates=ca.pem,
                    handleByAgent=True,
                )
            )
            assert got.names == ["SetupCertificateAnswer"]
            assert got.contents[0]["result"] is True
            goodbye = await connection.receive()
            assert goodbye.contents[0]["reason"] == "sig.kill"
            assert await connection.closed()
            again = await stage.admitted()
            shown = again.tls.getpeercert()
            assert shown is not None
            assert ("IP Address", "127.0.0.1") in shown["subjectAltName"]
            assert "keystore.passphrase=changeit" in path.read_text()
        # A restart finds certificate and CA bundle again.
        async with staged(
            host_context, authority, server, tmp_path, properties=str(path), ca_file=None
        ) as stage:
            assert (await stage.admitted()).tls.getpeercert()


async def test_a_certificate_for_a_foreign_key_is_refused_and_nothing_changes(
    stage: Stage, authority: Authority
) -> None:
    connection = await stage.admitted()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    got = await connection.ask(
        command(
            "SetupCertificateCommand",
            CA,
            certificate=signing(authority).issue(key.public_key(), ()),
            privateKey="",
            caCertificates="",
        )
    )
    assert got.names == ["SetupCertificateAnswer"]
    assert got.contents[0]["result"] is False
    assert (await connection.ask(command("CheckHealthCommand"))).contents[0]["result"] is True
    assert stage.server.accepted == 1


@pytest.mark.parametrize("name", ["SetupKeyStoreCommand", "SetupCertificateCommand"])
async def test_what_is_meant_for_a_system_vm_is_not_taken_for_us(stage: Stage, name: str) -> None:
    connection = await stage.admitted()
    await connection.ask(command(name, CA, handleByAgent=False))
    assert stage.resource.executed[-1] == name


async def test_post_certificate_renewal_connects_anew(stage: Stage) -> None:
    connection = await stage.admitted()
    got = await connection.ask(command("PostCertificateRenewalCommand", CA))
    assert got.names == ["SetupCertificateAnswer"]
    assert await connection.closed()
    await stage.admitted()


async def test_a_folder_that_cannot_be_written_fails_the_command_only(
    host_context: HostContext, authority: Authority, server: ManagementServer, tmp_path: Path
) -> None:
    async with staged(host_context, authority, server, tmp_path) as stage:
        (tmp_path / "state").write_text("a file where the folder should be")
        connection = await stage.admitted()
        got = await connection.ask(command("SetupKeyStoreCommand", CA, keystorePassword="x"))
        assert got.names == ["SetupKeystoreAnswer"]
        assert got.contents[0]["result"] is False
        assert (await connection.ask(command("CheckHealthCommand"))).contents[0]["result"] is True
