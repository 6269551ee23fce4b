"""A management server's side of the extension door: payload files, and real processes it runs.

`run` does what CloudStack's ExternalPathPayloadProvisioner does: standard error goes into standard
output, the pipe is read only when the process has ended, and at the time limit it is killed.
"""

from __future__ import annotations

import asyncio
import copy
import json
import signal
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.emulation import PASSWORD, USER, Emulation

from cloudstack_hyperv.cli.assembly import payload_resource
from cloudstack_hyperv.cli.extension import install
from cloudstack_hyperv.config import ExtensionDoorSettings, Settings
from cloudstack_hyperv.doors.extension.door import ExtensionDoor
from cloudstack_hyperv.doors.extension.hosts import ExtensionHosts
from cloudstack_hyperv.hypervisor.machines import Machine, MachineDirectory

PAYLOADS = Path(__file__).parent / "payloads"
NAME = "i-2-17-VM"
TEMPLATE = r"C:\Templates\debian12.vhdx"
DISKS = r"C:\Disks"
ROOT = rf"{DISKS}\{NAME}.vhdx"
MIB = 2**20
PIPE = 65536


def recorded(name: str) -> dict[str, Any]:
    """A payload as CloudStack's own classes wrote it."""
    document: dict[str, Any] = json.loads((PAYLOADS / f"{name}.payload.json").read_text())
    return document


@dataclass
class Ended:
    """How a call ended."""

    status: int | None
    """None: killed at the time limit."""
    output: str
    seconds: float = 0.0

    @property
    def json(self) -> Any:
        return json.loads(self.output)

    def answer(self, action: str) -> dict[str, Any]:
        """What the provisioner turns it into."""
        kind = {
            "create": "StartAnswer", "start": "StartAnswer", "stop": "StopAnswer",
            "delete": "StopAnswer", "reboot": "RebootAnswer",
            "prepare": "PrepareExternalProvisioningAnswer",
            "getconsole": "GetExternalConsoleAnswer",
        }.get(action, "RunCustomActionAnswer")  # fmt: skip
        body: dict[str, Any] = {"result": self.status == 0}
        if self.status is None:
            body["details"] = "Timeout"
        elif self.status != 0:
            body["details"] = f"Exit code: {self.status}, Output: {self.output}"
        elif kind in ("RunCustomActionAnswer", "PrepareExternalProvisioningAnswer"):
            body["details"] = self.output
        body |= {"contextMap": {}, "wait": 0, "bypassHostMaintenance": False}
        return {f"com.cloud.agent.api.{kind}": body}


@dataclass
class Site:
    """A management server's machine: its extensions folder and its payload files."""

    emulation: Emulation
    folder: Path
    socket: Path
    executable: Path = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        assert install(
            self.folder / "HyperV",
            socket=str(self.socket),
            program=str(Path(sys.executable).parent / "cloudstack-hyperv"),
        ) == 0  # fmt: skip
        self.executable = self.folder / "HyperV" / "hyperv.py"
        assert self.executable.stat().st_mode & stat.S_IXOTH

    def payload(self, name: str = "create", **changes: Any) -> dict[str, Any]:
        """A recorded payload, aimed at the emulated host; `changes` by first path component.

        `vm`, `host`, `machine`, `parameters` are merged into their places.
        """
        document = recorded(name)
        document["externaldetails"]["host"] |= {
            "url": f"http://127.0.0.1:{self.emulation.port}",
            "username": USER,
            "password": PASSWORD,
            "network_switch": "External",
            "vhd_path": DISKS,
            "vm_path": r"C:\Machines",
            **changes.get("host", {}),
        }
        document["externaldetails"]["virtualmachine"] |= changes.get("machine", {})
        document["cloudstack.vm.details"] |= changes.get("vm", {})
        if "parameters" in changes:
            document["parameters"] = changes["parameters"]
        return document

    async def run(self, action: str, payload: dict[str, Any] | bytes, seconds: int = 60) -> Ended:
        """Call the executable as the management server does."""
        self.count += 1
        file = self.folder / f"payload-{self.count}.json"
        file.write_bytes(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
        loop = asyncio.get_running_loop()
        began = loop.time()
        process = await asyncio.create_subprocess_exec(
            str(self.executable), action, str(file), str(seconds),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, cwd=self.folder, limit=PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                status: int | None = await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            status = None
        assert process.stdout is not None
        output = (await process.stdout.read()).decode()
        assert len(output) < PIPE, "this would have blocked"
        return Ended(status, output.strip(), loop.time() - began)

    async def must(self, action: str, payload: dict[str, Any]) -> Ended:
        """Call it and see it succeed."""
        ended = await self.run(action, payload)
        assert ended.status == 0, ended
        return ended

    async def machine(self) -> Machine | None:
        """The VM as the host has it, read past everything that is tested."""
        client = self.emulation.client()
        try:
            return await MachineDirectory(client).find(NAME, search=True)
        finally:
            await client.close()


@contextmanager
def site(emulation: Emulation, folder: Path) -> Iterator[Site]:
    """A management server beside an emulated host with a template."""
    emulation.make_disk("debian12", folder=r"C:\Templates")
    emulation.path(DISKS).mkdir(parents=True)
    emulation.path(r"C:\Machines").mkdir()
    # A socket's path has at most 108 bytes; a test's own folder can be longer.
    with tempfile.TemporaryDirectory(prefix="cshv-") as short:
        place = folder / "management-server"
        place.mkdir()
        yield Site(emulation, place, Path(short) / "extension.sock")


@asynccontextmanager
async def agent(place: Site, **settings: Any) -> AsyncIterator[ExtensionDoor]:
    """An agent that listens at the site's socket."""
    door_settings = ExtensionDoorSettings(socket=str(place.socket), **settings)
    configuration = Settings(extension=door_settings)
    hosts = ExtensionHosts((), configuration, payload_resource, any_host=door_settings.any_host)
    door = ExtensionDoor(hosts, door_settings)
    await door.start()
    try:
        yield door
    finally:
        await door.stop(drain=0)


def changed(payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A copy of a payload with top-level fields changed."""
    return copy.deepcopy(payload) | fields


KILLED = -signal.SIGKILL
