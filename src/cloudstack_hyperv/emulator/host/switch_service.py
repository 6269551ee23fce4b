"""Msvm_VirtualEthernetSwitchManagementService: defining, changing and destroying switches.

Sources: Microsoft's pages of the service and its methods; that a missing HostResource gives 32773
and a scalar one 32776 is recorded in r4sd/go-wsman's notes; a port cannot belong to two switches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from cloudstack_hyperv.cim.constants import ReturnCode
from cloudstack_hyperv.emulator.cim.provider import MethodCall, MethodReply, Row, Value
from cloudstack_hyperv.emulator.host import catalogue
from cloudstack_hyperv.emulator.host.arguments import (
    instance,
    instances,
    optional_instance,
    reference,
    references,
)
from cloudstack_hyperv.emulator.host.config import SwitchKind
from cloudstack_hyperv.emulator.host.features import add_feature, change_feature, feature_kind
from cloudstack_hyperv.emulator.host.jobs import JobKind
from cloudstack_hyperv.emulator.host.machines import Machines
from cloudstack_hyperv.emulator.host.operation import Operation
from cloudstack_hyperv.emulator.host.outcome import Refused, invalid_parameter
from cloudstack_hyperv.emulator.host.sameness import same_value
from cloudstack_hyperv.emulator.host.site import Site, instance_id_of, number, text
from cloudstack_hyperv.emulator.host.switches import SWITCH_SETTINGS, Switch, Switches
from cloudstack_hyperv.emulator.host.system_settings import check_name

DEFINE = JobKind.concrete(130, "Defining Ethernet Switch")
MODIFY = JobKind.concrete(131, "Modifying Ethernet Switch Settings")
DESTROY = JobKind.concrete(132, "Destroying Ethernet Switch")
ADD = JobKind.concrete(133, "Adding Ethernet Switch Resources")
MODIFY_RESOURCES = JobKind.concrete(134, "Modifying Ethernet Switch Resources")
REMOVE = JobKind.concrete(135, "Removing Ethernet Switch Resources")

_WRONG_TYPE = ReturnCode.INCORRECT_DATA_TYPE
_CHANGES = frozenset({"ElementName", "Notes", "ExtensionOrder", "RequiredExtensionIds"})
_AT_DEFINITION = _CHANGES | {
    "BandwidthReservationMode",
    "IOVPreferred",
    "TeamingEnabled",
    "PacketDirectEnabled",
    "AllowNetLbfoTeams",
    "MaxNumMACAddress",
}
_DEFAULT_SWITCH_NAME = "Virtual Switch"

Reply = MethodReply | Awaitable[MethodReply]


class SwitchService:
    """The switch management service of one host."""

    def __init__(self, site: Site, machines: Machines, switches: Switches) -> None:
        self._site = site
        self._machines = machines
        self._switches = switches

    @property
    def methods(self) -> dict[str, Callable[[MethodCall], Reply]]:
        """Methods by name."""
        return {
            "DefineSystem": self.define,
            "DestroySystem": self.destroy,
            "ModifySystemSettings": self.modify,
            "AddResourceSettings": self.add_resources,
            "ModifyResourceSettings": self.modify_resources,
            "RemoveResourceSettings": self.remove_resources,
            "AddFeatureSettings": self.add_features,
            "ModifyFeatureSettings": self.modify_features,
            "RemoveFeatureSettings": self.remove_features,
        }

    # Switches ------------------------------------------------------------------------------

    def define(self, call: MethodCall) -> Reply:
        """Make a switch; its connections say whether it is external, internal or private."""
        request = optional_instance(call, "SystemSettings", array_code=_WRONG_TYPE)
        values: dict[str, Value] = {}
        if request is not None:
            if request.class_name != SWITCH_SETTINGS:
                raise invalid_parameter(f"SystemSettings is not a {SWITCH_SETTINGS}")
            values = _chosen(request)
        name = values.pop("ElementName", _DEFAULT_SWITCH_NAME)
        check_name(name)
        if number(values, "BandwidthReservationMode") > 3:
            raise invalid_parameter("BandwidthReservationMode is 0 to 3")
        switch = self._switches.new(str(name), values)
        if number(switch.settings.values, "BandwidthReservationMode") == 0:
            switch.settings.values["BandwidthReservationMode"] = 2
        connections = instances(call, "ResourceSettings", array_code=_WRONG_TYPE)
        for connection in connections:
            self._connect(switch, connection)
        external = switch.kind is SwitchKind.EXTERNAL

        def apply(_: object) -> None:
            self._switches.put(switch)

        return self._run(
            call, DEFINE, apply, usually_job=external, out={"ResultingSystem": switch.reference}
        )

    def _connect(self, switch: Switch, request: Row) -> Row:
        if request.class_name not in (catalogue.CONNECTION, catalogue.RASD):
            raise invalid_parameter("a switch is connected by Ethernet connections")
        resource = self._switches.checked_resource(request, switch)
        uplinks = [
            row
            for row in switch.connections.values()
            if self._switches.own_port_kind(row) is SwitchKind.EXTERNAL
        ]
        is_external = "Msvm_ExternalEthernetPort" in resource
        teaming = switch.settings.values.get("TeamingEnabled") is True
        if is_external and uplinks and not teaming:
            raise invalid_parameter("a switch without teaming has one external port")
        name = text(request.values, "ElementName") or switch.name
        return self._switches.connect(switch, resource, name)

    def _referenced(self, call: MethodCall, parameter: str) -> Switch:
        path = reference(call, parameter)
        switch = self._switches.get(path.key("Name") or "") or self._switches.by_settings(
            path.key("InstanceID") or ""
        )
        if switch is None:
            raise invalid_parameter(f"{parameter} names no switch of this host")
        return switch

    def destroy(self, call: MethodCall) -> Reply:
        """Remove a switch; machines that use it lose their connection's other end."""
        switch = self._referenced(call, "AffectedSystem")
        self._refuse_default_switch(switch)

        def apply(_: object) -> None:
            self._switches.remove(switch)

        return self._run(call, DESTROY, apply)

    def _refuse_default_switch(self, switch: Switch) -> None:
        if switch.is_default:
            raise Refused(ReturnCode.ACCESS_DENIED, "the Default Switch cannot be changed")

    def modify(self, call: MethodCall) -> Reply:
        """Change a switch's settings."""
        request = instance(call, "SystemSettings", array_code=_WRONG_TYPE)
        switch = self._switches.by_settings(text(request.values, "InstanceID"))
        if switch is None or request.class_name != SWITCH_SETTINGS:
            raise invalid_parameter("SystemSettings names no switch of this host")
        self._refuse_default_switch(switch)
        changed: dict[str, Value] = {}
        for name, value in request.values.items():
            if name == "InstanceID" or value is None:
                continue
            if same_value(switch.settings.values.get(name), value):
                continue
            if name not in _CHANGES:
                raise invalid_parameter(f"{name} cannot be changed")
            if name == "ElementName":
                check_name(value)
            changed[name] = value

        def apply(_: object) -> None:
            switch.settings = Row(SWITCH_SETTINGS, {**switch.settings.values, **changed})
            self._switches.announce()

        return self._run(call, MODIFY, apply)

    # Connections ---------------------------------------------------------------------------

    def add_resources(self, call: MethodCall) -> Reply:
        """Give a switch further connections."""
        switch = self._referenced(call, "AffectedConfiguration")
        self._refuse_default_switch(switch)
        requests = instances(call, "ResourceSettings", array_code=_WRONG_TYPE)
        if not requests:
            raise invalid_parameter("ResourceSettings is empty")
        draft = _draft(switch)
        added = [self._connect(draft, request) for request in requests]

        def apply(_: object) -> None:
            switch.connections = draft.connections
            self._switches.announce()

        return self._run(call, ADD, apply, out=self._resulting(added))

    def modify_resources(self, call: MethodCall) -> Reply:
        """Connect a switch's own ports elsewhere."""
        changed: list[tuple[Switch, Row]] = []
        for request in instances(call, "ResourceSettings", array_code=_WRONG_TYPE):
            switch, row = self._own_connection(text(request.values, "InstanceID"))
            self._refuse_default_switch(switch)
            values = dict(row.values)
            if request.values.get("HostResource") is not None:
                values["HostResource"] = [self._switches.checked_resource(request, switch)]
            if request.values.get("ElementName") is not None:
                values["ElementName"] = request.values["ElementName"]
            changed.append((switch, Row(row.class_name, values)))
        if not changed:
            raise invalid_parameter("ResourceSettings is empty")

        def apply(_: object) -> None:
            for switch, row in changed:
                switch.connections[str(row.values["InstanceID"]).upper()] = row
            self._switches.announce()

        out = self._resulting([row for _, row in changed])
        return self._run(call, MODIFY_RESOURCES, apply, out=out)

    def _own_connection(self, instance_id: str) -> tuple[Switch, Row]:
        switch = self._switches.by_settings(instance_id)
        row = switch.connections.get(instance_id.upper()) if switch is not None else None
        if switch is None or row is None:
            raise invalid_parameter("InstanceID names no connection of a switch")
        return switch, row

    def remove_resources(self, call: MethodCall) -> Reply:
        """Take connections away from switches."""
        doomed: list[tuple[Switch, str]] = []
        for path in references(call, "ResourceSettings"):
            instance_id = instance_id_of(path, "ResourceSettings")
            switch, _ = self._own_connection(instance_id)
            self._refuse_default_switch(switch)
            doomed.append((switch, instance_id))
        if not doomed:
            raise invalid_parameter("ResourceSettings is empty")

        def apply(_: object) -> None:
            for switch, instance_id in doomed:
                switch.connections.pop(instance_id, None)
                prefix = instance_id + "\\"
                for key in [key for key in switch.features if key.startswith(prefix)]:
                    del switch.features[key]
            self._switches.announce()

        return self._run(call, REMOVE, apply)

    # Features ------------------------------------------------------------------------------

    def add_features(self, call: MethodCall) -> Reply:
        """Give a switch, or one of its own ports, features."""
        path = reference(call, "AffectedConfiguration")
        owner_id = instance_id_of(path, "AffectedConfiguration")
        switch = self._switches.by_settings(owner_id)
        on_switch = path.class_name.lower() == SWITCH_SETTINGS.lower()
        if switch is None or (not on_switch and owner_id not in switch.connections):
            raise invalid_parameter("AffectedConfiguration names no switch or port of one")
        features = dict(switch.features)
        added: list[Row] = []
        for request in instances(call, "FeatureSettings", array_code=_WRONG_TYPE):
            kind = feature_kind(request.class_name, self._site.profile, on_switch=on_switch)
            row = add_feature(
                request,
                kind,
                _spelled(switch, owner_id),
                list(_features_below(features, owner_id)),
                number(switch.settings.values, "BandwidthReservationMode"),
                self._site.dice.guid(),
            )
            features[str(row.values["InstanceID"]).upper()] = row
            added.append(row)
        if not added:
            raise invalid_parameter("FeatureSettings is empty")
        return self._set_features(call, switch, features, added)

    def modify_features(self, call: MethodCall) -> Reply:
        """Change features of switches' own ports or of a switch."""
        changed: list[Row] = []
        owner: Switch | None = None
        features: dict[str, Row] = {}
        for request in instances(call, "FeatureSettings", array_code=_WRONG_TYPE):
            instance_id = text(request.values, "InstanceID").upper()
            switch = self._switches.by_settings(instance_id)
            if switch is None or (owner is not None and owner is not switch):
                raise invalid_parameter("FeatureSettings must name features of one switch")
            if owner is None:
                owner, features = switch, dict(switch.features)
            current = features.get(instance_id)
            if current is None:
                raise invalid_parameter("InstanceID names no feature")
            on_switch = "\\" not in instance_id.rsplit("\\", 2)[0]
            kind = feature_kind(current.class_name, self._site.profile, on_switch=on_switch)
            others = list(_features_below(features, instance_id.rsplit("\\", 2)[0]))
            mode = number(switch.settings.values, "BandwidthReservationMode")
            new = change_feature(current, request, kind, others, mode)
            features[instance_id] = new
            changed.append(new)
        if owner is None:
            raise invalid_parameter("FeatureSettings is empty")
        return self._set_features(call, owner, features, changed)

    def remove_features(self, call: MethodCall) -> Reply:
        """Take features away."""
        owner: Switch | None = None
        features: dict[str, Row] = {}
        for path in references(call, "FeatureSettings"):
            instance_id = instance_id_of(path, "FeatureSettings")
            switch = self._switches.by_settings(instance_id)
            if switch is None or (owner is not None and owner is not switch):
                raise invalid_parameter("FeatureSettings must name features of one switch")
            if owner is None:
                owner, features = switch, dict(switch.features)
            if features.pop(instance_id, None) is None:
                raise invalid_parameter("FeatureSettings names no feature")
        if owner is None:
            raise invalid_parameter("FeatureSettings is empty")
        return self._set_features(call, owner, features, None)

    def _set_features(
        self, call: MethodCall, switch: Switch, features: dict[str, Row], results: list[Row] | None
    ) -> Reply:
        def apply(_: object) -> None:
            switch.features = features
            self._switches.announce()

        out: dict[str, Value] = {}
        if results is not None:
            out["ResultingFeatureSettings"] = [self._site.reference(row) for row in results]
        return self._run(call, MODIFY_RESOURCES, apply, out=out)

    def _resulting(self, rows: list[Row]) -> dict[str, Value]:
        return {"ResultingResourceSettings": [self._site.reference(row) for row in rows]}

    def _run(
        self,
        call: MethodCall,
        kind: JobKind,
        apply: Callable[[object], None],
        *,
        usually_job: bool = True,
        out: dict[str, Value] | None = None,
    ) -> Reply:
        return self._site.conductor.run(
            call,
            Operation(
                kind,
                apply,
                self._site.config.timings.configure,
                usually_job=usually_job,
                out=out or {},
            ),
        )


def _chosen(request: Row) -> dict[str, Value]:
    chosen: dict[str, Value] = {}
    for name, value in request.values.items():
        if value is None or name in ("InstanceID", "Caption", "Description"):
            continue
        if name not in _AT_DEFINITION:
            raise invalid_parameter(f"{name} cannot be set")
        chosen[name] = value
    return chosen


def _draft(switch: Switch) -> Switch:
    return Switch(
        switch.guid,
        switch.settings,
        switch.path_text,
        switch.created,
        dict(switch.connections),
        dict(switch.features),
    )


def _spelled(switch: Switch, owner_id: str) -> str:
    """Return an owner's InstanceID as the host spells it."""
    connection = switch.connections.get(owner_id)
    row = connection if connection is not None else switch.settings
    return str(row.values["InstanceID"])


def _features_below(features: dict[str, Row], owner_id: str) -> Iterator[Row]:
    prefix = owner_id.upper() + "\\"
    return (
        row
        for key, row in features.items()
        if key.startswith(prefix) and key.count("\\") == prefix.count("\\") + 1
    )
