"""Every class that a host serves, on every release, as the schema wants it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.emulator_host.driver import (
    CONTROLLER,
    Driver,
    connection_row,
    drive_row,
    medium_row,
    nic_row,
)

from cloudstack_hyperv.emulator.cim.schema import RELEASES
from cloudstack_hyperv.emulator.host import GuestScript, HostConfig, JobMode
from cloudstack_hyperv.emulator.host.profiles import PROFILES
from cloudstack_hyperv.emulator.schema import load_schema


async def full_machine(driver: Driver) -> str:
    """Make and start a machine that has one of everything."""
    generation = 2 if driver.host.site.profile.has_generation_2 else 1
    guid = await driver.define("everything", generation)
    folder = driver.host.config.disk_folder
    assert await driver.create_disk(f"{folder}\\root.vhdx") == 0
    (controller,) = await driver.add(guid, CONTROLLER)
    (drive,) = await driver.add(guid, drive_row(controller, 0))
    await driver.add(guid, medium_row(drive, f"{folder}\\root.vhdx"))
    (nic,) = await driver.add(guid, nic_row())
    switch = next(iter(driver.host.switches)).path_text
    await driver.add(guid, connection_row(nic, switch))
    await driver.start(guid)
    driver.clock.advance(30)
    return guid


@pytest.mark.parametrize("release", RELEASES)
async def test_every_served_row_is_as_the_release_s_schema_says(
    release: str, tmp_path: Path
) -> None:
    """The engine checks each row: unknown properties, wrong types, missing keys are bugs."""
    driver = Driver(HostConfig(tmp_path, release=release, job_mode=JobMode.ALWAYS_4096))
    await full_machine(driver)
    schema = load_schema().for_release(release)
    served = 0
    for provider in driver.host.table:
        class_def = schema.find(provider.namespace, provider.class_name)
        assert class_def is not None, f"{provider.class_name} is not in the schema of {release}"
        rows = await driver.engine.instances(provider.namespace, provider.class_name)
        served += 1
        keys = [
            tuple(str(row.values.get(key)).lower() for key in class_def.keys)
            for row in rows
            if row.class_name == provider.class_name
        ]
        assert len(keys) == len(set(keys)), f"{provider.class_name}: keys are not unique"
        for row in rows[:20]:
            path = driver.engine.path_of(provider.namespace, row)
            again = await driver.engine.get(provider.namespace, row.class_name, dict(path.keys))
            assert again.class_name == row.class_name
    assert served > 60
    driver.host.close()


def test_there_is_a_profile_for_every_release_of_the_schema() -> None:
    assert set(PROFILES) == set(RELEASES)


async def test_a_guest_without_integration_services_shows_no_contact(driver: Driver) -> None:
    driver.host.play("*", GuestScript(integration_services=False))
    await full_machine(driver)
    (beat,) = await driver.rows("Msvm_HeartbeatComponent")
    assert beat.values["OperationalStatus"] == [12]
