"""Fixtures: a host on real time whose guests run under QEMU, for those who have it."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.emulator_guests.bootable_disk import make_disk, missing
from tests.emulator_host.driver import Driver

from cloudstack_hyperv.emulator.guests import EngineUnavailable, Qemu, QemuEngine, find_qemu
from cloudstack_hyperv.emulator.host import HostConfig, Timings, VirtualClock

QUICK = Timings(start=0.01, turn_off=0.01, pause=0.01, configure=0.01, destroy=0.01)


class WallClock(VirtualClock):
    """Real time for a driver that wants to move it: it waits a little instead."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.02))


@pytest.fixture(scope="session")
def qemu() -> Qemu:
    try:
        return find_qemu()
    except EngineUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[Driver]:
    made = Driver(HostConfig(tmp_path, timings=QUICK), WallClock())
    yield made
    made.host.close()


@pytest.fixture
async def engine(driver: Driver, qemu: Qemu) -> AsyncIterator[QemuEngine]:
    made = QemuEngine(driver.host, qemu)
    yield made
    made.close()


@pytest.fixture(scope="session")
def bootable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk that boots to shells by itself."""
    return _disk(tmp_path_factory, waits_for_key=False)


@pytest.fixture(scope="session")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk whose boot loader waits until somebody types."""
    return _disk(tmp_path_factory, waits_for_key=True)


def _disk(factory: pytest.TempPathFactory, *, waits_for_key: bool) -> Path:
    reason = missing()
    if reason:
        pytest.skip(reason)
    return make_disk(factory.mktemp("bootable"), waits_for_key=waits_for_key)


async def bootable_machine(
    driver: Driver, disk: Path, name: str = "vm", *, memory: int = 128
) -> str:
    """Define a machine with a copy of a disk."""
    path = f"C:\\disks\\{name}.vhdx"
    local = driver.file(path)
    local.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(disk, local)
    guid = await driver.define(name, 1)
    (row,) = [
        r
        for r in await driver.rows("Msvm_MemorySettingData")
        if guid in str(r.values["InstanceID"])
    ]
    row.values["VirtualQuantity"] = memory
    assert await driver.modify(row) == 0
    await driver.ide_disk(guid, path)
    return guid
