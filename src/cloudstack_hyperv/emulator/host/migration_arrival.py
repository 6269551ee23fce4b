"""What a machine will be where it goes: its settings in terms of the destination.

New files and switches are those that the client named, else those of the planned system that it
prepared, else the same paths and the switches of the same names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from cloudstack_hyperv.cim.constants import ResourceSubType, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import Row
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.disk_transfer import TransferPlan, plan_transfer
from cloudstack_hyperv.emulator.host.machine import Checkpoint, Machine
from cloudstack_hyperv.emulator.host.migration_wish import MigrationWish
from cloudstack_hyperv.emulator.host.outcome import JobFailed
from cloudstack_hyperv.emulator.host.peers import Peer
from cloudstack_hyperv.emulator.host.relocation import on_host, plugged_in, with_files, with_roots
from cloudstack_hyperv.emulator.host.site import strings
from cloudstack_hyperv.emulator.host.switches import Switch

SWITCH_MISSING = 33012
"""MessageID of a switch that is not there."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a machine would be on the destination."""

    settings: Configuration
    checkpoints: Mapping[str, Checkpoint]
    missing_switches: tuple[str, ...]
    plan: TransferPlan
    pools: frozenset[str]
    overwrite: bool = False


class Itinerary:
    """Translates one machine for one destination."""

    def __init__(
        self,
        machine: Machine,
        wish: MigrationWish,
        home: Peer,
        away: Peer,
        planned: Machine | None,
    ) -> None:
        self._machine = machine
        self._wish = wish
        self._home = home
        self._away = away
        self._planned = planned

    def arrival(self) -> Arrival:
        """Return what the machine will be; raises JobFailed."""
        files, cables = self._choices()
        settings = self._machine.settings
        media = {str(row.values["InstanceID"]).upper(): row for row in settings.media}
        targets: dict[str, str] = {}
        images: dict[str, str] = {}
        for key, new in files.items():
            for old in strings(media[key].values, "HostResource"):
                hard_disk = (
                    media[key].values["ResourceSubType"] == ResourceSubType.VIRTUAL_HARD_DISK
                )
                moves = hard_disk and self._wish.moves_storage
                (targets if moves else images)[old.lower()] = new
        spelled = {path.lower(): path for row in media.values() for path in _paths(row)}
        plan = plan_transfer(
            self._machine,
            self._home.disks,
            self._away.disks,
            {spelled[old]: new for old, new in targets.items()},
        )
        moved, missing = self._translated(settings, plan, images, cables)
        checkpoints = {
            guid: dataclasses.replace(
                checkpoint, settings=self._translated(checkpoint.settings, plan, {}, {})[0]
            )
            for guid, checkpoint in self._machine.checkpoints.items()
        }
        return Arrival(
            moved, checkpoints, tuple(missing), plan, self._wish.pools, self._wish.overwrite
        )

    def _choices(self) -> tuple[dict[str, str], dict[str, Switch | None]]:
        """Return new files and switches: the client's, else those of the planned system."""
        files: dict[str, str] = {}
        cables: dict[str, Switch | None] = {}
        planned = self._planned
        if planned is not None:
            for key, row in planned.settings.resources.items():
                if row.class_name == catalogue.CONNECTION:
                    cables[key] = self._away.switches.of_connection(row)
                elif (
                    row.class_name == catalogue.STORAGE and key in self._machine.settings.resources
                ):
                    current = self._machine.settings.resources[key]
                    if _paths(row) != _paths(current) and _paths(row):
                        files[key] = _paths(row)[0]
        files.update(self._wish.files)
        for key, guid in self._wish.cables.items():
            switch = self._away.switches.get(guid) if guid else None
            if guid and switch is None:
                raise JobFailed(
                    ReturnCode.FAILED,
                    f"The switch {guid} does not exist on '{self._away.name}' (0x80070002).",
                    0x80070002,
                )
            cables[key] = switch
        return files, cables

    def _translated(
        self,
        settings: Configuration,
        plan: TransferPlan,
        images: dict[str, str],
        cables: dict[str, Switch | None],
    ) -> tuple[Configuration, list[str]]:
        """Return settings as the destination will have them, and switches it lacks."""

        def new_path(path: str) -> str:
            if path.lower() in images:
                return images[path.lower()]
            return plan.renames.get(self._home.disks.place(path).local, path)

        moved = with_files(settings, new_path) if plan.renames or images else settings.copy()
        if self._wish.roots:
            moved = with_roots(moved, self._wish.roots)
        if self._away is self._home:
            return moved, []
        moved = on_host(moved, self._away.name)
        if self._away.site.profile.release == "2012r2" and moved.version == "4.0":
            moved.set_system(Version="5.0")
        return plugged_in(moved, self._away.switches, cables)

    def again(self, arrival: Arrival) -> tuple[Arrival, list[tuple[int, str]]]:
        """Look at the destination's switches once more: they may have gone meanwhile."""
        _, cables = self._choices()
        settings, missing = plugged_in(arrival.settings, self._away.switches, cables)
        reasons = [
            (SWITCH_MISSING, f"Could not find Ethernet switch '{name}'.") for name in missing
        ]
        return dataclasses.replace(arrival, settings=settings), reasons


def _paths(row: Row) -> list[str]:
    return strings(row.values, "HostResource")
