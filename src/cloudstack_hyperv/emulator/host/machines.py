"""The machines of a host: finding them, their settings and resources by what a client names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, Row
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.machine import Checkpoint, Machine
from cloudstack_hyperv.emulator.host.outcome import Refused, invalid_parameter
from cloudstack_hyperv.emulator.host.site import instance_id_of

_PREFIX = "MICROSOFT:"


class Machines:
    """All machines of one host, in the order in which they were made."""

    def __init__(self) -> None:
        self._machines: dict[str, Machine] = {}
        self._planned: dict[str, Machine] = {}
        self.changed: list[Callable[[Machine], None]] = []
        """Called after a machine's settings changed (persistence, ports)."""
        self.removed: list[Callable[[Machine], None]] = []

    def __iter__(self) -> Iterator[Machine]:
        return iter(self._machines.values())

    def __len__(self) -> int:
        return len(self._machines)

    @property
    def planned(self) -> list[Machine]:
        """Planned systems: imported or announced by a migration, not realized yet."""
        return list(self._planned.values())

    def everything(self) -> Iterator[Machine]:
        """Yield machines, then planned systems: whatever has settings on this host."""
        yield from self._machines.values()
        yield from self._planned.values()

    def plan(self, machine: Machine) -> None:
        """Take a planned system in."""
        machine.planned = True
        self._planned[machine.machine_id] = machine

    def drop_plan(self, machine: Machine) -> None:
        """Forget a planned system."""
        self._planned.pop(machine.machine_id, None)

    def get_planned(self, machine_id: str) -> Machine | None:
        """Return the planned system of a GUID in any letter case."""
        return self._planned.get(machine_id.upper())

    def add(self, machine: Machine) -> None:
        """Take a machine in."""
        self._machines[machine.machine_id] = machine
        self.announce(machine)

    def announce(self, machine: Machine) -> None:
        """Tell who wants to know that a machine's settings changed; a plan concerns nobody."""
        if machine.planned:
            return
        for listener in self.changed:
            listener(machine)

    def remove(self, machine: Machine) -> None:
        """Forget a machine."""
        machine.destroyed = True
        self._machines.pop(machine.machine_id, None)
        for listener in self.removed:
            listener(machine)

    def get(self, machine_id: str) -> Machine | None:
        """Return the machine of a GUID in any letter case."""
        return self._machines.get(machine_id.upper())

    def by_name(self, name: str) -> list[Machine]:
        """Return machines with this display name, without letter case."""
        wanted = name.casefold()
        return [machine for machine in self if machine.name.casefold() == wanted]

    def owner_of(self, instance_id: str) -> tuple[Machine, Configuration] | None:
        r"""Return whose settings an InstanceID `Microsoft:<GUID>[\...]` belongs to."""
        upper = instance_id.upper()
        if not upper.startswith(_PREFIX):
            return None
        guid = upper[len(_PREFIX) :].split("\\", 1)[0]
        machine = self._machines.get(guid) or self._planned.get(guid)
        if machine is not None:
            return machine, machine.settings
        for candidate in self.everything():
            checkpoint = candidate.checkpoints.get(guid)
            if checkpoint is not None:
                return candidate, checkpoint.settings
        return None

    def checkpoint(self, path: ObjectPath) -> tuple[Machine, Checkpoint]:
        """Return the checkpoint that a settings reference names; refuses with 32773."""
        owner = self.owner_of(instance_id_of(path, "the checkpoint reference"))
        if owner is not None:
            machine, settings = owner
            checkpoint = machine.checkpoints.get(settings.guid)
            if checkpoint is not None and not machine.planned:
                return machine, checkpoint
        raise invalid_parameter("the reference names no checkpoint")

    def referenced(self, call: MethodCall, parameter: str) -> Machine:
        """Return the machine that a reference parameter names.

        Its own settings are taken for it too: clients pass either (os-win passes a
        Msvm_ComputerSystem as AffectedConfiguration).  A partial key (Name only) is enough.
        """
        value = call.arguments.get(parameter)
        if not isinstance(value, ObjectPath):
            raise invalid_parameter(f"{parameter} is missing")
        machine = self.resolve(value)
        if machine is None:
            raise invalid_parameter(f"{parameter} names no virtual machine of this host")
        return machine

    def resolve(self, path: ObjectPath) -> Machine | None:
        """Return the machine a reference to it or to its settings names, None if gone."""
        kind = path.class_name.lower()
        if kind in ("msvm_computersystem", "cim_computersystem"):
            return self.get(path.key("Name") or "")
        if kind == "msvm_plannedcomputersystem":
            return self.get_planned(path.key("Name") or "")
        if kind == "msvm_virtualsystemsettingdata":
            owner = self.owner_of(path.key("InstanceID") or "")
            if owner is not None and owner[1] is owner[0].settings:
                return owner[0]
        return None

    def resource(self, path: ObjectPath, what: str) -> tuple[Machine, Configuration, Row]:
        """Return the resource or feature that a reference names; refuses with 32773."""
        instance_id = instance_id_of(path, what)
        owner = self.owner_of(instance_id)
        if owner is not None:
            machine, settings = owner
            row = settings.resources.get(instance_id) or settings.features.get(instance_id)
            if row is not None:
                return machine, settings, row
        raise Refused(ReturnCode.INVALID_PARAMETER, f"{what} does not exist")
