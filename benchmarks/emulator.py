"""What the emulated host costs: calls a second, summaries, many hosts in one process, starts.

The host serves in a process of its own, a client of bare sockets asks from this one, so a figure
is that of one server core as long as the client is not slower.  One line a figure: name, value,
anchor, ratio (above 1 is better than the anchor).

Run: make bench-emulator
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION
from cloudstack_hyperv.emulator.cim.engine import CimEngine
from cloudstack_hyperv.emulator.cim.provider import Caller, Row
from cloudstack_hyperv.emulator.door.server import WsmanServer
from cloudstack_hyperv.emulator.door.settings import Account, Accounts, DoorSettings
from cloudstack_hyperv.emulator.host import EmulatedHost, HostConfig, JobMode
from cloudstack_hyperv.emulator.host.fates import at_once
from cloudstack_hyperv.emulator.schema import load_schema

USER, PASSWORD = "Administrator", "bench-only"
MANAGEMENT = "Msvm_VirtualSystemManagementService"
WMI = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/"
INFORMATION = (0, 1, 2, 3, 4, 100, 101, 103, 104, 105, 106, 108, 109, 110, 111, 112, 113)
"""Everything but thumbnails, load history and checkpoints."""
CALLS, ROUNDS = 600, 5
FLEET = 200


# The serving process ---------------------------------------------------------------------------


def serve(folder: str, machines: int, pipe: Connection) -> None:
    """Serve a host with so many machines until told to stop; tells the port and GUIDs."""
    asyncio.run(_serve(Path(folder), machines, pipe))


async def _serve(folder: Path, machines: int, pipe: Connection) -> None:
    host = EmulatedHost(HostConfig(folder, job_mode=JobMode.ALWAYS_0, memory_mib=2**22))
    engine = CimEngine(host, load_schema().for_release("2019"))
    guids = [await _machine(engine, f"i-2-{number}-VM") for number in range(machines)]
    accounts = Accounts([Account(USER, PASSWORD)], host.name)
    server = WsmanServer(engine, DoorSettings(basic=True, allow_unencrypted=True), accounts)
    await server.start()
    gc.collect()
    gc.freeze()
    pipe.send((int(re.findall(r":(\d+)/", server.endpoints[0])[0]), guids))
    while await asyncio.to_thread(pipe.recv) == "time":
        pipe.send(time.process_time())
    await server.stop(0.1)
    host.close()


async def _machine(engine: CimEngine, name: str) -> str:
    """Define and start a machine; return its GUID."""
    caller, settings = Caller(USER), {"ElementName": name}
    with at_once():
        reply = await engine.invoke(
            NAMESPACE_VIRTUALIZATION,
            MANAGEMENT,
            {"CreationClassName": MANAGEMENT},
            "DefineSystem",
            {"SystemSettings": Row("Msvm_VirtualSystemSettingData", dict(settings))},
            caller,
        )
        guid = str(re.findall(r'Name="([0-9A-F-]{36})"', str(reply.out["ResultingSystem"]))[0])
        keys = {"CreationClassName": "Msvm_ComputerSystem", "Name": guid}
        await engine.invoke(
            NAMESPACE_VIRTUALIZATION,
            "Msvm_ComputerSystem",
            keys,
            "RequestStateChange",
            {"RequestedState": 2},
            caller,
        )
    return guid


# The asking process ----------------------------------------------------------------------------


class Client:
    """One connection with Basic, and envelopes written by hand."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._head = (
            "POST /wsman HTTP/1.1\r\nHost: h\r\nContent-Type: application/soap+xml;charset=UTF-8"
            f"\r\nAuthorization: Basic {login}\r\nContent-Length: "
        )

    def ask(self, request: bytes) -> bytes:
        """Send a request, return the whole answer."""
        self._socket.sendall(f"{self._head}{len(request)}\r\n\r\n".encode() + request)
        answer = bytearray()
        while not answer.endswith(b"</s:Envelope>"):
            data = self._socket.recv(1 << 18)
            if not data:
                raise SystemExit(f"the host closed: {bytes(answer)!r}")
            answer += data
        return bytes(answer)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def invoke(class_name: str, method: str, keys: dict[str, str], parameters: str) -> bytes:
    """Return the envelope of an Invoke."""
    uri = WMI + class_name
    must = 's:mustUnderstand="true"'
    selectors = "".join(f'<w:Selector Name="{k}">{v}</w:Selector>' for k, v in keys.items())
    return (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
        'xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><s:Header>'
        f"<a:To>http://h:5985/wsman</a:To><w:ResourceURI {must}>{uri}</w:ResourceURI>"
        "<a:ReplyTo><a:Address>http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"
        f"</a:Address></a:ReplyTo><a:Action {must}>{uri}/{method}</a:Action>"
        f"<w:MaxEnvelopeSize {must}>512000</w:MaxEnvelopeSize>"
        "<a:MessageID>uuid:7D7DA9C5-3D05-4E3B-9AC3-0E9B7A5E2B11</a:MessageID>"
        f"<w:OperationTimeout>PT60S</w:OperationTimeout><w:SelectorSet>{selectors}</w:SelectorSet>"
        f'</s:Header><s:Body><p:{method}_INPUT xmlns:p="{uri}">{parameters}</p:{method}_INPUT>'
        "</s:Body></s:Envelope>"
    ).encode()


def summary(guids: list[str]) -> bytes:
    """Return the envelope of GetSummaryInformation about these machines, all for none."""
    settings = "".join(
        "<p:SettingData><a:Address>http://h:5985/wsman</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{WMI}Msvm_VirtualSystemSettingData</w:ResourceURI><w:SelectorSet>"
        f'<w:Selector Name="InstanceID">Microsoft:{guid}</w:Selector></w:SelectorSet>'
        "</a:ReferenceParameters></p:SettingData>"
        for guid in guids
    )
    wanted = "".join(
        f"<p:RequestedInformation>{number}</p:RequestedInformation>" for number in INFORMATION
    )
    return invoke(
        MANAGEMENT, "GetSummaryInformation", {"CreationClassName": MANAGEMENT}, settings + wanted
    )


class Serving:
    """A serving process, a client and the server's own processor time."""

    def __init__(self, port: int, guids: list[str], pipe: Connection) -> None:
        self.guids = guids
        self.client = Client(port)
        self._pipe = pipe

    def processor_seconds(self) -> float:
        """Return the processor time that the serving process has used."""
        self._pipe.send("time")
        return float(self._pipe.recv())

    def measure(self, work: Callable[[], object]) -> tuple[float, float]:
        """Return the seconds of wall clock and of the server's processor that work took."""
        began, used = time.perf_counter(), self.processor_seconds()
        work()
        return time.perf_counter() - began, self.processor_seconds() - used


@contextlib.contextmanager
def serving(machines: int) -> Iterator[Serving]:
    """Run a host with so many running machines in another process for the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="emulator-bench-") as folder:
        process = context.Process(target=serve, args=(folder, machines, theirs))
        process.start()
        try:
            port, guids = ours.recv()
            server = Serving(port, guids, ours)
            yield server
            server.client.close()
            ours.send("stop")
        finally:
            process.join(10)
            process.kill()


# Figures ---------------------------------------------------------------------------------------


def main() -> None:
    """Measure and print."""
    starts()
    schema()
    simple_invokes()
    summaries()
    fleet()


def simple_invokes() -> None:
    """State changes and reads of one machine, one after the other on one connection."""
    with serving(3) as host:
        keys = {"CreationClassName": "Msvm_ComputerSystem", "Name": host.guids[0]}
        states = [
            invoke(
                "Msvm_ComputerSystem",
                "RequestStateChange",
                keys,
                f"<p:RequestedState>{state}</p:RequestedState>",
            )
            for state in (9, 2)
        ]
        one = summary(host.guids[:1])
        for name, requests in (
            ("Invokes/s, pause and resume (state kept on disk)", states),
            ("Invokes/s, GetSummaryInformation of one VM", [one, one]),
        ):
            rates: list[float] = []
            per_core: list[float] = []
            for _ in range(ROUNDS):

                def work(requests: list[bytes] = requests) -> None:
                    for number in range(CALLS):
                        answer = host.client.ask(requests[number % 2])
                        assert b"ReturnValue>0<" in answer, answer

                wall, used = host.measure(work)
                rates.append(CALLS / wall)
                per_core.append(CALLS / used)
            figure(name, rates, "", 600, more_is_better=True)
            figure(
                "    the same by the server's processor time",
                per_core,
                "",
                600,
                more_is_better=True,
            )


def summaries() -> None:
    """The summary of 250 machines; 500 in one and in two."""
    for machines in (250, 500):
        with serving(machines) as host:
            slices = [host.guids[start : start + 250] for start in range(0, machines, 250)]
            requests = [summary(guids) for guids in slices]
            if machines == 250:
                requests = [summary([])]
            milliseconds: list[float] = []
            for _ in range(ROUNDS * 2):

                def work(requests: list[bytes] = requests, expected: int = machines) -> None:
                    answers = b"".join(host.client.ask(request) for request in requests)
                    assert answers.count(b"i-2-") >= expected, answers[:2000]

                milliseconds.append(host.measure(work)[0] * 1000)
            name = f"GetSummaryInformation of {machines} VMs"
            if len(requests) > 1:
                name += f" in {len(requests)} slices"
            figure(name, milliseconds, " ms", 75 * len(requests))
            whole = host.client.ask(summary([]))
            quota = b"<s:Fault>" in whole and b"2150858" in whole
            if quota != (machines == 500):
                raise SystemExit(f"{machines} machines in one envelope: {whole[:2000]!r}")
            size = "quota fault" if quota else f"{len(whole) / 1024:.0f} KiB"
            print(f"    the envelope of {machines} asked in one: {size}", flush=True)


def fleet() -> None:
    """Hosts in this process."""
    load_schema().for_release("2019")
    with tempfile.TemporaryDirectory(prefix="emulator-bench-") as folder:
        hosts: list[Any] = []

        def make(number: int) -> None:
            host = EmulatedHost(HostConfig(Path(folder) / str(number), name=f"HV{number}"))
            engine = CimEngine(host, load_schema().for_release("2019"))
            accounts = Accounts([Account(USER, PASSWORD)], host.name)
            hosts.append((host, WsmanServer(engine, DoorSettings(), accounts)))

        make(0)
        gc.collect()
        before, began = resident_kib(), time.perf_counter()

        async def start_all() -> None:
            for number in range(1, FLEET + 1):
                make(number)
            await asyncio.gather(*(server.start() for _, server in hosts))

        async def stop_all() -> None:
            await asyncio.gather(*(server.stop(0.1) for _, server in hosts))

        async def run() -> None:
            await start_all()
            gc.collect()
            grown = (resident_kib() - before) / FLEET / 1024
            took = (time.perf_counter() - began) / FLEET * 1000
            figure(f"memory of an empty host, {FLEET} in one process", [grown], " MiB", 3)
            figure("start of one more host in a process", [took], " ms", None)
            await stop_all()

        asyncio.run(run())
        for host, _ in hosts:
            host.close()


def schema() -> None:
    """Reading the class definitions, in a process that has read nothing yet."""
    code = (
        "import time; b=time.perf_counter();"
        "from cloudstack_hyperv.emulator.schema import load_schema;"
        "c=time.perf_counter(); load_schema().for_release('2019');"
        "print(c-b, time.perf_counter()-c)"
    )
    loads = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        loads.append(float(done.stdout.split()[1]) * 1000)
    figure("schema load, release 2019", loads, " ms", None)


def starts() -> None:
    """From the command to the line that says that the host listens."""
    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory(prefix="emulator-bench-") as folder:
            began = time.perf_counter()
            words = ["emulate", folder, "--port", "0"]
            process = subprocess.Popen(
                [sys.executable, "-m", "cloudstack_hyperv", *words],
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            guard = threading.Timer(30, process.kill)
            guard.start()
            for line in process.stderr or ():
                if json.loads(line).get("event") == "emulated host listening":
                    seconds.append(time.perf_counter() - began)
                    break
            process.terminate()
            process.wait()
            guard.cancel()
            if process.stderr is not None:
                process.stderr.close()
    figure("start-up of `emulate`", seconds, " s", None)


def resident_kib() -> int:
    """Resident memory of this process."""
    status = Path(f"/proc/{os.getpid()}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def figure(
    name: str,
    values: list[float],
    unit: str,
    anchor: float | None,
    *,
    more_is_better: bool = False,
) -> None:
    """Print one line: the median, its anchor, how much better than it."""
    value = statistics.median(values)
    shown = f"{value:.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"
    compared = ratio = ""
    if anchor is not None:
        compared = f"{anchor:g}{unit}"
        ratio = f"{value / anchor if more_is_better else anchor / value:.2f}"
    print(f"{name:56} {shown:>12} {compared:>10} {ratio:>6}", flush=True)


if __name__ == "__main__":
    main()
