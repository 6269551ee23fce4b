"""The key paths over WS-Management, with our own client and with pypsrp, and as a process."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from contextlib import suppress
from pathlib import Path

import pytest
from pypsrp.exceptions import WSManFaultError
from pypsrp.wsman import NAMESPACES, SelectorSet, WSMan
from tests.emulation import PASSWORD, USER
from tests.emulator_migration.fleet_doors import FleetDoors, running_fleet
from tests.emulator_migration.fleet_driver import CLUSTER_NAMESPACE, SHARE

from cloudstack_hyperv.cim import ObjectPath, Uint16
from cloudstack_hyperv.demo.processes import LoggedProcess
from cloudstack_hyperv.hypervisor.errors import JobFailed
from cloudstack_hyperv.hypervisor.jobs import call
from cloudstack_hyperv.wsman import AuthScheme, Credentials, Endpoint, WsmanClient
from cloudstack_hyperv.wsman.api import Argument, EmbeddedInstance
from cloudstack_hyperv.wsman.errors import UnknownClass

WMI = "http://schemas.microsoft.com/wbem/wsman/1/wmi/"
V2 = WMI + "root/virtualization/v2/"
CLUSTER = WMI + "root/mscluster/"
MANAGEMENT = ObjectPath.of(
    "Msvm_VirtualSystemManagementService",
    CreationClassName="Msvm_VirtualSystemManagementService",
)
MIGRATION = ObjectPath.of(
    "Msvm_VirtualSystemMigrationService", CreationClassName="Msvm_VirtualSystemMigrationService"
)
TEXT = b"what the guest wrote " * 30


async def machine_with_disk(client: WsmanClient, disk: str, root: str) -> ObjectPath:
    """Define, equip and start a machine; return its Msvm_ComputerSystem."""
    system = EmbeddedInstance(
        "Msvm_VirtualSystemSettingData", {"ElementName": "web", "ConfigurationDataRoot": root}
    )
    made = await call(client, MANAGEMENT, "DefineSystem", {"SystemSettings": system}, what="define")
    path = made.out.path("ResultingSystem")
    assert path is not None
    guid = path.key("Name") or ""
    controller = f"Microsoft:{guid}\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0"
    parent, drive = controller, ""
    for kind, sub_type, class_name in (
        (17, "Synthetic Disk Drive", "Msvm_ResourceAllocationSettingData"),
        (31, "Virtual Hard Disk", "Msvm_StorageAllocationSettingData"),
    ):
        row = EmbeddedInstance(
            class_name,
            {
                "ResourceType": Uint16(kind),
                "ResourceSubType": f"Microsoft:Hyper-V:{sub_type}",
                "Parent": str(
                    ObjectPath.of("Msvm_ResourceAllocationSettingData", InstanceID=parent)
                ),
                **({"HostResource": [disk]} if drive else {"AddressOnParent": "0"}),
            },
        )
        added = await call(
            client,
            MANAGEMENT,
            "AddResourceSettings",
            {
                "AffectedConfiguration": ObjectPath.of(
                    "Msvm_VirtualSystemSettingData", InstanceID=f"Microsoft:{guid}"
                ),
                "ResourceSettings": [row],
            },
            what="add",
        )
        parent = drive = added.paths("ResultingResourceSettings")[0].key("InstanceID") or ""
    machine = ObjectPath.of(
        "Msvm_ComputerSystem", CreationClassName="Msvm_ComputerSystem", Name=guid
    )
    await call(client, machine, "RequestStateChange", {"RequestedState": Uint16(2)}, what="start")
    return machine


async def machines(client: WsmanClient) -> list[str]:
    rows = await client.query(
        "SELECT Name FROM Msvm_ComputerSystem WHERE Caption = 'Virtual Machine'"
    )
    return [row.require("Name") for row in rows]


def settings(kind: int) -> EmbeddedInstance:
    return EmbeddedInstance(
        "Msvm_VirtualSystemMigrationSettingData", {"MigrationType": Uint16(kind)}
    )


async def test_an_ntlm_login_cannot_migrate_with_credssp_and_a_credssp_login_can(
    tmp_path: Path,
) -> None:
    async with running_fleet(tmp_path, authentication=0) as doors:
        ntlm, credssp = doors.client(0), doors.client(0, AuthScheme.CREDSSP)
        target = doors.client(1)
        disk = SHARE + r"\web.vhdx"
        doors.make_disk(0, disk, TEXT)
        machine = await machine_with_disk(ntlm, disk, SHARE)
        arguments: dict[str, Argument] = {
            "ComputerSystem": machine,
            "DestinationHost": "HYPERV2",
            "MigrationSettingData": settings(32768),
        }
        with pytest.raises(JobFailed, match="0x8009030E"):
            await call(ntlm, MIGRATION, "MigrateVirtualSystemToHost", arguments, what="migrate")
        assert await machines(ntlm) == [machine.key("Name")]
        assert (await ntlm.get(machine)).uint("EnabledState") == 2
        await call(credssp, MIGRATION, "MigrateVirtualSystemToHost", arguments, what="migrate")
        assert await machines(ntlm) == []
        assert await machines(target) == [machine.key("Name")]
        assert (await target.get(machine)).uint("EnabledState") == 2
        assert doors.text_in(1, disk, len(TEXT)) == TEXT
        for client in (ntlm, credssp, target):
            await client.close()


def pypsrp(doors: FleetDoors, index: int) -> WSMan:
    return WSMan(
        "127.0.0.1",
        port=doors.port(index),
        ssl=False,
        auth="ntlm",
        encryption="auto",
        username=USER,
        password=PASSWORD,
        no_proxy=True,
    )


def invoke(
    wsman: WSMan, uri: str, method: str, key: dict[str, str], body: ET.Element
) -> ET.Element:
    selectors = SelectorSet()
    for name, value in key.items():
        selectors.add_option(name, value)
    answer: ET.Element = wsman.invoke(f"{uri}/{method}", uri, body, None, selectors)
    return answer


def input_of(uri: str, method: str, **texts: str) -> ET.Element:
    body = ET.Element(f"{{{uri}}}{method}_INPUT")
    for name, text in texts.items():
        ET.SubElement(body, f"{{{uri}}}{name}").text = text
    return body


def reference(parent: ET.Element, tag: str, class_name: str, **keys: str) -> None:
    wsa, wsman = NAMESPACES["wsa"], NAMESPACES["wsman"]
    element = ET.SubElement(parent, tag)
    ET.SubElement(
        element, f"{{{wsa}}}Address"
    ).text = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
    parameters = ET.SubElement(element, f"{{{wsa}}}ReferenceParameters")
    ET.SubElement(parameters, f"{{{wsman}}}ResourceURI").text = V2 + class_name
    selectors = ET.SubElement(parameters, f"{{{wsman}}}SelectorSet")
    for name, value in keys.items():
        ET.SubElement(selectors, f"{{{wsman}}}Selector", Name=name).text = value


def migrate_with_pypsrp(doors: FleetDoors, guid: str, medium: str, new: str) -> str:
    """Move machine and disk to HYPERV2; return the last JobState seen, or "gone"."""
    uri = V2 + "Msvm_VirtualSystemMigrationService"
    body = input_of(
        uri,
        "MigrateVirtualSystemToHost",
        DestinationHost="HYPERV2",
        MigrationSettingData=(
            '<INSTANCE CLASSNAME="Msvm_VirtualSystemMigrationSettingData">'
            '<PROPERTY NAME="MigrationType" TYPE="uint16"><VALUE>32771</VALUE></PROPERTY>'
            '<PROPERTY NAME="TransportType" TYPE="uint16"><VALUE>5</VALUE></PROPERTY></INSTANCE>'
        ),
        NewResourceSettingData=(
            '<INSTANCE CLASSNAME="Msvm_StorageAllocationSettingData">'
            f'<PROPERTY NAME="InstanceID" TYPE="string"><VALUE>{medium}</VALUE></PROPERTY>'
            '<PROPERTY NAME="PoolID" TYPE="string"><VALUE></VALUE></PROPERTY>'
            '<PROPERTY.ARRAY NAME="HostResource" TYPE="string"><VALUE.ARRAY>'
            f"<VALUE>{new}</VALUE></VALUE.ARRAY></PROPERTY.ARRAY></INSTANCE>"
        ),
    )
    reference(
        body,
        f"{{{uri}}}ComputerSystem",
        "Msvm_ComputerSystem",
        CreationClassName="Msvm_ComputerSystem",
        Name=guid,
    )
    with pypsrp(doors, 0) as wsman:
        service = {"CreationClassName": "Msvm_VirtualSystemMigrationService"}
        answer = invoke(wsman, uri, "MigrateVirtualSystemToHost", service, body)
        if answer.findtext(f".//{{{uri}}}ReturnValue") == "0":
            return "7"
        job = answer.findtext(f".//{{{NAMESPACES['wsman']}}}Selector[@Name='InstanceID']")
        assert job is not None, ET.tostring(answer)
        selectors = SelectorSet()
        selectors.add_option("InstanceID", job)
        job_uri = V2 + "Msvm_MigrationJob"
        for _ in range(500):
            row = wsman.get(job_uri, selector_set=selectors)
            state: str | None = row.findtext(f".//{{{job_uri}}}JobState")
            if state not in ("2", "3", "4"):
                return state or ""
    raise AssertionError("the job does not end")


async def test_pypsrp_moves_a_machine_with_its_disk(tmp_path: Path) -> None:
    async with running_fleet(tmp_path) as doors:
        source, target = doors.client(0), doors.client(1)
        disk, new = r"C:\vms\web.vhdx", r"C:\moved\web.vhdx"
        doors.make_disk(0, disk, TEXT)
        machine = await machine_with_disk(source, disk, r"C:\vms")
        guid = machine.key("Name") or ""
        (row,) = [
            each
            for each in await source.enumerate("Msvm_StorageAllocationSettingData")
            if each.require("InstanceID").startswith(f"Microsoft:{guid}\\")
        ]
        medium = row.require("InstanceID")
        state = await asyncio.to_thread(migrate_with_pypsrp, doors, guid, medium, new)
        assert state == "7"
        assert await machines(target) == [guid]
        assert await machines(source) == []
        assert doors.text_in(1, new, len(TEXT)) == TEXT
        assert not doors.file(0, disk).exists()
        for client in (source, target):
            await client.close()


def group_owner(wsman: WSMan) -> tuple[str | None, str | None]:
    uri = CLUSTER + "MSCluster_ResourceGroup"
    selectors = SelectorSet()
    selectors.add_option("Name", "web")
    row = wsman.get(uri, selector_set=selectors)
    return row.findtext(f".//{{{uri}}}OwnerNode"), row.findtext(f".//{{{uri}}}State")


def cluster_with_pypsrp(doors: FleetDoors, guid: str) -> None:
    """Make a role, move it, wait for its end; look at a host outside the cluster."""
    group = CLUSTER + "MSCluster_ResourceGroup"
    cluster = CLUSTER + "MSCluster_Cluster"
    with pypsrp(doors, 1) as wsman:
        body = input_of(cluster, "AddVirtualMachine", VirtualMachine=guid)
        invoke(wsman, cluster, "AddVirtualMachine", {"Name": "HYPERV-CLUSTER"}, body)
        assert group_owner(wsman) == ("HYPERV1", "0")
        body = input_of(group, "MoveToNewNode", NodeName="HYPERV2", TimeOut="0")
        invoke(wsman, group, "MoveToNewNode", {"Name": "web"}, body)
        for _ in range(500):
            owner = group_owner(wsman)
            if owner[1] != "4":
                break
        assert owner == ("HYPERV2", "0")
    with pypsrp(doors, 2) as outsider, pytest.raises(WSManFaultError):
        outsider.enumerate(cluster, ET.Element(f"{{{NAMESPACES['wsen']}}}Enumerate"))


async def test_pypsrp_moves_a_role_of_a_cluster(tmp_path: Path) -> None:
    async with running_fleet(tmp_path, 3, cluster=True, delegate=False) as doors:
        source, target = doors.client(0), doors.client(1)
        volume = r"C:\ClusterStorage\Volume1"
        doors.make_disk(0, volume + r"\web.vhdx", TEXT)
        machine = await machine_with_disk(source, volume + r"\web.vhdx", volume)
        await asyncio.to_thread(cluster_with_pypsrp, doors, machine.key("Name") or "")
        assert await machines(target) == [machine.key("Name")]
        assert await machines(source) == []
        for client in (source, target):
            await client.close()


async def test_the_command_serves_three_hosts_and_a_cluster(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    arguments = ["emulate", str(tmp_path / "hosts"), "--profile", "2012", "--hosts", "3"]
    arguments += ["--cluster", "--port", "0", "--password-file", str(secret)]
    process = LoggedProcess("emulate", arguments, tmp_path / "log")
    try:
        ports = [process.wait_for("emulated host listening")["port"] for _ in range(3)]
        process.wait_for("emulated fleet complete")
        seen = []
        for port in ports:
            client = WsmanClient(
                Endpoint("127.0.0.1", port, https=False),
                Credentials(AuthScheme.NTLM, USER, PASSWORD),
                default_timeout=20.0,
            )
            (row,) = await client.enumerate("Win32_ComputerSystem", namespace="root/cimv2")
            (version,) = await client.enumerate("Win32_OperatingSystem", namespace="root/cimv2")
            assert version.require("Version").startswith("6.2.")
            nodes: list[str] = []
            with suppress(UnknownClass):
                rows = await client.enumerate("MSCluster_Node", namespace=CLUSTER_NAMESPACE)
                nodes = [each.require("Name") for each in rows]
            seen.append((row.require("Name"), nodes))
            await client.close()
    finally:
        assert process.stop() == 0
    both = ["HYPERV1", "HYPERV2"]
    assert seen == [("HYPERV1", both), ("HYPERV2", both), ("HYPERV3", [])]
