"""Requests a second and latency of the doors, start-up time, memory a host.  One line a figure.

The agent is a process of its own whose host answers from memory, so that what is measured is a
door: TLS, framing, JSON, the command's scope and its log line.  The peer of the connected door
writes either in one call with TCP_NODELAY (ours) or header and record apart without it, as
CloudStack's Java does; then the kernel's timers, not the agent, set the pace of one request.

Anchors are CloudStack 4.22's Java agent for the same load (GetVmStats, two VMs, loopback, two
cores), measured with its own NioServer and Agent classes on OpenJDK 17: 11 requests/s and 88 ms at
one in flight, 88/s at 8, 2303, 662 and 676/s in three passes at 60 with 50 workers, of which the
best is taken here; 116 MiB; up after 2.3 s; 7 of 2000 requests lost at 32 in flight.  For the
direct door: 72 requests/s and 52 ms with 4 threads of the stock plugin, a TLS handshake for each.

Run: make bench-doors
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource as limits
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.link.management_server import (
    AgentConnection,
    Authority,
    ManagementServer,
    command,
    new_authority,
    pack,
)

STATS = command("GetVmStatsCommand", vmNames=["i-2-17-VM", "i-2-18-VM"], hostGuid="g")
IN_FLIGHT = (1, 8, 64)
JAVA = {1: (11.0, 88.0), 8: (88.0, 88.0), 64: (2303.0, 19.0)}
"""Requests a second and median milliseconds by requests in flight."""
PLUGIN = (72.0, 52.0)
FURTHER_HOSTS = 20
BURST = 2000


# The agent's side


def serve(door: str, port: int, hosts: int, folder: Path) -> None:
    """Be the agent: open one door for hosts that answer from memory."""
    from benchmarks.memory_hosts import run_door

    asyncio.run(run_door(door, port, hosts, folder))


# The measuring side


@dataclass
class Agent:
    """The agent's process."""

    process: asyncio.subprocess.Process

    @classmethod
    async def start(cls, door: str, port: int, hosts: int, folder: Path) -> Agent:
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *(__file__, "--serve", door, "--port", str(port)),
                *("--hosts", str(hosts), "--folder", str(folder)),
            )
        )

    @property
    def processor_seconds(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        return (int(stat[11]) + int(stat[12])) / ticks

    @property
    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    async def stop(self) -> None:
        self.process.terminate()
        await self.process.wait()


@dataclass
class Load:
    """What one pass showed."""

    seconds: float
    processor_seconds: float
    milliseconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def rate_per_core(self) -> float:
        return len(self.milliseconds) / max(self.processor_seconds, 0.01)


async def load_connection(
    connection: AgentConnection, agent: Agent, in_flight: int, count: int
) -> Load:
    """Keep `in_flight` requests under way until `count` are answered."""
    text = json.dumps([STATS]).encode()
    sent: dict[int, float] = {}
    milliseconds: list[float] = []
    first = connection.next_sequence
    connection.next_sequence += count
    numbers = iter(range(first, first + count))

    async def send_next() -> None:
        number = next(numbers, None)
        if number is not None:
            sent[number] = time.perf_counter()
            await connection.send_frame(pack(0x23, number, text))

    used, began = agent.processor_seconds, time.perf_counter()
    for _ in range(in_flight):
        await send_next()
    while len(milliseconds) < count:
        frame = await connection.receive_frame(timeout=30)
        assert not frame[3] & 1, "a request in the middle of the load"
        milliseconds.append(
            (time.perf_counter() - sent.pop(int.from_bytes(frame[4:12], "big"))) * 1000
        )
        await send_next()
    assert not sent
    return Load(time.perf_counter() - began, agent.processor_seconds - used, milliseconds)


async def bench_connected(authority: Authority, folder: Path) -> None:
    for style, peer in (("joined", "own peer"), ("java", "peer as Java")):
        async with ManagementServer(authority.server_context(), style).serving() as server:
            began = time.perf_counter()
            agent = await Agent.start("connected", server.port, 1, folder)
            connection = await server.next(30)
            up_after = time.perf_counter() - began
            await connection.admit(ping_interval=3600)
            if style == "joined":
                figure(
                    "agent start-up to Startup", f"{up_after:.2f} s", "Java 2.3 s", 2.3 / up_after
                )
            for in_flight in IN_FLIGHT:
                count = {1: 400, 8: 2000, 64: 6000}[in_flight]
                if style == "java" and in_flight == 1:
                    count = 200
                await load_connection(connection, agent, in_flight, min(count, 200))
                report(f"connected, {peer}", in_flight, JAVA[in_flight], await load_connection(
                    connection, agent, in_flight, count
                ))  # fmt: skip
            if style == "joined":
                burst = await load_connection(connection, agent, BURST, BURST)
                lost = BURST - len(burst.milliseconds)
                figure(f"connected, burst of {BURST}", f"{lost} lost", "Java 7 of 2000", None)
                figure("memory after the load, 1 host", f"{agent.resident_mib:.0f} MiB",
                       "Java 116-252 MiB", 116 / agent.resident_mib)  # fmt: skip
            await agent.stop()


async def bench_memory(authority: Authority, folder: Path) -> None:
    resident: dict[int, float] = {}
    for hosts in (1, 1 + FURTHER_HOSTS):
        async with ManagementServer(authority.server_context()).serving() as server:
            agent = await Agent.start("connected", server.port, hosts, folder)
            for _ in range(hosts):
                connection = await server.next(30)
                await connection.admit(ping_interval=3600)
                await load_connection(connection, agent, 8, 40)
            resident[hosts] = agent.resident_mib
            await agent.stop()
    further = (resident[1 + FURTHER_HOSTS] - resident[1]) / FURTHER_HOSTS
    figure("memory, connected, 1 host", f"{resident[1]:.0f} MiB", "Java 116 MiB", 116 / resident[1])
    figure("memory, each further host", f"{further:.2f} MiB", "Java 116 MiB", 116 / further)


async def bench_direct(folder: Path) -> None:
    port = free_port()
    agent = await Agent.start("direct", port, 1, folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    await until_open(port)
    body = json.dumps(next(iter(STATS.values()))).encode()
    head = (
        f"POST /api/HypervResource/{next(iter(STATS))} HTTP/1.1\r\nHost: h\r\n"
        f"content-type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    for in_flight in IN_FLIGHT:
        for keep_alive in (False, True):
            kind = "kept open" if keep_alive else "new TLS each"
            end = "\r\n" if keep_alive else "Connection: close\r\n\r\n"
            count = {1: 150, 8: 400, 64: 800}[in_flight] * (3 if keep_alive else 1)
            load = await load_direct(
                port, context, (head + end).encode() + body, in_flight, count, agent, keep_alive
            )
            report(f"direct, {kind}", in_flight, PLUGIN, load)
    await agent.stop()


async def load_direct(
    port: int,
    context: ssl.SSLContext,
    request: bytes,
    in_flight: int,
    count: int,
    agent: Agent,
    keep_alive: bool,
) -> Load:
    """Post as `in_flight` callers do, each over its own connections."""
    milliseconds: list[float] = []
    left = count

    async def caller() -> None:
        nonlocal left
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while left > 0:
            left -= 1
            began = time.perf_counter()
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            reader, writer = streams
            writer.write(request)
            top = await reader.readuntil(b"\r\n\r\n")
            assert top.startswith(b"HTTP/1.1 200"), top
            length = next(
                int(line.partition(b":")[2])
                for line in top.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            milliseconds.append((time.perf_counter() - began) * 1000)
            if not keep_alive:
                writer.transport.abort()
                streams = None
        if streams is not None:
            streams[1].transport.abort()

    used, began = agent.processor_seconds, time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return Load(time.perf_counter() - began, agent.processor_seconds - used, milliseconds)


def report(name: str, in_flight: int, anchor: tuple[float, float], load: Load) -> None:
    """Print rate, latency and rate per core of one pass."""
    rate, median = anchor
    where = f"{name}, {in_flight} in flight"
    figure(f"{where}, rate", f"{load.rate:.0f}/s", f"{rate:g}/s", load.rate / rate)
    figure(f"{where}, median", f"{load.median:.2f} ms", f"{median:g} ms", median / load.median)
    # The anchor had two cores; what it used of them is not known, so it is taken as one.
    figure(f"{where}, per core", f"{load.rate_per_core:.0f}/s", f"{rate:g}/s on two",
           load.rate_per_core / rate)  # fmt: skip


def figure(name: str, value: str, anchor: str, ratio: float | None) -> None:
    """Print one line; the ratio says how many times better than the anchor."""
    print(f"{name:50} {value:>12}   {anchor:18} {'' if ratio is None else f'{ratio:.2f}'}")


def free_port() -> int:
    """Return a port of the loopback that nobody listens at."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until_open(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.perf_counter() + 30
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.perf_counter() > deadline:
                raise
            await asyncio.sleep(0.02)
        else:
            writer.transport.abort()
            return


async def measure() -> None:
    """Run all passes."""
    with tempfile.TemporaryDirectory(prefix="cloudstack-hyperv-bench-") as folder:
        authority = new_authority(Path(folder))
        await bench_connected(authority, Path(folder))
        await bench_memory(authority, Path(folder))
        await bench_direct(Path(folder))


def main() -> None:
    """Measure, or be the agent that is measured."""
    parser = argparse.ArgumentParser(description="Benchmark the doors.")
    parser.add_argument("--serve", choices=("connected", "direct"))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path())
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve, chosen.port, chosen.hosts, chosen.folder)
        return
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    run: Callable[[], Any] = measure
    asyncio.run(run())


if __name__ == "__main__":
    main()
