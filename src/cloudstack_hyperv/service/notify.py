"""What systemd is told: ready, reloading, stopping, and that the event loop still turns.

A datagram on the socket that `NOTIFY_SOCKET` names; without it nothing is sent.  The watchdog's
sign comes from a task of the event loop, so it stops when the loop is stuck, and systemd starts the
agent anew.

Source: systemd, sd_notify(3), sd_watchdog_enabled(3), systemd.service(5) (Type=notify).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping

import structlog

log = structlog.get_logger(__name__)


class Notifier:
    """Speaks to the service manager that started this process, if one did."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        env = os.environ if environment is None else environment
        self._address = env.get("NOTIFY_SOCKET", "")
        self._watchdog = _watchdog_seconds(env)
        self._task: asyncio.Task[None] | None = None

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Tell that all doors are open (again), and start the watchdog's signs."""
        self.send(f"READY=1\nSTATUS={_line(status)}")
        if self._watchdog is not None and self._task is None:
            self._task = asyncio.create_task(self._watch(self._watchdog), name="watchdog")

    def reloading(self) -> None:
        """Tell that the configuration is read anew; `ready` follows."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.send(f"RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading the configuration")

    def stopping(self, seconds: float) -> None:
        """Tell that the agent stops, and that it may take so long."""
        self.send(
            f"STOPPING=1\nSTATUS=waiting for running commands\n"
            f"EXTEND_TIMEOUT_USEC={int((seconds + 30) * 1_000_000)}"
        )

    async def close(self) -> None:
        """End the watchdog's signs."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def send(self, text: str) -> None:
        """Send one message; a manager that does not take it is no reason to stop."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            try:
                out.connect(address)
                out.sendall(text.encode())
            except OSError as error:
                log.warning("the service manager cannot be told", reason=str(error))

    async def _watch(self, seconds: float) -> None:
        while True:
            self.send("WATCHDOG=1")
            await asyncio.sleep(seconds / 2)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return the watchdog's interval, None if there is none for this process."""
    process = environment.get("WATCHDOG_PID")
    if process not in (None, "", str(os.getpid())):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isdecimal() and int(text) > 0 else None


def _line(text: str) -> str:
    return " ".join(text.split())
