"""Reference points: times since which the changes of a machine's disks can be asked for.

A backup program makes one, asks the image service for the changes since its tracking ids next
time (module `change_tracking`), and destroys it.  Points based on the log of Hyper-V Replica, their
export and import are refused (32770).  A point lives as long as the emulation.

Sources: Microsoft's pages Msvm_VirtualSystemReferencePoint and CreateReferencePoint (the type is
asked for as 1 and shown as 2; the new point is the job's affected element).  That VM version 6.2 is
needed and the form of an InstanceID are guesses; so is 32768 of a machine that has a VHD.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row
from cloudstack_hyperv.emulator.host.arguments import integer, reference
from cloudstack_hyperv.emulator.host.change_tracking import ChangeTracking, DiskPoint
from cloudstack_hyperv.emulator.host.checkpoints import disk_paths
from cloudstack_hyperv.emulator.host.jobs import Job, JobKind, Progress
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import (
    Hresult,
    Refused,
    file_failure,
    invalid_parameter,
)
from cloudstack_hyperv.emulator.host.profiles import configuration_at_least
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import (
    Site,
    instance_id_of,
    machine_reference,
    setting_reference,
    strings,
)

POINT = "Msvm_VirtualSystemReferencePoint"
_CREATE = JobKind.concrete(0, "Creating Reference Point")
_DESTROY = JobKind.concrete(0, "Destroying Reference Point")
_RCT_WANTED, _RCT_SHOWN = 1, 2
_APPLICATION, _CRASH = 1, 2

Reply = MethodReply | Awaitable[MethodReply]


@dataclass(frozen=True, slots=True)
class _Point:
    instance_id: str
    machine_id: str
    consistency: int
    disks: tuple[tuple[str, str], ...]
    """(InstanceID of the medium, tracking id)."""


class ReferencePoints:
    """Reference points of one host."""

    def __init__(self, site: Site, machines: Machines, tracking: ChangeTracking) -> None:
        self._site = site
        self._machines = machines
        self._tracking = tracking
        self._points: dict[str, _Point] = {}

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods of the reference point service."""
        return {"CreateReferencePoint": self.create, "DestroyReferencePoint": self.destroy}

    def register(self, table: ClassTable) -> None:
        """Put the class into the host's table."""
        table.serve(POINT, self.rows)

    def rows(self) -> Iterator[Row]:
        """Yield Msvm_VirtualSystemReferencePoint; points go with their machine."""
        for point in list(self._points.values()):
            if self._machines.get(point.machine_id) is None:
                self._forget(point)
                continue
            yield Row(
                POINT,
                {
                    "InstanceID": point.instance_id,
                    "Caption": "Reference Point",
                    "Description": "Microsoft Reference Point",
                    "ElementName": "Reference Point",
                    "ReferencePointType": _RCT_SHOWN,
                    "ConsistencyLevel": point.consistency,
                    "HasAssociatedData": False,
                    "VirtualSystemIdentifier": point.machine_id,
                    "VirtualDiskIdentifiers": [medium for medium, _ in point.disks] or None,
                    "ResilientChangeTrackingIdentifiers": [t for _, t in point.disks] or None,
                },
            )

    def _forget(self, point: _Point) -> None:
        del self._points[point.instance_id.upper()]
        for _, track_id in point.disks:
            self._tracking.drop(track_id)

    def create(self, call: MethodCall) -> Reply:
        """Make a reference point; it is what the job affects."""
        machine = self._machines.referenced(call, "AffectedSystem")
        if integer(call, "ReferencePointType", 0) != _RCT_WANTED:
            raise Refused(ReturnCode.NOT_SUPPORTED, "log based reference points")
        if not configuration_at_least(machine.settings.version, "6.2"):
            raise Refused(ReturnCode.NOT_SUPPORTED, "the virtual machine's version is too old")
        media = _media(machine)
        names = [(medium, path, self._site.dice.guid()) for medium, path in media]
        instance_id = f"Microsoft:{machine.machine_id}\\{self._site.dice.guid()}"
        path = setting_reference(POINT, instance_id)
        started: list[Job] = []

        def work(progress: Progress) -> list[tuple[str, DiskPoint]]:
            found = []
            for count, (medium, file, guid) in enumerate(names, start=1):
                found.append((medium, self._tracking.take(file, guid)))
                progress.report(count, len(names))
            return found

        def apply(found: list[tuple[str, DiskPoint]]) -> None:
            for _, disk in found:
                self._tracking.keep(disk)
            ready = machine.is_running and machine.guest is not None
            answers = ready and machine.heartbeat(self._site.timeline.now()) == 2
            self._points[instance_id.upper()] = _Point(
                instance_id,
                machine.machine_id,
                _APPLICATION if answers else _CRASH,
                tuple((medium, disk.track_id) for medium, disk in found),
            )
            for job in started:
                job.created.append(path)

        operation = Operation(
            _CREATE,
            apply,
            self._site.config.timings.checkpoint,
            machine=machine,
            affected=(machine_reference(machine.machine_id),),
            work=work,
            on_job=started.append,
        )
        return _with_result(self._site.conductor.run(call, operation), path)

    def destroy(self, call: MethodCall) -> Reply:
        """Forget a reference point and its tracking ids."""
        path = reference(call, "AffectedReferencePoint")
        point = self._points.get(instance_id_of(path, "AffectedReferencePoint"))
        if path.class_name != POINT or point is None:
            raise invalid_parameter("AffectedReferencePoint names no reference point")
        seconds = self._site.config.timings.configure
        operation = Operation(_DESTROY, lambda _: self._forget(point), seconds)
        return self._site.conductor.run(call, operation)


def _with_result(reply: Reply, path: ObjectPath) -> Reply:
    """Add the result where no job was started."""
    if isinstance(reply, MethodReply):
        return _completed(reply, path)

    async def later() -> MethodReply:
        return _completed(await reply, path)

    return later()


def _completed(reply: MethodReply, path: ObjectPath) -> MethodReply:
    if reply.return_value != ReturnCode.COMPLETED:
        return reply
    return MethodReply(reply.return_value, {**reply.out, "ResultingReferencePoint": path})


def _media(machine: Machine) -> list[tuple[str, str]]:
    """Return the InstanceIDs and paths of a machine's disks; JobFailed where one is no VHDX."""
    wanted = set(disk_paths(machine.settings))
    found: list[tuple[str, str]] = []
    for medium in machine.settings.media:
        paths = [path for path in strings(medium.values, "HostResource") if path in wanted]
        found += [(str(medium.values["InstanceID"]), path) for path in paths]
    for _, path in found:
        if not path.lower().endswith("vhdx"):
            reason = "Change tracking needs the VHDX format."
            raise file_failure("track changes of", path, reason, Hresult.NOT_SUPPORTED)
    return found
