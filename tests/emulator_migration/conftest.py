"""Fixtures: two hosts of one domain, Kerberos with full delegation, every method as a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.emulator_migration.fleet_driver import FleetDriver


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[FleetDriver]:
    driver = FleetDriver(tmp_path)
    yield driver
    driver.fleet.close()
