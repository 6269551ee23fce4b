"""One QEMU process: started, spoken to by QMP, and gone when its guest powers off.

It dies with the process that started it where `setpriv` (util-linux) is there to arrange that.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from cloudstack_hyperv.emulator.guests.keys import Stroke
from cloudstack_hyperv.emulator.guests.qmp import Qmp, QmpError

log = structlog.get_logger(__name__)
_START_SECONDS = 30.0
_QUIT_SECONDS = 5.0
_STDERR_KEPT = 2000
_STROKE_SECONDS = 0.02
"""Pause after a keystroke: a PS/2 keyboard forgets what does not fit into its 16 bytes."""
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class GuestFailed(Exception):
    """QEMU could not be started; the text is what it said."""


class QemuProcess:
    """A running QEMU; `exited` resolves to its exit status."""

    def __init__(
        self, build: Callable[[int], list[str]], descriptors: Sequence[int], folder: Path
    ) -> None:
        """Start it: `build` makes the command from the monitor's descriptor; GuestFailed."""
        self.exited: Future[int] = Future()
        self.booted_again = 0
        """How often the guest restarted itself."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process is gone
        self._folder = folder
        self._cpu = 0.0
        self._typist: ThreadPoolExecutor | None = None
        ours, theirs = socket.socketpair()
        command = build(theirs.fileno())
        wrapper = shutil.which("setpriv")
        if wrapper is not None:
            command = [wrapper, "--pdeathsig", "KILL", "--", *command]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(theirs.fileno(), *descriptors),
            )
        except OSError as error:
            ours.close()
            self._stderr.close()
            raise GuestFailed(str(error)) from error
        finally:
            theirs.close()
        self._qmp = Qmp(ours, self._event, self._ended)
        try:
            self._qmp.open(_START_SECONDS)
            self.command("cont")
        except QmpError as error:
            self._process.kill()
            self.exited.result(_QUIT_SECONDS)
            said = self._said or str(error)
            self.close()
            raise GuestFailed(said) from error

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def command(self, name: str, **arguments: Any) -> Any:
        """Carry out a QMP command; QmpError."""
        return self._qmp.command(name, **arguments)

    def cpu_seconds(self) -> float:
        """Return processor time used so far; what it was at last when the process is gone."""
        try:
            # Field 2 is the name in parentheses; 14 and 15 are utime and stime (proc(5)).
            text = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
            fields = text.rpartition(")")[2].split()
            self._cpu = (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS
        except (OSError, IndexError):
            pass  # it ended meanwhile: what was read before is the last that is known
        return self._cpu

    def block_statistics(self) -> dict[str, dict[str, int]]:
        """Return QEMU's counters by block node; QmpError."""
        return {
            str(entry.get("node-name", "")): entry["stats"]
            for entry in self.command("query-blockstats")
        }

    def type(self, strokes: Sequence[Stroke]) -> None:
        """Press and release keys in this order, after those of earlier calls; returns at once."""
        if self._typist is None:
            self._typist = ThreadPoolExecutor(max_workers=1, thread_name_prefix="typist")
        self._typist.submit(self._type_slowly, strokes)

    def _type_slowly(self, strokes: Sequence[Stroke]) -> None:
        for number, down in strokes:
            key = {"type": "number", "data": number}
            event = {"type": "key", "data": {"down": down, "key": key}}
            try:
                self.command("input-send-event", events=[event])
            except QmpError as error:
                log.warning("guest takes no keys", pid=self.pid, problem=str(error))
                return
            time.sleep(_STROKE_SECONDS)

    def screen(self) -> bytes:
        """Return the screen as a PPM; QmpError."""
        dump = self._folder / "screen.ppm"
        self.command("screendump", filename=str(dump))
        try:
            return dump.read_bytes()
        finally:
            dump.unlink(missing_ok=True)

    def end(self) -> None:
        """Take the power away: QEMU writes what it holds and goes, or is killed."""
        try:
            if not self.exited.done():
                self._qmp.command("quit", seconds=_QUIT_SECONDS)
            self.exited.result(_QUIT_SECONDS)
        except (QmpError, TimeoutError):
            self._process.kill()
            self.exited.result(_QUIT_SECONDS)
        self.close()

    def close(self) -> None:
        """Close what belongs to a process that is gone."""
        if self._typist is not None:
            self._typist.shutdown(wait=True, cancel_futures=True)
        self._qmp.close()
        self._stderr.close()

    @property
    def _said(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read(_STDERR_KEPT).decode(errors="replace").strip()

    def _event(self, name: str, data: dict[str, Any]) -> None:
        if name == "RESET" and data.get("guest") is True:
            self.booted_again += 1

    def _ended(self) -> None:
        try:
            status = self._process.wait(_QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self.exited.set_result(status)
