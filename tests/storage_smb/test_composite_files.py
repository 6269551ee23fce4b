"""Which way leads to a path: a mount of the gateway, SMB, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.storage_smb.conftest import Folder
from tests.storage_smb.samba_server import PASSWORD, SambaServer

from cloudstack_hyperv.config import (
    HostSettings,
    MountSettings,
    SecretSource,
    SmbSettings,
    StoreSettings,
    WinrmSettings,
)
from cloudstack_hyperv.storage.composite_files import CompositeFiles
from cloudstack_hyperv.storage.host_files import HostFileError, PathNotReachable


@pytest.fixture
async def composite(samba: SambaServer, tmp_path: Path) -> AsyncIterator[CompositeFiles]:
    """A host whose D: is a mount, whose C: is reached by SMB, and a store on another server."""
    password = SecretSource(value=PASSWORD)
    (tmp_path / "d").mkdir()
    host = HostSettings(
        name="hv1",
        winrm=WinrmSettings(address="127.0.0.1", user=samba.user, password=password),
        mounts=(MountSettings(host_path="D:\\", folder=str(tmp_path / "d")),),
        smb=SmbSettings(port=samba.port),
    )
    store = StoreSettings(
        url=f"cifs://127.0.0.1:{samba.port}/secondary", user=samba.user, password=password
    )
    files = CompositeFiles.of_host(host, [store])
    yield files
    await files.close()


async def test_each_path_goes_its_way(
    composite: CompositeFiles, folder: Folder, samba: SambaServer, tmp_path: Path
) -> None:
    for path, real in (
        (f"{folder.path}\\f", folder.real / "f"),
        ("D:\\f", tmp_path / "d" / "f"),
        ("\\\\127.0.0.1\\secondary\\composite", samba.folder / "secondary" / "composite"),
    ):
        writer = await composite.create(path + ".partial", 3)
        await writer.write(0, b"abc")
        await writer.commit(path)
        assert real.read_bytes() == b"abc"
        assert await composite.read(path, 1, 2) == b"bc"
        assert [found async for found in composite.data_ranges(path)] == [(0, 3)]
        assert await composite.space(path) is not None
        assert await composite.delete(path)
        assert await composite.status(path) is None


async def test_no_rename_from_one_way_to_another(
    composite: CompositeFiles, folder: Folder, tmp_path: Path
) -> None:
    (folder.real / "f").write_bytes(b"abc")
    with pytest.raises(HostFileError, match="different ways"):
        await composite.rename(f"{folder.path}\\f", "D:\\f")
    await composite.rename(f"{folder.path}\\f", f"{folder.path}\\g")
    assert (folder.real / "g").exists()


async def test_a_mount_that_is_down_does_not_become_smb(
    composite: CompositeFiles, tmp_path: Path
) -> None:
    (tmp_path / "d").rmdir()
    with pytest.raises(PathNotReachable, match="stands for"):
        await composite.status("D:\\f")


async def test_a_path_that_nothing_leads_to_is_told(composite: CompositeFiles) -> None:
    with pytest.raises(PathNotReachable, match="no configured way"):
        await composite.status("\\\\elsewhere\\share\\f")


async def test_a_host_without_smb_has_its_mounts(tmp_path: Path) -> None:
    host = HostSettings(
        name="hv1",
        winrm=WinrmSettings(address="127.0.0.1"),
        mounts=(MountSettings(host_path="D:\\", folder=str(tmp_path)),),
    )
    files = CompositeFiles.of_host(host)
    await files.make_folder("D:\\sub")
    assert [file.path for file in await files.list_folder("D:\\")] == ["D:\\sub"]
    with pytest.raises(PathNotReachable):
        await files.status("C:\\")
    await files.close()
