"""`cloudstack-hyperv emulate`: one emulated Hyper-V host as a process of its own."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from cloudstack_hyperv.observe import configure_logs

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EmulateOptions:
    """What the command line asked for."""

    folder: Path
    name: str = "HYPERV1"
    release: str = "2019"
    address: str = "127.0.0.1"
    port: int = 0
    host_address: str = "192.0.2.10"
    user: str = "Administrator"
    password_file: Path | None = None
    shares: tuple[str, ...] = ()
    basic: bool = False
    calls: Path | None = None
    log_level: str = "info"
