"""Copies that the server makes itself."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest
from tests.storage_smb.conftest import Folder, ServerOf, routes_of
from tests.storage_smb.relay import Relay
from tests.storage_smb.samba_server import SambaServer

from cloudstack_hyperv.storage.host_files import HostFileExists, HostFileNotFound
from cloudstack_hyperv.storage.smb.errors import SmbUnsupported
from cloudstack_hyperv.storage.smb.files import SmbFiles
from cloudstack_hyperv.storage.smb.routes import SmbRoute, SmbRoutes

MIB = 1 << 20


async def test_no_byte_comes_here(samba: SambaServer, server_of: ServerOf, folder: Folder) -> None:
    content = secrets.token_bytes(40 * MIB + 11)
    (folder.real / "a.vhdx").write_bytes(content)
    fractions: list[float] = []
    with Relay(samba.port) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        size = await files.copy_on_server(
            f"{folder.path}\\a.vhdx", f"{folder.path}\\b.partial", fractions.append
        )
        await files.close()
        assert relay.passed < 64 << 10
    assert size == len(content)
    assert (folder.real / "b.partial").read_bytes() == content
    assert fractions == sorted(fractions)
    assert len(fractions) >= 3
    assert fractions[-1] == 1.0


async def test_shares_of_one_server_are_one_server(
    encrypted: SmbFiles, folder: Folder, samba: SambaServer
) -> None:
    (folder.real / "a").write_bytes(b"x" * 3 * MIB)
    target = f"D:\\CloudStack\\{folder.real.name}"
    assert await encrypted.copy_on_server(f"{folder.path}\\a", target) == 3 * MIB
    assert await encrypted.read(target, 0, 4 * MIB) == b"x" * 3 * MIB


async def test_an_empty_file_is_copied(encrypted: SmbFiles, folder: Folder) -> None:
    (folder.real / "a").touch()
    assert await encrypted.copy_on_server(f"{folder.path}\\a", f"{folder.path}\\b") == 0
    assert (folder.real / "b").read_bytes() == b""


async def test_nothing_is_overwritten(encrypted: SmbFiles, folder: Folder) -> None:
    (folder.real / "a").write_bytes(b"new")
    (folder.real / "b").write_bytes(b"old")
    with pytest.raises(HostFileExists):
        await encrypted.copy_on_server(f"{folder.path}\\a", f"{folder.path}\\B")
    with pytest.raises(HostFileNotFound):
        await encrypted.copy_on_server(f"{folder.path}\\nothing", f"{folder.path}\\c")
    assert {entry.name for entry in folder.real.iterdir()} == {"a", "b"}


async def test_two_servers_cannot_and_leave_nothing(server_of: ServerOf, folder: Folder) -> None:
    (folder.real / "a").write_bytes(b"x")
    store = SmbRoute("\\\\store\\secondary", server_of(encryption=False), "secondary")
    files = SmbFiles(SmbRoutes([store], drives=server_of()))
    with pytest.raises(SmbUnsupported, match="do not lie on one server"):
        await files.copy_on_server(f"{folder.path}\\a", "\\\\store\\secondary\\never")
    assert await files.status("\\\\store\\secondary\\never") is None
    await files.close()


async def test_a_cancelled_copy_stops_and_leaves_nothing(
    samba: SambaServer, server_of: ServerOf, folder: Folder
) -> None:
    (folder.real / "a").write_bytes(b"x" * 160 * MIB)
    begun = asyncio.Event()
    with Relay(samba.port, lambda _: time.sleep(0.05)) as relay:  # ten requests take a while
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        copy = asyncio.create_task(
            files.copy_on_server(f"{folder.path}\\a", f"{folder.path}\\b", lambda _: begun.set())
        )
        await begun.wait()
        copy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copy
        for _ in range(500):
            if not (folder.real / "b").exists():
                break
            await asyncio.sleep(0.01)
        await files.close()
    assert [entry.name for entry in folder.real.iterdir()] == ["a"]
