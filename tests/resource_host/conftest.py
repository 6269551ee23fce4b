"""Fixtures for commands about the host and its storage."""

from __future__ import annotations

import pytest
from tests.emulation import Emulation
from tests.resource_host.storage_stage import StorageStage

from cloudstack_hyperv.resource import handlers
from cloudstack_hyperv.resource.resource import Resource

assert handlers.HANDLER_MODULES  # importing them registers the handlers


@pytest.fixture
def storage(emulated_host: Emulation, resource: Resource) -> StorageStage:
    """The pool and the secondary store of the emulated host, and its resource."""
    return StorageStage(emulated_host, resource)
