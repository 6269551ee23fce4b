"""Bad input through the real door to an emulated host: refused, and nothing changed there."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from tests.emulation import POOL, Emulation

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.config import DirectDoorSettings
from cloudstack_hyperv.demo import conversation as say
from cloudstack_hyperv.doors.direct.server import DirectDoor
from cloudstack_hyperv.resource.resource import Resource
from cloudstack_hyperv.wsman import EmbeddedInstance

READING_METHODS = {"GetSummaryInformation", "GetVirtualHardDiskSettingData"}
ZONE = say.Zone("192.0.2.10", "External", "5fe2bad3-d785-394e-9949-89786b8a63d2", POOL, 2**26,
                2**26, 2**26)  # fmt: skip

BAD_VM_NAMES = [
    "i-2-3-VM' OR ElementName LIKE '%",
    '"; DROP',
    "i-2-3-VM\\",
    "%",
    "_-_-__",
    "]]></VALUE>",
    "<INSTANCE/>",
    "a\nb",
    "\u202ei-2-3-VM",
    "x" * 32000,
]
BAD_STEMS = [
    "..",
    "..\\..\\Windows\\x",
    "../x",
    "\\\\10.9.9.9\\share\\x",
    "C:\\other\\x",
    "\\\\?\\C:\\x",
    "CON",
    "nul.vhdx",
    "a:b",
    "x" * 300,
    "trailing. ",
    "a\x00b",
]


@dataclass
class Scene:
    """A door, the host behind it, and somebody else's machine and disk on that host."""

    emulation: Emulation
    port: int
    session: aiohttp.ClientSession

    async def post(self, name: str, command: Any) -> dict[str, Any]:
        """Post a command and return its answer; the door must answer 200 or 400."""
        url = f"https://127.0.0.1:{self.port}/api/HypervResource/{name}"
        async with self.session.post(url, data=json.dumps(command), ssl=_trusting()) as response:
            assert response.status in (200, 400), await response.text()
            if response.status == 400:
                return {"result": False, "details": await response.text()}
            answers = await response.json()
        answer: dict[str, Any] = next(iter(answers[0].values()))
        return answer

    def state(self) -> dict[str, str]:
        """Every file of the host with a hash of its content."""
        root = self.emulation.folder / "c"
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    def changing_calls(self) -> list[str]:
        """Methods called so far that could change something."""
        return [
            record.call.method
            for record in self.emulation.server.calls.records
            if record.call.operation == "Invoke" and record.call.method not in READING_METHODS
        ]


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
async def scene(
    emulated_host: Emulation, resource: Resource, tmp_path: Path
) -> AsyncIterator[Scene]:
    emulated_host.make_disk("19ae8e67-cb2c-4ab4-901e-e0b864272b59")
    settings = DirectDoorSettings(port=0, allow=("127.0.0.1",))
    door = DirectDoor([resource], settings, tmp_path / "state")
    listening = await door.start()
    async with aiohttp.ClientSession() as session:
        yield Scene(emulated_host, listening[0].port, session)
    await door.stop(drain=0)


@pytest.mark.parametrize("name", BAD_VM_NAMES, ids=range(len(BAD_VM_NAMES)))
async def test_vm_names_cannot_bend_a_query(scene: Scene, name: str) -> None:
    before = scene.state()
    start = say.start(ZONE)
    start["vm"]["name"] = name
    for command_class, command in (
        ("StopCommand", {**say.stop(), "vmName": name}),
        ("RebootCommand", {"vmName": name}),
        ("CheckVirtualMachineCommand", {"vmName": name}),
        ("GetVncPortCommand", {"id": 17, "name": name}),
        ("GetVmConfigCommand", {"vmName": name}),
    ):
        answer = await scene.post(f"{say.AGENT}{command_class}", command)
        if command_class != "StopCommand":  # a VM that is not there counts as stopped
            assert answer["result"] is False, (command_class, answer)
            assert answer["details"]
    assert scene.changing_calls() == []
    assert scene.state() == before


@pytest.mark.parametrize("stem", BAD_STEMS, ids=range(len(BAD_STEMS)))
async def test_stems_that_are_paths_are_refused(scene: Scene, stem: str) -> None:
    before = scene.state()
    to = say.volume(ZONE, stem, kind="DATADISK", size=2**26, path=stem, format="VHDX")
    wrapped = {f"{say.TO}VolumeObjectTO": to}
    start = say.start(ZONE)
    start["vm"]["disks"] = [{"data": wrapped, "diskSeq": 0, "path": stem, "type": "ROOT"}]
    copy = say.copy_root(ZONE, stem)
    for command_class, command in (
        (f"{say.STORAGE}CreateObjectCommand", {"data": wrapped}),
        (f"{say.STORAGE}DeleteCommand", {"data": wrapped}),
        (f"{say.STORAGE}CopyCommand", copy),
        (f"{say.AGENT}StartCommand", start),
    ):
        answer = await scene.post(command_class, command)
        assert answer["result"] is False, (command_class, answer)
        assert answer["details"]
    assert scene.changing_calls() == []
    assert scene.state() == before


async def test_another_administrators_vm_is_never_touched(scene: Scene) -> None:
    """A VM of the same name without our marker: start, stop, attach and reboot refuse."""
    client = scene.emulation.client()
    try:
        service = ObjectPath.of(
            "Msvm_VirtualSystemManagementService",
            CreationClassName="Msvm_VirtualSystemManagementService",
        )
        defined = await client.invoke(
            service,
            "DefineSystem",
            {
                "SystemSettings": EmbeddedInstance(
                    "Msvm_VirtualSystemSettingData",
                    {"ElementName": say.VM_NAME, "Notes": ["precious, not CloudStack's"]},
                )
            },
        )
        assert defined.return_value in (0, 4096)
    finally:
        await client.close()
    calls = len(scene.changing_calls())
    assert calls == 1
    for command_class, command in (
        (f"{say.AGENT}StartCommand", say.start(ZONE)),
        (f"{say.AGENT}StopCommand", say.stop()),
        (f"{say.AGENT}StopCommand", {**say.stop(), "forceStop": True}),
        (f"{say.AGENT}RebootCommand", {"vmName": say.VM_NAME}),
        (f"{say.STORAGE}AttachCommand", say.attach_iso()),
        (f"{say.STORAGE}DettachCommand", say.detach_iso()),
    ):
        answer = await scene.post(command_class, command)
        assert answer["result"] is False, (command_class, answer)
    assert len(scene.changing_calls()) == calls


async def test_no_secret_in_the_log_of_bad_commands(scene: Scene) -> None:
    with structlog.testing.capture_logs() as lines:
        start = say.start(ZONE)
        start["vm"]["bootArgs"] = "keystore_password=planted-secret authorized_key=planted-secret"
        start["vm"]["vncPassword"] = "planted-secret"
        await scene.post(f"{say.AGENT}StartCommand", start)
        broken = say.copy_template(ZONE)
        source = broken["srcTO"][f"{say.TO}TemplateObjectTO"]
        store = source["imageDataStore"]["com.cloud.agent.api.to.NfsTO"]
        store["_url"] = "cifs://10.9.9.9/s?user=u&password=planted-secret"
        answer = await scene.post(f"{say.STORAGE}CopyCommand", broken)
    assert answer["result"] is False
    assert "planted-secret" not in answer["details"]
    assert lines
    assert "planted-secret" not in str(lines)
