"""Everything a handler needs of the host it works on, and nothing else.

One `HostContext` a configured host.  What it remembers between commands (`HostMemory`) can be
rebuilt from the host and CloudStack's next Startup: a restart loses nothing but samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cloudstack_hyperv.config import HostSettings, Settings
from cloudstack_hyperv.storage.host_files import HostFiles
from cloudstack_hyperv.wsman.api import CimClient


@dataclass(slots=True)
class HostMemory:
    """Caches of one host; each module documents the keys it keeps here."""

    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostContext:
    """One Hyper-V host as the handlers see it."""

    settings: Settings
    host: HostSettings
    cim: CimClient
    files: HostFiles
    memory: HostMemory = field(default_factory=HostMemory)
    peers: Mapping[str, HostContext] = field(default_factory=lambda: MappingProxyType({}))
    """The hosts that this agent serves, itself included, by private address: where VMs migrate."""

    @property
    def private_address(self) -> str:
        """The host's address as CloudStack knows it."""
        return self.host.private_address or self.host.winrm.address
