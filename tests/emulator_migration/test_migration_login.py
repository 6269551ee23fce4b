"""Who may migrate: 0x8009030E and its causes, listeners, networks, domains."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from tests.emulator_migration.fleet_driver import (
    CONSOLE,
    CREDSSP_LOGIN,
    KERBEROS_LOGIN,
    NTLM,
    SERVICE,
    STAGED,
    VM,
    VM_AND_STORAGE,
    FleetDriver,
    HostDriver,
)

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.emulator.cim.provider import Caller, Row, Value
from cloudstack_hyperv.emulator.host import HostConfig, JobMode
from cloudstack_hyperv.emulator.host.peers import CIFS, MIGRATION_SERVICE, Delegation

NO_CREDENTIALS = "0x8009030E"
EVERYWHERE = str(ipaddress.IPv4Address(0))
SERVICE_SETTINGS = "Msvm_VirtualSystemMigrationServiceSettingData"
NETWORK = "Msvm_VirtualSystemMigrationNetworkSettingData"


async def modify_service(host: HostDriver, **values: Value) -> int | None:
    reply = await host.call(
        SERVICE, "ModifyServiceSettings", ServiceSettingData=Row(SERVICE_SETTINGS, values)
    )
    return await host.code(reply)


async def unharmed(source: HostDriver, target: HostDriver, guid: str) -> None:
    """The machine is alive where it was, and nothing of it is on the other host."""
    row = await source.machine(guid)
    assert row["EnabledState"] == 2
    assert row["OperationalStatus"] == [2]
    assert source.host.site.files.is_held(source.file(await source.disk_path(guid)))
    assert await target.names() == set()
    assert await target.planned() == []
    for host in (source, target):
        (service,) = await host.rows(SERVICE)
        assert service.values["ActiveVirtualSystemMigrationCount"] == 0
        assert service.values["ActiveStorageMigrationCount"] == 0
    assert await source.state(guid, 9) == 0
    assert await source.state(guid, 2) == 0


@pytest.mark.parametrize(
    ("caller", "works"),
    [(NTLM, False), (KERBEROS_LOGIN, False), (CREDSSP_LOGIN, True), (CONSOLE, True)],
    ids=["ntlm", "kerberos", "credssp", "console"],
)
async def test_credssp_needs_a_session_with_a_password(
    pair: FleetDriver, caller: Caller, works: bool
) -> None:
    source, target = pair[0], pair[1]
    for host in pair.hosts:
        assert await modify_service(host, AuthenticationType=0) == 0
    guid = await source.build()
    if works:
        await source.migrated(guid, VM, "HYPERV2", caller=caller)
        assert await target.names() == {guid}
        return
    job = await source.refused(guid, VM, "HYPERV2", caller=caller)
    assert NO_CREDENTIALS in str(job["ErrorDescription"])
    assert "No credentials are available in the security package" in str(job["ErrorDescription"])
    await unharmed(source, target, guid)


async def test_kerberos_needs_the_delegation_table(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    pair.fleet.delegations.revoke("HYPERV1", "HYPERV2")
    job = await source.refused(guid, VM, "HYPERV2", caller=NTLM)
    assert NO_CREDENTIALS in str(job["ErrorDescription"])
    await unharmed(source, target, guid)
    # Kerberos only is not enough for a login over WinRM on 2016 and newer.
    pair.fleet.delegations.allow(Delegation("HYPERV1", "HYPERV2", any_protocol=False))
    job = await source.refused(guid, VM, "HYPERV2", caller=NTLM)
    assert NO_CREDENTIALS in str(job["ErrorDescription"])
    pair.fleet.delegations.allow(
        Delegation("HYPERV1", "HYPERV2", frozenset({MIGRATION_SERVICE}), any_protocol=True)
    )
    await source.migrated(guid, VM, "HYPERV2", caller=NTLM)


async def test_storage_needs_cifs_beside_the_migration_service(pair: FleetDriver) -> None:
    source = pair[0]
    pair.fleet.delegations.allow(Delegation("HYPERV1", "HYPERV2", frozenset({MIGRATION_SERVICE})))
    guid = await source.build(folder=r"C:\vms")
    disk = await source.moved_disk(guid, r"C:\moved\web.vhdx")
    job = await source.refused(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk], caller=NTLM)
    assert NO_CREDENTIALS in str(job["ErrorDescription"])
    pair.fleet.delegations.allow(
        Delegation("HYPERV1", "HYPERV2", frozenset({MIGRATION_SERVICE, CIFS}))
    )
    await source.migrated(guid, VM_AND_STORAGE, "HYPERV2", resources=[disk], caller=NTLM)


async def test_an_address_has_no_kerberos_name(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    address = target.host.config.nics[0].address
    job = await source.refused(guid, VM, address, caller=NTLM)
    assert NO_CREDENTIALS in str(job["ErrorDescription"])
    for host in pair.hosts:
        assert await modify_service(host, AuthenticationType=0) == 0
    await source.migrated(guid, VM, address, caller=CREDSSP_LOGIN)


async def test_2012_r2_takes_a_kerberos_login_with_kerberos_only(tmp_path: Path) -> None:
    template = HostConfig(tmp_path, release="2012r2", job_mode=JobMode.ALWAYS_4096)
    pair = FleetDriver(tmp_path, template=template)
    source = pair[0]
    pair.fleet.delegations.allow(Delegation("HYPERV1", "HYPERV2", any_protocol=False))
    guid = await source.build()
    job = await source.refused(guid, VM, "HYPERV2", caller=NTLM)
    assert NO_CREDENTIALS in str(job["ErrorDescription"])
    await source.migrated(guid, VM, "HYPERV2", caller=KERBEROS_LOGIN)
    pair.fleet.close()


async def test_both_hosts_must_have_migration_switched_on(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    assert await modify_service(target, EnableVirtualSystemMigration=False) == 0
    (row,) = await target.rows(SERVICE)
    assert row.values.get("MigrationServiceListenerIPAddressList") is None
    job = await source.refused(guid, VM, "HYPERV2")
    assert "0x8007274D" in str(job["ErrorDescription"])
    assert await modify_service(target, EnableVirtualSystemMigration=True) == 0
    assert await modify_service(source, EnableVirtualSystemMigration=False) == 0
    job = await source.refused(guid, VM, "HYPERV2")
    assert "not enabled" in str(job["ErrorDescription"])
    await unharmed(source, target, guid)


async def test_unknown_and_unreachable_hosts(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    assert "0x80072AF9" in str((await source.refused(guid, VM, "NOBODY"))["ErrorDescription"])
    target.host.peer.reachable = False
    assert "0x8007274C" in str((await source.refused(guid, VM, "HYPERV2"))["ErrorDescription"])
    assert "itself" in str((await source.refused(guid, VM, "HYPERV1"))["ErrorDescription"])


async def test_a_workgroup_host_cannot_switch_migration_on(tmp_path: Path) -> None:
    pair = FleetDriver(tmp_path, domain="")
    source = pair[0]
    (row,) = await source.rows(SERVICE_SETTINGS)
    assert row.values["EnableVirtualSystemMigration"] is False
    assert await modify_service(source, EnableVirtualSystemMigration=True) == 32768
    guid = await source.build(folder=r"C:\vms")
    job = await source.refused(guid, STAGED, "HYPERV2")
    assert "not enabled" in str(job["ErrorDescription"])
    pair.fleet.close()


async def test_hosts_of_two_domains_do_not_trust_each_other(tmp_path: Path) -> None:
    pair = FleetDriver(tmp_path)
    object.__setattr__(pair[1].host.config, "domain", "elsewhere.example")
    guid = await pair[0].build()
    job = await pair[0].refused(guid, VM, "HYPERV2", caller=CREDSSP_LOGIN)
    assert "0x80090303" in str(job["ErrorDescription"])
    pair.fleet.close()


async def test_networks_decide_where_a_host_listens(pair: FleetDriver) -> None:
    source, target = pair[0], pair[1]
    guid = await source.build()
    everything = await target.rows(NETWORK)
    assert {row.values["SubnetNumber"] for row in everything} == {EVERYWHERE, "::"}
    paths = [ObjectPath.of(NETWORK, InstanceID=str(r.values["InstanceID"])) for r in everything]
    assert (
        await target.code(
            await target.call(SERVICE, "RemoveNetworkSettings", NetworkSettings=paths)
        )
        == 0
    )
    assert "0x8007274D" in str((await source.refused(guid, VM, "HYPERV2"))["ErrorDescription"])
    other = Row(NETWORK, {"SubnetNumber": "198.51.100.0", "PrefixLength": 24, "Metric": 5})
    added = await target.call(SERVICE, "AddNetworkSettings", NetworkSettings=[other])
    assert await target.code(added) == 0
    (row,) = await target.rows(NETWORK)
    (service,) = await target.rows(SERVICE)
    assert service.values.get("MigrationServiceListenerIPAddressList") is None
    changed = Row(
        NETWORK, {"InstanceID": row.values["InstanceID"], "SubnetNumber": "192.0.2.0", "Metric": 7}
    )
    modified = await target.call(SERVICE, "ModifyNetworkSettings", NetworkSettings=[changed])
    assert await target.code(modified) == 0
    (row,) = await target.rows(NETWORK)
    assert (row.values["SubnetNumber"], row.values["Metric"]) == ("192.0.2.0", 7)
    (service,) = await target.rows(SERVICE)
    addresses = service.values["MigrationServiceListenerIPAddressList"]
    assert addresses == [target.host.config.nics[0].address]
    job = await source.refused(guid, VM, "HYPERV2", DestinationIPAddressList=["198.51.100.7"])
    assert "0x8007274C" in str(job["ErrorDescription"])
    await source.migrated(guid, VM, "HYPERV2", DestinationIPAddressList=addresses)


@pytest.mark.parametrize(
    "values",
    [
        {"SubnetNumber": "192.0.2.1", "PrefixLength": 24},
        {"SubnetNumber": "here", "PrefixLength": 24},
        {"SubnetNumber": "192.0.2.0"},
        {"SubnetNumber": EVERYWHERE, "PrefixLength": 0},
    ],
)
async def test_networks_that_cannot_be_added(pair: FleetDriver, values: dict[str, Value]) -> None:
    reply = await pair[0].call(
        SERVICE, "AddNetworkSettings", NetworkSettings=[Row(NETWORK, values)]
    )
    assert reply.return_value == 32773


async def test_defaults_can_be_asked_for_by_kind(pair: FleetDriver) -> None:
    """os-win reads the settings of a kind and changes them."""
    query = "SELECT * FROM Msvm_VirtualSystemMigrationSettingData WHERE MigrationType = 32770"
    (row,) = await pair[0].query(query)
    assert row.values["MigrationType"] == STAGED
    reply = await pair[0].migrate(await pair[0].build(), STAGED, "HYPERV2")
    assert (await pair[0].finish(reply))["JobState"] == 7
    (capabilities,) = await pair[0].rows("Msvm_VirtualSystemMigrationCapabilities")
    assert capabilities.values["DestinationHostFormatsSupported"] == [2, 3, 4]
