"""The demo's two processes: the emulated host and the agent, started as a user would start them.

Each writes JSON log lines on stderr into a file; a process is ready when its line says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_TIMEOUT = 30.0
STOP_TIMEOUT = 15.0


class ProcessFailed(Exception):
    """A process did not start or ended by itself; the text has the end of its log."""


class LoggedProcess:
    """A child process whose JSON log can be read while it runs."""

    def __init__(self, name: str, arguments: list[str], log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._position = 0
        with log_file.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cloudstack_hyperv", *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """The operating system's number of the process."""
        return self._process.pid

    def wait_for(self, event: str) -> dict[str, Any]:
        """Return the first log line with this event; raises ProcessFailed when none comes."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            for line in self.new_lines():
                if line.get("event") == event:
                    return line
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise ProcessFailed(
            f"{self.name} did not say {event!r}; the end of its log:\n{self._tail()}"
        )

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the complete JSON log lines that came since the last call."""
        with self.log_file.open("rb") as stream:
            stream.seek(self._position)
            for raw in stream:
                if not raw.endswith(b"\n"):
                    break
                self._position += len(raw)
                try:
                    line = json.loads(raw)
                except ValueError:
                    continue  # a warning of the interpreter, not a log line
                if isinstance(line, dict):
                    yield line

    def stop(self) -> int:
        """Ask the process to end, and return its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(STOP_TIMEOUT)

    def _tail(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])
