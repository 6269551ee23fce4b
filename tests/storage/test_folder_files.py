"""Files of a host in a folder: found without letter case, never outside, never overwritten."""

import asyncio
import os
from pathlib import Path

import pytest

from cloudstack_hyperv.config import MountSettings
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.host_files import (
    HostFileError,
    HostFileExists,
    HostFileNotFound,
    PathNotReachable,
)
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath
from cloudstack_hyperv.vhd import VhdError, create_dynamic
from cloudstack_hyperv.vhd.files import OsFile


@pytest.fixture
def files(tmp_path: Path) -> FolderFiles:
    (tmp_path / "c").mkdir()
    (tmp_path / "deep").mkdir()
    return FolderFiles(
        [
            MountSettings(host_path="C:\\", folder=str(tmp_path / "c")),
            MountSettings(host_path="C:\\ClusterStorage\\Volume1", folder=str(tmp_path / "deep")),
        ]
    )


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def write_file(files: FolderFiles, path: str, content: bytes) -> None:
    writer = await files.create(path + ".tmp", len(content))
    await writer.write(0, content)
    await writer.commit(path)


async def test_a_file_is_found_in_any_letter_case(files: FolderFiles, tmp_path: Path) -> None:
    (tmp_path / "c/VMs").mkdir()
    (tmp_path / "c/VMs/Disk.VHDX").write_bytes(b"content")
    assert await files.read("c:/vms/disk.vhdx", 3, 10) == b"tent"
    status = await files.status("C:\\VMS\\DISK.vhdx")
    assert status is not None
    assert (status.size, status.is_folder) == (7, False)


async def test_the_deepest_mount_holds_a_path(files: FolderFiles, tmp_path: Path) -> None:
    (tmp_path / "deep/a").write_bytes(b"x")
    assert await files.read("C:\\clusterstorage\\volume1\\A", 0, 1) == b"x"
    assert await files.status("C:\\ClusterStorage\\Volume2\\a") is None


async def test_a_path_that_no_mount_holds_is_not_reachable(files: FolderFiles) -> None:
    for path in ("D:\\a", "\\\\server\\share\\a"):
        with pytest.raises(PathNotReachable, match="no configured way"):
            await files.status(path)


async def test_two_names_that_differ_in_case_only_are_refused(
    files: FolderFiles, tmp_path: Path
) -> None:
    (tmp_path / "c/a.vhdx").touch()
    (tmp_path / "c/A.vhdx").touch()
    with pytest.raises(HostFileError, match="letter case"):
        await files.status("C:\\A.VHDX")


@pytest.mark.parametrize("path", ["C:\\link\\secret", "C:\\secretlink"])
async def test_a_symbolic_link_is_never_followed(
    files: FolderFiles, tmp_path: Path, path: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (tmp_path / "c/link").symlink_to(outside)
    (tmp_path / "c/secretlink").symlink_to(outside / "secret")
    with pytest.raises(PathNotReachable):
        await files.read(path, 0, 10)
    with pytest.raises(PathNotReachable):
        await files.status(path)
    with pytest.raises(HostFileError):
        await files.create(path, 1)
    with pytest.raises(HostFileError):
        await files.make_folder("C:\\link\\made")
    assert names_in(outside) == ["secret"]
    assert [entry.path for entry in await files.list_folder("C:\\")] == []


async def test_a_path_that_steps_out_is_refused(files: FolderFiles) -> None:
    with pytest.raises(BadWindowsPath):
        await files.read("C:\\..\\outside", 0, 1)


async def test_a_pipe_does_not_hang_the_agent(files: FolderFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c/pipe")
    with pytest.raises(HostFileError):
        await asyncio.wait_for(files.read("C:\\pipe", 0, 1), 5)


async def test_an_existing_file_is_never_overwritten(files: FolderFiles, tmp_path: Path) -> None:
    await write_file(files, "C:\\a.vhdx", b"first")
    writer = await files.create("C:\\b.tmp", 6)
    await writer.write(0, b"second")
    with pytest.raises(HostFileExists):
        await writer.commit("C:\\A.VHDX")
    await writer.abort()
    with pytest.raises(HostFileExists):
        await files.create("C:\\A.vhdx", 1)
    await write_file(files, "C:\\c", b"third")
    with pytest.raises(HostFileExists):
        await files.rename("C:\\c", "C:\\a.vhdx")
    assert (tmp_path / "c/a.vhdx").read_bytes() == b"first"
    assert names_in(tmp_path / "c") == ["a.vhdx", "c"]


async def test_abort_leaves_nothing_and_is_harmless_after_commit(
    files: FolderFiles, tmp_path: Path
) -> None:
    writer = await files.create("C:\\a.tmp", 10)
    await writer.abort()
    await writer.abort()
    with pytest.raises(HostFileError, match="given up"):
        await writer.commit("C:\\a")
    assert names_in(tmp_path / "c") == []
    writer = await files.create("C:\\a.tmp", 10)
    await writer.commit("C:\\a")
    await writer.abort()
    assert names_in(tmp_path / "c") == ["a"]


async def test_what_was_not_written_takes_no_space_and_is_no_data_range(
    files: FolderFiles, tmp_path: Path
) -> None:
    mib = 1 << 20
    writer = await files.create("C:\\a.tmp", 64 * mib)
    await writer.write(8 * mib, b"x" * mib)
    await writer.commit("C:\\a")
    assert (tmp_path / "c/a").stat().st_blocks * 512 < 2 * mib
    assert [entry async for entry in files.data_ranges("C:\\a")] == [(8 * mib, mib)]
    assert await files.read("C:\\a", 0, 10) == bytes(10)


async def test_folders_are_made_with_their_parents_and_listed(
    files: FolderFiles, tmp_path: Path
) -> None:
    await files.make_folder("C:\\x\\y\\z")
    await files.make_folder("C:\\X\\Y\\Z")
    assert (tmp_path / "c/x/y/z").is_dir()
    await write_file(files, "C:\\x\\file", b"1")
    (tmp_path / "c/x/NUL").touch()
    listed = await files.list_folder("C:\\x")
    assert [(entry.path, entry.is_folder) for entry in listed] == [
        ("C:\\x\\file", False),
        ("C:\\x\\y", True),
    ]
    with pytest.raises(HostFileNotFound):
        await files.list_folder("C:\\none")
    with pytest.raises(HostFileExists):
        await files.make_folder("C:\\x\\file")


async def test_deleting_tells_whether_there_was_anything(files: FolderFiles) -> None:
    await write_file(files, "C:\\a", b"1")
    assert await files.delete("C:\\A") is True
    assert await files.delete("C:\\A") is False


async def test_a_disk_describes_itself(files: FolderFiles, tmp_path: Path) -> None:
    with OsFile.create(tmp_path / "c/a.vhdx") as file:
        create_dynamic(file, 5 << 30)
    assert (await files.disk_info("C:\\A.VHDX")).virtual_size == 5 << 30
    await write_file(files, "C:\\b.vhdx", b"no disk at all")
    with pytest.raises(VhdError):
        await files.disk_info("C:\\b.vhdx")


async def test_the_volume_has_space(files: FolderFiles) -> None:
    space = await files.space("C:\\")
    assert space is not None
    assert space.capacity >= space.available > 0
