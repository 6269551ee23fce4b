"""Bulk copies in their own processes, between folders and a real Samba server."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.storage_smb.conftest import Folder, Local, ServerOf, routes_of
from tests.storage_smb.relay import Relay
from tests.storage_smb.samba_server import PASSWORD, SambaServer

from cloudstack_hyperv.config import Secret
from cloudstack_hyperv.storage.bulk.ends import FolderEnd, end_to_json
from cloudstack_hyperv.storage.bulk.sides import SourceChanged, TargetChanged
from cloudstack_hyperv.storage.bulk.transfer import BulkWorkerFailed, bulk_copy
from cloudstack_hyperv.storage.bulk.worker import ABANDONED
from cloudstack_hyperv.storage.host_files import (
    HostFileExists,
    HostFileNotFound,
    NoSpaceLeft,
)
from cloudstack_hyperv.storage.smb.errors import SmbConnectionLost, SmbLoginRefused
from cloudstack_hyperv.storage.smb.files import SmbFiles

MIB = 1 << 20


def _content(size: int) -> bytes:
    return secrets.token_bytes(MIB) * (size // MIB) + secrets.token_bytes(size % MIB)


async def test_a_file_goes_there_and_back(files: SmbFiles, folder: Folder, local: Local) -> None:
    content = _content(19 * MIB + 7)
    (local.real / "a").write_bytes(content)
    fractions: list[float] = []
    result = await bulk_copy(
        local.files,
        "L:\\a",
        files,
        f"{folder.path}\\b",
        size=len(content),
        progress=fractions.append,
    )
    assert (folder.real / "b").read_bytes() == content
    assert (result.size, result.moved, result.resumed) == (len(content), len(content), 0)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    await bulk_copy(files, f"{folder.path}\\b", local.files, "L:\\c", size=len(content))
    assert (local.real / "c").read_bytes() == content


async def test_a_file_goes_from_one_server_to_another(
    samba: SambaServer, server_of: ServerOf, folder: Folder
) -> None:
    content = _content(5 * MIB + 1)
    (folder.real / "a").write_bytes(content)
    source, target = SmbFiles(routes_of(server_of())), SmbFiles(routes_of(server_of()))
    await bulk_copy(
        source,
        f"{folder.path}\\a",
        target,
        f"\\\\store\\secondary\\{folder.real.name}",
        size=len(content),
    )
    assert (samba.folder / "secondary" / folder.real.name).read_bytes() == content
    await source.close()
    await target.close()


async def test_an_empty_file_is_copied(encrypted: SmbFiles, folder: Folder, local: Local) -> None:
    (local.real / "a").touch()
    result = await bulk_copy(
        local.files, "L:\\a", encrypted, f"{folder.path}\\b", size=0, algorithm="md5"
    )
    assert (folder.real / "b").read_bytes() == b""
    assert result.digest == hashlib.md5(usedforsecurity=False).hexdigest()


async def test_holes_and_zeros_are_neither_sent_nor_lost(
    samba: SambaServer, server_of: ServerOf, folder: Folder, local: Local
) -> None:
    size = 100 * MIB + 5
    with (local.real / "a").open("wb") as file:
        file.truncate(size)
        for offset in (0, 37 * MIB + 3, size - 1000):
            file.seek(offset)
            file.write(secrets.token_bytes(1000))
        file.seek(60 * MIB)
        file.write(bytes(20 * MIB))  # zeros that are there
    expected = hashlib.sha256((local.real / "a").read_bytes()).hexdigest()
    with Relay(samba.port) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        result = await bulk_copy(
            local.files, "L:\\a", files, f"{folder.path}\\b", size=size, algorithm="sha256"
        )
        await files.close()
        assert relay.passed < MIB
    assert result.moved < MIB
    assert result.digest == expected
    assert hashlib.sha256((folder.real / "b").read_bytes()).hexdigest() == expected


async def test_nothing_is_overwritten(encrypted: SmbFiles, folder: Folder, local: Local) -> None:
    (local.real / "a").write_bytes(b"new")
    (folder.real / "b").write_bytes(b"old")
    with pytest.raises(HostFileExists):
        await bulk_copy(local.files, "L:\\a", encrypted, f"{folder.path}\\b", size=3)
    assert (folder.real / "b").read_bytes() == b"old"
    (local.real / "c").write_bytes(b"old")
    with pytest.raises(HostFileExists):
        await bulk_copy(encrypted, f"{folder.path}\\b", local.files, "L:\\c", size=3)
    with pytest.raises(HostFileNotFound):
        await bulk_copy(encrypted, f"{folder.path}\\nothing", local.files, "L:\\d", size=3)


async def test_a_source_of_another_size_is_refused(
    encrypted: SmbFiles, folder: Folder, local: Local
) -> None:
    (local.real / "a").write_bytes(b"four")
    with pytest.raises(SourceChanged):
        await bulk_copy(local.files, "L:\\a", encrypted, f"{folder.path}\\b", size=3)
    assert not (folder.real / "b").exists()


@pytest.mark.parametrize("cut_after", [20 * MIB, 39 * MIB])
async def test_a_copy_goes_on_after_a_cut_while_it_writes(
    samba: SambaServer, server_of: ServerOf, folder: Folder, local: Local, cut_after: int
) -> None:
    content = secrets.token_bytes(40 * MIB)
    (local.real / "a").write_bytes(content)
    with Relay(samba.port) as relay:
        relay.cut_after = cut_after
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        result = await bulk_copy(
            local.files, "L:\\a", files, f"{folder.path}\\b", size=len(content), algorithm="sha256"
        )
        await files.close()
    assert result.resumed == 1
    assert (folder.real / "b").read_bytes() == content
    assert result.digest == hashlib.sha256(content).hexdigest()
    # What had arrived was compared and not sent again.
    assert result.moved < len(content) + 16 * MIB


async def test_a_copy_goes_on_after_a_cut_while_it_reads(
    samba: SambaServer, server_of: ServerOf, folder: Folder, local: Local
) -> None:
    content = secrets.token_bytes(40 * MIB)
    (folder.real / "a").write_bytes(content)
    with Relay(samba.port) as relay:
        relay.cut_after = 20 * MIB
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        result = await bulk_copy(
            files, f"{folder.path}\\a", local.files, "L:\\b", size=len(content), algorithm="sha256"
        )
        await files.close()
    assert result.resumed == 1
    assert (local.real / "b").read_bytes() == content
    assert result.digest == hashlib.sha256(content).hexdigest()


async def test_what_a_server_lost_is_written_again(
    samba: SambaServer, server_of: ServerOf, folder: Folder, local: Local
) -> None:
    content = secrets.token_bytes(40 * MIB)
    (local.real / "a").write_bytes(content)
    damaged = False

    def lose(frame: bytearray) -> None:
        """Damage what was acknowledged but not written out, as a crash of the server could."""
        nonlocal damaged
        target = folder.real / "b"
        if damaged or not target.exists() or target.stat().st_blocks * 512 < 20 * MIB:
            return
        damaged = True
        with target.open("r+b") as file:
            file.seek(3 * MIB)
            file.write(bytes(MIB))
        relay.cut()

    with Relay(samba.port, lose) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        result = await bulk_copy(
            local.files, "L:\\a", files, f"{folder.path}\\b", size=len(content)
        )
        await files.close()
    assert damaged
    assert result.resumed == 1
    assert (folder.real / "b").read_bytes() == content


async def test_a_target_that_was_replaced_is_left_alone(
    samba: SambaServer, server_of: ServerOf, folder: Folder, local: Local
) -> None:
    (local.real / "a").write_bytes(secrets.token_bytes(40 * MIB))
    replaced = False

    def replace(frame: bytearray) -> None:
        nonlocal replaced
        target = folder.real / "b"
        if replaced or not target.exists() or target.stat().st_blocks * 512 < 10 * MIB:
            return
        replaced = True
        (folder.real / "old").write_bytes(b"keeps the inode's number")
        target.rename(folder.real / "moved")
        target.write_bytes(b"somebody else's")
        relay.cut()

    with Relay(samba.port, replace) as relay:
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        with pytest.raises(TargetChanged):
            await bulk_copy(local.files, "L:\\a", files, f"{folder.path}\\b", size=40 * MIB)
        await files.close()
    assert (folder.real / "b").read_bytes() == b"somebody else's"


async def test_a_source_that_changed_meanwhile_is_told(
    samba: SambaServer, server_of: ServerOf, folder: Folder, local: Local
) -> None:
    (folder.real / "a").write_bytes(secrets.token_bytes(40 * MIB))

    def change() -> None:
        (folder.real / "a").write_bytes(secrets.token_bytes(40 * MIB))

    with Relay(samba.port) as relay:
        relay.cut_after = 20 * MIB
        relay.at_cut = change
        files = SmbFiles(routes_of(server_of(port=relay.port)))
        with pytest.raises(SourceChanged):
            await bulk_copy(files, f"{folder.path}\\a", local.files, "L:\\b", size=40 * MIB)
        await files.close()


@pytest.mark.slow
async def test_a_server_that_stays_away_ends_the_copy(
    tmp_path: Path, server_of: ServerOf, folder: Folder, local: Local, samba: SambaServer
) -> None:
    (local.real / "a").write_bytes(secrets.token_bytes(40 * MIB))
    relay = Relay(samba.port)
    with relay:
        relay.cut_after = 20 * MIB
        relay.at_cut = relay.refuse
        files = SmbFiles(routes_of(server_of(port=relay.port, timeout=1.0)))
        with pytest.raises(SmbConnectionLost):
            await bulk_copy(
                local.files, "L:\\a", files, f"{folder.path}\\b", size=40 * MIB, patience=1.5
            )
        await files.close()


async def test_a_wrong_password_does_not_reach_any_text(
    server_of: ServerOf, folder: Folder, local: Local
) -> None:
    (local.real / "a").write_bytes(b"x")
    files = SmbFiles(routes_of(server_of(password=Secret("Not-The-Word-5"))))
    with pytest.raises(SmbLoginRefused) as caught:
        await bulk_copy(local.files, "L:\\a", files, f"{folder.path}\\b", size=1)
    await files.close()
    assert "Not-The-Word-5" not in str(caught.value)


async def test_the_password_is_in_no_command_line_and_no_environment(
    encrypted: SmbFiles, folder: Folder, local: Local
) -> None:
    (local.real / "a").write_bytes(_content(64 * MIB))
    copy = asyncio.create_task(
        bulk_copy(local.files, "L:\\a", encrypted, f"{folder.path}\\b", size=64 * MIB, rate=MIB)
    )
    worker = await _worker()
    for name in ("cmdline", "environ"):
        assert PASSWORD.encode() not in Path(f"/proc/{worker}/{name}").read_bytes()
    copy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copy


async def test_a_cancelled_copy_ends_its_process_and_can_be_removed(
    encrypted: SmbFiles, folder: Folder, local: Local
) -> None:
    (local.real / "a").write_bytes(_content(64 * MIB))
    copy = asyncio.create_task(
        bulk_copy(local.files, "L:\\a", encrypted, f"{folder.path}\\b", size=64 * MIB, rate=4 * MIB)
    )
    worker = await _worker()
    await _until((folder.real / "b").exists)
    copy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copy
    assert not Path(f"/proc/{worker}").exists()
    assert await encrypted.delete(f"{folder.path}\\b")


async def test_a_worker_that_dies_is_an_error(
    encrypted: SmbFiles, folder: Folder, local: Local
) -> None:
    (local.real / "a").write_bytes(_content(64 * MIB))
    copy = asyncio.create_task(
        bulk_copy(local.files, "L:\\a", encrypted, f"{folder.path}\\b", size=64 * MIB, rate=4 * MIB)
    )
    os.kill(await _worker(), signal.SIGKILL)
    with pytest.raises(BulkWorkerFailed, match="code -9"):
        await copy


async def test_the_rate_is_kept(encrypted: SmbFiles, folder: Folder, local: Local) -> None:
    (local.real / "a").write_bytes(_content(16 * MIB))
    loop = asyncio.get_running_loop()
    started = loop.time()
    await bulk_copy(
        local.files, "L:\\a", encrypted, f"{folder.path}\\b", size=16 * MIB, rate=16 * MIB
    )
    assert loop.time() - started > 0.7


@pytest.fixture
def small_volume(samba: SambaServer) -> Iterator[Path]:
    """A volume of 8 MiB below the server's drive C:."""
    place = samba.folder / "C" / f"small-{secrets.token_hex(4)}"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", bytes(place), b"tmpfs", 0, b"size=8m") != 0:
        pytest.skip("needs the right to mount a small volume")
    yield place
    libc.umount2(bytes(place), 2)


async def test_a_volume_that_fills_up_is_told(
    files: SmbFiles, local: Local, small_volume: Path
) -> None:
    (local.real / "a").write_bytes(_content(32 * MIB))
    path = f"C:\\{small_volume.name}\\b"
    with pytest.raises(NoSpaceLeft):
        await bulk_copy(local.files, "L:\\a", files, path, size=32 * MIB)
    await files.delete(path)
    writer = await files.create(path, 32 * MIB)
    with pytest.raises(NoSpaceLeft):
        await _write_all(writer.write, (local.real / "a").read_bytes())
    await writer.abort()
    assert list(small_volume.iterdir()) == []


async def _write_all(write: Callable[[int, bytes], Awaitable[None]], data: bytes) -> None:
    for offset in range(0, len(data), 4 * MIB):
        await write(offset, data[offset : offset + 4 * MIB])
    await write(0, data[:1])


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")


async def _worker() -> int:
    """Wait for the one copy's process and return its number."""
    found: list[int] = []

    def there() -> bool:
        found[:] = [pid for pid in _children() if _is_worker(pid)]
        return bool(found)

    await _until(there)
    return found[0]


def _is_worker(pid: int) -> bool:
    try:
        return b"bulk.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += [int(pid) for pid in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def test_a_worker_ends_with_its_agent(local: Local) -> None:
    (local.real / "a").write_bytes(_content(8 * MIB))
    source = os.open(local.real / "a", os.O_RDONLY)
    target = os.open(local.real / "b", os.O_RDWR | os.O_CREAT)
    job = {
        "source": end_to_json(FolderEnd("a", source)),
        "target": end_to_json(FolderEnd("b", target)),
        "size": 8 * MIB,
        "algorithm": None,
        "rate": MIB,
        "patience": 1.0,
    }
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "cloudstack_hyperv.storage.bulk.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(source, target),
    ) as worker:
        os.close(source)
        os.close(target)
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(job).encode() + b"\n")
        worker.stdin.close()
        assert worker.wait(timeout=5) == ABANDONED
