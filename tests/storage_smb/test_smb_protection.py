"""What the client demands of a server, and what it does with answers that were tampered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.storage_smb.conftest import Folder, ServerOf, routes_of, server_of
from tests.storage_smb.relay import Relay
from tests.storage_smb.samba_server import SambaServer

from cloudstack_hyperv.storage.host_files import HostFileError, PathNotReachable
from cloudstack_hyperv.storage.smb.errors import SmbConnectionLost, SmbProtectionRefused
from cloudstack_hyperv.storage.smb.files import SmbFiles
from cloudstack_hyperv.storage.smb.session import SmbSession

_COMMAND = slice(12, 14)
_STATUS = slice(8, 12)
_FLAGS = slice(16, 20)
_READ = (8).to_bytes(2, "little")
_PENDING = (0x103).to_bytes(4, "little")
_SIGNED = 0x08
_PLAIN = b"\xfeSMB"
_SEALED = b"\xfdSMB"


@pytest.mark.parametrize("encryption", [True, False])
@pytest.mark.parametrize("dialect", ["SMB3_00", "SMB3_02", "SMB3_11"])
async def test_each_dialect_works_signed_and_encrypted(
    tmp_path: Path, dialect: str, encryption: bool
) -> None:
    samba = SambaServer.start(tmp_path / "samba", dialect=dialect)
    try:
        files = SmbFiles(routes_of(server_of(samba, encryption=encryption)))
        writer = await files.create("C:\\t", 3 << 20)
        await writer.write(0, b"x" * (3 << 20))
        await writer.commit("C:\\f")
        assert await files.read("C:\\f", 0, 3 << 20) == b"x" * (3 << 20)
        await files.close()
    finally:
        samba.stop()


async def test_an_old_dialect_is_refused(tmp_path: Path) -> None:
    samba = SambaServer.start(tmp_path / "samba", dialect="SMB2_10")
    try:
        files = SmbFiles(routes_of(server_of(samba, encryption=False)))
        with pytest.raises(SmbProtectionRefused, match=r"0x0210 at most, and 3\.0 is demanded"):
            await files.status("C:\\")
        await files.close()
    finally:
        samba.stop()


async def test_a_server_that_does_not_encrypt_is_refused_unless_signing_is_enough(
    tmp_path: Path,
) -> None:
    samba = SambaServer.start(tmp_path / "samba", encrypt="off")
    try:
        files = SmbFiles(routes_of(server_of(samba)))
        with pytest.raises(SmbProtectionRefused, match="set encryption = false"):
            await files.status("C:\\")
        await files.close()
        signed = SmbFiles(routes_of(server_of(samba, encryption=False)))
        assert await signed.status("C:\\") is not None
        await signed.close()
    finally:
        samba.stop()


async def test_a_server_that_demands_encryption_gets_it(tmp_path: Path) -> None:
    samba = SambaServer.start(tmp_path / "samba", encrypt="required")
    try:
        files = SmbFiles(routes_of(server_of(samba, encryption=False)))
        assert await files.status("C:\\") is not None
        await files.close()
    finally:
        samba.stop()


def _flip(frame: bytearray) -> None:
    frame[-1] ^= 1


def _strip_signature(frame: bytearray) -> None:
    frame[_FLAGS] = (int.from_bytes(frame[_FLAGS], "little") & ~_SIGNED).to_bytes(4, "little")
    frame[48:64] = bytes(16)
    frame[-1] ^= 1


@pytest.mark.parametrize("change", [_flip, _strip_signature])
async def test_a_changed_answer_is_not_believed(
    samba: SambaServer, server_of: ServerOf, folder: Folder, change: Callable[[bytearray], None]
) -> None:
    (folder.real / "f").write_bytes(b"genuine!")
    changed = 0

    def tamper(frame: bytearray) -> None:
        nonlocal changed
        if frame[:4] == _PLAIN and frame[_COMMAND] == _READ and frame[_STATUS] != _PENDING:
            changed += 1
            change(frame)

    with Relay(samba.port, tamper) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port, encryption=False)))
        with pytest.raises(SmbConnectionLost):
            await files.read(f"{folder.path}\\f", 0, 8)
        await files.close()
    assert changed == 2  # asked again on a new connection, and refused again


async def test_a_changed_encrypted_answer_is_not_believed(
    samba: SambaServer, server_of: ServerOf, folder: Folder
) -> None:
    (folder.real / "f").write_bytes(b"x" * 1000)

    def tamper(frame: bytearray) -> None:
        if frame[:4] == _SEALED and len(frame) > 1000:
            frame[-1] ^= 1

    with Relay(samba.port, tamper) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        with pytest.raises(SmbConnectionLost):
            await files.read(f"{folder.path}\\f", 0, 1000)
        await files.close()


async def test_encrypted_contents_do_not_pass_in_clear(
    samba: SambaServer, server_of: ServerOf, folder: Folder
) -> None:
    secret = b"the contents of the file " * 50
    (folder.real / "f").write_bytes(secret)
    seen: list[bytes] = []
    with Relay(samba.port, lambda frame: seen.append(bytes(frame))) as relay:
        for encryption in (True, False):
            files = SmbFiles(routes_of(server_of(port=relay.port, encryption=encryption)))
            seen.clear()
            assert await files.read(f"{folder.path}\\f", 0, len(secret)) == secret
            await files.close()
            assert any(secret in frame for frame in seen) is not encryption


async def test_a_symbolic_link_that_leaves_the_share_is_not_followed(
    encrypted: SmbFiles, folder: Folder, tmp_path: Path
) -> None:
    (tmp_path / "outside").write_bytes(b"not yours")
    (folder.real / "link").symlink_to(tmp_path / "outside")
    with pytest.raises((PathNotReachable, HostFileError)):
        await encrypted.read(f"{folder.path}\\link", 0, 9)


def test_a_session_frees_its_socket_and_thread(samba: SambaServer) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        session = SmbSession(server_of(samba))
        session.tree("C$")
        session.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
