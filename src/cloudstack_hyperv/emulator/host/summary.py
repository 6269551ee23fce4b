"""GetSummaryInformation: state and numbers of many machines in one answer.

Only what was asked for is filled in; Name and InstanceID always.  It is called every few seconds
for hundreds of machines, so each requested id is one function, looked up once a call.

Source: Microsoft's page GetSummaryInformation (ids); that a missing SettingData means all machines
from the same page and virt-who, that checkpoints are then left out from os-win's use of it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.arguments import references
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.console import Console
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter
from cloudstack_hyperv.emulator.host.profiles import ReleaseProfile
from cloudstack_hyperv.emulator.host.site import Site, number, strings, text

_NOT_APPLICABLE = 2**31 - 1
_HISTORY = 100
_CLASS = "Msvm_SummaryInformation"
Values = dict[str, Value]
Filler = Callable[[Values, Machine, Configuration, datetime], None]


def _name(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del now, settings
    values["Name"] = machine.machine_id


def _element_name(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del machine, now
    values["ElementName"] = settings.name


def _creation(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del machine, now
    values["CreationTime"] = settings.system.values["CreationTime"]


def _notes(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del machine, now
    values["Notes"] = "\n".join(strings(settings.system.values, "Notes"))


def _processors(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del machine, now
    values["NumberOfProcessors"] = number(
        settings.first(catalogue.PROCESSOR).values, "VirtualQuantity"
    )


def _switches(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del machine, now
    names = [
        text(cable.values, "LastKnownSwitchName")
        for cable in settings.of_class(catalogue.CONNECTION)
        if cable.values.get("HostResource")
    ]
    values["VirtualSwitchNames"] = names or None


def _version(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del machine, now
    values["Version"] = settings.version


def _shielded(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del machine, now
    values["Shielded"] = bool(
        settings.security is not None and settings.security.values.get("ShieldingRequested")
    )


def _state(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings, now
    values["EnabledState"] = machine.state.enabled_state
    values["OtherEnabledState"] = "" if machine.state.enabled_state != 1 else machine.state.value


def _load(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings
    values["ProcessorLoad"] = machine.load_percent(now)


def _history(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings
    load = machine.load_percent(now)
    values["ProcessorLoadHistory"] = [load] * _HISTORY


def _memory(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings
    values["MemoryUsage"] = machine.memory_usage(now)


def _heartbeat(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings
    values["Heartbeat"] = machine.heartbeat(now)


def _uptime(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings
    values["UpTime"] = machine.uptime(now) // timedelta(milliseconds=1)


def _guest_os(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings
    guest = machine.guest
    up = guest is not None and guest.kvp_up(now)
    values["GuestOperatingSystem"] = guest.script.os_name if guest is not None and up else ""


def _health(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings, now
    values["HealthState"] = 25 if machine.critical else 5


def _status(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings, now
    values["OperationalStatus"] = machine.operational_status()[0]


def _status_text(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings, now
    values["StatusDescriptions"] = machine.operational_status()[1]


def _available(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del settings
    dynamic = machine.has_dynamic_memory and machine.is_running and machine.guest is not None
    share = machine.guest.load(now) if machine.guest is not None and dynamic else 0.0
    values["MemoryAvailable"] = int(100 * (1 - share)) if dynamic else _NOT_APPLICABLE


def _buffer(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
    del now
    dynamic = machine.has_dynamic_memory and machine.is_running
    memory = settings.first(catalogue.MEMORY).values
    values["AvailableMemoryBuffer"] = (
        number(memory, "TargetMemoryBuffer") if dynamic else _NOT_APPLICABLE
    )


def _constant(**constants: Value) -> Filler:
    def fill(values: Values, machine: Machine, settings: Configuration, now: datetime) -> None:
        del machine, settings, now
        values.update(constants)

    return fill


_FILLERS: dict[int, Filler] = {
    0: _name,
    1: _element_name,
    2: _creation,
    3: _notes,
    4: _processors,
    100: _state,
    101: _load,
    102: _history,
    103: _memory,
    104: _heartbeat,
    105: _uptime,
    106: _guest_os,
    109: _health,
    110: _status,
    111: _status_text,
    112: _available,
    113: _buffer,
    114: _constant(ReplicationMode=0),
    115: _constant(ReplicationState=0),
    116: _constant(ReplicationHealth=0),
    117: _constant(ApplicationHealth=32896),
    120: _constant(SwapFilesInUse=False),
    121: _constant(IntegrationServicesVersionState=1),
    123: _constant(MemorySpansPhysicalNumaNodes=False),
}
_SINCE_2012_R2: dict[int, Filler] = {
    118: _constant(ReplicationStateEx=[0]),
    119: _constant(ReplicationHealthEx=[0]),
    122: _constant(),
}
_SINCE_2016: dict[int, Filler] = {9: _switches, 10: _version, 11: _shielded}
_THUMBNAILS = {5: (80, 60), 6: (160, 120), 7: (320, 240)}
_SNAPSHOTS, _TASKS = 107, 108


class Summary:
    """GetSummaryInformation of one host."""

    def __init__(self, site: Site, machines: Machines, console: Console) -> None:
        self._site = site
        self._machines = machines
        self._console = console
        self._fillers = known_fields(site.profile)

    def get(self, call: MethodCall) -> MethodReply:
        """Answer for the given settings, or for all machines."""
        wanted = call.arguments.get("RequestedInformation")
        ids = {int(str(item)) for item in wanted} if isinstance(wanted, list | tuple) else set()
        tasks, pictures = _TASKS in ids, [_THUMBNAILS[i] for i in sorted(ids & set(_THUMBNAILS))]
        snapshots = _SNAPSHOTS in ids
        ids -= {_TASKS, _SNAPSHOTS, *_THUMBNAILS, 8}
        unknown = ids - set(self._fillers)
        if unknown:
            raise invalid_parameter(f"RequestedInformation {sorted(unknown)} is unknown")
        fillers = [self._fillers[number] for number in sorted(ids)]
        now = self._site.timeline.now()
        foreign = self._site.schema.foreign(_CLASS)
        rows: list[Row] = []
        for machine, settings in self._targets(call):
            values: Values = {
                "InstanceID": settings.system.values["InstanceID"],
                "Name": machine.machine_id,
            }
            for fill in fillers:
                fill(values, machine, settings, now)
            if tasks:
                values["AsynchronousTasks"] = self._tasks(machine)
            for width, height in pictures:
                self._add_picture(values, machine, width, height)
            if snapshots and machine.checkpoints:
                native = self._site.schema.native
                values["Snapshots"] = [
                    native(c.settings.system) for c in machine.checkpoints.values()
                ]
            for name in foreign:
                values.pop(name, None)
            rows.append(Row(_CLASS, values))
        return MethodReply(ReturnCode.COMPLETED, {"SummaryInformation": rows})

    def _targets(self, call: MethodCall) -> list[tuple[Machine, Configuration]]:
        paths = references(call, "SettingData")
        if not paths:
            return [(machine, machine.settings) for machine in self._machines]
        found: list[tuple[Machine, Configuration]] = []
        for path in paths:
            machine = self._machines.resolve(path)
            if machine is not None:
                found.append((machine, machine.settings))
                continue
            owner = self._machines.owner_of(path.key("InstanceID") or "")
            if owner is None:
                raise invalid_parameter("SettingData names no settings of this host")
            found.append(owner)
        return found

    def _tasks(self, machine: Machine) -> list[Row] | None:
        board, native = self._site.board, self._site.schema.native
        return [native(board.row(job)) for job in board.running_for(machine.machine_id)] or None

    def _add_picture(self, values: Values, machine: Machine, width: int, height: int) -> None:
        if machine.state.has_worker:
            values["ThumbnailImage"] = self._console.picture(machine, width, height)
            values["ThumbnailImageWidth"], values["ThumbnailImageHeight"] = width, height


def known_fields(profile: ReleaseProfile) -> dict[int, Filler]:
    """Return the ids that a release knows."""
    known = dict(_FILLERS)
    if profile.is_2012_r2_or_newer:
        known.update(_SINCE_2012_R2)
    if profile.is_2016_or_newer:
        known.update(_SINCE_2016)
    return known
