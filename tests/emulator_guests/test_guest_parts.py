"""The parts that need no QEMU: keys, screens, the command line, QMP's client, refusals."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulator_host.driver import Driver, nic_row

from cloudstack_hyperv.emulator.guests import EngineUnavailable, Qemu, QemuEngine, find_qemu
from cloudstack_hyperv.emulator.guests.command_line import (
    CardPlan,
    DiskPlan,
    MachinePlan,
    command_line,
)
from cloudstack_hyperv.emulator.guests.keys import (
    SHIFT,
    strokes_of_scan_codes,
    strokes_of_text,
    virtual_key,
)
from cloudstack_hyperv.emulator.guests.qmp import Qmp, QmpError
from cloudstack_hyperv.emulator.guests.screen import thumbnail


def test_text_is_typed_on_a_us_keyboard() -> None:
    assert strokes_of_text("a") == [(0x1E, True), (0x1E, False)]
    assert strokes_of_text("A:") == [
        (SHIFT, True), (0x1E, True), (0x1E, False), (SHIFT, False),
        (SHIFT, True), (0x27, True), (0x27, False), (SHIFT, False),
    ]  # fmt: skip
    assert strokes_of_text("\n/\x00") == [(0x1C, True), (0x1C, False), (0x35, True), (0x35, False)]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20))
def test_every_printable_character_has_a_key_that_is_let_go(text: str) -> None:
    strokes = strokes_of_text(text)
    assert len([s for s in strokes if s[1] and s[0] != SHIFT]) == len(text)
    held: set[int] = set()
    for key, down in strokes:
        assert (key in held) is not down
        (held.add if down else held.discard)(key)
    assert not held


def test_scan_codes_and_virtual_keys_name_the_same_keys() -> None:
    assert strokes_of_scan_codes(b"\x1c\x9c\xe0\x53\xe0\xd3") == [
        (0x1C, True), (0x1C, False), (0xD3, True), (0xD3, False),
    ]  # fmt: skip
    assert virtual_key(0x0D) == 0x1C
    assert virtual_key(0x2E) == 0xD3
    assert virtual_key(0x74) == 0x3F, "F5"
    assert virtual_key(ord("Q")) == 0x10
    assert virtual_key(0xFF) is None


def test_a_screen_becomes_a_thumbnail() -> None:
    red, green, blue, white = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff", b"\xff\xff\xff"
    dump = b"P6\n2 2\n255\n" + red + green + blue + white
    assert thumbnail(dump, 2, 2) == bytes.fromhex("00f8 e007 1f00 ffff")
    assert thumbnail(dump, 1, 1) == bytes.fromhex("00f8")
    assert thumbnail(dump, 4, 2) == bytes.fromhex("00f800f8e007e007 1f001f00ffffffff")
    for broken in (b"", b"P5\n1 1\n255\n\0", b"P6\n2 2\n255\n" + red):
        with pytest.raises(ValueError):
            thumbnail(broken, 2, 2)


def test_a_plan_becomes_a_command_line(tmp_path: Path) -> None:
    odd = tmp_path / 'a,b "c".vhdx'
    plan = MachinePlan(
        "vm,with,commas",
        "6c1b0f0e-0000-0000-0000-000000000000",
        256,
        2,
        (
            DiskPlan(odd, "vhdx", 1, 0, boot_index=3),
            DiskPlan(tmp_path / "x.iso", "raw", 0, 1, is_cd=True),
            DiskPlan(tmp_path / "data.vhd", "vpc", 5),
        ),
        (CardPlan("02:00:00:00:00:01", 7), CardPlan("02:00:00:00:00:02", 8, legacy=True)),
    )
    command = command_line("qemu", "tcg", plan, 5, tmp_path / "com1", tmp_path / "com1.log")
    text = " ".join(command)
    assert "guest=vm,,with,,commas" in command
    nodes = [json.loads(command[at + 1]) for at, word in enumerate(command) if word == "-blockdev"]
    assert nodes[0]["file"]["filename"] == str(odd)
    assert [node["read-only"] for node in nodes] == [False, True, False]
    assert "ide-hd,bus=ide.0,unit=1,drive=disk0,id=device0,bootindex=3" in command
    assert "ide-cd,bus=ide.1,unit=0,drive=disk1" in text
    assert "virtio-scsi-pci,id=scsi" in text
    assert "scsi-hd,bus=scsi.0,scsi-id=5,drive=disk2" in text
    assert "dgram,id=net1,local.type=fd,local.str=8" in command
    assert "tulip,netdev=net1,mac=02:00:00:00:00:02" in command


# QMP ---------------------------------------------------------------------------------------


class Monitor:
    """The other end of a QMP connection: answers what it is told to."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.answers: list[dict[str, Any] | None] = [{"return": {}}]
        self.asked: list[dict[str, Any]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ended = threading.Event()
        self.client = Qmp(
            self.ours, lambda name, data: self.events.append((name, data)), self.ended.set
        )
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def say(self, message: dict[str, Any]) -> None:
        self.theirs.sendall(json.dumps(message).encode() + b"\r\n")

    def serve(self) -> None:
        self.say({"QMP": {"version": {}, "capabilities": []}})
        for line in self.theirs.makefile("rb"):
            self.asked.append(json.loads(line))
            answer = self.answers.pop(0)
            if answer is not None:
                self.say({**answer, "id": self.asked[-1]["id"]})


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    made = Monitor()
    made.client.open(5)
    yield made
    made.client.close()
    made.thread.join(5)
    made.theirs.close()


def test_qmp_carries_commands_answers_and_events(monitor: Monitor) -> None:
    monitor.answers = [{"return": {"status": "running"}}, {"error": {"desc": "no such thing"}}]
    monitor.say({"event": "STOP", "data": {"x": 1}})
    assert monitor.client.command("query-status", some_name=1) == {"status": "running"}
    assert monitor.asked[-1]["arguments"] == {"some-name": 1}
    assert monitor.events == [("STOP", {"x": 1})]
    with pytest.raises(QmpError, match="no such thing"):
        monitor.client.command("nonsense")


def test_qmp_waits_no_longer_than_it_should_and_notices_the_end(monitor: Monitor) -> None:
    monitor.answers = [None]
    with pytest.raises(QmpError, match="no answer within"):
        monitor.client.command("query-status", seconds=0.05)
    monitor.theirs.shutdown(socket.SHUT_RDWR)
    assert monitor.ended.wait(5)
    with pytest.raises(QmpError, match="has ended"):
        monitor.client.command("query-status")


# Refusals ----------------------------------------------------------------------------------


def test_a_missing_qemu_is_named() -> None:
    with pytest.raises(EngineUnavailable, match="not installed"):
        find_qemu("qemu-system-that-nobody-has")


async def failed_start(driver: Driver, guid: str) -> str:
    reply = await driver.call(
        "Msvm_ComputerSystem",
        "RequestStateChange",
        {"CreationClassName": "Msvm_ComputerSystem", "Name": guid},
        RequestedState=2,
    )
    assert reply.return_value == 4096
    job = await driver.finish(reply)
    assert job["JobState"] == 10
    assert (await driver.machine(guid))["EnabledState"] == 3
    return str(job["ErrorDescription"])


@pytest.fixture
async def broken(driver: Driver) -> QemuEngine:
    """An engine whose QEMU does nothing but fail."""
    driver.host.site.conductor.mode = driver.host.site.conductor.mode.ALWAYS_4096
    return QemuEngine(driver.host, Qemu("/bin/false", (7, 2), "tcg"))


async def test_a_qemu_that_fails_fails_the_start(driver: Driver, broken: QemuEngine) -> None:
    guid = await driver.define("vm", 1)
    await driver.add(guid, nic_row())
    assert "failed to start: QEMU" in await failed_start(driver, guid)
    assert driver.host.machines.get(guid) is not None
    broken.close()


async def test_generation_2_and_differencing_disks_are_refused(
    driver: Driver, broken: QemuEngine
) -> None:
    assert "generation 1 only" in await failed_start(driver, await driver.define("two", 2))
    guid = await driver.define("child", 1)
    driver.file(r"C:\disks").mkdir()
    assert await driver.create_disk(r"C:\disks\parent.vhdx") == 0
    assert await driver.create_disk(
        r"C:\disks\child.vhdx", Type=4, ParentPath=r"C:\disks\parent.vhdx"
    ) == 0  # fmt: skip
    await driver.ide_disk(guid, r"C:\disks\child.vhdx")
    why = await failed_start(driver, guid)
    assert "differencing" in why
    assert "convert" in why
    # Nothing is held back: the scripted guest could still be started.
    driver.file(r"C:\disks\child.vhdx").unlink()
    broken.close()
