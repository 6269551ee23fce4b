"""Disks, partitions, volumes and shares as Windows shows them, and global SMB mappings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.emulator_host.driver import CALLER, Driver

from cloudstack_hyperv.emulator.cim.provider import Caller, CimFault, MethodReply, Value
from cloudstack_hyperv.emulator.host import Drive, HostConfig, JobMode, Share
from cloudstack_hyperv.emulator.host.config import PhysicalDisk, ShareLogin

STORAGE, SMB = "root/microsoft/windows/storage", "root/microsoft/windows/smb"
MAPPING = "MSFT_SmbGlobalMapping"
REMOTE = r"\\nas\vms"
USER, PASSWORD = "NAS\\store", "a password"


@pytest.fixture
def mapper(tmp_path: Path) -> Iterator[Driver]:
    """A workgroup host that a file server's share does not let in by itself."""
    (tmp_path / "share").mkdir()
    logins = (ShareLogin(USER, PASSWORD), ShareLogin("NAS\\guest", "other"))
    share = Share("nas", "vms", tmp_path / "share", frozenset({USER}), logins=logins)
    made = Driver(
        HostConfig(
            tmp_path,
            job_mode=JobMode.ALWAYS_4096,
            shares=(share,),
            drives=(Drive(), Drive("D", label="Data")),
            physical_disks=(PhysicalDisk(1),),
        )
    )
    yield made
    made.host.close()


async def create(driver: Driver, *, caller: Caller = CALLER, **more: Value) -> MethodReply:
    return await call_create(driver, more, caller)


async def call_create(
    driver: Driver, more: dict[str, Value], caller: Caller = CALLER
) -> MethodReply:
    args: dict[str, Value] = {"RemotePath": REMOTE, "UserName": USER, "Password": PASSWORD, **more}
    return await driver.engine.invoke(SMB, MAPPING, {}, "Create", args, caller)


async def test_a_global_mapping_opens_the_share_for_vmms_and_processes(mapper: Driver) -> None:
    disk = REMOTE + r"\disk.vhdx"
    assert await mapper.create_disk(disk) == 32768  # access denied to the computer account
    reply = await create(mapper)
    assert reply.return_value == 0
    (row,) = await mapper.rows(MAPPING, SMB)
    assert (row.values["RemotePath"], row.values["LocalPath"]) == (REMOTE, "")
    assert row.values["Status"] == 0
    assert not {"Password", "UserName"} & set(row.values)
    assert await mapper.create_disk(disk) == 0
    made = await mapper.engine.invoke(
        "root/cimv2",
        "Win32_Process",
        {},
        "Create",
        {"CommandLine": rf"cmd /c mkdir {REMOTE}\folder"},
        CALLER,
    )
    assert made.return_value == 0
    assert mapper.file(REMOTE + r"\folder").is_dir()
    keys = {"LocalPath": "", "RemotePath": REMOTE}
    await mapper.engine.invoke(SMB, MAPPING, keys, "Remove", {"Force": True}, CALLER)
    assert await mapper.rows(MAPPING, SMB) == []
    assert await mapper.create_disk(REMOTE + r"\second.vhdx") == 32768


async def test_a_drive_letter_is_the_share(mapper: Driver) -> None:
    await create(mapper, LocalPath="G:")
    assert await mapper.create_disk(r"g:\disk.vhdx") == 0
    assert mapper.file(REMOTE + r"\disk.vhdx").is_file()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"Password": "wrong"}, 0x8007052E),
        ({"UserName": "NAS\\nobody"}, 0x8007052E),
        ({"UserName": "NAS\\guest", "Password": "other"}, 0x80070005),
        ({"RemotePath": r"\\nas\other"}, 0x80070043),
        ({"LocalPath": "C:"}, 0x80070055),
        ({"LocalPath": "G:\\folder"}, 0x80070057),
    ],
)
async def test_mappings_that_are_refused(mapper: Driver, more: dict[str, Value], code: int) -> None:
    with pytest.raises(CimFault) as refused:
        await call_create(mapper, more)
    assert refused.value.code == code
    assert PASSWORD not in str(refused.value)
    assert await mapper.rows(MAPPING, SMB) == []
    assert await mapper.create_disk(REMOTE + r"\disk.vhdx") == 32768


async def test_one_server_takes_one_login(mapper: Driver) -> None:
    await create(mapper)
    with pytest.raises(CimFault) as refused:
        await create(mapper, UserName="NAS\\guest", Password="other")
    assert refused.value.code == 0x800704C3
    with pytest.raises(CimFault) as refused:
        await create(mapper)
    assert refused.value.code == 0x80070055


async def test_only_administrators_map(mapper: Driver) -> None:
    with pytest.raises(CimFault) as refused:
        await create(mapper, caller=Caller("HYPERV1\\user", administrator=False))
    assert refused.value.code == 0x80070005


async def test_releases_before_2016_have_no_global_mapping(tmp_path: Path) -> None:
    driver = Driver(HostConfig(tmp_path, release="2012r2"))
    with pytest.raises(CimFault):
        await driver.rows(MAPPING, SMB)
    driver.host.close()


async def test_disks_partitions_and_volumes_tell_one_story(mapper: Driver) -> None:
    path = r"C:\mounted.vhdx"
    assert await mapper.create_disk(path) == 0
    await mapper.done("Msvm_ImageManagementService", "AttachVirtualHardDisk", Path=path)
    disks = [row.values for row in await mapper.rows("MSFT_Disk", STORAGE)]
    assert [disk["Number"] for disk in disks] == [0, 1, 2]
    assert [disk["IsOffline"] for disk in disks] == [False, True, False]
    assert (disks[2]["Location"], disks[2]["BusType"]) == (path, 15)
    partitions = [row.values for row in await mapper.rows("MSFT_Partition", STORAGE)]
    assert [part["DriveLetter"] for part in partitions] == ["C", "D"]
    assert {part["DiskId"] for part in partitions} == {disks[0]["ObjectId"]}
    volumes = [row.values for row in await mapper.rows("MSFT_Volume", STORAGE)]
    windows = [row.values for row in await mapper.rows("Win32_Volume", "root/cimv2")]
    assert [v["Path"] for v in volumes] == [w["DeviceID"] for w in windows]
    assert [v["Size"] for v in volumes] == [part["Size"] for part in partitions]
    assert volumes[1]["FileSystemLabel"] == "Data"


async def test_shares_and_nodes(mapper: Driver) -> None:
    shares = [row.values for row in await mapper.rows("MSFT_SmbShare", SMB)]
    assert [share["Name"] for share in shares] == ["C$", "D$", "ADMIN$", "IPC$"]
    nodes = [row.values for row in await mapper.rows("Msvm_NumaNode")]
    config = mapper.host.config
    assert len(nodes) == config.sockets
    processors = sum(int(str(node["NumberOfLogicalProcessors"])) for node in nodes)
    assert processors == config.logical_processors
