"""Metrics: collection switched on and off, and values that grow while it is on.

Network traffic is what meter ACLs count (os-win adds them for that), so it is 0 without them, and
on a host whose switches move no frames.

Sources: Microsoft's pages Msvm_MetricService, Msvm_AggregationMetricDefinition; names of the
definitions as os-win and the Measure-VM cmdlet use them.  Values are strings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cloudstack_hyperv.cim import ObjectPath
from cloudstack_hyperv.cim.constants import NAMESPACE_VIRTUALIZATION, ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host.arguments import integer
from cloudstack_hyperv.emulator.host.fabric import Fabric
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter
from cloudstack_hyperv.emulator.host.serving import ClassTable
from cloudstack_hyperv.emulator.host.site import Site, machine_reference, setting_reference
from cloudstack_hyperv.emulator.switch import Direction

AGGREGATE = "Msvm_AggregationMetricDefinition"
BASE = "Msvm_BaseMetricDefinition"
AGGREGATE_VALUE = "Msvm_AggregationMetricValue"
BASE_VALUE = "Msvm_BaseMetricValue"
ON, OFF, RESET = 2, 3, 4
_AVERAGE, _COUNTER, _GAUGE = 4, 3, 4
_MIB = 2**20
_SPACE = "4C6A2CBC-8E24-4D7F-8D65-5D1A5A9E0C"
"""Beginning of the definitions' Ids; they are not documented, clients match names."""

Reply = MethodReply | Awaitable[MethodReply]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of machines; `average` ones are aggregates over the time of collection."""

    guid: str
    name: str
    units: str
    value: Callable[[Machine, datetime, float, int], float] | None
    """Given the machine, now, seconds of collection and the host's MHz; None: `meters` count it."""
    average: bool
    meters: Direction | None = None
    """Direction of the meter ACLs whose bytes it is the sum of."""


def _cpu(machine: Machine, now: datetime, seconds: float, mhz: int) -> float:
    share = machine.guest.load(now) if machine.guest is not None and machine.is_running else 0.0
    del seconds
    return share * machine.processors * mhz


def _memory(machine: Machine, now: datetime, seconds: float, mhz: int) -> float:
    del seconds, mhz
    return machine.memory_usage(now)


def _read(machine: Machine, now: datetime, seconds: float, mhz: int) -> float:
    del mhz
    return _busy(machine, now, seconds) * 400_000 / _MIB


def _written(machine: Machine, now: datetime, seconds: float, mhz: int) -> float:
    del mhz
    return _busy(machine, now, seconds) * 250_000 / _MIB


def _disks(machine: Machine, now: datetime, seconds: float, mhz: int) -> float:
    del now, seconds, mhz
    return 65536.0 * len(machine.settings.media)


def _busy(machine: Machine, now: datetime, seconds: float) -> float:
    return min(seconds, machine.busy_seconds(now) / max(machine.script.load, 0.01))


METRICS: tuple[Metric, ...] = (
    Metric(f"{_SPACE}01", "Aggregated Average CPU Utilization", "MHz", _cpu, average=True),
    Metric(f"{_SPACE}02", "Aggregated Average Memory Utilization", "MB", _memory, average=True),
    Metric(f"{_SPACE}03", "Aggregated Maximum Memory Utilization", "MB", _memory, average=True),
    Metric(f"{_SPACE}04", "Aggregated Disk Data Read", "MB", _read, average=False),
    Metric(f"{_SPACE}05", "Aggregated Disk Data Written", "MB", _written, average=False),
    Metric(
        f"{_SPACE}06", "Maximum for Virtual Machine Disk Allocations", "MB", _disks, average=False
    ),
    Metric(
        f"{_SPACE}07",
        "Aggregated Filtered Incoming Network Traffic",
        "MB",
        None,
        average=False,
        meters=Direction.INCOMING,
    ),
    Metric(
        f"{_SPACE}08",
        "Aggregated Filtered Outgoing Network Traffic",
        "MB",
        None,
        average=False,
        meters=Direction.OUTGOING,
    ),
)


class Metrics:
    """The metric service of one host."""

    def __init__(self, site: Site, machines: Machines, fabric: Fabric) -> None:
        self._site = site
        self._machines = machines
        self._fabric = fabric
        self._metered_before: dict[tuple[str, Direction], int] = {}
        """Bytes that meters had counted when collection began."""

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods by name."""
        return {"ControlMetrics": self.control, "ShowMetrics": self.show}

    def register(self, table: ClassTable) -> None:
        """Put the classes into the host's table."""
        table.serve(AGGREGATE, lambda: self._definitions(average=True))
        table.serve(BASE, lambda: self._definitions(average=False))
        table.serve(AGGREGATE_VALUE, lambda: self._values(average=True))
        table.serve(BASE_VALUE, lambda: self._values(average=False))
        table.serve("Msvm_MetricDefForME", self.definitions_of_machines)
        table.serve("Msvm_MetricForME", self.values_of_machines)
        table.serve("Msvm_MetricInstance", self.values_of_definitions)

    # Methods -------------------------------------------------------------------------------

    def control(self, call: MethodCall) -> Reply:
        """Switch collection on, off, or begin it anew, for one machine or for all."""
        wanted = integer(call, "MetricCollectionEnabled")
        if wanted not in (ON, OFF, RESET):
            raise invalid_parameter("MetricCollectionEnabled is 2, 3 or 4")
        self._check_definition(call.arguments.get("Definition"))
        subject = call.arguments.get("Subject")
        machines = list(self._machines)
        if isinstance(subject, ObjectPath):
            machine = self._machines.resolve(subject)
            if machine is None:
                raise invalid_parameter("Subject names no virtual machine")
            machines = [machine]
        now = self._site.timeline.now()
        for machine in machines:
            if wanted == RESET or (wanted == ON and machine.measured_since is None):
                for direction in Direction:
                    counted = self._fabric.metered(machine, direction)
                    self._metered_before[machine.machine_id, direction] = counted
            if wanted == ON:
                machine.measured_since = machine.measured_since or now
            elif wanted == OFF:
                machine.measured_since = None
            elif machine.measured_since is not None:
                machine.measured_since = now
            self._machines.announce(machine)
        return MethodReply(ReturnCode.COMPLETED)

    def _check_definition(self, definition: Value) -> None:
        if definition is None:
            return
        known = {metric.guid for metric in METRICS}
        key = definition.key("Id") if isinstance(definition, ObjectPath) else None
        if key is None or key.upper() not in known:
            raise invalid_parameter("Definition names no metric")

    def show(self, call: MethodCall) -> Reply:
        """Tell which metrics of a machine are collected."""
        subject = call.arguments.get("Subject")
        machine = self._machines.resolve(subject) if isinstance(subject, ObjectPath) else None
        if machine is None:
            raise invalid_parameter("Subject names no virtual machine")
        state = ON if machine.measured_since else OFF
        return MethodReply(
            ReturnCode.COMPLETED,
            {
                "ManagedElements": [machine_reference(machine.machine_id)] * len(METRICS),
                "DefinitionList": [_definition_reference(metric) for metric in METRICS],
                "MetricNames": [metric.name for metric in METRICS],
                "MetricCollectionEnabled": [state] * len(METRICS),
            },
        )

    # Rows ----------------------------------------------------------------------------------

    def _definitions(self, *, average: bool) -> Iterator[Row]:
        for metric in METRICS:
            if metric.average is average:
                yield _definition(metric)

    def _measured(self) -> Iterator[tuple[Machine, Metric]]:
        for machine in self._machines:
            if machine.measured_since is not None:
                for metric in METRICS:
                    yield machine, metric

    def _values(self, *, average: bool) -> Iterator[Row]:
        now = self._site.timeline.now()
        for machine, metric in self._measured():
            if metric.average is average and machine.measured_since is not None:
                passed = now - machine.measured_since
                amount = self._amount(machine, metric, now, passed.total_seconds())
                values: dict[str, Value] = {
                    "InstanceID": _value_id(machine, metric),
                    "Caption": metric.name,
                    "Description": metric.name,
                    "ElementName": metric.name,
                    "MetricDefinitionId": metric.guid,
                    "MeasuredElementName": machine.name,
                    "TimeStamp": now,
                    "Duration": passed,
                    "MetricValue": str(int(amount)),
                    "Volatile": True,
                }
                if average:
                    values.update(AggregationTimeStamp=now, AggregationDuration=passed)
                yield Row(AGGREGATE_VALUE if average else BASE_VALUE, values)

    def _amount(self, machine: Machine, metric: Metric, now: datetime, seconds: float) -> float:
        if metric.value is not None:
            return metric.value(machine, now, seconds, self._site.config.mhz)
        if metric.meters is None:
            return 0.0
        counted = self._fabric.metered(machine, metric.meters)
        before = self._metered_before.get((machine.machine_id, metric.meters), 0)
        # A machine that was off meanwhile has new ports, which count from zero.
        return (counted - before if counted >= before else counted) / _MIB

    def definitions_of_machines(self) -> Iterator[Row]:
        """Yield machines with the metrics that can be had of them."""
        for machine in self._machines:
            for metric in METRICS:
                yield Row(
                    "Msvm_MetricDefForME",
                    {
                        "Antecedent": machine_reference(machine.machine_id),
                        "Dependent": _definition_reference(metric),
                        "MetricCollectionEnabled": ON if machine.measured_since else OFF,
                    },
                )

    def values_of_machines(self) -> Iterator[Row]:
        """Yield machines with their values."""
        for machine, metric in self._measured():
            yield Row(
                "Msvm_MetricForME",
                {
                    "Antecedent": machine_reference(machine.machine_id),
                    "Dependent": _value_reference(machine, metric),
                },
            )

    def values_of_definitions(self) -> Iterator[Row]:
        """Yield definitions with their values."""
        for machine, metric in self._measured():
            yield Row(
                "Msvm_MetricInstance",
                {
                    "Antecedent": _definition_reference(metric),
                    "Dependent": _value_reference(machine, metric),
                },
            )


def _definition(metric: Metric) -> Row:
    values: dict[str, Value] = {
        "InstanceID": metric.guid,
        "Caption": metric.name,
        "Description": metric.name,
        "ElementName": metric.name,
        "Id": metric.guid,
        "Name": metric.name,
        "DataType": 13,
        "Calculable": 2,
        "Units": metric.units,
        "IsContinuous": True,
        "ChangeType": _GAUGE if metric.average else _COUNTER,
        "TimeScope": 3,
        "GatheringType": 3,
        "ProgrammaticUnits": "hertz*10^6" if metric.units == "MHz" else "byte*2^20",
    }
    if metric.average:
        values["SimpleFunction"] = _AVERAGE
    return Row(AGGREGATE if metric.average else BASE, values)


def _definition_reference(metric: Metric) -> ObjectPath:
    name = AGGREGATE if metric.average else BASE
    return ObjectPath(name, (("Id", metric.guid),), NAMESPACE_VIRTUALIZATION)


def _value_id(machine: Machine, metric: Metric) -> str:
    return f"Microsoft:{machine.machine_id}\\{metric.guid}"


def _value_reference(machine: Machine, metric: Metric) -> ObjectPath:
    name = AGGREGATE_VALUE if metric.average else BASE_VALUE
    return setting_reference(name, _value_id(machine, metric))
