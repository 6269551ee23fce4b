"""`SmbFiles` against a real Samba server, encrypted and signed."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.storage_smb.conftest import Folder, ServerOf, routes_of
from tests.storage_smb.relay import Relay
from tests.storage_smb.samba_server import PASSWORD, SambaServer

from cloudstack_hyperv.config import Secret
from cloudstack_hyperv.storage.host_files import (
    HostFileError,
    HostFileExists,
    HostFileNotFound,
    PathNotReachable,
)
from cloudstack_hyperv.storage.smb.errors import (
    SmbConnectionLost,
    SmbLoginRefused,
    SmbUnreachable,
)
from cloudstack_hyperv.storage.smb.files import SmbFiles
from cloudstack_hyperv.storage.smb.pipeline import Writer
from cloudstack_hyperv.storage.smb.session import SmbSession
from cloudstack_hyperv.storage.smb.writer import create_file
from cloudstack_hyperv.storage.windows_paths import BadWindowsPath, checked_component, folded
from cloudstack_hyperv.vhd import DiskFormat, OsFile, VhdError, create_dynamic

MIB = 1 << 20


async def test_what_is_there_is_told(files: SmbFiles, folder: Folder) -> None:
    (folder.real / "disk.vhdx").write_bytes(b"x" * 70_000)
    os.utime(folder.real / "disk.vhdx", (1_700_000_000, 1_700_000_000))
    found = await files.status(f"{folder.path}\\DISK.VHDX")
    assert found is not None
    assert (found.size, found.is_folder, found.modified) == (70_000, False, 1_700_000_000)
    root = await files.status("C:\\")
    assert root is not None
    assert root.is_folder
    assert root.size == 0


async def test_what_is_missing_is_none(files: SmbFiles, folder: Folder) -> None:
    assert await files.status(f"{folder.path}\\nothing") is None
    assert await files.status(f"{folder.path}\\no\\folder\\either") is None


async def test_a_folder_is_listed_with_full_paths(files: SmbFiles, folder: Folder) -> None:
    names = [f"file-{number:04}.vhdx" for number in range(700)]  # more than one answer holds
    for name in names:
        (folder.real / name).touch()
    (folder.real / "sub").mkdir()
    (folder.real / "Ünï.vhdx").write_bytes(b"123")
    listed = await files.list_folder(folder.path)
    assert {file.path.rpartition("\\")[2] for file in listed} == {*names, "sub", "Ünï.vhdx"}
    assert all(file.path.startswith(folder.path + "\\") for file in listed)
    assert [file.path for file in listed if file.is_folder] == [f"{folder.path}\\sub"]
    assert {file.size for file in listed} == {0, 3}


async def test_a_missing_folder_cannot_be_listed(files: SmbFiles, folder: Folder) -> None:
    with pytest.raises(HostFileNotFound):
        await files.list_folder(f"{folder.path}\\nothing")


async def test_folders_are_made_with_their_parents(files: SmbFiles, folder: Folder) -> None:
    for _ in range(2):
        await files.make_folder(f"{folder.path}\\a\\b\\c")
    assert (folder.real / "a" / "b" / "c").is_dir()


async def test_a_file_in_the_way_of_a_folder_is_kept(files: SmbFiles, folder: Folder) -> None:
    (folder.real / "a").write_bytes(b"file")
    with pytest.raises(HostFileExists):
        await files.make_folder(f"{folder.path}\\a")
    assert (folder.real / "a").read_bytes() == b"file"


async def test_bytes_are_read_up_to_the_end(files: SmbFiles, folder: Folder) -> None:
    content = secrets.token_bytes(5 * MIB + 3)
    (folder.real / "f").write_bytes(content)
    path = f"{folder.path}\\f"
    assert await files.read(path, 0, len(content)) == content
    assert await files.read(path, 3 * MIB - 5, 10) == content[3 * MIB - 5 : 3 * MIB + 5]
    assert await files.read(path, 5 * MIB, 100) == content[5 * MIB :]
    assert await files.read(path, 6 * MIB, 100) == b""


async def test_reads_at_once_do_not_mix(files: SmbFiles, folder: Folder) -> None:
    for number in range(8):
        (folder.real / str(number)).write_bytes(bytes([number]) * MIB)
    read = await asyncio.gather(
        *(files.read(f"{folder.path}\\{number}", 0, MIB) for number in range(8))
    )
    assert [set(data) for data in read] == [{number} for number in range(8)]


async def test_a_new_file_appears_under_its_name_when_it_is_whole(
    files: SmbFiles, folder: Folder
) -> None:
    data = secrets.token_bytes(3 * MIB)
    writer = await files.create(f"{folder.path}\\t.partial", 10 * MIB)
    await writer.write(4 * MIB, data)
    assert not (folder.real / "final").exists()
    await writer.commit(f"{folder.path}\\final")
    assert (folder.real / "final").read_bytes() == bytes(4 * MIB) + data + bytes(3 * MIB)
    assert not (folder.real / "t.partial").exists()
    await writer.abort()
    assert (folder.real / "final").exists()


async def test_an_aborted_file_is_gone(files: SmbFiles, folder: Folder) -> None:
    writer = await files.create(f"{folder.path}\\t.partial", MIB)
    await writer.write(0, b"x" * 1000)
    await writer.abort()
    assert list(folder.real.iterdir()) == []
    await writer.write(0, b"late")
    with pytest.raises(HostFileError, match="given up"):
        await writer.commit(f"{folder.path}\\final")
    assert list(folder.real.iterdir()) == []


async def test_nothing_is_overwritten(files: SmbFiles, folder: Folder) -> None:
    (folder.real / "there").write_bytes(b"old")
    with pytest.raises(HostFileExists):
        await files.create(f"{folder.path}\\There", 1)
    writer = await files.create(f"{folder.path}\\new", 1)
    with pytest.raises(HostFileExists):
        await writer.commit(f"{folder.path}\\THERE")
    await writer.abort()
    (folder.real / "other").write_bytes(b"other")
    with pytest.raises(HostFileExists):
        await files.rename(f"{folder.path}\\other", f"{folder.path}\\there")
    assert (folder.real / "there").read_bytes() == b"old"
    assert {entry.name for entry in folder.real.iterdir()} == {"there", "other"}


async def test_a_file_is_renamed_on_its_share(files: SmbFiles, folder: Folder) -> None:
    (folder.real / "a").write_bytes(b"a")
    (folder.real / "sub").mkdir()
    await files.rename(f"{folder.path}\\A", f"{folder.path}\\sub\\b")
    assert (folder.real / "sub" / "b").read_bytes() == b"a"
    with pytest.raises(HostFileNotFound):
        await files.rename(f"{folder.path}\\a", f"{folder.path}\\c")
    with pytest.raises(HostFileError, match="different shares"):
        await files.rename(f"{folder.path}\\sub\\b", "D:\\CloudStack\\b")


async def test_a_file_is_deleted_and_a_folder_is_not(files: SmbFiles, folder: Folder) -> None:
    (folder.real / "a").touch()
    (folder.real / "sub").mkdir()
    assert await files.delete(f"{folder.path}\\A") is True
    assert await files.delete(f"{folder.path}\\A") is False
    with pytest.raises(HostFileError, match="is a folder"):
        await files.delete(f"{folder.path}\\sub")
    assert (folder.real / "sub").is_dir()


async def test_a_file_in_use_is_not_deleted(files: SmbFiles, folder: Folder) -> None:
    writer = await files.create(f"{folder.path}\\t", MIB)
    with pytest.raises(HostFileError, match="in use"):
        await files.delete(f"{folder.path}\\t")
    await writer.abort()


async def test_a_disk_tells_of_itself(files: SmbFiles, folder: Folder) -> None:
    with OsFile.create(folder.real / "disk.vhdx") as file:
        create_dynamic(file, 3 << 30, block_size=MIB)
    info = await files.disk_info(f"{folder.path}\\disk.vhdx")
    assert (info.format, info.virtual_size) == (DiskFormat.VHDX, 3 << 30)
    (folder.real / "text.vhdx").write_bytes(b"no disk" * 1000)
    with pytest.raises(VhdError):
        await files.disk_info(f"{folder.path}\\text.vhdx")


async def test_space_is_that_of_the_servers_volume(files: SmbFiles, folder: Folder) -> None:
    space = await files.space(folder.path)
    volume = os.statvfs(folder.real)
    assert space is not None
    assert space.capacity == pytest.approx(volume.f_blocks * volume.f_frsize, rel=0.01)
    assert 0 < space.available <= space.capacity


async def test_marked_files_tell_their_data(server_of: ServerOf, folder: Folder) -> None:
    routes = routes_of(server_of(sparse_files=True))
    path = f"{folder.path}\\sparse"

    def write() -> None:
        # Not renamed afterwards: Samba drops the mark then.
        session = SmbSession(routes.place_of(path).server)
        with create_file(session, routes.place_of(path), 64 * MIB) as file:
            writer = Writer(file)
            writer.write(8 * MIB, b"x" * MIB)
            writer.write(40 * MIB, b"y" * MIB)
            writer.drain()
        session.close()

    await asyncio.to_thread(write)
    files = SmbFiles(routes)
    found = [found async for found in files.data_ranges(path)]
    await files.close()
    assert found == [(8 * MIB, MIB), (40 * MIB, MIB)]


async def test_a_new_file_is_not_marked_as_sparse(encrypted: SmbFiles, folder: Folder) -> None:
    # Hyper-V opens no disk that is; Samba tells ranges of marked files only.
    writer = await encrypted.create(f"{folder.path}\\t", 8 * MIB)
    await writer.commit(f"{folder.path}\\plain")
    ranges = [found async for found in encrypted.data_ranges(f"{folder.path}\\plain")]
    assert ranges == [(0, 8 * MIB)]


async def test_an_empty_file_has_no_ranges(encrypted: SmbFiles, folder: Folder) -> None:
    (folder.real / "empty").touch()
    assert [found async for found in encrypted.data_ranges(f"{folder.path}\\empty")] == []


_NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=60)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=_NAMES)
async def test_any_windows_name_comes_back_as_it_was(
    name: str, encrypted: SmbFiles, folder: Folder
) -> None:
    try:
        checked_component(name)
    except BadWindowsPath:
        return
    if len(name.encode()) > 200:
        return  # the server's file system counts bytes where Windows counts UTF-16 units
    path = f"{folder.path}\\{name}"
    writer = await encrypted.create(f"{folder.path}\\t.partial", 1)
    await writer.commit(path)
    try:
        listed = [file.path for file in await encrypted.list_folder(folder.path)]
        assert listed == [path]
        assert await encrypted.status(path) is not None
        assert folded(listed[0]) == folded(path)
    finally:
        assert await encrypted.delete(path)


async def test_a_wrong_password_is_told_without_it(server_of: ServerOf) -> None:
    files = SmbFiles(routes_of(server_of(password=Secret("Not-The-Word-5"))))
    with pytest.raises(SmbLoginRefused) as caught:
        await files.status("C:\\")
    await files.close()
    text = _with_causes(caught.value)
    assert "wrong user or password" in text
    assert "Not-The-Word-5" not in text


async def test_a_missing_share_is_not_reachable(encrypted: SmbFiles) -> None:
    with pytest.raises(PathNotReachable, match="no such share"):
        await encrypted.status("E:\\x")
    with pytest.raises(PathNotReachable, match="no such share"):
        await encrypted.read("\\\\127.0.0.1\\nothing\\x", 0, 1)
    with pytest.raises(PathNotReachable, match="no SMB share or login is configured"):
        await encrypted.status("\\\\elsewhere\\share\\x")


async def test_nobody_listening_is_told_with_a_remedy(server_of: ServerOf) -> None:
    files = SmbFiles(routes_of(server_of(port=1)))
    with pytest.raises(SmbUnreachable, match="firewall let port 1 through"):
        await files.status("C:\\")
    await files.close()


async def test_a_read_goes_on_after_a_lost_connection(
    encrypted: SmbFiles, folder: Folder, samba: SambaServer
) -> None:
    (folder.real / "a").write_bytes(b"content")
    assert await encrypted.read(f"{folder.path}\\a", 0, 7) == b"content"
    samba.drop_connections()
    assert await encrypted.read(f"{folder.path}\\a", 0, 7) == b"content"


async def test_a_rename_whose_answer_was_lost_is_found_done(
    samba: SambaServer, server_of: ServerOf, folder: Folder
) -> None:
    (folder.real / "a").write_bytes(b"a")
    lost = False

    def cut_at_rename(frame: bytearray) -> None:
        nonlocal lost
        if not lost and (folder.real / "b").exists():
            lost = True
            relay.cut()

    with Relay(samba.port, cut_at_rename) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        await files.rename(f"{folder.path}\\a", f"{folder.path}\\b")
        await files.close()
    assert lost
    assert (folder.real / "b").read_bytes() == b"a"


async def test_a_writer_that_lost_its_connection_leaves_nothing(
    samba: SambaServer, server_of: ServerOf, folder: Folder
) -> None:
    with Relay(samba.port) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        writer = await files.create(f"{folder.path}\\t.partial", 64 * MIB)
        relay.cut()
        with pytest.raises(SmbConnectionLost):
            await writer.write(0, b"x" * 16 * MIB)
        await writer.abort()
        await files.close()
    assert list(folder.real.iterdir()) == []


async def test_a_silent_server_is_given_up_and_blocks_nobody(
    samba: SambaServer, server_of: ServerOf, folder: Folder
) -> None:
    with Relay(samba.port) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port, timeout=1.0)))
        assert await files.status(folder.path) is not None
        relay.stall()
        loop = asyncio.get_running_loop()
        started = loop.time()
        ticks = asyncio.create_task(_ticks(20))
        with pytest.raises(SmbConnectionLost):
            await files.status(folder.path)
        assert loop.time() - started < 8
        assert await ticks < 0.5
        await files.close()


async def test_no_log_line_carries_the_password(
    server_of: ServerOf, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        files = SmbFiles(routes_of(server_of()))
        await files.list_folder(folder.path)
        await files.close()
    assert PASSWORD not in caplog.text + out.getvalue() + repr(server_of())
    assert not [record for record in caplog.records if record.name.startswith("smbprotocol")]


async def _ticks(count: int) -> float:
    """Return by how much the event loop was late at most, in seconds."""
    loop = asyncio.get_running_loop()
    worst = 0.0
    for _ in range(count):
        before = loop.time()
        await asyncio.sleep(0.02)
        worst = max(worst, loop.time() - before - 0.02)
    return worst


def _with_causes(error: BaseException | None) -> str:
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return " ".join(texts)
