"""Fixtures: a host on a temporary folder, every method as a job unless a test wants otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.emulator_host.driver import Driver

from cloudstack_hyperv.emulator.host import HostConfig, JobMode


@pytest.fixture
def config(tmp_path: Path) -> HostConfig:
    return HostConfig(tmp_path, job_mode=JobMode.ALWAYS_4096)


@pytest.fixture
def driver(config: HostConfig) -> Iterator[Driver]:
    made = Driver(config)
    yield made
    made.host.close()
