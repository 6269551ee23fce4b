"""Boots the machines of one emulated host under QEMU.

The engine takes the place of the scripts: from then on a machine that is switched on gets a
process, and a process that ends switches its machine off.  It lives in an event loop, for the
frames of network cards; starting a guest holds that loop up for a fraction of a second.

Disks are used in place.  QEMU cannot open a differencing VHDX, and writing a flattened copy back
into a chain would be a merge that nobody asked for; so a machine whose disk stands on a parent
does not start here, and the error says to convert or merge it first.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import structlog

from cloudstack_hyperv import vhd
from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import ResourceSubType, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.guests.cards import Card
from cloudstack_hyperv.emulator.guests.command_line import (
    CardPlan,
    DiskPlan,
    MachinePlan,
    command_line,
)
from cloudstack_hyperv.emulator.guests.probe import Qemu
from cloudstack_hyperv.emulator.guests.process import GuestFailed, QemuProcess
from cloudstack_hyperv.emulator.guests.qemu_guest import QemuGuest
from cloudstack_hyperv.emulator.host import EmulatedHost, catalogue
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.guest import Guest
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.outcome import Hresult, JobFailed
from cloudstack_hyperv.emulator.host.site import strings, text
from cloudstack_hyperv.emulator.host.switch_rows import port_guid

log = structlog.get_logger(__name__)
_CD, _IDE = 1, 2
"""BootSourceType values of a generation 1 machine's BootOrder."""


class QemuEngine:
    """The guests of one host."""

    def __init__(self, host: EmulatedHost, qemu: Qemu) -> None:
        """Take over the guests of a host; to be called in the event loop that serves it."""
        self._host, self._qemu = host, qemu
        self._loop = asyncio.get_running_loop()
        self._guests: dict[str, QemuGuest] = {}
        # Short, because the path of a socket may not exceed 107 bytes; and nobody else's.
        self._folder = Path(tempfile.mkdtemp(prefix="hyperv-guests-"))
        host.power.new_guest = self._boot

    def folder_of(self, machine_id: str) -> Path:
        """Return where a machine's serial port is: socket `com1`, and what it said `com1.log`."""
        return self._folder / machine_id.upper()

    def close(self) -> None:
        """End every guest, as a power cut does."""
        for guest in list(self._guests.values()):
            guest.end()
        self._guests.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    # Starting ------------------------------------------------------------------------------

    def _boot(self, machine: Machine) -> Guest:
        """Return a running guest for a machine that is being switched on; JobFailed."""
        if machine.settings.generation != 1:
            raise _failure(machine, "real guests are generation 1 only")
        cards = [self._card(machine, nic) for nic in machine.settings.nics]
        folder = self.folder_of(machine.machine_id)
        folder.mkdir(exist_ok=True)
        try:
            plan, disks = self._plan(machine, cards)
            process = QemuProcess(
                lambda monitor: command_line(
                    self._qemu.program,
                    self._qemu.accelerator,
                    plan,
                    monitor,
                    folder / "com1",
                    folder / "com1.log",
                ),
                [card.descriptor for card in cards],
                folder,
            )
        except BaseException as error:
            for card in cards:
                card.pull()
            if isinstance(error, GuestFailed):
                raise _failure(machine, f"QEMU: {error}") from error
            raise
        for card in cards:
            card.plug()
        now = self._host.now()
        guest = QemuGuest(
            machine.script, machine.name, now, process, machine.processors, disks, cards
        )
        self._guests[machine.machine_id] = guest
        self._host.timeline.when_done(process.exited, lambda: self._ended(machine, guest))
        log.info("guest started", vm=machine.name, pid=process.pid, serial=str(folder / "com1"))
        return guest

    def _ended(self, machine: Machine, guest: QemuGuest) -> None:
        if self._guests.get(machine.machine_id) is guest:
            del self._guests[machine.machine_id]
        status = guest.process.exited.result()
        log.info("guest ended", vm=machine.name, status=status)
        if machine.guest is guest:
            self._host.power.power_off(machine)

    def _card(self, machine: Machine, nic: Row) -> Card:
        connections = machine.settings.children(str(nic.values["InstanceID"]))
        port = next((port_guid(connection) for connection in connections), "")
        return Card(self._host.fabric, port, self._loop)

    def _plan(self, machine: Machine, cards: list[Card]) -> tuple[MachinePlan, list[str]]:
        disks: list[DiskPlan] = []
        paths: list[str] = []
        for medium in machine.settings.media:
            for path in strings(medium.values, "HostResource"):
                disks.append(self._disk(machine, medium, path))
                paths.append(path)
        plan = MachinePlan(
            machine.name,
            machine.machine_id.lower(),
            machine.startup_memory,
            machine.processors,
            tuple(disks),
            tuple(
                CardPlan(
                    _mac(text(nic.values, "Address")),
                    card.descriptor,
                    nic.class_name == catalogue.LEGACY_NIC,
                )
                for nic, card in zip(machine.settings.nics, cards, strict=True)
            ),
        )
        return plan, paths

    def _disk(self, machine: Machine, medium: Row, path: str) -> DiskPlan:
        settings = machine.settings
        drive = _parent(settings, medium)
        controller = _parent(settings, drive)
        is_cd = medium.values["ResourceSubType"] != ResourceSubType.VIRTUAL_HARD_DISK
        is_ide = controller.values["ResourceSubType"] == ResourceSubType.IDE_CONTROLLER
        unit = int(text(drive.values, "AddressOnParent") or "0")
        channel = int(text(controller.values, "Address") or "0") if is_ide else None
        order = settings.system.values.get("BootOrder")
        ranks = [int(str(item)) for item in order] if isinstance(order, list | tuple) else []
        kind = _CD if is_cd else _IDE
        rank = ranks.index(kind) if kind in ranks else len(ranks)
        return DiskPlan(
            self._host.local_path(path),
            "raw" if is_cd else self._driver(machine, path),
            unit,
            channel,
            is_cd,
            # Places on all controllers count on within a kind; QEMU wants every index once.
            1 + rank * 256 + (64 if channel is None else channel * 2) + unit,
        )

    def _driver(self, machine: Machine, path: str) -> str:
        info = self._host.disks.info(path)
        if info.type is vhd.DiskType.DIFFERENCING:
            raise _failure(
                machine,
                f"'{path}' is a differencing disk, which QEMU cannot run from: "
                "convert it, or merge its checkpoints, first",
            )
        return "vhdx" if info.format is vhd.DiskFormat.VHDX else "vpc"


def _parent(settings: Configuration, row: Row) -> Row:
    path = ObjectPath.parse(text(row.values, "Parent"))
    return settings.resources[(path.key("InstanceID") or "").upper()]


def _mac(address: str) -> str:
    return ":".join(address[at : at + 2] for at in range(0, 12, 2)).lower()


def _failure(machine: Machine, why: str) -> JobFailed:
    return JobFailed(
        ReturnCode.FAILED,
        f"'{machine.name}' failed to start: {why} (0x{Hresult.NOT_SUPPORTED:08X}).",
        Hresult.NOT_SUPPORTED,
    )
