"""Windows paths, CIM_DataFile, Win32_Directory, Win32_Process, shares and who may use them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator_host.driver import CALLER, Driver

from cloudstack_hyperv.emulator.cim.errors import SelectorFault
from cloudstack_hyperv.emulator.cim.provider import Caller, CimFault, MethodReply
from cloudstack_hyperv.emulator.host import Drive, HostConfig, JobMode, Share
from cloudstack_hyperv.emulator.host.files import BadWindowsPath, HostFiles
from cloudstack_hyperv.emulator.host.outcome import JobFailed

CIMV2 = "root/cimv2"


@pytest.fixture
def files(tmp_path: Path) -> HostFiles:
    share = Share("NAS", "store", tmp_path / "share", frozenset({"WORKGROUP\\HV1$"}))
    (tmp_path / "share").mkdir()
    return HostFiles(tmp_path, (Drive(), Drive("D", label="Data")), (share,))


def test_names_are_found_in_any_letter_case(files: HostFiles, tmp_path: Path) -> None:
    (tmp_path / "c" / "VMs").mkdir()
    (tmp_path / "c" / "VMs" / "Root.VHDX").touch()
    for spelling in ("C:\\vms\\root.vhdx", "c:/VMS/ROOT.vhdx", "\\\\?\\C:\\VMs\\.\\Root.VHDX"):
        assert files.locate(spelling).local == tmp_path / "c" / "VMs" / "Root.VHDX"
    assert files.locate("D:\\New\\file").local == tmp_path / "d" / "New" / "file"
    assert files.locate("\\\\nas\\STORE\\x").local == tmp_path / "share" / "x"


@pytest.mark.parametrize(
    "path",
    ["", "x.vhdx", "\\x", "C:x", "C:\\a?b", "C:\\con", "C:\\nul.txt", "C:\\a\\ \\b", "\\\\nas"],
)
def test_what_is_no_full_windows_path(files: HostFiles, path: str) -> None:
    with pytest.raises(BadWindowsPath):
        files.locate(path)


def test_nothing_outside_a_drive_is_reached(files: HostFiles, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "c" / "link").symlink_to(tmp_path / "secret")
    assert files.locate("C:\\..\\..\\secret").local == tmp_path / "c" / "secret"
    with pytest.raises(PermissionError):
        files.locate("C:\\link")


@given(st.text(max_size=40))
def test_any_text_stays_inside(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = HostFiles(Path(folder), (Drive(),), ())
        try:
            place = known.locate("C:\\" + text)
        except (BadWindowsPath, PermissionError, OSError):
            return
        assert place.local.resolve().is_relative_to((Path(folder) / "c").resolve())


def test_a_share_lets_in_who_is_on_its_list(files: HostFiles) -> None:
    assert files.for_vmms("\\\\nas\\store\\x.vhdx", "workgroup\\hv1$")
    with pytest.raises(JobFailed) as caught:
        files.for_vmms("\\\\nas\\store\\x.vhdx", "WORKGROUP\\HV2$")
    assert caught.value.hresult == 0x80070005
    files.remove_share("nas", "store")
    with pytest.raises(JobFailed) as caught:
        files.for_vmms("\\\\nas\\store\\x.vhdx", "workgroup\\hv1$")
    assert caught.value.hresult == 0x80070003


def test_one_writer_or_many_readers(files: HostFiles) -> None:
    place = files.locate("C:\\x")
    files.hold(place, "reader", exclusive=False)
    files.hold(place, "other", exclusive=False)
    with pytest.raises(JobFailed) as caught:
        files.hold(place, "writer", exclusive=True)
    assert caught.value.hresult == 0x80070020
    files.release("reader")
    files.release("other")
    files.hold(place, "writer", exclusive=True)
    with pytest.raises(JobFailed):
        files.hold(place, "reader", exclusive=False)


# Over WMI ----------------------------------------------------------------------------------


async def method(
    driver: Driver, class_name: str, name: str, path: str, **arguments: str
) -> int | None:
    reply = await driver.engine.invoke(CIMV2, class_name, {"Name": path}, name, arguments, CALLER)
    return reply.return_value


async def exists(driver: Driver, path: str, class_name: str = "CIM_DataFile") -> bool:
    try:
        await driver.engine.get(CIMV2, class_name, {"Name": path})
    except (CimFault, SelectorFault):
        return False
    return True


async def test_files_are_found_copied_renamed_and_deleted(driver: Driver) -> None:
    file = driver.file("C:\\data\\a.bin")
    file.parent.mkdir()
    file.write_bytes(b"12345")
    rows = await driver.query(
        "SELECT * FROM CIM_DataFile WHERE Name = 'c:\\\\data\\\\a.bin'", CIMV2
    )
    assert [(row.values["FileSize"], row.values["Extension"]) for row in rows] == [(5, "bin")]
    copy, moved = "c:\\data\\b.bin", "c:\\data\\c.bin"
    assert await method(driver, "CIM_DataFile", "Copy", "c:\\data\\a.bin", FileName=copy) == 0
    assert await method(driver, "CIM_DataFile", "Copy", "c:\\data\\a.bin", FileName=copy) == 10
    unc = "\\\\nas\\x\\y"
    assert await method(driver, "CIM_DataFile", "Copy", "c:\\data\\a.bin", FileName=unc) == 2
    assert await method(driver, "CIM_DataFile", "Rename", copy, FileName=moved) == 0
    assert not await exists(driver, copy)
    assert await exists(driver, moved.upper())
    assert await method(driver, "CIM_DataFile", "Delete", moved) == 0
    assert not await exists(driver, moved)
    assert await exists(driver, "c:\\data", "Win32_Directory")
    assert await method(driver, "Win32_Directory", "Delete", "c:\\data") == 0
    assert not file.exists()


async def test_a_file_in_use_is_a_sharing_violation(driver: Driver) -> None:
    path = f"{driver.host.config.disk_folder}\\used.vhdx"
    assert await driver.create_disk(path) == 0
    guid = await driver.define("vm", 1)
    await driver.ide_disk(guid, path)
    await driver.start(guid)
    assert await method(driver, "CIM_DataFile", "Delete", path) == 15
    assert await method(driver, "CIM_DataFile", "Copy", path, FileName="c:\\x.vhdx") == 15
    folder = driver.host.config.disk_folder
    assert await method(driver, "Win32_Directory", "Delete", folder) == 15
    assert await driver.state(guid, 3) == 0
    assert await method(driver, "CIM_DataFile", "Delete", path) == 0


async def create(driver: Driver, command: str, caller: Caller = CALLER) -> MethodReply:
    return await driver.engine.invoke(
        CIMV2, "Win32_Process", {}, "Create", {"CommandLine": command}, caller
    )


async def test_cmd_makes_folders_and_moves_files(driver: Driver) -> None:
    reply = await create(driver, 'cmd.exe /c mkdir "C:\\My VMs\\one"')
    assert reply.return_value == 0
    assert driver.file("C:\\My VMs\\one").is_dir()
    handles = [row.values["ProcessId"] for row in await driver.rows("Win32_Process", CIMV2)]
    assert reply.out["ProcessId"] in handles
    driver.clock.advance(5)
    handles = [row.values["ProcessId"] for row in await driver.rows("Win32_Process", CIMV2)]
    assert reply.out["ProcessId"] not in handles
    driver.file("C:\\a.txt").write_text("a")
    await create(driver, "cmd /c copy C:\\a.txt C:\\b.txt")
    await create(driver, 'cmd /c move /Y C:\\b.txt "C:\\My VMs"')
    assert driver.file("C:\\My VMs\\b.txt").read_text() == "a"
    await create(driver, "cmd /c del C:\\a.txt")
    assert not driver.file("C:\\a.txt").exists()
    assert (await create(driver, "nothing.exe")).return_value == 9
    assert (await create(driver, " ")).return_value == 21


@pytest.mark.parametrize(
    ("mechanism", "works"), [("ntlm", False), ("basic", False), ("credssp", True)]
)
async def test_there_is_no_second_hop_without_credentials(
    tmp_path: Path, mechanism: str, works: bool
) -> None:
    (tmp_path / "store").mkdir()
    share = Share("nas", "store", tmp_path / "store")
    config = HostConfig(tmp_path / "host", job_mode=JobMode.ALWAYS_0, shares=(share,))
    driver = Driver(config)
    driver.file("C:\\a.iso").write_bytes(b"iso")
    caller = Caller("HYPERV1\\admin", mechanism=mechanism)
    await create(driver, "cmd /c copy C:\\a.iso \\\\nas\\store\\a.iso", caller)
    assert (tmp_path / "store" / "a.iso").exists() is works
    driver.host.close()
