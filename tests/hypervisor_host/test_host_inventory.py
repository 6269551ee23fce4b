"""What is read of a host: the right interface, the right volume, the kinds of switches."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulation import HOST_ADDRESS, Emulation, running_emulation

from cloudstack_hyperv.emulator.host.config import PhysicalNic, SwitchKind, SwitchPlan
from cloudstack_hyperv.hypervisor.errors import HypervisorError
from cloudstack_hyperv.hypervisor.inventory import (
    HostNic,
    HostVolume,
    check_management_service,
    interface_with,
    read_inventory,
    read_volumes,
    volume_of,
)
from cloudstack_hyperv.hypervisor.switches import list_switches
from cloudstack_hyperv.resource.context import HostContext

NICS = (
    HostNic("first", "aa:00:00:00:00:01", (("192.0.2.10", "255.255.255.0"),), ()),
    HostNic(
        "second",
        "aa:00:00:00:00:02",
        (("198.51.100.7", "255.255.0.0"), ("2001:db8::7", "64")),
        ("2001:db8::1", "198.51.100.1"),
    ),
)


def test_the_interface_is_the_one_that_holds_the_address() -> None:
    found = interface_with(NICS, "198.51.100.7")
    assert (found.mac, found.netmask, found.gateway) == (
        "aa:00:00:00:00:02",
        "255.255.0.0",
        "198.51.100.1",
    )
    six = interface_with(NICS, "2001:DB8:0::7")
    assert (six.netmask, six.gateway) == ("64", "2001:db8::1")
    assert interface_with(NICS, "192.0.2.10").gateway is None


def test_an_address_that_nobody_holds_is_an_error_and_never_another_interface() -> None:
    with pytest.raises(HypervisorError, match=r"203\.0\.113\.1.*192\.0\.2\.10, 198\.51\.100\.7"):
        interface_with(NICS, "203.0.113.1")


def test_the_volume_is_the_one_mounted_deepest() -> None:
    drive = HostVolume("C:\\", 100, 50)
    shared = HostVolume("C:\\ClusterStorage\\Volume1\\", 1000, 500)
    volumes = (drive, shared)
    assert volume_of(volumes, "c:\\clusterstorage\\volume1\\VMs") is shared
    assert volume_of(volumes, "C:\\ClusterStorage\\Volume10") is drive
    assert volume_of(volumes, "\\\\server\\share\\x") is None
    assert volume_of(volumes, "D:\\x") is None


async def test_the_inventory_of_a_host_is_complete(
    host_context: HostContext, emulated_host: Emulation
) -> None:
    inventory = await read_inventory(host_context.cim)
    config = emulated_host.host.config
    assert inventory.name == config.name
    assert inventory.windows.version == "10.0.17763"
    assert inventory.processors.cores == config.sockets * config.cores
    assert inventory.processors.architecture == "x86_64"
    assert inventory.default_disk_folder == config.disk_folder
    assert interface_with(inventory.nics, HOST_ADDRESS).mac.islower()
    volumes = await read_volumes(host_context.cim)
    assert volume_of(volumes, "C:\\x") is not None
    await check_management_service(host_context.cim)


async def test_a_switchs_kind_is_read_off_its_ports(tmp_path: Path) -> None:
    async with running_emulation(
        tmp_path,
        nics=(PhysicalNic(), PhysicalNic(name="Ethernet 2", mac="3C:EC:EF:10:20:31", address="")),
        switches=(
            SwitchPlan("ext"),
            SwitchPlan("ext without host", uplink="Ethernet 2", management=False),
            SwitchPlan("int", SwitchKind.INTERNAL),
            SwitchPlan("prv", SwitchKind.PRIVATE),
        ),
    ) as emulation:
        client = emulation.client()
        try:
            switches = await list_switches(client)
        finally:
            await client.close()
    assert [(switch.name, str(switch.kind)) for switch in switches] == [
        ("ext", "external"),
        ("ext without host", "external"),
        ("int", "internal"),
        ("prv", "private"),
    ]
    assert all(switch.path.key("Name") == switch.guid for switch in switches)
