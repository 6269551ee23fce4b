"""Our SMB copies against smbclient's on the same Samba server, interleaved; memory of a copy.

Both copy the same file of random bytes between a folder and the server, from the start of the
process to its end; files, server and folder lie in memory (/dev/shm) so that no disk decides.
"signed" is SMB 3.1.1 with signing, "encrypted" with AES-GCM.  One line a figure: name, value,
anchor, ratio (ours over the anchor's; for amounts, the budget's share that was used).

Run: make bench-storage
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.storage_smb.relay import Relay
from tests.storage_smb.samba_server import PASSWORD, SambaServer

from cloudstack_hyperv.config import MountSettings, Secret
from cloudstack_hyperv.storage.bulk.transfer import bulk_copy
from cloudstack_hyperv.storage.folder_files import FolderFiles
from cloudstack_hyperv.storage.smb.files import SmbFiles
from cloudstack_hyperv.storage.smb.routes import SmbRoutes
from cloudstack_hyperv.storage.smb.server import SmbServer

ROUNDS: Final = 5
SIZE: Final = 1 << 30
MIB: Final = 1 << 20
GIB: Final = 1 << 30
COPIES: Final = 8
GOALS: Final = {"read": 0.7, "write": 0.6}


def main() -> None:
    """Measure and print."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # memory, not a race
    with tempfile.TemporaryDirectory(prefix="cloudstack-hyperv-bench-", dir=place) as folder:
        server = SambaServer.start(Path(folder) / "samba")
        try:
            asyncio.run(Bench(server, Path(folder) / "local").run())
        finally:
            server.stop()


class Bench:
    """One Samba server, one folder, and the figures."""

    def __init__(self, server: SambaServer, local: Path) -> None:
        self.server = server
        self.local = local
        local.mkdir()
        self.folder = FolderFiles([MountSettings(host_path="L:\\", folder=str(local))])

    def files(
        self, *, encryption: bool = True, port: int | None = None, sparse: bool = False
    ) -> SmbFiles:
        """Return the server's drive C."""
        server = SmbServer(
            "127.0.0.1",
            self.server.user,
            Secret(PASSWORD),
            port=port or self.server.port,
            encryption=encryption,
            sparse_files=sparse,
        )
        return SmbFiles(SmbRoutes(drives=server))

    async def run(self) -> None:
        """Run all of it."""
        block = os.urandom(16 * MIB)
        with (self.local / "random.bin").open("wb") as file:
            for _ in range(SIZE // len(block)):
                file.write(block)
        for protection in ("signed", "encrypted"):
            await self.throughput(protection)
        await self.sparse()
        await self.on_server()
        await self.many()

    async def throughput(self, protection: str) -> None:
        """Write, then read, by smbclient and by us in turn."""
        files = self.files(encryption=protection == "encrypted")
        times: dict[str, list[float]] = {}

        async def timed(name: str, work: Callable[[], Awaitable[object]]) -> None:
            started = time.perf_counter()
            await work()
            times.setdefault(name, []).append(time.perf_counter() - started)

        try:
            for _ in range(ROUNDS):
                await timed("write smbclient", lambda: self.client(protection, "put random.bin a"))
                await timed(
                    "write", lambda: self.copy(self.folder, r"L:\random.bin", files, r"C:\b")
                )
                await timed("read smbclient", lambda: self.client(protection, "get a c"))
                await timed("read", lambda: self.copy(files, r"C:\b", self.folder, r"L:\d"))
                await files.delete(r"C:\a")
                await files.delete(r"C:\b")
                (self.local / "c").unlink()
                (self.local / "d").unlink()
        finally:
            await files.close()
        for name, goal in GOALS.items():
            ours, theirs = (
                SIZE / statistics.median(times[which]) / 1e6
                for which in (name, f"{name} smbclient")
            )
            figure(
                f"{name}, {protection} (goal {goal})",
                f"{ours:.0f} MB/s",
                f"smbclient {theirs:.0f} MB/s",
                ours / theirs,
            )

    async def client(self, protection: str, command: str) -> None:
        """Run one command of smbclient."""
        protect = "encrypt" if protection == "encrypted" else "sign"
        process = await asyncio.create_subprocess_exec(
            "smbclient",
            "-s",
            str(self.server.configuration),
            "-p",
            str(self.server.port),
            "-U",
            f"{self.server.user}%{PASSWORD}",
            f"--client-protection={protect}",
            r"\\127.0.0.1\C$",
            "-c",
            command,
            cwd=self.local,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if await process.wait() != 0:
            raise SystemExit(f"smbclient failed: {command}")

    async def copy(
        self,
        source: FolderFiles | SmbFiles,
        path: str,
        target: FolderFiles | SmbFiles,
        to: str,
    ) -> int:
        """Copy as the agent does; return the bytes that were written."""
        status = await source.status(path)
        assert status is not None
        result = await bulk_copy(source, path, target, to, size=status.size)
        return result.moved

    async def sparse(self) -> None:
        """Copy a file of 40 GiB that has 2 GiB of data."""
        data = os.urandom(MIB)
        with (self.local / "sparse.bin").open("wb") as file:
            file.truncate(40 * GIB)
            for number in range(2048):
                file.seek(number * 20 * MIB)
                file.write(data)
        with Relay(self.server.port) as relay:
            files = self.files(port=relay.port)
            await self.copy(self.folder, r"L:\sparse.bin", files, r"C:\sparse.bin")
            moved = relay.passed / GIB
            await files.delete(r"C:\sparse.bin")
            await files.close()
        (self.local / "sparse.bin").unlink()
        figure(
            "40 GiB with 2 GiB of data, moved", f"{moved:.3f} GiB", "budget 2.1 GiB", moved / 2.1
        )

    async def on_server(self) -> None:
        """Have the server clone a file of 10 GiB that has 1 GiB of data."""
        with (self.local / "template.bin").open("wb") as file:
            file.write((self.local / "random.bin").read_bytes())
            file.truncate(10 * GIB)
        with Relay(self.server.port) as relay:
            files = self.files(port=relay.port, sparse=True)
            await self.copy(self.folder, r"L:\template.bin", files, r"C:\template.bin")
            before = relay.passed
            started = time.perf_counter()
            await files.copy_on_server(r"C:\template.bin", r"C:\clone.bin")
            took = time.perf_counter() - started
            moved = (relay.passed - before) / MIB
            await files.delete(r"C:\clone.bin")
            await files.delete(r"C:\template.bin")
            await files.close()
        (self.local / "template.bin").unlink()
        figure(
            "10 GiB (1 of data) on the server, through us",
            f"{moved:.3f} MiB",
            "budget 1 MiB",
            moved,
        )
        figure("10 GiB (1 of data) on the server, time", f"{took:.2f} s", "-", None)

    async def many(self) -> None:
        """Run eight copies at once, look at their memory, and at the delay of the event loop."""
        files = self.files()
        worst = most = 0.0
        running = [
            asyncio.create_task(
                self.copy(self.folder, r"L:\random.bin", files, rf"C:\many{number}")
            )
            for number in range(COPIES)
        ]
        try:
            while not all(task.done() for task in running):
                started = time.perf_counter()
                await asyncio.sleep(0.02)
                worst = max(worst, time.perf_counter() - started - 0.02)
                most = max(most, *(resident_mib(pid) for pid in children()), 0.0)
            await asyncio.gather(*running)
            for number in range(COPIES):
                await files.delete(rf"C:\many{number}")
        finally:
            await files.close()
        figure("memory of one copy", f"{most:.0f} MiB", "budget 64 MiB", most / 64)
        figure(
            f"{COPIES} copies at once, event loop late by",
            f"{worst * 1000:.0f} ms",
            "budget 1000 ms",
            worst,
        )


def children() -> list[int]:
    """Process numbers of our copies."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if b"bulk.worker" in _command(pid)]


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def resident_mib(pid: int) -> float:
    """Resident memory of a process, from the kernel; 0 for one that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def figure(name: str, value: str, anchor: str, ratio: float | None) -> None:
    """Print one line."""
    print(
        f"{name:44} {value:>20}   {anchor:24} {'' if ratio is None else f'{ratio:.2f}'}", flush=True
    )


if __name__ == "__main__":
    main()
