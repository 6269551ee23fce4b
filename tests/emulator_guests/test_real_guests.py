"""Guests under QEMU: power, screen, keyboard, counters; booting is slow, the firmware is not."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.emulator_guests.bootable_disk import PROMPT
from tests.emulator_guests.conftest import bootable_machine
from tests.emulator_guests.serial_port import SerialPort
from tests.emulator_host.driver import VSMS, Driver, settings_path, system_path

from cloudstack_hyperv.emulator.cim.provider import Row, Value
from cloudstack_hyperv.emulator.guests import QemuEngine
from cloudstack_hyperv.emulator.guests.qemu_guest import QemuGuest
from cloudstack_hyperv.emulator.guests.screen import thumbnail

pytestmark = pytest.mark.usefixtures("engine")
CIMV2 = "root/cimv2"
RUNNING, OFF, PAUSED = 2, 3, 9


def guest_of(driver: Driver, guid: str) -> QemuGuest:
    machine = driver.host.machines.get(guid)
    assert machine is not None
    assert isinstance(machine.guest, QemuGuest)
    return machine.guest


def status(driver: Driver, guid: str) -> str:
    return str(guest_of(driver, guid).process.command("query-status")["status"])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(seen: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Look again and again, as a client does."""
    end = time.monotonic() + seconds
    while not await seen():
        assert time.monotonic() < end, "it does not happen"
        await asyncio.sleep(0.05)


async def until_off(driver: Driver, guid: str, seconds: float = 30) -> None:
    async def is_off() -> bool:
        return (await driver.machine(guid))["EnabledState"] == OFF

    await until(is_off, seconds)


async def picture(driver: Driver, guid: str, width: int = 160, height: int = 100) -> bytes:
    reply = await driver.done(
        VSMS,
        "GetVirtualSystemThumbnailImage",
        TargetSystem=settings_path(guid),
        WidthPixels=width,
        HeightPixels=height,
    )
    image = reply.out["ImageData"]
    assert isinstance(image, bytes)
    return bytes(image)


async def keyboard(driver: Driver, guid: str, method: str, **args: Value) -> None:
    (row,) = [r for r in await driver.rows("Msvm_Keyboard") if r.values["SystemName"] == guid]
    keys = ("CreationClassName", "DeviceID", "SystemCreationClassName", "SystemName")
    selectors = {key: str(row.values[key]) for key in keys}
    await driver.done("Msvm_Keyboard", method, selectors, **args)


async def counters(driver: Driver, class_name: str) -> dict[str, Value]:
    (row,) = await driver.rows(class_name, CIMV2)
    return row.values


# With firmware only ------------------------------------------------------------------------


async def test_power_is_the_process(driver: Driver) -> None:
    guid = await driver.define("bare", 1)
    await driver.start(guid)
    pid = guest_of(driver, guid).process.pid
    assert alive(pid)
    assert await driver.state(guid, 9) == 0
    assert (await driver.machine(guid))["EnabledState"] == PAUSED
    assert status(driver, guid) == "paused"
    assert await driver.state(guid, 2) == 0
    assert status(driver, guid) == "running"
    assert await driver.state(guid, 11) == 0, "reset"
    assert status(driver, guid) == "running"
    assert await driver.state(guid, 3) == 0
    assert (await driver.machine(guid))["EnabledState"] == OFF
    assert not alive(pid)
    await driver.start(guid)
    assert guest_of(driver, guid).process.pid != pid


async def test_a_process_that_dies_switches_its_machine_off(driver: Driver) -> None:
    guid = await driver.define("bare", 1)
    await driver.start(guid)
    os.kill(guest_of(driver, guid).process.pid, 9)
    await until_off(driver, guid, 5)


async def test_what_only_a_script_can_pretend_is_refused(driver: Driver) -> None:
    guid = await driver.define("bare", 1)
    await driver.start(guid)
    assert await driver.state(guid, 6) == 32770, "save"
    assert await driver.state(guid, 10) == 32770, "restart by integration services"
    reply = await driver.call(
        "Msvm_VirtualSystemSnapshotService",
        "CreateSnapshot",
        AffectedSystem=system_path(guid),
        SnapshotSettings=None,
        SnapshotType=2,
    )
    assert reply.return_value == 32770
    nic = Row(
        "Msvm_SyntheticEthernetPortSettingData",
        {"ResourceType": 10, "ResourceSubType": "Microsoft:Hyper-V:Synthetic Ethernet Port"},
    )
    assert await driver.add_code(guid, nic) not in (0, 4096)
    assert await driver.state(guid, 3) == 0
    assert await driver.add_code(guid, nic) == 0


async def test_its_screen_is_the_firmwares(driver: Driver) -> None:
    guid = await driver.define("bare", 1)
    await driver.start(guid)

    async def shows_it() -> bool:
        screen = thumbnail(guest_of(driver, guid).process.screen(), 160, 100)
        return any(screen) and await picture(driver, guid) == screen

    await until(shows_it, 20)
    assert len(await picture(driver, guid, 33, 7)) == 33 * 7 * 2


async def test_processor_time_is_the_processs(driver: Driver) -> None:
    guid = await driver.define("bare", 1)
    await driver.start(guid)
    name = "Win32_PerfRawData_HvStats_HyperVHypervisorVirtualProcessor"

    async def has_run() -> bool:
        return int(str((await counters(driver, name))["PercentTotalRunTime"])) > 0

    await until(has_run, 20)
    busy = int(str((await counters(driver, name))["PercentTotalRunTime"])) / 1e7
    assert busy <= guest_of(driver, guid).process.cpu_seconds() + 0.01


async def test_the_engine_takes_its_guests_along(driver: Driver, engine: QemuEngine) -> None:
    guid = await driver.define("bare", 1)
    await driver.start(guid)
    pid, folder = guest_of(driver, guid).process.pid, engine.folder_of(guid)
    assert (folder / "com1").exists()
    engine.close()
    assert not alive(pid)
    assert not folder.exists()


# With an operating system ------------------------------------------------------------------


@pytest.mark.slow
async def test_a_vhdx_boots_to_a_shell_and_obeys_the_power_button(
    driver: Driver, engine: QemuEngine, bootable: Path
) -> None:
    guid = await bootable_machine(driver, bootable)
    await driver.start(guid)
    async with SerialPort.of(engine, guid) as serial:
        await serial.wait_for(PROMPT, 90)
        assert "12345679" in await serial.run("echo $((111111111 / 9))")
        disk = await counters(driver, "Win32_PerfRawData_Counters_HyperVVirtualStorageDevice")
        assert int(str(disk["ReadBytesPersec"])) > 14 * 2**20, "the kernel was read from it"
        blank = await picture(driver, guid)
        await keyboard(driver, guid, "TypeText", asciiText="echo typed-$((6 * 7)) >/dev/ttyS0\n")
        await serial.wait_for("typed-42", 20)
        assert await picture(driver, guid) != blank
        for code in (ord("L"), ord("S"), 0x0D):
            await keyboard(driver, guid, "TypeKey", keyCode=code)
        await keyboard(driver, guid, "TypeScancodes", Scancodes=list(b"\x1c\x9c"))
    assert await driver.state(guid, 4) == 0, "the job ends when the guest is off"
    assert (await driver.machine(guid))["EnabledState"] == OFF


@pytest.mark.slow
async def test_a_boot_loader_waits_for_the_keyboard_and_the_shutdown_component_shuts_down(
    driver: Driver, engine: QemuEngine, asking: Path
) -> None:
    guid = await bootable_machine(driver, asking)
    await driver.start(guid)
    async with SerialPort.of(engine, guid) as serial:
        seen = [b""]

        async def rests() -> bool:
            """The firmware's messages are through, and the boot loader asks."""
            await asyncio.sleep(2)
            seen.append(await picture(driver, guid))
            return any(seen[-1]) and seen[-1] == seen[-2]

        await until(rests, 60)
        await keyboard(driver, guid, "TypeText", asciiText="go\n")
        await serial.wait_for(PROMPT, 90)
    (component,) = await driver.rows("Msvm_ShutdownComponent")
    keys = ("CreationClassName", "DeviceID", "SystemCreationClassName", "SystemName")
    selectors = {key: str(component.values[key]) for key in keys}
    reply = await driver.call(
        "Msvm_ShutdownComponent", "InitiateShutdown", selectors, Force=True, Reason="test"
    )
    assert reply.return_value == 0
    await until_off(driver, guid)
