"""A guest that really runs: what the host model asks of it, answered by a QEMU process.

Of integration services it has one that ACPI's power button stands for, the shutdown component.
Nothing beats, no key-value daemon is reached, no address is known.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime

import structlog

from cloudstack_hyperv.emulator.guests.cards import Card
from cloudstack_hyperv.emulator.guests.command_line import node_name
from cloudstack_hyperv.emulator.guests.keys import (
    strokes_of_scan_codes,
    strokes_of_text,
    virtual_key,
)
from cloudstack_hyperv.emulator.guests.process import QemuProcess
from cloudstack_hyperv.emulator.guests.qmp import QmpError
from cloudstack_hyperv.emulator.guests.screen import thumbnail
from cloudstack_hyperv.emulator.host.config import GuestScript
from cloudstack_hyperv.emulator.host.guest import HEARTBEAT_NO_CONTACT, DiskTraffic, Guest

log = structlog.get_logger(__name__)
_SHORTEST_SAMPLE = 0.2


class QemuGuest(Guest):
    """The guest of one machine, from power on to power off."""

    def __init__(
        self,
        script: GuestScript,
        name: str,
        booted: datetime,
        process: QemuProcess,
        processors: int,
        disks: Sequence[str],
        cards: Sequence[Card],
    ) -> None:
        """`disks` are the Windows paths in the order of the plan."""
        super().__init__(script, name, 0, booted)
        self.process = process
        self._processors = processors
        self._nodes = {path.lower(): node_name(index) for index, path in enumerate(disks)}
        self._cards = cards
        self._counted = 0.0
        self._sample = (time.monotonic(), 0.0)
        self._load = 0.0

    @property
    def is_real(self) -> bool:
        """Whether an operating system runs in it."""
        return True

    # Integration services ------------------------------------------------------------------

    def services_up(self, now: datetime) -> bool:
        """Whether it can be asked to shut down: the power button is always there."""
        del now
        return not self.process.exited.done()

    def kvp_up(self, now: datetime) -> bool:
        """Whether the key-value daemon runs: nothing here can reach one."""
        del now
        return False

    def heartbeat(self, now: datetime) -> int:
        """Return "no contact"."""
        del now
        return HEARTBEAT_NO_CONTACT

    def shut_down(self) -> Future[int]:
        """Press the power button; the result comes when the guest has powered off."""
        self._try("system_powerdown")
        return self.process.exited

    # Power ---------------------------------------------------------------------------------

    def reboot(self, now: datetime) -> None:
        """Reset it."""
        super().reboot(now)
        self._try("system_reset")
        self._counted = self.process.cpu_seconds()

    def pause(self) -> None:
        """Stop its processors."""
        self._try("stop")

    def resume(self) -> None:
        """Let its processors go on."""
        self._counted = self.process.cpu_seconds()
        self._try("cont")

    def end(self) -> None:
        """Take the power away."""
        for card in self._cards:
            card.pull()
        self.process.end()

    def _try(self, command: str) -> None:
        try:
            self.process.command(command)
        except QmpError as error:
            # It has ended by itself just now: the host finds it off at the next look.
            log.warning("guest did not obey", vm=self.name, command=command, problem=str(error))

    # Use of the host -----------------------------------------------------------------------

    def load(self, now: datetime) -> float:
        """Return the share of its virtual processors in use since the last look, 0 to 1."""
        del now
        then, used = self._sample
        moment, total = time.monotonic(), self.process.cpu_seconds()
        if moment - then >= _SHORTEST_SAMPLE:
            self._load = (total - used) / (moment - then) / self._processors
            self._sample = (moment, total)
        return max(0.0, min(1.0, self._load))

    def busy_seconds(self, start: datetime, end: datetime) -> float:
        """Return processor time since it last began to run, per virtual processor."""
        del start, end
        return max(0.0, self.process.cpu_seconds() - self._counted) / self._processors

    def disk_traffic(self, path: str) -> DiskTraffic | None:
        """Return what QEMU counted for a disk by its Windows path."""
        try:
            counted = self.process.block_statistics().get(self._nodes.get(path.lower(), ""))
        except QmpError:
            return None
        if counted is None:
            return None
        return DiskTraffic(
            counted["rd_bytes"],
            counted["wr_bytes"],
            counted["rd_operations"],
            counted["wr_operations"],
            counted["flush_operations"],
        )

    # Screen and keyboard -------------------------------------------------------------------

    def picture(self, width: int, height: int) -> bytes | None:
        """Return its screen as RGB565, None when it has just ended."""
        try:
            return thumbnail(self.process.screen(), width, height)
        except (QmpError, OSError) as error:
            log.warning("guest shows no screen", vm=self.name, problem=str(error))
            return None

    def press(self, code: int, *, down: bool) -> None:
        """Hold down or let go a virtual key; one that a PC keyboard does not have does nothing."""
        key = virtual_key(code)
        if key is not None:
            self.process.type([(key, down)])

    def type_text(self, typed: str) -> None:
        """Type on a US keyboard."""
        self.process.type(strokes_of_text(typed))

    def type_scan_codes(self, codes: bytes) -> None:
        """Send set 1 scan codes."""
        self.process.type(strokes_of_scan_codes(codes))
