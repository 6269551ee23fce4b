"""Features of machines' switch ports: Add-, Modify- and RemoveFeatureSettings of VSMS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.arguments import instances, reference, references
from cloudstack_hyperv.emulator.host.configuration import Configuration
from cloudstack_hyperv.emulator.host.features import add_feature, change_feature, feature_kind
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.machine import Machine
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import invalid_parameter
from cloudstack_hyperv.emulator.host.site import (
    Site,
    machine_reference,
    number,
    setting_reference,
    text,
)
from cloudstack_hyperv.emulator.host.switches import Switches

_JOB = JobKind.concrete(31, "Modifying Virtual Machine Resources")

Reply = MethodReply | Awaitable[MethodReply]


class PortFeatures:
    """Feature methods for the connections of machines."""

    def __init__(self, site: Site, machines: Machines, switches: Switches) -> None:
        self._site = site
        self._machines = machines
        self._switches = switches

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods by name."""
        return {
            "AddFeatureSettings": self.add,
            "ModifyFeatureSettings": self.modify,
            "RemoveFeatureSettings": self.remove,
        }

    def _mode(self, connection: Row) -> int:
        switch = self._switches.of_connection(connection)
        return number(switch.settings.values, "BandwidthReservationMode") if switch else 2

    def add(self, call: MethodCall) -> Reply:
        """Give a port features."""
        path = reference(call, "AffectedConfiguration")
        machine, settings, connection = self._machines.resource(path, "AffectedConfiguration")
        if connection.class_name != catalogue.CONNECTION or settings is not machine.settings:
            raise invalid_parameter("AffectedConfiguration is not a machine's connection")
        requests = instances(call, "FeatureSettings")
        if not requests:
            raise invalid_parameter("FeatureSettings is empty")
        draft = settings.copy()
        connection_id = str(connection.values["InstanceID"])
        added: list[Row] = []
        for request in requests:
            kind = feature_kind(request.class_name, self._site.profile, on_switch=False)
            row = add_feature(
                request,
                kind,
                connection_id,
                draft.features_of(connection_id),
                self._mode(connection),
                self._site.dice.guid(),
            )
            draft.features[_key(row)] = row
            added.append(row)
        return self._run(call, machine, draft, added, usually_job=not machine.is_off)

    def modify(self, call: MethodCall) -> Reply:
        """Change features."""
        changed: list[Row] = []
        owner: Machine | None = None
        draft: Configuration | None = None
        for request in instances(call, "FeatureSettings"):
            instance_id = text(request.values, "InstanceID")
            machine, settings, row = self._machines.resource(
                setting_reference(request.class_name, instance_id), "InstanceID"
            )
            if settings is not machine.settings or (owner is not None and owner is not machine):
                raise invalid_parameter("FeatureSettings must name features of one machine")
            owner = machine
            draft = settings.copy() if draft is None else draft
            kind = feature_kind(row.class_name, self._site.profile, on_switch=False)
            connection_id = instance_id.upper().rsplit("\\", 2)[0]
            current = draft.features[_key(row)]
            new = change_feature(
                current,
                request,
                kind,
                draft.features_of(connection_id),
                self._mode(draft.resources[connection_id]),
            )
            draft.features[_key(new)] = new
            changed.append(new)
        if owner is None or draft is None:
            raise invalid_parameter("FeatureSettings is empty")
        return self._run(call, owner, draft, changed)

    def remove(self, call: MethodCall) -> Reply:
        """Take features away."""
        owner: Machine | None = None
        draft: Configuration | None = None
        for path in references(call, "FeatureSettings"):
            machine, settings, row = self._machines.resource(path, "FeatureSettings")
            if settings is not machine.settings or (owner is not None and owner is not machine):
                raise invalid_parameter("FeatureSettings must name features of one machine")
            owner = machine
            draft = settings.copy() if draft is None else draft
            if draft.features.pop(_key(row), None) is None:
                raise invalid_parameter("FeatureSettings names something that is no feature")
        if owner is None or draft is None:
            raise invalid_parameter("FeatureSettings is empty")
        return self._run(call, owner, draft, None)

    def _run(
        self,
        call: MethodCall,
        machine: Machine,
        draft: Configuration,
        results: list[Row] | None,
        *,
        usually_job: bool = True,
    ) -> Reply:
        def apply(_: object) -> None:
            machine.settings.features = draft.features
            machine.config_changed = self._site.timeline.now()
            self._machines.announce(machine)

        out: dict[str, Value] = {}
        if results is not None:
            out["ResultingFeatureSettings"] = [self._site.reference(row) for row in results]
        return self._site.conductor.run(
            call,
            Operation(
                _JOB,
                apply,
                self._site.config.timings.configure,
                usually_job=usually_job,
                machine=machine,
                affected=(machine_reference(machine.machine_id),),
                out=out,
            ),
        )


def _key(row: Row) -> str:
    return str(row.values["InstanceID"]).upper()
